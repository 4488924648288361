"""Volumes told apart by numbers and places, and passes that are turns of one volume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gpustitch.slices.parts.lying import Lying, members_of
from gpustitch.slices.parts.numbered import passes, volumes


def lying(along, numbers=None, *, rounding=5e-7, stated=None):
    numbers = None if numbers is None else np.asarray(numbers, np.int64)
    return Lying(np.asarray(along, np.float64), rounding, numbers, 0.01, stated)


def sizes(labels):
    return sorted(np.bincount(labels).tolist())


def drawn(seed):
    rng = np.random.default_rng(seed)
    return rng, float(rng.uniform(0.4, 6)), int(rng.integers(5, 40)), int(rng.integers(2, 5))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("order", ["volume by volume", "place by place"])
def test_the_kth_slice_at_each_place_is_of_volume_k(seed, order):
    rng, spacing, n, count = drawn(seed)
    shift = rng.choice([0.0, 0.01, 0.1]) * spacing
    along = (spacing * np.arange(n)[:, None] + shift * np.arange(count)).ravel()
    of = np.tile(np.arange(count), n)
    numbers = of * n + np.repeat(np.arange(n), count) if order == "volume by volume" else np.arange(n * count)
    shuffled = rng.permutation(n * count)
    labels = volumes(lying(along[shuffled], numbers[shuffled]))
    assert labels.tolist() == of[shuffled].tolist()


def test_numbers_in_no_order_tell_nothing():
    rng = np.random.default_rng(3)
    along = np.repeat(2.0 * np.arange(12), 3)
    assert volumes(lying(along, rng.permutation(36))) is None
    assert volumes(lying(along)) is None


@pytest.mark.parametrize("seed", range(6))
def test_a_pass_ends_where_slices_turn_back(seed):
    rng, spacing, n, count = drawn(seed)
    starts = np.cumsum(rng.uniform(0.2, 0.4, count)) * n * spacing
    ways = rng.choice([-1, 1], count)
    runs = [(start + spacing * np.arange(n))[::way] for start, way in zip(starts, ways, strict=True)]
    # A pass that begins where the last one ended, and goes on, would be the same pass.
    along, of = np.concatenate(runs), np.repeat(np.arange(count), n)
    is_cut = [np.sign(b[0] - a[-1]) != np.sign(a[-1] - a[0]) for a, b in itertools.pairwise(runs)]
    shuffled = rng.permutation(len(along))
    labels = passes(lying(along[shuffled], np.arange(len(along))[shuffled]))
    if all(is_cut):
        assert labels.tolist() == of[shuffled].tolist()
    else:
        assert labels is None or len(np.unique(labels)) <= count + len(is_cut)


@pytest.mark.parametrize("seed", range(6))
def test_turns_of_one_volume_are_no_passes(seed):
    _, spacing, n, turns = drawn(seed)
    order = np.concatenate([np.arange(k, n * turns, turns) for k in range(turns)])
    along = spacing * order
    assert passes(lying(along, np.arange(len(along)))) is None
    stated = passes(lying(along, np.arange(len(along)), stated=spacing * turns))
    assert sizes(stated) == [n] * turns
    twice = np.concatenate([along, along + 0.3 * spacing])
    assert sizes(passes(lying(twice, np.arange(len(twice))))) == [n * turns] * 2


@pytest.mark.parametrize("seed", range(6))
def test_numbers_that_come_again_leave_the_order_of_files(seed):
    _, spacing, n, count = drawn(seed)
    along = np.concatenate([spacing * np.arange(n) + 0.1 * spacing * k for k in range(count)])
    assert sizes(passes(lying(along, np.tile(np.arange(n), count)))) == [n] * count


@pytest.mark.parametrize("seed", range(8))
def test_stacks_beside_one_another_are_found_by_their_places(seed):
    rng, spacing, n, _ = drawn(seed)
    n += 10
    one = spacing * np.arange(n)
    other = spacing * (rng.uniform(1.2, 1.4) + np.arange(n - 3))
    along = rng.permutation(np.concatenate([one, other]))
    found = lying(along)
    labels = volumes(found)
    assert sizes(labels) == [n - 3, n]
    assert all(np.ptp(np.diff(along[members])) < 1e-6 for members in members_of(found, labels))


@pytest.mark.parametrize("seed", range(6))
def test_one_stack_is_not_cut(seed):
    rng, spacing, n, _ = drawn(seed)
    jittered = np.cumsum(rng.uniform(0.5, 1.5, n)) * spacing
    two = np.concatenate([spacing * np.arange(n), spacing * (n - 1) + 3 * spacing * np.arange(1, n)])
    for along in (spacing * np.arange(n), jittered, two):
        assert volumes(lying(along, np.arange(len(along)))) is None
        assert passes(lying(along, np.arange(len(along))[::-1])) is None
