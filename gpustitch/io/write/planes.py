"""Writing a volume as a folder of planes, one file each: TIFF or JPEG 2000, numbered along z."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_directory, os_errors
from gpustitch.io.images.files import IMAGEJ_TYPES, check_compression, encode_tiff
from gpustitch.io.images.jp2 import encode_jp2
from gpustitch.io.manifest import SUFFIX, Making, Manifest, Whole, read_manifest
from gpustitch.io.partial import flush
from gpustitch.io.volumes.sidecar import SIDECAR, sidecar_of
from gpustitch.io.write.files.closing import Closing
from gpustitch.io.write.format import OutputFormat, VolumeOutput, Writing
from gpustitch.io.write.in_flight import Handed, InFlight, checked_writers
from gpustitch.io.write.pyramid_layout import triple
from gpustitch.io.write.slab_writer import slab_shape
from gpustitch.model import ZYX, Box, Spacing

PLANES = "planes"  # the format, and the folder in a pipeline's output
CODECS = ("deflate", "none", "jpeg2000")
DEFAULT_COMPRESSION = 3
_TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "float64")
_JP2_TYPES = ("uint8", "uint16")
_LEAST_DIGITS = 5


class PlanesWriter(Closing):
    """Writes each plane of a volume into a file of its own, which appears whole; planes come in any order.

    A context manager. ``z00000.tif`` is the first plane. A manifest beside the files has size and checksum of each, so
    that they can be verified. A TIFF states the voxel size as ImageJ does, where ImageJ knows the type, and as tags.
    JPEG 2000 is lossless and states none. The folder gets its name when all planes are there.

    Parameters
    ----------
    path
        Folder to create.
    shape, dtype, spacing
        The volume: (z, y, x). JPEG 2000 holds uint8 and uint16.
    writing
        How it is written. ``codec`` is ``deflate`` (the default) or ``none`` for TIFF, or ``jpeg2000``; ``compression``
        a level of Deflate, 1 to 9. The sidecar states the place. With a ``journal`` the folder is ``path`` from the
        beginning, and stays if an error ends the run.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be created.
    """

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
        self._encode, suffix = _encoder(self.dtype, spacing, writing.codec, writing.compression)
        checked_writers(writing.n_writers)
        self.block_shape = slab_shape(self.shape, self.dtype)
        digits = max(_LEAST_DIGITS, len(str(self.shape[0] - 1)))
        self._pattern = f"z%0{digits}d{suffix}"
        self._writing, self._journal = writing, writing.journal
        self._given: set[int] = set()
        self._lock = threading.Lock()
        self._in_flight = InFlight(self.path, writing.in_flight_bytes, "a plane")
        settings = {"codec": writing.codec or CODECS[0], "shape": list(self.shape), "dtype": self.dtype.name}
        with contextlib.ExitStack() as stack:
            if self._journal is None:
                self._folder = stack.enter_context(atomic_directory(self.path, overwrite=writing.overwrite))
            else:
                self._folder = self.path
                self._folder.mkdir(exist_ok=True)
            manifest = self._folder / (self._pattern + SUFFIX)
            found = None if self._journal is None else read_manifest(manifest)
            known = {} if found is None else found[1]
            self._had = frozenset(z for z in range(self.shape[0]) if self._is_kept(z, known))
            self._manifest = stack.enter_context(Manifest(manifest, Making(settings, ())))
            self._pool = stack.enter_context(ThreadPoolExecutor(writing.n_writers, "gpustitch-planes"))
            self._stack = stack.pop_all()

    def _is_kept(self, z: int, known: Mapping[str, Whole]) -> bool:
        """Whether an earlier run has finished a plane: journal and manifest say so, and it is there."""
        name = self._pattern % z
        facts = None if self._journal is None else self._journal.found(self._unit(z))
        if facts is None or name not in known:
            return False
        place, of = self._folder / name, known[name]
        there = place.stat().st_size if place.is_file() else -1
        return (facts["n_bytes"], facts["crc32"]) == (of.size_bytes, of.crc32) and there == of.size_bytes

    def _unit(self, z: int) -> str:
        return f"{self.path.name}/{self._pattern % z}"

    def blocks(self) -> Iterator[Box]:
        """Slabs of whole planes in order."""
        yield from Box.of_shape(self.shape).blocks(self.block_shape)

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a slab that no earlier run has written."""
        start = None
        for z in range(box.start[0], box.stop[0] + 1):
            is_due = z < box.stop[0] and z not in self._had
            if is_due and start is None:
                start = z
            elif not is_due and start is not None:
                yield Box((start, *box.start[1:]), (z, *box.stop[1:]))
                start = None

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over whole planes; returns before they are on the disk.

        The caller must not change the array before ``release`` is called (from any thread); never without ``release``.

        Raises
        ------
        ParameterError
            If the box does not consist of whole planes, was given before, or does not fit the array.
        OutputError
            If an earlier write failed.
        """
        if voxels.dtype != self.dtype or voxels.shape != box.shape:
            raise ParameterError(
                f"{self.path} takes {self.dtype} voxels of shape {box.shape} for {box}, "
                f"not {voxels.dtype} of shape {voxels.shape}"
            )
        planes = self._claim(box)
        left = Handed(len(planes), lambda _: None if release is None else release())
        for z, plane in zip(planes, voxels, strict=True):
            self._in_flight.enter(plane.nbytes)
            done = functools.partial(self._done, plane.nbytes, left)
            self._pool.submit(self._write, z, plane).add_done_callback(done)

    def skip(self, box: Box) -> None:
        """Say that planes hold only zeros: they are written all the same."""
        plane = np.zeros((1, *self.shape[1:]), self.dtype)
        for z in range(box.start[0], box.stop[0]):
            self.write(Box((z, *box.start[1:]), (z + 1, *box.stop[1:])), plane)

    def _claim(self, box: Box) -> range:
        planes = range(box.start[0], box.stop[0])
        is_whole = (box.start[1:], box.stop[1:]) == ((0, 0), self.shape[1:])
        if not is_whole or not planes or planes.start < 0 or planes.stop > self.shape[0]:
            raise ParameterError(f"{self.path} is written in whole planes of {self.shape[0]}; {box} is none")
        with self._lock:
            if not self._given.isdisjoint(planes) or not self._had.isdisjoint(planes):
                raise ParameterError(f"{self.path}: planes of {box} were written before")
            self._given.update(planes)
        return planes

    def _write(self, z: int, plane: npt.NDArray[Any]) -> None:
        if self._in_flight.has_failed:
            return
        data, file = self._encode(np.ascontiguousarray(plane)), self._folder / (self._pattern % z)
        self._manifest.write(file, data, overwrite=True)
        if self._journal is not None:
            flush(file)
            made = Whole.of(data)
            self._journal.add(self._unit(z), {"n_bytes": made.size_bytes, "crc32": made.crc32})

    def _done(self, n_bytes: int, left: Handed, job: Future[None]) -> None:
        self._in_flight.leave(n_bytes, job.exception())
        left.one()

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            for z in set(range(self.shape[0])) - self._given - self._had:
                self.skip(Box((z, 0, 0), (z + 1, *self.shape[1:])))
        self._pool.shutdown()
        if error is not None:
            raise error
        self._in_flight.raise_failure()
        with os_errors(self.path):
            if (content := sidecar_of(self._writing.sidecar, self._writing.place_um)) is not None:
                (self._folder / SIDECAR).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            for file in self._folder.iterdir():
                flush(file)
            flush(self._folder)


def _encoder(
    dtype: np.dtype[Any], spacing: Spacing, codec: str | None, compression: int | None
) -> tuple[Callable[[npt.NDArray[Any]], bytes], str]:
    """What makes a file of a plane, and the suffix of its name; ParameterError for what the files do not hold."""
    codec = codec or CODECS[0]
    if codec not in CODECS:
        raise ParameterError(f"`codec` of planes is {', '.join(CODECS)}, not {codec}")
    types = PlanesOutput().types_of(codec)
    if dtype.name not in types:
        raise ParameterError(f"`dtype` of planes as {codec} is one of {', '.join(types)}, not {dtype}")
    if codec != "deflate" and compression:
        raise ParameterError(f"`compression` of planes is a level of deflate; leave it out with `codec` {codec}")
    if codec == "jpeg2000":
        return lambda plane: encode_jp2(plane, (0.0,)), ".jp2"
    level = 0 if codec == "none" else DEFAULT_COMPRESSION if compression is None else compression
    check_compression(level)
    return lambda plane: encode_tiff(plane, level, spacing), ".tif"


class PlanesOutput(OutputFormat):
    """A folder of planes, one file each."""

    name, title = PLANES, "planes"
    suffixes = (".planes",)
    takes = frozenset({"codec", "compression"})
    codecs = CODECS
    default_compression = str(DEFAULT_COMPRESSION)
    types = _TYPES
    in_order = True
    resumes = True

    def types_of(self, codec: str | None = None) -> tuple[str, ...]:
        """The types that files of a codec hold."""
        return _JP2_TYPES if codec == "jpeg2000" else self.types

    def holds(self, dtype: np.dtype[Any], codec: str | None) -> frozenset[str]:
        """The place, in the record; the voxel size, if ImageJ knows the type."""
        states_size = codec != "jpeg2000" and dtype.name in IMAGEJ_TYPES
        return frozenset({"spacing", "origin_um"} if states_size else {"origin_um"})

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        return PlanesWriter(path, shape, dtype, spacing, writing)
