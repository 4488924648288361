"""Ranges of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model.runs import ranges_text, runs_of


@given(st.lists(st.integers(-5, 30)))
def test_runs_hold_the_numbers_and_do_not_touch(numbers):
    runs = runs_of(numbers)
    assert [n for a, b in runs for n in range(a, b)] == sorted(set(numbers))
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(runs))


def test_ranges_are_said_in_words():
    assert ranges_text([58, 40, 57]) == "40, 57 to 58"
    assert ranges_text([]) == ""
    assert ranges_text(range(0, 9, 2), 2) == "0, 2 and 3 more ranges"
    assert ranges_text(range(0, 9, 2), None) == "0, 2, 4, 6, 8"
