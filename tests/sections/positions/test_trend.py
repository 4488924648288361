"""Trends of the spacing, of thickness or of texture; and series whose similarities follow no one process."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.fit_report import fit_lines
from gpustitch.sections.positions.trend import taken_trend, verdict_on_trend
from tests.sections.positions.zspacing_golden import rms_error

OPTIONS = EstimateOptions()
SUB = 4


@functools.cache
def textured(spacing, seed, patches=1000, max_lag=10):
    """Positions (n,), and similarities of sections through a texture of three scales at these spacings."""
    rng = np.random.default_rng(seed)
    truth = np.cumsum(spacing)
    depth = (int(truth[-1]) + 80) * SUB
    texture = np.zeros((depth, patches), np.float32)
    for share, length in ((0.6, 2), (0.8, 5), (1.0, 12)):
        part = gaussian_filter1d(rng.standard_normal((depth, patches), dtype=np.float32), length * SUB, 0, truncate=3)
        texture += share * part / part.std()
    place = (truth + 40) * SUB
    first = place.astype(int)
    part = (place - first)[:, None].astype(np.float32)
    sections = texture[first] * (1 - part) + texture[first + 1] * part
    sections += 0.25 * rng.standard_normal(sections.shape).astype(np.float32)
    strip = np.full((len(truth), max_lag + 1), np.nan)
    matrix = np.corrcoef(sections)
    for lag in range(max_lag + 1):
        strip[: len(truth) - lag, lag] = np.diagonal(matrix, lag)
    return truth, strip


def waves(n, low, high, periods, seed):
    """Spacings that swing between two values."""
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    swing = np.sin(2 * np.pi * periods * np.arange(n) / n + phase)
    return tuple((low + high) / 2 + (high - low) / 2 * swing)


def share_inside(truth, result):
    slope, offset = np.polyfit(result.positions, truth, 1)
    error = np.abs(slope * result.positions + offset - truth)
    return float(np.mean(error < 1.645 * slope * result.uncertainty))


@pytest.mark.parametrize(("low", "high", "periods"), [(0.5, 1.7, 2.0), (0.45, 2.0, 2.5), (0.6, 1.5, 3.0)])
def test_waves_of_thickness_stay_whatever_their_height(low, high, periods):
    inside = []
    for seed in (3, 4):
        truth, strip = textured(waves(160, low, high, periods, seed), seed)
        result = estimate_positions(strip)
        plugin = estimate_positions(strip, EstimateOptions(compat=True))
        assert result.assumed == "thickness"
        assert not result.undecided
        assert rms_error(result.positions, truth) < 0.75 * rms_error(plugin.positions, truth)
        assert rms_error(result.positions, truth) < 0.15 * rms_error(np.arange(160.0), truth)
        inside.append(share_inside(truth, result))
    assert np.mean(inside) > 0.7


@pytest.mark.parametrize("ratio", [1.8, 4.0])
def test_a_steady_trend_is_undecided_and_intervals_span_both(ratio):
    """Of thickness, truly. Beyond the believed ratio it is taken for one of texture: wrong, and said so."""
    truth, strip = textured(tuple(np.geomspace(1 / np.sqrt(ratio), np.sqrt(ratio), 120)), 5)
    result = estimate_positions(strip)
    assert result.undecided
    assert result.assumed == ("thickness" if ratio < OPTIONS.spacing_ratio else "texture")
    assert result.spacing_ratio == pytest.approx(ratio, rel=0.35)
    assert share_inside(truth, result) > 0.9
    assert any(f"taken for a trend of {result.assumed}" in line for line in fit_lines(result))


def test_what_is_assumed_is_followed_without_doubt():
    truth, strip = textured(tuple(np.geomspace(0.5, 2.0, 120)), 6)
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


def contradictory(seed, pair_error, offset, length, n=200):
    """Positions in waves of thickness, and similarities that no process has.

    They fall slowly. Each pair has an error of its own, and sections are off their place across the plane: near ones
    lose more of their similarity by that than distance takes.
    """
    rng = np.random.default_rng(seed)
    swing = np.sin(2 * np.pi * (rng.uniform(2, 3) * np.arange(n) / n + rng.uniform()))
    truth = np.cumsum((1.3 + 0.9 * swing) * rng.uniform(0.7, 1.3, n))
    matrix = 0.9 * np.exp(-((np.abs(np.subtract.outer(truth, truth)) / length) ** 0.8))
    place = offset * rng.standard_normal((n, 2))
    matrix *= np.exp(-np.square(place[:, None] - place).sum(axis=2))
    error = pair_error * rng.standard_normal((n, n))
    matrix = np.clip(matrix * (1 + (error + error.T) / np.sqrt(2)), -1, 0.9999)
    np.fill_diagonal(matrix, 1)
    return truth, matrix


@pytest.mark.parametrize(("pair_error", "offset", "length"), [(0.01, 0, 10), (0.02, 0.05, 20), (0, 0.1, 10)])
@pytest.mark.parametrize("max_lag", [10, 25])
def test_series_that_follow_no_process_are_explained_by_distance(pair_error, offset, length, max_lag):
    for seed in (1, 2):
        truth, matrix = contradictory(seed, pair_error, offset, length)
        result = estimate_positions(matrix, EstimateOptions(max_lag=max_lag))
        plugin = estimate_positions(matrix, EstimateOptions(max_lag=max_lag, compat=True))
        error = rms_error(result.positions, truth)
        assert error < 0.8 * rms_error(plugin.positions, truth)
        assert error < 0.25 * rms_error(np.arange(200.0), truth)


@pytest.mark.parametrize(("pair_error", "offset"), [(0, 0.35), (0.05, 0.35)])
def test_sections_stay_where_no_positions_explain_more(pair_error, offset):
    """Sections so far off across the plane that distance along z takes no part in their similarity."""
    for seed in (1, 2, 3):
        _, matrix = contradictory(seed, pair_error, offset, 40, n=100)
        result = estimate_positions(matrix)
        assert not result.is_explained
        np.testing.assert_allclose(result.positions, np.arange(100), atol=1e-9)
        np.testing.assert_array_equal(result.order, np.arange(100))
        assert any("sections stay there" in line for line in fit_lines(result))
        assert np.nanmedian(result.uncertainty) > 1


def test_moves_that_do_not_become_smaller_are_told_from_those_that_do():
    _, strip = textured(waves(160, 0.6, 1.5, 3.0, 3), 3)
    assert estimate_positions(strip, EstimateOptions(outer_iterations=12)).is_settling
    for seed in (1, 2):
        found = estimate_positions(contradictory(seed, 0, 0.3, 20)[1])
        assert found.iterations == 100
        assert not found.is_settling
