"""Trends of the spacing, of thickness or of texture; and series whose similarities follow no one process."""

from __future__ import annotations

import numpy as np
import pytest

from bench.bench_zspacing_model import contradictory, sorts, steady, textured, waves
from bench.bench_zspacing_texture import sorts as texture_sorts
from bench.patch_series import moving_border, patches_of
from gpustitch.errors import ParameterError
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import band_of
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.fit_report import fit_lines
from gpustitch.sections.positions.state import Problem
from gpustitch.sections.texture.disagreement import Disagreement
from gpustitch.sections.texture.trend import less_texture, less_unshared, slow_part, taken_trend, verdict_on_trend
from tests.sections.positions.zspacing_golden import rms_error

pytestmark = pytest.mark.long

OPTIONS = EstimateOptions()


def share_inside(truth, result, sigmas=1.645):
    slope, offset = np.polyfit(result.positions, truth, 1)
    error = np.abs(slope * result.positions + offset - truth)
    return float(np.mean(error < sigmas * slope * result.uncertainty))


@pytest.mark.parametrize(("low", "high", "periods"), [(0.5, 1.7, 2.0), (0.45, 2.0, 2.5), (0.6, 1.5, 3.0)])
def test_waves_of_thickness_stay_whatever_their_height(low, high, periods):
    errors, inside = [], []
    for seed in (3, 4, 5):
        truth, strip = textured(waves(140, low, high, periods, seed), seed)
        result = estimate_positions(strip)
        plugin = estimate_positions(strip, EstimateOptions(compat=True))
        assert result.assumed == "thickness"
        assert not result.undecided
        errors.append([rms_error(p, truth) for p in (result.positions, plugin.positions, np.arange(140.0))])
        inside.append(share_inside(truth, result))
    ours, theirs, nothing = np.mean(errors, axis=0)
    assert ours < 0.8 * theirs
    assert ours < 0.2 * nothing
    assert np.mean(inside) > 0.7


@pytest.mark.parametrize("ratio", [1.8, 4.0])
def test_a_steady_trend_is_undecided_and_intervals_span_both(ratio):
    """Of thickness, truly. Beyond the believed ratio it is taken for one of texture: wrong, and said so."""
    truth, strip = textured(steady(120, ratio, 5), 5)
    result = estimate_positions(strip)
    assert result.undecided
    assert result.assumed == ("thickness" if ratio < OPTIONS.spacing_ratio else "texture")
    assert result.spacing_ratio == pytest.approx(ratio, rel=0.35)
    assert share_inside(truth, result) > 0.9
    assert any(f"taken for a trend of {result.assumed}" in line for line in fit_lines(result))


def test_what_is_assumed_is_followed_without_doubt():
    truth, strip = textured(steady(120, 4.0, 6), 6)
    thickness = estimate_positions(strip, EstimateOptions(assume="thickness"))
    texture = estimate_positions(strip, EstimateOptions(assume="texture"))
    assert rms_error(thickness.positions, truth) < 0.05 * rms_error(texture.positions, truth)
    means = [np.convolve(np.diff(found.positions), np.full(30, 1 / 30), "valid") for found in (thickness, texture)]
    assert means[0].max() / means[0].min() > 2
    assert means[1].max() / means[1].min() < 1.2
    assert np.median(thickness.uncertainty) < 0.2 * np.median(estimate_positions(strip).uncertainty)
    assert not thickness.undecided
    assert not texture.undecided
    assert "was taken out as one of texture" in "".join(fit_lines(texture))
    assert "texture" not in "".join(fit_lines(thickness))


def test_even_and_short_series_have_no_trend():
    for n in (20, 31, 90):
        positions, order = np.arange(n) * 1.0, np.arange(n)
        verdict = verdict_on_trend(positions, order, False, OPTIONS)
        assert (verdict.assumed, verdict.undecided, verdict.are_waves) == ("thickness", False, False)
        taken = taken_trend(positions, order, verdict)
        np.testing.assert_array_equal(taken.positions, positions)
        assert not taken.doubt.any()


@pytest.mark.parametrize(("pair_error", "offset", "length"), [(0.01, 0, 10), (0.02, 0.05, 20), (0, 0.1, 10)])
@pytest.mark.parametrize("max_lag", [10, 20])
def test_series_that_follow_no_process_are_explained_by_distance(pair_error, offset, length, max_lag):
    truth, matrix = contradictory(1, pair_error, offset, length, n=150)
    result = estimate_positions(matrix, EstimateOptions(max_lag=max_lag))
    plugin = estimate_positions(matrix, EstimateOptions(max_lag=max_lag, compat=True))
    error = rms_error(result.positions, truth)
    assert error < 0.8 * rms_error(plugin.positions, truth)
    assert error < 0.25 * rms_error(np.arange(150.0), truth)


@pytest.mark.parametrize(("pair_error", "offset"), [(0, 0.35), (0.05, 0.35)])
def test_sections_stay_where_no_positions_explain_more(pair_error, offset):
    """Sections so far off across the plane that distance along z takes no part in their similarity."""
    _, matrix = contradictory(1, pair_error, offset, 40, n=100)
    result = estimate_positions(matrix)
    assert not result.is_explained
    np.testing.assert_allclose(result.positions, np.arange(100), atol=1e-9)
    np.testing.assert_array_equal(result.order, np.arange(100))
    assert any("stay at the positions they started at" in line for line in fit_lines(result))
    assert np.nanmedian(result.uncertainty) > 1


@pytest.mark.parametrize(
    ("moves", "settling"),
    [([0.5**k for k in range(30)], True), ([0.2] * 40, False), ([0.1, 0.3] * 20, False), ([1.0, 0.8], True)],
)
def test_moves_that_do_not_become_smaller_are_told_from_those_that_do(moves, settling):
    matrix = textured(waves(40, 0.6, 1.5, 1.0, 3), 3)[1]
    one = np.ones(40)
    state = Problem(band_of(matrix, 10), OPTIONS, np.arange(40.0), one, one, None).begin()
    state.moves += moves
    assert state.is_settling == settling
    assert estimate_positions(matrix, EstimateOptions(outer_iterations=12)).is_settling


@pytest.mark.parametrize("sort", list(sorts()), ids=lambda sort: sort.name)
def test_constants_part_the_sorts_of_series_as_they_did_when_chosen(sort):
    assert sort.row(range(100, 101))["holds"], sort.row(range(100, 102))


@pytest.mark.parametrize("sort", list(texture_sorts()), ids=lambda sort: sort.name)
def test_constants_of_texture_part_the_sorts_as_they_did_when_chosen(sort):
    assert sort.row(range(100, 101))["holds"], sort.row(range(100, 102))


def test_what_goes_with_structures_within_the_planes_is_taken_out():
    """A steady trend of similarity, which lengths within the planes show as well, or do not."""
    truth, strip = textured(steady(120, 2.0, 8), 8)
    even = np.linspace(0, truth[-1], 120)
    lengths = np.geomspace(2.0, 1.0, 120)  # structures become finer where spacings seem to become wider
    lengths = lengths if np.diff(truth)[-1] > np.diff(truth)[0] else lengths[::-1]
    known = estimate_positions(strip, in_plane_px=lengths)
    assert known.assumed == "texture" and known.undecided and known.texture_ratio == pytest.approx(2)
    assert rms_error(known.positions, even) < 0.2 * rms_error(truth, even)
    assert share_inside(truth, known, 2.8) > 0.85 and share_inside(even, known) > 0.85
    assert any("structures within the sections change, 2.0 to 1" in line for line in fit_lines(known))
    plain = estimate_positions(strip)
    for lengths_alike in (np.full(120, 3.0), np.linspace(3, 3.6, 120), lengths[::-1]):
        found = estimate_positions(strip, in_plane_px=lengths_alike)
        np.testing.assert_array_equal(found.positions, plain.positions)
        np.testing.assert_array_equal(found.uncertainty, plain.uncertainty)
    for options in (EstimateOptions(assume="thickness"), EstimateOptions(compat=True)):
        found = estimate_positions(strip, options, in_plane_px=lengths)
        np.testing.assert_array_equal(found.positions, estimate_positions(strip, options).positions)


def test_a_steady_trend_that_parts_do_not_share_is_taken_out():
    truth, strip = textured(steady(120, 2.0, 8), 8)
    even = np.linspace(0, truth[-1], 120)
    patches = patches_of(even, 8, moving_border(), 2.0)
    known = estimate_positions(strip, patches=patches)
    assert known.assumed == "texture" and known.undecided and known.parts_ratio > 1.1
    assert rms_error(known.positions, even) < 0.2 * rms_error(truth, even)
    assert share_inside(truth, known, 2.8) > 0.85 and share_inside(even, known) > 0.85
    assert any(line.startswith("parts of the sections differ, typically 1.") for line in fit_lines(known))
    plain = estimate_positions(strip)
    agreed = estimate_positions(strip, patches=patches_of(truth, 8))
    assert agreed.parts_ratio == 1 and np.isnan(plain.parts_ratio)
    np.testing.assert_array_equal(agreed.positions, plain.positions)
    np.testing.assert_array_equal(agreed.uncertainty, plain.uncertainty)
    for options in (EstimateOptions(assume="thickness"), EstimateOptions(compat=True)):
        found = estimate_positions(strip, options, patches=patches)
        np.testing.assert_array_equal(found.positions, estimate_positions(strip, options).positions)


def test_a_trend_far_beyond_what_parts_differ_by_mostly_stays():
    positions = np.cumsum(np.linspace(0.5, 1.5, 100))
    seen = less_texture(positions, np.arange(100), None)
    most, some = (less_unshared(seen, np.arange(100), Disagreement(1e-9, height)) for height in (0.3, 0.03))
    assert np.diff(most.positions).std() < 0.06 and 0.2 < np.diff(some.positions).std() < 0.29
    assert (most.doubt > some.doubt).all() and (some.doubt > 0).all()
    # Where no trend is seen one may hide.
    even = less_texture(np.arange(100.0), np.arange(100), None)
    hidden = less_unshared(even, np.arange(100), Disagreement(1e-9, 0.2))
    np.testing.assert_allclose(hidden.positions, np.arange(100), atol=1e-6)
    assert (hidden.doubt > 0.3).all()
    for parts in (None, Disagreement(1e-3, 0.2)):
        assert not less_unshared(seen, np.arange(100), parts).is_texture


def test_order_and_short_series_keep_their_positions():
    rng = np.random.default_rng(3)
    positions = np.cumsum(rng.uniform(0.5, 1.5, 60)) * np.linspace(1, 1.5, 60)
    lengths = np.geomspace(3, 1, 60)
    mixed = rng.permutation(60)
    seen = less_texture(positions, np.arange(60), lengths)
    there = less_texture(positions[mixed], np.argsort(mixed), lengths[mixed])
    assert seen.is_texture
    for name in ("positions", "scale", "doubt"):
        np.testing.assert_allclose(getattr(there, name), getattr(seen, name)[mixed], rtol=1e-9, atol=1e-9)
    assert (np.diff(seen.positions) > 0).all()
    assert np.ptp(seen.positions) == pytest.approx(np.ptp(positions))
    assert not less_texture(positions[:30], np.arange(30), lengths[:30]).is_texture
    assert not less_texture(positions, np.arange(60), None).is_texture


@pytest.mark.parametrize("lengths", [np.zeros(40), np.full(40, np.nan), np.ones(39)])
def test_lengths_that_are_none_are_refused(lengths):
    _, strip = textured(steady(40, 1.2, 1), 1)
    with pytest.raises(ParameterError, match="in_plane_px"):
        estimate_positions(strip, in_plane_px=lengths)


def test_an_odd_spacing_at_an_end_counts_no_more_in_the_slow_part_than_elsewhere():
    changes = []
    for place in (0, 3, 60, 119):
        spacing = np.ones(120)
        spacing[place] += 0.6
        changes.append(float(np.abs(slow_part(spacing) - 1).sum()))
    np.testing.assert_allclose(changes, 0.6, rtol=0.05)
