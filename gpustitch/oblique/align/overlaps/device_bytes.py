"""Device memory of comparing whole overlaps, and windows in them: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import scipy

from gpustitch.array.stated import Shaped, states
from gpustitch.model import ZYX
from gpustitch.oblique.align.ascend import MAX_STEPS
from gpustitch.oblique.align.overlaps.climb import RESULTS, smooth_and_climb
from gpustitch.oblique.align.overlaps.whole import Comparison

# Arrays of one number for each shift: the sums, their terms, and what their quotients take.
_OF_SHIFTS = 16
# Sums of fixed over as many boxes again along each axis.
_OF_FIXED = 2


@states(Comparison)
def comparison_bytes(
    fixed: Shaped, moving: Shaped, low: ZYX, high: ZYX, masks: tuple[Shaped, Shaped] | None = None
) -> int:
    """Of the comparison and of its sums: both arrays about their means, spectra, and sums over boxes or more spectra.

    A transform makes another spectrum, and takes as much room as one.
    """
    of_axes = list(zip(fixed.shape, moving.shape, low, high, strict=True))
    z, y, x = (scipy.fft.next_fast_len(int(max(m - lo, n + hi, m, n)), True) for n, m, lo, hi in of_axes)
    spectrum = 8 * z * y * (x // 2 + 1)
    arrays, larger = 4 * (fixed.size + moving.size), 4 * max(fixed.size, moving.size)
    n_shifts = [hi - lo + 1 for lo, hi in zip(low, high, strict=True)]
    shifts = 8 * _OF_SHIFTS * math.prod(n_shifts)
    if masks is not None:
        return 2 * arrays + larger + 9 * spectrum + shifts
    # On each axis the voxels that all ranges hold are summed first: of fixed also those of its mirror image.
    ends = [max(0, -lo, n - m + hi) for n, m, lo, hi in of_axes]
    left = [n - max(0, n - 2 * end - 1) for n, end in zip(fixed.shape, ends, strict=True)]
    of_fixed = _boxes_bytes(fixed.shape, left, [2 * n for n in n_shifts])
    held = [min(m, n + lo) - max(0, hi) for n, m, lo, hi in of_axes]
    left = [m - max(0, n - 1) for m, n in zip(moving.shape, held, strict=True)]
    of_moving = _boxes_bytes(moving.shape, left, n_shifts)
    boxes = larger + max(of_fixed, of_moving)
    return arrays + 2 * spectrum + max(3 * spectrum, boxes) + _OF_FIXED * shifts


@states(smooth_and_climb)
def smooth_and_climb_bytes(
    voxels: Shaped, places: Shaped, weights: Sequence[Shaped], shape: ZYX, max_steps: int = MAX_STEPS
) -> int:
    """Two float32 arrays as large as the voxels, and the results of each walk."""
    return 8 * voxels.size + 8 * RESULTS * (places.shape[0] // 2)


def _boxes_bytes(shape: tuple[int, ...], left: list[int], n_ranges: list[int]) -> int:
    """Most of sums over boxes: of each axis the array, with as many ``left``, a running sum, and sums of ranges."""
    most, now, itemsize = 0, list(shape), 4
    for axis, n in enumerate(n_ranges):
        before = itemsize * math.prod(now)
        now[axis] = left[axis]
        joined, running = itemsize * math.prod(now), 8 * math.prod(k + (at == axis) for at, k in enumerate(now))
        now[axis] = n
        ranges = 8 * math.prod(now)
        most = max(most, before + 2 * joined, before + joined + 2 * running, before + joined + running + 3 * ranges)
        itemsize = 8
    return most
