"""Volumes of one series told apart without a tag: by their places and the order of the instance numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.model import Part, SpacingClass
from gpustitch.slices.parts.lying import Lying, members_of

# Most passes that are taken together for one volume whose slices were acquired in turns: the odd ones, then the even.
_MOST_TURNS = 8
# Most slices of a series that is searched for stacks between one another.
_MOST_SLICES = 4000
# Lost slices in a row over which a stack goes on.
_WIDEST_HOLE = 3
# Slices further off a grid, as a part of its spacing, are on none.
_NEAR_GRID = 0.3
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
    counts = np.bincount(lying.place)
    if lying.is_doubled and len(counts) > 1 and (counts == counts[0]).all():
        return _counted(lying, int(counts[0]))
    t = lying.along_mm[lying.order]
    for each in range(2, n // _FEWEST + 1):
        if n % each:
            continue
        rows = t.reshape(-1, each)
        if np.ptp(rows, axis=1).max() >= (rows[1:, 0] - rows[:-1, -1]).min():
            continue
        labels = _counted(lying, each)
        if labels is not None and all(_is_even(part) for part in _parts(lying, labels)):
            return labels
    whole = None if lying.is_doubled or n > _MOST_SLICES else lying.part(lying.order)
    if whole is None:
        return None
    if _is_even(whole):
        return _stated(lying, whole.fit.spacing_mm)
    return _between(lying) if whole.fit.spacing_class is SpacingClass.IRREGULAR else None


def _stated(lying: Lying, spacing_mm: float) -> Integers | None:
    """Stacks between one another in an even series, where SpacingBetweenSlices is a multiple of its spacing.

    Where instance numbers run on along the normal the tag alone says so: it is often the thickness of slices that
    overlap.
    """
    if lying.numbers is None or _run_on(lying.numbers[lying.order]):
        return None
    each = 0 if lying.stated_mm is None else round(lying.stated_mm / spacing_mm)
    if not 2 <= each <= _MOST_TURNS or not lying.states(each * spacing_mm):
        return None
    labels = np.empty(len(lying.order), np.int64)
    labels[lying.order] = np.rint(np.diff(lying.along_mm[lying.order], prepend=0) / spacing_mm).astype(np.int64)
    labels[lying.order[0]] = 0
    labels[lying.order] = np.cumsum(labels[lying.order]) % each
    return labels


def _run_on(numbers: Integers) -> bool:
    """Whether numbers rise or fall all the way."""
    growth = np.diff(numbers)
    return bool((growth > 0).all() or (growth < 0).all())


def _between(lying: Lying) -> Integers | None:
    """Even stacks all beside one another, whose slices are told apart by their places alone.

    The first slice that is left begins a stack; of its distances to those next to it, the one counts that leads through
    most slices.
    """
    t = lying.along_mm[lying.order]
    labels = np.empty(len(t), np.int64)
    left = np.arange(len(t))
    start, stop = -np.inf, np.inf
    for volume in range(_MOST_TURNS):
        # The slice after the first may be lost: halves of the distances count too.
        tried = itertools.product(range(1, _MOST_TURNS + 1), (1, 2))
        stack = max((_stack_from(lying, t[left], second, steps) for second, steps in tried), key=len)
        if len(stack) < _FEWEST:
            return None
        start, stop = max(start, t[left[stack[0]]]), min(stop, t[left[stack[-1]]])
        if start >= stop:
            return None
        labels[lying.order[left[stack]]] = volume
        left = np.delete(left, stack)
        if not len(left):
            return labels if volume else None
    return None


def _stack_from(lying: Lying, t: Floats, second: int, step: int) -> list[int]:
    """Numbers of slices that go on from the first, another of which is so many steps away, over a few lost ones."""
    if second >= len(t):
        return []
    slack = lying.tolerance * float(t[second] - t[0]) / step + 2 * lying.rounding_mm
    found, hole = [0, second], 0
    while hole < _WIDEST_HOLE:
        # The distance is known the better the more slices there are.
        place = float(t[found[-1]]) + (1 + hole) * float(t[found[-1]] - t[0]) / step
        start = found[-1] + 1
        low, high = np.searchsorted(t[start:], (place - slack, place + slack)) + start
        if low < high:
            found.append(int(low + np.abs(t[low:high] - place).argmin()))
            step, hole = step + 1 + hole, 0
        elif start >= len(t):
            break
        else:
            hole += 1
    return found


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

    Where numbers are not all different, the order is that of the files. Passes in a row that make an even stack
    together, so many times as fine, are one volume acquired in turns (the odd slices, then the even ones), unless
    SpacingBetweenSlices states the distance within a pass.

    Returns
    -------
    int64 (n,) from 0; None where there is one pass.
    """
    n, numbers = len(lying.along_mm), lying.numbers
    is_numbered = numbers is not None and len(np.unique(numbers)) == n
    order = np.argsort(numbers, kind="stable") if numbers is not None and is_numbered else np.arange(n)
    starts = list(_turns(lying.along_mm[order]))
    if len(starts) < 2 or 2 * len(starts) > n:
        return None
    runs = [np.sort(run) for run in np.split(order, starts[1:])]
    labels = np.empty(n, np.int64)
    n_passes = 0
    while runs:
        turns = _n_turns(lying, runs)
        labels[np.concatenate(runs[:turns])] = n_passes
        n_passes, runs = n_passes + 1, runs[turns:]
    return labels if n_passes > 1 else None


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


def _n_turns(lying: Lying, runs: list[Integers]) -> int:
    """How many of the next passes are the turns of one volume; 1 where they are none."""
    first = _part(lying, runs[0])
    if first is None or first.fit.spacing_class not in _EVEN or lying.states(first.fit.spacing_mm):
        return 1
    spacing = first.fit.spacing_mm
    slack = lying.tolerance + 2 * lying.rounding_mm / spacing
    for turns in range(2, min(_MOST_TURNS, len(runs)) + 1):
        other = _part(lying, runs[turns - 1])
        if other is None or abs(other.fit.spacing_mm / spacing - 1) > slack:
            break
        members = np.concatenate(runs[:turns])
        if not _is_near_grid(lying.along_mm[members], spacing / turns):
            continue
        together = _part(lying, members)
        if together is not None and _is_even(together) and abs(together.fit.spacing_mm * turns / spacing - 1) <= slack:
            return turns
    return 1


def _is_near_grid(along: Floats, spacing: float) -> bool:
    """Whether slices may be on a grid, a place of it for each: told soon, for there may be hundreds of passes."""
    steps = (along - along.min()) / spacing
    planes = np.rint(steps)
    return bool(np.abs(steps - planes).max() <= _NEAR_GRID and len(np.unique(planes)) == len(planes))


def _part(lying: Lying, members: Integers) -> Part | None:
    return lying.part(members[np.argsort(lying.along_mm[members], kind="stable")])


def _parts(lying: Lying, labels: Integers) -> list[Part | None]:
    return [lying.part(members) for members in members_of(lying, labels)]


def _is_even(part: Part | None) -> bool:
    return part is not None and part.fit.spacing_class in _EVEN


STRUCTURAL: dict[str, Callable[[Lying], Integers | None]] = {"volume": volumes, "pass": passes}
