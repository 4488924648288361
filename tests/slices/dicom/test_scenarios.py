"""The scenarios are as their geometry says."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from tests.slices.dicom.scenarios import EXPECTED, scenario


@pytest.mark.parametrize("number", EXPECTED)
def test_scenarios_are_as_their_geometry_says(tmp_path, number):
    paths = scenario(number, tmp_path)
    read = [pydicom.dcmread(path) for path in paths]
    assert len({data.SeriesInstanceUID for data in read}) == 1
    assert len({data.SOPInstanceUID for data in read}) == len(paths) - (number == 6)
    if number == 8:
        assert "ImagePositionPatient" not in read[0] and "ImageOrientationPatient" not in read[0]
        return
    cosines = np.array(read[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    t = np.array([np.array(data.ImagePositionPatient, float) for data in read]) @ normal
    t = np.unique(np.round(t - t[0], 9))
    spacing, n = EXPECTED[number].spacing_mm, EXPECTED[number].n_output
    assert t[-1] == pytest.approx(spacing * (n - 1), abs=0.051 if number == 1 else 1e-6)


def test_the_tilted_series_moves_along_the_bed(tmp_path):
    places = [np.array(pydicom.dcmread(path).ImagePositionPatient, float) for path in scenario(4, tmp_path)]
    assert np.diff(places, axis=0) == pytest.approx(np.tile([0, 0, 5.0], (19, 1)), abs=1e-9)
