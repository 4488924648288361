from __future__ import annotations

import numpy as np

from gpustitch.oblique.align.consensus import consensus


def test_median_and_scatter_of_clean_matches() -> None:
    rng = np.random.default_rng(0)
    offsets = np.array([3.2, -70.1, 5.5]) + rng.normal(0, 0.1, (200, 3))
    found = consensus(offsets)
    np.testing.assert_allclose(found.offset_px, [3.2, -70.1, 5.5], atol=0.03)
    np.testing.assert_allclose(found.scatter_px, 0.1, atol=0.03)
    assert found.agrees.mean() > 0.97


def test_a_false_match_of_16_voxels_is_thrown_out() -> None:
    """The reference program took such a one, which correlated by more than 0.95, for good."""
    offsets = np.tile([1.0, 2.0, 3.0], (9, 1)) + np.linspace(-0.05, 0.05, 9)[:, None]
    offsets[4, 1] += 16
    found = consensus(offsets)
    assert np.flatnonzero(~found.agrees).tolist() == [4]
    np.testing.assert_allclose(found.offset_px, [1, 2, 3], atol=0.05)


def test_finds_a_minority_that_agrees_among_scattered_ones() -> None:
    rng = np.random.default_rng(1)
    offsets = np.concatenate([rng.uniform(-20, 20, (14, 3)), [4.0, -5.0, 6.0] + rng.normal(0, 0.05, (6, 3))])
    found = consensus(offsets)
    assert found.agrees[14:].all()
    np.testing.assert_allclose(found.offset_px, [4, -5, 6], atol=0.2)


def test_one_match_is_its_own_consensus() -> None:
    found = consensus([[1.5, 2.5, 3.5]])
    assert found.offset_px == (1.5, 2.5, 3.5)
    assert found.scatter_px == (0, 0, 0)
    assert found.agrees.all()


def test_matches_a_third_of_a_voxel_off_agree_however_close_the_others_are() -> None:
    offsets = np.tile([1.0, 2.0, 3.0], (9, 1))
    offsets[0] += [0.3, 0, 0]
    offsets[1] += [0, 0.4, 0]
    assert consensus(offsets).agrees.tolist() == [True, False] + 7 * [True]
