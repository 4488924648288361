"""The frames of one tile that a sweep holds: read and corrected once, in order, a batch at a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, empty, fetched, namespace, on, to_device, to_pageable
from gpustitch.array.feed import Fed
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.model import Box, PlacedVolume, layout_of, read_into
from gpustitch.oblique.deskew.tile import ObliqueTile, windowed
from gpustitch.oblique.flat.flatfield import N_SHARES
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.stream.file import Spool
from gpustitch.oblique.stream.sheet import Taps
from gpustitch.oblique.stream.windows import inside_of, window_of


class Lane:
    """One tile on a band of planes and rows of the mosaic.

    ``reach`` is the half-open range of frames that voxels of f = 0 need; ``window`` the rows and columns of frames that
    the band needs. What earlier bands left for this one is taken from ``spool``, and what later ones need goes there.
    """

    def __init__(
        self,
        number: int,
        tile: PlacedVolume,
        volume: ObliqueTile,
        band: Box,
        drift: npt.NDArray[np.int64],
        spool: Spool | None = None,
    ) -> None:
        self.number, self.tile, self.volume = number, tile, volume
        footprint = Footprint.of(tile, band.start[0], band.stop[0])
        self.taps = Taps.of(tile, footprint, band.start[0], drift)
        self.reach = self.taps.reach
        self.window = window_of(tile, band)
        self._correction, self._layout = volume.correction, layout_of(volume.frames)
        inside = inside_of(tile, band)
        columns, rows, _ = inside.slices()
        self._spool = spool
        self._keeps = spool is not None and band.stop[1] < spool.stop
        self._is_local = not self._keeps and (self._correction is None or not self._correction.destripes)
        self._inside = inside.slices(self.window.start)[1::-1]  # rows and columns of the window
        if self._is_local and self._correction is not None:
            self._correction = windowed(self._correction, rows, columns)
        self._rows, self._columns = rows, columns
        # The frames that are fused now, and those that are read meanwhile, each with the number of its first frame.
        self._held: tuple[int, Array] | None = None
        self._coming: tuple[int, Array] | None = None
        self._rooms: list[Array] = []  # of these two, in turn
        self._coverage = self._at_first = volume.coverage

    @property
    def span(self) -> tuple[int, int]:
        """Half-open range of f at which the band may need frames of the tile."""
        low, high = self.reach
        return 1 - high, self.volume.scan.n_frames - low

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Half-open range of the tile's frames that ``start <= f < stop`` needs; may be empty."""
        n = self.volume.scan.n_frames
        first = min(max(0, start + self.reach[0]), n)
        return first, max(first, min(n, stop - 1 + self.reach[1]))

    def advance(self, start: int, stop: int, device: Device) -> tuple[int, int]:
        """Make room for the frames that ``start <= f < stop`` needs, with those held; the range still to read."""
        first, end = self.needed(start, stop)
        if first >= end:
            self._rooms, self._coming = [], None
            return first, first
        most = stop - start + self.reach[1] - self.reach[0]
        with on(device):
            if len(self._rooms) < 2 or len(self._rooms[0]) < most:
                self._rooms = [*self._rooms[-1:], empty((most, *self.window.shape[1::-1]), self.volume.dtype, device)]
                self._rooms[-1][...] = 0
            else:
                self._rooms.reverse()
            room = self._rooms[-1][: end - first]
            kept = first
            if self._held is not None:
                at, old = self._held
                kept = max(first, min(at + len(old), end))
                room[: kept - first] = old[first - at : kept - at]
        self._coming = first, room
        return kept, end

    def turn(self) -> None:
        """The frames that were read are now those held; the room of those held before is free."""
        self._held, self._coming = self._coming, None
        # Frames may turn out to be damaged when they are read. Of those that are read ahead that is not known yet: how
        # far ahead they are must not show in the result.
        coverage, end = self.volume.coverage, 0 if self._held is None else self._held[0] + len(self._held[1])
        known = tuple(f for f in coverage.absent if f < end or f in self._at_first.absent)
        self._coverage = coverage if known == coverage.absent else dataclasses.replace(coverage, absent=known)

    @property
    def _parts(self) -> tuple[slice, slice]:
        """Rows and columns of frames that are read."""
        return (self._rows, self._columns) if self._is_local else (slice(None), slice(None))

    @property
    def raw_shape(self) -> tuple[int, int]:
        """Rows and columns of frames that are read."""
        rows, columns = (len(range(n)[part]) for n, part in zip(self.volume.frames.shape[1:], self._parts, strict=True))
        return rows, columns

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Shape of frames as they lie where they are read from: rows and columns, or columns and rows."""
        rows, columns = self.raw_shape
        return (columns, rows) if self._layout.is_swapped else (rows, columns)

    @property
    def turned_bytes(self) -> int:
        """Bytes of what a device turns of a frame; 0 where frames lie as they are given."""
        return 0 if self._layout.is_upright else self.raw_bytes

    @property
    def raw_dtype(self) -> np.dtype[Any]:
        """Type of pixels that are read."""
        return self.volume.frames.dtype.newbyteorder("=")

    @property
    def raw_bytes(self) -> int:
        """Bytes of what is read of a frame."""
        return math.prod(self.raw_shape) * self.raw_dtype.itemsize

    def read_raw(self, start: int, stop: int, room: npt.NDArray[Any]) -> None:
        """Read frames into ``room``, but for those in the spool; several threads may read different frames.

        ``room`` has frames of ``stored_shape``: they come as they lie, and a device turns them.
        """
        room = self._layout.upright(room)
        for is_kept, first, end in self._runs(start, stop):
            if not is_kept:
                read_into(self.volume.frames, first, end, *self._parts, room[first - start : end - start])

    def load(
        self, start: int, stop: int, device: Device, raw: Iterable[tuple[int, int, Fed]] | None = None
    ) -> tuple[int, int]:
        """Fetch some of the frames that :meth:`advance` asked for, read and corrected or from the spool.

        For a device, ``raw`` has what :meth:`read_raw` has read of them: in pieces, so few frames that they are
        corrected together, each with its first frame and the frame where it ends.

        Returns how many frames were read, and how many of their pixels were cut off.
        """
        if raw is not None:
            return self._load_sent(raw, device)
        n_read = n_cut_off = 0
        for is_kept, first, end in self._runs(start, stop):
            if is_kept:
                self._fetch(first, end, device)
            else:
                n_read += end - first
                n_cut_off += self._read(first, end)
        return n_read, n_cut_off

    def _load_sent(self, raw: Iterable[tuple[int, int, Fed]], device: Device) -> tuple[int, int]:
        """What comes in pieces, on a device."""
        n_read, n_cut_off = 0, None
        with on(device):
            counts = None
            if self._correction is not None:
                assert self._coming is not None
                # Where a device counts the pixels that are cut off, nothing waits for their number.
                counts = namespace(self._coming[1]).zeros(N_SHARES, np.uint32)
            for start, stop, piece in raw:
                for is_kept, first, end in self._runs(start, stop):
                    if is_kept:
                        self._fetch(first, end, device)
                    else:
                        self._put_sent(piece, slice(first - start, end - start), first, counts)
                        n_read += end - first
            if counts is not None:
                n_cut_off = fetched(counts)
        return n_read, 0 if n_cut_off is None else int(n_cut_off.sum())

    def _put_sent(self, piece: Fed, part: slice, first: int, counts: Array | None) -> None:
        """Turn, correct and keep a part of a piece, whose first frame is ``first``."""
        host = self._layout.upright(piece.host[part])
        with piece.sent(part) as sent:
            frames = sent
            if not self._layout.is_upright:
                frames = namespace(sent).ascontiguousarray(self._layout.upright(sent))
            self._put(frames, host, first, self._target(first, first + part.stop - part.start), counts)

    def _runs(self, start: int, stop: int) -> Iterator[tuple[bool, int, int]]:
        """Frames in a row that are in the spool, or that are not: whether they are, the first, and where they end."""
        for is_kept, run in itertools.groupby(range(start, stop), lambda frame: self._is_kept(frame)):
            frames = list(run)
            yield is_kept, frames[0], frames[-1] + 1

    def _is_kept(self, frame: int) -> bool:
        return self._spool is not None and self._spool.has(frame)

    def _target(self, start: int, stop: int) -> Array:
        assert self._coming is not None
        return self._coming[1][start - self._coming[0] : stop - self._coming[0], *self._inside]

    def _fetch(self, start: int, stop: int, device: Device) -> None:
        """Take frames from the spool."""
        assert self._spool is not None
        kept = np.stack([self._spool.read(frame, self._rows) for frame in range(start, stop)])
        with on(device):
            self._target(start, stop)[...] = to_device(kept, device)

    def _read(self, start: int, stop: int) -> int:
        """Read and correct frames on the host; returns how many pixels were cut off."""
        target, cut_off = self._target(start, stop), 0
        raw = self.volume.frames.read(start, stop, *self._parts)
        for at in range(stop - start):  # a frame at a time, which stays in the cache meanwhile
            part = slice(at, at + 1)
            cut_off += self._put(raw[part], raw[part], start + at, target[part], None)
        return cut_off

    def _put(self, frames: Array, host: Array, start: int, target: Array, counts: Array | None) -> int:
        """Correct frames and put them where they go; returns how many pixels were cut off, if none counts them."""
        cut_off = 0
        if self._correction is not None:
            room = self._room_for(frames, target)
            frames, cut_off = self._corrected(frames, host, start, room, counts)
            if frames is room:
                return cut_off
        target[...] = frames if self._is_local else frames[:, self._rows, self._columns]
        if self._keeps:
            self._keep(start, frames)
        return cut_off

    def _room_for(self, frames: Array, target: Array) -> Array | None:
        """Where corrected frames are to be made: in their place if that is whole; kernels write whole arrays alone."""
        if self._keeps or target.shape != frames.shape:
            return None
        return target if namespace(target) is np or target.flags.c_contiguous else None

    def _keep(self, start: int, frames: Array) -> None:
        """Put what later bands need of whole frames into the spool."""
        assert self._spool is not None
        # Tiles have rows of many sizes.
        kept = to_pageable(frames[:, self._spool.rows, self._spool.columns])
        for number, rows in enumerate(kept, start):
            self._spool.put(number, rows)

    def _corrected(
        self, frames: Array, host: Array, start: int, room: Array | None, counts: Array | None
    ) -> tuple[Array, int]:
        """The corrected frames, and how many pixels were cut off: these are added to ``counts`` if that is given."""
        assert self._correction is not None
        try:
            corrected = self._correction.apply(frames, room, host)
        except (DamagedInputError, ParameterError) as error:
            raise type(error)(f"{self.tile.name}, frames {start} to {start + len(frames) - 1}: {error}") from error
        if counts is None:
            return corrected, self._correction.n_cut_off(frames, corrected)
        self._correction.add_cut_off(frames, corrected, counts)
        return corrected, 0

    @property
    def is_there(self) -> bool:
        """Whether any frames are held."""
        return self._held is not None

    @property
    def held(self) -> tuple[int, Array]:
        """The number of the first frame held, and the frames (frame, row, column) of the window."""
        assert self._held is not None
        return self._held

    def prints(self, planes: tuple[int, int]) -> list[Footprint]:
        """The footprints, on some planes, of the runs of frames that are there as far as is known."""
        return list(Footprint.of(self.tile, *planes).by_runs(self._coverage))
