"""Ways to part a series: those that make volumes are found and ranked, those that do not are not named."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.parts.choice import partings, within
from gpustitch.slices.parts.lying import Lying


def parted(along, tags, *, numbers=None, stated=None, rounding=5e-7):
    along = np.asarray(along, np.float64)
    numbers = np.arange(len(along)) if numbers is None else np.asarray(numbers, np.int64)
    lying = Lying(along, rounding, numbers, 0.01, stated, {k: [str(v) for v in values] for k, values in tags.items()})
    return partings(lying, fit_slices(np.sort(np.unique(along)), rounding))


def drawn(seed):
    rng = np.random.default_rng(seed)
    return rng, float(rng.uniform(0.4, 6)), int(rng.integers(8, 40))


def names(found):
    return [parting.names for parting in found]


@pytest.mark.parametrize("seed", range(6))
def test_a_tag_counts_before_numbers_and_useless_tags_are_not_named(seed):
    rng, spacing, n = drawn(seed)
    one = spacing * np.arange(n)
    along, of = np.concatenate([one, one + spacing * rng.uniform(0.05, 0.3)]), np.repeat([0, 1], n)
    tags = {"kvp": np.arange(2 * n) % 3, "stack": np.arange(2 * n), "echo": of, "kernel": np.zeros(2 * n)}
    found = parted(along, tags)
    assert found[0].names == ("echo",)
    assert all({"kvp", "stack", "kernel"}.isdisjoint(parting.names) for parting in found)
    spacings = [part.fit.spacing_mm for part in found[0].parts]
    assert spacings == pytest.approx([spacing] * 2, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_two_tags_tell_apart_what_one_does_not(seed):
    rng, spacing, n = drawn(seed)
    shift = rng.choice([0.0, 0.1]) * spacing
    along = np.concatenate([spacing * np.arange(n) + shift * k for k in range(4)])
    of, shuffled = np.repeat(np.arange(4), n), rng.permutation(4 * n)
    found = parted(along, {"echo": of % 2, "time": of // 2}, numbers=shuffled)
    assert found[0].names == ("echo", "time") and len(found[0].parts) == 4


@pytest.mark.parametrize("seed", range(6))
def test_thick_and_thin_slices_of_one_extent(seed):
    rng, spacing, n = drawn(seed)
    times = int(rng.integers(2, 6))
    thin, thick = spacing * np.arange(n * times), spacing * times * np.arange(n) + 0.3 * spacing
    found = parted(np.concatenate([thin, thick]), {"kernel": np.repeat([0, 1], [n * times, n])})
    assert found[0].names == ("kernel",)
    assert [part.fit.spacing_mm for part in found[0].parts] == pytest.approx([spacing, times * spacing], rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [2, 3])
def test_volumes_evenly_between_one_another_need_evidence(seed, count):
    _, spacing, n = drawn(seed)
    along = np.concatenate([spacing * (np.arange(n) + k / count) for k in range(count)])
    of = np.repeat(np.arange(count), n)
    assert names(parted(along, {"echo": of})) == [("echo",)]
    # In turns, one volume has a time for each turn: only the stated spacing tells.
    assert parted(along, {"acquisition-time": of}) == ()
    assert parted(along, {"acquisition-time": of}, stated=spacing)[0].names == ("acquisition-time",)
    assert parted(along, {"echo": of}, stated=spacing / count) == ()
    assert parted(along, {}) == ()


@pytest.mark.parametrize("seed", range(6))
def test_stations_are_one_series_unless_they_overlap(seed):
    rng, spacing, n = drawn(seed)
    one, of = spacing * np.arange(n), np.repeat([0, 1], n)
    tags = {"acquisition": of}
    for gap in (1.0, 1.9, 6.5, 40.0):
        assert parted(np.concatenate([one, one[-1] + gap * spacing + one]), tags) == ()
    assert parted(np.concatenate([one, one[-1] + 3 * spacing + 3 * one]), tags) == ()
    back = (int(rng.integers(1, 5)) + rng.uniform(0.2, 0.8)) * spacing
    assert parted(np.concatenate([one, one[-1] - back + one]), tags)[0].names == ("acquisition",)


@pytest.mark.parametrize("seed", range(6))
def test_few_slices_that_chance_makes_even_are_no_volumes(seed):
    rng, spacing, n = drawn(seed)
    n += n % 2
    along = np.cumsum(rng.uniform(0.4, 2, n)) * spacing
    assert parted(along, {"acquisition": np.arange(n) % (n // 2)}) == ()
    assert parted(along, {"acquisition": np.arange(n) // 2}) == ()
    # Positions that are coarser than the spacing are even however they are parted.
    coarse = np.round(along / (2 * spacing)) * 2 * spacing + np.arange(n) * 1e-3 * spacing
    assert parted(coarse, {"acquisition": np.arange(n) // 5}, rounding=spacing) == ()


def test_volumes_within_each_value_of_a_tag():
    n = 9
    along = np.tile(2.0 * np.arange(n), 4)
    lying = Lying(along, 5e-7, np.arange(4 * n), 0.01)
    labels = within(lying, np.repeat([0, 1], 2 * n), "pass")
    assert labels.tolist() == np.repeat(np.arange(4), n).tolist()
    assert within(lying, np.repeat(np.arange(4), n), "pass") is None
