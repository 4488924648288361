"""Margins around the data of frames: whole lines of one value at an edge, as mosaics and registered images have."""

from __future__ import annotations

from collections.abc import Sequence

from gpustitch.array import Array, namespace

# Thinner margins are a small part of any window; rows alike are then no chance, nor stripes without noise.
_LEAST_PX = 4
# In shorter lines, equal values are no margin.
_LEAST_LENGTH_PX = 16

Region = tuple[slice, slice]


def edges_of(frames: Array) -> list[Array]:
    """The first and last rows, and the first and last columns, of frames (frames, rows, columns)."""
    return [frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1]]


def data_regions(frames: Array, edges: Sequence[Array] | None = None) -> list[Region | None]:
    """Rows and columns of each frame (frames, rows, columns) without its margins; None for frames without any.

    A margin is at least 4 pixels thick and has one value, and most of the data beside it have others. So the empty
    surroundings of an object are none, nor is all of a frame of one value.

    With ``edges``, those of the same frames on the host (`edges_of`), nothing waits for a device unless one of them has
    one value.
    """
    if min(frames.shape) == 0:
        return [None] * len(frames)
    lines = edges_of(frames) if edges is None else edges
    xp = namespace(*lines)
    if not bool(xp.stack([(line == line[:, :1]).all(axis=1).any() for line in lines]).any()):
        return [None] * len(frames)
    return [_region(frame) for frame in frames]


def _region(frame: Array) -> Region | None:
    rows = _inside(frame)
    columns = _inside(frame[rows].T)
    data = frame[rows, columns]
    sides = (
        (rows.start > 0, data[0] != frame[0, 0]),
        (rows.stop < len(frame), data[-1] != frame[-1, -1]),
        (columns.start > 0, data[:, 0] != frame[rows.start, 0]),
        (columns.stop < frame.shape[1], data[:, -1] != frame[rows.start, -1]),
    )
    others = [bool(2 * other.sum() > other.size) for has_margin, other in sides if has_margin]
    return (rows, columns) if others and all(others) else None


def _inside(frame: Array) -> slice:
    """The rows between the margins above and below."""
    count, length = frame.shape
    if length < _LEAST_LENGTH_PX:
        return slice(0, count)
    above, below = (_thickness(each) for each in (frame, frame[::-1]))
    return slice(0, count) if above == count else slice(above, count - below)


def _thickness(frame: Array) -> int:
    """Rows from the first on that hold its value and nothing else, 0 if they are few."""
    others = (frame != frame[:1, :1]).any(axis=1)
    thickness = int(others.argmax()) if bool(others.any()) else len(others)
    return thickness if thickness >= _LEAST_PX else 0
