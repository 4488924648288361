"""Reading the raw chunks of an unsharded precomputed volume straight from their files.

A raw chunk is a file of voxels, little-endian, x fastest. A map of the file copies only the wanted voxels, once.
A library that decodes whole chunks copies all voxels several times.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.model import ZYX, Box


class RawChunks:
    """The chunk files of one scale.

    Parameters
    ----------
    folder
        The scale's folder, with files named ``x0-x1_y0-y1_z0-z1``.
    shape, chunk_shape
        Shapes (z, y, x) of the volume and of a whole chunk.
    offset
        The scale's ``voxel_offset`` as (z, y, x); the bounds in the files' names include it.
    dtype
        Type of a voxel.
    """

    def __init__(self, folder: Path, shape: ZYX, chunk_shape: ZYX, offset: ZYX, dtype: np.dtype[Any]) -> None:
        self._folder = folder
        self._whole = Box.of_shape(shape)
        self._chunk_shape = chunk_shape
        self._offset = offset
        self._dtype = dtype.newbyteorder("<")

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``, which lies in the volume; 0 where there is no file.

        Raises
        ------
        DamagedInputError
            If a file cannot be read or its size is not the chunk's.
        """
        out = np.zeros(box.shape, self._dtype.newbyteorder("="))
        for part in box.blocks(self._chunk_shape):
            corner = [s // n * n for s, n in zip(part.start, self._chunk_shape, strict=True)]
            chunk = Box.of_shape(self._chunk_shape, corner).intersect(self._whole)
            self._copy(chunk, part, out[part.slices(box.start)])
        return out

    def _copy(self, chunk: Box, part: Box, out: npt.NDArray[Any]) -> None:
        named = chunk.shift(self._offset)
        file = self._folder / "_".join(f"{a}-{b}" for a, b in zip(named.start[::-1], named.stop[::-1], strict=True))
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DamagedInputError(f"{file} cannot be read: {error.strerror}") from error
        try:
            size, expected = os.fstat(descriptor).st_size, chunk.size * self._dtype.itemsize
            if size != expected:
                raise DamagedInputError(f"{file} has {size} bytes but a chunk of {chunk.shape} voxels has {expected}")
            with mmap.mmap(descriptor, expected, prot=mmap.PROT_READ) as mapped:
                voxels = np.frombuffer(mapped, self._dtype).reshape(chunk.shape)
                np.copyto(out, voxels[part.slices(chunk.start)])
                # The map cannot be closed while an array refers to it.
                del voxels
        finally:
            os.close(descriptor)
