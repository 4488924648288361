"""Colors of real files, as red, green and blue in a row."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from gpustitch.errors import ParameterError
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.dicom.series import find_dicom_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "examples_jpeg2k.dcm",
        "examples_ybr_color.dcm",
    ],
)
def test_colors_of_real_files(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("older wheels of pydicom do not hold it")
    (series,), _ = find_dicom_series([path])
    planes = DicomPlanes(series, [0])
    expected = pydicom.dcmread(path).pixel_array.reshape(-1, *series.headers[0].shape, 3)[0]
    assert (planes.samples, planes.dtype) == (3, np.uint8)
    assert np.array_equal(planes.read(0, 1).reshape(expected.shape), expected)
    assert np.array_equal(planes.read(0, 1, slice(1, 3), slice(2, 7))[0], expected.reshape(len(expected), -1)[1:3, 2:7])


def test_colors_of_sixteen_bits_are_refused(tmp_path):
    (series,), _ = find_dicom_series([get_testdata_file("SC_rgb_rle_16bit.dcm", download=False)])
    with pytest.raises(ParameterError, match=r"BitsAllocated \(0028,0100\) is 16; colors are 8"):
        DicomPlanes(series, [0])
