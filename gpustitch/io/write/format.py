"""The base of formats of volumes to write: a name, suffixes, the parameters it takes, and a way to make a writer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from gpustitch.io.journal import Journal
from gpustitch.io.volumes.sidecar import Origin
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES, N_WRITERS
from gpustitch.io.write.pyramid_layout import (
    DEFAULT_CHUNK,
    DEFAULT_LEVELS,
    block_shape_of,
    check_block,
    checked_levels,
    pyramid_bytes,
)
from gpustitch.model import ZYX, Box, Spacing, level_factors
from gpustitch.model.arrays import Floats
from gpustitch.ops import pyramid


class Downsample(Protocol):
    """Makes each cell of voxels one: :func:`gpustitch.ops.pyramid.downsample`."""

    def __call__(self, volume: npt.NDArray[Any], /, *, factors: ZYX) -> npt.NDArray[Any]:
        """``factors`` is the size (z, y, x) of a cell, 1 or 2 along each axis."""


class VolumeOutput(Protocol):
    """A writer of a volume block by block; the output has its name once the ``with`` block ends without an error.

    ``write`` takes one of :meth:`blocks`, or a box of several, and returns before the voxels are on the disk.
    If the format is :attr:`OutputFormat.in_order`, blocks are slabs of whole planes of any thickness, in order of z.
    Otherwise blocks come in any order and from several threads; :meth:`blocks` has the order that needs least memory.
    """

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the volume."""

    @property
    def block_shape(self) -> ZYX:
        """Shape of a block; blocks at the end of an axis are smaller."""

    def blocks(self) -> Iterator[Box]:
        """All blocks, in an order in which they may be written."""

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over voxels, to be left unchanged until ``release`` is called; OutputError if a write failed."""

    def skip(self, box: Box) -> None:
        """Say that a box holds only zeros."""

    def missing(self, box: Box) -> Iterator[Box]:
        """The parts of a box of whole blocks that are not there from an earlier run; only these are to be given."""

    def close(self) -> None:
        """Wait for all writes and give the volume its name; voxels that were never given are zero."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Writing:
    """How a volume is written. :mod:`gpustitch.io.write.opening` puts a format's defaults where None stands.

    Attributes
    ----------
    downsample
        Halves a block along some axes: :func:`gpustitch.ops.pyramid.downsample`. Used for several levels.
    levels
        Number of levels; None for the format's default.
    chunk_shape
        Voxels (z, y, x) of a chunk; None for the format's default.
    shard_bytes
        About how many bytes of voxels a file of chunks holds; 0 for a file for each chunk, None for the format's
        default.
    codec, compression
        How chunks are compressed, one of the format's ``codecs``, and how much: 0 (none) to 9. None for the format's
        defaults.
    writer
        Who writes files of chunks, ``tensorstore`` or ``direct`` (precomputed without a codec); None for tensorstore.
    version
        Version of the format, if it has several.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm in the patient (LPS). NIfTI holds the whole matrix, other formats
        the place of the first voxel along the volume's axes.
    origin_um
        That place alone: centre (z, y, x) of the first voxel, um. OME-Zarr states it for each level, TIFF for the
        planes, NIfTI as a matrix. Precomputed has whole voxels, so ``gpustitch.json`` states it too.
    sidecar
        Written as JSON at the end, with what it holds then: ``gpustitch.json`` in the folder, ``<name>.json`` beside a
        file.
    overwrite
        Replace the output if it exists (when the new volume is complete).
    n_writers, in_flight_bytes
        Number of threads that write; bound on the voxels handed over and not yet written.
    flush
        Wait at the end until everything is on the disk.
    write_empty
        Write chunks of zeros too. Otherwise they have no file, which is an error to some readers.
    journal
        Where each finished file is noted; what an earlier run has noted there is kept. Only formats of chunks keep one.
    samples
        3 for colors, uint8: red, green and blue of a voxel follow one another along x, and the last number of the shape
        is three times that of voxels.
    n_volumes, volume_step_s
        Volumes in the file, one after another along z: the first number of the shape is that of the planes of all. Time
        from one to the next, None if that is not known.
    channel
        Name of the channel, such as ``Ex_488_Em_525``, for formats that hold one: OME-Zarr. None for the volume's name.
    """

    downsample: Downsample = pyramid.downsample
    levels: int | None = None
    chunk_shape: Sequence[int] | None = None
    shard_bytes: int | None = None
    codec: str | None = None
    writer: str | None = None
    version: str | None = None
    compression: int | None = None
    affine_lps_mm: Floats | None = None
    origin_um: Sequence[float] | None = None
    sidecar: Mapping[str, Any] | None = None
    overwrite: bool = False
    n_writers: int = N_WRITERS
    in_flight_bytes: int = IN_FLIGHT_BYTES
    flush: bool = True
    write_empty: bool = False
    journal: Journal | None = None
    samples: int = 1
    n_volumes: int = 1
    volume_step_s: float | None = None
    channel: str | None = None

    @property
    def place_um(self) -> Origin | None:
        """Centre (z, y, x) of the first voxel along the volume's axes; None if it is not known."""
        if self.affine_lps_mm is not None:
            return origin_along_axes_um(self.affine_lps_mm)
        if self.origin_um is None:
            return None
        z, y, x = self.origin_um
        return z, y, x


def origin_along_axes_um(affine_lps_mm: Floats) -> Origin:
    """Distance (z, y, x) of the first voxel from the patient's origin, along normal, columns and rows of the planes.

    For axial planes these directions are the patient's own axes. Volumes of the same orientation agree with each other.
    """
    x, y = (affine_lps_mm[:3, i] / np.linalg.norm(affine_lps_mm[:3, i]) for i in (0, 1))
    normal = np.cross(x, y)
    along_z, along_y, along_x = (float(axis @ affine_lps_mm[:3, 3]) * 1000 for axis in (normal, y, x))
    return along_z, along_y, along_x


class OutputFormat(ABC):
    """A format to write, in use once :data:`gpustitch.io.write.formats.OUTPUT_FORMATS` holds an instance.

    Attributes
    ----------
    name, title
        The format's name as a value of ``format``; its name in messages.
    suffixes
        Ends of file names, in lower case, with the dot; help shows the first. A format without suffixes takes all
        other names.
    takes
        The parameters that the format has, of ``levels``, ``chunk_shape``, ``shard_bytes``, ``codec``, ``writer``,
        ``version``, ``compression``, ``flush``, ``write_empty``, ``samples`` and ``n_volumes``. Also ``affine_lps_mm``
        if the format holds the whole matrix.
    in_order
        Whether the output is written from the first plane to the last: one file, or one for each plane.
    resumes
        Whether the format keeps a journal, so that an unfinished output is gone on with.
    is_image
        Whether a reader of a folder of images would take the output for an image.
    default_levels, default_chunk, default_compression
        The format's defaults; the last one in words.
    codecs
        Values of ``codec``, the default first; empty if the format has none.
    types
        Types of voxels that it holds.
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()
    in_order: ClassVar[bool] = False
    resumes: ClassVar[bool] = False
    is_image: ClassVar[bool] = False
    default_levels: ClassVar[int] = 1
    default_chunk: ClassVar[ZYX] = DEFAULT_CHUNK
    default_compression: ClassVar[str] = "none"
    codecs: ClassVar[tuple[str, ...]] = ()
    types: ClassVar[tuple[str, ...]] = ("uint8", "uint16", "int16", "uint32", "float32")

    def shards_of(self, version: str | None, shard_bytes: int | None) -> int | None:
        """``shard_bytes`` as a version of the format has them; ParameterError if it is not known or has none."""
        return shard_bytes

    def types_of(self, codec: str | None = None) -> tuple[str, ...]:
        """The types of voxels that it holds, compressed by a codec."""
        return self.types

    def holds(self, dtype: np.dtype[Any], codec: str | None) -> frozenset[str]:
        """What it states of a volume of such voxels: of ``spacing``, ``origin_um``, ``affine_lps_mm``, ``channel``."""
        return frozenset({"spacing"})

    def default_of(self, parameter: str) -> str:
        """The default of ``levels``, ``chunk_shape`` or ``compression``, for messages and help."""
        if parameter == "levels":
            return str(self.default_levels)
        if parameter == "compression":
            return self.default_compression
        return ",".join(map(str, self.default_chunk[::-1])) if "chunk_shape" in self.takes else "none"

    @abstractmethod
    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume (z, y, x); raises what :func:`gpustitch.io.write.opening.open_as` raises."""

    def block(
        self, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, levels: int | None, chunk_shape: ZYX | None
    ) -> tuple[ZYX, int]:
        """Smallest block (z, y, x) that the writer takes, and the most bytes that the volume takes on disk."""
        return (1, shape[1], shape[2]), math.prod(shape) * dtype.itemsize


class PyramidFormat(OutputFormat):
    """A format of chunks and levels, in a folder."""

    takes = frozenset({"levels", "chunk_shape", "shard_bytes", "codec", "writer", "flush", "write_empty"})
    default_levels = DEFAULT_LEVELS
    resumes = True

    @staticmethod
    @abstractmethod
    def checked_files(
        codec: str | None, shard_bytes: int | None, write_empty: bool, writer: str | None = None
    ) -> tuple[str, int]:
        """``codec`` and ``shard_bytes``, or the defaults; ParameterError if the format has no such files."""

    def block(
        self, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, levels: int | None, chunk_shape: ZYX | None
    ) -> tuple[ZYX, int]:
        """As :meth:`OutputFormat.block`; ParameterError if a block would be too large."""
        factors = level_factors(spacing, checked_levels(self.default_levels if levels is None else levels))
        block = block_shape_of(factors, chunk_shape or self.default_chunk)
        check_block(block, shape, dtype)
        return block, pyramid_bytes(shape, dtype, factors)
