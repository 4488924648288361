"""The base of all writers of a volume with its pyramid: blocks in, whole files out by tensorstore, memory bounded."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_directory, os_errors
from gpustitch.io.volumes.record import Files, write_record
from gpustitch.io.volumes.sidecar import SIDECAR, Origin, sidecar_of
from gpustitch.io.write.files.closing import Closing
from gpustitch.io.write.files.resumed import feeds, finished_blocks
from gpustitch.io.write.files.sealing import FileStates, Ledger, flush_rest
from gpustitch.io.write.files.unfinished import Unfinished
from gpustitch.io.write.files.whole_files import WholeFiles
from gpustitch.io.write.format import Writing
from gpustitch.io.write.in_flight import InFlight, checked_writers
from gpustitch.io.write.pyramid_layout import (
    DEFAULT_CHUNK,
    DEFAULT_LEVELS,
    block_shape_of,
    check_block,
    check_given,
    checked_levels,
    chunk_within,
    coarser,
    level_shape,
    morton_order,
    triple,
)  # fmt: skip
from gpustitch.io.write.shards import DEFAULT_SHARD_BYTES, checked_shard_bytes, file_shape
from gpustitch.io.write.stores import writing_context
from gpustitch.model import ZYX, Box, Spacing, factors_between, level_factors


class PyramidWriter(Closing):
    """Takes a volume block by block and reduces the pyramid from the blocks while they are in memory.

    Voxels that make a whole file, a chunk or a shard of chunks, go to tensorstore at once. It writes while the caller
    makes the next block. Voxels that do not are kept until their file is whole, so that each file is written once.
    A context manager. All files go into the folder ``.<name>.partial``. The folder becomes ``path`` when the ``with``
    block ends without an error and every write has succeeded; otherwise the folder is removed. Methods may be called
    from several threads. Zeros have no file unless ``write_empty``; the record of files
    (``gpustitch.io.volumes.record``) says so.

    Parameters
    ----------
    path
        Folder to create.
    shape, dtype, spacing
        The volume at full resolution: (z, y, x), one of ``written_types``.
    writing
        How it is written. With a ``journal`` the folder is ``path`` from the beginning, and stays if an error ends the
        run; :meth:`missing` tells which blocks are to come. With a part of a journal this writes into a volume that
        another process has begun and will finish. With ``flush`` each file is on the disk before it is noted, and the
        record keeps checksums.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """

    written_types: ClassVar[tuple[str, ...]]
    codecs: ClassVar[tuple[str, ...]]
    writers: ClassVar[tuple[str, ...]] = ("tensorstore",)

    def __init__(
        self,
        path: str | Path,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        spacing: Spacing,
        writing: Writing,
    ) -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.shape = triple(shape, "shape")
        self.spacing = spacing
        chunk_shape = DEFAULT_CHUNK if writing.chunk_shape is None else writing.chunk_shape
        self.chunk_shape = chunk_within(self.shape, chunk_shape)
        self.levels = checked_levels(DEFAULT_LEVELS if writing.levels is None else writing.levels)
        if self.dtype.name not in self.written_types:
            raise ParameterError(f"`dtype` of a volume is one of {', '.join(self.written_types)}, not {self.dtype}")
        self.factors = level_factors(spacing, self.levels)
        self.block_shape = block_shape_of(self.factors, chunk_shape)
        check_block(self.block_shape, self.shape, self.dtype)
        of_files = writing.codec, writing.shard_bytes, writing.write_empty, writing.writer
        self.codec, self.shard_bytes = self.checked_files(*of_files)
        self._writer = writing.writer or self.writers[0]
        self.file_shapes = [
            file_shape(self.shape, self.chunk_shape, self.dtype.itemsize, factor, self.shard_bytes)
            for factor in self.factors
        ]
        checked_writers(writing.n_writers)
        self._writing = writing
        self._in_flight = InFlight(self.path, writing.in_flight_bytes, "a chunk")
        self._is_part = writing.journal is not None and writing.journal.is_part
        files = zip(self.factors, self.file_shapes, strict=True)
        self._states = [FileStates(level_shape(self.shape, factor), unit) for factor, unit in files]
        self._unfinished = Unfinished(self.dtype)
        self._lock = threading.Lock()  # for the attribute below
        self._given: set[ZYX] = set()
        with contextlib.ExitStack() as stack:
            self._begin(stack)
            self._stack = stack.pop_all()

    def _begin(self, stack: contextlib.ExitStack) -> None:
        """Make the folder and its stores, or take over what an earlier run has left there."""
        writing = self._writing
        if writing.journal is None:
            self._folder = stack.enter_context(atomic_directory(self.path, overwrite=writing.overwrite))
        else:
            self._folder = self.path
            self._folder.mkdir(exist_ok=True)
        self._stores = self._create(self._folder, writing_context(writing.n_writers))
        self._levels, self._keys = tuple(self._stores.values()), tuple(self._stores)
        self._ledger = Ledger(
            self._states,
            self._place,
            lambda level, index: f"{self.path.name}/{self._keys[level]}/{'.'.join(map(str, index))}",
            writing.journal,
            writing.n_writers,
            lambda error: self._in_flight.leave(0, error),
        )
        self._whole = WholeFiles(
            self._states,
            self._ledger,
            self._in_flight,
            self._store,
            write_empty=writing.write_empty,
            seal=writing.flush,
        )
        self.go_on()

    @property
    def _beside_um(self) -> Origin | None:
        """The place of the first voxel, for the sidecar of a format whose description has no room for it."""
        return None

    @abstractmethod
    def _create(self, folder: Path, context: Any) -> Mapping[str, Any]:
        """Write the description of the volume into the empty folder; the levels' tensorstores (z, y, x) by folder."""

    def _describe(self, file: Path, content: Mapping[str, Any]) -> None:
        """Write a description of the volume, unless another process has done so."""
        if not self._is_part:
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _conclude(self) -> None:  # most formats say everything at the beginning
        """Describe what only the written voxels tell."""

    @classmethod
    def checked_files(
        cls, codec: str | None, shard_bytes: int | None, write_empty: bool, writer: str | None = None
    ) -> tuple[str, int]:
        """``codec`` and ``shard_bytes``, or the defaults; ParameterError if the format has no such files."""
        if writer is not None and writer not in cls.writers:
            raise ParameterError(f"`writer` is {', '.join(cls.writers)}, not {writer}")
        if codec is not None and codec not in cls.codecs:
            raise ParameterError(f"`codec` is {', '.join(cls.codecs)}, not {codec}")
        return codec or cls.codecs[0], DEFAULT_SHARD_BYTES if shard_bytes is None else checked_shard_bytes(shard_bytes)

    @abstractmethod
    def _file(self, level: int, index: ZYX) -> str:
        """The path, below the level's folder, of a file on the grid."""

    def _record(self) -> Mapping[str, Files]:
        """By the levels' folders their files, as :func:`gpustitch.io.volumes.record.write_record` asks."""
        return dict(zip(self._stores, (state.files for state in self._states), strict=True))

    def _store(self, level: int, box: Box, voxels: npt.NDArray[Any], *, may_refer: bool) -> Any:
        """Hand the voxels of a file to tensorstore: its futures, or None if the file is written.

        ``may_refer`` says that the voxels stay as they are; otherwise they are copied.
        """
        return self._levels[level][box.slices()].write(voxels, can_reference_source_data_indefinitely=may_refer)

    def go_on(self) -> None:
        """Take over the files that the journal knows; call it before any block is given."""
        self._unfinished.close()
        self._ledger.resume([self._folder / key for key in self._keys])
        self._feed()

    def blocks(self) -> Iterator[Box]:
        """All blocks of the volume, in the order that completes coarse chunks soonest (a Morton curve).

        Memory then holds few unfinished chunks: about one per level and worker.
        """
        grid = triple([-(-n // b) for n, b in zip(self.shape, self.block_shape, strict=True)], "grid")
        whole = Box.of_shape(self.shape)
        for index in morton_order(grid):
            start = [i * b for i, b in zip(index, self.block_shape, strict=True)]
            yield Box.of_shape(self.block_shape, start).intersect(whole)

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a box of whole blocks that no earlier run has written, and that may be given; few large ones."""
        had = self._had[self._blocks_of(box)]
        if not had.any():
            yield box
        elif not had.all():
            yield from (block for block in box.blocks(self.block_shape) if not self._had[self._blocks_of(block)].all())

    def _blocks_of(self, box: Box) -> tuple[slice, slice, slice]:
        z, y, x = (slice(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, self.block_shape, strict=True))
        return z, y, x

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
        self.write_levels(box, self.reduced(voxels), release)

    def reduced(self, voxels: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The voxels of a box of whole blocks on all levels, fine to coarse; on a device if they lie there."""
        return list(itertools.accumulate(range(1, self.levels), self._halved, initial=voxels))

    def _halved(self, voxels: npt.NDArray[Any], level: int) -> npt.NDArray[Any]:
        """The voxels of a level, of those of the finer one before it."""
        return self._writing.downsample(voxels, factors=factors_between(*self.factors[level - 1 : level + 1]))

    def write_levels(
        self, box: Box, levels: Sequence[npt.NDArray[Any]], release: Callable[[], None] | None = None
    ) -> None:
        """Like :meth:`write`, with voxels that are :meth:`reduced` already."""
        voxels = levels[0]
        self._check(box, voxels)
        self._claim(box)
        for level in range(1, self.levels):
            self._collect(level, coarser(box, self.factors[level]), levels[level])
        if self._is_whole(box):
            self._whole.hand_over(0, box, voxels, release)
            return
        self._collect(0, box, voxels)
        if release is not None:
            release()

    def skip(self, box: Box) -> None:
        """Say that a box of whole blocks holds only zeros; no voxels are written for the box."""
        self._check(box, None)
        self._claim(box)
        for level, factor in enumerate(self.factors):
            self._collect(level, coarser(box, factor), None)

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            self._finish()
        self._in_flight.wait_for_all()
        self._ledger.close()
        self._unfinished.close()
        if error is not None:
            raise error
        self._in_flight.raise_failure()
        if self._is_part:
            return
        with os_errors(self.path):
            self._conclude()
            write_record(self._folder, self._record())
            if self._writing.flush:
                flush_rest(self._folder)

    def _finish(self) -> None:
        if self._is_part:  # files that are not whole are made of finer ones, when all of these are there
            return
        if (sidecar := sidecar_of(self._writing.sidecar, self._beside_um)) is not None:
            (self._folder / SIDECAR).write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")
        for level, file, voxels in self._unfinished.drained():
            self._complete(level, file, voxels)
        if self._writing.write_empty:
            self._in_flight.wait_for_all()
            self._fill()

    def _fill(self) -> None:
        """Write zeros in all files that have no voxels yet."""
        for level, state in enumerate(self._states):
            for z, y, x in np.argwhere(~state.files.there).tolist():
                file = state.box((z, y, x))
                self._whole.hand_over(level, file, np.zeros(file.shape, self.dtype))

    def _is_whole(self, box: Box) -> bool:
        """Whether a box of level 0 consists of whole files."""
        ends = zip(box.start, box.stop, self.file_shapes[0], self.shape, strict=True)
        return all(start % unit == 0 and (stop % unit == 0 or stop == size) for start, stop, unit, size in ends)

    def _check(self, box: Box, voxels: npt.NDArray[Any] | None) -> None:
        check_given(self.path, box, voxels, self.block_shape, self.shape, self.dtype)

    def _claim(self, box: Box) -> None:
        starts = {block.start for block in box.blocks(self.block_shape)}
        with self._lock:
            if self._given & starts or self._had[self._blocks_of(box)].any():
                raise ParameterError(f"{self.path}: blocks of {box} were written before")
            self._given |= starts

    def _place(self, level: int, index: ZYX) -> Path:
        return self._folder / self._keys[level] / self._file(level, index)

    def _feed(self) -> None:
        """Find the blocks that an earlier run has finished, and begin coarse files with what they hold."""
        found = finished_blocks(self._states, self.factors, self.block_shape)
        self._had = found >= 0
        if self._is_part:  # whoever finishes the volume makes the files that parts share
            return
        for level, box in feeds(self._states, self.factors, found, self.block_shape):
            coarse = self._levels[level][coarser(box, self.factors[level]).slices()].read().result()
            for above in range(level + 1, self.levels):
                coarse = self._halved(coarse, above)
                self._collect(above, coarser(box, self.factors[above]), coarse)

    def _collect(self, level: int, box: Box, voxels: npt.NDArray[Any] | None) -> None:
        """Add a piece of a level (None: zeros) and write the files that it completes."""
        state = self._states[level]
        for piece in box.blocks(state.unit):
            index = state.index(piece)
            if state.is_done[index]:
                continue
            part = None if voxels is None else voxels[piece.slices(box.start)]
            file = state.box(index)
            if piece == file:
                self._complete(level, file, part, is_shared=True)
                continue
            is_complete, made = self._unfinished.add(level, file, piece, part)
            if is_complete:
                self._complete(level, file, made)

    def _complete(self, level: int, file: Box, voxels: npt.NDArray[Any] | None, *, is_shared: bool = False) -> None:
        """Write a whole file; the array of one that is not shared is used again."""
        if voxels is None:
            if not self._writing.write_empty:  # else the end writes what is not there
                self._ledger.empty(level, [file])
        else:
            after = None if is_shared else functools.partial(self._unfinished.free, voxels)
            self._whole.hand_over(level, file, voxels, after=after)
