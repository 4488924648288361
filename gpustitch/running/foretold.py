"""What a run will take, in lines for people: what it reads, files and voxels of each level, disk and memory."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.io.found import root_of
from gpustitch.io.write.format import OutputFormat, PyramidFormat
from gpustitch.io.write.pyramid_layout import level_shape
from gpustitch.io.write.shards import file_shape, grid_of
from gpustitch.io.write.storing import Storing
from gpustitch.model import ZYX, Spacing, level_factors
from gpustitch.running.memory import most_bytes
from gpustitch.running.progress import size_text


@dataclass(frozen=True)
class Stored:
    """A volume to write; ``file_bytes`` is the size of a file of chunks, None of a format that has one file for all."""

    output: Path
    format: OutputFormat
    options: Storing
    shape: ZYX
    dtype: np.dtype[Any]
    spacing: Spacing
    file_bytes: int | None

    @property
    def n_files(self) -> tuple[int, ...]:
        """At most how many files of voxels each level has."""
        if not isinstance(self.format, PyramidFormat) or self.file_bytes is None:
            return (1,)
        chunk = self.options.chunk_shape or self.format.default_chunk
        files = self.shape, chunk, self.dtype.itemsize
        units = [(factor, file_shape(*files, factor, self.file_bytes)) for factor in self._factors]
        return tuple(math.prod(grid_of(level_shape(self.shape, factor), unit)) for factor, unit in units)

    @property
    def _factors(self) -> tuple[ZYX, ...]:
        levels = self.format.default_levels if self.options.levels is None else self.options.levels
        return level_factors(self.spacing, levels)

    def level_lines(self) -> Iterator[str]:
        """Voxels, bytes and files of each level."""
        for level, (count, factor) in enumerate(zip(self.n_files, self._factors, strict=False)):
            of_level = level_shape(self.shape, factor)
            text = " x ".join(f"{n:,}" for n in of_level)
            size = size_text(math.prod(of_level) * self.dtype.itemsize)
            yield f"        level {level}: {text} voxels, {size}, {_files(count)}"


def lines(
    reads: str, read_bytes: int, stored: Sequence[Stored], disk_bytes: int, memory_bytes: int, stated: int | None = None
) -> Iterator[str]:
    """All that a run takes which makes volumes of ``reads``; ``stated`` is the memory that it may take."""
    yield reads_line(reads, read_bytes)
    for volume in stored:
        yield f"volume  {volume.output}: {volume.format.title}, {spacing_text(volume.spacing)}"
        yield from volume.level_lines()
    yield disk_line(stored[0].output, disk_bytes, sum(sum(volume.n_files) for volume in stored))
    yield memory_line(memory_bytes, stated)


def reads_line(what: str, n_bytes: int | None = None) -> str:
    """What is read; the size where it is known."""
    return f"reads   {what}" + ("" if n_bytes is None else f": {size_text(n_bytes)}")


def spacing_text(spacing: Spacing) -> str:
    """The size of a voxel."""
    return f"voxels of {' x '.join(f'{um:.4g}' for um in spacing.zyx_um)} um (z, y, x)"


def disk_line(output: Path, n_bytes: int, n_files: int | None = None) -> str:
    """The disk space that is taken, and what is free."""
    free = shutil.disk_usage(root_of(output.absolute())).free
    within = "" if n_files is None else f" in {_files(n_files)}"
    return f"disk    at most {size_text(n_bytes)}{within}; {size_text(free)} are free"


def memory_line(n_bytes: int, stated: int | None = None) -> str:
    """The memory that is taken, and what may be."""
    most = most_bytes(stated)
    return f"memory  about {size_text(n_bytes)}" + ("" if most is None else f"; it may take {size_text(most)}")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
