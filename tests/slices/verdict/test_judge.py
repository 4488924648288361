"""Verdicts on one series in memory: random ones without number, and each rule by itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.slices.model import SliceSeries
from gpustitch.slices.verdict.judge import JudgeOptions, judge_series
from tests.slices.slice_headers import codes, series_of, text
from tests.slices.verdict.drawn_series import drawn, pixels_equal


def misread(found, stack):
    """What is wrong with the verdict on a drawn series."""
    wrong = []
    if (stack.fit.spacing_class, len(stack.order)) != (found.kind, found.n_slices):
        wrong.append(f"{stack.fit.spacing_class}, {len(stack.order)} slices")
    if found.n_output is not None:
        z, error = stack.spacing_mm[0], stack.uncertainty_mm[0]
        if stack.fit.n_output != found.n_output or abs(z - found.spacing) > error * (1 + 1e-6) + 1e-7 * z:
            wrong.append(f"{z} +- {error} mm, {stack.fit.n_output} planes")
    if not found.codes <= codes(stack) or found.no_codes & codes(stack):
        wrong.append(f"{codes(stack)}")
    extent = stack.positions_mm[-1] - stack.positions_mm[0]
    off = np.hypot(stack.shear[0] - found.shear[0], stack.shear[1])
    if off > 1e-3 + 6 * stack.series.headers[0].quantum_mm[0] / extent:
        wrong.append(f"shear {stack.shear}")
    return wrong


def test_many_random_series_are_read_right():
    """Hundreds of positions without headers are those of ``tests/slices/fit/test_classes.py``."""
    wrong, n_tried = {}, 0
    for seed in range(150):
        found = drawn(seed)
        if found is None:
            continue
        n_tried += 1
        faults = misread(found, judge_series(found.series, pixels=pixels_equal))
        if faults:
            wrong[seed] = (found.kind, found.spacing, faults)
    assert n_tried >= 120
    assert not wrong


def test_the_first_voxel_is_where_the_first_slice_is():
    even = [found for seed in range(100) if (found := drawn(seed)) is not None and found.kind == "UNIFORM"]
    assert len(even) >= 20
    for found in even:
        stack = judge_series(found.series, pixels=pixels_equal)
        first = np.array(found.series.headers[stack.order[0]].position_mm)
        quantum = found.series.headers[0].quantum_mm[0]
        np.testing.assert_allclose(stack.origin_mm, first, atol=2.5 * quantum)


def test_without_positions_sources_are_tried_in_order():
    bare = series_of(np.arange(6.0), position_mm=None, thickness_mm=5.0)
    tagged = series_of(np.arange(6.0), position_mm=None, thickness_mm=5.0, spacing_between_mm=-3.0)
    located = dataclasses.replace(
        tagged,
        headers=tuple(dataclasses.replace(h, slice_location_mm=-2.25 * k) for k, h in enumerate(tagged.headers)),
    )
    for series, options, spacing, code in (
        (bare, JudgeOptions(), None, "NO_SPACING"),
        (bare, JudgeOptions(use_thickness=True), 5.0, "THICKNESS_USED"),
        (tagged, JudgeOptions(use_thickness=True), 3.0, "SPACING_TAG_USED"),
        (located, JudgeOptions(use_thickness=True), 2.25, "SLICE_LOCATION_USED"),
        (located, JudgeOptions(slice_spacing_mm=1.5), 1.5, "USER_SPACING_USED"),
    ):
        stack = judge_series(series, options)
        assert stack.spacing_mm[0] == (None if spacing is None else pytest.approx(spacing))
        assert code in codes(stack)
    assert stack.origin_mm is None and stack.uncertainty_mm[0] is None


def test_a_given_spacing_does_not_displace_positions():
    stack = judge_series(series_of(0.58333 * np.arange(40)), JudgeOptions(slice_spacing_mm=0.6))
    assert stack.spacing_mm[0] == pytest.approx(0.58333)
    assert any("0.6 mm was not used: it would stretch the volume by 2.9 %" in said for said in stack.evidence)


def test_spacing_tags_are_held_against_positions():
    for tag, expected in (
        (2.5, set()),
        (2.52, set()),
        (2.6, {"SPACING_TAG_MISMATCH"}),
        (-2.5, {"SPACING_TAG_NEGATIVE"}),
    ):
        assert codes(judge_series(series_of(2.5 * np.arange(9), spacing_between_mm=tag))) == expected
    gap = judge_series(series_of(2.5 * np.arange(9), spacing_between_mm=0.5, thickness_mm=2.0))
    assert "gap between slices" in text(gap, "SPACING_TAG_MISMATCH")


def located_by(series, locations):
    """The series with SliceLocation of each slice."""
    pairs = zip(series.headers, locations, strict=True)
    headers = tuple(dataclasses.replace(header, slice_location_mm=float(at)) for header, at in pairs)
    return dataclasses.replace(series, headers=headers)


@pytest.mark.parametrize("seed", range(12))
def test_slice_locations_by_any_way_of_measuring_agree_and_others_are_told(seed):
    rng = np.random.default_rng(seed)
    row, column, normal = Rotation.random(None, rng).as_matrix()
    n, shear = int(rng.integers(2, 30)), tuple(rng.choice([0.0, 0.3, -0.2], 2))
    along = np.cumsum(rng.uniform(1, 4, n)) if seed % 2 else 2.5 * np.arange(n)
    series = series_of(along, directions=(row, column), shear=shear)
    at = np.array([header.position_mm for header in series.headers])
    widest = np.abs(normal).argmax()
    for locations in (at @ normal, -(at @ normal) + 7, np.linalg.norm(at - at[0], axis=1), at[:, widest]):
        decimals = int(rng.integers(0, 6))
        assert "SLICE_LOCATION_MISMATCH" not in codes(judge_series(located_by(series, locations.round(decimals))))
    assert "SLICE_LOCATION_MISMATCH" not in codes(judge_series(located_by(series, np.zeros(n))))
    stack = judge_series(located_by(series, 2.9 * along))
    assert "ImagePositionPatient counts" in text(stack, "SLICE_LOCATION_MISMATCH")
    assert stack.spacing_mm[0] == judge_series(series).spacing_mm[0]
    if n > 3:
        among = np.concatenate([along[2:], along[:2]])
        assert "another order" in text(judge_series(located_by(series, among)), "SLICE_LOCATION_MISMATCH")


def test_the_tilt_tag_is_not_trusted():
    stack = judge_series(series_of(2.5 * np.arange(9), tilt_deg=15.0))
    assert stack.shear == (0.0, 0.0) and not stack.notes
    tilted = judge_series(series_of(2.5 * np.arange(9), shear=(0.3, 0), tilt_deg=0.0))
    assert "GantryDetectorTilt says 0" in text(tilted, "SHEARED")


def with_copies(series, pairs, **changes):
    """A series with copies of slices, given names and changes."""
    headers = list(series.headers)
    for k, name in pairs:
        headers.append(dataclasses.replace(headers[k], path=Path(name), instance=f"9.{name}", **changes))
    return dataclasses.replace(series, headers=tuple(headers))


def test_different_slices_at_one_place_make_the_series_unusable():
    series = with_copies(series_of(2.5 * np.arange(9)), [(3, "other.dcm")], number=99)
    stack = judge_series(series, pixels=lambda a, b: False)
    assert not stack.is_usable and "other.dcm and f00003.dcm" in text(stack, "SLICES_CONFLICT")
    assert "No tag" in stack.advice and "`keep` first or last" in stack.advice
    assert "not compared" in text(judge_series(series), "SLICES_CONFLICT")
    same = judge_series(series, pixels=lambda a, b: True)
    assert same.is_usable and codes(same) == {"SAME_SLICE"} and same.order.tolist() == list(range(9))


def test_pixels_that_cannot_be_compared_are_named():
    def fail(one, other):
        raise DamagedInputError("f00003.dcm has no pixels")

    series = with_copies(series_of(2.5 * np.arange(9)), [(3, "other.dcm")], number=99)
    stack = judge_series(series, pixels=fail)
    assert {"SLICES_CONFLICT", "UNREADABLE_PIXELS"} <= codes(stack)
    assert "no pixels" in text(stack, "UNREADABLE_PIXELS")


@pytest.mark.parametrize("order", ["blocks", "interleaved"])
def test_as_many_slices_at_each_place_are_volumes(order):
    along = np.tile(np.arange(8.0), 3) if order == "blocks" else np.repeat(np.arange(8.0), 3)
    # Whole millimetres: by their numbers alone, interleaved ones could also be a third of a millimetre apart.
    series = series_of(along, decimals=0)
    stack = judge_series(series, pixels=lambda a, b: False)
    assert (stack.fit.spacing_class, stack.spacing_mm[0], len(stack.order)) == ("UNIFORM", 1.0, 8)
    assert "3 volumes" in text(stack, "MULTI_VOLUME")
    expected = range(8) if order == "blocks" else range(0, 24, 3)
    assert stack.order.tolist() == list(expected)


def test_a_folder_copied_twice_is_one_volume():
    series = series_of(2.5 * np.arange(8))
    twice = with_copies(series, [(k, f"x{k}.dcm") for k in range(8)])
    stack = judge_series(twice, pixels=lambda a, b: True)
    assert codes(stack) == {"SAME_SLICE"} and len(stack.order) == 8


def test_a_blank_first_slice_does_not_hide_volumes():
    series = series_of(np.tile(2.5 * np.arange(8), 2))
    stack = judge_series(series, pixels=lambda a, b: a.position_mm == series.headers[0].position_mm)
    assert "MULTI_VOLUME" in codes(stack) and len(stack.order) == 8


def test_a_series_in_time_is_one_slice():
    stack = judge_series(series_of(np.zeros(12)), pixels=lambda a, b: False)
    assert stack.fit.spacing_class == "SINGLE" and not stack.is_usable
    assert "series in time" in text(stack, "MULTI_VOLUME")


def test_coarse_positions_of_equal_number_need_the_tag():
    true = 0.5 * np.arange(24) - 0.3
    coarse = series_of(true, decimals=0)
    tagged = series_of(true, decimals=0, spacing_between_mm=0.5)
    several = judge_series(coarse, pixels=lambda a, b: False)
    assert "MULTI_VOLUME" in codes(several) and several.spacing_mm[0] == pytest.approx(1.0)
    spacing, _, error, *_ = text(several, "POSITIONS_ROUNDED").split("one volume of ")[1].split()
    assert float(spacing) == pytest.approx(0.5, abs=float(error))
    stack = judge_series(tagged, pixels=lambda a, b: False)
    assert (stack.fit.spacing_class, len(stack.order)) == ("UNIFORM", 24)
    assert stack.spacing_mm[0] == pytest.approx(0.5, abs=stack.uncertainty_mm[0])
    assert stack.order.tolist() == list(range(24))


def test_numbers_that_go_down_order_coarse_positions():
    series = series_of(0.3 * np.arange(40), decimals=0, numbers=list(range(40, 0, -1)))
    stack = judge_series(series, pixels=lambda a, b: False)
    assert stack.order.tolist() == list(range(40)) and "POSITIONS_ROUNDED" in codes(stack)


def edited(series, changes):
    headers = [dataclasses.replace(h, **changes.get(k, {})) for k, h in enumerate(series.headers)]
    return dataclasses.replace(series, headers=tuple(headers))


@pytest.mark.parametrize("bad", [None, (np.nan, 0.0, 1.0), (np.inf, 0.0, 1.0)])
def test_slices_without_a_position_are_left_out_and_named(bad):
    stack = judge_series(edited(series_of(2.5 * np.arange(9)), {4: {"position_mm": bad}}))
    assert (stack.fit.spacing_class, len(stack.order)) == ("MISSING", 8)
    assert "f00004.dcm" in text(stack, "POSITION_BAD")
    assert "FILES_LOST" not in codes(stack) and not stack.others_mm


def test_zeros_are_no_positions():
    zero = {"position_mm": (0.0, 0.0, 0.0)}
    some = judge_series(edited(series_of(2.5 * np.arange(9)), {3: zero, 5: zero}))
    assert len(some.order) == 7 and "0, 0, 0 in 2 slices" in text(some, "POSITION_BAD")
    every = judge_series(edited(series_of(2.5 * np.arange(9), spacing_between_mm=4.0), dict.fromkeys(range(9), zero)))
    assert {"POSITION_BAD", "SPACING_TAG_USED"} <= codes(every) and every.spacing_mm[0] == 4.0


def test_orientation_that_contradicts_itself_is_not_used():
    bad = {"row_direction": (1.0, 0.0, 0.0), "column_direction": (1.0, 0.0, 0.0)}
    stack = judge_series(series_of(2.5 * np.arange(9), **bad))
    assert stack.spacing_mm[0] == pytest.approx(2.5) and stack.directions is None and stack.origin_mm is None
    assert "contradicts itself" in text(stack, "ORIENTATION_BAD")
    missing = judge_series(series_of(2.5 * np.arange(9), row_direction=None, column_direction=None))
    assert "no usable" in text(missing, "ORIENTATION_BAD") and missing.spacing_mm[0] == pytest.approx(2.5)


def test_slices_beside_the_line_are_named_and_not_shifted():
    series = series_of(2.5 * np.arange(9))
    x, y, z = series.headers[4].position_mm
    stack = judge_series(edited(series, {4: {"position_mm": (x + 9, y, z)}}))
    assert stack.shear == (0.0, 0.0) and "beside a straight line" in text(stack, "POSITION_BAD")
    assert stack.origin_mm == pytest.approx(series.headers[0].position_mm)


def test_one_slice_and_none():
    stack = judge_series(series_of([3.0]))
    assert (stack.fit.spacing_class, stack.spacing_mm) == ("SINGLE", (None, 0.7, 0.5))
    assert not stack.is_usable and codes(stack) == {"SINGLE_SLICE"}
    assert stack.origin_mm == pytest.approx((-100.0, -120.0, 33.0))
    with pytest.raises(ParameterError, match="no slices"):
        judge_series(SliceSeries("empty", "dicom", ()))


def test_names_in_reverse_or_plain_order_are_in_order():
    for names in (list(range(9, 0, -1)), list(range(9))):
        assert not judge_series(series_of(2.5 * np.arange(9), names=names)).notes
    mixed = judge_series(series_of(2.5 * np.arange(9), names=[3, 4, 5, 6, 7, 8, 0, 1, 2]))
    assert "in 2 pieces" in text(mixed, "FILE_ORDER")


def test_a_tolerance_can_be_given():
    jitter = np.random.default_rng(0).uniform(-0.06, 0.06, 40)
    series = series_of(2.5 * np.arange(40) + jitter)
    assert judge_series(series).fit.spacing_class != "UNIFORM"
    assert judge_series(series, JudgeOptions(tolerance=0.05)).fit.spacing_class == "UNIFORM"


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"slice_spacing_mm": 0.0}, "positive distance"),
        ({"slice_spacing_mm": np.nan}, "positive distance"),
        ({"tolerance": 0.5}, "tolerance"),
        ({"split_by": ("phase",)}, "split by acquisition"),
    ],
)
def test_options_out_of_range_are_refused(bad, text):
    with pytest.raises(ParameterError, match=text):
        JudgeOptions(**bad)
