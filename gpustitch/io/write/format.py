"""What a format of volumes to write is: a class with a name, suffixes, what it can hold, and a way to make a writer."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from gpustitch.io.write.pyramid_layout import (
    DEFAULT_CHUNK,
    DEFAULT_LEVELS,
    block_shape_of,
    check_block,
    checked_levels,
    pyramid_bytes,
)
from gpustitch.model import ZYX, Box, Spacing
from gpustitch.model.arrays import Floats

Downsample = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


class VolumeOutput(Protocol):
    """What takes a volume block by block; it has its name when the ``with`` block ends without an error.

    ``write`` takes one of :meth:`blocks` at a time (or a box of several) and returns before it is on the disk. Where
    the format is not :attr:`OutputFormat.in_order`, blocks come in any order and from several threads; :meth:`blocks`
    has the order that needs least memory. Else they are slabs of whole planes in order of z, of any thickness.
    """

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the volume."""

    @property
    def block_shape(self) -> ZYX:
        """Shape of a block; those at the end of an axis are smaller."""

    def blocks(self) -> Iterator[Box]:
        """All blocks, in an order in which they may be written."""

    def write(self, box: Box, voxels: npt.NDArray[Any], release: Callable[[], None] | None = None) -> None:
        """Hand over voxels, which stay unchanged until ``release`` is called; OutputError if a write failed."""

    def skip(self, box: Box) -> None:
        """Say that a box holds only zeros."""

    def close(self) -> None:
        """Wait for all writes and give the volume its name; what was never given is zero."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Writing:
    """How a volume is written: parameters of :func:`gpustitch.io.write.opening.open_output`, which explains them.

    ``levels`` and ``chunk_shape`` are the format's own where none were given; the format takes all that is not None.
    """

    downsample: Downsample
    levels: int
    chunk_shape: ZYX
    shard_shape: ZYX | None
    version: str | None
    compression: int | None
    affine_lps_mm: Floats | None
    sidecar: Mapping[str, Any] | None
    overwrite: bool
    n_writers: int
    in_flight_bytes: int
    flush: bool

    @property
    def shared(self) -> dict[str, Any]:
        """What every writer takes."""
        return {name: getattr(self, name) for name in ("sidecar", "overwrite", "n_writers", "in_flight_bytes")}


class OutputFormat(ABC):
    """A format to write; one instance of it in :data:`gpustitch.io.write.formats.OUTPUT_FORMATS` makes it known.

    Attributes
    ----------
    name, title
        What ``format`` takes; what messages say.
    suffixes
        Ends of file names, small, with the dot; the first is shown. A format without any takes all other names.
    takes
        Which of ``levels``, ``chunk_shape``, ``shard_shape``, ``version``, ``compression``, ``flush`` it has; and
        ``affine_lps_mm`` if it holds all of it.
    in_order
        Whether it is one file, written from the first plane to the last.
    is_image
        Whether a reader of a folder of images would take the file for one of them.
    default_levels, default_chunk, default_compression
        What is written where none are given; the last in words.
    """

    name: str
    title: str
    suffixes: tuple[str, ...] = ()
    takes: frozenset[str] = frozenset()
    in_order: ClassVar[bool] = False
    is_image: ClassVar[bool] = False
    default_levels: ClassVar[int] = 1
    default_chunk: ClassVar[ZYX] = DEFAULT_CHUNK
    default_compression: ClassVar[str] = "none"

    def default_of(self, parameter: str) -> str:
        """What is written where ``levels``, ``chunk_shape`` or ``compression`` is not given, for people."""
        if parameter == "levels":
            return str(self.default_levels)
        if parameter == "compression":
            return self.default_compression
        return ",".join(map(str, self.default_chunk[::-1])) if "chunk_shape" in self.takes else "none"

    @abstractmethod
    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume (z, y, x); raises as :func:`gpustitch.io.write.opening.open_output`."""

    def block(self, shape: ZYX, dtype: np.dtype[Any], levels: int | None, chunk_shape: ZYX | None) -> tuple[ZYX, int]:
        """Least block (z, y, x) that the writer takes, and the most bytes that the volume takes on disk."""
        return (1, shape[1], shape[2]), math.prod(shape) * dtype.itemsize


class PyramidFormat(OutputFormat):
    """A format of chunks and levels, in a folder."""

    takes = frozenset({"levels", "chunk_shape", "flush"})
    default_levels = DEFAULT_LEVELS

    def block(self, shape: ZYX, dtype: np.dtype[Any], levels: int | None, chunk_shape: ZYX | None) -> tuple[ZYX, int]:
        """As above; ParameterError if a block were too large."""
        levels = checked_levels(self.default_levels if levels is None else levels)
        block = block_shape_of(levels, chunk_shape or self.default_chunk)
        check_block(block, shape, dtype)
        return block, pyramid_bytes(shape, dtype, levels)
