"""Pieces of series that do not hang together, and their order."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.positions.seriation import (
    ends_of,
    least_similarity,
    order_of_pieces,
    pieces_of,
    runs_text,
)
from tests.sections.series import sampled_matrix, sampled_strip

MAX_LAG = 8


def reordered(matrix):
    """The order found for sections whose whole matrix of similarities is known."""
    n = len(matrix)
    strip = np.full((n, MAX_LAG + 1), np.nan)
    for d in range(MAX_LAG + 1):
        strip[: n - d, d] = np.diagonal(matrix, d)
    pieces = pieces_of(strip)
    ends = ends_of(pieces).reshape(2 * len(pieces), -1)
    likeness = matrix[ends[:, None, :, None], ends[None, :, None, :]].max(axis=(2, 3))
    return pieces, order_of_pieces(pieces, likeness, least_similarity(strip))


def shuffled(n, kind, rng):
    """An order of recording, by what went wrong."""
    order = np.arange(n)
    if kind == "blocks swapped":
        a, b = 30, int(rng.integers(45, 60))
        return np.concatenate([order[:a], order[b:90], order[a:b], order[90:]])
    if kind == "sorted as text":
        return np.array(sorted(order, key=str))
    if kind == "a block back to front":
        return np.concatenate([order[:40], order[40:80][::-1], order[80:]])
    pieces = np.split(order, np.sort(rng.choice(np.arange(15, n - 15, 15), 4, replace=False)))
    return np.concatenate([pieces[k][:: rng.choice([-1, 1])] for k in rng.permutation(len(pieces))])


@pytest.mark.parametrize("kind", ["blocks swapped", "sorted as text", "a block back to front", "pieces shuffled"])
@pytest.mark.parametrize("seed", range(3))
def test_the_true_order_comes_back(kind, seed):
    rng = np.random.default_rng(seed)
    recorded = shuffled(120, kind, rng)
    place = np.cumsum(rng.uniform(0.7, 1.3, 120))[recorded]
    pieces, order = reordered(sampled_matrix(place, seed))
    assert len(pieces) > 1
    in_order = recorded[order]
    if in_order[0] > in_order[-1]:
        in_order = in_order[::-1]
    np.testing.assert_array_equal(in_order, np.arange(120))


@pytest.mark.parametrize("seed", range(4))
def test_series_that_hang_together_are_one_piece(seed):
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.4, 1.6, 100)
    spacing[50] = 3
    assert len(pieces_of(sampled_strip(np.cumsum(spacing), MAX_LAG, seed), loosely=True)) == 1


def test_damaged_sections_and_a_wide_gap_stay_where_they_are():
    rng = np.random.default_rng(2)
    place, quality = np.cumsum(rng.uniform(0.8, 1.2, 100)), np.ones(100)
    place[60:] += 60
    quality[[20, 21, 22, 23, 24, 80]] = 0.2
    pieces, order = reordered(sampled_matrix(place, 2, quality))
    assert len(pieces) > 2
    np.testing.assert_array_equal(order, np.arange(100))


def test_sections_without_any_similarity_are_one_piece():
    assert len(pieces_of(np.full((9, 4), np.nan))) == 1


def test_an_order_in_words():
    order = np.concatenate([np.arange(30), np.arange(60, 90), np.arange(59, 29, -1), [95]])
    assert runs_text(order) == "0-29, 60-89, 59-30, 95"
    assert runs_text(np.arange(3)) == "0-2"
