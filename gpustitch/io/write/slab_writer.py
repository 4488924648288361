"""The base of writers of one file that take a volume in slabs of whole planes, one after another."""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_file, atomic_record
from gpustitch.io.provenance import json_text
from gpustitch.io.volumes.sidecar import SIDECAR_SCHEMA
from gpustitch.io.write.files.closing import Closing
from gpustitch.io.write.format import Writing
from gpustitch.io.write.in_flight import InFlight, InTurn, Stopped
from gpustitch.io.write.pyramid_layout import triple
from gpustitch.model import ZYX, Box, Spacing

# Slabs have at most this many planes and this many bytes, but at least one plane.
_MOST_PLANES = 64
_SLAB_BYTES = 1 << 26


def slab_shape(shape: ZYX, dtype: np.dtype[Any]) -> ZYX:
    """Shape (z, y, x) of slabs of whole planes that are handed over together: neither many planes nor many bytes."""
    n_planes = max(1, min(_MOST_PLANES, _SLAB_BYTES // max(1, shape[1] * shape[2] * dtype.itemsize)))
    return min(n_planes, shape[0]), shape[1], shape[2]


class SlabWriter(Closing):
    """Takes slabs of whole planes in order; the format's own class encodes and writes them.

    Attributes
    ----------
    path
        The file.
    shape, dtype, spacing
        The volume: (z, y, x); voxels in the machine's byte order.
    block_shape
        Shape of the slabs that :meth:`blocks` gives.
    """

    _threads: ClassVar[str]  # name of a format's threads

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        writing: Writing,
    ) -> None:
        self.path = Path(path)
        self.shape = triple(shape, "shape")
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.spacing = spacing
        self.block_shape = slab_shape(self.shape, self.dtype)
        self._writing = writing
        self._next = 0
        self._order = threading.Lock()
        self._in_flight = InFlight(self.path, writing.in_flight_bytes, "a plane")

    def _start(self, n_writers: int, head: bytes = b"") -> None:
        """Start the threads that make pieces and the one that writes them; ``head`` comes before the planes."""
        with contextlib.ExitStack() as stack:
            overwrite = self._writing.overwrite
            if self._writing.sidecar is not None:  # entered first: it gets its name last
                self._write_sidecar = stack.enter_context(atomic_record(self.path, overwrite=overwrite))
            self._file = stack.enter_context(atomic_file(self.path, overwrite=overwrite))
            self._pool = stack.enter_context(ThreadPoolExecutor(n_writers, self._threads))
            self._pieces = InTurn(self._in_flight, self._pool)
            self._thread = threading.Thread(target=self._run, name=f"{self._threads}-write", daemon=True)
            self._thread.start()
            if head:
                self._hand_over(np.frombuffer(head, np.uint8), None)
            self._stack = stack.pop_all()

    def _run(self) -> None:
        """Write the file: this method runs in a thread of its own, which takes the pieces."""
        try:
            self._write_file()
        except Stopped:
            pass
        except BaseException as error:
            self._in_flight.leave(0, error)

    @property
    def _plane_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    def blocks(self) -> Iterator[Box]:
        """Slabs of whole planes in order; :meth:`write` takes slabs of any thickness."""
        yield from Box.of_shape(self.shape).blocks(self.block_shape)

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over the next planes; returns before the planes are on the disk.

        The caller must not change the array before ``release`` is called (from any thread); never without ``release``.

        Raises
        ------
        ParameterError
            If the box does not consist of whole planes, does not follow the last one, or does not fit the array.
        OutputError
            If an earlier write failed.
        """
        if voxels.dtype != self.dtype or voxels.shape != box.shape:
            raise ParameterError(
                f"{self.path} takes {self.dtype} voxels of shape {box.shape} for {box}, "
                f"not {voxels.dtype} of shape {voxels.shape}"
            )
        with self._order:
            self._advance(box)
            self._hand_over(voxels, release)

    def skip(self, box: Box) -> None:
        """Say that the next planes hold only zeros."""
        with self._order:
            self._advance(box)
            self._zeros(box.shape[0])

    def missing(self, box: Box) -> Iterator[Box]:
        """All of it: a file is begun anew by each run."""
        yield box

    def _end(self, error: BaseException | None) -> None:
        try:
            if error is None:
                self._zeros(self.shape[0] - self._next)
                self._pieces.complete()
        finally:
            self._pieces.stop()
            self._thread.join()
        if error is not None:
            raise error
        self._in_flight.raise_failure()
        if self._writing.sidecar is not None:
            self._write_sidecar(json_text({"schema": SIDECAR_SCHEMA, **self._writing.sidecar}))

    @abc.abstractmethod
    def _write_file(self) -> None:
        """Write the head of the file, all pieces in turn, and the end of the file."""

    @abc.abstractmethod
    def _hand_over(self, voxels: npt.NDArray[Any], release: Callable[[], None] | None) -> None:
        """Queue the pieces of planes (n, y, x), first waiting while too many bytes are on their way."""

    def _advance(self, box: Box) -> None:
        """Check that the box follows the slabs given so far, and count it as given."""
        n_planes, n_rows, n_columns = self.shape
        whole = (box.start[1:], box.stop[1:]) == ((0, 0), (n_rows, n_columns))
        if not whole or box.start[0] != self._next or not self._next < box.stop[0] <= n_planes:
            raise ParameterError(
                f"{self.path} is written in slabs of whole planes, in order: the next begins with plane "
                f"{self._next} of {n_planes}; {box} is no such slab"
            )
        self._next = box.stop[0]

    def _zeros(self, n_planes: int) -> None:
        plane = np.zeros((1, *self.shape[1:]), self.dtype)
        for _ in range(n_planes):
            self._hand_over(plane, None)


def check_samples(samples: int, n_columns: int, dtype: np.dtype[Any]) -> None:
    """ParameterError unless rows of so many values are voxels of one sample, or of three of uint8."""
    if samples not in (1, 3) or n_columns % samples or (samples > 1 and dtype != np.uint8):
        raise ParameterError(
            f"`samples` is {samples} of {dtype}, {n_columns} in a row; a voxel has one value, or three of uint8: red, "
            "green and blue"
        )
