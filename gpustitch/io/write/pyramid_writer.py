"""The base of all writers of a volume with its pyramid: blocks in, whole chunks out, memory bounded."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_directory, os_errors
from gpustitch.io.partial import flush
from gpustitch.io.volumes.precomputed import SIDECAR
from gpustitch.io.volumes.record import write_record
from gpustitch.io.write.format import Downsample
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES, InFlight
from gpustitch.io.write.pyramid_layout import (
    DEFAULT_CHUNK,
    DEFAULT_LEVELS,
    block_shape_of,
    check_block,
    checked_levels,
    level_shape,
    triple,
)
from gpustitch.model import ZYX, Box, Spacing

N_WRITERS = 2


@dataclass
class _Pending:
    """A chunk of a coarse level that still lacks pieces; ``missing`` counts their voxels."""

    box: Box
    missing: int
    voxels: npt.NDArray[Any] | None = None


class PyramidWriter(ABC):
    """Takes a volume block by block and reduces the pyramid from the blocks while they are in memory.

    A context manager. All files go into the folder ``.<name>.partial``. The folder becomes ``path`` when the ``with``
    block ends without an error and every write has succeeded; otherwise the folder is removed. Methods may be called
    from several threads. A chunk of zeros has no file unless ``write_empty``; the record of files
    (``gpustitch.io.volumes.record``) says so.

    Parameters
    ----------
    path
        Folder to create.
    shape, dtype, spacing
        The volume at full resolution: (z, y, x), one of ``written_types``.
    downsample
        Halves a block on every axis: :func:`gpustitch.ops.pyramid.downsample`.
    levels
        Number of levels; each has half the resolution of the one before on every axis.
    chunk_shape
        Voxels (z, y, x) that are written together: a stored chunk, or a shard of chunks.
    sidecar
        Written as ``gpustitch.json`` into the folder when all voxels are given: until then it may still change.
    overwrite
        Replace ``path`` if it exists (when the new volume is complete).
    n_writers
        Number of chunks written at the same time.
    in_flight_bytes
        Bound on bytes handed over and not yet written; ``write`` waits for room.
    flush
        Wait at the end until every file is on the disk. A failing disk is then noticed, and a volume with its name is
        whole even after a power cut.
    write_empty
        Write chunks of zeros too, for readers to which a missing chunk is an error.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """

    written_types: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        *,
        downsample: Downsample,
        levels: int = DEFAULT_LEVELS,
        chunk_shape: Sequence[int] = DEFAULT_CHUNK,
        sidecar: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        n_writers: int = N_WRITERS,
        in_flight_bytes: int = IN_FLIGHT_BYTES,
        flush: bool = True,
        write_empty: bool = False,
    ) -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        self.shape = triple(shape, "shape")
        self.spacing = spacing
        self.chunk_shape = triple(chunk_shape, "chunk_shape")
        self.levels = checked_levels(levels)
        if self.dtype.name not in self.written_types:
            raise ParameterError(f"`dtype` of a volume is one of {', '.join(self.written_types)}, not {self.dtype}")
        self.block_shape = block_shape_of(self.levels, self.chunk_shape)
        check_block(self.block_shape, self.shape, self.dtype)
        self._downsample = downsample
        self._flush = flush
        self._write_empty = write_empty
        self._sidecar = sidecar
        self._in_flight = InFlight(self.path, in_flight_bytes, "a chunk")
        self._lock = threading.Lock()  # for the attributes below
        self._pending: dict[tuple[int, ZYX], _Pending] = {}
        self._given: set[ZYX] = set()
        self._closed = False
        # Whether a chunk is written; each is set by the one thread that writes the chunk.
        self._written = [np.zeros(self._grid(level), np.bool_) for level in range(self.levels)]
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(atomic_directory(self.path, overwrite=overwrite))
            self._level_names = self._create(self._folder)
            self._pool = stack.enter_context(ThreadPoolExecutor(checked_writers(n_writers), "gpustitch-write"))
            self._stack = stack.pop_all()

    @abstractmethod
    def _create(self, folder: Path) -> Sequence[str]:
        """Write the description of the volume into the empty folder; return the names of the levels' folders."""

    @abstractmethod
    def _store(self, level: int, chunk: Box, voxels: npt.NDArray[Any]) -> None:
        """Write a chunk (smaller at the volume's end), even if it is all zero; called from the writers' threads."""

    def blocks(self) -> Iterator[Box]:
        """All blocks of the volume, in the order that completes coarse chunks soonest (a Morton curve).

        Memory then holds few unfinished chunks: about one per level and worker.
        """
        grid = triple([-(-n // b) for n, b in zip(self.shape, self.block_shape, strict=True)], "grid")
        whole = Box.of_shape(self.shape)
        for index in _morton(grid):
            start = [i * b for i, b in zip(index, self.block_shape, strict=True)]
            yield Box.of_shape(self.block_shape, start).intersect(whole)

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over the voxels of one block, or of a box of whole blocks; returns before the voxels are on the disk.

        The caller must not change the array before ``release`` is called (from any thread); never without ``release``.

        Raises
        ------
        ParameterError
            If the box does not consist of whole blocks, was given before, or does not fit the array.
        OutputError
            If an earlier write failed.
        """
        self._check(box, voxels)
        self._claim(box)
        coarse = voxels
        for level in range(1, self.levels):
            coarse = self._downsample(coarse)
            self._collect(level, _coarser(box, level), coarse)
        self._submit(0, box, voxels, release)

    def skip(self, box: Box) -> None:
        """Say that a box of whole blocks holds only zeros; no voxels are written for the box."""
        self._check(box, None)
        self._claim(box)
        for level in range(1, self.levels):
            self._collect(level, _coarser(box, level), None)

    def close(self) -> None:
        """Wait for all writes and give the volume its name. Blocks that were never given are zero.

        Raises
        ------
        OutputError
            If any write failed; the partial volume is then removed.
        """
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closed:
            return
        self._closed = True
        with self._stack:
            # An error raised inside this block makes the stack remove the partial folder.
            if error is None:
                self._finish()
            self._in_flight.wait_for_all()
            if error is not None:
                raise error
            self._in_flight.raise_failure()
            with os_errors(self.path):
                write_record(self._folder, dict(zip(self._level_names, self._written, strict=True)))
                if self._flush:
                    found = [Path(root, name) for root, _, names in os.walk(self._folder) for name in ("", *names)]
                    list(self._pool.map(flush, found))

    def _finish(self) -> None:
        if self._sidecar is not None:
            (self._folder / SIDECAR).write_text(json.dumps(self._sidecar, indent=1) + "\n", encoding="utf-8")
        for (level, _), pending in sorted(self._pending.items(), key=lambda item: item[0]):
            if pending.voxels is not None:
                self._submit(level, pending.box, pending.voxels)
        self._pending.clear()
        if self._write_empty:
            self._in_flight.wait_for_all()
            self._fill()

    def _fill(self) -> None:
        """Write zeros in all chunks that have no voxels yet."""
        for level, written in enumerate(self._written):
            whole = Box.of_shape(level_shape(self.shape, level))
            for index in np.argwhere(~written):
                corner = [int(i) * n for i, n in zip(index, self.chunk_shape, strict=True)]
                chunk = Box.of_shape(self.chunk_shape, corner).intersect(whole)
                self._submit(level, chunk, np.zeros(chunk.shape, self.dtype))

    def _grid(self, level: int) -> ZYX:
        """Chunks of a level along each axis."""
        z, y, x = (-(-n // c) for n, c in zip(level_shape(self.shape, level), self.chunk_shape, strict=True))
        return z, y, x

    def _check(self, box: Box, voxels: npt.NDArray[Any] | None) -> None:
        for start, stop, block, size in zip(box.start, box.stop, self.block_shape, self.shape, strict=True):
            if start % block or (stop % block and stop != size) or not 0 <= start < stop <= size:
                raise ParameterError(
                    f"{self.path} is written in whole blocks of {self.block_shape} voxels (z, y, x) within "
                    f"{self.shape}, which {box} is not"
                )
        if voxels is not None and (voxels.shape != box.shape or voxels.dtype != self.dtype):
            raise ParameterError(
                f"{self.path} takes {self.dtype} voxels of shape {box.shape} for {box}, "
                f"not {voxels.dtype} of shape {voxels.shape}"
            )

    def _claim(self, box: Box) -> None:
        starts = {block.start for block in box.blocks(self.block_shape)}
        with self._lock:
            if self._given & starts:
                raise ParameterError(f"{self.path}: blocks of {box} were written before")
            self._given |= starts

    def _submit(
        self, level: int, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None
    ) -> None:
        """Queue the chunks of ``box``, waiting while too many bytes are on their way."""
        self._in_flight.enter(voxels.nbytes)
        self._pool.submit(self._write_chunks, level, box, voxels, release)

    def _write_chunks(self, level: int, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None) -> None:
        failure: BaseException | None = None
        try:
            for chunk in box.blocks(self.chunk_shape):
                part = voxels[chunk.slices(box.start)]
                if not self._in_flight.has_failed and (self._write_empty or part.any()):
                    self._store(level, chunk, part)
                    z, y, x = (s // c for s, c in zip(chunk.start, self.chunk_shape, strict=True))
                    self._written[level][z, y, x] = True
            if release is not None:
                release()
        except BaseException as error:
            failure = error
        self._in_flight.leave(voxels.nbytes, failure)

    def _collect(self, level: int, box: Box, voxels: npt.NDArray[Any] | None) -> None:
        """Add a piece of a coarse level (None: zeros) and write the chunks that it completes."""
        whole = Box.of_shape(level_shape(self.shape, level))
        for piece in box.blocks(self.chunk_shape):
            part = None if voxels is None else voxels[piece.slices(box.start)]
            corner = triple([s // c * c for s, c in zip(piece.start, self.chunk_shape, strict=True)], "corner", 0)
            chunk = Box.of_shape(self.chunk_shape, corner).intersect(whole)
            if piece != chunk:
                part = self._assemble(level, chunk, piece, part)
            if part is not None and part.any():
                self._submit(level, chunk, part)

    def _assemble(self, level: int, chunk: Box, piece: Box, part: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        """Put a piece into its chunk; return the voxels of a now complete chunk unless all are zero."""
        key = (level, chunk.start)
        with self._lock:
            pending = self._pending.setdefault(key, _Pending(chunk, chunk.size))
            if part is not None:
                if pending.voxels is None:
                    pending.voxels = np.zeros(chunk.shape, self.dtype)
                pending.voxels[piece.slices(chunk.start)] = part
            pending.missing -= piece.size
            return self._pending.pop(key).voxels if pending.missing == 0 else None


def checked_writers(n_writers: int) -> int:
    """``n_writers``, or ParameterError if it is less than 1."""
    if n_writers < 1:
        raise ParameterError(f"`n_writers` must be at least 1, not {n_writers}")
    return n_writers


def _coarser(box: Box, level: int) -> Box:
    z, y, x = (a >> level for a in box.start)
    return Box((z, y, x), level_shape(box.stop, level))


def _morton(grid: ZYX) -> Iterator[ZYX]:
    """Indices of a grid in the order of a Morton (z-order) curve."""

    def walk(corner: ZYX, size: int) -> Iterator[ZYX]:
        if any(c >= n for c, n in zip(corner, grid, strict=True)):
            return
        if size == 1:
            yield corner
            return
        half = size // 2
        for octant in range(8):
            z, y, x = (c + half * (octant >> bit & 1) for c, bit in zip(corner, (2, 1, 0), strict=True))
            yield from walk((z, y, x), half)

    yield from walk((0, 0, 0), 1 << (max(grid) - 1).bit_length())
