"""The pipeline over tiles of which frames are absent or cannot be read, against a specimen that is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gpustitch.errors import AlignmentError, DamagedInputError, MosaicError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.images.files import write_tiff
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import Box, tile_name
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.deskew import stage as deoblique
from gpustitch.oblique.flat import stage as illumination
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.placing import place_found
from gpustitch.oblique.pipeline import upright
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import PipelineResult, plan, run
from gpustitch.running.progress import SILENT
from tests.oblique.align.test_stage import tissue
from tests.oblique.deskew.test_sweep import Holed
from tests.oblique.export.test_stage import Seen
from tests.oblique.flat.scenes import EVEN, X
from tests.oblique.flat.scenes import frames as flat_frames
from tests.oblique.fuse.fuse_tiles import covered_by, fused

pytestmark = pytest.mark.long

PIXEL, STEP = 1.8, 1.8 / 2**0.5
N_FRAMES, ROWS, COLUMNS = 100, 60, 32
# The stage says that the second tile lies 36 rows on; it lies 38 rows and 3 columns on.
STAGE, TRUE = (0, 36, 0), (0, 38, 3)
NAMES = [tile_name((0.0, PIXEL * y, 0.0)) for y in (0, STAGE[1])]
ABSENT, BROKEN = {0: {48, 49, 80}, 1: {15}}, {0: {20}, 1: {60, 61}}


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two raw tiles cut out of one specimen."""
    specimen = tissue((COLUMNS, ROWS + TRUE[1], N_FRAMES + COLUMNS + TRUE[2]), seed=5)
    folder = tmp_path_factory.mktemp("raw")
    for name, (_, y, x) in zip(NAMES, ((0, 0, 0), TRUE), strict=True):
        cut = specimen[range(COLUMNS), y : y + ROWS]
        frames = np.stack([[cut[c, :, x + f + c] for c in range(COLUMNS)] for f in range(N_FRAMES)]).swapaxes(1, 2)
        path = folder / name.split("_")[0] / "_".join(name.split("_")[:2]) / f"{name.split('_')[2]}.dcimg"
        path.parent.mkdir(parents=True)
        write_dcimg(path, np.ascontiguousarray(frames), N_FRAMES, frames.shape[1:])
    return folder


def options_of(channel: Path, output: Path, **changed: object) -> PipelineOptions:
    matching = MatchOptions(window_px=(11, 13, 13), sample_count=16, search_px=(8, 8, 8), blob_window_px=(32, 32, 32))
    options = PipelineOptions(
        channel,
        output,
        x_step_um=STEP,
        correct_flat=False,
        matching=matching,
        n_workers=2,
        preset="plain",
        report=False,  # tests/oblique/report has tests of it
    )
    plain = replace(options.correction, method="none")
    return replace(options, correction=plain, stitch=replace(options.stitch, levels=1), **changed)


Losses = dict[int, set[int]]  # frames by tile


@contextmanager
def frames_lost(channel: Path, absent: Losses, broken: Losses) -> Iterator[None]:
    """Take frames away from both tiles."""

    def opened(path: Path, **options: Any) -> Holed:
        tile = sorted(channel.rglob("*.dcimg")).index(Path(path))
        frames = open_frames(path, **options)
        return Holed(frames.read(0, N_FRAMES), absent[tile], broken[tile])

    with pytest.MonkeyPatch.context() as patch:
        for stage in (deoblique, illumination, upright):
            patch.setattr(stage, "open_frames", opened)
        yield


@pytest.fixture
def holed(channel: Path) -> Iterator[None]:
    """Take some frames away from both tiles."""
    with frames_lost(channel, ABSENT, BROKEN):
        yield


@pytest.fixture(scope="module")
def whole(channel: Path, tmp_path_factory: pytest.TempPathFactory) -> PipelineResult:
    return run(plan(options_of(channel, tmp_path_factory.mktemp("whole") / "out", keep_tiles=True)))


def errors_px(result: PipelineResult) -> np.ndarray:
    assert result.alignment is not None
    first, second = (read_alignment(result.alignment).placement(result.stitched.spacing).origin_px[n] for n in NAMES)
    return np.subtract(second, first) - TRUE


def test_positions_are_found_beside_holes(channel: Path, whole: PipelineResult, holed: None, tmp_path: Path) -> None:
    seen = Seen()
    result = run(plan(options_of(channel, tmp_path / "out", on_error="skip")), seen)
    for found in (whole, result):
        assert np.abs(errors_px(found)).max() < 0.3
    assert "without 7 frames" in result.summary and "without" not in whole.summary
    assert [set(result.lost[name].missing) for name in NAMES] == [ABSENT[0], ABSENT[1]]
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())["tiles"][NAMES[0]]
    assert record["absent_frames"] == {"count": 3, "frames": "48 to 49, 80"}
    assert record["unreadable_frames"]["frames"] == "20"
    assert list(json.loads((tmp_path / "out" / "align.json").read_text())["absent_frames"].values()) == [4, 3]
    sidecar = json.loads((tmp_path / "out" / "volume" / "gpustitch.json").read_text())
    assert [tile["absent_frames"] for tile in sidecar["tiles"]] == [4, 3]
    assert any("3 frames are absent (48 to 49, 80)" in line for line in seen.warnings)
    assert any("2 frames cannot be read (60 to 61)" in line for line in seen.warnings)


lost_frames = st.fixed_dictionaries({tile: st.sets(st.integers(0, N_FRAMES - 1), max_size=6) for tile in (0, 1)})


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(ABSENT, BROKEN)
@given(lost_frames, lost_frames)
def test_all_other_voxels_are_as_without_holes(
    channel: Path, whole: PipelineResult, tmp_path_factory: pytest.TempPathFactory, absent: Losses, broken: Losses
) -> None:
    given, folder = whole.alignment, tmp_path_factory.mktemp("holed")
    changed = {"on_error": "skip", "align_file": given}
    with frames_lost(channel, absent, {tile: broken[tile] - absent[tile] for tile in broken}):
        result = run(plan(options_of(channel, folder / "staged", keep_tiles=True, **changed)))
        at_once = run(plan(options_of(channel, folder / "out", **changed)))
    volumes = [open_volume(found.volume) for found in (whole, result)]
    box = Box.of_shape(volumes[0].coverage.shape)
    assert volumes[1].coverage.shape == box.shape
    before, after = (volume.read(box) for volume in volumes)
    apart = np.abs(open_volume(at_once.volume).read(box).astype(int) - after)  # rounded once, not twice
    assert apart.max() <= 1 and np.count_nonzero(apart) < 1e-3 * after.size
    assert [set(each.missing) for each in at_once.lost.values()] == [set(each.missing) for each in result.lost.values()]
    whole_tiles, tiles = (place_found(found.output / "tiles", alignment=given).tiles for found in (whole, result))
    for number, (tile, full) in enumerate(zip(tiles, whole_tiles, strict=True)):
        lost = tuple(absent[number] | broken[number])
        assert tile.volume.coverage == replace(full.volume.coverage, absent=lost)
        grid = Box.of_shape(full.volume.coverage.shape)
        np.testing.assert_array_equal(tile.volume.read(grid), full.volume.read(grid) * tile.volume.coverage.mask(grid))
    covers = [covered_by([tile], box) > 0 for tile in tiles]
    reached = [covered_by([tile], box) > 0 for tile in whole_tiles]
    for this, other in ((0, 1), (1, 0)):
        only = covers[this] & ~reached[other]
        assert only.any()
        np.testing.assert_array_equal(after[only], before[only])
        in_a_hole = covers[this] & reached[other] & ~covers[other]
        assert in_a_hole.any() or absent != ABSENT, "the overlap lies beside a hole"
        np.testing.assert_array_equal(after[in_a_hole], fused([whole_tiles[this]], box)[in_a_hole])
    assert not after[~covers[0] & ~covers[1]].any()


def test_the_y_voxel_size_to_go_on_with(channel: Path, whole: PipelineResult, tmp_path: Path) -> None:
    """The stage was 2 rows of 36 off, which looks like a pixel 5 % smaller."""
    assert whole.stitched.spacing.y_um == PIXEL and "nominal 1.8 um" in whole.aligned
    result = run(plan(options_of(channel, tmp_path / "out", y_size="measured")))
    assert result.stitched.spacing.y_um == pytest.approx(PIXEL * STAGE[1] / TRUE[1], rel=5e-3)
    assert np.abs(errors_px(result)).max() < 0.3


def test_a_y_voxel_size_that_cannot_be_had_is_refused_before_any_work(
    channel: Path, whole: PipelineResult, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for changed in ({"y_size": "nominal"}, {"stage_repeatability_um": 1.0}):
        with pytest.raises(ParameterError, match="has no effect beside `align_file`"):
            plan(options_of(channel, output, align_file=whole.alignment, **changed))
    with pytest.raises(ParameterError, match="`y_size` must be one of auto, measured, nominal"):
        plan(options_of(channel, output, y_size="both"))
    with pytest.raises(AlignmentError, match="no link joins two rows"):
        plan(options_of(next(iter(channel.rglob("*.dcimg"))), output, y_size="measured"))


def test_files_that_the_format_has_not_are_refused_before_any_work(channel: Path, tmp_path: Path) -> None:
    """Else a night's work would end when the stitched volume is begun."""
    options = options_of(channel, tmp_path / "out")
    for changed in ({"codec": "jpeg"}, {"codec": "gzip", "shard_bytes": 0}, {"write_empty": True, "shard_bytes": 1}):
        with pytest.raises(ParameterError):
            plan(replace(options, stitch=replace(options.stitch, **changed)))


@pytest.mark.parametrize("angle", [-45.0, 0.0, 90.0, 91.0, 180.0, float("nan")])
def test_angles_of_no_sheet_are_refused_before_frames_are_looked_at(
    channel: Path, tmp_path: Path, angle: float
) -> None:
    with pytest.raises(ParameterError, match="`angle_deg` must be between 0 and 90"):
        plan(options_of(channel, tmp_path / "out", angle_deg=angle))


@pytest.mark.parametrize("size", [1 << 31, (1 << 63) - 1, 10**20, 2.5, float("inf"), float("nan")])
def test_chunks_of_no_size_are_refused(channel: Path, tmp_path: Path, size: float) -> None:
    options = options_of(channel, tmp_path / "out")
    with pytest.raises(ParameterError, match="`chunk_shape` must be three whole numbers"):
        plan(replace(options, stitch=replace(options.stitch, chunk_shape=(64, 64, size))))


def test_an_unreadable_frame_stops_the_run(channel: Path, holed: None, tmp_path: Path) -> None:
    with pytest.raises(DamagedInputError, match="is broken"):
        run(plan(options_of(channel, tmp_path / "out")), SILENT)
    assert not list(tmp_path.iterdir())


def test_an_alignment_of_another_sheet_angle_is_refused(channel: Path, whole: PipelineResult, tmp_path: Path) -> None:
    with pytest.raises(MosaicError, match="at 45 degrees, but the tiles are of one at 30"):
        plan(options_of(channel, tmp_path / "out", align_file=whole.alignment, angle_deg=30.0))


def test_a_tile_that_begins_later_than_others_is_named(channel: Path, whole: PipelineResult, tmp_path: Path) -> None:
    for tile, numbers in zip(sorted(channel.rglob("*.dcimg")), (range(1, 40), range(39)), strict=True):
        folder = tmp_path / "raw" / tile.relative_to(channel).with_suffix("")
        folder.mkdir(parents=True)
        frames = open_frames(tile).read(0, 40)
        for number in numbers:
            write_tiff(folder / f"{number:06d}.tif", frames[number])
    seen = Seen()
    run(plan(options_of(tmp_path / "raw", tmp_path / "out", align_file=whole.alignment)), seen)
    assert [line for line in seen.warnings if f"({NAMES[0]}: 1): if these frames were lost" in line]
    for file in sorted(folder.iterdir())[1::2]:
        file.unlink()
    with pytest.raises(DamagedInputError, match=rf"farther apart \({NAMES[1]}: 2\)"):
        plan(options_of(tmp_path / "raw", tmp_path / "out2", align_file=whole.alignment, allow_missing=True))


def test_the_flat_is_made_of_what_is_there(channel: Path, holed: None, tmp_path: Path) -> None:
    seen = Seen()
    made = run(plan(options_of(channel, tmp_path / "out", on_error="skip", correct_flat=True)), seen)
    assert any("not used for the flat" in line for line in seen.warnings)
    record = json.loads((made.output / "provenance.json").read_text())["flat"]
    assert record["warnings"] == [line for line in seen.warnings if line in record["warnings"]]
    assert set(record["misfit_percent"]) >= {"reference", "product"} and "misfit_without_flat_percent" in record
    residual = tifffile.imread(made.output / "flat_residual.tiff")
    assert residual.shape == (ROWS, COLUMNS) and residual.any()
    # This specimen is so small that its light cannot be told from its tissue.
    assert (made.flat is None) == ("the volume is made WITHOUT a flat" in seen.warnings)
    assert (made.flat is None) != (made.output / "flat.tiff").exists()


def test_a_given_flat_without_light_somewhere_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "0" / "0_0"
    folder.mkdir(parents=True)
    raw = flat_frames(n=2)
    write_dcimg(folder / "0.dcimg", raw, len(raw), raw.shape[1:])
    flat = np.ones(raw.shape[1:], np.float32)
    flat[:, :24] = 0
    write_tiff(tmp_path / "flat.tiff", flat)
    options = options_of(tmp_path / "raw", tmp_path / "out", flat=tmp_path / "flat.tiff", correct_flat=True)
    run(plan(options), seen := Seen())
    assert any("flat.tiff is 0 in 25 % of its pixels" in line for line in seen.warnings)
    assert not any("not used" in line for line in seen.warnings)
    making = replace(options.illumination, n_frames=7, allow_poor_flat=True)
    run(plan(replace(options, output=tmp_path / "again", illumination=making)), seen := Seen())
    assert "`n_frames`, `allow_poor_flat` would tell how to make a flat, but `flat` is given: not used" in seen.warnings


def test_a_flat_and_no_flat_contradict(channel: Path, tmp_path: Path) -> None:
    write_tiff(tmp_path / "flat.tiff", np.ones((ROWS, COLUMNS), np.float32))
    with pytest.raises(ParameterError, match="`flat` is given, but"):
        plan(options_of(channel, tmp_path / "out", flat=tmp_path / "flat.tiff", correct_flat=False))


def test_light_is_told_and_a_flat_that_is_no_better_than_none_left_out(tmp_path: Path) -> None:
    light = np.exp(-0.5 * ((X + 0.08) / 0.5) ** 2)
    scenes = {"lit": {"light": light}, "even": {"light": EVEN}, "dark": {"empty": 1}, "single": {"n": 1}}
    for name, scene in scenes.items():
        folder = tmp_path / name / "0" / "0_0"
        folder.mkdir(parents=True)
        raw = flat_frames(**scene)
        write_dcimg(folder / "0.dcimg", raw, len(raw), raw.shape[1:])
        seen, options = Seen(), options_of(tmp_path / name, tmp_path / f"out-{name}", correct_flat=True)
        options = replace(options, correction=replace(options.correction, dark=100.0), keep_tiles=False)
        made = run(plan(options), seen)
        left_out = [line for line in seen.warnings if "WITHOUT a flat" in line]
        record = json.loads((made.output / "provenance.json").read_text())["flat"]
        assert record["is_used"] == (made.flat is not None)
        if name == "lit":
            assert made.flat is not None and not left_out and not record["refused"]
            assert np.abs(made.flat / made.flat.mean() / (light / light.mean()) - 1).mean() < 0.03
        else:
            assert made.flat is None and left_out and record["refused"]
            assert not (made.output / "flat.tiff").exists()
        if name == "dark":
            given = replace(options.illumination, background=70000)
            with pytest.raises(ParameterError, match="lower `background`"):
                plan(replace(options, illumination=given, overwrite=True))
            for background, says in {2000: "cannot be fitted", 5000: "lower `background`"}.items():
                given = replace(options.illumination, background=background)
                with pytest.raises(ParameterError, match=says):
                    run(plan(replace(options, illumination=given, overwrite=True)))
