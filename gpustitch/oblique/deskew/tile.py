"""Raw frames as a volume that alignment and fusion can ask for boxes."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model import ZYX, Box, Coverage, Frames, ObliqueScan
from gpustitch.oblique.deskew.deoblique import clear_holes, deoblique
from gpustitch.ops.padded import padded

if TYPE_CHECKING:
    from gpustitch.oblique.destripe.correction import Correction

CACHED_FRAMES_BYTES = 1 << 28


class ObliqueTile:
    """Raw frames as a :class:`gpustitch.model.Volume`, de-obliqued on demand.

    Only the frames, rows and columns that a box needs are read. Frames are corrected, in their own type, before
    interpolation. So a box equals the same box of the volume that ``dcimg2oblique`` writes. A correction that
    destripes needs whole frames: the last corrected frames are kept, up to ``cache_bytes``. Several threads may read
    at once. Where ``frames`` skip what they cannot read, such frames leave the coverage when they are first read.

    Parameters
    ----------
    frames
        The camera's frames, already turned so that columns run along the sheet.
    scan
        Geometry of the frames.
    correction
        Correction of each frame before interpolation; None for none.
    cache_bytes
        Bound on the corrected frames kept, in bytes; the last one always stays.

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
        cache_bytes: int = CACHED_FRAMES_BYTES,
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
        self._limit = cache_bytes
        self._cache: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

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
        if self.correction is None:
            return self.frames.read(start, stop, rows, columns)
        pointwise = windowed(self.correction, rows, columns)
        if pointwise is not None:
            return np.stack([pointwise.apply(f) for f in self.frames.read(start, stop, rows, columns)])
        return np.stack([self._whole(number)[rows, columns] for number in range(start, stop)])

    def _whole(self, number: int) -> npt.NDArray[Any]:
        """A whole corrected frame, from the cache if it is there."""
        with self._lock:
            frame = self._cache.get(number)
            if frame is not None:
                self._cache.move_to_end(number)
                return frame
        assert self.correction is not None
        frame = self.correction.apply(self.frames.read(number, number + 1)[0])
        with self._lock:
            self._cache[number] = frame
            while len(self._cache) > 1 and len(self._cache) * frame.nbytes > self._limit:
                self._cache.popitem(last=False)
        return frame


def windowed(correction: Correction, rows: slice, columns: slice) -> Correction | None:
    """The correction of a window of the frame, or None if it depends on the whole frame (destriping)."""
    if correction.destripes:
        return None
    if correction.flat is None:
        return correction
    return dataclasses.replace(correction, flat=correction.flat[rows, columns])
