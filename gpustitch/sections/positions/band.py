"""Similarities near the diagonal: ``lags[d, i]`` is the value of sections i and i + d.

A band of range R is float64 (R + 2, n). It is NaN beyond the last section and in row R + 1: there pairs too far apart
are looked up.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers


def band_of(similarity: npt.NDArray[np.floating], max_lag: int) -> Floats:
    """The band of a matrix or of a half strip.

    Parameters
    ----------
    similarity
        (n, n), symmetric, or a half strip (n, width), ``[i, d]`` = similarity of i and i + d. A square array is a
        half strip if it is NaN wherever i + d is beyond the last section.
    max_lag
        Greatest distance R of two sections; 1 to n - 1, and below the width of a half strip.

    Raises
    ------
    ParameterError
        If the array is neither, or narrower than the range asked for.
    """
    if similarity.ndim != 2 or similarity.shape[0] < 2 or similarity.dtype.kind != "f":
        raise ParameterError(
            f"`similarity` must be a matrix (n, n) or a half strip (n, range + 1) of floats and at least two sections, "
            f"not an array of shape {similarity.shape} and dtype {similarity.dtype}"
        )
    n, width = similarity.shape
    if max_lag >= n:
        raise ParameterError(f"`max_lag` {max_lag} is larger than the stack: {n} sections allow at most {n - 1}")
    is_strip = width != n or bool(np.isnan(similarity[_beyond(n, n)]).all())
    if is_strip and (width > n or width < 2):
        raise ParameterError(
            f"a similarity matrix is square and a half strip narrower, not of shape {similarity.shape}"
        )
    if is_strip and width <= max_lag:
        raise ParameterError(f"`max_lag` {max_lag} needs a half strip of at least {max_lag + 1} columns, not {width}")
    band = np.full((max_lag + 2, n), np.nan)
    for d in range(max_lag + 1):
        band[d, : n - d] = similarity[: n - d, d] if is_strip else np.diagonal(similarity, d)
        if not is_strip and not np.allclose(band[d, : n - d], np.diagonal(similarity, -d), 0, 1e-6, equal_nan=True):
            raise ParameterError(f"the similarity matrix is not symmetric at distance {d} from the diagonal")
    return band


def _beyond(n: int, width: int) -> npt.NDArray[np.bool_]:
    """Where i + d of a half strip is beyond the last section."""
    beyond: npt.NDArray[np.bool_] = np.add.outer(np.arange(n), np.arange(width)) >= n
    return beyond


def pairs(band: Floats, i: Integers, j: Integers) -> Floats:
    """Values of sections i and j, in either order, NaN where they are too far apart."""
    rows, n = band.shape
    distance = np.abs(i - j)
    np.minimum(distance, rows - 1, out=distance)
    distance *= n
    distance += np.minimum(i, j)
    found: Floats = band.ravel().take(distance)
    return found


def sorted_band(band: Floats, order: Integers) -> Floats:
    """The band of the sections in another order: ``[d, k]`` is the value of ``order[k]`` and ``order[k + d]``."""
    rows, n = band.shape
    if is_in_order(order):
        return band
    out = np.full((rows, n), np.nan)
    for d in range(rows - 1):
        out[d, : n - d] = pairs(band, order[: n - d], order[d:])
    return out


def put_sorted(band: Floats, order: Integers, values: Floats) -> None:
    """Put ``values[d, k]`` at ``order[k]`` and ``order[k + d]`` of the band, d from 1, where it has a place."""
    rows, n = band.shape
    if is_in_order(order):
        band[1 : rows - 1] = values[1 : rows - 1]
        return
    for d in range(1, rows - 1):
        i, j = order[: n - d], order[d:]
        distance = np.abs(i - j)
        near = distance < rows - 1
        band[distance[near], np.minimum(i, j)[near]] = values[d, : n - d][near]


def is_in_order(order: Integers) -> bool:
    """Whether no section has changed its place."""
    return bool((order == np.arange(len(order))).all())


def from_before(values: Floats) -> Floats:
    """``[d, i]`` taken from ``[d, i - d]``: lags seen from the later of two sections. NaN where there is none."""
    out = np.full_like(values, np.nan)
    n = values.shape[1]
    for d in range(min(len(values), n)):
        out[d, d:] = values[d, : n - d]
    return out
