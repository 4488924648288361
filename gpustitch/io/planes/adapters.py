"""Frames, volumes and arrays as stacks of planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import refuse_unlike, to_host
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.planes.format import Planes
from gpustitch.model import Box, Frames, Spacing, Volume


class FramePlanes:
    """Frames as planes (:class:`gpustitch.io.planes.format.Planes`); ``origin_um`` is the place that they state."""

    depth = 1

    def __init__(
        self,
        frames: Frames,
        name: str,
        spacing: Spacing | None = None,
        origin_um: tuple[float, float, float] | None = None,
    ) -> None:
        self.frames = frames
        self.origin_um = origin_um
        self.name = name
        self.spacing = spacing
        self.shape = frames.shape
        self.absent = frames.absent
        self.dtype: np.dtype[Any] = frames.dtype.newbyteorder("=")

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``."""
        return self.frames.read(start, stop, rows, columns)


class ChosenPlanes:
    """Some planes of others, in any order (:class:`gpustitch.io.planes.format.Planes`).

    ``chosen``, int64 (planes,), are their numbers there.
    """

    depth = 1

    def __init__(self, planes: Planes, chosen: npt.NDArray[np.int64]) -> None:
        self.planes = planes
        self.chosen = chosen
        self.name = planes.name
        self.spacing = planes.spacing
        self.shape = (len(chosen), *planes.shape[1:])
        self.absent = frozenset(k for k, z in enumerate(chosen.tolist()) if z in planes.absent)
        self.dtype: np.dtype[Any] = planes.dtype

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= k < stop``, cut to ``rows`` and ``columns``; neighbours there are read together."""
        check_range(self.name, self.shape[0], start, stop)
        read = []
        wanted = self.chosen[start:stop]
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
            if len(run):
                read.append(self.planes.read(int(run[0]), int(run[-1]) + 1, rows, columns))
        return np.concatenate(read) if read else self.planes.read(0, 0, rows, columns)


class ArrayPlanes:
    """An array (plane, row, column) as planes (:class:`gpustitch.io.planes.format.Planes`).

    The array may be of any library.

    Raises
    ------
    TypeError
        If the array is masked.
    DamagedInputError
        If the array has other than three axes, an axis is empty, or values are not whole or real numbers.
    """

    depth = 1
    absent: frozenset[int] = frozenset()

    def __init__(self, array: npt.NDArray[Any], name: str = "the array", spacing: Spacing | None = None) -> None:
        refuse_unlike(array)
        dtype = _type_of_numbers(array)
        self.shape = checked_stack(name, array.shape, dtype)
        self.array = array
        self.name = name
        self.spacing = spacing
        self.dtype: np.dtype[Any] = dtype.newbyteorder("=")

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``, as a new array."""
        check_range(self.name, self.shape[0], start, stop)
        return np.array(to_host(self.array[start:stop, rows, columns]), self.dtype, order="C")


class VolumePlanes:
    """A volume's planes of constant z (:class:`gpustitch.io.planes.format.Planes`).

    ``spacing`` is the spacing that the source states, or None; ``depth`` is the thickness of its chunks in planes.
    ``n_files`` and ``n_missing`` are those of a volume on disk.
    """

    absent: frozenset[int] = frozenset()

    def __init__(self, volume: Volume, name: str, spacing: Spacing | None, depth: int = 1) -> None:
        self.volume = volume
        self.name = name
        self.spacing = spacing
        self.depth = depth
        self.shape = volume.coverage.shape
        self.n_files: int = getattr(volume, "n_files", 0)
        self.n_missing: int = getattr(volume, "n_missing", 0)
        self.dtype: np.dtype[Any] = volume.dtype.newbyteorder("=")

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Planes ``start <= z < stop``, cut to ``rows`` and ``columns``."""
        check_range(self.name, self.shape[0], start, stop)
        first_row, last_row, row_step = _span(range(self.shape[1])[rows])
        first_column, last_column, column_step = _span(range(self.shape[2])[columns])
        voxels = self.volume.read(Box((start, first_row, first_column), (stop, last_row, last_column)))
        return np.ascontiguousarray(voxels[:, ::row_step, ::column_step], self.dtype)


def _type_of_numbers(array: Any) -> np.dtype[Any]:
    """NumPy's name for the type; PyTorch and tensorstore have types of their own, which an empty part tells."""
    if isinstance(array.dtype, np.dtype):
        return array.dtype
    return to_host(array[:0] if len(array.shape) else array).dtype


def checked_stack(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, int, int]:
    """``shape`` of a stack; DamagedInputError unless it is (plane, row, column) of whole or real numbers."""
    if len(shape) != 3 or 0 in shape or dtype.kind not in "uif":
        raise DamagedInputError(
            f"{name} holds {dtype} of shape {shape}; whole or real numbers (plane, row, column) were expected"
        )
    return shape[0], shape[1], shape[2]


def check_range(name: str, n_planes: int, start: int, stop: int) -> None:
    """Raise ParameterError unless the planes ``start <= z < stop`` are all there."""
    if not 0 <= start <= stop <= n_planes:
        raise ParameterError(f"{name} has planes 0 to {n_planes - 1}; {start}..{stop - 1} are not all there")


def _span(wanted: range) -> tuple[int, int, int]:
    """Start and stop of the contiguous range that holds the wanted indices, and the step that picks them."""
    if not wanted:
        return 0, 0, 1
    return min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1, wanted.step
