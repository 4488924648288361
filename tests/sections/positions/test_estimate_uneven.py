"""Series like an atlas with sections left out: nearly empty ends, a texture that changes, two sections swapped."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bench.bench_zspacing_model import textured
from gpustitch.errors import ParameterError
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.order import all_agree
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.texture.curve import fit_curve

SMOOTH = {"patches": 20000, "noise": 0.03, "length": 4.0, "fine": 0.05}
ROUGH = {"patches": 400, "noise": 0.05, "length": 6.0, "fine": 0.3}


@functools.cache
def series(seed, patches, noise, length, fine):
    """Positions (120,) of sections of which some are missing, and the correlations of their samples.

    Correlation length grows by 1.7 along the series; a fine structure of its own falls off within a section.
    """
    rng = np.random.default_rng(seed)
    truth = np.sort(rng.choice(170, 120, replace=False)).astype(float)
    lengths = length * (1 + 0.7 * truth / 170)
    stretched = np.concatenate([[0], np.cumsum(np.diff(truth) / ((lengths[1:] + lengths[:-1]) / 2))])
    distance = np.abs(np.subtract.outer(stretched, stretched))
    covariance = fine * np.exp(-2 * distance) + (1 - fine) * np.exp(-((distance / 8) ** 1.7))
    texture = np.linalg.cholesky(covariance + 1e-9 * np.eye(120))
    sections = texture @ rng.normal(size=(120, patches)) + noise * rng.normal(size=(120, patches))
    sections[[0, 1, -1]] = rng.normal(size=(3, patches))
    for values in (truth, sections):
        values[[60, 61]] = values[[61, 60]]
    return truth, np.corrcoef(sections)


@pytest.mark.parametrize(
    ("kind", "seed"), [(ROUGH, 3), (ROUGH, 0), (SMOOTH, 3), (SMOOTH, 12), (SMOOTH, 18), (SMOOTH, 20)]
)
def test_swap_is_put_right_and_spacings_are_found(kind, seed):
    truth, similarity = series(seed, **kind)
    result = estimate_positions(similarity)
    np.testing.assert_array_equal(result.order, np.argsort(truth))
    inner = result.order[2:-1]
    found, expected = np.diff(result.positions[inner]), np.diff(truth[inner])
    assert np.corrcoef(found, expected)[0, 1] > 0.85
    assert found.min() > 0.2
    assert found.max() < 4.5
    assert result.largest_move < 0.001


@pytest.mark.parametrize(("kind", "least"), [(ROUGH, 0.88), (SMOOTH, 0.94)])
def test_spacings_are_found_in_most_series(kind, least):
    right = []
    for seed in range(5):
        truth, similarity = series(seed, **kind)
        result = estimate_positions(similarity)
        np.testing.assert_array_equal(result.order, np.argsort(truth))
        inner = result.order[2:-1]
        right.append(np.corrcoef(np.diff(result.positions[inner]), np.diff(truth[inner]))[0, 1])
    assert np.median(right) > least


def falling(positions, quality=1.0):
    """Similarities (range 5, n) of sections at positions."""
    n = len(positions)
    quality = np.broadcast_to(quality, n)
    out = np.zeros((5, n))
    for d in range(1, 6):
        near = np.exp(-np.abs(positions[d:] - positions[:-d]) / 6)
        out[d - 1, : n - d] = near * quality[d:] * quality[:-d]
    return out


def test_partners_agree_only_on_sections_that_are_swapped():
    positions = np.arange(12.0)
    positions[[5, 6]] = 6, 5
    quality = np.ones(12)
    quality[5] = 0.6
    for measured in (falling(positions), falling(positions, quality)):
        assert all_agree(measured, 5, 6)
        assert not all_agree(measured, 4, 5)
        assert not all_agree(measured, 6, 7)
    assert not all_agree(falling(np.arange(12.0), quality), 5, 6)
    contrary = falling(positions)
    contrary[2, 2] = 1.3 * contrary[3, 2]
    assert not all_agree(contrary, 5, 6)
    assert not all_agree(falling(positions)[:, :9], 5, 6), "two partners after both are too few"


@pytest.mark.parametrize(
    "changes",
    [
        {"section_weights": np.zeros(12)},
        {"pair_weights": np.zeros((12, 12))},
        {"options": EstimateOptions(minimum_correlation=0.999)},
    ],
)
def test_refuses_a_series_of_which_no_pair_counts(changes):
    similarity = np.exp(-np.abs(np.subtract.outer(np.arange(12.0), np.arange(12.0))) / 5)
    with pytest.raises(ParameterError, match="no pair of sections counts"):
        estimate_positions(similarity, **changes)


@pytest.mark.parametrize(
    ("n", "max_lag", "known"), [(3, 2, False), (4, 3, False), (40, 1, False), (40, 2, False), (40, 4, True)]
)
def test_no_standard_errors_without_pairs_that_tell_them(n, max_lag, known):
    positions = np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, n))
    similarity = np.exp(-np.abs(np.subtract.outer(positions, positions)) / 5)
    result = estimate_positions(similarity, EstimateOptions(max_lag=max_lag))
    assert np.isfinite(result.positions).all()
    assert np.isfinite(result.uncertainty).all() == known
    assert np.isnan(result.uncertainty).all() != known


def test_curves_are_similarities_with_compat_too():
    similarity = np.exp(-np.abs(np.subtract.outer(np.arange(30.0), np.arange(30.0))) / 5)
    for compat in (False, True):
        curve = estimate_positions(similarity, EstimateOptions(compat=compat)).curves[0]
        np.testing.assert_allclose(curve[1:8], np.exp(-np.arange(1, 8) / 5), atol=0.02)


# What two libraries or processors differ by.
ROUNDING = 1e-7


def of_planes(seed, n=40, max_lag=8, noise=0.3):
    """Of planes of a texture with noise, 0.4 to 1.6 of its size apart: they fall to a level that scatters about 0."""
    rng = np.random.default_rng(seed)
    fine = gaussian_filter(rng.standard_normal((8 * n, 32, 40)), (4, 1.5, 1.5))
    planes = fine[np.cumsum(rng.integers(2, 9, n))]
    planes += noise * planes.std() * rng.standard_normal(planes.shape)
    return banded_correlation(planes.astype(np.float32), max_lag)


def magnified(seed):
    """By how many standard errors rounding moves a section."""
    strip, options = of_planes(seed), EstimateOptions(max_lag=8)
    found = estimate_positions(strip, options)
    rounding = ROUNDING * np.random.default_rng(seed).standard_normal(strip.shape)
    rounding[:, 0] = 0
    other = estimate_positions(np.minimum(strip + rounding, 1), options)
    return float(np.abs(other.positions - found.positions).max() / np.nanmedian(found.uncertainty))


def test_solve_does_not_magnify_rounding():
    # Series that do not settle, of which users are warned, may still go either way.
    assert np.median([magnified(seed) for seed in range(3)]) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_fit_curve_falls_also_where_it_is_level(seed):
    rng = np.random.default_rng(seed)
    distance = rng.uniform(0, 12, 600)
    level = rng.uniform(-0.1, 0.1)
    similarity = level + np.exp(-((distance / rng.uniform(1, 2)) ** 2)) + rng.normal(0, 0.02, 600)
    curve = fit_curve(distance, similarity, np.ones(600))
    assert (curve.slopes < 0).all()
    assert np.abs(curve.at(np.array([9.0, 11.0]))[0] - level).max() < 0.03
    assert np.abs(curve.at(np.array([9.0, 11.0]))[1]).max() < 0.02


def test_sections_beside_gaps_wider_than_the_range_stay_apart():
    """While a gap opens all sections move, which is not that they do not settle."""
    spacing = np.random.default_rng(4).uniform(0.4, 1.6, 120)
    spacing[[40, 80]] = 15
    truth, strip = textured(spacing, 4)
    found = np.diff(estimate_positions(strip).positions)
    beside = np.r_[36:39, 40:43, 76:79, 80:83]
    error = (found / np.median(found) - np.diff(truth))[beside]
    assert np.sqrt(np.mean(error**2)) < 0.3
