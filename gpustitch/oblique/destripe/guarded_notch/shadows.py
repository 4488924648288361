"""Stripes that only darken: shadows of what lies in the sheet's way, with rows of full light between them."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, namespace
from gpustitch.oblique.destripe.guarded_notch.columns import running_medians

# Darker than full light by so many standard deviations of the rows in full light is a shadow.
_SHADOW = 1.5
_ITERATIONS = 2
# Three quarters of normal values lie below so many standard deviations.
_UPPER_QUARTILE = 0.6745


def shadows_of(stripes: Array, reach: int) -> Array:
    """What in ``stripes`` lies below the rows in full light, whose level is 0 in the result; nothing lies above.

    Wavelets that end at a level leave a bright rim beside a shadow, and less depth in a row of shadows. Both are a
    level that drifts: the running median of rows without shadows. A shadow's every second row is turned up about
    that median, so that its rows pull neither down nor up.

    Parameters
    ----------
    stripes
        Logarithm of gains, float32 (frames, rows, windows).
    reach
        Rows on either side that tell the level of full light, at least 1; more than a shadow has.
    """
    xp = namespace(stripes)
    level = xp.empty_like(stripes)
    reach = min(reach, stripes.shape[1])
    running_medians(xp.ascontiguousarray(stripes), level, reach)
    second = (xp.arange(stripes.shape[1]) % 2 == 1)[:, None]
    for _ in range(_ITERATIONS):
        depth = stripes - level
        spread = xp.percentile(depth, 75, axis=1, keepdims=True) / _UPPER_QUARTILE
        turned = second & (depth < -_SHADOW * spread)
        values = xp.where(turned, level - depth, stripes).astype(np.float32)
        running_medians(values, level, reach)
    return xp.minimum(stripes - level, 0)  # type: ignore[no-any-return]


def skewness(stripes: Array, weights: Array) -> float:
    """Skewness over the rows of the stripes of one frame: below -1 for shadows, about 0 for stripes of both kinds."""
    of_rows = weights.sum(axis=(0, 2), dtype=np.float64)
    rows = (stripes * weights).sum(axis=(0, 2), dtype=np.float64) / of_rows
    rows = rows - (rows * of_rows).sum() / of_rows.sum()
    square, cube = ((rows**n * of_rows).sum() / of_rows.sum() for n in (2, 3))
    return float(cube / square**1.5) if square > 0 else 0.0
