"""What other programs take for the distance of slices: as SimpleITK does here, as others did, and by rule."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from gpustitch.slices.dicom.series import find_dicom_series
from gpustitch.slices.fit.peers import peers
from tests.slices.dicom.scenarios import scenario
from tests.slices.slice_headers import series_of


@pytest.mark.parametrize("number", range(1, 9))
def test_simpleitk_takes_what_we_say_it_would(number, tmp_path):
    files = scenario(number, tmp_path)
    (series,), _ = find_dicom_series(files)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    taken = SimpleITK.ReadImage(names).GetSpacing()[2]
    first = series.headers[0]
    normal = None if first.row_direction is None else np.cross(first.row_direction, first.column_direction)
    assert peers(series.headers, normal)["SimpleITK"] == pytest.approx(taken, rel=1e-6)


# What dcm2niix 1.0.20260724 and dicom2nifti 2.6.2 wrote for these series.
@pytest.mark.parametrize(
    ("number", "dcm2niix", "dicom2nifti"),
    [
        (1, 0.6, 0.5832787),
        (2, 0.6, None),
        (3, 1.5, None),
        (4, 4.69846, None),
        (5, 2.5, None),
        (6, 2.5, 2.5),
        (7, 1.2, 1.2),
        (8, 5.0, None),
    ],
)
def test_other_programs_took_what_we_say(number, dcm2niix, dicom2nifti, tmp_path):
    (series,), _ = find_dicom_series(scenario(number, tmp_path))
    first = series.headers[0]
    normal = None if first.row_direction is None else np.cross(first.row_direction, first.column_direction)
    taken = peers(series.headers, normal)
    assert taken["dcm2niix"] == pytest.approx(dcm2niix, abs=1e-5)
    assert taken["dicom2nifti"] == (None if dicom2nifti is None else pytest.approx(dicom2nifti, abs=1e-6))


def test_what_other_programs_would_take():
    even = peers(series_of(2.5 * np.arange(12)).headers, np.array([0, 0, 1.0]))
    assert len(even) == 5 and even == pytest.approx(dict.fromkeys(even, 2.5))
    changing = np.concatenate([2.5 * np.arange(20), 47.5 + 7.5 * np.arange(1, 13)])
    taken = peers(series_of(changing, thickness_mm=2.0).headers, np.array([0, 0, 1.0]))
    assert taken["dicom2nifti"] is None
    assert (taken["dcm2niix"], taken["SliceThickness"]) == (pytest.approx(2.5), 2.0)
    backward = peers(series_of(changing, numbers=list(range(32, 0, -1))).headers, np.array([0, 0, 1.0]))
    assert backward["dcm2niix"] == pytest.approx(2.5)


def test_a_tilted_gantry_is_measured_along_the_bed_by_others():
    angle = np.deg2rad(20)
    directions = ((1, 0, 0), (0, np.cos(angle), -np.sin(angle)))
    series = series_of(5 * np.cos(angle) * np.arange(20), directions=directions, shear=(-np.tan(angle), 0))
    normal = np.cross(*directions)
    taken = peers(series.headers, normal)
    assert taken["SimpleITK"] == pytest.approx(5)
    assert taken["dicom2nifti"] is None
    assert taken["dcm2niix"] == pytest.approx(5 * np.cos(angle))


def test_without_positions_others_take_tags():
    series = series_of(np.arange(4.0), position_mm=None, thickness_mm=5.0, spacing_between_mm=-3.0)
    taken = peers(series.headers, None)
    assert (taken["SimpleITK"], taken["ImageJ"], taken["dcm2niix"]) == (1.0, 3.0, 3.0)
