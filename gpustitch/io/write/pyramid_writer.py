"""The base of all writers of a volume with its pyramid: blocks in, whole files out by tensorstore, memory bounded."""

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
    morton_order,
    triple,
)
from gpustitch.io.write.shards import DEFAULT_SHARD_BYTES, checked_shard_bytes, grid_of, shard_shape
from gpustitch.io.write.stores import system_error, writing_context
from gpustitch.model import ZYX, Box, Spacing

N_WRITERS = 2


@dataclass
class _Pending:
    """A file that still lacks pieces; ``missing`` counts their voxels."""

    box: Box
    missing: int
    voxels: npt.NDArray[Any] | None = None


class _Handed:
    """Counts what is left to do with voxels handed over: ``done`` is called once all is done, with the first error."""

    def __init__(self, n: int, done: Callable[[BaseException | None], None]) -> None:
        self._left, self._done = n, done
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def one(self, error: BaseException | None = None) -> None:
        with self._lock:
            self._error = self._error or error
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._done(self._error)


class PyramidWriter(ABC):
    """Takes a volume block by block and reduces the pyramid from the blocks while they are in memory.

    Voxels that make a whole file, a chunk or a shard of chunks, go to tensorstore at once. It writes while the caller
    makes the next block. Voxels that do not are kept until their file is whole, so that each file is written once.
    A context manager. All files go into the folder ``.<name>.partial``. The folder becomes ``path`` when the ``with``
    block ends without an error and every write has succeeded; otherwise the folder is removed. Methods may be called
    from several threads. Nothing but zeros has no file unless ``write_empty``; the record of files
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
        Voxels (z, y, x) of a stored chunk.
    shard_bytes
        About how many bytes of voxels a file holds, at most: :func:`gpustitch.io.write.shards.shard_shape`. 0 gives
        each chunk a file. None for the format's default.
    codec
        How chunks are compressed, one of ``codecs``; None for the first.
    sidecar
        Written as ``gpustitch.json`` into the folder when all voxels are given: until then it may still change.
    overwrite
        Replace ``path`` if it exists (when the new volume is complete).
    n_writers
        Number of files written, and chunks encoded, at the same time.
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
    codecs: ClassVar[tuple[str, ...]]

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
        shard_bytes: int | None = None,
        codec: str | None = None,
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
        self.codec, self.shard_bytes = self.checked_files(codec, shard_bytes, write_empty)
        self._write_empty = write_empty
        self.file_shapes = [
            shard_shape(level_shape(self.shape, level), self.chunk_shape, self.dtype.itemsize, self.shard_bytes)
            for level in range(self.levels)
        ]
        self._n_writers = checked_writers(n_writers)
        self._downsample = downsample
        self._flush = flush
        self._sidecar = sidecar
        self._in_flight = InFlight(self.path, in_flight_bytes, "a chunk")
        self._lock = threading.Lock()  # for the attributes below
        self._pending: dict[tuple[int, ZYX], _Pending] = {}
        self._given: set[ZYX] = set()
        self._closed = False
        # Whether a file is written; each is set by the one thread that hands the file's voxels over.
        self._written = [
            np.zeros(grid_of(level_shape(self.shape, level), unit), np.bool_)
            for level, unit in enumerate(self.file_shapes)
        ]
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(atomic_directory(self.path, overwrite=overwrite))
            self._stores = self._create(self._folder, writing_context(self._n_writers))
            self._levels = tuple(self._stores.values())
            self._stack = stack.pop_all()

    @abstractmethod
    def _create(self, folder: Path, context: Any) -> Mapping[str, Any]:
        """Write the description of the volume into the empty folder; the levels' tensorstores (z, y, x) by folder."""

    @classmethod
    def checked_files(cls, codec: str | None, shard_bytes: int | None, write_empty: bool) -> tuple[str, int]:
        """``codec`` and ``shard_bytes``, or the defaults; ParameterError if the format has no such files."""
        if codec is not None and codec not in cls.codecs:
            raise ParameterError(f"`codec` is {', '.join(cls.codecs)}, not {codec}")
        return codec or cls.codecs[0], DEFAULT_SHARD_BYTES if shard_bytes is None else checked_shard_bytes(shard_bytes)

    def _record(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """By the levels' folders which files are written, as :func:`gpustitch.io.volumes.record.write_record` asks."""
        return dict(zip(self._stores, self._written, strict=True))

    def _store(self, level: int, box: Box, voxels: npt.NDArray[Any], *, may_refer: bool) -> Any:
        """Hand the voxels of a file to tensorstore: its futures, or None if the file is written.

        ``may_refer`` says that the voxels stay as they are; otherwise they are copied.
        """
        return self._levels[level][box.slices()].write(voxels, can_reference_source_data_indefinitely=may_refer)

    def blocks(self) -> Iterator[Box]:
        """All blocks of the volume, in the order that completes coarse chunks soonest (a Morton curve).

        Memory then holds few unfinished chunks: about one per level and worker.
        """
        grid = triple([-(-n // b) for n, b in zip(self.shape, self.block_shape, strict=True)], "grid")
        whole = Box.of_shape(self.shape)
        for index in morton_order(grid):
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
        if self._is_whole(box):
            self._submit(0, box, voxels, release)
            return
        self._collect(0, box, voxels)
        if release is not None:
            release()

    def skip(self, box: Box) -> None:
        """Say that a box of whole blocks holds only zeros; no voxels are written for the box."""
        self._check(box, None)
        self._claim(box)
        for level in range(1 if self._is_whole(box) else 0, self.levels):
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
                write_record(self._folder, self._record())
                if self._flush:
                    found = [Path(root, name) for root, _, names in os.walk(self._folder) for name in ("", *names)]
                    with ThreadPoolExecutor(self._n_writers, "gpustitch-flush") as pool:
                        list(pool.map(flush, found))

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
        """Write zeros in all files that have no voxels yet."""
        for level, (written, unit) in enumerate(zip(self._written, self.file_shapes, strict=True)):
            whole = Box.of_shape(level_shape(self.shape, level))
            for index in np.argwhere(~written):
                corner = [int(i) * n for i, n in zip(index, unit, strict=True)]
                file = Box.of_shape(unit, corner).intersect(whole)
                self._submit(level, file, np.zeros(file.shape, self.dtype))

    def _is_whole(self, box: Box) -> bool:
        """Whether a box of level 0 consists of whole files."""
        ends = zip(box.start, box.stop, self.file_shapes[0], self.shape, strict=True)
        return all(start % unit == 0 and (stop % unit == 0 or stop == size) for start, stop, unit, size in ends)

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
        """Write the files of ``box``, first waiting while too many bytes are on their way."""
        files = [(file, voxels[file.slices(box.start)]) for file in box.blocks(self.file_shapes[level])]
        files = [(file, part) for file, part in files if self._write_empty or part.any()]
        self._in_flight.enter(voxels.nbytes)
        # One more than there are files: what is handed over here must not end before all of it is.
        written = _Handed(len(files) + 1, lambda error: self._in_flight.leave(voxels.nbytes, error))
        copied = _Handed(len(files) + 1, lambda error: None if error or release is None else release())
        for file, part in files:
            self._write_file(level, file, part, written, None if release is None else copied)
        copied.one()
        written.one()

    def _write_file(
        self, level: int, file: Box, voxels: npt.NDArray[Any], written: _Handed, copied: _Handed | None
    ) -> None:
        z, y, x = (s // n for s, n in zip(file.start, self.file_shapes[level], strict=True))
        future, failure = None, None
        try:
            if not self._in_flight.has_failed:
                future = self._store(level, file, voxels, may_refer=copied is None)
                self._written[level][z, y, x] = True
        except BaseException as error:
            failure = system_error(error)
        if future is None:
            written.one(failure)
            if copied is not None:
                copied.one(failure)
            return
        future.commit.add_done_callback(lambda done: written.one(_failure(done)))
        if copied is not None:
            tell = copied.one
            future.copy.add_done_callback(lambda done: tell(_failure(done)))

    def _collect(self, level: int, box: Box, voxels: npt.NDArray[Any] | None) -> None:
        """Add a piece of a level (None: zeros) and write the files that it completes."""
        whole, unit = Box.of_shape(level_shape(self.shape, level)), self.file_shapes[level]
        for piece in box.blocks(unit):
            part = None if voxels is None else voxels[piece.slices(box.start)]
            corner = triple([s // n * n for s, n in zip(piece.start, unit, strict=True)], "corner", 0)
            file = Box.of_shape(unit, corner).intersect(whole)
            if piece != file:
                part = self._assemble(level, file, piece, part)
            if part is not None and part.any():
                self._submit(level, file, part)

    def _assemble(self, level: int, file: Box, piece: Box, part: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
        """Put a piece into its file; return the voxels of a now complete file unless all are zero."""
        key = (level, file.start)
        has_voxels = part is not None and bool(part.any())
        with self._lock:
            pending = self._pending.setdefault(key, _Pending(file, file.size))
            if has_voxels and pending.voxels is None:
                pending.voxels = np.zeros(file.shape, self.dtype)
        if has_voxels:
            # Pieces of one file do not overlap: several threads may copy theirs at the same time.
            pending.voxels[piece.slices(file.start)] = part  # type: ignore[index]
        with self._lock:
            pending.missing -= piece.size
            return self._pending.pop(key).voxels if pending.missing == 0 else None


def _failure(done: Any) -> BaseException | None:
    error = done.exception()
    return None if error is None else system_error(error)


def checked_writers(n_writers: int) -> int:
    """``n_writers``, or ParameterError if it is less than 1."""
    if n_writers < 1:
        raise ParameterError(f"`n_writers` must be at least 1, not {n_writers}")
    return n_writers


def _coarser(box: Box, level: int) -> Box:
    z, y, x = (a >> level for a in box.start)
    return Box((z, y, x), level_shape(box.stop, level))
