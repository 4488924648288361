"""napari finds the plugin, and gets volumes with scale, contrast and levels."""

from __future__ import annotations

from pathlib import Path

import npe2
import numpy as np
import pytest

import gpustitch as gs
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


def test_napari_plugin_leaves_other_files_alone(tmp_path):
    (tmp_path / "a.txt").write_text("no volume")
    gs.write(tmp_path / "a.tif", texture((3, 4, 5)), (1, 1, 1))
    assert all(reader_of(str(tmp_path / name)) is None for name in ("a.txt", "a.tif", "nothing"))
    assert reader_of([str(tmp_path / "a.tif")]) is None


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_contrast_of_constant_volumes_is_a_range(level):
    low, high = contrast_of(volume_of(np.full((3, 4, 5), level, np.float32), (1, 1, 1)))
    assert low < high
