"""Volumes are written block by block, whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import OutputExistsError, ParameterError
from tests.verbs.libraries import LIBRARIES, in_library, on_host, texture


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["v.zarr", "v.tif", "volume"])
def test_write_gives_back_voxels_and_spacing(library, name, tmp_path):
    voxels = texture((9, 70, 75))
    with in_library(library, voxels) as (there,):
        path = gs.write(tmp_path / name, there, spacing_um=(1, 2, 3))
    if name == "v.tif":
        np.testing.assert_array_equal(np.asarray(gs.open_frames(path)), voxels)
        return
    opened = gs.open_volume(path)
    np.testing.assert_array_equal(np.asarray(opened), voxels)
    assert opened.spacing_um == (1, 2, 3)


def test_write_of_a_lazy_volume_takes_its_spacing(tmp_path):
    volume = gs.deskew(texture((20, 12, 14)), 1.8, 1.28)
    opened = gs.open_volume(gs.write(tmp_path / "v.zarr", volume, levels=1))
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(volume))
    np.testing.assert_allclose(opened.spacing_um, volume.spacing_um)
    with pytest.raises(OutputExistsError):
        gs.write(tmp_path / "v.zarr", volume)
    gs.write(tmp_path / "v.zarr", volume, overwrite=True)


def test_write_needs_the_spacing_of_an_array(tmp_path):
    with pytest.raises(ParameterError, match="spacing_um"):
        gs.write(tmp_path / "v.zarr", texture((3, 4, 5)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", LIBRARIES)
def test_downsample_halves_where_the_volume_is(library):
    voxels = texture((5, 6, 7))
    with in_library(library, voxels) as (there,):
        found = on_host(gs.downsample(there), library)
    np.testing.assert_array_equal(found, gs.downsample(voxels))
    assert found.shape == (3, 3, 4)


def test_open_output_takes_blocks(tmp_path):
    voxels = texture((9, 70, 75))
    with gs.open_output(tmp_path / "v.zarr", voxels.shape, voxels.dtype, (1, 2, 3)) as output:
        for box in output.blocks():
            output.write(box, np.ascontiguousarray(voxels[box.slices()]))
    np.testing.assert_array_equal(np.asarray(gs.open_volume(tmp_path / "v.zarr")), voxels)


def _turned(seed: int) -> np.ndarray:
    """A matrix of any directions, voxel sizes and place."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * rng.uniform(0.1, 3, 3), rng.normal(0, 100, 3)
    return matrix


def _spoiled(matrix: np.ndarray) -> dict[str, Any]:
    flat, last, unknown = matrix.copy(), matrix.copy(), matrix.copy()
    flat[:, 1] = flat[:, 0]
    last[3, 3], unknown[0, 3] = 2, np.nan
    return {
        "flat": flat, "last row": last, "unknown": unknown, "zero": np.zeros((4, 4)), "3 x 3": matrix[:3, :3],
        "3 x 4": matrix[:3], "complex": matrix + 1j, "text": "LPS", "ragged": [[1], [2, 3]], "number": 4.0,
        "far": matrix * 1e13, "small": np.diag([1e-300, 1, 1, 1]), "far away": matrix + np.inf,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["v.nii", "v.zarr", "v.tif", "v"])
@pytest.mark.parametrize("what", _spoiled(np.eye(4)))
def test_a_matrix_that_places_no_voxel_is_refused(name, what, tmp_path):
    matrix = _turned(3)
    sizes_um = tuple((np.linalg.norm(matrix[:3, :3], axis=0) * 1000)[::-1])
    with pytest.raises(ParameterError, match="`affine_lps_mm` must be a matrix"):
        gs.write(tmp_path / name, texture((4, 5, 6)), sizes_um, affine_lps_mm=_spoiled(matrix)[what])
    with pytest.raises(ParameterError, match="`affine_lps_mm` must be a matrix"):
        gs.open_output(tmp_path / name, (4, 5, 6), "uint8", sizes_um, affine_lps_mm=_spoiled(matrix)[what])
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")  # formats that do not hold directions say so
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["v.nii", "v.zarr", "v"])
def test_a_stated_matrix_comes_back_and_contradicts_no_spacing(name, seed, tmp_path):
    matrix = _turned(seed)
    sizes_um = tuple((np.linalg.norm(matrix[:3, :3], axis=0) * 1000)[::-1])
    path = gs.write(tmp_path / name, texture((4, 5, 6)), sizes_um, affine_lps_mm=matrix.tolist())
    found = gs.open_volume(path).affine_lps_mm
    assert found is not None
    np.testing.assert_allclose(found, matrix, rtol=1e-5, atol=1e-4)
    with pytest.raises(ParameterError, match="`spacing_um` is"):
        gs.write(tmp_path / f"other_{name}", texture((4, 5, 6)), sizes_um[::-1], affine_lps_mm=matrix)


@pytest.mark.parametrize("dtype", [1e9, "no type", None, (1, 2), 1j, ["a"]])
def test_what_is_no_type_of_voxels_is_refused(dtype, tmp_path):
    with pytest.raises(ParameterError, match="`dtype` must be a type"):
        gs.open_output(tmp_path / "v.zarr", (4, 5, 6), dtype, (1, 1, 1))
