"""The files of the chunks of an unsharded precomputed scale: their names, their layouts, and what compresses them."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs

from gpustitch.errors import DamagedInputError
from gpustitch.io.volumes.presence import Index, check_presence
from gpustitch.io.volumes.record import FileRecord
from gpustitch.model import ZYX, Box

_BOUNDS = r"(-?\d+--?\d+)"
# Names with other suffixes look like chunks, but no place of the grid has such a name.
_NAME = re.compile(rf"{_BOUNDS}([_/]){_BOUNDS}\2{_BOUNDS}((?:\.\w+)?)")
_SUFFIXES = ("", ".gz", ".br", ".zstd")
# Neuroglancer and cloud-volume put all files into one folder, neuroglancer-scripts also into a folder for x and for y.
_KINDS = tuple((separator, suffix) for separator in "_/" for suffix in _SUFFIXES)


class ChunkPart(NamedTuple):
    """What a box and a chunk share: number and shape of the chunk, and where the voxels lie in it and in the box."""

    number: ZYX
    shape: ZYX
    of_chunk: tuple[slice, slice, slice]
    of_box: tuple[slice, slice, slice]


class ChunkNames:
    """Names of the chunk files of a scale, a :class:`gpustitch.io.volumes.presence.Naming`.

    Parameters
    ----------
    scale
        The scale's description in the volume's ``info``.
    """

    def __init__(self, scale: dict[str, Any]) -> None:
        x, y, z = (int(n) for n in scale["size"])
        self._whole = Box.of_shape((z, y, x))
        x, y, z = (int(n) for n in scale["chunk_sizes"][0])
        self.chunk_shape: ZYX = (z, y, x)
        x, y, z = (int(n) for n in scale.get("voxel_offset", (0, 0, 0)))
        offset: ZYX = (z, y, x)
        self.axes = [
            {f"{at + start}-{at + min(start + step, size)}": i for i, start in enumerate(range(0, size, step))}
            for at, step, size in zip(offset, self.chunk_shape, self._whole.shape, strict=True)
        ]
        self._bounds = [list(axis) for axis in self.axes]

    def split(self, name: str) -> tuple[Sequence[str], int] | None:
        """As :class:`gpustitch.io.volumes.presence.Naming` says."""
        plain = name.split("_")
        if len(plain) == 3 and plain[2] in self.axes[0]:  # most are: no need to look closer
            return plain[::-1], 1
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        x, separator, y, z, suffix = match.groups()
        if suffix not in _DECODE:
            return (name,), 0
        return (z, y, x), _KINDS.index((separator, suffix)) + 1

    def name(self, index: Index, kind: int = 1) -> str:
        """As :class:`gpustitch.io.volumes.presence.Naming` says."""
        separator, suffix = _KINDS[kind - 1]
        z, y, x = (bounds[i] for bounds, i in zip(self._bounds, index, strict=True))
        return separator.join((x, y, z)) + suffix

    def chunks(self, index: Index) -> Iterator[Box]:
        """The voxels of the one chunk in a file."""
        corner = [i * n for i, n in zip(index, self.chunk_shape, strict=True)]
        yield Box.of_shape(self.chunk_shape, corner).intersect(self._whole)


class ChunkFiles(ChunkNames):
    """The chunk files of one scale; their folder is listed when the object is made.

    Parameters
    ----------
    volume
        The volume's folder.
    scale
        The scale's description in the volume's ``info``.
    record
        The volume's record of files; None if there is none.
    allow_missing
        Take missing files for chunks of zeros.

    Attributes
    ----------
    n_due, n_missing
        Number of files that there should be, and how many of them are missing.
    is_plain
        Whether all files lie in the one folder, uncompressed.

    Raises
    ------
    DamagedInputError
        If files are missing, or are of another layout.
    """

    def __init__(self, volume: Path, scale: dict[str, Any], record: FileRecord | None, *, allow_missing: bool) -> None:
        super().__init__(scale)
        self.folder = volume / scale["key"]
        recorded = None if record is None else record.written.get(scale["key"])
        found = check_presence(self.folder, self, recorded, allow_missing=allow_missing)
        self._kinds = found.kinds
        self.n_due, self.n_missing = found.n_due, found.n_missing
        self.is_plain = int(found.kinds.max(initial=0)) <= 1

    def parts(self, box: Box) -> Iterator[ChunkPart]:
        """The parts of ``box``, which lies in the volume, that lie in one chunk each, z slowest."""
        bounds = zip(box.start, box.stop, self.chunk_shape, self._whole.stop, strict=True)
        for z, y, x in itertools.product(*(list(_parts(*of_axis)) for of_axis in bounds)):
            yield ChunkPart((z[0], y[0], x[0]), (z[1], y[1], x[1]), (z[2], y[2], x[2]), (z[3], y[3], x[3]))

    def file(self, index: Index) -> tuple[Path, str] | None:
        """The file of a chunk and the suffix that says how it is compressed; None for a chunk of zeros."""
        kind = int(self._kinds[index])
        return (self.folder / self.name(index, kind), _KINDS[kind - 1][1]) if kind else None


def chunk_name(chunk: Box) -> str:
    """The name that Neuroglancer gives the uncompressed file of a chunk."""
    bounds = zip(chunk.start[::-1], chunk.stop[::-1], strict=True)
    return "_".join(f"{start}-{stop}" for start, stop in bounds)


def _parts(start: int, stop: int, length: int, end: int) -> Iterator[tuple[int, int, slice, slice]]:
    """As ``ChunkPart``, along one axis of ``end`` voxels; chunks at its end are smaller than ``length``."""
    for i in range(start // length, -(-stop // length)):
        first = i * length
        a, b = max(start, first), min(stop, first + length)
        yield i, min(length, end - first), slice(a - first, b - first), slice(a - start, b - start)


def decompressed(file: Path, suffix: str, most: int) -> bytes:
    """The content of a chunk file with this suffix, of at most so many bytes.

    Raises
    ------
    DamagedInputError
        If it cannot be read or decompressed, or is larger.
    """
    try:
        return bytes(_DECODE[suffix](file.read_bytes(), most))
    except OSError as error:
        raise DamagedInputError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, RuntimeError, zlib.error) as error:
        raise DamagedInputError(
            f"{file} cannot be decompressed to a chunk, which is at most {most} bytes: {error}"
        ) from error


def _gunzipped(data: bytes, most: int) -> bytes:
    """The content of all members of a gzip file; what is larger than ``most`` is not unpacked."""
    found = b""
    while data:
        member = zlib.decompressobj(wbits=31)
        found += member.decompress(data, most - len(found) + 1)
        if len(found) > most:
            raise ValueError("there is more")
        if not member.eof:
            raise EOFError("it ends early")
        data = member.unused_data.lstrip(b"\0")
    return found


_DECODE: Mapping[str, Callable[[bytes, int], Any]] = {
    "": lambda data, most: data,
    ".gz": _gunzipped,
    ".br": lambda data, most: imagecodecs.brotli_decode(data, out=most),
    ".zstd": lambda data, most: imagecodecs.zstd_decode(data, out=most),
}
