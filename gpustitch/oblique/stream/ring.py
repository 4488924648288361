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


def pieces_of(least: int, piece: int) -> int:
    """Pieces of a ring that still holds ``least`` frames when the next piece is put."""
    return -(-least // piece) + 1


class Ring:
    """The last fused frames as planes (z, y, f), in pieces of ``piece`` frames that are reused in turn.

    Frames are put in order, piece after piece, the first of all at ``first``. At least the last ``least`` can be taken.
    """

    def __init__(
        self, shape: tuple[int, int], first: int, least: int, piece: int, dtype: np.dtype[Any], device: Device
    ) -> None:
        n_planes, n_rows = shape
        n_pieces = pieces_of(least, piece)
        self._pieces = [empty((n_planes, n_rows, piece), dtype, device) for _ in range(n_pieces)]
        self._first, self._piece = first, piece

    def put(self, first: int, frames: Array, first_row: int) -> None:
        """Take over the frames (frame, row, plane) of one piece, from ``first`` on; the rows begin at ``first_row``."""
        number, at = divmod(first - self._first, self._piece)
        target = self._pieces[number % len(self._pieces)]
        rows = slice(first_row, first_row + frames.shape[1])
        target[:, rows, at : at + len(frames)] = frames.transpose(2, 1, 0)

    def take(
        self, planes: slice, rows: slice, first: npt.NDArray[np.int64], there: tuple[int, int], out: Array
    ) -> None:
        """Fill ``out`` (z, y, x): column 0 of plane z is frame ``first[z]``; 0 outside of the frames ``there``."""
        n = out.shape[2]
        sources = [piece[planes, rows] for piece in self._pieces]
        for z, (target, start) in enumerate(zip(out, first.tolist(), strict=True)):
            low, high = (min(max(end, start), start + n) for end in there)
            if low > start:
                target[:, : low - start] = 0
            if high < start + n:
                target[:, max(low, high) - start :] = 0
            while low < high:
                number, at = divmod(low - self._first, self._piece)
                stop = min(high, low + self._piece - at)
                part = sources[number % len(sources)][z, :, at : at + stop - low]
                target[:, low - start : stop - start] = part
                low = stop
