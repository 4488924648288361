"""Verdicts as lines and as JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from gpustitch.slices.model import SliceSeries, StoredPixels
from gpustitch.slices.verdict.report import common_path, headline, verdict, verdict_dict
from gpustitch.slices.verdict.stage import JudgeOptions, judge, judge_series
from gpustitch.slices.verdict.text import mm, percent
from tests.slices.dicom.scenarios import scenario
from tests.slices.slice_headers import series_of


def said(stack, width=80):
    return "\n".join(verdict(stack, width))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenarios")
    for number in range(1, 9):
        scenario(number, folder / str(number))
    return {number: judge([folder / str(number)])[0] for number in range(1, 9)}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_width(stacks, width):
    for stack in stacks.values():
        for line in verdict(stack, width):
            assert len(line) <= width or " " not in line[12:]  # a path is not broken
            assert line.startswith("  ") and line == line.rstrip()


def test_a_verdict_is_short(stacks):
    for stack in stacks.values():
        assert len(list(verdict(stack, 80))) <= 16


def test_the_wrong_order_and_rounding_are_told(stacks):
    text = said(stacks[1], 120)
    assert "z 0.58333 ± 0.00033,  y 0.75,  x 0.5 mm" in text
    assert "in 4 pieces, out of order" in text
    assert "rounded, up to 0.05 mm off" in text
    assert "dcm2niix: 0.6 mm (+2.9 %)" in text
    assert "SimpleITK, 3D Slicer, dicom2nifti, ImageJ: the same" in text
    assert "Use 0.58333 mm for all slices." in text
    assert headline(stacks[1]) == "scenario 1 (series 1): UNIFORM"


def test_holes_and_gaps_are_told(stacks):
    assert "2 slices missing in 2 holes of 3 mm, 3 mm" in said(stacks[3], 120)
    assert "files were lost (10, 21)" in said(stacks[3], 120)
    gaps = said(stacks[2], 120)
    assert "stretches of 100, 100, 100 slices with 2 gaps of 61 mm, 116 mm" in gaps
    assert "dcm2niix: the same (volume -49 %)" in gaps and "593 planes" in gaps


def test_which_of_several_spacings_is_meant(stacks):
    assert "z 2.5 (the finest)" in said(stacks[5])
    uneven = judge_series(series_of(np.cumsum(np.random.default_rng(0).uniform(0.5, 2, 40))))
    assert "z 1.41 ± 0.46 (median)" in said(uneven)


def test_what_is_unknown_is_called_so(stacks):
    text = said(stacks[8], 120)
    assert "z unknown" in text and "`slice_spacing_mm` MM" in text and "(5 mm) need not be it" in text
    assert "nan" not in text.lower()


def test_every_verdict_is_valid_json_without_nan(stacks):
    for stack in stacks.values():
        text = json.dumps(verdict_dict(stack), allow_nan=False)
        assert json.loads(text) == verdict_dict(stack)


def test_the_dictionary_holds_what_the_verdict_says(stacks):
    tilted = verdict_dict(stacks[4])
    assert tilted["class"] == "UNIFORM"
    assert tilted["spacing_mm"] == pytest.approx([4.69846, 0.75, 0.5], abs=1e-5)
    assert tilted["shear"] == pytest.approx(0.36397, abs=1e-5)
    assert tilted["shear_yx"] == pytest.approx([-0.36397, 0], abs=1e-5)
    assert tilted["warnings"] == ["SHEARED"] and tilted["usable"]
    assert (tilted["n_slices"], tilted["n_output"]) == (20, 20)
    assert np.array(tilted["directions"]).shape == (3, 3) and len(tilted["origin_mm"]) == 3
    assert tilted["others_mm"]["SimpleITK"] == pytest.approx(5) and tilted["others_mm"]["dicom2nifti"] is None
    assert tilted["others_stretch"]["SimpleITK"] == pytest.approx(0.0642, abs=1e-4)
    assert tilted["series_uid"].startswith("2.25.") or tilted["series_uid"].startswith("1.2.")
    assert Path(tilted["path"]).name == "4"
    unknown = verdict_dict(stacks[8])
    assert unknown["spacing_mm"] == [None, 0.75, 0.5] and unknown["spacing_uncertainty_mm"] is None
    assert unknown["warnings"] == ["NO_SPACING"] and not unknown["usable"] and unknown["n_output"] == 0
    gaps = verdict_dict(stacks[2])
    assert [stretch[:2] for stretch in gaps["stretches"]] == [[0, 100], [100, 200], [200, 300]]


def test_the_names_of_schema_1_are_there_too(stacks):
    for stack in stacks.values():
        told = verdict_dict(stack)
        assert told["schema"] == 2 and told["source_format"] == "dicom"
        for new, old in (("spacing_class", "class"), ("stretches", "runs"), ("source_format", "kind")):
            assert told[new] == told[old]


def test_numbers_of_any_source_are_json():
    bare = series_of(np.arange(5.0), position_mm=None)
    for stack in (
        judge_series(bare, JudgeOptions(slice_spacing_mm=2.0)),
        judge_series(SliceSeries("log", "scanner log", bare.headers, spacing_mm=(0.1, None, None))),
        judge_series(series_of([1.0])),
    ):
        json.dumps(verdict_dict(stack), allow_nan=False)
        assert said(stack)


def test_the_folder_of_a_series():
    series = series_of(np.arange(4.0))
    stack = judge_series(series)

    def placed(*names):
        headers = [dataclasses.replace(series.headers[0], path=Path(name)) for name in names]
        return dataclasses.replace(stack, series=dataclasses.replace(series, headers=tuple(headers)))

    assert common_path(placed("/a/b/1", "/a/b/2")) == Path("/a/b")
    assert common_path(placed("/a/b/1", "/a/c/2")) == Path("/a")
    assert common_path(placed("/a/b/1")) == Path("/a/b/1")
    assert common_path(placed("1", "c/2")) == Path()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.5833333, 0.00033, "0.58333"),
        (2.5, 0.0, "2.5"),
        (4.698463, 0.0, "4.69846"),
        (0.0123456789, 0.0, "0.0123457"),
        (12.0, 3.0, "12.0"),
        (np.nan, 0.0, "unknown"),
    ],
)
def test_lengths_have_the_digits_that_are_known(value, error, text):
    assert mm(value, error) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0285, "+2.9 %"), (-0.5, "-50 %"), (0, "0 %"), (-0.00009, "-0.009 %"), (1.5, "+150 %"), (53.7, "x 55")],
)
def test_changes_have_two_digits(part, text):
    assert percent(part) == text


def test_stored_pixels_do_not_matter():
    series = series_of(np.arange(4.0), pixels=StoredPixels("", "<u2", 0, 16, 15, False))
    assert not judge_series(series).notes


def test_ways_to_part_a_series_are_told():
    along = np.concatenate([3.0 * np.arange(9), 0.5 + 3.0 * np.arange(9)])
    told = verdict_dict(judge_series(series_of(along)))
    volumes = [
        {"spacing_class": "UNIFORM", "spacing_mm": 3.0, "n_slices": 9, "start_mm": start, "stop_mm": start + 24}
        for start in (30.0, 30.5)
    ]
    assert told["partings"][0]["split_by"] == ["volume"]
    assert [
        volume | {"spacing_mm": round(volume["spacing_mm"], 6)} for volume in told["partings"][0]["volumes"]
    ] == volumes
    assert verdict_dict(judge_series(series_of(along[:9])))["partings"] == []
