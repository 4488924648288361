from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.align.shifts.whole import Comparison, pearson

registration = pytest.importorskip("skimage.registration")

Sides = st.tuples(*[st.integers(1, 4)] * 3)


def by_definition(fixed, moving, fixed_mask, moving_mask, shift):
    """Pearson's correlation, and the number of voxels, one voxel after the other."""
    pairs = []
    for at in np.ndindex(fixed.shape):
        there = tuple(a + s for a, s in zip(at, shift, strict=True))
        if all(0 <= t < n for t, n in zip(there, moving.shape, strict=True)) and fixed_mask[at] and moving_mask[there]:
            pairs.append((fixed[at], moving[there]))
    if len(pairs) < 2:
        return 0.0, len(pairs)
    f, m = np.array(pairs, np.float64).T
    spread = f.std() * m.std()
    return (((f - f.mean()) * (m - m.mean())).mean() / spread if spread > 1e-9 else 0.0), len(pairs)


@settings(max_examples=12, deadline=None)
@given(Sides, Sides, st.integers(0, 99), st.booleans(), st.sets(st.integers(0, 2)))
def test_every_shift_is_the_correlation_of_what_is_shared(fixed_shape, moving_shape, seed, is_masked, axes) -> None:
    rng = np.random.default_rng(seed)
    fixed, moving = (rng.normal(50, 3, s).astype(np.float32) for s in (fixed_shape, moving_shape))
    masks = [rng.random(a.shape) < (0.7 if is_masked else 2) for a in (fixed, moving)]
    low, high = (-2, -1, -3), (1, 3, 2)
    mirrored = tuple(sorted(axes))
    comparison = Comparison(fixed, moving, low, high, tuple(masks) if is_masked else None)
    sums = comparison.sums(mirrored)
    correlation, count = pearson([sums])
    image, mask = np.flip(fixed, mirrored), np.flip(masks[0], mirrored)
    for at in np.ndindex(correlation.shape):
        shift = [a + lo for a, lo in zip(at, low, strict=True)]
        expected, n = by_definition(image, moving, mask, masks[1], shift)
        assert count[at] == n
        # Few voxels may hardly vary against those of other shifts: then 0 stands for undefined.
        assert correlation[at] == pytest.approx(expected, abs=2e-3) or (correlation[at] == 0 and n < 5)


def test_agrees_with_scikit_image() -> None:
    masked = pytest.importorskip("skimage.registration._masked_phase_cross_correlation")
    rng = np.random.default_rng(3)
    fixed, moving = (rng.normal(0, 1, s) for s in ((7, 12, 9), (9, 10, 11)))
    masks = [rng.random(a.shape) < 0.8 for a in (fixed, moving)]
    low, high = (-2, -4, -3), (3, 2, 5)
    ours, _ = pearson([Comparison(np.float32(fixed), np.float32(moving), low, high, (masks[0], masks[1])).sums()])
    theirs = masked.cross_correlate_masked(moving, fixed, masks[1], masks[0], axes=(0, 1, 2), overlap_ratio=0.01)
    at = np.ix_(*[np.arange(lo, hi + 1) + n - 1 for lo, hi, n in zip(low, high, fixed.shape, strict=True)])
    assert np.abs(ours - theirs[at]).max() < 1e-5


def test_parts_count_by_what_they_share_and_not_by_their_levels() -> None:
    rng = np.random.default_rng(1)
    whole = rng.normal(0, 1, (8, 8, 8)).astype(np.float32)
    noise = rng.normal(0, 1, (8, 8, 8)).astype(np.float32)
    one = Comparison(whole, whole + 1000, (0, 0, 0), (0, 0, 0)).sums()
    other = Comparison(whole, noise, (0, 0, 0), (0, 0, 0)).sums()
    assert pearson([one])[0].item() == pytest.approx(1, abs=1e-5)
    assert pearson([one, other])[0].item() == pytest.approx(0.5, abs=0.06)
    assert pearson([one, other])[1].item() == 2 * 8**3


@pytest.mark.parametrize("value", [0.0, 7.0, 65535.0])
def test_constant_arrays_correlate_with_nothing(value: float) -> None:
    flat, other = np.full((4, 5, 6), value, np.float32), np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    for pair in ((flat, other), (other, flat), (flat, flat)):
        assert not pearson([Comparison(*pair, (-1, -1, -1), (1, 1, 1)).sums()])[0].any()
