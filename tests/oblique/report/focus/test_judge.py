"""Which tiles are said to be out of focus."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import Spacing
from gpustitch.oblique.report.check import Check
from gpustitch.oblique.report.focus.judge import focus
from gpustitch.oblique.report.focus.measure import Blur
from gpustitch.oblique.report.placement import Remeasured

SPACING = Spacing(1.27, 1.8, 1.28)


def judged(
    blur_px2: dict[str, float], shape: tuple[int, int], *, side: tuple[int, float] = (1, 0.0), seed: int = 0
) -> Check:
    """Check of a grid (y, x) of tiles, some with more blur; the start of all may have more along an axis (z, y, x)."""
    rng = np.random.default_rng(seed)
    at = {f"{i}_{k}": np.array([0.0, 100.0 * i, 90.0 * k]) for i, k in itertools.product(*map(range, shape))}
    links, blurs = [], {}
    for a, b in itertools.permutations(at, 2):
        apart = at[b] - at[a]
        is_pair = np.count_nonzero(apart) == 1 and np.abs(apart).max() <= 100 and (b, a) not in blurs
        if (is_pair and rng.random() < 0.7) or (is_pair and a < b):
            z, y, x = apart.tolist()
            links.append(Remeasured(a, b, (z, y, x), (z, y, x), (0.0, 0.0, 0.0)))
            more = blur_px2.get(b, 0.0) - blur_px2.get(a, 0.0) + side[1] * np.sign(apart[side[0]])
            blurs[a, b] = Blur(float(more + rng.normal(0, 0.4)), 0.5)
    return focus(blurs, links, SPACING)


@given(st.sampled_from([(2, 2), (1, 3), (3, 3), (2, 1), (4, 3)]), st.integers(0, 99))
def test_tiles_that_are_alike_pass(shape: tuple[int, int], seed: int) -> None:
    check = judged({}, shape, seed=seed)
    assert check.state == "pass" and "equally sharp" in check.reason


@given(st.sampled_from([(2, 2), (3, 3), (1, 3), (4, 3)]), st.data(), st.floats(2.6, 6), st.integers(0, 99))
def test_the_tile_that_is_blurred_is_named_alone(
    shape: tuple[int, int], data: st.DataObject, px: float, seed: int
) -> None:
    tile = f"{data.draw(st.integers(0, shape[0] - 1))}_{data.draw(st.integers(0, shape[1] - 1))}"
    check = judged({tile: px**2}, shape, seed=seed)
    assert check.state == "warn" and check.reason.startswith(f"{tile} is out of focus beside ")
    assert check.reason.count("out of focus") == 1 and "but not" not in check.reason and "in all" not in check.reason
    assert check.value == pytest.approx(px, rel=0.25)
    assert f"({check.value * SPACING.y_um:.1f} um)" in check.reason and check.helps.startswith("nothing does")


@given(st.integers(0, 99))
def test_two_tiles_are_both_named(seed: int) -> None:
    check = judged({"0_0": 16.0, "2_2": 9.0}, (3, 3), seed=seed)
    assert check.reason.count("is out of focus beside") == 2 and "0_0 is" in check.reason and "2_2 is" in check.reason


@given(st.sampled_from([1, 2]), st.sampled_from([-1.0, 1.0]), st.integers(0, 99))
def test_frames_that_are_less_sharp_at_one_side_are_no_tile_out_of_focus(axis: int, sign: float, seed: int) -> None:
    check = judged({}, (3, 3), side=(axis, sign * 9.0), seed=seed)
    assert check.state == "warn" and f"in all 6 overlaps along {'zyx'[axis]}" in check.reason
    assert f"has its {'start' if sign > 0 else 'end'} there" in check.reason


def test_a_tile_that_is_blurred_at_one_end_alone_is_told_so() -> None:
    links = [Remeasured(a, "m", (0.0, y, 0.0), (0.0, y, 0.0)) for a, y in (("l", 90.0), ("r", -90.0))]
    check = focus({("l", "m"): Blur(16.0, 1.0), ("r", "m"): Blur(0.1, 0.5)}, links, SPACING)
    assert check.reason.startswith("m is out of focus beside l, but not beside r")
    unsure = focus({("l", "m"): Blur(16.0, 1.0), ("r", "m"): Blur(5.0, 5.0)}, links, SPACING)
    assert unsure.reason.startswith("m is out of focus beside l; ")


def test_what_is_not_sure_or_slight_is_not_told() -> None:
    links = [Remeasured("a", "b", (0.0, 90.0, 0.0), (0.0, 90.0, 0.0))]
    assert focus({("a", "b"): Blur(9.0, 3.0)}, links, SPACING).state == "pass"
    assert focus({("a", "b"): Blur(3.5, 0.1)}, links, SPACING).state == "pass"
    assert focus({}, links, SPACING).state == "not measured"
