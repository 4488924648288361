"""The pipeline from raw frames, against the one that writes a volume of each tile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpustitch.errors import OutputError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import ZYX, Box
from gpustitch.oblique.destripe import lightsheet
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.choice import N_FRAMES as N_JUDGED
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.pipeline import foreseen, one_pass
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import PipelinePlan, PipelineResult, plan, run
from tests.oblique.align.test_stage import tissue
from tests.oblique.export.test_stage import Seen
from tests.oblique.pipeline.test_stage import COLUMNS, N_FRAMES, PIXEL, ROWS, STEP, options_of

pytestmark = pytest.mark.long


class Heard(Seen):
    """Progress that keeps notes too."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


SPACING_UM = (PIXEL / 2**0.5, PIXEL, STEP)
# Where the stage says that tiles lie, and where they lie, voxels (z, y, x).
ROW = {(0, 0, 0): (0, 0, 0), (0, 36, 0): (0, 38, 3)}
STACK = {(0, 0, 0): (0, 0, 0), (20, 0, 0): (18, 2, 3)}
# Windows so short that they fit into these frames.
LIGHTSHEET = Correction("lightsheet", lightsheet=LightsheetOptions(9, 12))


def written(folder: Path, tiles: Mapping[ZYX, ZYX]) -> Path:
    """Raw tiles cut out of one specimen; rows are half as bright at the end as at the beginning."""
    specimen = tissue((COLUMNS + 20, ROWS + 40, N_FRAMES + COLUMNS + 10), seed=5)
    light = np.linspace(1, 0.5, ROWS)[:, None]
    for stage, (z, y, x) in tiles.items():
        z_name, y_name, x_name = (round(10 * n * um) for n, um in zip(stage, SPACING_UM, strict=True))
        columns = [specimen[z + c, y : y + ROWS, x + c : x + c + N_FRAMES] for c in range(COLUMNS)]
        frames = (np.stack(columns).transpose(2, 1, 0) * light).astype(np.uint16)
        path = folder / f"{x_name}" / f"{x_name}_{y_name}" / f"{z_name}.dcimg"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dcimg(path, np.ascontiguousarray(frames), N_FRAMES, frames.shape[1:])
    return folder


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("row"), ROW)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("stack"), STACK)


def evened(options: PipelineOptions) -> PipelineOptions:
    """With the brightness along y estimated and corrected."""
    intensity = replace(options.stitch.intensity, is_estimated=True, n_patches=20, min_mean=50)
    return replace(options, stitch=replace(options.stitch, intensity=intensity))


def voxels(result: PipelineResult) -> np.ndarray:
    volume = open_volume(result.volume)
    return volume.read(Box.of_shape(volume.coverage.shape))


def origins(result: PipelineResult) -> np.ndarray:
    assert result.alignment is not None
    found = read_alignment(result.alignment).placement(result.stitched.spacing).origin_px
    return np.array([found[name] for name in sorted(found)])


def ratio(result: PipelineResult) -> float | None:
    sidecar = json.loads((result.volume / "gpustitch.json").read_text())
    value: float | None = sidecar["y_intensity_last_to_first"]
    return value


@settings(max_examples=1)
@example(STEP, False)
@example(1.28, True)
@given(st.floats(0.6, 3.0), st.booleans())
def test_a_row_is_what_it_is_by_stages(
    row: Path, tmp_path_factory: pytest.TempPathFactory, step: float, is_destriped: bool
) -> None:
    folder = tmp_path_factory.mktemp("out")
    options = evened(options_of(row, folder / "at-once", x_step_um=step))
    if is_destriped:
        options = replace(options, correction=LIGHTSHEET)
    at_once = run(plan(options), seen := Heard())
    names = ["align.json", "provenance.json", "run.json", "run.log", "volume"]
    assert sorted(p.name for p in at_once.output.iterdir()) == names
    assert not any("tile 1 of 2" in line for line in seen.notes)
    found = replace(options, output=folder / "found", staged=True)
    given = replace(found, output=folder / "given", align_file=at_once.alignment)
    staged = run(plan(given), seen := Heard())
    assert any("tile 1 of 2" in line for line in seen.notes) and not (staged.output / "tiles").exists()
    # A tile on disk was rounded before it is fused.
    np.testing.assert_allclose(voxels(at_once), voxels(staged), rtol=0, atol=1)
    assert voxels(at_once).std() > 10
    assert ratio(at_once) == ratio(staged) and 0.4 < (ratio(staged) or 0) < 0.6
    # Positions come from frames as they are, or from what was destriped whole and interpolated of them. The same
    # frames are read as other types: float32 products of other kernels of the BLAS round otherwise.
    apart = origins(at_once) - origins(run(plan(found)))
    assert np.abs(apart).max() < (1e-5 if step == STEP and not is_destriped else 0.05)


def test_a_stack_and_a_single_tile_are_what_they_are_by_stages(row: Path, stack: Path, tmp_path: Path) -> None:
    for name, channel in {"stack": stack, "single": next(iter(row.rglob("*.dcimg")))}.items():
        options = options_of(channel, tmp_path / name, allow_unaligned=True)
        at_once, staged = (run(plan(replace(options, output=tmp_path / f"{name}{s}", staged=s))) for s in (False, True))
        np.testing.assert_allclose(voxels(at_once), voxels(staged), rtol=0, atol=1)
        assert name == "single" or "1 of 1 link accepted" in at_once.aligned
        assert at_once.aligned == staged.aligned and at_once.summary.split(": ")[1:] == staged.summary.split(": ")[1:]
    assert at_once.alignment is None and staged.alignment is None


def test_the_background_of_each_frame_is_estimated_once(
    row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_frames, estimate = [], lightsheet.background_estimate

    def counted(images: np.ndarray, options: LightsheetOptions) -> np.ndarray:
        n_frames.append(len(images))
        return np.asarray(estimate(images, options))

    monkeypatch.setattr(lightsheet, "background_estimate", counted)
    options = replace(options_of(row, tmp_path / "once"), correction=LIGHTSHEET)
    once = run(plan(options))
    assert sum(n_frames) == 2 * N_FRAMES + N_JUDGED, "and those on which the filter is judged"
    monkeypatch.setattr(Correction, "to_compare", property(lambda correction: correction))
    twice = run(plan(replace(options, output=tmp_path / "twice")))
    assert np.abs(origins(once) - origins(twice)).max() < 0.05, "it moves no tile"


def test_parts_of_frames_tell_positions_as_whole_frames_do(
    row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether the camera has a pattern is seen in whole frames, of which such short tiles have hardly others.
    monkeypatch.setattr("gpustitch.oblique.align.stage.find_still", lambda *_: (None, 0))
    options = replace(options_of(row, tmp_path / "bands"), correction=LIGHTSHEET)
    bands = run(plan(options))  # of rows, which this filter corrects alone
    monkeypatch.setattr(Correction, "destripes_by_rows", False)
    whole = run(plan(replace(options, output=tmp_path / "whole")))
    monkeypatch.setattr(one_pass, "_LONG_BYTES", 0)
    monkeypatch.setattr("gpustitch.oblique.deskew.tile._LARGE_PART", 1.0)
    parts = run(plan(replace(options, output=tmp_path / "parts")))
    np.testing.assert_array_equal(origins(bands), origins(whole))
    assert np.abs(origins(parts) - origins(whole)).max() < 0.05
    made = (bands, whole, parts)
    of_bands, of_whole, of_parts = (
        json.loads((r.output / "align.json").read_text())["provenance"]["bytes_read"] for r in made
    )
    assert of_whole <= 2 * 2 * N_FRAMES * ROWS * COLUMNS, "whole frames are read once"
    assert of_bands < 0.9 * of_whole, "only the rows that overlap are corrected"
    assert of_parts != of_whole


def test_the_disk_need_not_hold_tiles(row: Path, tmp_path: Path) -> None:
    options = options_of(row, tmp_path / "out")
    job, staged = plan(options), plan(replace(options, staged=True))
    assert job.foreseen.disk_bytes < 0.7 * staged.foreseen.disk_bytes
    made = run(job)
    chunks = [p for p in made.volume.rglob("*") if p.is_file() and p.suffix != ".json"]
    assert sum(p.stat().st_size for p in chunks) <= job.foreseen.disk_bytes


def test_tiles_that_are_kept_are_written(row: Path, tmp_path: Path) -> None:
    kept = run(plan(options_of(row, tmp_path / "kept", keep_tiles=True)), seen := Heard())
    assert len(list((kept.output / "tiles").rglob("info"))) == 2
    assert "`keep_tiles` implies `staged`: a volume of each tile is written" in seen.notes


@pytest.mark.parametrize("staged", [False, True])
def test_a_brightness_that_is_given_and_estimated_is_refused_before_any_work(
    row: Path, tmp_path: Path, staged: bool
) -> None:
    options = evened(options_of(row, tmp_path / "out", staged=staged))
    intensity = replace(options.stitch.intensity, last_to_first=0.9)
    with pytest.raises(ParameterError, match="choose one of them"):
        plan(replace(options, stitch=replace(options.stitch, intensity=intensity)))


def test_a_run_is_fitted_into_the_memory(row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreseen, "held_bytes", lambda: 0)

    def planned(n_bytes: int, **changed: Any) -> PipelinePlan:
        return plan(options_of(row, tmp_path / "out", memory_bytes=n_bytes, **changed))

    takes = {n: planned(1 << 40, n_workers=n).foreseen.memory_bytes for n in (1, 2)}
    assert not planned(takes[2]).options.writes_tiles and planned(takes[2]).options.n_workers == 2
    fewer = planned(takes[2] - 1)
    assert not fewer.options.writes_tiles and fewer.options.n_workers == 1
    assert "it goes on with 1 thread" in fewer.cautions[-1]
    with pytest.raises(ParameterError, match=r"`memory_bytes` is 2 MB, but the run takes at least about 2\d\d MB"):
        planned(1 << 20)
    short = planned(takes[1] - 1, n_workers=1)
    assert not short.options.writes_tiles and "it goes on with 1 thread, 32 frames at a time" in short.cautions[-1]
    result = run(planned(short.foreseen.memory_bytes - 1), seen := Heard())
    assert any("of memory, and it may take" in line and "`staged`" in line for line in seen.warnings)
    assert any("tile 1 of 2" in line for line in seen.notes) and voxels(result).any()


def test_a_filter_that_frames_will_choose_is_foreseen(
    row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseen, "held_bytes", lambda: 0)

    def foreseen_bytes(wavelet: WaveletOptions) -> int:
        options = replace(options_of(row, tmp_path / "out"), correction=Correction("wavelet", wavelet))
        return plan(options).foreseen.memory_bytes

    none = plan(options_of(row, tmp_path / "out")).foreseen.memory_bytes
    assert foreseen_bytes(WaveletOptions()) == foreseen_bytes(WaveletOptions(notch_length_px=40)) != none


@pytest.mark.parametrize("staged", [False, True])
def test_what_a_run_takes_is_foreseen(row: Path, tmp_path: Path, staged: bool) -> None:
    options = options_of(row, tmp_path / "out", staged=staged)
    lines = list((job := plan(options)).lines())
    assert not list(tmp_path.iterdir())
    assert lines[0] == "reads   2 tiles, 200 frames of 60 x 32 uint16: 1 MB"
    assert ("by stages" in lines[1]) == staged
    assert "level 0: 32 x 96 x 131 voxels, 1 MB" in lines[3] and "the tiles where the stage puts them" in lines[2]
    assert [line.split()[0] for line in lines[-3:]] == ["disk", "memory", "time"]
    volume = run(job).volume
    files = [file for file in volume.rglob("*") if file.is_file() and file.parent != volume]
    assert len(files) <= sum(job.foreseen.volume.n_files)


def test_a_disk_that_takes_no_more_files_is_refused(row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=100, f_favail=3))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 40))
    options = options_of(row, tmp_path / "out")
    with pytest.raises(OutputError, match="takes 3 more; write fewer and larger ones by `shard_bytes`"):
        plan(replace(options, stitch=replace(options.stitch, shard_bytes=0)))
