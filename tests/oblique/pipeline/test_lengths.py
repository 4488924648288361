"""Tiles that begin later than others are named, whatever the numbers in the names of their files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.opening import numbers_of_ends
from gpustitch.io.images.files import write_tiff
from gpustitch.oblique.pipeline.lengths import check_steps, later, shorter

steps = st.sampled_from([Fraction(1), Fraction(20), Fraction(128, 100)])


def ends(first: Fraction, step: Fraction, count: int) -> tuple[Fraction, Fraction]:
    return first, first + step * (count - 1)


@settings(max_examples=30)
@given(st.integers(-50, 50), steps, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=5))
def test_frames_lost_at_the_start_are_counted(start: int, step: Fraction, lost: list[tuple[int, int]]) -> None:
    counts = {f"t{i}": 30 - at_start - at_end for i, (at_start, at_end) in enumerate(lost)}
    numbers = {f"t{i}": ends(start + step * n, step, counts[f"t{i}"]) for i, (n, _) in enumerate(lost)}
    text = later(counts, numbers)
    least = min(at_start for at_start, _ in lost)
    for i, (at_start, _) in enumerate(lost):
        assert (f"t{i}: {at_start - least}" in text) == (at_start > least)
    assert bool(text) == (len({at_start for at_start, _ in lost}) > 1)
    assert bool(shorter(counts)) == (len(set(counts.values())) > 1)


@settings(max_examples=30)
@given(steps, st.lists(st.integers(2, 30), min_size=2, max_size=5))
def test_numbers_that_run_on_or_are_rounded_say_nothing(step: Fraction, lengths: list[int]) -> None:
    counts = {f"t{i}": n for i, n in enumerate(lengths)}
    before = [sum(lengths[:i]) for i in range(len(lengths))]
    assert later(counts, {f"t{i}": ends(step * before[i], step, n) for i, n in enumerate(lengths)}) == ""
    assert later(counts, {f"t{i}": ends(step * i / 20, step, n) for i, n in enumerate(lengths)}) == ""
    assert later(counts, dict.fromkeys(counts)) == ""


@settings(max_examples=30)
@given(steps, st.integers(2, 9), st.integers(3, 40), st.integers(0, 3))
def test_every_second_frame_lost_is_no_wider_row(step: Fraction, nth: int, count: int, tile: int) -> None:
    """Lost files leave evenly spaced numbers; only the other tiles tell."""
    counts = dict.fromkeys(("t0", "t1", "t2", "t3"), count)
    numbers: dict[str, tuple[Fraction, Fraction] | None] = {name: ends(Fraction(0), step, count) for name in counts}
    check_steps(counts, numbers)
    check_steps(counts, numbers | {"t0": None})
    numbers[f"t{tile}"] = ends(Fraction(0), step * nth, count)
    with pytest.raises(DamagedInputError, match=f"1 of 4 tiles are farther apart .t{tile}: "):
        check_steps(counts, numbers)


def test_the_numbers_are_those_of_the_names(tmp_path: Path) -> None:
    for number in (3, 4, 6, 7, 8, 9):
        write_tiff(tmp_path / f"img_{number:04d}.tif", np.zeros((4, 5), np.uint16))
    assert numbers_of_ends(tmp_path) == (3, 9)
    assert numbers_of_ends(tmp_path / "img_0003.tif") is None
