"""Products of float32 matrices, and how many frames are worked on together.

On the host, a product is cut into pieces so small that OpenBLAS computes each in the calling thread. Threads are for
whole frames, and OpenBLAS's own threads would spin while they wait. On a device, its BLAS computes the product at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpustitch.array.namespace import Array, library_of, namespace

# OpenBLAS computes products of fewer multiplications in the calling thread.
_MAX_MULTIPLICATIONS = 1 << 18
# Rows and summed terms in one piece of `matmul_rows`; more would leave few columns in a piece.
_ROWS_AT_ONCE = 32
_SUMMED_AT_ONCE = 128
# Pixels that a device works on together: 16 camera frames keep it busy, and intermediate arrays stay below 1 GB.
_DEVICE_PIXELS = 1 << 26


def batches(frames: Array) -> Iterator[slice]:
    """Ranges of ``frames`` (frames, ...) to compute together: single frames on the host, many on a device."""
    together = 1
    if library_of(frames) != "numpy":
        together = max(1, _DEVICE_PIXELS * len(frames) // max(1, frames.size))
    return (slice(start, start + together) for start in range(0, len(frames), together))


def matmul_rows(x: Array, matrix: Array, out: Array | None = None) -> Array:
    """``x @ matrix`` of float32 matrices (rows, n) and (n, m), in ``out`` or as a new array."""
    if library_of(x, matrix) != "numpy":
        return namespace(x).matmul(x, matrix, out=out)  # type: ignore[no-any-return]
    (n, m), whole = matrix.shape, len(x) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    if out is None:
        out = np.empty((len(x), m), np.float32)
    shape = (whole // _ROWS_AT_ONCE, _ROWS_AT_ONCE)
    _multiply_pieces(x[:whole].reshape(*shape, n), matrix, out[:whole].reshape(*shape, m))
    _multiply_pieces(x[whole:][None], matrix, out[whole:][None])
    return out


def _multiply_pieces(pieces: Array, matrix: Array, out: Array) -> None:
    """Product of each piece (rows, n) and the matrix; NumPy goes through the pieces one by one."""
    height, (n, m) = pieces.shape[1], matrix.shape
    for start in range(0, n, _SUMMED_AT_ONCE):
        terms, factors = pieces[..., start : start + _SUMMED_AT_ONCE], matrix[start : start + _SUMMED_AT_ONCE]
        most = max(1, _MAX_MULTIPLICATIONS // max(1, height * len(factors)) - 1)
        width = m // -(-m // most)
        for first in range(0, m, width):
            columns = slice(first, first + width)
            if start:
                out[..., columns] += np.matmul(terms, factors[:, columns])
            else:
                np.matmul(terms, factors[:, columns], out=out[..., columns])


def product_along_rows(matrix: Array, x: Array, out: Array, step: int) -> None:
    """Apply ``matrix`` to windows of the rows of ``x``, on the host, for all blocks b that fit in ``out``.

    ``out[b*B + i, c] = sum_k matrix[i, k] * x[b*step + k, c]``. ``matrix`` is (B, K), ``x`` and ``out`` are
    (rows, columns); surplus columns of ``x`` are left out.
    """
    block, window = matrix.shape
    count, columns = out.shape[0] // block, out.shape[1]
    most = max(1, _MAX_MULTIPLICATIONS // (block * window) - 1)
    parts = columns // -(-columns // most)
    whole = columns // parts * parts
    for first, stop, width in ((0, whole, parts), (whole, columns, columns - whole)):
        if width:
            shape = (count, (stop - first) // width)
            source = _view(x[:, first:], (*shape, window, width), (step, 0), (0, width))
            target = _view(out[:, first:], (*shape, block, width), (block, 0), (0, width))
            np.matmul(matrix, source, out=target)


def product_along_columns(x: Array, matrix: Array, out: Array, step: int) -> None:
    """Apply ``matrix`` to windows of the columns of ``x``, on the host, for all blocks b that fit in ``out``.

    ``out[r, b*B + i] = sum_k x[r, b*step + k] * matrix[k, i]``. ``matrix`` is (K, B), ``x`` and ``out`` are
    (rows, columns).
    """
    window, block = matrix.shape
    rows, count = out.shape[0], out.shape[1] // block
    most = max(1, _MAX_MULTIPLICATIONS // (block * window) - 1)
    for first in range(0, rows, most):
        height = min(most, rows - first)
        source = _view(x[first:], (1, count, height, window), (0, 0), (0, step))
        target = _view(out[first:], (1, count, height, block), (0, 0), (0, block))
        np.matmul(source, matrix, out=target)


def _view(x: Array, shape: tuple[int, int, int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Windows of a 2-D array.

    ``rows`` holds how many rows one step along the view's first and second axis crosses, ``columns`` how many columns.
    """
    down, right = x.strides
    strides = (rows[0] * down + columns[0] * right, rows[1] * down + columns[1] * right, down, right)
    return np.lib.stride_tricks.as_strided(x, shape, strides)
