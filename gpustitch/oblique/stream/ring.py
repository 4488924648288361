"""Fused frames turned to planes: the last step from the grid of the sheet to the upright mosaic."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, empty

# Frames whose lines fall into different sets of a cache: their distance in memory, modulo a page, is one line.
_PAGE_BYTES, _LINE_BYTES = 4096, 64


def spaced_frames(shape: tuple[int, int, int], dtype: np.dtype[Any], device: Device) -> Array:
    """An array of frames (frame, row, plane) of arbitrary content, whose transposition does not thrash the cache."""
    n_frames, n_rows, depth = shape
    if device.is_cuda:
        return empty(shape, dtype, device)
    frame_bytes = n_rows * depth * dtype.itemsize
    pages = -(-(frame_bytes - _LINE_BYTES) // _PAGE_BYTES) if frame_bytes > _LINE_BYTES else 0
    stride = (pages * _PAGE_BYTES + _LINE_BYTES) // dtype.itemsize
    return np.empty((n_frames, stride), dtype)[:, : n_rows * depth].reshape(n_frames, n_rows, depth)


class Ring:
    """Fused frames as planes (z, y, f), the last ``width`` of them; f runs around the ring.

    Frames are put in order; those that the ring has no longer must not be taken.
    """

    def __init__(self, n_planes: int, n_rows: int, width: int, dtype: np.dtype[Any], device: Device) -> None:
        self._planes = empty((n_planes, n_rows, width), dtype, device)
        self._width = width

    def put(self, first: int, frames: Array, first_row: int) -> None:
        """Take over frames (frame, row, plane) from ``first`` on; the rows begin at ``first_row``."""
        rows = slice(first_row, first_row + frames.shape[1])
        for start, stop, at in self._parts(first, first + len(frames)):
            part = frames[start - first : stop - first]
            self._planes[:, rows, at : at + stop - start] = part.transpose(2, 1, 0)

    def take(
        self, planes: slice, rows: slice, first: npt.NDArray[np.int64], there: tuple[int, int], out: Array
    ) -> None:
        """Fill ``out`` (z, y, x): column 0 of plane z is frame ``first[z]``; 0 outside of the frames ``there``."""
        n = out.shape[2]
        for target, source, start in zip(out, self._planes[planes], first.tolist(), strict=True):
            low, high = (min(max(end, start), start + n) for end in there)
            if low > start:
                target[:, : low - start] = 0
            if high < start + n:
                target[:, max(low, high) - start :] = 0
            for a, b, at in self._parts(low, high):
                target[:, a - start : b - start] = source[rows, at : at + b - a]

    def _parts(self, first: int, stop: int) -> list[tuple[int, int, int]]:
        """Runs of frames that lie together in the ring, each with its place."""
        parts = []
        while first < stop:
            at = first % self._width
            end = min(stop, first + self._width - at)
            parts.append((first, end, at))
            first = end
        return parts
