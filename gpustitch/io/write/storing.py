"""From a stage's options to how a volume is written, and how large its files of chunks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gpustitch.io.write.format import Downsample, OutputFormat, PyramidFormat, Writing
from gpustitch.io.write.formats import check_takes
from gpustitch.io.write.shards import MOST_UNFINISHED_BYTES, fitting_shard_bytes
from gpustitch.model import ZYX, Spacing, level_factors


class Storing(Protocol):
    """Options of a stage that say how a volume is stored; None for the format's defaults."""

    @property
    def levels(self) -> int | None:
        """Number of levels."""

    @property
    def chunk_shape(self) -> ZYX | None:
        """Voxels (z, y, x) of a chunk."""

    @property
    def shard_bytes(self) -> int | None:
        """Size of a file of chunks."""

    @property
    def codec(self) -> str | None:
        """How chunks are compressed."""

    @property
    def writer(self) -> str | None:
        """Who writes the files."""

    @property
    def write_empty(self) -> bool:
        """Whether chunks of zeros are written."""

    @property
    def overwrite(self) -> bool:
        """Whether an output that exists is replaced."""

    @property
    def n_writers(self) -> int:
        """Number of threads that write."""


def writing_of(
    options: Storing, downsample: Downsample, file_bytes: int | None, sidecar: Mapping[str, Any] | None
) -> Writing:
    """How a stage's options ask for a volume, with files of chunks as planned, and its record."""
    return Writing(
        downsample,
        levels=options.levels,
        chunk_shape=options.chunk_shape,
        shard_bytes=file_bytes,
        codec=options.codec,
        writer=options.writer,
        write_empty=options.write_empty,
        sidecar=sidecar,
        overwrite=options.overwrite,
        n_writers=options.n_writers,
    )


def planned_file_bytes(
    format: OutputFormat,
    options: Storing,
    shape: ZYX,
    dtype: np.dtype[Any],
    spacing: Spacing,
    front_px: Sequence[float],
    most_bytes: int = MOST_UNFINISHED_BYTES,
) -> int | None:
    """Size of a file of chunks: as stated, else one with which unfinished files take at most ``most_bytes``.

    ``front_px`` is that of :func:`gpustitch.io.write.shards.unfinished_bytes`. None if the format has no such files.

    Raises
    ------
    ParameterError
        If the format has no such files or codec.
    """
    stated = {name: getattr(options, name) for name in ("shard_bytes", "codec", "write_empty", "writer")}
    check_takes(format, stated)
    if not isinstance(format, PyramidFormat):
        return None
    _, file_bytes = format.checked_files(**stated)
    if options.shard_bytes is not None or not file_bytes:
        return file_bytes
    levels = format.default_levels if options.levels is None else options.levels
    chunk = options.chunk_shape or format.default_chunk
    return fitting_shard_bytes(shape, chunk, dtype.itemsize, level_factors(spacing, levels), front_px, most_bytes)
