"""Writing a volume into one NIfTI file: voxels, place in the patient, bounds, what is left of failed runs."""

from __future__ import annotations

import gzip
import json
import sys
import threading

import nibabel
import numpy as np
import pytest
import SimpleITK

from gpustitch.errors import MissingExtraError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.write import nifti as nifti_volume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.formats import format_of
from gpustitch.io.write.nifti import NiftiVolumeWriter, nifti_header
from gpustitch.model import Box, Spacing

SPACING = Spacing(3000.0, 500.0, 250.0)
TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")


def noise(shape, dtype="uint16", seed=0):
    return np.random.default_rng(seed).integers(-30000, 30000, shape).astype(np.dtype(dtype))


def affine(directions, origin=(10.0, -20.0, 30.5), spacing=SPACING):
    """From x, y, z to mm; directions in rows, of x, y, z."""
    made = np.eye(4)
    made[:3, :3] = np.transpose(directions) * (np.array(spacing.zyx_um[::-1]) / 1000)
    made[:3, 3] = origin
    return made


def oblique():
    turned, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return turned * np.sign(np.linalg.det(turned))


def write(path, volume, n_planes=None, spacing=SPACING, **options):
    released = []
    with NiftiVolumeWriter(path, volume.shape, volume.dtype, spacing, Writing(**options)) as writer:
        thickness = (n_planes, *volume.shape[1:])
        boxes = list(Box.of_shape(volume.shape).blocks(thickness) if n_planes else writer.blocks())
        for box in boxes:
            writer.write(box, volume[box.slices()], lambda: released.append(1))
    assert len(released) == len(boxes)
    return path


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.NII"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n_planes", [None, 1, 3])
def test_voxels_are_read_back(tmp_path, name, dtype, n_planes):
    volume = noise((7, 13, 31), dtype)
    path = write(tmp_path / name, volume, n_planes, affine_lps_mm=affine(np.eye(3)))
    if name != "v.NII":
        image = nibabel.load(path)
        assert image.header.get_data_dtype() == dtype and image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume)
    data = path.read_bytes()
    plain = gzip.decompress(data) if name.endswith(".gz") else data
    assert len(plain) == 352 + volume.nbytes
    assert plain[352:] == volume.astype(volume.dtype.newbyteorder("<")).tobytes()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 5), (33, 1, 1), (9, 7, 1), (2, 700, 901)])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_volumes_of_odd_sizes_are_read_back(tmp_path, shape, name):
    volume = noise(shape, "int16")
    path = write(tmp_path / name, volume, affine_lps_mm=affine(oblique()))
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSize() == shape[::-1]
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume)


@pytest.mark.parametrize("axes", [np.eye(3), np.eye(3)[[1, 2, 0]], np.diag([1.0, -1.0, -1.0]), oblique()])
def test_the_place_in_the_patient(tmp_path, axes):
    made = affine(axes)
    path = write(tmp_path / "v.nii", noise((4, 5, 6)), affine_lps_mm=made)
    image = SimpleITK.ReadImage(str(path))
    assert image.GetOrigin() == pytest.approx((10.0, -20.0, 30.5), abs=1e-4)
    assert image.GetSpacing() == pytest.approx((0.25, 0.5, 3.0), rel=1e-6)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), np.transpose(axes), atol=2e-6)
    header = nibabel.load(path).header
    assert header["qform_code"] == header["sform_code"] == 1
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)


def test_a_sheared_volume_has_no_place_that_is_upright(tmp_path):
    made = affine(np.eye(3))
    made[1, 2] = 1.5
    path = write(tmp_path / "v.nii", noise((4, 5, 6)), affine_lps_mm=made)
    image = nibabel.load(path)
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ made, rtol=1e-6)
    assert image.header["qform_code"] == 0
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITK.ReadImage(str(path))


def test_without_a_place_the_voxel_size_is_stated(tmp_path):
    header = nibabel.load(write(tmp_path / "v.nii", noise((4, 5, 6)))).header
    assert header["qform_code"] == header["sform_code"] == 0
    assert header.get_zooms() == pytest.approx((0.25, 0.5, 3.0))


def test_long_axes_are_nifti_2(tmp_path):
    volume = noise((2, 1, 33000))
    path = write(tmp_path / "v.nii", volume, affine_lps_mm=affine(np.eye(3)))
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti2Image)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume)
    assert len(nifti_header((2, 1, 32767), "uint8", SPACING, None)) == 352


def test_skipped_and_missing_planes_are_zero(tmp_path):
    volume = noise((3, 5, 6))
    for name in ("v.nii", "v.nii.gz"):
        with NiftiVolumeWriter(tmp_path / name, (9, 5, 6), volume.dtype, SPACING, Writing(sidecar={"a": 1})) as writer:
            writer.skip(Box((0, 0, 0), (2, 5, 6)))
            writer.write(Box((2, 0, 0), (5, 5, 6)), volume)
        found = np.asarray(nibabel.load(tmp_path / name).dataobj).T
        np.testing.assert_array_equal(found, np.concatenate([np.zeros((2, 5, 6)), volume, np.zeros((4, 5, 6))]))
        assert json.loads((tmp_path / f"{name}.json").read_text()) == {"schema": 2, "a": 1}


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_no_more_is_held_than_allowed(tmp_path, name, monkeypatch):
    volume, held, most, lock = noise((40, 64, 64)), 0, 0, threading.Lock()
    monkeypatch.setattr(nifti_volume, "_PIECE_BYTES", 1 << 13)
    plane = volume[0].nbytes
    with NiftiVolumeWriter(
        tmp_path / name, volume.shape, volume.dtype, SPACING, Writing(in_flight_bytes=4 * plane)
    ) as writer:

        def release():
            nonlocal held
            with lock:
                held -= 1

        for box in Box.of_shape(volume.shape).blocks((1, 64, 64)):
            with lock:
                held += 1
                most = max(most, held)
            writer.write(box, volume[box.slices()], release)
    assert held == 0 and 2 <= most <= 6
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / name).dataobj).T, volume)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nothing_is_left_of_a_failed_run(tmp_path, name):
    volume = noise((4, 5, 6))
    with (
        pytest.raises(ZeroDivisionError),
        NiftiVolumeWriter(tmp_path / name, volume.shape, volume.dtype, SPACING, Writing(sidecar={})) as writer,
    ):
        writer.write(Box((0, 0, 0), (2, 5, 6)), volume[:2])
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    path = write(tmp_path / name, volume, sidecar={})
    with pytest.raises(OutputExistsError):
        write(path, volume)
    write(path, volume[:2], overwrite=True, sidecar={})
    assert nibabel.load(path).shape == (6, 5, 2)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path, name, monkeypatch):
    def full(self, file, data):
        raise OSError(28, "No space left on device")

    volume = noise((4, 5, 6))
    monkeypatch.setattr(NiftiVolumeWriter, "_put", full)
    with pytest.raises(OutputError, match="disk is full"):
        write(tmp_path / name, volume)
    assert not list(tmp_path.iterdir())


def test_bad_parameters_are_refused(tmp_path, monkeypatch):
    volume = noise((4, 5, 6))
    for options, text in (
        ({"compression": 11}, "from 0"),
        ({"compression": 3}, r"ends in \.nii\.gz"),
        ({"n_writers": 0}, "writers"),
    ):
        with pytest.raises(ParameterError, match=text):
            write(tmp_path / "v.nii", volume, **options)
    with pytest.raises(ParameterError, match=r"ends in \.nii\.gz"):
        write(tmp_path / "v.nii.gz", volume, compression=0)
    with pytest.raises(ParameterError, match="int64"):
        write(tmp_path / "v.nii", volume.astype(np.int64))
    for box, voxels in (
        (Box((1, 0, 0), (2, 5, 6)), volume[:1]),
        (Box((0, 0, 0), (1, 5, 5)), volume[:1, :, :5]),
        (Box((0, 0, 0), (2, 5, 6)), volume[:1]),
        (Box((0, 0, 0), (1, 5, 6)), volume[:1].astype(np.float32)),
    ):
        with (
            pytest.raises(ParameterError),
            NiftiVolumeWriter(tmp_path / "v.nii", volume.shape, volume.dtype, SPACING, Writing()) as w,
        ):
            w.write(box, voxels)
    assert not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"gpustitch\[nifti\]"):
        write(tmp_path / "v.nii", volume)
    assert not list(tmp_path.iterdir())


def test_names_tell_the_format_in_either_case():
    assert format_of("a/b.nii") == format_of("b.NII.gz") == "nifti" != format_of("b")
    with pytest.raises(ParameterError, match="in which no volume is written"):
        format_of("b.gz")
