"""Error of waves of positions, held against that of simulated planes."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.positions.covariance import factor, solution
from gpustitch.sections.positions.normal import Expected, expect, in_blocks
from gpustitch.sections.positions.sampling import Sampling
from gpustitch.sections.texture.curve import FINE, Curve

N, MAX_LAG, BLOCK = 60, 10, 8
PATCHES, PIXELS, NOISE = 300, 4, 0.1
SPREAD = np.full(N, 2e-3)


def curve_of(length: float) -> Curve:
    """Similarity of structures of a length in sections, beside the noise."""
    distance = np.arange(40 * FINE) / FINE
    values = (1 - NOISE) * np.exp(-(distance**2) / (4 * length**2))
    return Curve(values, np.minimum(-values * distance / (2 * length**2), -1e-12))


def expected_of(measured: np.ndarray, positions: np.ndarray, curve: Curve) -> Expected:
    some = np.arange(N) + np.arange(1, MAX_LAG + 1)[:, None] < N
    return expect(np.where(some, measured, 0), some.astype(float), positions, np.ones(N), None, curve)


def band_of_planes(positions: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Similarities of planes whose patches are of several pixels, each with noise of its own."""
    texture = np.exp(-np.square(np.subtract.outer(positions, positions)) / (4 * length**2))
    root = np.linalg.cholesky(texture + 1e-9 * np.eye(N))
    planes = np.sqrt(1 - NOISE) * np.repeat(root @ rng.standard_normal((N, PATCHES)), PIXELS, axis=1)
    planes += np.sqrt(NOISE) * rng.standard_normal(planes.shape)
    matrix = np.corrcoef(planes)
    return np.stack([np.pad(np.diagonal(matrix, d), (0, d)) for d in range(1, MAX_LAG + 1)])


def waves_of(n: int) -> np.ndarray:
    return np.cos(np.array([2, 5, 12, 40]) * np.pi * (np.arange(n) + 0.5)[:, None] / n) * np.sqrt(2 / n)


@pytest.mark.parametrize("length", [2.0, 6.0])
def test_waves_err_as_those_of_simulated_planes(length):
    """The linear answer to similarities of 400 series has the stated variances; equations alone have others."""
    rng = np.random.default_rng(11)
    positions, curve = np.cumsum(rng.uniform(0.6, 1.4, N)), curve_of(length)
    sampled = [expected_of(band_of_planes(positions, length, rng), positions, curve) for _ in range(400)]
    normal = in_blocks(sampled[0], SPREAD, BLOCK)
    band = normal.band.copy()
    band[0] += 1e-4 * np.median(band[0])
    inverse = factor(band)
    right = np.zeros((2 * N, 4))
    right[0::2] = waves_of(N)
    solved = solution(inverse, right)
    answers = np.array([in_blocks(of, SPREAD, BLOCK).right @ solved for of in sampled])
    sampling = Sampling(sampled[0], SPREAD, BLOCK, positions, np.ones(N), PATCHES**-0.5, (PATCHES * PIXELS) ** -0.5)
    ratio = sampling.variance(solved) / answers.var(axis=0)
    # Stated with some more, which linear equations do not know.
    assert (ratio > 0.95).all() and (ratio < 1.6).all(), ratio
    equations = (right * solved).sum(axis=0) / PATCHES
    apart = equations / answers.var(axis=0)
    assert apart.max() > 2 * apart.min()  # the equations alone get the spectrum wrong


def test_sections_without_similarity_and_ties_have_finite_errors():
    rng = np.random.default_rng(3)
    positions = np.cumsum(rng.uniform(0.6, 1.4, N))
    positions[20:23] = positions[20]
    made = expected_of(np.zeros((MAX_LAG, N)), positions, curve_of(3.0))
    made.counts[:, 30:45] = 0
    quality = np.ones(N)
    quality[35], quality[50] = 1e-2, 3.0
    columns = rng.standard_normal((2 * N, 3))
    for reach in (1, 4, BLOCK):
        found = Sampling(made, SPREAD, reach, positions, quality, 0.03, 0.01).variance(columns)
        assert np.isfinite(found).all() and (found >= 0).all()
    np.testing.assert_allclose(
        Sampling(made, SPREAD, BLOCK, positions, quality, 0.06, 0.02).variance(columns),
        4 * Sampling(made, SPREAD, BLOCK, positions, quality, 0.03, 0.01).variance(columns),
    )
