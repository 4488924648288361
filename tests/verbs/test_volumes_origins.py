"""What is written with a place is opened with it, in every format and at every level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import gpustitch as gs
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.write.formats import OUTPUT_FORMATS
from gpustitch.model import Spacing, level_factors
from gpustitch.verbs.lazy import LazyVolume
from gpustitch.verbs.sources import volume_of
from tests.verbs.libraries import texture

SHAPE = (9, 37, 21)
# By name every format, and of TIFF both descriptions.
NAMES = [
    f"v{suffix}"
    for format in OUTPUT_FORMATS
    for suffix in (format.suffixes or ("",))
    if suffix not in (".tiff", ".planes")  # planes in many files are opened as planes
]


def placed(seed, dtype="uint16"):
    """A volume of random voxels, spacing and place: near and far, negative, whole voxels and parts of them."""
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.3, 5, 3).tolist())
    at = rng.choice([-1, 1], 3) * 10 ** rng.uniform(-2, 5, 3)
    if seed % 3 == 0:
        at = np.rint(at / spacing) * spacing
    origin = tuple((at * (rng.random(3) < 0.8)).tolist())
    return LazyVolume(volume_of(texture(SHAPE, seed, dtype), spacing).volume, origin)


def precision_um(name, volume):
    """Half a step of the numbers that a format has: NIfTI's are float32, TIFF's resolutions ratios of 32 bits."""
    part = 1e-6 if ".nii" in name else 5e-10 if name not in ("v", "v.zarr") else 1e-12
    return np.maximum(1e-9, np.abs(volume.origin_um) * part)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(6))
def test_origins_come_back_from_every_format(name, seed, tmp_path):
    volume = placed(seed)
    found = gs.open_volume(gs.write(tmp_path / name, volume))
    assert (np.abs(np.subtract(found.origin_um, volume.origin_um)) <= precision_um(name, volume)).all()
    np.testing.assert_allclose(found.spacing_um, volume.spacing_um, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(volume))
    coordinates = found.to_xarray().coords
    for axis, at, step in zip("zyx", volume.origin_um, volume.spacing_um, strict=True):
        np.testing.assert_allclose(coordinates[axis][:2], [at, at + step], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["v", "v.zarr"])
@pytest.mark.parametrize("seed", range(4))
def test_origins_of_levels_are_the_centres_of_what_they_are_means_of(name, seed, tmp_path):
    volume = placed(seed)
    path = gs.write(tmp_path / name, volume, levels=4, chunk_shape=(8, 8, 8))
    for level, factors in enumerate(np.array(level_factors(Spacing(*volume.spacing_um), 4))):
        found = gs.open_volume(path, level=level)
        centre = np.add(volume.origin_um, np.array(volume.spacing_um) * (factors - 1) / 2)
        np.testing.assert_allclose(found.origin_um, centre, atol=1e-9, rtol=1e-12)
        assert found.spacing_um == pytest.approx(factors * volume.spacing_um)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [{}, {"shard_bytes": 0}, {"write_empty": True}])
def test_offsets_of_precomputed_levels_are_the_nearest_whole_voxels(seed, options, tmp_path):
    volume = placed(seed)
    path = gs.write(tmp_path / "v", volume, levels=3, chunk_shape=(8, 8, 8), **options)
    for scale in json.loads((path / "info").read_text())["scales"]:
        corner_um = np.multiply(scale["voxel_offset"], scale["resolution"])[::-1] / 1000
        size_um = np.array(scale["resolution"][::-1]) / 1000
        due_um = np.subtract(volume.origin_um, np.array(volume.spacing_um) / 2)
        assert (np.abs(corner_um - due_um) <= size_um / 2 * (1 + 1e-9)).all()
    np.testing.assert_array_equal(np.asarray(gs.open_volume(path)), np.asarray(volume))


@pytest.mark.parametrize("options", [{}, {"shard_bytes": 0}])
def test_volumes_with_offsets_are_read_by_other_programs_too(options, tmp_path):
    cloudvolume = pytest.importorskip("cloudvolume")
    voxels = texture(SHAPE)
    path = gs.write(tmp_path / "v", voxels, (2, 1, 0.5), origin_um=(-7, 100.5, 7.75), levels=1, **options)
    other = cloudvolume.CloudVolume(f"file://{path}", progress=False)
    assert tuple(other.voxel_offset) == (15, 100, -4)
    np.testing.assert_array_equal(np.asarray(other[:, :, :])[..., 0].T, voxels)


def test_an_offset_without_a_sidecar_is_the_place(tmp_path):
    path = gs.write(tmp_path / "v", texture(SHAPE), (2, 1, 0.5), origin_um=(-7, 100.5, 7.75), levels=1)
    (path / "gpustitch.json").unlink()
    (path / "gpustitch.files.json").unlink()
    assert gs.open_volume(path).origin_um == pytest.approx((-7, 100.5, 7.75))


def test_an_offset_that_contradicts_the_sidecar_is_refused(tmp_path):
    path = gs.write(tmp_path / "v", texture(SHAPE), (2, 1, 0.5), origin_um=(-7, 100.5, 7.75), levels=1)
    sidecar = path / "gpustitch.json"
    sidecar.write_text(sidecar.read_text().replace("100.5", "101.5"))
    (path / "gpustitch.files.json").unlink()
    with pytest.raises(DamagedInputError, match="correct the one that is wrong"):
        gs.open_volume(path)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_has_no_place_unless_it_is_given(name, tmp_path):
    found = gs.open_volume(gs.write(tmp_path / name, texture(SHAPE), (1, 2, 3)))
    # What viewers show begins with a corner at 0; other files say nothing.
    has_corner = not Path(name).suffix or name.endswith(".zarr")
    assert found.origin_um == ((0.5, 1, 1.5) if has_corner else (0, 0, 0))
    if ".nii" in name:
        nibabel = pytest.importorskip("nibabel")
        assert nibabel.load(tmp_path / name).header["sform_code"] == 0


def test_stitched_volumes_keep_their_place(tmp_path):
    rng = np.random.default_rng(3)
    tiles = [gs.deskew(texture((20, 8, 9), k), 1.8, 1.28) for k in range(2)]
    positions = rng.uniform(-300, 300, 3) + [(0, 0, 0), (0, 9.1, 3.3)]
    whole = gs.stitch(tiles, positions)
    found = gs.open_volume(gs.write(tmp_path / "v.zarr", whole))
    assert found.origin_um == pytest.approx(positions.min(0).tolist())


def test_other_programs_see_the_place_in_one_file(tmp_path):
    origin = (-8.0, 100.0, 7.5)
    for name in ("a.tif", "a.ome.tif", "a.nii"):
        gs.write(tmp_path / name, texture(SHAPE), (2, 1, 0.5), origin_um=origin)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        facts = file.imagej_metadata
        assert [float(facts[f"{axis}origin"]) for axis in "zyx"] == [4, -100, -15]
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.ome_metadata.count('PositionY="100.0"') == SHAPE[0]
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(tmp_path / "a.nii"))
    np.testing.assert_allclose(image.GetOrigin(), [0.0075, 0.1, -0.008], atol=1e-9)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-7)


@pytest.mark.parametrize("origin", [(1, 2), (1, 2, np.nan), (1, np.inf, 2), "abc", 5])
def test_an_origin_that_is_none_is_refused(origin, tmp_path):
    with pytest.raises(ParameterError, match="origin_um"):
        gs.write(tmp_path / "v.zarr", texture(SHAPE), (1, 1, 1), origin_um=origin)
    assert not list(tmp_path.iterdir())
