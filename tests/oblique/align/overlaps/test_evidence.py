from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.align.overlaps.evidence import weigh

WINDOW = (21, 21, 21)


def reach(n: int) -> np.ndarray:
    """Peaks that reach as far as those of smoothed cells."""
    return np.full((n, 3), 4.0)


def apart(n: int) -> np.ndarray:
    """Centres of windows that share no voxel."""
    return np.arange(n)[:, None] * np.array([30, 0, 0])


def test_false_matches_are_left_out() -> None:
    rng = np.random.default_rng(0)
    true = np.array([3.0, -2.0, 7.0])
    offsets = np.concatenate([true + rng.normal(0, 0.05, (6, 3)), rng.uniform(-20, 20, (9, 3))])
    found = weigh(offsets, np.full(15, 0.97), reach(15), apart(15), WINDOW)
    assert found.agrees.tolist() == [True] * 6 + [False] * 9
    assert np.abs(np.array(found.offset_px) - true).max() < 0.1
    assert found.n_independent == pytest.approx(6)


def test_windows_that_correlate_weigh_more() -> None:
    offsets = [[0.0, 0.0, 0.0], [0.3, 0.3, 0.3]]
    found = weigh(offsets, [0.99, 0.5], reach(2), apart(2), WINDOW)
    assert found.agrees.all() and max(found.offset_px) < 0.01


@pytest.mark.parametrize("n", [2, 3, 10])
def test_one_object_seen_many_times_counts_once(n: int) -> None:
    """Windows about the same voxels have the same error: the mean of many is no better than one."""
    offsets = np.zeros((n, 3))
    same = weigh(offsets, np.full(n, 0.9), reach(n), np.zeros((n, 3)), WINDOW)
    alone = weigh(offsets[:1], [0.9], reach(1), np.zeros((1, 3)), WINDOW)
    assert same.n_independent == pytest.approx(1) and same.sigma_px == pytest.approx(alone.sigma_px)
    assert weigh(offsets, np.full(n, 0.9), reach(n), apart(n), WINDOW).n_independent == pytest.approx(n)


@pytest.mark.parametrize("scatter", [0.03, 0.05, 0.15])
def test_standard_errors_hold_for_windows_that_share_voxels(scatter: float) -> None:
    """Errors of windows in white noise: the more voxels two windows share, the more alike their errors are."""
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(300):
        centres = rng.integers(0, 60, (20, 1)) * np.array([[1, 0, 0]])
        noise = np.cumsum(rng.normal(0, 1, (82, 3)), axis=0)
        errors = scatter * (noise[centres[:, 0] + 21] - noise[centres[:, 0]]) / np.sqrt(21)
        found = weigh(errors, np.full(20, 0.95), np.full((20, 3), 34 * scatter), centres, WINDOW)
        ratios.append(np.array(found.offset_px) / found.sigma_px)
    # sigma / sqrt(20) would be too small by a factor of 3.
    assert 0.6 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def test_the_order_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    offsets, r, centres = rng.normal(0, 0.1, (12, 3)), rng.uniform(0.6, 0.99, 12), rng.integers(0, 90, (12, 3))
    order = rng.permutation(12)
    a, b = (
        weigh(offsets, r, reach(12), centres, WINDOW),
        weigh(offsets[order], r[order], reach(12), centres[order], WINDOW),
    )
    assert a.offset_px == pytest.approx(b.offset_px) and a.sigma_px == pytest.approx(b.sigma_px)
    assert np.array_equal(a.agrees[order], b.agrees)


def test_what_windows_do_not_tell_is_not_sure() -> None:
    """A fibre along y: no window knows where along it; one across it does, and is believed."""
    offsets = np.array([[0.0, 0.9, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.0]])
    reaches = np.array([[4.0, 60.0, 4.0], [4.0, 60.0, 4.0], [4.0, 4.0, 4.0]])
    along = weigh(offsets[:2], [0.97] * 2, reaches[:2], apart(2), WINDOW)
    assert along.sigma_px[1] > 5 * along.sigma_px[0] and along.sigma_px[1] > 0.5
    both = weigh(offsets, [0.97] * 3, reaches, apart(3), WINDOW)
    assert abs(both.offset_px[1]) < 0.02 and both.sigma_px[1] < 0.5 * along.sigma_px[1]


@pytest.mark.parametrize("still", [0.0, 0.33, 1.0])
def test_standard_errors_hold_where_all_windows_of_a_pixel_err_alike(still: float) -> None:
    """What is left of a pattern of the camera is the same all along x."""
    rng = np.random.default_rng(6)
    ratios = []
    for _ in range(400):
        places = rng.integers(0, 3, 20)
        centres = np.column_stack([0 * places, 30 * places, 30 * np.arange(20)])
        errors = 0.1 * (
            np.sqrt(still) * rng.normal(size=(3, 3))[places] + np.sqrt(1 - still) * rng.normal(size=(20, 3))
        )
        found = weigh(errors, np.full(20, 0.95), np.full((20, 3), 3.4), centres, WINDOW, still)
        ratios.append(np.array(found.offset_px) / found.sigma_px)
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.3


def test_what_is_left_of_a_pattern_is_alike_beyond_a_window() -> None:
    """Three windows of one column of the camera that share no pixel, all with the same error."""
    centres = np.column_stack([np.zeros(20), 30 * (np.arange(20) % 3), 30 * np.arange(20)])
    offsets = np.random.default_rng(4).normal(0, 0.1, (20, 3))
    near, far = (
        weigh(offsets, np.full(20, 0.95), np.full((20, 3), 3.4), centres, WINDOW, 0.33, reach)
        for reach in ((0.0, 0.0), (90.0, 70.0))
    )
    assert near.n_independent / far.n_independent > 1.5
    assert 1.3 * near.sigma_px[0] < far.sigma_px[0] < near.scatter_px[0]


def test_windows_that_noise_leads_elsewhere_count_in_the_error_beside_a_pattern() -> None:
    rng = np.random.default_rng(3)
    offsets = rng.normal(0, 0.2, (20, 3))
    offsets[14:] += rng.choice([-2.0, 2.0], (6, 3))
    alone, beside = (weigh(offsets, np.full(20, 0.8), np.full((20, 3), 3.4), apart(20), WINDOW, s) for s in (0, 0.33))
    assert not alone.agrees[14:].any() and not beside.agrees[14:].any()
    assert alone.offset_px == beside.offset_px and alone.scatter_px == beside.scatter_px
    assert np.min(np.divide(beside.sigma_px, alone.sigma_px)) > 2


def test_windows_that_all_stop_short_of_their_peak_do_not_agree_by_that() -> None:
    offsets = np.tile([1.0, 2.0, 3.0], (20, 1))
    found = weigh(offsets, np.full(20, 0.95), reach(20), apart(20), WINDOW, beyond_px=np.tile([0.8, 0, 0], (20, 1)))
    alone = weigh(offsets, np.full(20, 0.95), reach(20), apart(20), WINDOW)
    assert found.sigma_px[0] > 0.15 > 3 * alone.sigma_px[0]
    assert found.sigma_px[1:] == alone.sigma_px[1:] and found.offset_px == alone.offset_px
