"""Frames that are corrected whole, fitted into little memory: bands of rows, before a volume of each tile."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import OutputError
from gpustitch.model import Box
from gpustitch.oblique.deskew.sweep import Grain
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.pipeline import foreseen
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream import sweep
from gpustitch.oblique.stream.bands import Cut
from gpustitch.oblique.stream.file import Spool
from tests.oblique.pipeline.test_one_pass import LIGHTSHEET, Heard, written
from tests.oblique.pipeline.test_stage import options_of
from tests.oblique.pipeline.test_stage_killed import contents


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tile: nothing to align."""
    return next(written(tmp_path_factory.mktemp("single"), {(0, 0, 0): (0, 0, 0)}).rglob("*.dcimg"))


def options_in(channel: Path, output: Path, correction: Correction | None = None) -> PipelineOptions:
    options = replace(options_of(channel, output, n_workers=1), correction=correction or Correction())
    return replace(options, stitch=replace(options.stitch, levels=2, chunk_shape=(16, 16, 16), shard_bytes=1 << 15))


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and parts of few rows, so that small mosaics have bands."""
    monkeypatch.setattr(foreseen, "held_bytes", lambda: 0)
    monkeypatch.setattr(stream, "_BLOCK_ROWS", 16)
    for module in (stream, sweep):
        monkeypatch.setattr(module, "HOST_GRAIN", Grain(8, 16))


def chunks(volume: Path) -> Mapping[str, bytes]:
    """The files of a volume, but for its records."""
    return {name: data for name, data in contents(volume).items() if not name.startswith("gpustitch.")}


def test_destriped_frames_go_in_bands_before_they_go_by_stages(
    single: Path, tmp_path: Path, few_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_in(single, tmp_path / "whole", correction=LIGHTSHEET)
    whole = plan(options)
    assert whole.foreseen.n_bands == 1 and not whole.foreseen.kept_bytes
    run(whole)
    kept: list[int] = []
    keep = Spool.put

    def put(self: Spool, frame: int, pixels: np.ndarray) -> None:
        keep(self, frame, pixels)
        kept.append(pixels.nbytes)

    monkeypatch.setattr(Spool, "put", put)
    short = plan(replace(options, output=tmp_path / "bands", memory_bytes=whole.foreseen.memory_bytes - 1)).foreseen
    assert short.cut.piece == 32 and short.n_bands == 1
    job = plan(replace(options, output=tmp_path / "bands", memory_bytes=short.memory_bytes - 1))
    assert job.foreseen.n_bands > 1 and not job.options.writes_tiles
    assert "bands of rows, which write and read" in job.cautions[-1] and "of corrected frames" in next(
        line for line in job.lines() if line.startswith("fuses")
    )
    assert job.foreseen.disk_bytes > whole.foreseen.disk_bytes
    kept.clear()
    run(job)
    assert sum(kept) == job.foreseen.kept_bytes > 0
    one, many = (chunks(tmp_path / name / "volume") for name in ("whole", "bands"))
    assert one == many
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bands", "whole"]


def test_a_run_in_bands_that_ended_goes_on_without_them(
    single: Path, tmp_path: Path, few_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is begun in bands has files of another size than would be begun at once."""

    def sized(stitch: Any, slope: float, band: Box, cut: Cut) -> int:
        is_whole = band.shape[1] == stitch.shape[1]
        return (1 << 15 if is_whole else 1 << 13) if cut.file_bytes is None else cut.file_bytes

    monkeypatch.setattr(stream, "_file_bytes", sized)
    options = options_in(single, tmp_path / "bands", LIGHTSHEET)
    less = options
    for _ in range(3):  # fewer frames at a time, then smaller files, then bands
        less = replace(options, memory_bytes=plan(less).foreseen.memory_bytes - 1)
    assert plan(less).foreseen.n_bands > 1
    run(plan(less))
    put, frames = Spool.put, itertools.count()

    def full(self: Spool, *given: Any) -> None:
        if next(frames) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, *given)

    place = tmp_path / "full"
    with monkeypatch.context() as patched, pytest.raises(OutputError, match="full: the disk is full") as told:
        patched.setattr(Spool, "put", full)
        run(plan(replace(less, output=place)), seen := Heard())
    assert told.value.exit_code == 8
    assert any(f"kept in {place}.work: run again" in line for line in seen.warnings)
    again = plan(replace(options, output=place))
    assert again.foreseen.n_bands == 1
    run(again, seen := Heard())
    assert any("continuing an unfinished run" in line for line in seen.notes)
    assert chunks(place / "volume") == chunks(tmp_path / "bands" / "volume")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bands", "full"]


def test_a_filter_that_frames_will_choose_is_foreseen(single: Path, tmp_path: Path, few_rows: None) -> None:
    options = options_in(single, tmp_path / "out")
    whole, parts = (
        plan(replace(options, correction=correction)).foreseen for correction in (Correction("wavelet"), Correction())
    )
    assert whole.n_bands == 1 < parts.n_bands and whole.memory_bytes > parts.memory_bytes
