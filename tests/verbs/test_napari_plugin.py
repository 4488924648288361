"""napari finds the plugin, and gets volumes with scale, contrast and levels."""

from __future__ import annotations

from pathlib import Path

import npe2
import numpy as np
import pytest
import zarr

import gpustitch as gs
from gpustitch.errors import ParameterError
from gpustitch.verbs.napari_plugin import contrast_of, reader_of, write_image
from gpustitch.verbs.sources import volume_of
from tests.verbs.libraries import texture


@pytest.fixture
def manifest():
    return npe2.PluginManifest.from_file(Path(gs.__file__).with_name("napari.yaml"))


def test_napari_plugin_manifest_names_what_is_there(manifest):
    manifest.validate_imports()
    assert {command.id for command in manifest.contributions.commands} == {"gpustitch.read", "gpustitch.write"}


@pytest.mark.parametrize("name", ["v.zarr", "volume"])
def test_napari_plugin_reads_what_it_wrote(tmp_path, name):
    voxels = texture((40, 70, 75))
    place = gs.write(tmp_path / name, voxels, (2, 1, 0.5))
    ((data, about, kind),) = reader_of(str(place))(str(place))
    assert (kind, about["scale"], about["multiscale"]) == ("image", (2, 1, 0.5), True)
    assert len(data) > 1
    np.testing.assert_array_equal(data[0][7], voxels[7])
    low, high = about["contrast_limits"]
    assert voxels.min() <= low < high <= voxels.max()
    (written,) = write_image(str(tmp_path / "again.zarr"), data, about)
    again = gs.open_volume(written)
    np.testing.assert_array_equal(np.asarray(again), voxels)
    assert again.spacing_um == (2, 1, 0.5)


@pytest.mark.parametrize("name", ["v.zarr", "volume", "v.tif", "v.nii"])
@pytest.mark.parametrize("seed", range(3))
def test_napari_plugin_keeps_the_place(tmp_path, name, seed):
    origin = tuple(np.random.default_rng(seed).uniform(-500, 500, 3).tolist())
    voxels = texture((20, 33, 35), seed)
    place = gs.write(tmp_path / "first.zarr", voxels, (2, 1, 0.5), origin_um=origin, levels=2)
    ((data, about, _),) = reader_of(str(place))(str(place))
    assert about["translate"] == pytest.approx(origin)
    assert data[1].origin_um == pytest.approx(np.add(origin, (0, 0.5, 0.25)))
    moved = {**about, "translate": np.add(origin, (0, 10, 0)), "units": ("nanometer",) * 3}
    (written,) = write_image(str(tmp_path / name), data, moved)
    again = gs.open_volume(written)
    assert again.origin_um == pytest.approx(np.divide(np.add(origin, (0, 10, 0)), 1000), rel=1e-4)
    assert again.spacing_um == pytest.approx((0.002, 0.001, 0.0005))


def test_napari_plugin_shows_each_channel_and_time(tmp_path):
    voxels = np.stack([[texture((9, 20, 21), 10 * t + c) for c in range(3)] for t in range(2)])
    labels = ["DAPI", "GFP", ""]
    root = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=3)
    root.create_array("0", data=voxels, chunks=(1, 1, 9, 20, 21))
    axes = [{"name": n, "type": {"t": "time", "c": "channel"}.get(n, "space")} for n in "tczyx"]
    for axis in axes[2:]:
        axis["unit"] = "micrometer"
    steps = [{"type": "scale", "scale": [1, 1, 2, 1, 0.5]}, {"type": "translation", "translation": [0, 0, 5, 6, 7]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    omero = {"channels": [{"label": label} for label in labels]}
    root.attrs["ome"] = {"version": "0.5", "multiscales": [image], "omero": omero}
    place = str(tmp_path / "v.zarr")
    layers = reader_of(place)(place)
    assert len(layers) == 6
    for number, (data, about, _) in enumerate(layers):
        t, c = divmod(number, 3)
        np.testing.assert_array_equal(np.asarray(data), voxels[t, c])
        assert (labels[c] or "v.zarr") in about["name"]
        assert (about["scale"], about["translate"], about["blending"]) == ((2, 1, 0.5), (5, 6, 7), "additive")
    assert len({about["colormap"] for _, about, _ in layers[:3]}) == 3


@pytest.mark.parametrize(
    "given", [{"rotate": 30 * np.eye(3)}, {"shear": [0, 0.5, 0]}, {"affine": np.diag([1, 2, 1, 1])}, {"rgb": True}]
)
def test_napari_plugin_writes_no_layer_that_a_volume_cannot_state(tmp_path, given):
    with pytest.raises(ParameterError):
        write_image(str(tmp_path / "v.zarr"), texture((5, 6, 7)), {"scale": (1, 1, 1), **given})
    assert not list(tmp_path.iterdir())


def test_napari_plugin_writes_layers_that_are_not_bent_and_images(tmp_path):
    plain = {"rotate": np.eye(3), "shear": np.zeros(3), "affine": np.eye(4), "units": ("pixel",) * 3, "rgb": False}
    voxels = texture((5, 6, 7))
    write_image(str(tmp_path / "v.zarr"), voxels, {"scale": (3, 2, 1), "translate": (0, 0, 0), **plain})
    np.testing.assert_array_equal(np.asarray(gs.open_volume(tmp_path / "v.zarr")), voxels)
    write_image(str(tmp_path / "i.zarr"), voxels[2], {"scale": (2, 1), "translate": (4, 5)})
    image = gs.open_volume(tmp_path / "i.zarr")
    assert (image.shape, image.spacing_um, image.origin_um) == ((1, 6, 7), (1, 2, 1), (0, 4, 5))


def test_napari_plugin_leaves_other_files_alone(tmp_path):
    (tmp_path / "a.txt").write_text("no volume")
    gs.write(tmp_path / "a.tif", texture((3, 4, 5)), (1, 1, 1))
    assert all(reader_of(str(tmp_path / name)) is None for name in ("a.txt", "a.tif", "nothing"))
    assert reader_of([str(tmp_path / "a.tif")]) is None


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_contrast_of_constant_volumes_is_a_range(level):
    low, high = contrast_of(volume_of(np.full((3, 4, 5), level, np.float32), (1, 1, 1)))
    assert low < high
