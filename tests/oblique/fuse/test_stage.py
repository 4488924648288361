"""Stitching a tree of volumes: placement, output, options and refusals."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gpustitch.errors import InputMissingError, MosaicError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.fuse import stage as stitch
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.options import Intensity, StitchOptions, TreeOptions
from gpustitch.oblique.fuse.stage import plan_tree
from gpustitch.ops.pyramid import downsample

SCAN = ObliqueScan(n_frames=40, n_rows=36, n_columns=20, pixel_um=1.8, step_um=1.28)


def texture(z_um: Any, y_um: Any, x_um: Any) -> Any:
    """Something smooth over tens of microns, 500 to 1500."""
    return 1000 + 250 * np.sin(x_um / 9) + 150 * np.cos(y_um / 11 + x_um / 30) + 100 * np.sin(z_um / 7)


def write_tile(
    root: Path, x: int, y: int, z: int, values: npt.NDArray[Any], scan: ObliqueScan = SCAN, **options: Any
) -> None:
    path = root / f"{x}" / f"{x}_{y}" / f"{z}"
    path.parent.mkdir(parents=True, exist_ok=True)
    covered = values * scan.coverage.mask(Box.of_shape(scan.shape))
    with PrecomputedWriter(
        path,
        scan.shape,
        values.dtype,
        scan.spacing,
        Writing(levels=1, sidecar={"scan": dataclasses.asdict(scan)}, **options),
    ) as writer:
        for box in writer.blocks():
            writer.write(box, np.ascontiguousarray(covered[box.slices()]).astype(values.dtype))


def seen(x_um: float, y_um: float, z_um: float = 0, scan: ObliqueScan = SCAN) -> npt.NDArray[np.uint16]:
    z, y, x = np.ogrid[tuple(slice(0, n) for n in scan.shape)]
    dz, dy, dx = scan.spacing.zyx_um
    return np.rint(texture(z * dz + z_um, y * dy + y_um, x * dx + x_um)).astype(np.uint16)


POSITIONS = [(0, 0, 0), (0, 500, 0), (370, 3, 0), (373, 498, 0)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """2 x 2 tiles of one texture, at positions that are no whole voxels."""
    root = tmp_path / "tiles"
    for x, y, z in POSITIONS:
        write_tile(root, x, y, z, seen(x / 10, y / 10))
    return root


def whole(path: Path, level: int = 0) -> npt.NDArray[Any]:
    volume = PrecomputedVolume(path, level)
    return volume.read(Box.of_shape(volume.shape))


def stitched(tree: Path, output: Path, source: Mapping[str, Any] | None = None, **options: Any) -> npt.NDArray[Any]:
    settings = {"levels": 1, "chunk_shape": (16, 16, 16), **options}
    stitch.run(plan_tree(TreeOptions(tree, **(source or {})), StitchOptions(output, **settings)))
    return whole(output)


def test_the_volume_is_the_sample(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "volume"
    result = stitched(tree, output)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in result.shape)]
    dz, dy, dx = SCAN.spacing.zyx_um
    truth = texture(z * dz, y * dy, x * dx)
    covered = result > 0
    assert np.abs(result - truth)[covered].max() < 6
    assert covered.sum() > 0.97 * 4 * SCAN.n_frames * SCAN.n_rows * SCAN.n_columns * 0.6
    info = json.loads((output / "info").read_text())["scales"][0]
    assert info["resolution"] == pytest.approx([1280, 1800, 1800 / 2**0.5])
    assert info["voxel_offset"] == [0, 0, 0]
    record = json.loads((output / "gpustitch.json").read_text())
    assert record["program"] == "gpustitch"
    used = record["parameters"]["output"]
    assert used["n_workers"] >= 1 and used["device"] in ("cpu", "cuda:0"), "what was used, not what was asked for"
    assert [tile["name"] for tile in record["tiles"]] == ["0_0_0", "0_500_0", "370_3_0", "373_498_0"]


def test_blocks_in_threads_are_the_fusion_of_the_whole(tree: Path, tmp_path: Path) -> None:
    plan = plan_tree(TreeOptions(tree), StitchOptions(tmp_path / "o", levels=3, chunk_shape=(8, 16, 16), n_workers=3))
    stitch.run(plan)
    block = plan_block(Box.of_shape(plan.shape), plan.mosaic.tiles)
    voxels = {n: plan.mosaic.tiles[n].volume.read(need) for n, need in block.reads.items()}
    expected = fuse_block(block, voxels)
    np.testing.assert_array_equal(whole(tmp_path / "o"), expected)
    np.testing.assert_array_equal(whole(tmp_path / "o", 1), downsample(expected))
    np.testing.assert_array_equal(whole(tmp_path / "o", 2), downsample(downsample(expected)))


def test_a_part_of_the_mosaic(tree: Path, tmp_path: Path) -> None:
    everything = stitched(tree, tmp_path / "all")
    part = stitched(tree, tmp_path / "part", size=(9, 21, 33), offset=(5, 20, 10))
    np.testing.assert_array_equal(part, everything[5:14, 20:41, 10:43])
    rest = stitched(tree, tmp_path / "rest", offset=(5, 20, 10))
    np.testing.assert_array_equal(rest, everything[5:, 20:, 10:])
    larger = stitched(tree, tmp_path / "larger", size=(21, 64, 80))
    assert larger.shape == (21, 64, 80)
    np.testing.assert_array_equal(larger[20], 0)


def test_plan_says_what_is_written(tree: Path, tmp_path: Path) -> None:
    options = StitchOptions(tmp_path / "o", levels=2, chunk_shape=(16, 16, 16), shard_bytes=0)
    plan = plan_tree(TreeOptions(tree), options)
    assert plan.shape == (20, 36 + 28, 40 + 19 + 30)
    assert plan.n_chunks == 2 * 4 * 6 + 1 * 2 * 3
    assert sum(box.size for box in plan.blocks()) == np.prod(plan.shape)
    assert len(list(plan.blocks())) == plan.n_blocks
    stitch.run(plan)
    written = sum(file.stat().st_size for file in (tmp_path / "o").rglob("*-*"))
    assert 0 < written <= plan.output_bytes
    assert not (tmp_path / "o.partial").exists()


def test_little_disk_is_asked_for_where_tiles_are_far_apart(tmp_path: Path) -> None:
    for x, y in zip(range(0, 5000, 1000), range(0, 6500, 1300), strict=True):
        write_tile(tmp_path / "tiles", x, y, 0, seen(x / 10, y / 10))
    options = StitchOptions(tmp_path / "o", levels=1, chunk_shape=(16, 16, 16), shard_bytes=0)
    plan = plan_tree(TreeOptions(tmp_path / "tiles"), options)
    stitch.run(plan)
    written = sum(file.stat().st_size for file in (tmp_path / "o").rglob("*-*"))
    assert 0 < written <= plan.output_bytes < np.prod(plan.shape)  # of uint16: half of all
    filled = plan_tree(TreeOptions(tmp_path / "tiles"), dataclasses.replace(options, write_empty=True, overwrite=True))
    assert filled.output_bytes >= np.prod(plan.shape) * 2


def test_alignment_places_the_tiles(tree: Path, tmp_path: Path) -> None:
    """The second column is truly 2.56 um further along x than its names say."""
    for x, y, z in POSITIONS[2:]:
        folder = tree / f"{x}" / f"{x}_{y}" / f"{z}"
        for file in sorted(folder.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        folder.rmdir()
        write_tile(tree, x, y, z, seen(x / 10 + 2.56, y / 10))
    found = {json.dumps([x / 10, y / 10, 0.0]): [x / 10 + 2.56 * (x > 0), y / 10, 0.0] for x, y, _ in POSITIONS}
    alignment = tmp_path / "alignment.json"
    alignment.write_text(json.dumps({"voxel_size": 1.8, "x_step_size": 1.28, "align-z": False, "alignments": found}))
    result = stitched(tree, tmp_path / "o", {"alignment": alignment})
    z, y, x = np.ogrid[tuple(slice(0, n) for n in result.shape)]
    dz, dy, dx = SCAN.spacing.zyx_um
    assert np.abs(result - texture(z * dz, y * dy, x * dx))[result > 0].max() < 6


def test_a_tile_that_the_alignment_does_not_name(tree: Path, tmp_path: Path) -> None:
    alignment = tmp_path / "alignment.json"
    found = {"[0.0, 0.0, 0.0]": [0.0, 0.0, 0.0]}
    alignment.write_text(json.dumps({"voxel_size": 1.8, "x_step_size": 1.28, "alignments": found}))
    with pytest.raises(MosaicError, match=r"x 0, y 50, z 0 um; x 37, y 0\.3, z 0 um; x 37\.3, y 49\.8"):
        plan_tree(TreeOptions(tree, alignment), StitchOptions(tmp_path / "o"))


def test_an_alignment_of_tiles_with_another_sheet_angle(tree: Path, tmp_path: Path) -> None:
    alignment = tmp_path / "alignment.json"
    found = {json.dumps([x / 10, y / 10, 0.0]): [x / 10, y / 10, 0.0] for x, y, _ in POSITIONS}
    alignment.write_text(json.dumps({"voxel_size": 1.8, "x_step_size": 1.28, "angle": 30.0, "alignments": found}))
    with pytest.raises(MosaicError, match="at 30 degrees, but the tiles are of one at 45"):
        plan_tree(TreeOptions(tree, alignment), StitchOptions(tmp_path / "o"))


def test_another_pixel_size_stretches_z_and_shears(tmp_path: Path) -> None:
    """Tiles taken for pixels of 1.8 um that are 1.9: every plane lies where the camera saw it."""
    true = dataclasses.replace(SCAN, pixel_um=1.9)
    root = tmp_path / "tiles"
    for y in (0, 500):
        z, r, x = np.ogrid[tuple(slice(0, n) for n in SCAN.shape)]
        frame = x - SCAN.shear * z
        values = texture(z * true.spacing.z_um, r * 1.9 + y / 10, frame * 1.28 + true.shear * z * 1.28)
        write_tile(root, 0, y, 0, np.rint(values).astype(np.uint16))
    result = stitched(root, tmp_path / "o", {"y_voxel_um": 1.9})
    assert PrecomputedVolume(tmp_path / "o").spacing.zyx_um == pytest.approx(true.spacing.zyx_um)
    z, y, x = np.ogrid[tuple(slice(0, n) for n in result.shape)]
    dz, dy, dx = true.spacing.zyx_um
    assert np.abs(result - texture(z * dz, y * dy, x * dx))[result > 0].max() < 6
    assert result.shape[2] == np.ceil(39 + 19 * true.shear) + 1


def test_z_offset_and_negative_y(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    for y, z in ((0, 0), (-500, 0), (0, 100), (-500, 100)):
        write_tile(root, 0, y, z, np.full(SCAN.shape, 1000, np.uint16))
    plan = plan_tree(TreeOptions(root, z_offset=17, negative_y=True), StitchOptions(tmp_path / "o"))
    origins = {tile.name: tile.origin_px for tile in plan.mosaic.tiles}
    assert origins["0_-500_100"] == pytest.approx((17, 50 / 1.8, 0))
    assert origins["0_0_0"] == (0, 0, 0)
    plain = plan_tree(TreeOptions(root), StitchOptions(tmp_path / "o"))
    assert {tile.name: tile.origin_px for tile in plain.mosaic.tiles}["0_0_100"] == pytest.approx(
        (10 / SCAN.spacing.z_um, 50 / 1.8, 0)
    )


def test_a_missing_tile_is_named_and_left_empty(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    for x, y in ((0, 0), (0, 500), (370, 3)):
        write_tile(root, x, y, 0, np.full(SCAN.shape, 1000, np.uint16))
    plan = plan_tree(TreeOptions(root), StitchOptions(tmp_path / "o", levels=1))
    assert plan.mosaic.notes == ("no tile near x 37, y 50, z 0 um: the volume is empty there",)
    stitch.run(plan)
    result = whole(tmp_path / "o")
    assert set(np.unique(result)) == {0, 1000}
    assert not result[:, 45:, 70:].any()


@pytest.mark.parametrize("given", [True, False])
def test_tiles_that_are_darker_at_one_end_are_evened_out(tmp_path: Path, given: bool) -> None:
    root = tmp_path / "tiles"
    scan = dataclasses.replace(SCAN, n_frames=80)
    dim = 1 - 0.3 * np.arange(scan.n_rows)[None, :, None] / (scan.n_rows - 1)
    for y in (0, 450):
        write_tile(root, 0, y, 0, np.rint(seen(0, y / 10, scan=scan) * dim).astype(np.uint16), scan)
    intensity = Intensity(0.7 if given else None, is_estimated=not given, n_patches=30)
    plan = plan_tree(TreeOptions(root), StitchOptions(tmp_path / "o", levels=1, intensity=intensity))
    result = stitch.run(plan)
    assert result.last_to_first == pytest.approx(0.7, abs=0.01)
    volume = whole(tmp_path / "o")
    z, y, x = np.ogrid[tuple(slice(0, n) for n in volume.shape)]
    dz, dy, dx = scan.spacing.zyx_um
    error = np.abs(volume / texture(z * dz, y * dy, x * dx) - 1)[volume > 0]
    assert error.max() < 0.03


def test_y_intensity_needs_an_overlap(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    write_tile(root, 0, 0, 0, seen(0, 0))
    plan = plan_tree(TreeOptions(root), StitchOptions(tmp_path / "o", levels=1, intensity=Intensity(is_estimated=True)))
    with pytest.raises(ParameterError, match="of 0 patches"):
        stitch.run(plan)
    assert not (tmp_path / "o").exists()


def test_tiles_must_be_alike(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    write_tile(root, 0, 0, 0, seen(0, 0))
    other = dataclasses.replace(SCAN, step_um=2.0)
    write_tile(root, 0, 500, 0, np.ones(other.shape, np.uint16), other)
    with pytest.raises(MosaicError, match="0_500/0 has voxels of"):
        plan_tree(TreeOptions(root), StitchOptions(tmp_path / "o"))


def test_bad_options_are_refused_before_anything_is_written(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "o"
    bad: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"levels": 0}),
        ({}, {"chunk_shape": (0, 64, 64)}),
        ({}, {"offset": (0, 0, 500)}),
        ({}, {"offset": (-1, 0, 0)}),
        ({}, {"size": (0, 5, 5)}),
        ({}, {"n_workers": 0}),
        ({}, {"intensity": Intensity(-1.0)}),
        ({}, {"intensity": Intensity(0.7, is_estimated=True)}),
        ({}, {"intensity": Intensity(n_patches=0)}),
        ({}, {"intensity": Intensity(is_estimated=True, n_patches=2**31)}),
        ({}, {"intensity": Intensity(min_correlation=1.5)}),
        ({"x_step_um": -1.0}, {}),
        ({"y_voxel_um": float("nan")}, {}),
    ]
    for source, options in bad:
        with pytest.raises(ParameterError):
            plan_tree(TreeOptions(tree, **source), StitchOptions(output, **options))
    with pytest.raises(InputMissingError):
        plan_tree(TreeOptions(tmp_path / "nowhere"), StitchOptions(output))
    assert not output.exists()
    output.mkdir()
    (output / "mine").touch()
    with pytest.raises(OutputExistsError):
        plan_tree(TreeOptions(tree), StitchOptions(output))
    with pytest.raises(OutputError, match="marks an output"):
        stitched(tree, output, overwrite=True)
    (output / "info").touch()
    stitched(tree, output, overwrite=True)
    assert (output / "info").read_text()
    assert not (output / "mine").exists()


@pytest.mark.parametrize(
    ("shard_bytes", "files", "message"), [(0, "0-*_0-*_0-*", "has 100 bytes"), (1 << 20, "0.shard", "cannot be read")]
)
def test_a_damaged_tile_leaves_no_output(
    tree: Path, tmp_path: Path, shard_bytes: int, files: str, message: str
) -> None:
    write_tile(tree, 0, 0, 0, seen(0, 0), overwrite=True, shard_bytes=shard_bytes)
    chunk = next((tree / "0" / "0_0" / "0").rglob(files))
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(OSError, match=message):
        stitched(tree, tmp_path / "o")
    assert [path.name for path in tmp_path.iterdir()] == ["tiles"]


def test_the_name_tells_the_format(tree: Path, tmp_path: Path) -> None:
    expected = stitched(tree, tmp_path / "v")
    options = StitchOptions(tmp_path / "v.ome.zarr", levels=1, chunk_shape=(16, 16, 16))
    stitch.run(plan_tree(TreeOptions(tree), options))
    volume = OmeZarrVolume(tmp_path / "v.ome.zarr")
    np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), expected)
    with pytest.raises(ParameterError, match="named as NIfTI, which is written from the first plane to the last"):
        plan_tree(TreeOptions(tree), StitchOptions(tmp_path / "v.nii"))


def test_chunks_of_zeros_are_written_on_request(tree: Path, tmp_path: Path) -> None:
    small = {"levels": 2, "chunk_shape": (8, 8, 8)}
    expected = stitched(tree, tmp_path / "v", **small)
    np.testing.assert_array_equal(stitched(tree, tmp_path / "all", write_empty=True, **small), expected)
    n_chunks = math.prod(-(-n // 8) for n in expected.shape)
    assert PrecomputedVolume(tmp_path / "v").n_files < PrecomputedVolume(tmp_path / "all").n_files == n_chunks
