"""The offset that most matches of an overlap agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.ops.robust import median_and_scatter


@dataclass(frozen=True)
class Consensus:
    """The offset (z, y, x) that most matches agree on.

    ``scatter_px`` is 1.4826 times the median absolute deviation per axis. ``agrees`` says for each match whether its
    offset agrees, shape (n,).
    """

    offset_px: tuple[float, float, float]
    scatter_px: tuple[float, float, float]
    agrees: npt.NDArray[np.bool_]


def consensus(
    offsets_px: npt.ArrayLike, *, radius_px: float = 1.5, limit: float = 4.0, floor_px: float = 0.35
) -> Consensus:
    """Find the largest group of offsets that agree, and its median.

    A plain median fails once half of the matches are false. So the search starts from the offset with most others
    within ``radius_px`` on every axis. Of several such offsets it takes the one with the nearest neighbours. Offset and
    neighbours form a first group. The final group holds all offsets near the first group's median on every axis. Near
    means within ``limit`` times the first group's scatter, but at least ``floor_px`` and at most ``radius_px``. Median
    and scatter of the final group are the result.

    Parameters
    ----------
    offsets_px
        Offset (z, y, x) of each match, shape (n, 3), n at least 1.
    """
    offsets = np.asarray(offsets_px, dtype=np.float64)
    apart = np.abs(offsets[:, None] - offsets[None]).max(axis=2)
    near = apart <= radius_px
    tightness = np.where(near, apart, 0).sum(axis=1) / near.sum(axis=1)
    seed = np.lexsort((tightness, -near.sum(axis=1)))[0]
    middle, scatter = median_and_scatter(offsets[near[seed]])
    reach = np.minimum(np.maximum(limit * scatter, floor_px), radius_px)
    agrees: npt.NDArray[np.bool_] = np.all(np.abs(offsets - middle) <= reach, axis=1)
    if not agrees.any():
        agrees = near[seed]
    middle, scatter = median_and_scatter(offsets[agrees])
    return Consensus(_triple(middle), _triple(scatter), agrees)


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    z, y, x = values.tolist()
    return z, y, x
