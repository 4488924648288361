"""Fused frames turned to planes: the last step from the grid of the sheet to the upright mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, empty, namespace, resident
from gpustitch.oblique.stream.upright import upright

# Frames whose lines fall into different sets of a cache: their distance in memory, modulo a page, is one line.
_PAGE_BYTES, _LINE_BYTES = 4096, 64


def spaced_frames(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """An array of frames (frame, row, plane) of arbitrary content, whose transposition does not thrash the cache."""
    n_frames, n_rows, depth = shape
    frame_bytes = n_rows * depth * dtype.itemsize
    pages = -(-(frame_bytes - _LINE_BYTES) // _PAGE_BYTES) if frame_bytes > _LINE_BYTES else 0
    stride = (pages * _PAGE_BYTES + _LINE_BYTES) // dtype.itemsize
    return np.empty((n_frames, stride), dtype)[:, : n_rows * depth].reshape(n_frames, n_rows, depth)


def pieces_of(least: int, piece: int) -> int:
    """Pieces of a ring that still holds ``least`` frames when the next piece is put."""
    return -(-least // piece) + 1


class Ring:
    """The last fused frames, in pieces of ``piece`` frames that are reused in turn.

    Frames are made in order, piece after piece, the first of all being ``first``. At least the last ``least`` can be
    taken when a piece is made. On the host a piece is made in a :meth:`room` and turned to planes (z, y, f) once it is
    whole. On a device it is made in its place and stays as it is: frames are turned when they are taken, through
    shared memory. Meanwhile the frames before it can still be taken.
    """

    def __init__(
        self, shape: tuple[int, int], first: int, least: int, piece: int, dtype: np.dtype[Any], device: Device
    ) -> None:
        n_planes, n_rows = shape
        n_pieces = pieces_of(least, piece)
        self._first, self._piece = first, piece
        self._planes: list[Array] = []
        if device.is_cuda:
            self._frames = [empty((piece, n_rows, n_planes), dtype, device) for _ in range(n_pieces + 1)]
        else:
            self._planes = [empty((n_planes, n_rows, piece), dtype, device) for _ in range(n_pieces)]
            self._frames = [planes.transpose(2, 1, 0) for planes in self._planes]
            self._room = spaced_frames((piece, n_rows, n_planes), dtype)

    def room(self, first: int, stop: int) -> Array:
        """Where the frames (frame, row, plane) ``first <= f < stop`` of one piece are to be made."""
        number, at = divmod(first - self._first, self._piece)
        room = self._room if self._planes else self._frames[number % len(self._frames)]
        return room[at : at + stop - first]

    @property
    def turns(self) -> bool:
        """Whether pieces are to be turned."""
        return bool(self._planes)

    def turn(self, first: int, stop: int, rows: slice) -> None:
        """Turn ``rows`` of the frames of one piece, ``first <= f < stop``, that lie in the room."""
        number, at = divmod(first - self._first, self._piece)
        target = self._planes[number % len(self._planes)]
        target[:, rows, at : at + stop - first] = self._room[at : at + stop - first, rows].transpose(2, 1, 0)

    def take(
        self,
        places: Sequence[tuple[int, int]],
        first_row: int,
        drift: npt.NDArray[np.int64],
        there: tuple[int, int],
        out: Array,
    ) -> None:
        """Fill ``out``, boxes (n, z, y, x) that begin at planes and frames ``places``, and all at one row.

        Column 0 of plane z of a box at frame ``first`` is frame ``first - drift[z]``; 0 outside of the frames
        ``there``. ``drift`` is that of all planes of the ring; it must not change.
        """
        begin, stop = (max(0, end - self._first) for end in there)
        places = [(z, first - self._first) for z, first in places]
        starts = np.concatenate([first - drift[z : z + out.shape[1]] for z, first in places])
        low, high = max(begin, int(starts.min())), min(stop, int(starts.max()) + out.shape[3])
        of_boxes = namespace(out).asarray(np.array(places, np.int64))
        upright(self._read(low, high), resident(drift, out), of_boxes, out, begin, stop, first_row)

    def _read(self, low: int, high: int) -> list[Array]:
        """All pieces, in the place of which, where none of the frames ``low <= f < high`` lies, another one stands.

        Such a piece may be made meanwhile, and nothing may read it then.
        """
        numbers = range(low // self._piece, -(-max(high, low + 1) // self._piece))
        read = {number % len(self._frames) for number in numbers}
        return [frames if n in read else self._frames[min(read)] for n, frames in enumerate(self._frames)]
