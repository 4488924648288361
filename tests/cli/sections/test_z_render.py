"""The command ``z-render``."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from numcodecs import LZ4
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box
from gpustitch.regrid.plan import ZGrid, plan_z, sorted_series
from gpustitch.regrid.zresample import planes_between
from gpustitch.sections.positions.file import ZPositions, write_z_positions


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Planes, their positions, and the files that hold them."""
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 65536, (30, 40, 50)).astype(np.uint16)
    positions = rng.permutation(np.r_[0, np.cumsum(rng.uniform(0.4, 1.7, 29))])
    folder = tmp_path_factory.mktemp("series")
    np.save(folder / "in.npy", planes)
    unknown = np.full(30, np.nan)
    z = ZPositions(positions, np.argsort(positions), unknown, unknown)
    write_z_positions(folder / "z.csv", z)
    return planes, positions, folder


def call(*arguments):
    return CliRunner().invoke(app, ["z-render", *map(str, arguments)])


def expected(planes, positions, step, **options):
    grid = ZGrid(positions.min(), step, int(np.ptp(positions) / step + 1e-6) + 1)
    made = plan_z(sorted_series(positions), grid, **options)
    return planes_between(list(planes), made.lower, made.upper, made.weight)


def test_every_option_reaches_the_volume(series, tmp_path):
    planes, positions, folder = series
    result = call(
        folder / "in.npy", folder / "z.csv", tmp_path / "v", "--voxel-size", "0.5,0.25,2", "--z-spacing", 0.8,
        "--nearest", "--max-gap", 3, "--fill-gaps", "--format", "ome-zarr", "--levels", 2, "--chunk-size", "32,16,8",
        "--memory", "1M", "--n-workers", 2, "--n-writers", 1, "--device", "cpu", "--allow-missing", "--overwrite",
        "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0 and not result.output, result.output
    volume = OmeZarrVolume(tmp_path / "v")
    assert volume.spacing.zyx_um == pytest.approx((0.8, 0.25, 0.5)) and volume.chunk_shape == (8, 16, 32)
    wanted = expected(planes, positions, 0.4, nearest=True)
    np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), wanted)
    told = json.loads((tmp_path / "v" / "gpustitch.json").read_text())
    assert told["plane_distance_in_sections"] == 0.4 and told["parameters"]["nearest"] is True
    assert [source["path"] for source in told["inputs"]] == [str(folder / "in.npy"), str(folder / "z.csv")]


def test_defaults_and_what_it_says(series, tmp_path):
    planes, positions, folder = series
    result = call(folder / "in.npy", folder / "z.csv", tmp_path / "v", "--voxel-size", "1,1,1")
    assert result.exit_code == 0, result.output
    n = int(np.ptp(positions)) + 1
    assert "device " in result.output and "render: 1 block\n" in result.output
    assert f"30 sections to {n} planes of 50 x 40; voxels of 1 x 1 x 1 um" in result.output
    volume = PrecomputedVolume(tmp_path / "v")
    np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), expected(planes, positions, 1.0))
    tiff = call(tmp_path / "v", folder / "z.csv", tmp_path / "v.tif")
    assert tiff.exit_code == 6 and f"positions of 30 sections, {tmp_path / 'v'} has {n}" in tiff.output
    tiff = call(folder / "in.npy", folder / "z.csv", tmp_path / "v.tif", "--voxel-size", "1,1,1", "--memory", "1K")
    assert tiff.exit_code == 0, tiff.output
    assert open_planes(tmp_path / "v.tif").spacing.zyx_um == (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ((), 3, "--voxel-size"),
        (("--voxel-size", "1,1"), 3, "takes 3 positive numbers"),
        (("--voxel-size", "1,1,0"), 3, "positive"),
        (("--voxel-size", "1,1,1", "--chunk-size", "5"), 3, "--chunk-size"),
        (("--voxel-size", "1,1,1", "--format", "nrrd"), 3, "precomputed, ome-zarr, tiff"),
        (("--voxel-size", "1,1,1", "--memory", "much"), 3, "--memory"),
        (("--voxel-size", "1,1,1", "--max-gap", "-1"), 3, "--max-gap"),
        (("--z-spacing",), 2, "z-spacing"),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(series, tmp_path, arguments, code, text):
    result = call(series[2] / "in.npy", series[2] / "z.csv", tmp_path / "v", *arguments)
    assert result.exit_code == code and text in result.output
    assert not list(tmp_path.iterdir())


def test_bad_input_and_existing_output(series, tmp_path):
    folder = series[2]
    size = ("--voxel-size", "1,1,1")
    missing = call(tmp_path / "none.tif", folder / "z.csv", tmp_path / "v", *size)
    assert missing.exit_code == 4 and "none.tif" in missing.output
    missing = call(folder / "in.npy", folder / "none.csv", tmp_path / "v", *size)
    assert missing.exit_code == 4 and "none.csv" in missing.output
    (tmp_path / "bad.csv").write_text("z-index,mapping\n0,0\n1,nan\n")
    damaged = call(folder / "in.npy", tmp_path / "bad.csv", tmp_path / "v", *size)
    assert damaged.exit_code == 5 and "not finite" in damaged.output
    (tmp_path / "there").write_text("")
    exists = call(folder / "in.npy", folder / "z.csv", tmp_path / "there", *size)
    assert exists.exit_code == 7 and "--overwrite" in exists.output
    assert call(folder / "in.npy", folder / "z.csv", tmp_path / "v", *size, "--device", "tpu").exit_code == 3


def test_help_has_an_example():
    result = call("--help")
    assert result.exit_code == 0 and "Example: gpustitch z-render" in result.output


def test_one_channel_of_a_zarr_array_of_another_program(series, tmp_path):
    planes, positions, folder = series
    array = zarr.create_array(
        tmp_path / "in", shape=(30, 2, 40, 50), chunks=(8, 1, 32, 32), dtype=">u2", zarr_format=2, compressors=LZ4()
    )
    array[:, 0], array[:, 1] = 7, planes
    (tmp_path / "in/.zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": list("ZCYX")}))
    given = (tmp_path / "in", folder / "z.csv", tmp_path / "v", "--voxel-size", "0.5,0.25,2", "--write-empty")
    refused = call(*given)
    assert refused.exit_code == 3 and "choose one by --channel" in " ".join(refused.output.split())
    assert call(*given, "--channel", "2").exit_code == 0
    volume = PrecomputedVolume(tmp_path / "v")
    np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), expected(planes, positions, 1.0))
