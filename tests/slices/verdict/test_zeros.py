"""Slices at exactly 0, 0, 0: in the series, or without a position."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gpustitch.slices.verdict.judge import judge_series
from gpustitch.slices.verdict.zeros import are_placeholders
from tests.slices.slice_headers import AXIAL, codes, series_of, text


def through_zero(seed, n_times=2):
    """Slices from 0, 0, 0 or across it, each place ``n_times``, along z or obliquely, perhaps with a lost one."""
    rng = np.random.default_rng(seed)
    spacing, n = float(10 ** rng.uniform(-2, 0.7)), int(rng.integers(4, 60))
    first = 0 if rng.random() < 0.5 else -int(rng.integers(1, n))
    steps = np.arange(first, first + n)
    if n > 12 and rng.random() < 0.4:
        steps = np.delete(steps, np.flatnonzero(steps != 0)[3])
    row, column = AXIAL
    if rng.random() < 0.4:
        row, column, _ = Rotation.random(None, rng).as_matrix().round(9)
    along = np.tile(spacing * steps, n_times)
    series = series_of(along, directions=(row, column), origin_mm=(0, 0, 0), decimals=6 if rng.random() < 0.5 else 12)
    return series, spacing, len(steps)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("are_equal", [False, True])
def test_two_slices_truly_at_zero_stay(seed, are_equal):
    """Echoes, phases, a second export."""
    series, spacing, n = through_zero(seed, 2 + seed % 2)
    stack = judge_series(series, pixels=lambda one, other: are_equal)
    assert len(stack.order) == n
    assert stack.spacing_mm[0] == pytest.approx(spacing, abs=1e-5)
    assert "POSITION_BAD" not in codes(stack)
    assert ("SAME_SLICE" if are_equal else "MULTI_VOLUME") in codes(stack)
    assert any(series.headers[i].position_mm == (0, 0, 0) for i in stack.order)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("place", ["beside the line", "off the grid", "far along the line"])
def test_zeros_that_the_others_miss_are_no_positions(seed, place):
    rng = np.random.default_rng(seed)
    spacing, n = float(10 ** rng.uniform(-2, 0.7)), int(rng.integers(6, 60))
    origin, first = np.zeros(3), -spacing * int(rng.integers(1, n - 1))
    if place == "beside the line":
        origin[:2] = spacing * rng.uniform(0.3, 40, 2)
    elif place == "off the grid":
        first += spacing * rng.uniform(0.2, 0.8)
    else:
        first = spacing * int(rng.integers(20, 90))
    series = series_of(first + spacing * np.arange(n), origin_mm=origin, decimals=12)
    lost = [
        dataclasses.replace(series.headers[0], position_mm=(0.0, 0.0, 0.0), path=Path(f"z{k}"), instance=f"9.{k}")
        for k in range(int(rng.integers(2, 4)))
    ]
    stack = judge_series(dataclasses.replace(series, headers=(*series.headers, *lost)), pixels=lambda a, b: False)
    assert (stack.fit.spacing_class, len(stack.order)) == ("UNIFORM", n)
    assert stack.spacing_mm[0] == pytest.approx(spacing)
    assert f"0, 0, 0 in {len(lost)} slices" in text(stack, "POSITION_BAD")


def test_a_second_place_alone_tells_by_how_many_slices_it_has():
    other = np.array([[0.0, 0, 5], [0, 0, 5]])
    assert not are_placeholders(2, other, 0) and are_placeholders(3, other, 0)
    assert not are_placeholders(1, np.zeros((0, 3)), 0) and are_placeholders(2, np.zeros((0, 3)), 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_lone_slice_at_zero_is_believed_only_on_the_line(seed):
    rng = np.random.default_rng(seed)
    along = rng.uniform(0.01, 3) * np.arange(1, 12)[:, None]
    on_line = along * [0.1, 0.2, 1.0]
    assert not are_placeholders(1, on_line, 0)
    assert are_placeholders(1, on_line + [2.0, 0, 0], 0)
