"""Planes of NIfTI files that nibabel writes."""

from __future__ import annotations

import struct

import nibabel
import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.planes.opening import PlanesVolume, open_planes
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.show.describe import describe_path
from gpustitch.show.facts import of_path


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
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5, 3), np.uint8), None), path)
    elif what == "complex":
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), np.complex64), None), path)
    else:
        saved(path, np.ones((9, 8, 7), np.uint16))
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DamagedInputError, match=r"v\.nii"):
        open_planes(path).read(0, 2)


SFORM, PIXDIM, DIM, CODES, UNITS = 280, 80, 40, 252, 123  # places in the header


def patched(path, *patches, shape=(3, 4, 5)):
    """A file whose header is changed: places, formats and values of numbers."""
    voxels = np.arange(60, dtype=np.int16).reshape(shape)
    content = bytearray(saved(path, voxels, np.diag([-0.5, -0.5, 2, 1])).read_bytes())
    for place, form, *values in patches:
        struct.pack_into(form, content, place, *values)
    path.write_bytes(content)
    return path, voxels


@pytest.mark.parametrize("edges", [(1, 1, 1), (0.5, 0.5, 2.2), (2, 0.5, 0.5), (500, 500, 2000)])
def test_two_voxel_sizes_of_one_nifti_are_none(tmp_path, edges):
    path, voxels = patched(tmp_path / "v.nii", (PIXDIM, "<fff", *edges))
    planes = open_planes(path)
    assert planes.spacing is None and np.array_equal(planes.read(0, 3), voxels)
    with pytest.raises(
        ParameterError, match=r"two voxel sizes .*500 x 500 x 2000 um \(by pixdim, by its matrix\); give"
    ):
        PlanesVolume(planes)


@pytest.mark.parametrize("edges", [(-0.5, 0.5, 2), (0.501, 0.5, 2), (0, 0, 0), (float("nan"), 0.5, 2)])
def test_sizes_that_say_nothing_else_leave_those_of_the_matrix(tmp_path, edges):
    planes = open_planes(patched(tmp_path / "v.nii", (PIXDIM, "<fff", *edges))[0])
    assert planes.spacing.zyx_um == pytest.approx((2000, 500, 500))


@pytest.mark.parametrize("edges", [(0, 0.5, 2), (float("nan"), 0.5, 2), (float("inf"), 0.5, 2)])
def test_a_size_that_is_none_is_not_taken_for_1_mm(tmp_path, edges):
    planes = open_planes(patched(tmp_path / "v.nii", (CODES, "<hh", 0, 0), (PIXDIM, "<fff", *edges))[0])
    assert planes.spacing is None and planes.affine_lps_mm is None


@pytest.mark.parametrize("row", [(0,) * 12, (float("nan"),) + (0,) * 11, (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0)])
def test_a_matrix_that_places_nothing_is_refused_by_name(tmp_path, row):
    path, _ = patched(tmp_path / "v.nii", (SFORM, "<12f", *row))
    with pytest.raises(DamagedInputError, match=r"matrix .sform. gives voxels no place; correct it, or set sform_code"):
        open_planes(path)


@pytest.mark.parametrize("dim", [(2, 5, 4, 1), (2, 5, 4, 0), (2, 20, 3, 9)])
def test_one_plane_of_two_axes_is_read(tmp_path, dim):
    path, voxels = patched(tmp_path / "v.nii", (DIM, "<4h", *dim))
    planes = open_planes(path)
    assert planes.shape == (1, dim[2], dim[1])
    assert np.array_equal(planes.read(0, 1)[0], voxels.ravel()[: dim[1] * dim[2]].reshape(dim[2], dim[1]))
    assert np.array_equal(planes.read(0, 1, slice(1, 3), slice(2, 4)), planes.read(0, 1)[:, 1:3, 2:4])
    assert planes.read(0, 0).shape == (0, dim[2], dim[1])


@pytest.mark.parametrize("dim", [(3, 5, -4, 3), (3, 5, 4, 0), (0, 5, 4, 3), (1, 5, 1, 1)])
def test_impossible_numbers_of_voxels_are_refused(tmp_path, dim):
    path, _ = patched(tmp_path / "v.nii", (DIM, "<4h", *dim))
    with pytest.raises(DamagedInputError, match=r"v\.nii"):
        open_planes(path)


@pytest.mark.parametrize("code", [4, 5, 7, 8, 16, 255])
def test_units_that_are_no_length_state_none(tmp_path, code):
    assert open_planes(patched(tmp_path / "v.nii", (UNITS, "B", code))[0]).spacing is None


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("n_times", [2, 5])
def test_a_volume_in_time_is_chosen_and_listed(tmp_path, suffix, n_times):
    voxels = np.random.default_rng(0).integers(0, 200, (n_times, 3, 4, 5)).astype(np.uint16)
    path = saved(tmp_path / f"v{suffix}", voxels)
    for k in range(n_times):
        planes = open_planes(path, choice=StackChoice(stack_time=str(k + 1)))
        np.testing.assert_array_equal(planes.read(0, 3), voxels[k])
        np.testing.assert_array_equal(planes.read(1, 3, slice(1, 3), slice(2, 5)), voxels[k, 1:, 1:3, 2:5])
    np.testing.assert_array_equal(open_planes(path, choice=StackChoice(stack_series="2")).read(0, 3), voxels[1])
    for choice in (StackChoice(), StackChoice(stack_time="0"), StackChoice(stack_time=str(n_times + 1))):
        with pytest.raises(ParameterError, match=r"stack.*1: volume 1 \(time 1, 3 planes\)"):
            open_planes(path, choice=choice)
    assert any("volume 2 (time 2, 3 planes)" in line for line in describe_path(path))
    assert len(of_path(path)["stacks"]) == n_times


def test_one_volume_in_time_is_no_choice(tmp_path):
    path = saved(tmp_path / "v.nii", np.zeros((1, 3, 4, 5), np.uint8))
    assert open_planes(path).shape == (3, 4, 5)
    with pytest.raises(ParameterError, match="holds one stack"):
        open_planes(path, choice=StackChoice(stack_time="1"))


def test_what_we_write_in_time_is_read_back(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 200, (6, 4, 5)).astype(np.uint16)
    with open_output(
        tmp_path / "v.nii.gz", voxels.shape, voxels.dtype, Spacing(1, 1, 1), downsample=downsample, n_volumes=2
    ) as output:
        output.write(Box.of_shape(voxels.shape), voxels)
    for k in range(2):
        planes = open_planes(tmp_path / "v.nii.gz", choice=StackChoice(stack_time=str(k + 1)))
        np.testing.assert_array_equal(planes.read(0, 3), voxels[3 * k : 3 * k + 3])
