"""Coefficients of a band: each plane with some planes before it, from products of their rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, library_of, namespace, to_host
from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats

S = TypeVar("S")
T = TypeVar("T")
N = TypeVar("N", bound=np.generic)

# Up to here each plane is multiplied with those before it as a vector, which computes nothing beyond the band; planes
# of a greater max_lag are multiplied in blocks, as matrices.
LONGEST_OF_VECTORS = 24
# OpenBLAS keeps products of fewer multiplications to the calling thread: of matrices, and of a matrix and a vector.
_MAX_MULTIPLICATIONS, _MAX_OF_VECTOR = 1 << 18, 9216
# Pixels that are summed in float32, perhaps one after another: after a hot pixel small products are lost.
MOST_SUMMED = 320
# Planes multiplied together as matrices: more compute more beyond the band, fewer are packed more often.
PLANES_TOGETHER = 24
# Where less than this part of the raw second moment is variance, float32 sums have lost too much.
_LEAST_VARIANCE = 0.1


def band_products(rows: Array, max_lag: int, most_summed: int = MOST_SUMMED) -> Floats:
    """Sums over pixels of the products of planes with themselves and the ``max_lag`` planes before them.

    Parameters
    ----------
    rows
        float32 (tiles, max_lag + n, width): the planes before, and n planes.
    most_summed
        Pixels whose products may be summed in float32 on the host; sums of these are added in float64.

    Returns
    -------
    float64 (n, max_lag + 1) in host memory, [i, d] = products of rows ``max_lag + i`` and ``max_lag + i - d``.

    Notes
    -----
    On the host products are cut along pixels into pieces that OpenBLAS keeps to the calling thread.
    """
    tiles, n_rows, width = rows.shape
    n, xp = n_rows - max_lag, namespace(rows)
    if library_of(rows) != "numpy":
        return entries_before(
            to_host(xp.matmul(rows[:, max_lag:], rows.swapaxes(1, 2)).sum(axis=0, dtype=np.float64)), max_lag
        )
    if max_lag <= LONGEST_OF_VECTORS:
        parts = _parts(width, max_lag + 1, _MAX_OF_VECTOR, most_summed)
        down = rows.strides[1]
        strides = (rows.strides[0], width // parts * 4, down, down, 4)
        before = np.lib.stride_tricks.as_strided(rows, (tiles, parts, n, max_lag + 1, width // parts), strides)
        planes = rows[:, max_lag:].reshape(tiles, n, parts, -1).swapaxes(1, 2)
        sums = np.matmul(before, planes[..., None]).sum(axis=(0, 1, 4), dtype=np.float64)
        return sums[:, ::-1]  # type: ignore[no-any-return]
    found = np.empty((n, max_lag + 1))
    for start in range(0, n, PLANES_TOGETHER):
        stop = min(start + PLANES_TOGETHER, n)
        some = rows[:, start : max_lag + stop]
        parts = _parts(width, (stop - start) * some.shape[1], _MAX_MULTIPLICATIONS, most_summed)
        pieces = some.reshape(tiles, some.shape[1], parts, -1).swapaxes(1, 2)
        sums = np.matmul(pieces[:, :, max_lag:], pieces.swapaxes(2, 3)).sum(axis=(0, 1), dtype=np.float64)
        found[start:stop] = entries_before(sums, max_lag)
    return found


def entries_before(square: npt.NDArray[N], max_lag: int) -> npt.NDArray[N]:
    """Entries (n, max_lag + 1) of a matrix (n, max_lag + n): ``[i, d]`` is its ``[i, max_lag + i - d]``.

    Rows of the matrix are n planes, columns the ``max_lag`` planes before them and then themselves.
    """
    n = len(square)
    columns = max_lag + np.arange(n)[:, None] - np.arange(max_lag + 1)
    return np.take_along_axis(square, columns, axis=1)


def plain_correlation(products: Floats, n_used: int, mean: Floats, squares: Floats) -> Floats:
    """Pearson's coefficients (n, max_lag + 1) from :func:`band_products` of planes that all use the same pixels.

    Parameters
    ----------
    n_used
        Number of used pixels.
    mean, squares
        (max_lag + n,): mean of each row, and the sum of squared deviations from it. Those of the n rows are replaced by
        those that the products give.

    Notes
    -----
    Sums of float32 products of few distinct values are all rounded the same way. So are the squares: they cancel.
    """
    n, max_lag = len(products), products.shape[1] - 1
    found: Floats = products - n_used * mean[max_lag:, None] * entries_before(
        np.broadcast_to(mean, (n, max_lag + n)), max_lag
    )
    squares[max_lag:] = np.where(found[:, 0] > 0, found[:, 0], 1)
    return _clipped(
        found / np.sqrt(squares[max_lag:, None] * entries_before(np.broadcast_to(squares, (n, max_lag + n)), max_lag))
    )


def masked_correlation(
    centred: Array, used: Array, max_lag: int, wanted: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Pearson's coefficients of planes with those before them, over the pixels that are used in both.

    Parameters
    ----------
    centred
        float32 (tiles, max_lag + n, width), each row about centred, 0 where not used.
    used
        uint8 of the same shape: 1 where a pixel is used.
    wanted
        (n, max_lag + 1): pairs that must be right. A pair is done again in float64 where the common pixels of a
        plane hardly vary or are far from its mean.

    Returns
    -------
    float64 (n, max_lag + 1) in host memory; NaN where the common pixels of a plane are constant, or fewer than two.
    And (n,), the sum of squared deviations of each plane from its own mean.
    """
    n, s_a, s_b, s_aa, s_bb, s_ab = _pair_sums(centred, used, max_lag)
    variance_a, variance_b = n * s_aa - s_a**2, n * s_bb - s_b**2
    doubtful = (variance_a <= _LEAST_VARIANCE * n * s_aa) | (variance_b <= _LEAST_VARIANCE * n * s_bb)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _clipped((n * s_ab - s_a * s_b) / np.sqrt(variance_a * variance_b))
    found[doubtful] = np.nan
    for i, d in zip(*np.nonzero(doubtful & wanted), strict=True):
        found[i, d] = _pair(centred, used, max_lag + int(i), max_lag + int(i) - int(d))
    own = variance_a[:, 0] / np.maximum(n[:, 0], 1)
    return found, np.where(own > 0, own, 1)


def product_bytes(max_lag: int, n: int, tiles: int, width: int) -> int:
    """Memory that :func:`band_products` of some tiles takes on the host."""
    by_vectors, n = max_lag <= LONGEST_OF_VECTORS, n if max_lag <= LONGEST_OF_VECTORS else min(n, PLANES_TOGETHER)
    results = max_lag + 1 if by_vectors else max_lag + n
    limit = _MAX_OF_VECTOR if by_vectors else _MAX_MULTIPLICATIONS
    return tiles * _parts(width, results * (1 if by_vectors else n), limit) * n * results * 4 + 24 * n * (max_lag + n)


def each_of(function: Callable[[S], T], items: Sequence[S], n_threads: int) -> list[T]:
    """Results of ``function`` in the order of ``items``, by some threads: NumPy releases the interpreter's lock."""
    if min(n_threads, len(items)) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(n_threads, thread_name_prefix="gpustitch") as pool:
        return list(pool.map(function, items))


def _parts(width: int, multiplications: int, limit: int, most_summed: int = MOST_SUMMED) -> int:
    """Number of pieces: the fewest that divide ``width``, with fewer multiplications than the limit."""
    most = max(1, min(most_summed, (limit - 1) // multiplications))
    return next(parts for parts in itertools.count(-(-width // most)) if width % parts == 0)


def _clipped(coefficients: Floats) -> Floats:
    """The same array within -1 and 1, which rounding may have left."""
    return np.clip(coefficients, -1, 1, out=coefficients)


def _pair_sums(centred: Array, used: Array, max_lag: int) -> Floats:
    """Over common pixels: number, sums of a, b, a squared, b squared, a times b; float64 (6, n, max_lag + 1)."""
    xp, n = namespace(centred), centred.shape[1] - max_lag
    blocks = [slice(start, min(start + PLANES_TOGETHER, n)) for start in range(0, n, PLANES_TOGETHER)]
    total = [xp.zeros((6, b.stop - b.start, max_lag + b.stop - b.start), np.float64) for b in blocks]
    for a, valid in zip(centred, used, strict=True):
        w, squared = valid.astype(np.float32), a * a
        for block, sums in zip(blocks, total, strict=True):
            m, new = sums.shape[1], slice(max_lag + block.start, max_lag + block.stop)
            window = slice(block.start, max_lag + block.stop)
            left = xp.concatenate([w[new], a[new], squared[new]])
            sums[[0, 1, 3]] += xp.matmul(left, w[window].T).reshape(3, m, max_lag + m)
            sums[[2, 5]] += xp.matmul(left[: 2 * m], a[window].T).reshape(2, m, max_lag + m)
            sums[4] += xp.matmul(left[:m], squared[window].T)
    return np.concatenate([[entries_before(of, max_lag) for of in to_host(sums)] for sums in total], axis=1)


def _pair(centred: Array, used: Array, i: int, j: int) -> float:
    """The coefficient of two rows in float64; NaN where there is none."""
    common = (used[:, i] & used[:, j]) != 0
    a, b = centred[:, i][common].astype(np.float64), centred[:, j][common].astype(np.float64)
    if a.size < 2 or float(a.min()) == float(a.max()) or float(b.min()) == float(b.max()):
        return float("nan")
    a -= a.mean()
    b -= b.mean()
    norms = math.sqrt(float((a * a).sum())) * math.sqrt(float((b * b).sum()))
    return min(1.0, max(-1.0, float((a * b).sum()) / norms))


def undefined_planes(half_strip: Floats) -> list[int]:
    """Planes that have no coefficient with themselves: constant ones, or such with fewer than two used pixels."""
    return [int(i) for i in np.flatnonzero(np.isnan(half_strip[:, 0]))]


def full_matrix(half_strip: Floats) -> Floats:
    """The symmetric matrix (n, n) of a half strip (n, max_lag + 1), NaN outside the band."""
    n, width = half_strip.shape
    matrix = np.full((n, n), np.nan)
    for d in range(min(n, width)):
        i = np.arange(n - d)
        matrix[i, i + d] = matrix[i + d, i] = half_strip[: n - d, d]
    return matrix


def half_strip_of(matrix: Floats, max_lag: int) -> Floats:
    """The half strip (n, max_lag + 1) of a symmetric matrix (n, n), whose upper triangle is read; NaN beyond its end.

    Raises
    ------
    ParameterError
        If the matrix is not square or the max_lag is not 1 to n - 1.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ParameterError(f"a similarity matrix is square, not of shape {matrix.shape}")
    n = matrix.shape[0]
    if not 1 <= max_lag < n:
        raise ParameterError(f"`max_lag` must be 1 to {n - 1} for {n} planes (at least two are needed), not {max_lag}")
    strip = np.full((n, max_lag + 1), np.nan)
    for d in range(max_lag + 1):
        strip[: n - d, d] = np.diagonal(matrix, d)
    return strip
