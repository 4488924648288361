"""Slices that all state one position: of a volume, or one slice imaged again and again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pydicom
import pytest

from gpustitch.demo.series.dicom import write_series
from gpustitch.slices.verdict.judge import JudgeOptions, judge_series
from gpustitch.slices.verdict.stage import judge
from tests.slices.slice_headers import codes, series_of, text


def at_one_place(seed, **tags):
    """Slices that all state one place that is not 0, 0, 0, as exports of micro-CT do; their true distance."""
    rng = np.random.default_rng(seed)
    spacing = round(float(10 ** rng.uniform(-2, 0.7)), 4)
    tags = {"spacing_between_mm": spacing, "thickness_mm": spacing, "pixel_spacing_mm": (spacing, spacing)} | tags
    series = series_of(np.zeros(int(rng.integers(3, 40))), origin_mm=rng.uniform(-99, 99, 3), **tags)
    return series, spacing


def differ(one, other):
    return False


@pytest.mark.parametrize("seed", range(8))
def test_without_evidence_of_time_the_distance_is_asked_for(seed):
    series, spacing = at_one_place(seed)
    stack = judge_series(series, pixels=differ)
    assert stack.fit.spacing_class == "UNKNOWN" and not stack.is_usable and stack.spacing_mm[0] is None
    assert len(stack.order) == len(series.headers)
    assert f"{spacing:g} mm" in text(stack, "POSITION_BAD") and "MULTI_VOLUME" not in codes(stack)
    assert "`slice_spacing_mm`" in stack.advice and "`split_by` time" in stack.advice


@pytest.mark.parametrize("seed", range(5))
def test_a_distance_that_is_given_and_thickness_count(seed):
    series, spacing = at_one_place(seed)
    for options, code in (
        (JudgeOptions(use_thickness=True), "THICKNESS_USED"),
        (JudgeOptions(slice_spacing_mm=spacing), "USER_SPACING_USED"),
    ):
        stack = judge_series(series, options, differ)
        assert stack.fit.spacing_class == "UNIFORM" and stack.spacing_mm[0] == pytest.approx(spacing)
        assert codes(stack) == {"POSITION_BAD", code} and len(stack.order) == len(series.headers)


@pytest.mark.parametrize("tag", ["time", "cardiac-phase", "acquisition-time", "echo", "b-value"])
def test_evidence_of_time_makes_it_one_slice(tag):
    series, _ = at_one_place(3)
    timed = dataclasses.replace(series, tags={tag: tuple(str(k) for k in range(len(series.headers)))})
    for options in (JudgeOptions(), JudgeOptions(use_thickness=True)):
        stack = judge_series(timed, options, differ)
        assert stack.fit.spacing_class == "SINGLE" and "MULTI_VOLUME" in codes(stack)


@pytest.mark.parametrize("modality", ["US", "XA", "RF"])
def test_films_are_series_in_time(modality):
    series, _ = at_one_place(4)
    stack = judge_series(dataclasses.replace(series, key={"Modality": modality}), pixels=differ)
    assert "series in time" in text(stack, "MULTI_VOLUME")


def test_copies_of_one_slice_are_one_slice():
    stack = judge_series(at_one_place(5)[0], pixels=lambda one, other: True)
    assert (stack.fit.spacing_class, codes(stack)) == ("SINGLE", {"SAME_SLICE", "SINGLE_SLICE"})


@pytest.mark.parametrize("has_times", [False, True])
def test_files_tell_by_their_times(tmp_path, has_times):
    def edit(data: pydicom.Dataset, k: int) -> None:
        data.PixelData = bytes([k]) * len(data.PixelData)
        if has_times:
            data.AcquisitionTime = f"1200{k:02}.5"

    write_series(tmp_path, np.zeros(9), edit=edit, spacing_between=0.02, pixel_spacing_mm=(0.02, 0.02))
    (stack,) = judge([tmp_path])
    assert stack.fit.spacing_class == ("SINGLE" if has_times else "UNKNOWN") and not stack.is_usable
