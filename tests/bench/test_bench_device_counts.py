"""The counts of a pass are what the engine promises, and the tables add up."""

from __future__ import annotations

import pytest

from bench import bench_device_counts as bench
from gpustitch.oblique.flat.flatfield import N_SHARES
from gpustitch.oblique.stream.sweep import BATCH_FRAMES
from tests.cuda_cpu import build

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
N_FRAMES, SHAPE = 32, (24, 64)


@pytest.mark.parametrize("method", ["none", "wavelet"])
def test_frames_go_up_once_voxels_come_down_once_and_nothing_waits(method):
    found = bench.of_frames(bench.METHODS[method], N_FRAMES, SHAPE)
    assert not any(n for (kind, _), n in found.numbers.items() if kind == "waits")
    pixels = 2 * N_FRAMES * SHAPE[0] * SHAPE[1]
    up, staged = (sum(n for (kind, _), n in found.n_bytes.items() if kind == of) for of in ("uploads", "staged"))
    assert up - staged == pixels and staged < 0.5 * pixels  # tables, which are large beside such small frames
    # How many pixels the correction cut off comes for each batch; voxels do not come in the way of the work.
    down, behind = (sum(n for (kind, _), n in found.n_bytes.items() if kind == of) for of in ("downloads", "behind"))
    assert behind == N_FRAMES // BATCH_FRAMES * N_SHARES * 4 < down / 20
    counts = {of: sum(n for (kind, _), n in found.numbers.items() if kind == of) for of in bench.KINDS}
    assert counts["uploads"] < N_FRAMES and counts["downloads"] < N_FRAMES
    assert counts["bodies"] + counts["calls"] < 5 * N_FRAMES


@pytest.mark.parametrize("method", bench.METHODS)
def test_no_count_depends_on_what_bodies_compute(method):
    counted = [bench.counted(bench.METHODS[method], N_FRAMES, SHAPE, executes=executes) for executes in (False, True)]
    assert counted[0] == counted[1] and counted[0].numbers


@pytest.mark.parametrize("method", bench.METHODS)
def test_a_batch_of_16_frames_takes_at_most_30_launches_and_no_wait(method, monkeypatch):
    # Calls do not depend on the rows, so that a run of twice as many tells nothing new.
    few = bench.of_frames(bench.METHODS[method], bench.N_FRAMES, (16, bench.COLUMNS))
    monkeypatch.setattr(bench, "of_frames", lambda *_: few)
    found = bench.per_frame(bench.METHODS[method], shape=(bench.SIDE, bench.COLUMNS))
    assert 5 < bench.launches_of_batch(found) <= 30
    assert not any(n for (kind, _), n in found.numbers.items() if kind == "waits")


def test_rows_add_up_and_scale():
    numbers = {("bodies", "fuse"): 3.0, ("calls", bench.OF_BLOCKS): 4.0, ("waits", ""): 1.0}
    n_bytes = {("uploads", "read, correct"): float(bench.MIB), ("staged", "fuse"): 2.0 * bench.MIB}
    rows = bench.rows_of("m", bench.Counted(numbers, n_bytes, {}))
    assert [row["part"] for row in rows] == ["read, correct", "fuse", "turn", bench.OF_BLOCKS, "all"]
    of_all = rows[-1]
    assert of_all["launches of bodies"] == 3 and of_all["launches of CuPy's own"] == 4 and of_all["waits inside"] == 1
    assert (of_all["MiB up"], of_all["MiB staged"], of_all["MiB down"]) == (1, 2, 0)
    for name in (*bench.KINDS.values(), *bench.OF_BYTES.values()):
        assert of_all[name] == pytest.approx(sum(row[name] for row in rows[:-1]) + (name == "waits inside"))
