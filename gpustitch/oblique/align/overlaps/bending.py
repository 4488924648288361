"""Whether windows of an overlap lead elsewhere, the further they lie: tiles that are stretched or turned."""

from __future__ import annotations

import math

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, PxZYX

# A change from end to end of the overlap is one if chance makes it with this probability at most, and it is so many
# voxels.
_CHANCE, _LEAST_PX = 5e-4, 0.15
# What is expected of the errors of windows counts as so many of them: of few, the rest says little.
_EXPECTED_WEIGHT = 2.0
# Along an axis on which windows lie less than this part of their size apart, nothing tells.
_LEAST_RANGE = 0.5


def bend(
    offsets: Floats, weights: Floats, expected: Floats, centres: Floats, shares: Floats, window: Floats
) -> PxZYX | None:
    """By how much the offsets (z, y, x) of windows change from one end of the overlap to the other, voxels.

    Along each axis of the overlap they may change linearly; the greatest change of each offset counts. None if no
    change is sure.

    Parameters
    ----------
    offsets, centres
        Offset and centre of each window, shape (n, 3).
    weights
        Weight of each window on each axis, shape (n, 3); they sum to 1 on each axis.
    expected
        Variance that its peak lets expect of each window, shape (n, 3).
    shares
        Part of their errors that each two windows share, shape (n, n).
    window
        Size of a window, shape (3,).
    """
    size = np.ptp(centres, axis=0)
    told = np.flatnonzero(size > _LEAST_RANGE * window)
    if len(offsets) < len(told) + 3 or not len(told):
        return None
    changes = np.zeros(3)
    for axis in range(3):
        weight = weights[:, axis]
        columns = np.column_stack([np.ones(len(offsets)), (centres - weight @ centres)[:, told] / size[told]])
        fit = np.linalg.pinv(columns.T @ (weight[:, None] * columns)) @ (columns.T * weight)
        change = fit @ offsets[:, axis]
        n = 1 / float(weight @ shares @ weight)
        rest = n * float(weight @ (offsets[:, axis] - columns @ change) ** 2)
        freedom = _EXPECTED_WEIGHT + max(n - len(change), 0)
        variance = (_EXPECTED_WEIGHT * float(weight @ expected[:, axis]) + rest) / freedom
        error = np.sqrt(variance * np.diag(fit @ shares @ fit.T))
        sure = np.abs(change[1:]) > np.maximum(scipy.special.stdtrit(freedom, 1 - _CHANCE / 2) * error[1:], _LEAST_PX)
        # The outermost windows reach half their size beyond their centres.
        changes[axis] = np.abs(change[1:] * sure * (1 + window[told] / size[told])).max()
    z, y, x = changes.tolist()
    return (z, y, x) if max(z, y, x) > 0 else None


def with_bend(sigma_px: PxZYX, bend_px: PxZYX | None) -> PxZYX:
    """Standard error (z, y, x) of one offset for the whole overlap, of which ``sigma_px`` is that of the mean.

    From end to end it errs by the bend over the root of 12, rms, however well the mean is known.
    """
    if bend_px is None:
        return sigma_px
    z, y, x = (math.hypot(s, b / math.sqrt(12)) for s, b in zip(sigma_px, bend_px, strict=True))
    return z, y, x
