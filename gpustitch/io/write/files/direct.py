"""Shards of raw chunks, written without tensorstore: each voxel is copied once, and files go past the page cache.

Format: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/sharded.md
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gpustitch.io.partial import flush
from gpustitch.io.sums import crc32_of
from gpustitch.io.volumes.shard_files import morton_parts
from gpustitch.io.write.files.unfinished import has_any
from gpustitch.model import ZYX, Box

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing goes past the cache there
    fcntl = None  # type: ignore[assignment]

_PAGE = mmap.PAGESIZE
_PAST_CACHE = getattr(os, "O_DIRECT", 0)


class Written:
    """A file on its way, as tensorstore tells of its own: voxels are free once it is written."""

    def __init__(self, sums: Future[tuple[int, int]]) -> None:
        self.copy = self.commit = sums


class DirectShards:
    """Writes whole shards of one volume on threads of its own.

    Parameters
    ----------
    scales
        Descriptions of the levels in the volume's ``info``: chunks are raw, and their numbers are not hashed.
    n_threads
        Number of files at a time; each takes the memory of a chunk.
    flush
        Wait until a file is on the disk.
    """

    def __init__(self, scales: Sequence[Mapping[str, Any]], n_threads: int, *, flush: bool) -> None:
        self._layouts = [ShardLayout(scale) for scale in scales]
        self._pool = ThreadPoolExecutor(n_threads, "gpustitch-direct")
        self._flush = flush
        self._lock = threading.Lock()  # for the attribute below
        self._free: list[mmap.mmap] = []

    def write(self, path: Path, level: int, box: Box, voxels: npt.NDArray[Any]) -> Written:
        """Write the shard of the voxels (z, y, x) of ``box``, which must not change before; size and CRC-32 to come."""
        return Written(self._pool.submit(self._write, path, self._layouts[level], box, voxels))

    def close(self) -> None:
        """Wait for all files, and give the memory back."""
        self._pool.shutdown()
        self._free.clear()

    def _write(self, path: Path, layout: ShardLayout, box: Box, voxels: npt.NDArray[Any]) -> tuple[int, int]:
        with self._buffer(layout.chunk_size * voxels.itemsize) as buffer, Stream(path, buffer) as stream:
            layout.write(stream, box, voxels)
        if self._flush:
            flush(path)
        return stream.n_bytes, stream.crc32

    @contextlib.contextmanager
    def _buffer(self, n_bytes: int) -> Iterator[mmap.mmap]:
        """Memory for a :class:`Stream`; it is used again, as fresh memory costs more than a copy."""
        with self._lock:
            buffer = self._free.pop() if self._free else None
        buffer = buffer or mmap.mmap(-1, (n_bytes // _PAGE + 2) * _PAGE)
        try:
            yield buffer
        finally:
            with self._lock:
                self._free.append(buffer)


class Stream:
    """A new file that is written from its beginning to its end, in whole pages past the cache where that goes.

    Parameters
    ----------
    path
        Of the file.
    buffer
        Memory that begins at a page, of at least a page more than the longest piece.

    Attributes
    ----------
    n_bytes, crc32
        Of all pieces until now.
    """

    def __init__(self, path: Path, buffer: mmap.mmap) -> None:
        self.n_bytes = self.crc32 = 0
        self._descriptor = _opened(path)
        self._content = memoryview(buffer)
        self._at = 0  # bytes in the file
        self._waiting = 0  # bytes at the beginning of the memory, less than a page

    def room(self, n_bytes: int) -> memoryview:
        """Memory for the next piece, to be :meth:`put`."""
        return self._content[self._waiting : self._waiting + n_bytes]

    def put(self, piece: memoryview) -> None:
        """Write what was put into :meth:`room`."""
        self.crc32 = crc32_of(piece, self.crc32)
        self.n_bytes += len(piece)
        self._waiting += len(piece)
        n_whole = self._waiting // _PAGE * _PAGE
        self._write(n_whole)
        self._waiting -= n_whole
        self._content[: self._waiting] = self._content[n_whole : n_whole + self._waiting]

    def add(self, data: bytes) -> None:
        """Write a piece of any length."""
        most = len(self._content) - _PAGE
        for start in range(0, len(data), most):
            part = data[start : start + most]
            room = self.room(len(part))
            room[:] = part
            self.put(room)

    def _write(self, n_bytes: int) -> None:
        done = 0
        while done < n_bytes:
            try:
                n = os.pwrite(self._descriptor, self._content[done:n_bytes], self._at + done)
            except OSError as error:
                if error.errno != errno.EINVAL or not _use_cache(self._descriptor):
                    raise
                continue
            if n % _PAGE:  # the rest of a page cannot go past the cache
                _use_cache(self._descriptor)
            done += n
        self._at += done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._waiting:
                self._write(_PAGE)
                os.ftruncate(self._descriptor, self.n_bytes)
        finally:
            os.close(self._descriptor)


class ShardLayout:
    """How the shards of a scale lie in their files: where indexes are, the chunks, an index for each minishard.

    Parameters
    ----------
    scale
        Description of the scale in the volume's ``info``: chunks are raw, and their numbers are not hashed.
    """

    def __init__(self, scale: Mapping[str, Any]) -> None:
        x, y, z = (int(n) for n in scale["chunk_sizes"][0])
        self._chunk: ZYX = z, y, x
        self._numbers = morton_parts([-(-int(n) // c) for n, c in zip(scale["size"], (x, y, z), strict=True)])
        sharding = scale["sharding"]
        self._preshift, self._n_minishards = int(sharding["preshift_bits"]), 1 << int(sharding["minishard_bits"])
        self.chunk_size = math.prod(self._chunk)

    def write(self, stream: Stream, box: Box, voxels: npt.NDArray[Any]) -> None:
        """Write the shard of the voxels (z, y, x) of ``box``. Zeros have no chunk."""
        chunks = [(number, voxels[part.slices(box.start)]) for number, part in self._ordered(box)]
        chunks = [(number, part) for number, part in chunks if has_any(part)]
        heads, indexes = self._indexes([number for number, _ in chunks], [part.nbytes for _, part in chunks])
        stream.add(heads)
        kind = voxels.dtype.newbyteorder("<")
        for _, part in chunks:
            room = stream.room(part.nbytes)
            np.frombuffer(room, kind).reshape(part.shape)[...] = part
            stream.put(room)
        stream.add(indexes)

    def _ordered(self, box: Box) -> list[tuple[int, Box]]:
        """The chunks of a box and their numbers, in the order of the numbers."""
        found = []
        for part in box.blocks(self._chunk):
            of_axes = zip(self._numbers, part.start[::-1], self._chunk[::-1], strict=True)
            found.append((sum(int(numbers[start // n]) for numbers, start, n in of_axes), part))
        return sorted(found, key=lambda chunk: chunk[0])

    def _indexes(self, numbers: Sequence[int], sizes: Sequence[int]) -> tuple[bytes, bytes]:
        """Where the minishards' indexes begin and end, and these: numbers, gaps and sizes (3, n) of chunks in a row.

        Places count from the end of the first of the two. Numbers, and the gaps before chunks, are differences.
        """
        ends = np.cumsum(sizes, dtype=np.uint64)
        of_chunk = np.array(numbers, np.uint64) >> np.uint64(self._preshift) & np.uint64(self._n_minishards - 1)
        at = int(ends[-1])
        heads, indexes = [], []
        for minishard in range(self._n_minishards):
            here = of_chunk == minishard
            index = np.zeros((3, int(here.sum())), "<u8")
            index[0] = np.diff(np.array(numbers, np.uint64)[here], prepend=np.uint64(0))
            index[2] = np.array(sizes, np.uint64)[here]
            index[1, :1] = (ends[here] - index[2])[:1]  # chunks of a minishard lie side by side
            heads += [at, at + index.nbytes]
            indexes.append(index.tobytes())
            at += index.nbytes
        return np.array(heads, "<u8").tobytes(), b"".join(indexes)


def _use_cache(descriptor: int) -> bool:
    """Write through the page cache from now on; False if that is so already."""
    flags = 0 if fcntl is None else fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if not flags & _PAST_CACHE:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~_PAST_CACHE)
    return True


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | _PAST_CACHE, 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that are nothing but a cache
            raise
        return os.open(path, flags, 0o666)
