"""Similarity of the patches of planes: what changes in some parts of a picture and not in others is no spacing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, to_host
from gpustitch.model.arrays import Floats, Integers

# Patches along each side of a plane, and the distances, in planes, at which they are compared.
SIDE, LAGS = 8, 4
# A plane is made smaller until no side has more pixels; and the least pixels of a patch along a side.
_MOST_PX, _LEAST_PX = 128, 4
# Pixels that are averaged then, at most.
_AVERAGED = 4
# Of a long series so many groups of so many planes in a row are compared: planes between tell little more.
_GROUPS, _OF_GROUP = 20, 5
# Least part of a patch that must be used in both planes.
_LEAST_USED = 0.5
# Rounding.
_MOST_SIMILAR = 1 + 1e-3
# Distances of pixels that are averaged, 1 2 1, one after the other: the first two average noise, the third one makes
# what is coarse.
_FINE, _COARSE = (1, 1), 2


@dataclass(frozen=True)
class PatchSimilarities:
    """How similar patches of planes are to the same patches of later planes.

    Attributes
    ----------
    planes
        int64 (m,), rising: numbers of the planes that were looked at.
    values
        float64 (m, SIDE, SIDE, LAGS): ``[k, y, x, d - 1]`` is the similarity of a patch of plane ``planes[k]`` to that
        of the d-th plane after it, NaN where there is none.
    """

    planes: Integers
    values: Floats

    def at(self, side: int) -> Floats:
        """The similarities (m, side * side, LAGS) of larger patches, whose number along a side divides :data:`SIDE`."""
        m, joined = len(self.planes), SIDE // side
        parts = self.values.reshape(m, side, joined, side, joined, LAGS)
        known = np.isfinite(parts)
        count = known.sum(axis=(2, 4))
        total = np.where(known, parts, 0).sum(axis=(2, 4))
        found: Floats = np.where(2 * count >= joined**2, total / np.maximum(count, 1), np.nan)
        return found.reshape(m, side * side, LAGS)


@dataclass(frozen=True)
class _Patches:
    """Patches of a plane (SIDE * SIDE, pixels), their sums of squares, and which pixels are used: None for all.

    Pixels that are not used are 0.
    """

    values: npt.NDArray[np.float32]
    squares: Floats
    used: npt.NDArray[np.bool_] | None = None


class PatchComparison:
    """Compares patches of the planes of a series, which come in order, some at a time.

    Parameters
    ----------
    n_planes
        Number of planes there will be.
    """

    def __init__(self, n_planes: int) -> None:
        self._taken = taken_planes(n_planes)
        self._n = 0
        self._last: list[tuple[int, int, _Patches]] = []  # place and number of planes, and their patches
        self._values: list[Floats] = []

    def push(self, planes: Array) -> None:
        """Take the next planes, (n, rows, columns), real; NaN or infinite where a pixel is not used."""
        start, self._n = self._n, self._n + planes.shape[0]
        low, high = np.searchsorted(self._taken, (start, self._n))
        for number in self._taken[low:high].tolist():
            self._take(number, detail(_small(planes[number - start])))

    def finish(self) -> PatchSimilarities | None:
        """What was found; None of planes that are too small for patches."""
        found = np.stack(self._values) if self._values else np.empty((0, SIDE, SIDE, LAGS))
        if not np.isfinite(found).any():
            return None
        return PatchSimilarities(self._taken[: len(found)], found)

    def _take(self, number: int, plane: npt.NDArray[np.float32]) -> None:
        place = len(self._values)
        self._values.append(np.full((SIDE, SIDE, LAGS), np.nan))
        if min(plane.shape) < SIDE * _LEAST_PX:
            return
        patches = _in_patches(plane)
        self._last = [last for last in self._last if number - last[1] <= LAGS]
        for at, other, before in self._last:
            self._values[at][..., number - other - 1] = _correlation(before, patches)
        self._last.append((place, number, patches))


def checked_patches(planes: npt.NDArray[Any], values: npt.NDArray[Any], n: int) -> PatchSimilarities | None:
    """Arrays of a file as similarities of patches of n planes; None if they are no such."""
    if planes.ndim != 1 or planes.dtype.kind not in "ui" or values.dtype.kind != "f" or len(planes) == 0:
        return None
    numbers = planes.astype(np.int64)
    is_rising = bool((np.diff(numbers) > 0).all()) and numbers[0] >= 0 and numbers[-1] < n
    if not is_rising or values.shape != (len(planes), SIDE, SIDE, LAGS) or (np.abs(values) > _MOST_SIMILAR).any():
        return None
    return PatchSimilarities(numbers, values.astype(np.float64))


def taken_planes(n: int) -> Integers:
    """Numbers of the planes of a series of n that are looked at: all, or groups that are evenly spread."""
    if n <= _GROUPS * _OF_GROUP:
        return np.arange(n)
    starts = np.linspace(0, n - _OF_GROUP, _GROUPS).astype(np.int64)
    return (starts[:, None] + np.arange(_OF_GROUP)).ravel()


def patch_bytes(shape: tuple[int, int], n: int) -> int:
    """Bound on the bytes of host memory that comparing patches of n planes of a shape takes, and what is found."""
    rows, columns = (-(-length // _factor(shape)) for length in shape)
    found = 2 * 8 * min(n, _GROUPS * _OF_GROUP) * SIDE**2 * LAGS
    return found + 8 * rows * shape[1] + 4 * (LAGS + 12) * rows * columns


def detail(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The plane less what is coarse and less the noise of pixels: float32, smaller by some pixels, NaN spreads.

    Of the finest structures a patch holds most, so that these tell most.
    """
    fine = plane
    with np.errstate(invalid="ignore", over="ignore"):  # what is infinite becomes NaN
        for distance in _FINE:
            fine = _pairs(_pairs(fine, distance), distance)
        coarse = _pairs(_pairs(fine, _COARSE), _COARSE)
        inner = fine[_COARSE:-_COARSE, _COARSE:-_COARSE] * np.float32(16)
        inner -= coarse
    inner *= np.float32(16.0 ** -(len(_FINE) + 1))
    return inner


def _pairs(plane: npt.NDArray[np.float32], distance: int) -> npt.NDArray[np.float32]:
    """Each pixel and the one a distance after it, along both axes: the sums of four."""
    rows = plane[distance:] + plane[:-distance]
    found: npt.NDArray[np.float32] = rows[:, distance:] + rows[:, :-distance]
    return found


def _small(plane: Array) -> npt.NDArray[np.float32]:
    """The plane on the host, float32: of every so many rows and columns one, the mean of some pixels beside it."""
    factor = _factor(plane.shape)
    rows = to_host(plane[factor // 2 :: factor])
    end = rows.shape[1] // factor * factor
    small: npt.NDArray[np.float32] = rows[:, :end:factor].astype(np.float32)
    averaged = min(factor, _AVERAGED)
    for at in range(1, averaged):
        small += rows[:, at:end:factor]
    return small if averaged == 1 else small * np.float32(1 / averaged)


def _factor(shape: tuple[int, ...]) -> int:
    return -(-max(shape) // _MOST_PX)


def _in_patches(plane: npt.NDArray[np.float32]) -> _Patches:
    """Patches; what does not divide is left out at the end."""
    rows, columns = (length // SIDE for length in plane.shape)
    parts = plane[: SIDE * rows, : SIDE * columns].reshape(SIDE, rows, SIDE, columns).swapaxes(1, 2)
    values = parts.reshape(SIDE * SIDE, rows * columns)
    squares = _summed(values, values)
    if np.isfinite(squares).all():
        return _Patches(values, squares)
    used = np.isfinite(values)
    return _Patches(np.where(used, values, np.float32(0)), squares, used)


def _correlation(before: _Patches, after: _Patches) -> Floats:
    """Correlation (SIDE, SIDE) of patches over the pixels used in both; details have no mean worth taking out."""
    product = _summed(before.values, after.values)
    if before.used is None and after.used is None:
        squares = before.squares * after.squares
        enough = squares > 0
    else:
        masks = [of.used if of.used is not None else np.ones(of.values.shape, bool) for of in (before, after)]
        weights = [mask.astype(np.float32) for mask in masks]
        squares = _summed(before.values**2, weights[1]) * _summed(after.values**2, weights[0])
        enough = (squares > 0) & ((masks[0] & masks[1]).mean(axis=1) >= _LEAST_USED)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(enough, product / np.sqrt(squares), np.nan)
    return found.reshape(SIDE, SIDE)


def _summed(one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]) -> Floats:
    """Sums of products of patches (SIDE * SIDE,): not of a matrix product, whose rounding differs between libraries."""
    summed: Floats = np.einsum("pk,pk->p", one, two, optimize=False).astype(np.float64)
    return summed
