"""Frames, volumes, arrays and PNG files as stacks of planes."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.stacks import OneFilePerFrame
from gpustitch.io.images.files import read_image, reading
from gpustitch.model import Box, Frames, Spacing, Volume

_PNG_HEADER = struct.Struct(">8s4x4sIIBB")
_PNG_GREY: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}


class FramePlanes:
    """Frames as planes (:class:`gpustitch.io.planes.opening.Planes`)."""

    depth = 1

    def __init__(self, frames: Frames, name: str, spacing: Spacing | None = None) -> None:
        self.frames = frames
        self.name = name
        self.spacing = spacing
        self.shape = frames.shape
        self.dtype: np.dtype[Any] = frames.dtype.newbyteorder("=")

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``."""
        return self.frames.read(start, stop, rows, columns)


class ArrayPlanes:
    """An array (plane, row, column), which may be a map of a file, as planes
    (:class:`gpustitch.io.planes.opening.Planes`).

    Raises
    ------
    DamagedInputError
        If it has other than three axes, an empty one, or holds no whole or real numbers.
    """

    depth = 1

    def __init__(self, array: npt.NDArray[Any], name: str = "the array", spacing: Spacing | None = None) -> None:
        if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "uif":
            raise DamagedInputError(
                f"{name} holds {array.dtype} of shape {array.shape}; whole or real numbers (plane, row, column) "
                "were expected"
            )
        self.array = array
        self.name = name
        self.spacing = spacing
        self.shape: tuple[int, int, int] = (array.shape[0], array.shape[1], array.shape[2])
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``, as a new array."""
        check_range(self.name, self.shape[0], start, stop)
        return np.array(self.array[start:stop, rows, columns], self.dtype, order="C")


class VolumePlanes:
    """A volume's planes of constant z (:class:`gpustitch.io.planes.opening.Planes`).

    ``spacing`` is what the source states, perhaps None; ``depth`` the thickness of its chunks in planes.
    """

    def __init__(self, volume: Volume, name: str, spacing: Spacing | None, depth: int = 1) -> None:
        self.volume = volume
        self.name = name
        self.spacing = spacing
        self.depth = depth
        self.shape = volume.coverage.shape
        self.dtype: np.dtype[Any] = volume.dtype.newbyteorder("=")

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``."""
        check_range(self.name, self.shape[0], start, stop)
        first_row, last_row, row_step = _span(range(self.shape[1])[rows])
        first_column, last_column, column_step = _span(range(self.shape[2])[columns])
        voxels = self.volume.read(Box((start, first_row, first_column), (stop, last_row, last_column)))
        return np.ascontiguousarray(voxels[:, ::row_step, ::column_step], self.dtype)


def check_range(name: str, n_planes: int, start: int, stop: int) -> None:
    """Raise ParameterError unless the planes ``start <= z < stop`` are all there."""
    if not 0 <= start <= stop <= n_planes:
        raise ParameterError(f"{name} has planes 0 to {n_planes - 1}; {start}..{stop - 1} are not all there")


def _span(wanted: range) -> tuple[int, int, int]:
    """The contiguous range that holds the wanted indices, and the step that picks them from it."""
    if not wanted:
        return 0, 0, 1
    return min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1, wanted.step


class PngFrames(OneFilePerFrame):
    """PNG files in the order given (:class:`gpustitch.model.Frames`); may be read from several threads.

    Raises
    ------
    InputMissingError
        If there is none.
    DamagedInputError
        If one is not a grey PNG of 8 or 16 bits, or of another size or type than the first.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        super().__init__([Path(path) for path in paths], _describe_png, read_image)


def _describe_png(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with reading(path, "PNG"), path.open("rb") as file:
        header = file.read(_PNG_HEADER.size)
        if len(header) < _PNG_HEADER.size:
            raise DamagedInputError(f"{path} has {len(header)} bytes; a PNG is longer")
        signature, chunk, n_columns, n_rows, bits, colour = _PNG_HEADER.unpack(header)
        if signature != b"\x89PNG\r\n\x1a\n" or chunk != b"IHDR":
            raise DamagedInputError(f"{path} is not a PNG: it begins with {signature!r}")
        if colour != 0 or bits not in _PNG_GREY:
            raise DamagedInputError(
                f"{path} is a PNG of colour type {colour} and {bits} bits; planes are grey, 8 or 16"
            )
        return (int(n_rows), int(n_columns)), _PNG_GREY[bits]
