"""De-obliquing that ended early goes on: the same bytes, and frames that nothing needs are not read again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, OutputExistsError
from gpustitch.io.partial import work_place
from gpustitch.oblique.deskew import stage, sweep
from gpustitch.oblique.deskew.jobs import run_resumed
from gpustitch.oblique.deskew.stage import DeobliqueOptions, DeobliqueResult, plan
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from tests.io.volumes.stored_volumes import folder
from tests.oblique.pipeline.test_one_pass import Heard


class Killed(Exception):
    pass


class Fragile:
    """Frames in memory: broken ones raise, and nothing is read any more after so many frames."""

    absent: frozenset[int] = frozenset()

    def __init__(self, frames: np.ndarray, broken: frozenset[int]) -> None:
        self.frames, self.broken = frames, broken
        self.shape, self.dtype = frames.shape, frames.dtype
        self.left = 1 << 30
        self.read_times = np.zeros(len(frames), int)
        self._lock = threading.Lock()

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        with self._lock:
            self.left -= stop - start
            if self.left < 0:
                raise Killed
            self.read_times[start:stop] += 1
        for number in range(start, stop):
            if number in self.broken:
                raise DamagedInputError(f"frame {number} is broken")
        return self.frames[start:stop, rows, columns].copy()


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Small batches and blocks, so that many are needed."""
    monkeypatch.setattr(sweep, "BATCH_FRAMES", 8)
    monkeypatch.setattr(sweep, "HOST_GRAIN", sweep.Grain(frames=4, rows=8))
    monkeypatch.setattr(stage, "_BLOCK_WIDTH", 8)
    monkeypatch.setattr(stage, "_BLOCK_ROWS", 8)
    monkeypatch.setattr(stage, "frame_files", lambda _: [])
    yield monkeypatch


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def facts(result: DeobliqueResult) -> tuple[Any, ...]:
    return result.scan, result.lost, result.n_cut_off


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.integers(9, 70), st.integers(1, 20), st.integers(1, 24)),
    st.sets(st.integers(0, 8), max_size=2),
    st.sampled_from([0, 1 << 12]),
    st.sampled_from(["v", "v.zarr"]),
    st.lists(st.integers(0, 80), min_size=1, max_size=3),
)
def test_an_ended_run_goes_on(patched, shape, broken, shard_bytes, name, ends) -> None:
    random = np.random.default_rng(0)
    raw = random.integers(1, 900, shape).astype(np.uint16)
    raw[:, :, ::5] = 65535  # which a flat field of less than 1 cuts off
    correction = Correction("lightsheet", lightsheet=LightsheetOptions(5, 7), flat=np.full(shape[1:], 0.5, np.float32))
    frames = Fragile(raw, frozenset(broken))
    patched.setattr(stage, "open_frames", lambda *_, **__: frames)
    patched.setattr(stage, "read_flat", lambda _: correction.flat)
    with folder() as place:
        place.mkdir()
        (place / "flat").touch()
        options = DeobliqueOptions(
            "frames", place / name, levels=2, chunk_shape=(4, 4, 4), shard_bytes=shard_bytes,
            correction=replace(correction, flat=None), flat=place / "flat", n_workers=2, on_error="skip",
        )  # fmt: skip
        expected = run_resumed(plan(options))
        options.output.rename(place / "whole")
        for end in ends:
            frames.left = end
            try:
                run_resumed(plan(options))
            except Killed:
                continue
            break
        frames.left = 1 << 30
        frames.read_times[:] = 0
        if not options.output.exists():
            result = run_resumed(plan(options), Heard())
            assert facts(result) == facts(expected) and result.path == options.output
        assert contents(options.output) == contents(place / "whole")
        assert not work_place(options.output).exists()


def test_frames_of_finished_blocks_are_not_read_again(patched, tmp_path) -> None:
    """Frames that were cut off in batches that are left out count all the same."""
    frames = Fragile(np.random.default_rng(0).integers(1, 999, (120, 8, 8)).astype(np.uint16), frozenset())
    patched.setattr(stage, "open_frames", lambda *_, **__: frames)
    options = DeobliqueOptions("frames", tmp_path / "v", levels=1, chunk_shape=(4, 4, 4), shard_bytes=0, n_workers=2)
    frames.left = 90
    with pytest.raises(Killed):
        run_resumed(plan(options), heard := Heard())
    assert any("is kept in" in line for line in heard.warnings)
    frames.left, frames.read_times[:] = 1 << 30, 0
    run_resumed(plan(options), heard := Heard())
    assert any("continuing an unfinished run" in note for note in heard.notes)
    assert not frames.read_times[:40].any() and (frames.read_times[96:] == 1).all()


def test_another_run_does_not_go_on(patched, tmp_path) -> None:
    frames = Fragile(np.random.default_rng(0).integers(1, 999, (120, 8, 8)).astype(np.uint16), frozenset())
    patched.setattr(stage, "open_frames", lambda *_, **__: frames)
    options = DeobliqueOptions("frames", tmp_path / "v", levels=1, chunk_shape=(4, 4, 4), shard_bytes=0)
    frames.left = 90
    with pytest.raises(Killed):
        run_resumed(plan(options))
    frames.left = 1 << 30
    with pytest.raises(OutputExistsError, match=r"`step_um` was 1\.28 and is 1\.3"):
        run_resumed(plan(replace(options, step_um=1.3)))
    run_resumed(plan(replace(options, step_um=1.3, restart=True)))
    assert [path.name for path in tmp_path.iterdir()] == ["v"]
