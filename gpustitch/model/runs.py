"""Whole numbers in a row: the ranges that a set of them makes, and their text."""

from __future__ import annotations

from collections.abc import Iterable

# Ranges named in a text.
_NAMED = 20


def runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Half-open ranges of consecutive numbers, in order."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


def ranges_text(numbers: Iterable[int], most: int | None = _NAMED) -> str:
    """Numbers for people, such as ``40, 57 to 58``: the first ``most`` ranges (None: all), and how many more."""
    runs = runs_of(numbers)
    shown = runs[:most]
    text = ", ".join(str(first) if stop == first + 1 else f"{first} to {stop - 1}" for first, stop in shown)
    return text if len(shown) == len(runs) else f"{text} and {len(runs) - len(shown)} more ranges"
