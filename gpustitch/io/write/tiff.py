"""Writing a volume into one TIFF, some planes at a time, with the voxel size where readers look for it."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from gpustitch.errors import OutputError, ParameterError
from gpustitch.io.atomic import atomic_file, os_errors
from gpustitch.io.images.files import TIFF_SUFFIXES, check_compression
from gpustitch.io.write.format import OutputFormat, VolumeOutput, Writing
from gpustitch.io.write.pyramid_writer import IN_FLIGHT_BYTES, N_WRITERS, checked_writers
from gpustitch.io.write.slab_writer import SlabWriter
from gpustitch.model import ZYX, Spacing

METADATA = ("imagej", "ome")
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_OME_TYPES = (*_IMAGEJ_TYPES, "int16", "uint32", "float64")
_STRIP_BYTES = 1 << 18  # of a compressed plane: a reader need not hold much more than it asks for
_CLASSIC_BYTES = (1 << 32) - (1 << 26)  # offsets of a classic TIFF have 32 bits; some are taken by its directories


_COMPLETE, _STOP = object(), object()  # in the queue of strips: there are no more, or the volume is given up


class _Stopped(Exception):
    """The volume is given up: the thread that writes ends."""


class TiffVolumeWriter(SlabWriter):
    """Writes one TIFF, a page for each plane, from slabs of whole planes given in order.

    Use it as a context manager. The file is ``.<name>.partial`` until the ``with`` block ends without an error.
    Slabs are compressed by ``n_writers`` threads and written by one more, while the next ones are computed. A file that
    has its name is on the disk, whole even after a power cut.

    Parameters
    ----------
    path
        The file. A name that ends in ``.ome.tif`` or ``.ome.tiff`` has OME metadata.
    shape, dtype, spacing
        The volume: (z, y, x); uint8, uint16 and float32, with OME metadata also int16, uint32 and float64.
    metadata
        ``imagej`` or ``ome``; None for what suits: ImageJ, as long as ImageJ itself can open the file (its types, and
        less than 4 GiB), otherwise OME. Files that may grow beyond 4 GiB are BigTIFF, which ImageJ opens only
        through Bio-Formats: it reads OME metadata.
    compression
        Level 1 to 9 of zlib's Deflate; 0 for none.
    sidecar
        Written as JSON to ``<name>.json`` beside the file.
    overwrite
        Replace the file if it exists (when the new one is complete).
    n_writers
        Number of threads that compress.
    in_flight_bytes
        Bound on the voxels handed over and not yet written, or one slab; ``write`` waits for its turn.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If the file exists or cannot be created.
    """

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        *,
        metadata: str | None = None,
        compression: int = 0,
        sidecar: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        n_writers: int = N_WRITERS,
        in_flight_bytes: int = IN_FLIGHT_BYTES,
    ) -> None:
        super().__init__(path, shape, dtype, spacing, sidecar, overwrite)
        self.big = math.prod(self.shape) * self.dtype.itemsize > _CLASSIC_BYTES
        self.metadata = self._kind_of_metadata(metadata)
        check_compression(compression)
        self._compression = compression
        self._rows = max(1, min(self.shape[1], _STRIP_BYTES * self.shape[1] // max(1, self._plane_bytes)))
        self._limit, self._in_flight = in_flight_bytes, 0
        self._error: BaseException | None = None
        self._turn = threading.Condition()
        self._strips: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._check_sidecar()
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(atomic_file(self.path, overwrite=overwrite))
            self._pool = stack.enter_context(ThreadPoolExecutor(checked_writers(n_writers), "gpustitch-tiff"))
            self._thread = threading.Thread(target=self._run, name="gpustitch-tiff-write", daemon=True)
            self._thread.start()
            self._stack = stack.pop_all()

    def _kind_of_metadata(self, metadata: str | None) -> str:
        named_ome = self.path.name.lower().endswith((".ome.tif", ".ome.tiff"))
        if metadata is None:
            metadata = "ome" if named_ome or self.big or self.dtype.name not in _IMAGEJ_TYPES else "imagej"
        if metadata not in METADATA:
            raise ParameterError(f"the metadata of a TIFF are {' or '.join(METADATA)}, not {metadata}")
        if named_ome and metadata != "ome":
            raise ParameterError(f"{self.path} is named as OME-TIFF; give it another name for {metadata} metadata")
        if self.big and metadata == "imagej":
            raise ParameterError(f"{self.path} may grow beyond 4 GiB, which ImageJ cannot open; choose ome metadata")
        types = _IMAGEJ_TYPES if metadata == "imagej" else _OME_TYPES
        if self.dtype.name not in types:
            raise ParameterError(f"a TIFF with {metadata} metadata holds {', '.join(types)} voxels, not {self.dtype}")
        return metadata

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closed:
            return
        self._closed = True
        with self._stack:
            # Raised in here, an error makes the stack remove the partial file.
            try:
                if error is None:
                    self._zeros(self.shape[0] - self._next)
                    self._strips.put(_COMPLETE)
            finally:
                self._strips.put(_STOP)
                self._thread.join()
            if error is not None:
                raise error
            self._raise_failure()
        self._write_sidecar()

    def _hand_over(self, voxels: npt.NDArray[Any], release: Callable[[], None] | None) -> None:
        """Queue the strips of the planes, waiting while too many bytes are on their way; then what to call."""
        size = voxels.nbytes
        with self._turn:
            self._turn.wait_for(
                lambda: self._error is not None or not self._in_flight or self._in_flight + size <= self._limit
            )
            self._in_flight += size
        self._raise_failure()
        rows = self._rows if self._compression else self.shape[1]
        for plane in voxels:
            for row in range(0, self.shape[1], rows):
                self._strips.put(self._pool.submit(self._encoded, plane[row : row + rows]))
            self._strips.put(self._plane_bytes)
        if release is not None:
            self._strips.put(release)

    def _encoded(self, strip: npt.NDArray[Any]) -> bytes:
        data = strip.astype(strip.dtype.newbyteorder("<"), copy=False).tobytes()
        return data if self._compression == 0 else bytes(imagecodecs.deflate_encode(data, self._compression))

    def _run(self) -> None:
        """Write the file; runs in a thread of its own, because tifffile takes the planes from an iterator."""
        try:
            self._write_file()
        except BaseException as error:
            with self._turn:
                self._error = error
                self._turn.notify_all()

    def _write_file(self) -> None:
        kind: dict[str, Any] = {"imagej": self.metadata == "imagej", "ome": self.metadata == "ome"}
        # ImageJ counts in the unit of its description, others in one of those that TIFF knows.
        unit, unit_um = ("none", 1.0) if self.metadata == "imagej" else ("centimeter", 1e4)
        # With one column tifffile would take ImageJ's rows for columns, unless told that a pixel has one sample.
        shape = (*self.shape, 1) if self.metadata == "imagej" else self.shape
        options: dict[str, Any] = (
            {"compression": "adobe_deflate", "rowsperstrip": self._rows} if self._compression else {}
        )
        with tifffile.TiffWriter(self._file, bigtiff=self.big, byteorder="<", **kind) as tiff:
            strips = self._in_turn()
            tiff.write(
                itertools.chain(strips),  # which, other than a generator, is not closed when tifffile has enough
                shape=shape,
                dtype=self.dtype.newbyteorder("<"),
                photometric="minisblack",
                resolution=(unit_um / self.spacing.x_um, unit_um / self.spacing.y_um),
                resolutionunit=unit,
                metadata=tiff_metadata(self.spacing, self.metadata),
                **options,
            )
            # It asked for no more than it needed: what follows the last strip is still to be taken.
            next(strips, None)
        descriptor = os.open(self._file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _in_turn(self) -> Iterator[Any]:
        """The strips as they come; when the next one is asked for, those before it are in the file."""
        while (item := self._strips.get()) is not _COMPLETE:
            if item is _STOP:
                raise _Stopped
            if isinstance(item, Future):
                yield item.result()
            elif callable(item):
                item()
            else:
                with self._turn:
                    self._in_flight -= item
                    self._turn.notify_all()

    def _raise_failure(self) -> None:
        if self._error is None or isinstance(self._error, _Stopped):
            return
        try:
            with os_errors(self.path):
                raise self._error
        except OutputError:
            raise
        except BaseException as error:
            raise OutputError(f"{self.path}: a plane could not be written: {error}") from error


def tiff_metadata(spacing: Spacing, kind: str) -> dict[str, Any]:
    """What tifffile writes as the description of a volume (z, y, x): ``imagej`` or ``ome``."""
    if kind == "imagej":
        return {"axes": "ZYXS", "spacing": spacing.z_um, "unit": "um"}
    sizes = zip("ZYX", spacing.zyx_um, strict=True)
    lengths = {f"PhysicalSize{axis}": size for axis, size in sizes}
    return {"axes": "ZYX", **lengths, **{f"{name}Unit": "µm" for name in lengths}}


class TiffOutput(OutputFormat):
    """One TIFF of a page for each plane."""

    name, title = "tiff", "TIFF"
    suffixes = (*TIFF_SUFFIXES, *(f".ome{suffix}" for suffix in TIFF_SUFFIXES))
    takes = frozenset({"compression"})
    in_order = True
    is_image = True

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        compression = writing.compression or 0
        return TiffVolumeWriter(path, shape, dtype, spacing, compression=compression, **writing.shared)
