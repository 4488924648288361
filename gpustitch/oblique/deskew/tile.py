"""Raw frames as a volume that alignment and fusion can ask for boxes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, Device
from gpustitch.array.transfer import hosted
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.model import ZYX, Box, Coverage, Frames, ObliqueScan
from gpustitch.oblique.deskew.deoblique import clear_holes, deoblique
from gpustitch.ops.padded import padded

if TYPE_CHECKING:
    from gpustitch.oblique.destripe.correction import Correction

CACHED_FRAMES_BYTES = 1 << 28
# Frames corrected at a time: few enough for the processor's cache.
_TOGETHER = 8
# Pixels corrected at a time, about, however large a part of a frame is.
TOGETHER_PIXELS = 1 << 21
# A part of a frame that is larger is dearer than the whole one, which is kept.
_LARGE_PART = 0.5
# Rows of a band of frames that is kept.
_BAND_ROWS = 32


class FrameCache:
    """Frames, or bands of them, of any number of tiles: those used last, up to ``limit_bytes``, and always the last."""

    def __init__(self, limit_bytes: int = CACHED_FRAMES_BYTES) -> None:
        self._limit, self.n_bytes = limit_bytes, 0
        self._frames: OrderedDict[Hashable, npt.NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()
        # A thread that wants a frame which another one is making waits for it.
        self._making = tuple(threading.Lock() for _ in range(64))

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, key: Hashable, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The frame of this key, made if it is not there."""
        with self._making[hash(key) % len(self._making)]:
            with self._lock:
                if key in self._frames:
                    self._frames.move_to_end(key)
                    return self._frames[key]
            frame = make()
            with self._lock:
                self._frames[key] = frame
                self.n_bytes += frame.nbytes
                while len(self._frames) > 1 and self.n_bytes > self._limit:
                    self.n_bytes -= self._frames.popitem(last=False)[1].nbytes
            return frame


class ObliqueTile:
    """Raw frames as a :class:`gpustitch.model.Volume`, de-obliqued on demand.

    Only the frames, rows and columns that a box needs are read. Frames are corrected, in their own type, before
    interpolation. So a box equals the same box of the volume that ``dcimg2oblique`` writes. A correction that
    destripes needs whole frames: the last corrected frames are kept in ``cache``. With ``near_enough`` only so much of
    a frame is corrected as the filter reaches around a box: for comparison, not for the volume. With ``keeps_bands``
    and a correction of each row by itself, bands of rows of a few frames are kept: boxes near one another share them.
    Several threads may read at once. Where ``frames`` skip what they cannot read, such frames leave the coverage when
    they are first read. Another process that gets the tile has a cache of its own.

    Parameters
    ----------
    frames
        The camera's frames, already turned so that columns run along the sheet.
    scan
        Geometry of the frames.
    correction
        Correction of each frame before interpolation; None for none.
    cache
        Where whole corrected frames are kept; None for one of this tile alone.
    near_enough
        Whether stripes may be told from the surroundings of a box instead of the whole frame.
    keeps_bands
        Whether boxes that are near one another will be asked for.
    device
        Where frames are corrected.
    name
        What errors call the frames; nothing if it is empty.

    Attributes
    ----------
    n_bytes_read
        Bytes of the frames that were read so far.

    Raises
    ------
    ParameterError
        If ``scan`` and ``frames`` differ in shape.
    """

    def __init__(
        self,
        frames: Frames,
        scan: ObliqueScan,
        correction: Correction | None = None,
        *,
        cache: FrameCache | None = None,
        near_enough: bool = False,
        keeps_bands: bool = False,
        device: Device = CPU,
        name: str = "",
    ) -> None:
        if tuple(frames.shape) != (scan.n_frames, scan.n_rows, scan.n_columns):
            raise ParameterError(
                f"`frames` has shape {tuple(frames.shape)} (frame, row, column) but `scan` has "
                f"{scan.n_frames} frames of {scan.n_rows} x {scan.n_columns}; give the scan the shape of the frames"
            )
        self.frames = frames
        self.scan = scan
        self.correction = correction
        self.spacing = scan.spacing
        self._coverage = dataclasses.replace(scan.coverage, absent=(*scan.absent, *frames.absent))
        self.dtype: np.dtype[Any] = frames.dtype if correction is None else correction.result_type(frames.dtype)
        self.n_bytes_read = 0
        self._cache, self._key = FrameCache() if cache is None else cache, object()
        self._near_enough, self._device = near_enough, device
        self._has_bands = keeps_bands and correction is not None and correction.destripes_by_rows
        self._name = f"{name}: " if name else ""
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None, "_key": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _cache=FrameCache(), _key=object(), _lock=threading.Lock())

    @property
    def coverage(self) -> Coverage:
        """Which voxels hold data, as far as the frames read so far tell."""
        coverage, absent = self._coverage, self.frames.absent
        if not absent.issubset(coverage.absent):
            coverage = self._coverage = dataclasses.replace(coverage, absent=(*coverage.absent, *absent))
        return coverage

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the de-obliqued grid."""
        return self.scan.shape

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, shape ``box.shape``; zero outside the coverage."""
        return padded(box, self.shape, self.dtype, self._inside)

    def read_along_sheet(self, box: Box) -> npt.NDArray[Any]:
        """Pixels of the frames, shape ``box.shape``: voxel (z, y, f) is column z and row y of frame f.

        Nothing is interpolated. ``box`` must lie within the frames; absent ones read as zeros.
        """
        rows, columns = slice(box.start[1], box.stop[1]), slice(box.start[0], box.stop[0])
        return self._corrected(box.start[2], box.stop[2], rows, columns).transpose(2, 1, 0)

    def _inside(self, box: Box) -> npt.NDArray[Any]:
        if not self.coverage.intersects(box):
            return np.zeros(box.shape, self.dtype)
        start, stop = self.scan.frames_of(box)
        rows, columns = slice(box.start[1], box.stop[1]), slice(box.start[0], box.stop[0])
        frames = self._corrected(start, stop, rows, columns)
        voxels: npt.NDArray[Any] = deoblique(frames, box, self.scan.shear, first_frame=start)
        clear_holes(voxels, box, self.coverage)
        return voxels

    def _corrected(self, start: int, stop: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """A window (frames, rows, columns) of corrected frames, from the cache where frames are kept whole."""
        if self._has_bands:
            return self._of_bands(start, stop, rows, columns)
        if self.correction is None:
            return self._read(start, stop, rows, columns)
        out = np.empty((stop - start, rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        wide = self._around(rows, columns)
        if wide is None:
            for number in range(start, stop):
                frame = self._cache.get((self._key, number), functools.partial(self._whole, number))
                out[number - start] = frame[rows, columns]
            return out
        inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip((rows, columns), wide, strict=True))
        correction = windowed(self.correction, *wide)
        together = max(1, min(_TOGETHER, TOGETHER_PIXELS // math.prod(w.stop - w.start for w in wide)))
        for first in range(start, stop, together):
            last = min(first + together, stop)
            out[first - start : last - start] = self._apply(correction, first, last, *wide)[:, *inside]
        return out

    def _of_bands(self, start: int, stop: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        out = np.empty((stop - start, rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        firsts = range(start // _TOGETHER * _TOGETHER, stop, _TOGETHER)
        tops = range(rows.start // _BAND_ROWS * _BAND_ROWS, rows.stop, _BAND_ROWS)
        for first, top in itertools.product(firsts, tops):
            band = self._cache.get((self._key, first, top), functools.partial(self._band, first, top))
            f, r = max(first, start), max(top, rows.start)
            part = band[f - first : stop - first, r - top : rows.stop - top, columns]
            n_frames, n_rows, _ = part.shape
            out[f - start : f - start + n_frames, r - rows.start : r - rows.start + n_rows] = part
        return out

    def _band(self, first: int, top: int) -> npt.NDArray[Any]:
        """Whole rows of a few frames, corrected."""
        stop, bottom = min(first + _TOGETHER, self.scan.n_frames), min(top + _BAND_ROWS, self.scan.n_rows)
        rows, columns = slice(top, bottom), slice(0, self.scan.n_columns)
        assert self.correction is not None
        return self._apply(windowed(self.correction, rows, columns), first, stop, rows, columns)

    def _around(self, rows: slice, columns: slice) -> tuple[slice, slice] | None:
        """The part of a frame to correct for this one; None for the whole frame, which is kept."""
        assert self.correction is not None
        if not self.correction.destripes:
            return rows, columns
        sides = self.scan.n_rows, self.scan.n_columns
        wide = self.correction.surroundings(rows, columns, sides) if self._near_enough else None
        is_large = wide is None or math.prod(w.stop - w.start for w in wide) > _LARGE_PART * math.prod(sides)
        return None if is_large else wide

    def _whole(self, number: int) -> npt.NDArray[Any]:
        assert self.correction is not None
        rows, columns = slice(0, self.scan.n_rows), slice(0, self.scan.n_columns)
        frame: npt.NDArray[Any] = self._apply(self.correction, number, number + 1, rows, columns)[0]
        return frame

    def _apply(self, correction: Correction, start: int, stop: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        frames = self._read(start, stop, rows, columns)
        try:
            corrected: npt.NDArray[Any] = hosted(correction.apply, self._device)(frames)
        except (DamagedInputError, ParameterError) as error:
            raise type(error)(f"{self._name}frames {start} to {stop - 1}: {error}") from error
        return corrected

    def _read(self, start: int, stop: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        frames = self.frames.read(start, stop, rows, columns)
        with self._lock:
            self.n_bytes_read += frames.nbytes
        return frames


def windowed(correction: Correction, rows: slice, columns: slice) -> Correction:
    """The correction of a window of the frame."""
    if correction.flat is None:
        return correction
    return dataclasses.replace(correction, flat=correction.flat[rows, columns])
