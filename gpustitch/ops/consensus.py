"""The offset that most matches of an overlap agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Consensus:
    """The agreed offset (z, y, x), its scatter per axis (1.4826 times the median absolute deviation) and who agrees."""

    offset_px: tuple[float, float, float]
    scatter_px: tuple[float, float, float]
    agrees: npt.NDArray[np.bool_]


def consensus(
    offsets_px: npt.ArrayLike, *, radius_px: float = 1.5, limit: float = 4.0, floor_px: float = 0.35
) -> Consensus:
    """Find the largest group of offsets that agree, and its median.

    A median over all matches would do until half of them are false; false matches may also agree by twos and threes
    with nothing. So the offset with most others within ``radius_px`` (on every axis) is taken first, and the
    median of that group. Then all offsets within ``limit`` times the group's scatter, but at least ``floor_px``, of the
    median belong to the group, on every axis, and its median and scatter are the result.

    Parameters
    ----------
    offsets_px
        Offsets (z, y, x) of single matches, shape (n, 3), n at least 1.
    """
    offsets = np.asarray(offsets_px, dtype=np.float64)
    apart = np.abs(offsets[:, None] - offsets[None]).max(axis=2)
    near = apart <= radius_px
    tightness = np.where(near, apart, 0).sum(axis=1) / near.sum(axis=1)
    seed = np.lexsort((tightness, -near.sum(axis=1)))[0]
    middle, scatter = _median_and_scatter(offsets[near[seed]])
    reach = np.minimum(np.maximum(limit * scatter, floor_px), radius_px)
    agrees: npt.NDArray[np.bool_] = np.all(np.abs(offsets - middle) <= reach, axis=1)
    if not agrees.any():
        agrees = near[seed]
    middle, scatter = _median_and_scatter(offsets[agrees])
    return Consensus(_triple(middle), _triple(scatter), agrees)


def _median_and_scatter(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    middle = np.median(values, axis=0)
    return middle, _TO_SIGMA * np.median(np.abs(values - middle), axis=0)


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    z, y, x = values.tolist()
    return z, y, x


def weighted_median(values: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """The value at which half the weight lies on either side; between two values with exactly half, their mean.

    Weights must not be negative nor all zero. The order of the values does not matter.
    """
    v, w = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(v, kind="stable")
    v, below = v[order], np.cumsum(w[order])
    half = below[-1] / 2
    first = int(np.searchsorted(below, half))
    if first + 1 < len(v) and np.isclose(below[first], half, rtol=1e-12):
        heavier = first + 1 + int(np.argmax(w[order][first + 1 :] > 0))
        return float((v[first] + v[heavier]) / 2)
    return float(v[first])
