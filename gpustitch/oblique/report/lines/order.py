"""Whether the lines of frames were shifted round, or cut at another length than the camera's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, HostArray
from gpustitch.oblique.destripe.sampled import evenly

# Pixels across lines that tell how alike these are, at most.
_ACROSS = 64
# Correlation of neighbours over frames; such a part of it that others have at most.
_ALIKE, _UNLIKE = 0.5, 0.4
# Parts of the ends of lines that are looked at alone.
_PARTS = 8
# What is broader along a line, pixels, is left out; a change counts at most so many times the usual one.
_BROAD_PX, _MOST = 9, 3.0
# Fewer lines or frames tell nothing.
_LEAST_LINES, _LEAST_FRAMES = 4, 2


@dataclass(frozen=True)
class Order:
    """How lines of a tile lie to each other, in upright frames.

    Attributes
    ----------
    first_row, first_column
        The line that is the first one in truth, if the frames are shifted round; else None.
    is_cut_wrong
        Whether each line ends where the next one begins: then lines have another length than the camera's.
    """

    first_row: int | None = None
    first_column: int | None = None
    is_cut_wrong: bool = False


class Lines:
    """Pixels of some frames that tell the order of lines."""

    def __init__(self) -> None:
        self._across: tuple[list[HostArray], list[HostArray]] = ([], [])
        self._ends: tuple[list[HostArray], list[HostArray]] = ([], [])

    def add(self, frame: HostArray) -> None:
        """Look at one more frame, of shape (rows, columns)."""
        for axis, image in enumerate((frame, frame.T)):
            n = image.shape[1]
            self._across[axis].append(image[:, evenly(n, min(_ACROSS, n))])
            self._ends[axis].append(image[:, [0, n - 1]])

    @property
    def order(self) -> Order:
        """What the frames tell."""
        if len(self._across[0]) < _LEAST_FRAMES:
            return Order()
        rows, columns = (first_line(np.stack(each)) for each in self._across)
        is_cut_wrong = any(_runs_on(each) for each in self._ends) if rows is columns is None else False
        return Order(rows, columns, is_cut_wrong)


def first_line(lines: HostArray) -> int | None:
    """Where lines that were shifted round have their first one, if they were.

    Then the last and the first line show neighbouring places, and two lines in between do not. Lines of tissue beside
    each other are alike in how they change from frame to frame.

    Parameters
    ----------
    lines
        Counts of some frames, shape (frames, lines, pixels).
    """
    if lines.shape[1] < _LEAST_LINES:
        return None
    change = _limited(lines - lines.mean(axis=0, dtype=np.float64), axis=2)
    alike = _correlation(change, np.roll(change, -1, axis=1), (0, 2))
    beside = np.minimum(np.roll(alike, 1), np.roll(alike, -1))
    torn = np.flatnonzero((alike < _UNLIKE * beside) & (beside > _ALIKE))
    is_round = alike[-1] > _ALIKE and torn.size == 1 and alike[torn[0]] < _UNLIKE * alike[-1]
    return int(torn[0]) + 1 if is_round else None


def _runs_on(ends: Sequence[HostArray]) -> bool:
    """Whether lines begin where those before them, or after them, end; ``ends`` has (lines, begin and end)."""
    change = _limited(_fine(np.stack(ends) - np.mean(ends, axis=0, dtype=np.float64), axis=1), axis=1)
    parts = np.array_split(np.arange(change.shape[1]), _PARTS)
    if min(map(len, parts)) < _LEAST_LINES:
        return False
    for lines in (change, change[:, ::-1]):
        # One cell at both ends is chance, but not one in many parts.
        on = [float(_correlation(lines[:, at, 1][:, :-1], lines[:, at, 0][:, 1:], (0, 1))) for at in parts]
        whole = float(_correlation(lines[:, :-1, 1], lines[:, 1:, 0], (0, 1)))
        if whole > _ALIKE and sum(each > _ALIKE for each in on) > _PARTS / 2:
            return True
    return False


def _fine(change: Floats, axis: int) -> Floats:
    """Changes without what is broad along an axis, for that is alike anywhere."""
    return np.asarray(change - scipy.ndimage.uniform_filter1d(change, _BROAD_PX, axis=axis, mode="nearest"))


def _limited(change: Floats, axis: int) -> Floats:
    """Changes in units of what is usual of each line along an axis, at most so many: a cell is no line."""
    usual = np.median(np.abs(change), axis=(0, axis), keepdims=True)
    return np.asarray(np.clip(change / np.maximum(usual, 1e-9), -_MOST, _MOST))


def _correlation(a: Floats, b: Floats, axis: tuple[int, ...]) -> Floats:
    """Correlation of changes over some axes; 0 where nothing changes."""
    power = (a * a).sum(axis=axis) * (b * b).sum(axis=axis)
    return np.asarray((a * b).sum(axis=axis) / np.sqrt(np.maximum(power, 1e-9)))
