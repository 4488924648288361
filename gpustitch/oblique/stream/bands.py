"""How a mosaic is cut into bands that are swept one after another.

Where parts of frames can be read, a band reads nothing twice but a row, and bands take as little memory as can be.
Where frames must be read or corrected whole, a band leaves what later ones need of a tile on the disk. So there are
only as many bands as the memory asks for, and they end where they leave little.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpustitch.model import Box, PlacedVolume, part_axis
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.stream.sweep import BATCH_FRAMES, TURNED_FRAMES

# The part of the memory that files may take which are begun and not whole: large files are few.
_UNFINISHED_PART = 3
# A measure of a band: of its first place and the place where it ends.
OfBand = Callable[[int, int], int]


@dataclass(frozen=True)
class Cut:
    """How a sweep is fitted into memory.

    Parameters
    ----------
    piece
        Frames that are turned upright at a time: fewer take less memory, and a little more time.
    most_bytes
        What a band may hold; None if frames that must be whole may be swept in one band.
    file_bytes
        Size of a file, if an earlier run has begun files; None to choose it.
    unfinished_bytes
        Files that are begun and not whole may take so much before smaller ones are chosen; None for a default.
    """

    piece: int = TURNED_FRAMES
    most_bytes: int | None = None
    file_bytes: int | None = None
    unfinished_bytes: int | None = None


def cuts_within(most_bytes: int | None) -> tuple[Cut, ...]:
    """From the fastest to the smallest, the ways to sweep with so many bytes of memory; None if there is no limit."""
    if most_bytes is None:
        return (Cut(),)
    whole = Cut(unfinished_bytes=most_bytes // _UNFINISHED_PART)
    short = replace(whole, piece=BATCH_FRAMES)
    return whole, short, replace(short, most_bytes=most_bytes)


def part_axis_of(tiles: Sequence[PlacedVolume]) -> int | None:
    """The axis of the mosaic along which frames can be read and corrected in parts; None if they must be whole."""
    volumes = [tile.volume for tile in tiles]
    axes = {part_axis(v.frames) if isinstance(v, ObliqueTile) else None for v in volumes}
    is_whole = any(isinstance(v, ObliqueTile) and v.correction is not None and v.correction.destripes for v in volumes)
    axis = None if is_whole or len(axes) > 1 else axes.pop()
    return None if axis is None else 1 - axis  # columns run along z, rows along y


def cut_at(places: Sequence[int], memory_bytes: OfBand, left_bytes: OfBand, most_bytes: int) -> list[tuple[int, int]]:
    """The bands, between some of ``places``, that leave least; of these as few as can be.

    Each holds at most ``most_bytes`` of memory. Where that cannot be, the most that one holds is as little as can be.
    """
    # For each place: bytes beyond the memory, bytes left, number of bands, and the place before.
    best = [(0, 0, 0, 0)]
    for end, place in enumerate(places[1:], 1):
        best.append(
            min(
                (
                    max(best[n][0], memory_bytes(start, place) - most_bytes),
                    best[n][1] + left_bytes(start, place),
                    best[n][2] + 1,
                    n,
                )
                for n, start in enumerate(places[:end])
            )
        )
    ends = [len(places) - 1]
    while ends[-1]:
        ends.append(best[ends[-1]][3])
    return [(places[a], places[b]) for b, a in itertools.pairwise(ends)][::-1]


class Extents:
    """The rows and planes that tiles cover of a mosaic, for measures of bands that need not be exact to a pixel."""

    def __init__(self, tiles: Sequence[PlacedVolume], whole: Box, itemsize: int) -> None:
        covers = [tile.volume.coverage for tile in tiles]
        self._low = np.array([tile.origin_px[:2] for tile in tiles])
        sides = np.array([(cover.n_columns, cover.n_rows) for cover in covers])
        self._high = np.minimum(self._low + sides, whole.stop[:2])
        self._low = np.maximum(self._low, 0)
        covered = np.array([Footprint.of(tile, 0, 0).rows for tile in tiles])
        self._covered = np.clip(covered, 0, whole.stop[1])
        self._n_frames = np.array([cover.n_frames for cover in covers])
        self._itemsize = itemsize

    def frame_bytes(self, band: Box) -> int:
        """At most the bytes of a frame of each tile, cut to a band."""
        sides = np.minimum(self._high, band.stop[:2]) - np.maximum(self._low, band.start[:2])
        return int(np.prod(np.ceil(sides[(sides > -1).all(axis=1)]) + 2, axis=1).sum()) * self._itemsize

    def left_bytes(self, start: int, stop: int) -> int:
        """About the bytes of corrected frames that a band of the rows ``start`` to ``stop`` leaves for later ones."""
        first, end = self._covered.T
        rows = np.where((start <= first) & (first < stop), np.maximum(end - stop, 0), 0)
        columns = np.maximum(self._high[:, 0] - self._low[:, 0], 0)
        return int((rows * columns * self._n_frames).sum()) * self._itemsize
