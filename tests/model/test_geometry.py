"""The oblique geometry against its formulas, pixel by pixel."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.model import Box, Coverage, ObliqueScan, Spacing, column_step_um, shear_of

scans = st.builds(
    ObliqueScan,
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 12),
    st.floats(0.3, 5),
    st.floats(0.3, 5),
    st.floats(1, 89),
)
isotropic = st.builds(
    lambda f, r, c, s: ObliqueScan(f, r, c, s * math.sqrt(2), s),
    st.integers(1, 9), st.integers(1, 3), st.integers(1, 9), st.floats(0.3, 5),
)  # fmt: skip
any_scan = st.one_of(scans, isotropic)


@st.composite
def scans_with_boxes(draw):
    scan = draw(any_scan)
    start = [draw(st.integers(-3, n + 3)) for n in scan.shape]
    return scan, Box.of_shape([draw(st.integers(0, 8)) for _ in range(3)], start)


def camera_um(scan, f, r, c):
    theta = math.radians(scan.angle_deg)
    along = c * scan.pixel_um
    return along * math.sin(theta), r * scan.pixel_um, f * scan.step_um + along * math.cos(theta)


@given(any_scan, st.data())
def test_a_grid_voxel_is_where_its_camera_pixel_is(scan, data):
    f, r, c = (data.draw(st.integers(0, n - 1)) for n in (scan.n_frames, scan.n_rows, scan.n_columns))
    voxel = (c, r, f + scan.shear * c)
    position = [v * um for v, um in zip(voxel, scan.spacing.zyx_um, strict=True)]
    # A shear within rounding of a whole number is taken as that number: at most 5e-7 columns per plane.
    np.testing.assert_allclose(position, camera_um(scan, f, r, c), rtol=1e-9, atol=1e-6 * scan.step_um * scan.n_columns)


@given(any_scan)
def test_the_grid_is_the_smallest_that_holds_every_camera_pixel(scan):
    last_x = scan.n_frames - 1 + scan.shear * (scan.n_columns - 1)
    z, y, x = scan.shape
    assert (z, y) == (scan.n_columns, scan.n_rows)
    assert x - 1 >= last_x - 1e-6
    assert x - 2 < last_x


@given(scans_with_boxes())
def test_mask_is_the_definition(case):
    scan, box = case
    mask = scan.coverage.mask(box)
    assert mask.shape == box.shape
    for index in np.ndindex(box.shape):
        z, y, x = (i + o for i, o in zip(index, box.start, strict=True))
        frame = x - scan.shear * z
        inside_zy = 0 <= z < scan.n_columns and 0 <= y < scan.n_rows
        if inside_zy and min(abs(frame), abs(frame - (scan.n_frames - 1))) < 1e-6:
            assert mask[index] or abs(frame - round(frame)) > 1e-12
        else:
            assert mask[index] == (inside_zy and 0 <= frame <= scan.n_frames - 1)


@st.composite
def scans_with_holes(draw):
    scan, box = draw(scans_with_boxes())
    return replace(scan, absent=tuple(draw(st.lists(st.integers(0, scan.n_frames - 1), max_size=4)))), box


@given(scans_with_holes())
def test_a_voxel_is_covered_if_every_frame_that_it_needs_is_there(case):
    scan, box = case
    mask, holes = scan.coverage.mask(box), scan.coverage.holes(box)
    for index in np.ndindex(box.shape):
        z, y, x = (i + o for i, o in zip(index, box.start, strict=True))
        frame = x - scan.shear * z
        if 0 < abs(frame - round(frame)) < 1e-8:
            continue  # whether rounding puts it on the frame is tested above
        needed = {round(frame)} if frame == round(frame) else {math.floor(frame), math.ceil(frame)}
        inside = 0 <= z < scan.n_columns and 0 <= y < scan.n_rows and needed <= set(range(scan.n_frames))
        assert mask[index] == (inside and needed.isdisjoint(scan.absent))
        assert holes[index[0], index[2]] == (not needed.isdisjoint(scan.absent))


@given(scans_with_holes())
def test_runs_are_the_frames_that_are_there(case):
    scan, _ = case
    there = [f for a, b in scan.coverage.runs for f in range(a, b)]
    assert there == [f for f in range(scan.n_frames) if f not in scan.absent]
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(scan.coverage.runs))


@given(scans_with_holes(), st.floats(-3, 15), st.floats(0, 5))
def test_a_span_holds_if_no_frame_that_it_meets_is_absent(case, first, length):
    cover, last = case[0].coverage, first + length
    needed = set(range(math.floor(first), math.ceil(last) + 1))
    if all(abs(v - round(v)) > 1e-8 or v == round(v) for v in (first, last)):
        assert cover.holds(first, last) == (needed <= set(range(cover.n_frames)) - set(cover.absent))


def test_absent_frames_are_sorted_and_checked():
    scan = ObliqueScan(5, 2, 2, 1.8, 1.28, absent=[3, 1, 3])
    assert scan.absent == scan.coverage.absent == (1, 3)
    assert hash(scan) == hash(replace(scan, absent=(1, 3)))
    assert scan.shape == replace(scan, absent=()).shape
    with pytest.raises(ParameterError, match="frames 0 to 4"):
        ObliqueScan(5, 2, 2, 1.8, 1.28, absent=(5,))
    with pytest.raises(ParameterError):
        ObliqueScan(5, 2, 2, 1.8, 1.28, absent=(1.5,))


@given(scans_with_boxes())
def test_no_voxel_outside_the_grid_is_covered(case):
    scan, box = case
    assert scan.coverage.mask(box).sum() == scan.coverage.mask(box.intersect(Box.of_shape(scan.shape))).sum()


@given(scans_with_boxes())
def test_intersects_misses_no_covered_voxel(case):
    scan, box = case
    if scan.coverage.mask(box).any():
        assert scan.coverage.intersects(box)


def test_runs_are_the_frames_between_holes():
    assert Coverage(10, 2, 2, absent=(0, 3, 4, 9)).runs == ((1, 3), (5, 9))
    assert Coverage(10, 2, 2).runs == ((0, 10),)
    assert Coverage(3, 2, 2, absent=(0, 1, 2)).runs == ()


def test_intersects_tells_apart_boxes_beside_the_parallelogram():
    coverage = Coverage(5, 3, 10, 1.0)
    assert not coverage.intersects(Box((8, 0, 0), (10, 3, 8)))
    assert coverage.intersects(Box((8, 0, 0), (10, 3, 9)))
    assert not coverage.intersects(Box((0, 0, 5), (1, 3, 14)))
    assert not coverage.intersects(Box((0, 3, 0), (1, 9, 4)))
    assert not coverage.intersects(Box((0, 0, 0), (0, 3, 4)))


@given(any_scan)
def test_x_bounds_are_the_first_and_last_frame(scan):
    first, last = scan.coverage.x_bounds(np.arange(scan.n_columns))
    np.testing.assert_array_equal(first, np.arange(scan.n_columns) * scan.shear)
    np.testing.assert_allclose(last - first, scan.n_frames - 1, atol=1e-9)
    assert last.max() <= scan.shape[2] - 1 + 1e-6


def needed_frames(scan, box):
    """Frames with weight in any covered voxel, by definition; a weight under 1e-6 may be left out."""
    needed = set()
    for z in range(max(0, box.start[0]), min(scan.n_columns, box.stop[0])):
        for x in range(box.start[2], box.stop[2]):
            frame = x - scan.shear * z
            if 0 <= frame <= scan.n_frames - 1:
                needed |= {math.floor(frame + 1e-6), math.ceil(frame - 1e-6)}
    covers_rows = max(0, box.start[1]) < min(scan.n_rows, box.stop[1])
    return needed if covers_rows else set()


@given(scans_with_boxes())
def test_frames_of_holds_every_frame_that_is_needed(case):
    scan, box = case
    start, stop = scan.frames_of(box)
    assert 0 <= start <= stop <= scan.n_frames
    assert needed_frames(scan, box) <= set(range(start, stop))


@given(scans_with_boxes())
def test_frames_of_reads_little_that_is_not_needed(case):
    scan, box = case
    needed = needed_frames(scan, box)
    if not needed:
        return
    start, stop = scan.frames_of(box)
    # Between neighbouring voxels lie at most the shear (planes) or one (columns) frames, and one of rounding.
    slack = math.ceil(max(scan.shear, 1)) + 1
    assert min(needed) - start <= slack
    assert stop - 1 - max(needed) <= slack


@given(isotropic)
def test_isotropic_boxes_need_exactly_their_frames(scan):
    assert scan.shear == 1.0
    for z in range(scan.n_columns):
        for x in range(scan.shape[2]):
            start, stop = scan.frames_of(Box.of_shape((1, 1, 1), (z, 0, x)))
            assert set(range(start, stop)) == needed_frames(scan, Box.of_shape((1, 1, 1), (z, 0, x)))


@given(any_scan)
def test_an_empty_box_needs_no_frames(scan):
    start, stop = scan.frames_of(Box((0, 0, 0), (0, 1, 1)))
    assert start == stop


def test_frames_of_a_box_beyond_the_scan_is_an_empty_range_in_it():
    scan = ObliqueScan(10, 4, 6, math.sqrt(2), 1.0)
    assert scan.frames_of(Box((0, 0, 12), (1, 4, 15))) == (10, 10)
    assert scan.frames_of(Box((5, 0, 0), (6, 4, 3))) == (0, 0)


def test_the_usual_scan_is_an_exact_copy():
    scan = ObliqueScan(256, 1024, 1024, 1.8, 1.8 / math.sqrt(2))
    assert scan.shear == 1.0
    assert scan.shape == (1024, 1024, 256 - 1 + 1023 + 1)


def test_a_step_that_is_nearly_isotropic_is_not_taken_as_isotropic():
    # The reference takes step 1.28 um at 1.8 um pixels as isotropic, a shear of 11.5 voxels at the deepest plane.
    scan = ObliqueScan(100, 2048, 2048, 1.8, 1.28)
    assert abs(scan.shear - 1) * 2047 == pytest.approx(11.5, abs=0.1)


def test_the_extent_holds_the_last_column_at_any_step():
    # The reference's extent is always frames + width, which loses the end at this step.
    scan = ObliqueScan(100, 10, 2048, 1.8, 1.0)
    assert scan.shape[2] == math.ceil(99 + 2047 * 1.8 / math.sqrt(2)) + 1
    assert scan.shape[2] > 100 + 2048


def test_a_scan_of_one_pixel_is_one_voxel():
    scan = ObliqueScan(1, 1, 1, 1.0, 1.0, 30.0)
    assert scan.shape == (1, 1, 1)
    assert scan.coverage.mask(Box.of_shape((1, 1, 1))).all()
    assert scan.frames_of(Box.of_shape((1, 1, 1))) == (0, 1)


@pytest.mark.parametrize("angle", [0, 90, -45, 180, float("nan")])
def test_angles_that_see_nothing_are_refused(angle):
    with pytest.raises(ParameterError, match="angle"):
        ObliqueScan(1, 1, 1, 1.0, 1.0, angle)


@pytest.mark.parametrize("um", [0, -1, float("nan"), float("inf")])
def test_lengths_must_be_positive(um):
    with pytest.raises(ParameterError, match="voxel size"):
        ObliqueScan(1, 1, 1, um, 1.0)
    with pytest.raises(ParameterError, match="step size"):
        ObliqueScan(1, 1, 1, 1.0, um)
    with pytest.raises(ParameterError, match="spacing"):
        Spacing(1.0, um, 1.0)


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 0, 1), (1, 1, -3)])
def test_a_scan_of_nothing_is_refused(shape):
    with pytest.raises(ParameterError, match="at least one"):
        ObliqueScan(*shape, 1.0, 1.0)


def test_spacing_in_nanometres_is_x_first():
    assert Spacing(1.0, 2.0, 3.5).xyz_nm == (3500.0, 2000.0, 1000.0)


@pytest.mark.parametrize("angle_deg", [10.0, 30.0, 45.0, 60.0, 89.0])
def test_the_shear_and_the_step_of_a_column_are_those_of_the_scan(angle_deg):
    scan = ObliqueScan(10, 20, 30, pixel_um=1.8, step_um=1.28, angle_deg=angle_deg)
    x_um, z_um = column_step_um(1.8, angle_deg)
    assert np.hypot(x_um, z_um) == pytest.approx(1.8) and np.degrees(np.arctan2(z_um, x_um)) == pytest.approx(angle_deg)
    assert shear_of(1.8, 1.28, angle_deg) == x_um / 1.28 == pytest.approx(scan.shear, abs=1e-6)
    assert scan.spacing == Spacing(z_um, 1.8, 1.28)
    assert scan.spacing.sheet_angle_deg == pytest.approx(angle_deg)


def test_a_grid_that_is_no_deeper_than_its_pixels_has_no_sheet():
    assert Spacing(2.0, 1.0, 1.0).sheet_angle_deg == 90


@given(
    st.floats(0.1, 10),
    st.floats(0.1, 10),
    st.sampled_from([1e-3, 1e3]),
    st.sampled_from(["pixel_um", "step_um", "both"]),
)
def test_sizes_in_another_unit_are_refused(pixel_um, step_um, unit, which):
    sizes = {"pixel_um": pixel_um, "step_um": step_um}
    ratio = max(pixel_um, step_um) / min(pixel_um, step_um)
    if ratio <= 50:
        ObliqueScan(3, 4, 5, **sizes)
    mistaken = {name: um * unit if which in (name, "both") else um for name, um in sizes.items()}
    if which == "both" and all(0.01 <= um <= 100 for um in mistaken.values()):
        return
    if max(mistaken.values()) / min(mistaken.values()) <= 50 and all(0.01 <= um <= 100 for um in mistaken.values()):
        return
    with pytest.raises(ParameterError, match="um"):
        ObliqueScan(3, 4, 5, **mistaken)


@pytest.mark.parametrize(("um", "text"), [(1800, "if nm were meant, give 1.8"), (0.0018, "if mm were meant, give 1.8")])
def test_a_mistaken_unit_is_named(um, text):
    with pytest.raises(ParameterError, match=text) as refusal:
        ObliqueScan(3, 4, 5, pixel_um=um, step_um=1.28)
    assert refusal.value.parameter == "pixel_um"
    with pytest.raises(ParameterError, match="do not go together"):
        ObliqueScan(3, 4, 5, pixel_um=0.02, step_um=1.28)
