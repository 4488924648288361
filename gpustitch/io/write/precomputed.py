"""Writing a precomputed volume with its pyramid: asynchronously, bounded, every chunk once, whole or not at all.

A raw chunk is a file of voxels and nothing else. This module writes the files itself, in half the time of tensorstore's
copies. Errors then keep the operating system's own number. Tests read the files with tensorstore.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpustitch.io.write.format import PyramidFormat, VolumeOutput, Writing
from gpustitch.io.write.pyramid_layout import precomputed_info
from gpustitch.io.write.pyramid_writer import PyramidWriter
from gpustitch.model import ZYX, Box, Spacing


class PrecomputedWriter(PyramidWriter):
    """Writes a precomputed volume block by block; the base class says how.

    ``dtype`` is one of ``written_types``. The sidecar lies beside ``info``.
    """

    written_types: ClassVar = ("uint8", "uint16", "int16", "uint32", "float32")

    def _create(self, folder: Path) -> Sequence[str]:
        info = precomputed_info(self.shape, self.dtype, self.spacing, self.levels, self.chunk_shape)
        (folder / "info").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
        self._folders = [folder / scale["key"] for scale in info["scales"]]
        for level in self._folders:
            level.mkdir()
        return [level.name for level in self._folders]

    def _store(self, level: int, chunk: Box, voxels: npt.NDArray[Any]) -> None:
        _write_chunk(self._folders[level], chunk, voxels)


def _write_chunk(folder: Path, chunk: Box, voxels: npt.NDArray[Any]) -> None:
    """Write a raw chunk: little-endian voxels, x fastest, in a file named by the chunk's bounds, x first."""
    bounds = zip(chunk.start[::-1], chunk.stop[::-1], strict=True)
    data = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
    with (folder / "_".join(f"{start}-{stop}" for start, stop in bounds)).open("wb") as file:
        file.write(data.data)


class PrecomputedOutput(PyramidFormat):
    """Neuroglancer's precomputed, uncompressed: the format of names without a known suffix."""

    name = title = "precomputed"

    def open(self, path: Path, shape: ZYX, dtype: np.dtype[Any], spacing: Spacing, writing: Writing) -> VolumeOutput:
        """A writer of a volume."""
        return PrecomputedWriter(
            path,
            shape,
            dtype,
            spacing,
            downsample=writing.downsample,
            levels=writing.levels,
            chunk_shape=writing.chunk_shape,
            flush=writing.flush,
            write_empty=writing.write_empty,
            **writing.shared,
        )
