"""Reading OME-Zarr images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorstore as ts

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.opening import is_volume, open_volume
from gpustitch.io.volumes.sidecar import SIDECAR
from gpustitch.model import Box, Coverage, ObliqueScan, Spacing
from gpustitch.show.describe import describe_path
from tests.io.write.test_ome_zarr import noise, read, write


def array(path, voxels, driver="zarr3", **metadata):
    """A zarr array as another program may write it."""
    key = {"zarr3": "data_type", "zarr": "dtype"}[driver]
    kind = voxels.dtype.name if driver == "zarr3" else voxels.dtype.str
    spec = {"driver": driver, "kvstore": f"file://{path}/", "metadata": {"shape": voxels.shape, key: kind, **metadata}}
    ts.open(spec, create=True).result().write(voxels).result()


def group(path, axes, steps, outer=None, unit="micrometer", version="0.4"):
    path.mkdir(parents=True, exist_ok=True)
    named = [{"name": a, "type": "space", **({"unit": unit} if unit and a in "zyx" else {})} for a in axes]
    image = {"version": version, "axes": named, "datasets": [{"path": "s0", "coordinateTransformations": steps}]}
    if outer is not None:
        image["coordinateTransformations"] = outer
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))


def test_spacing_coverage_and_translation(tmp_path):
    path = write(tmp_path / "v", noise((9, 10, 11)))
    volume = OmeZarrVolume(path, 1)
    assert volume.spacing == volume.stated_spacing == Spacing(2.0, 1.0, 0.5)
    assert volume.coverage == Coverage(6, 5, 9) and volume.shape == (9, 5, 6)
    assert volume.image.translations[1] == (1.0, 0.5, 0.25)  # half a voxel of the level from the corner
    scan = ObliqueScan(12, 5, 9, 1.8, 1.5)
    fields = ("n_frames", "n_rows", "n_columns", "pixel_um", "step_um", "angle_deg")
    sidecar = {"scan": {name: getattr(scan, name) for name in fields}}
    path = write(tmp_path / "oblique", noise(scan.shape), sidecar=sidecar)
    assert OmeZarrVolume(path).coverage == scan.coverage
    assert OmeZarrVolume(path, 1).coverage.shear == 0
    (path / SIDECAR).write_text(json.dumps({"scan": {**sidecar["scan"], "n_rows": 6}}))
    with pytest.raises(DamagedInputError, match="remove it"):
        OmeZarrVolume(path)


def test_boxes_partly_outside_are_zero_there(tmp_path):
    volume = noise((20, 12, 15))
    reader = OmeZarrVolume(write(tmp_path / "v", volume))
    padded = np.pad(volume, 6)
    for box in (Box((-6, -6, -6), (26, 18, 21)), Box((3, -2, 9), (5, 4, 21))):
        np.testing.assert_array_equal(reader.read(box), padded[box.slices((-6, -6, -6))])
    assert not reader.read(Box((50, 0, 0), (52, 3, 3))).any()


@pytest.mark.parametrize(
    ("unit", "um"),
    [("nanometer", 1e-3), ("micrometer", 1.0), ("millimeter", 1e3), ("nm", 1e-3), ("mm", 1e3), ("angstrom", 1e-4)],
)
def test_units_of_axes_become_um(tmp_path, unit, um):
    group(tmp_path / "v", "zyx", [{"type": "scale", "scale": [4, 2, 0.5]}], unit=unit)
    array(tmp_path / "v" / "s0", noise((3, 4, 5)), "zarr")
    stated = OmeZarrVolume(tmp_path / "v").stated_spacing
    np.testing.assert_allclose(stated.zyx_um, np.array([4, 2, 0.5]) * um)


@pytest.mark.parametrize("unit", [None, "pixel", 7])
def test_a_scale_without_a_unit_of_length_is_not_stated(tmp_path, unit):
    group(tmp_path / "v", "zyx", [{"type": "scale", "scale": [4, 2, 0.5]}], unit=unit)
    array(tmp_path / "v" / "s0", noise((3, 4, 5)), "zarr")
    volume = OmeZarrVolume(tmp_path / "v")
    assert volume.stated_spacing is None and volume.spacing == Spacing(4, 2, 0.5)


def test_transformations_of_the_whole_image_follow_those_of_the_level(tmp_path):
    group(
        tmp_path / "v",
        "zyx",
        [{"type": "scale", "scale": [4, 2, 1]}, {"type": "translation", "translation": [1, 1, 1]}],
        outer=[{"type": "scale", "scale": [10, 10, 5]}, {"type": "translation", "translation": [0, 0, 3]}],
        unit="nanometer",
    )
    array(tmp_path / "v" / "s0", noise((3, 4, 5)), "zarr")
    volume = OmeZarrVolume(tmp_path / "v")
    np.testing.assert_allclose(volume.spacing.zyx_um, (0.04, 0.02, 0.005))
    np.testing.assert_allclose(volume.image.translations[0], (0.01, 0.01, 0.008))


@pytest.mark.parametrize("driver", ["zarr", "zarr3"])
@pytest.mark.parametrize(
    ("axes", "shape"), [("tczyx", (1, 1, 3, 4, 5)), ("czyx", (1, 3, 4, 5)), ("xyz", (5, 4, 3)), ("zcxy", (3, 1, 5, 4))]
)
def test_axes_are_found_by_their_names(tmp_path, axes, shape, driver):
    volume = noise((3, 4, 5))
    voxels = np.moveaxis(volume, range(3), [axes.index(a) for a in "zyx"]) if len(axes) == 3 else None
    if voxels is None:
        order = sorted("zyx", key=axes.index)
        voxels = volume.transpose(["zyx".index(a) for a in order]).reshape(shape)
    scale = [{"z": 4.0, "y": 2.0, "x": 0.5}.get(a, 1.0) for a in axes]
    group(tmp_path / "v", axes, [{"type": "scale", "scale": scale}])
    array(tmp_path / "v" / "s0", np.ascontiguousarray(voxels), driver)
    ours = OmeZarrVolume(tmp_path / "v")
    assert ours.spacing == Spacing(4.0, 2.0, 0.5)
    np.testing.assert_array_equal(read(tmp_path / "v"), volume)
    np.testing.assert_array_equal(ours.read(Box((1, 1, 2), (3, 3, 5))), volume[1:3, 1:3, 2:5])


def test_one_plane_and_bare_arrays_and_big_endian(tmp_path):
    plane = noise((4, 5))
    group(tmp_path / "v", "yx", [{"type": "scale", "scale": [2, 0.5]}])
    array(tmp_path / "v" / "s0", plane.astype(">u2"), "zarr")
    np.testing.assert_array_equal(read(tmp_path / "v"), plane[None])
    assert OmeZarrVolume(tmp_path / "v").stated_spacing is None
    bare = noise((3, 4, 5))
    for driver in ("zarr", "zarr3"):
        array(tmp_path / driver, bare, driver)
        assert is_volume(tmp_path / driver)
        np.testing.assert_array_equal(read(tmp_path / driver), bare)
        assert OmeZarrVolume(tmp_path / driver).stated_spacing is None


def test_old_images_without_units_or_names_of_axes(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / ".zattrs").write_text(json.dumps({"multiscales": [{"datasets": [{"path": "0"}]}]}))
    array(tmp_path / "v" / "0", noise((1, 1, 3, 4, 5)), "zarr")
    assert OmeZarrVolume(tmp_path / "v").shape == (3, 4, 5)


def test_reader_refuses_what_is_no_image(tmp_path):
    with pytest.raises(InputMissingError, match=r"no zarr\.json"):
        OmeZarrVolume(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(DamagedInputError, match="not zarr metadata"):
        OmeZarrVolume(tmp_path)
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(DamagedInputError, match=r"no multiscales\)$"):
        OmeZarrVolume(tmp_path)
    write(tmp_path / "0", noise((8, 8, 8)))
    with pytest.raises(DamagedInputError, match=rf"such as {tmp_path / '0'}"):
        OmeZarrVolume(tmp_path)
    with pytest.raises(ParameterError, match="levels 0 to 2"):
        OmeZarrVolume(tmp_path / "0", 3)
    chunk = next(file for file in (tmp_path / "0" / "0" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(DamagedInputError, match="cannot be read"):
        read(tmp_path / "0")
    (tmp_path / "0" / "1" / "zarr.json").write_text("{}")
    with pytest.raises(DamagedInputError, match="cannot be opened"):
        OmeZarrVolume(tmp_path / "0", 1)
    (tmp_path / "0" / "2" / "zarr.json").unlink()
    with pytest.raises(DamagedInputError, match="names it as one of its levels"):
        OmeZarrVolume(tmp_path / "0", 2)


@pytest.mark.parametrize(
    "multiscales",
    ["[]", "{}", "[{}]", '[{"datasets": []}]', '[{"axes": ["z"], "datasets": [{"path": "0", "x": 1}]}]',
     '[{"axes": ["z", "y", "x"], "datasets": [{"path": "0", "coordinateTransformations": [{"type": "affine"}]}]}]',
     '[{"axes": "z", "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 2]}]}]}]'],
)  # fmt: skip
def test_reader_refuses_metadata_that_contradict_themselves(tmp_path, multiscales):
    (tmp_path / ".zattrs").write_text(f'{{"multiscales": {multiscales}}}')
    array(tmp_path / "0", noise((3, 4, 5)), "zarr")
    with pytest.raises(DamagedInputError):
        OmeZarrVolume(tmp_path)


def test_reader_refuses_several_channels_and_other_types(tmp_path):
    group(tmp_path / "v", "czyx", [{"type": "scale", "scale": [1, 1, 1, 1]}])
    array(tmp_path / "v" / "s0", noise((2, 3, 4, 5)), "zarr")
    with pytest.raises(ParameterError, match=r"holds 2 volumes.* 2: v \(channel 2"):
        OmeZarrVolume(tmp_path / "v")
    array(tmp_path / "complex", noise((3, 4, 5), np.complex64), "zarr")
    with pytest.raises(DamagedInputError, match="complex64"):
        OmeZarrVolume(tmp_path / "complex")


def test_levels_listed_coarse_first_are_put_in_order(tmp_path):
    volume = noise((9, 10, 11))
    path = write(tmp_path / "v.zarr", volume)
    group = json.loads((path / "zarr.json").read_text())
    group["attributes"]["ome"]["multiscales"][0]["datasets"].reverse()
    (path / "zarr.json").write_text(json.dumps(group))
    reader = OmeZarrVolume(path)
    assert reader.image.paths == ("0", "1", "2") and reader.spacing.zyx_um == (2, 0.5, 0.25)
    np.testing.assert_array_equal(reader.read(Box.of_shape(volume.shape)), volume)


def test_stages_take_and_describe_ome_zarr(tmp_path):
    path = write(tmp_path / "v.zarr", noise((9, 10, 11)), shard_bytes=0)
    assert isinstance(open_volume(path), OmeZarrVolume)
    line, files = describe_path(path)
    assert files == "  all 12 files of chunks are there"
    assert line == f"{path}: volume of 9 x 10 x 11 voxels (z, y, x) of 2, 0.5, 0.25 um, uint16, 3 levels"
    line, _ = describe_path(path / "1")
    assert "9 x 5 x 6 voxels (z, y, x) of unknown size, uint16, 1 levels" in line
