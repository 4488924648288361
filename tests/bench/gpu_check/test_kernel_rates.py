"""The steps that measure run and say what they must, so that they do on the day there is a GPU."""

from __future__ import annotations

import json
import sys
import time
import types
import zlib
from functools import partial

import numpy as np
import pytest

from bench.gpu_check import cucim, device, kernel_rates, kernel_rows, nvcomp, stress, transfers
from bench.gpu_check.step import NO_FIGURE, Asked, SkipError
from tests.cuda_cpu import build, shim
from tests.cuda_cpu.module import settings

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")


@pytest.fixture
def asked(tmp_path):
    return Asked(tmp_path / "rows.jsonl", 60, True, time.monotonic())


def rows_of(asked):
    return [json.loads(line) for line in asked.rows.read_text().splitlines()]


@pytest.fixture
def small(monkeypatch):
    for name, value in kernel_rates.SMALL.items():
        monkeypatch.setattr(kernel_rows, name, value)
    monkeypatch.setattr(kernel_rates, "WARM_UP", 0)
    monkeypatch.setattr(kernel_rates, "LAUNCHES", 2)


def test_every_row_is_measured_and_stored_without_a_figure(small, asked):
    # What bodies compute is compared elsewhere, and takes the longest here.
    with shim.installed(), settings(executes=False):
        kernel_rates.kernel_rates(asked)
    rows = rows_of(asked)
    assert len(rows) == 2 + len(kernel_rows.ROWS)
    assert all(row["ms"] == row["of_floor"] == NO_FIGURE for row in rows[2:])


def test_figures_of_a_row_are_of_its_least_work(small):
    with shim.installed() as cupy:
        work = kernel_rows.ROWS[0](cupy, kernel_rates.device_of()[1])
        figures = kernel_rates.measured(cupy, work, copy=1e9, gemm=1e12)
    assert figures["floor_ms"] == pytest.approx(work.n_bytes / 1e9 * 1e3)
    assert figures["of_floor"] == pytest.approx(figures["ms"] / figures["floor_ms"])
    assert figures["GB_per_s"] == pytest.approx(work.n_bytes / figures["ms"] / 1e6)


def test_a_row_that_fails_hands_the_others_to_a_new_process(small, asked, monkeypatch):
    def fails(cupy, device, *, dtype):
        raise RuntimeError("an illegal memory access was encountered")

    handed = []

    def execv(path, command):
        handed.append((command, dict(kernel_rates.os.environ)))
        raise SystemExit

    for name in (kernel_rates.FIRST_ROW, kernel_rates.FAILED_ROWS):
        monkeypatch.setenv(name, "0")
    two, others = kernel_rows.ROWS[:2], kernel_rows.ROWS[2:4]
    monkeypatch.setattr(kernel_rates, "ROWS", [*two, partial(fails, dtype="uint16"), *others])
    monkeypatch.setattr(kernel_rates.os, "execv", execv)
    with shim.installed(), pytest.raises(SystemExit):
        kernel_rates.kernel_rates(asked)
    assert "illegal memory access" in rows_of(asked)[-1]["error"] and len(rows_of(asked)) == 5
    ((command, environment),) = handed
    assert "--small" in command and environment[kernel_rates.FIRST_ROW] == "3"
    for name in (kernel_rates.FIRST_ROW, kernel_rates.FAILED_ROWS):
        monkeypatch.setenv(name, environment[name])
    with shim.installed(), pytest.raises(AssertionError, match="1 of 5 rows failed"):
        kernel_rates.kernel_rates(asked)
    assert [row["what"].split()[1] for row in rows_of(asked)[3:]] == ["uint16,", "dtype=uint16", "uint8,", "float32,"]


def test_transfers_and_the_device_are_told_without_a_figure(asked):
    with shim.installed():
        device.device(asked)
        transfers.transfers(asked)
    first, *rows = rows_of(asked)
    assert first["stand_in"] is True and first["what"] == "Emulated CUDA device"
    assert len(rows) >= 12
    assert all(NO_FIGURE in row.values() for row in rows)


def test_the_stress_passes_and_finds_what_differs(asked, monkeypatch):
    with shim.installed():
        stress.stress(asked)
        assert [row["wrong"] for row in rows_of(asked)] == [0, 0]
        monkeypatch.setattr(stress, "MOST_APART", -1.0)
        with pytest.raises(AssertionError, match="2 of 2 runs differ"):
            stress.stress(asked)


def test_without_nvcomp_its_step_is_skipped(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.nvcomp", None)
    with shim.installed(), pytest.raises(SkipError, match="nvCOMP is not installed"):
        nvcomp.nvcomp(asked)


@pytest.mark.parametrize("lost", [0, 1])
def test_chunks_that_nvcomp_compressed_must_come_back(asked, monkeypatch, lost):
    class Body:
        def __init__(self, array):
            self.bytes = array if isinstance(array, bytes) else shim.asnumpy(array).tobytes()

        def cpu(self):
            return self.bytes

    class Codec:
        def __init__(self, *, algorithm, bitstream_kind):
            assert (algorithm, bitstream_kind) == ("Deflate", "raw")

        def encode(self, arrays):
            made = [zlib.compressobj(wbits=-15) for _ in arrays]
            return [Body(m.compress(a.bytes[lost:]) + m.flush()) for m, a in zip(made, arrays, strict=True)]

    library = types.ModuleType("nvidia.nvcomp")
    library.Codec, library.BitstreamKind = Codec, types.SimpleNamespace(RAW="raw")
    library.as_arrays = lambda arrays: [Body(array) for array in arrays]
    monkeypatch.setitem(sys.modules, "nvidia.nvcomp", library)
    monkeypatch.setattr(nvcomp, "decoders", lambda d=nvcomp.decoders(): {"Deflate": d["Deflate"]})
    with shim.installed():
        if lost:
            with pytest.raises(AssertionError, match="do not come back: Deflate"):
                nvcomp.nvcomp(asked)
        else:
            nvcomp.nvcomp(asked)
    (row,) = rows_of(asked)
    assert row["same"] == (not lost) and row["ratio"] > 1 and row["GB_per_s"] == NO_FIGURE


def test_cucim_is_compared_with_scikit_image(asked, monkeypatch):
    with shim.installed():
        cucim.cucim(asked)
    rows = rows_of(asked)
    assert len(rows) == len(list(cucim.rows(is_small=True)))
    assert all(row["most_apart"] <= row["allowed"] and row["cuCIM_ms"] == NO_FIGURE for row in rows)
    asked.rows.unlink()
    calls = []

    def wrong(array):
        """Another result at each call, and none at the third."""
        calls.append(array)
        if len(calls) > 2:
            raise RuntimeError("out of memory")
        return array + len(calls)

    row = cucim.Row("wrong", (np.zeros(3, np.float32),), wrong)
    monkeypatch.setattr(cucim, "rows", lambda *, is_small: [row])
    monkeypatch.setattr(cucim, "best_seconds", lambda cupy, function: 1.0)
    with shim.installed(), pytest.raises(AssertionError, match="differs from scikit-image: wrong"):
        cucim.cucim(asked)
    assert rows_of(asked)[0]["most_apart"] == 1
    with shim.installed(), pytest.raises(AssertionError, match="cuCIM fails"):
        cucim.cucim(asked)
    assert rows_of(asked)[1]["error"] == "RuntimeError: out of memory"


def test_own_code_finds_what_scikit_image_finds():
    by_name = {row.what.partition(",")[0]: row for row in cucim.rows(is_small=True)}
    contrast = by_name["feature.peak_local_max"].arrays[0]
    own = cucim.local_maxima(contrast, np.zeros_like(contrast), (1.0, 1.0, 1.0))
    theirs = cucim.maxima(contrast)
    assert set(theirs) <= set(np.ravel_multi_index(tuple(own.T), contrast.shape))
    row = by_name["registration.phase_cross_correlation"]
    np.testing.assert_array_equal(row.function(*row.arrays), -row.other(*row.arrays))
    row = by_name["filters.gaussian of a window"]
    np.testing.assert_allclose(row.function(*row.arrays), row.other(*row.arrays), rtol=1e-5)
