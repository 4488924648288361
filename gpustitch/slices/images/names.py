"""Which files make a stack, and which are missing from it, by the numbers in their names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpustitch.io.images.files import TIFF_SUFFIXES

_DIGITS = re.compile(r"(\d+)")
# Numbers that differ in every file make one stack, unless another number parts it into stacks at least this long.
_LONG_STACK = 10
# Part of all intervals that may be holes, as in gpustitch.slices.fit.classes; with more, numbers do not count slices.
_MOST_HOLES = 0.2
# Holes that a note names.
_NAMED = 8


def stacks_of_names(paths: Sequence[Path]) -> list[list[Path]]:
    """Files in the order given, by folder, name but for numbers, suffix, and all numbers but the one that counts.

    The number that counts takes the most values (of equals the last one): ``t1_z01, t1_z02 ...`` and ``t2_z01 ...``
    are two stacks. A number that runs along with it, such as the time of day, parts nothing.
    """
    groups: dict[tuple[Path, tuple[str, ...], str], list[Path]] = {}
    for path in paths:
        suffix = path.suffix.lower()
        kind = TIFF_SUFFIXES[0] if suffix in TIFF_SUFFIXES else suffix
        groups.setdefault((path.parent, tuple(_DIGITS.split(path.stem)[::2]), kind), []).append(path)
    return [stack for group in groups.values() for stack in _parted(group)]


def _parted(paths: list[Path]) -> list[list[Path]]:
    numbers = [_numbers(path) for path in paths]
    column = _counting(numbers)
    if column is None:
        return [paths]
    parts: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(numbers):
        parts.setdefault((*row[:column], *row[column + 1 :]), []).append(index)
    all_differ = len({row[column] for row in numbers}) == len(paths)
    if all_differ and len(parts) > len(paths) / _LONG_STACK:
        return [paths]
    return [[paths[index] for index in part] for part in parts.values()]


def numbered(paths: Sequence[Path]) -> list[int | None]:
    """The number that counts of each name of a stack; None where the names have none that differs."""
    numbers = [_numbers(path) for path in paths]
    column = _counting(numbers)
    if column is None:
        return [row[-1] if row else None for row in numbers]
    return [row[column] for row in numbers]


def _numbers(path: Path) -> list[int]:
    return [int(text) for text in _DIGITS.split(path.stem)[1::2]]


def _counting(numbers: Sequence[Sequence[int]]) -> int | None:
    """Column of the number that counts."""
    counts = [len(set(column)) for column in zip(*numbers, strict=True)]
    return max(range(len(counts)), key=lambda i: (counts[i], i)) if counts and max(counts) > 1 else None


def number_step(numbers: Sequence[int | None]) -> int | None:
    """The usual distance of consecutive numbers; None if they do not count slices, or are less than two."""
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers) or len(known) < 2:
        return None
    gaps = np.diff(np.sort(np.array(known, np.float64)))
    step = float(np.median(gaps))
    if step < 1 or step != int(step) or gaps.min() < step or (gaps % step).any():
        return None
    return int(step) if np.count_nonzero(gaps > step) <= max(1, _MOST_HOLES * len(gaps)) else None


def holes_text(paths: Sequence[Path], numbers: Sequence[int | None]) -> str:
    """A sentence that names the numbers missing from a stack; empty if none is, or the numbers count no slices."""
    step = number_step(numbers)
    if step is None or len(paths) < 3:
        return ""
    known = sorted(number for number in numbers if number is not None)
    holes = [(a + step, b - step) for a, b in itertools.pairwise(known) if b - a > step]
    if not holes:
        return ""
    named = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in holes[:_NAMED])
    more = ", and more" if len(holes) > _NAMED else ""
    what = f"number {named} is" if named.isdigit() else f"numbers {named}{more} are"
    return f"{paths[0].parent}: {what} missing between {paths[0].name} and {paths[-1].name}"
