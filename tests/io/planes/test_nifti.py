"""Planes of NIfTI files that nibabel writes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from gpustitch.errors import DamagedInputError
from gpustitch.io.planes.opening import open_planes


def saved(path, voxels, affine=None, unit="mm", slope=None):
    """A file of voxels (z, y, x)."""
    image = nibabel.Nifti1Image(voxels.T, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units(unit)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", ">f8"])
def test_nifti_planes_are_voxels_of_the_file(tmp_path, suffix, dtype):
    voxels = np.random.default_rng(1).integers(0, 200, (5, 7, 9)).astype(dtype)
    affine = np.diag([-0.5, -0.25, 2, 1])
    affine[:3, 3] = 1, -2, 3
    planes = open_planes(saved(tmp_path / f"v{suffix}", voxels, affine))
    assert planes.shape == voxels.shape and planes.dtype == voxels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(planes.read(1, 4, slice(2, 6), slice(None, None, 2)), voxels[1:4, 2:6, ::2])
    assert planes.spacing.zyx_um == pytest.approx((2000, 250, 500))
    assert planes.origin_um == pytest.approx((3000, 2000, -1000))


@pytest.mark.parametrize("unit, um", [("micron", 1), ("mm", 1000), ("meter", 1e6)])
def test_nifti_planes_know_units(tmp_path, unit, um):
    voxels = np.zeros((3, 4, 5), np.uint8)
    affine = np.diag([-2.0, -3, 4, 1])
    affine[:3, 3] = -5, -6, 7
    planes = open_planes(saved(tmp_path / "v.nii", voxels, affine, unit))
    assert planes.spacing.zyx_um == pytest.approx(np.multiply((4, 3, 2), um))
    assert planes.origin_um == pytest.approx(np.multiply((7, 6, 5), um))


def test_nifti_planes_without_unit_or_place_state_none(tmp_path):
    voxels = np.zeros((3, 4, 5), np.uint8)
    planes = open_planes(saved(tmp_path / "a.nii", voxels, np.eye(4), "unknown"))
    assert (planes.spacing, planes.origin_um) == (None, None)
    planes = open_planes(saved(tmp_path / "b.nii", voxels))
    assert planes.origin_um is None


def test_nifti_planes_are_scaled_as_the_file_says(tmp_path):
    """nibabel scales what it saves; the bytes of the header say how afterwards."""
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = saved(tmp_path / "v.nii", voxels)
    image = nibabel.load(path)
    header = bytearray(path.read_bytes())
    header[112:120] = np.array([0.5, -3], "<f4").tobytes()
    path.write_bytes(header)
    assert image.shape == (4, 3, 2)
    planes = open_planes(path)
    assert planes.dtype == np.float64
    np.testing.assert_array_equal(planes.read(0, 2), voxels * 0.5 - 3)


@pytest.mark.parametrize("what", ["text", "cut", "several", "complex"])
def test_nifti_planes_refuse_what_is_no_volume(tmp_path, what):
    path = tmp_path / "v.nii"
    if what == "text":
        path.write_text("no volume")
    elif what == "several":
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5), np.uint8), None), path)
    elif what == "complex":
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), np.complex64), None), path)
    else:
        saved(path, np.ones((9, 8, 7), np.uint16))
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DamagedInputError, match=r"v\.nii"):
        open_planes(path).read(0, 2)
