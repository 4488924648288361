"""The pipeline, the same by hand, and what other programs read from the result."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cloudvolume
import numpy as np
import pytest

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.io.frames.opening import open_frames
from gpustitch.model import ObliqueScan
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.fuse import stage as stitch
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.folders import find_raw_mosaic
from gpustitch.oblique.mosaic.placing import mosaic_spacing, place
from tests.e2e.commands import read_level, succeed
from tests.e2e.conftest import MATCHING, SPEC

pytestmark = pytest.mark.xdist_group("e2e")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Two tiles with few frames, for runs that destripe each of them."""
    spec = dataclasses.replace(SPEC, n_frames=64, grid=(1, 2, 1), n_channels=1)
    return make_phantom(tmp_path_factory.mktemp("pair") / "phantom", spec)


def _align_and_stitch(tiles: Path, work: Path) -> Path:
    succeed("oblique-align", "--input", tiles, "--output", work / "align.json", "--voxel-size", 1.8,
            "--x-step-size", 1.28, "--is-oblique", *MATCHING)  # fmt: skip
    succeed("oblique2stitched", "--input", tiles, "--output", work / "stitched", "--alignment", work / "align.json",
            "--levels", 3, "--x-step-size", 1.28)  # fmt: skip
    return work / "stitched"


def test_by_hand_from_tiff_files_equals_the_pipeline(truth: Truth, plain_run: Path, tmp_path: Path) -> None:
    for tile in truth.tiles:
        place = Path(tile.path).with_suffix("")
        raw = tmp_path / "raw" / place
        succeed("dcimg2tif", "--input", truth.channel() / tile.path, "--output-pattern", raw / "img_%05d.tiff")
        assert len(list(raw.glob("img_*.tiff"))) == truth.spec.n_frames
        succeed("stack2oblique", "--input", raw / "img*.tiff", "--output", tmp_path / "tiles" / place, "--levels", 1,
                "--x-step-size", 1.28, "--y-voxel-size", 1.8)  # fmt: skip
    by_hand = _align_and_stitch(tmp_path / "tiles", tmp_path)
    for level in range(3):
        a, b = read_level(by_hand, level), read_level(plain_run / "volume", level)
        assert a.shape == b.shape
        assert np.abs(a.astype(int) - b).max() <= 1
    assert read_level(by_hand).std() > 10


def test_by_hand_with_flat_and_destriping_equals_the_pipeline(pair: Truth, tmp_path: Path) -> None:
    channel, flat = pair.channel(), tmp_path / "flat.tiff"
    succeed("pipeline", channel, "--output", tmp_path / "out", "--destripe-method", "wavelet", "--background", 100,
            "--notch-length", 200, "--levels", 3, "--staged", "--no-report", *MATCHING)  # fmt: skip
    succeed("oblique-illum-corr", "--auto", "--output", flat, "--dark", 100, *(channel / t.path for t in pair.tiles))
    for tile in pair.tiles:
        place = Path(tile.path).with_suffix("")
        destriped = tmp_path / "destriped" / place
        succeed("destripe", "--input", channel / tile.path, "--output", destriped, "--notch-length", 200,
                "--wavelet", "db5", "--flat", flat, "--dark", 100)  # fmt: skip
        succeed("stack2oblique", "--input", destriped, "--output", tmp_path / "tiles" / place, "--levels", 1)
    by_hand = read_level(_align_and_stitch(tmp_path / "tiles", tmp_path))
    piped = read_level(tmp_path / "out" / "volume")
    assert by_hand.shape == piped.shape
    assert np.abs(by_hand.astype(int) - piped).max() <= 1


def test_tiles_that_were_never_written_give_the_same_volume(truth: Truth, plain_run: Path, tmp_path: Path) -> None:
    mosaic = find_raw_mosaic(truth.channel())
    volumes = {}
    for tile in mosaic.tiles:
        frames = open_frames(tile.path)
        volumes[tile.name] = ObliqueTile(frames, ObliqueScan(*frames.shape, pixel_um=1.8, step_um=1.28))
    matching = MatchOptions(sample_count=MATCHING[1], window_px=(21, 21, 21))
    found = align.run(align.plan(AlignOptions(mosaic=mosaic, volumes=volumes, matching=matching)))
    tiles = [volumes[tile.name] for tile in mosaic.tiles]
    kept = read_alignment(plain_run / "align.json")
    spacing = mosaic_spacing(mosaic, tiles, kept.x_step_um, kept.voxel_size_um)
    origins = kept.placement(spacing).origin_px
    # Frames are compared as they are, tiles on disk as they were interpolated.
    apart = np.array([np.subtract(found.placement.origin_px[name], origins[name]) for name in origins])
    assert np.abs(apart - apart.mean(axis=0)).max() < 0.05
    placed = place(mosaic, tiles, origins, spacing)
    stitch.run(stitch.plan(placed, StitchOptions(tmp_path / "volume", levels=3)))
    for level in range(3):
        np.testing.assert_array_equal(read_level(tmp_path / "volume", level), read_level(plain_run / "volume", level))


def test_one_command_per_tile_equals_two(truth: Truth, plain_run: Path, tmp_path: Path) -> None:
    tile = truth.tiles[0]
    succeed("dcimg2oblique", "--input", truth.channel() / tile.path, "--output", tmp_path / "tile", "--levels", 2,
            "--x-step-size", 1.28, "--y-voxel-size", 1.8)  # fmt: skip
    kept = next((plain_run / "tiles").glob(f"*/{tile.stage_um[0] * 10:.0f}_{tile.stage_um[1] * 10:.0f}/*"))
    np.testing.assert_array_equal(read_level(tmp_path / "tile"), read_level(kept))


def test_positions_are_those_of_the_truth(truth: Truth, plain_run: Path) -> None:
    solved = json.loads((plain_run / "align.json").read_text())
    true, found = [], []
    for tile in truth.tiles:
        true.append(tile.true_um)
        found.append(solved["alignments"][json.dumps(list(tile.stage_um))])
    errors = np.array(found) - true
    errors -= errors.mean(0)
    assert np.abs(errors / (1.28, 1.8, 1.273)).max() < 0.75
    stage = np.array([t.stage_um for t in truth.tiles]) - true
    assert np.abs(stage - stage.mean(0)).max() > 2, "the stage should have been wrong by more than that"


def test_another_reader_sees_right_sizes_and_values_at_all_levels(plain_run: Path) -> None:
    whole = read_level(plain_run / "volume").astype(np.float64)
    sine = np.sin(np.pi / 4)
    y_um = json.loads((plain_run / "align.json").read_text())["voxel_size"]
    for level in range(3):
        volume = cloudvolume.CloudVolume(f"file://{plain_run / 'volume'}", mip=level, progress=False, fill_missing=True)
        np.testing.assert_allclose(volume.resolution, np.array([1280, y_um * 1e3, y_um * 1e3 * sine]) * 2**level)
        voxels = np.asarray(volume[:])[..., 0].transpose(2, 1, 0)
        np.testing.assert_array_equal(voxels, read_level(plain_run / "volume", level))
        assert voxels.shape == tuple(-(-n // 2**level) for n in whole.shape)
    for level in (1, 2):
        n = 2**level
        z, y, x = (length // n * n for length in whole.shape)
        mean = whole[:z, :y, :x].reshape(z // n, n, y // n, n, x // n, n).mean((1, 3, 5))
        coarse = read_level(plain_run / "volume", level)[: z // n, : y // n, : x // n]
        assert np.abs(coarse - mean).max() <= 1


def test_a_second_channel_takes_the_positions_of_the_first(truth: Truth, plain_run: Path, tmp_path: Path) -> None:
    succeed("pipeline", truth.channel(1), "--output", tmp_path / "out", "--align-file", plain_run / "align.json",
            "--no-flat", "--destripe-method", "none", "--levels", 1, "--no-report")  # fmt: skip
    assert (tmp_path / "out" / "align.json").read_bytes() == (plain_run / "align.json").read_bytes()
    assert read_level(tmp_path / "out" / "volume").shape == read_level(plain_run / "volume").shape


def test_output_holds_all_that_is_promised(pair: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "X_STEP_SIZE": "1.28", "Y_VOXEL_SIZE": "1.8", "USE_WAVELETS": "1", "BACKGROUND": "100", "ALIGN_XZ": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    said = succeed("pipeline", pair.channel(), "--output", tmp_path / "out", "--quiet", "--levels", 2, *MATCHING)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "align.json",
        "flat.tiff",
        "flat_residual.tiff",
        "pipeline.toml",
        "provenance.json",
        "report.html",
        "report.json",
        "run.json",
        "run.log",
        "volume",
    ]
    *warnings, result = said.splitlines()
    assert "out/volume: " in result and not any("<- chosen" in w for w in warnings), (
        "quiet prints warnings and the result"
    )
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["parameters"]["correction"]["method"] == "wavelet"
    assert record["parameters"]["correction"]["dark"] == 100
    chosen, used = record["destriping"]["choice"]["notch"], record["parameters"]["correction"]["wavelet"]
    assert {name: used[name] for name in chosen} == chosen
    assert record["destriping"]["measures"]["frames"] == 8
    assert {Path(i["path"]).name for i in record["inputs"]} == {Path(t.path).name for t in pair.tiles}
    records = list((tmp_path / "out").rglob("*.json"))
    assert len(records) >= 3 and not any(".partial" in file.read_text() for file in records)


def test_a_single_file_becomes_a_volume(truth: Truth, tmp_path: Path) -> None:
    tile = truth.channel() / truth.tiles[0].path
    succeed("pipeline", tile, "--output", tmp_path / "out", "--no-flat", "--destripe-method", "none", "--levels", 1)
    succeed("dcimg2oblique", "--input", tile, "--output", tmp_path / "tile", "--levels", 1, "--y-voxel-size", 1.8,
            "--x-step-size", 1.28)  # fmt: skip
    # Halves are rounded to even in one, upwards in the other.
    apart = read_level(tmp_path / "out" / "volume").astype(int) - read_level(tmp_path / "tile")
    assert set(np.unique(apart)) <= {-1, 0} and np.count_nonzero(apart) < 1e-3 * apart.size


def test_camera_that_is_turned(tmp_path: Path) -> None:
    spec = PhantomSpec(grid=(2, 1, 1), n_frames=40, n_rows=48, n_columns=32, overlap=0.4, noise=False)
    upright = make_phantom(tmp_path / "upright", spec)
    turned = make_phantom(tmp_path / "turned", dataclasses.replace(spec, chunglab=True))
    volumes = []
    for truth, preset in ((upright, "plain"), (turned, "chunglab"), (turned, "auto")):
        out = tmp_path / preset
        succeed("pipeline", truth.channel(), "--output", out, "--preset", preset, "--destripe-method", "none",
                "--no-flat", "--levels", 1, "--window-size", "9,9,9", "--sample-count", 5,
                "--allow-unaligned", "--no-report")  # fmt: skip
        volumes.append(read_level(out / "volume"))
    np.testing.assert_array_equal(volumes[0], volumes[1])
    np.testing.assert_array_equal(volumes[1], volumes[2])


def test_info_says_what_is_there(truth: Truth, plain_run: Path) -> None:
    assert "4 tiles on a grid of 2 x 2 x 1" in succeed("info", truth.channel())
    assert f"{SPEC.n_frames} frames of 128 rows x 96 columns, uint16" in succeed(
        "info", truth.channel() / truth.tiles[0].path
    )
    assert "3 levels" in succeed("info", plain_run / "volume")
    assert f"one oblique tile of {SPEC.n_frames} frames" in succeed("info", next((plain_run / "tiles").glob("*/*/*")))
    assert "alignment of 4 tiles" in succeed("info", plain_run / "align.json")
    assert "numpy" in succeed("info")
