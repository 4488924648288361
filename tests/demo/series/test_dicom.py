"""Pixels of a written series are those of the function it is made of."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from gpustitch.demo.series.dicom import Gradient, write_series


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_pixels_are_the_function_of_the_place(tmp_path, syntax, dtype):
    function = Gradient((1.0, 2.0, 3.0), 90.0)
    paths = write_series(
        tmp_path,
        [0, 2],
        pixels=function,
        dtype=dtype,
        slope=[1.0, 0.5],
        intercept=[20, 40],
        origin_mm=(3.0, 4.0, 5.0),
        transfer_syntax=syntax,
    )
    for k, path in enumerate(paths):
        data = pydicom.dcmread(path)
        assert data.file_meta.TransferSyntaxUID == syntax
        y, x = np.indices((6, 5)) * np.array([0.75, 0.5])[:, None, None]
        expected = function(3 + x, 4 + y, 5 + 2.0 * k)
        found = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        assert data.pixel_array.dtype.name == dtype
        assert np.abs(found - expected).max() <= data.RescaleSlope / 2
