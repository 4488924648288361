"""Volumes of one series told apart without a tag: by their places and the order of the instance numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.model import Part, SpacingClass
from gpustitch.slices.parts.lying import Lying, members_of

# Most passes that are taken together for one volume whose slices were acquired in turns: the odd ones, then the even.
_MOST_TURNS = 8
# Fewest slices of a volume where slices are not at one place: two always are even.
_FEWEST = 3
_EVEN = (SpacingClass.UNIFORM, SpacingClass.MISSING)


def volumes(lying: Lying) -> Integers | None:
    """Volume of each slice, where all have as many: the k-th slice at each place is of volume k.

    Slices nearer to one another than to all others are at one place here: volumes that are moved a little against one
    another too. The order is that of the instance numbers; where these say nothing, volumes that are moved keep their
    order along the normal.

    Returns
    -------
    int64 (n,) from 0; None where places do not have as many slices each, or numbers do not tell volumes apart.
    """
    n = len(lying.along_mm)
    t = lying.along_mm[lying.order]
    counts = np.bincount(lying.place)
    if lying.is_doubled and len(counts) > 1 and (counts == counts[0]).all():
        return _counted(lying, int(counts[0]))
    for each in range(2, n // _FEWEST + 1):
        if n % each:
            continue
        rows = t.reshape(-1, each)
        if np.ptp(rows, axis=1).max() >= (rows[1:, 0] - rows[:-1, -1]).min():
            continue
        labels = _counted(lying, each)
        if labels is not None and all(_is_even(part) for part in _parts(lying, labels)):
            return labels
    return None


def _counted(lying: Lying, each: int) -> Integers | None:
    """The k-th slice of every so many along the normal is of volume k."""
    rows = lying.order.reshape(-1, each)
    labels = np.empty(len(lying.order), np.int64)
    if lying.numbers is not None:
        by_number = np.argsort(lying.numbers[rows], axis=1, kind="stable")
        rows = np.take_along_axis(rows, by_number, 1)
        if _is_regular(lying.numbers[rows]):
            labels[rows] = np.arange(each)
            return labels
    if not (np.diff(lying.along_mm[lying.order.reshape(-1, each)], axis=1) > 2 * lying.rounding_mm).all():
        return None
    labels[lying.order.reshape(-1, each)] = np.arange(each)
    return labels


def _is_regular(numbers: Integers) -> bool:
    """Whether numbers (places, volumes), ascending in each row, run volume by volume, or place by place, or both."""
    if (np.diff(numbers, axis=1) <= 0).any():
        return False
    if (numbers - numbers[:, :1] == numbers[0] - numbers[0, 0]).all():
        return True
    if (numbers[:, :-1].max(0) < numbers[:, 1:].min(0)).all():
        return True
    by_place = numbers[np.argsort(numbers[:, 0])]
    return bool((by_place[:-1, -1] < by_place[1:, 0]).all())


def passes(lying: Lying) -> Integers | None:
    """Pass of each slice: in the order of the instance numbers, one ends where slices turn back along the normal.

    Passes between one another that make an even stack together are one volume, acquired in turns (the odd slices, then
    the even ones), unless SpacingBetweenSlices states the distance within a pass.

    Returns
    -------
    int64 (n,) from 0; None where there is one pass, or slices have no instance number of their own.
    """
    numbers = lying.numbers
    if numbers is None or len(np.unique(numbers)) < len(numbers):
        return None
    order = np.argsort(numbers, kind="stable")
    starts = list(_turns(lying.along_mm[order]))
    labels = np.empty(len(order), np.int64)
    labels[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(order)]))
    if len(starts) < 2 or 2 * len(starts) > len(order):
        return None
    parts = _parts(lying, labels)
    if not all(_is_even(part) for part in parts):
        return labels
    for turns in range(2, min(_MOST_TURNS, len(starts)) + 1):
        if len(starts) % turns == 0 and _are_turns(lying, labels, parts, turns):
            return labels // turns if turns < len(starts) else None
    return labels


def _turns(along: Floats) -> Iterator[int]:
    """Where passes begin."""
    yield 0
    way = 0
    for i, step in enumerate(np.sign(np.diff(along)).astype(int).tolist(), start=1):
        if step == 0 or (way and step != way):
            yield i
            way = 0
        else:
            way = step


def _are_turns(lying: Lying, labels: Integers, parts: list[Part | None], turns: int) -> bool:
    """Whether every so many passes in a row make an even stack together, so many times as fine."""
    spacing = max(part.fit.spacing_mm for part in parts if part is not None)
    if lying.states(spacing):
        return False
    together = _parts(lying, labels // turns)
    return all(
        part is not None
        and _is_even(part)
        and abs(part.fit.spacing_mm * turns / spacing - 1) <= lying.tolerance + 2 * lying.rounding_mm / spacing
        for part in together
    )


def _parts(lying: Lying, labels: Integers) -> list[Part | None]:
    return [lying.part(members) for members in members_of(lying, labels)]


def _is_even(part: Part | None) -> bool:
    return part is not None and part.fit.spacing_class in _EVEN


STRUCTURAL: dict[str, Callable[[Lying], Integers | None]] = {"volume": volumes, "pass": passes}
