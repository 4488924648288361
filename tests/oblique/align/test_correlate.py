from __future__ import annotations

import itertools

import numpy as np
import pytest

from gpustitch.oblique.align.correlate import pearson_shifts
from tests.paths import DATA


def all_shifts(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    out = np.full((1, 3, 3, 3), np.nan)
    pearson_shifts(fixed[None], moving[None], np.ones(out.shape, np.uint8), out)
    return out[0]


def by_definition(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    out = np.zeros((3, 3, 3))
    for i, j, k in itertools.product(range(3), repeat=3):
        other = moving[i : i + fixed.shape[0], j : j + fixed.shape[1], k : k + fixed.shape[2]]
        out[i, j, k] = np.corrcoef(fixed.ravel().astype(float), other.ravel().astype(float))[0, 1]
    return out


def pair(shape: tuple[int, ...], level: float = 1000, noise: float = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(sum(shape))
    fixed = rng.normal(level, noise, shape).astype(np.float32)
    moving = rng.normal(level, noise, [n + 2 for n in shape]).astype(np.float32)
    moving[1:-1, 1:-1, 1:-1] += fixed - level
    return fixed, moving


@pytest.mark.parametrize("shape", [(21, 21, 21), (5, 7, 9), (1, 1, 13), (3, 1, 1), (13, 2, 4), (31, 29, 27)])
def test_is_pearsons_correlation_at_each_shift(shape: tuple[int, ...]) -> None:
    fixed, moving = pair(shape)
    np.testing.assert_allclose(all_shifts(fixed, moving), by_definition(fixed, moving), atol=1e-5)


def test_large_windows_on_a_high_background() -> None:
    fixed, moving = pair((51, 51, 51), level=30000, noise=20)
    np.testing.assert_allclose(all_shifts(fixed, moving), by_definition(fixed, moving), atol=1e-6)


def test_reproduces_the_reference_program() -> None:
    golden = np.load(DATA / "align_pair.npz")
    np.testing.assert_allclose(all_shifts(golden["fixed"], golden["moving"]), golden["gradient"], atol=1e-5)


def test_saturated_background_costs_no_precision() -> None:
    fixed, moving = pair((15, 15, 15), level=30000, noise=20)
    np.testing.assert_allclose(all_shifts(fixed, moving), by_definition(fixed, moving), atol=1e-6)


def test_is_1_with_itself_and_blind_to_gain_and_offset() -> None:
    _, moving = pair((9, 9, 9))
    fixed = 3 * moving[2:, 1:-1, :-2] + 70
    assert all_shifts(fixed, moving)[2, 1, 0] == pytest.approx(1, abs=1e-5)
    assert all_shifts(-fixed, moving)[2, 1, 0] == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize("level", [0, 1000, 65535])
def test_constant_windows_give_0_not_nan(level: float) -> None:
    fixed, moving = pair((7, 7, 7))
    assert not all_shifts(np.full_like(fixed, level), moving).any()
    assert not all_shifts(fixed, np.full_like(moving, level)).any()
    assert not all_shifts(np.zeros((1, 1, 1), np.float32), moving[:3, :3, :3]).any()


def test_nan_gives_0_not_nan() -> None:
    fixed, moving = pair((7, 7, 7))
    broken = fixed.copy()
    broken[3, 3, 3] = np.nan
    assert not all_shifts(broken, moving).any()
    moving[4, 4, 4] = np.nan
    assert not all_shifts(fixed, moving).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite_at_the_rim_gives_0_at_all_shifts(value: float) -> None:
    fixed, moving = pair((7, 6, 5))
    moving[0, 0, 0] = value
    assert not all_shifts(fixed, moving).any()


def test_only_wanted_shifts_are_written() -> None:
    fixed, moving = pair((9, 9, 9))
    wanted = np.zeros((2, 3, 3, 3), np.uint8)
    wanted[1, 2] = 1
    out = np.full((2, 3, 3, 3), 7.0)
    pearson_shifts(np.stack([fixed, fixed]), np.stack([moving, moving]), wanted, out)
    assert (out[0] == 7).all() and (out[1, :2] == 7).all()
    np.testing.assert_allclose(out[1, 2], by_definition(fixed, moving)[2], atol=1e-5)
