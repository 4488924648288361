"""Frames and volumes that look like arrays, and compute or read no more than what is asked of them."""

from __future__ import annotations

import importlib
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, to_host
from gpustitch.errors import MissingExtraError
from gpustitch.model import ZYX, Box, Coverage, Frames, Spacing, Volume
from gpustitch.model.arrays import Floats
from gpustitch.ops.padded import padded
from gpustitch.verbs.typed import as_numpy_does


class Lazy(ABC):
    """Three axes of which ``[...]`` reads a part. Whole numbers, slices and ``...`` are taken.

    NumPy, dask and matplotlib take it for an array: ``numpy.asarray`` reads all of it, ``dask.array.from_array`` none.

    Attributes
    ----------
    shape, dtype
        As of the array.
    """

    shape: ZYX
    dtype: np.dtype[Any]
    ndim = 3

    @abstractmethod
    def _read(self, box: Box) -> Array:
        """The part ``box``, within the shape and not empty, as a new array."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Any) -> Array:
        picked = _picked(key, self.shape)
        ranges = [pick if isinstance(pick, range) else range(pick, pick + 1) for pick in picked]
        spans = [(min(r[0], r[-1]), max(r[0], r[-1]) + 1) if r else (0, 0) for r in ranges]
        box = Box((spans[0][0], spans[1][0], spans[2][0]), (spans[0][1], spans[1][1], spans[2][1]))
        if box.is_empty:
            shape = tuple(len(pick) for pick in picked if isinstance(pick, range))
            return np.empty(shape, self.dtype)
        with as_numpy_does():
            read = self._read(box)
        within = tuple(slice(None, None, r.step) if isinstance(r, range) else 0 for r in picked)
        found = read[within]
        return found if found.ndim else found[()]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("the elements are read or computed, so an array of them is always a copy")
        whole = to_host(self[...])
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        z, y, x = self.shape
        return f"<{type(self).__name__} {z} x {y} x {x} {self.dtype}{self._more()}>"

    def _more(self) -> str:
        return ""


def _picked(key: Any, shape: ZYX) -> list[range | int]:
    """What a key picks of each axis: a range, or one element. IndexError for a key of another kind."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(k is Ellipsis for k in keys):
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    if len(keys) > len(shape):
        raise IndexError(f"there are 3 axes, but {len(keys)} indices")
    keys += [slice(None)] * (len(shape) - len(keys))
    return [_pick(k, n) for k, n in zip(keys, shape, strict=True)]


def _pick(key: Any, length: int) -> range | int:
    if isinstance(key, slice):
        return range(length)[key]
    try:
        if isinstance(key, bool | np.bool_):
            raise TypeError
        number = operator.index(key)
    except TypeError:
        raise IndexError(
            f"an index is a whole number, a slice or ..., not {key!r}; numpy.asarray makes an array that takes others"
        ) from None
    if not -length <= number < length:
        raise IndexError(f"index {number} is out of bounds for an axis of {length}")
    return number % length


class LazyFrames(Lazy):
    """Camera frames (frame, row, column) that are read when they are asked for.

    Also a :class:`gpustitch.model.Frames`: ``absent`` are the frames that no file holds.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.shape = frames.shape
        self.dtype = np.dtype(frames.dtype)

    @property
    def absent(self) -> frozenset[int]:
        """Frames that no file holds. They read as zeros."""
        return self.frames.absent

    @property
    def part_axis(self) -> int | None:
        """Axis along which parts of a frame are read without the rest."""
        return getattr(self.frames, "part_axis", None)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``."""
        return self.frames.read(start, stop, rows, columns)

    def _read(self, box: Box) -> Array:
        z, rows, columns = box.slices()
        return self.frames.read(z.start, z.stop, rows, columns)


class LazyVolume(Lazy):
    """Voxels (z, y, x) that are read or computed when they are asked for. Also a :class:`gpustitch.model.Volume`.

    Attributes
    ----------
    spacing_um
        Distance of voxels (z, y, x), um.
    origin_um
        Where the first voxel is (z, y, x), um.
    volume
        What is read.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm (LPS), of a volume that states more than its place; else None.
    """

    affine_lps_mm: Floats | None = None

    def __init__(self, volume: Volume, origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        self.volume = volume
        self.shape = volume.coverage.shape
        self.dtype = np.dtype(volume.dtype)
        self.origin_um = origin_um

    @property
    def spacing(self) -> Spacing:
        """Distance of voxels."""
        return self.volume.spacing

    @property
    def spacing_um(self) -> tuple[float, float, float]:
        """Distance of voxels (z, y, x), um."""
        return self.volume.spacing.zyx_um

    @property
    def coverage(self) -> Coverage:
        """Which voxels hold data."""
        return self.volume.coverage

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box`` in host memory; zero outside the coverage or the grid."""
        return self.volume.read(box)

    def coordinates_um(self) -> dict[str, npt.NDArray[np.float64]]:
        """Where voxels are along ``z``, ``y`` and ``x``, um: float64 arrays."""
        axes = zip("zyx", self.shape, self.spacing_um, self.origin_um, strict=True)
        return {axis: origin + step * np.arange(n, dtype=np.float64) for axis, n, step, origin in axes}

    def to_xarray(self, chunks: Any = "auto") -> Any:
        """The volume as an :class:`xarray.DataArray` with coordinates in um; nothing is read before it is needed.

        Parameters
        ----------
        chunks
            As of :func:`dask.array.from_array`.

        Raises
        ------
        MissingExtraError
            If xarray or dask is not installed.
        """
        try:
            import dask.array
            import xarray
        except ImportError as error:
            raise MissingExtraError(f"{error}; pip install 'gpustitch[notebook]'") from error
        lazy = dask.array.from_array(self, chunks=chunks)  # type: ignore[no-untyped-call]
        coordinates = {axis: (axis, at, {"units": "um"}) for axis, at in self.coordinates_um().items()}
        return xarray.DataArray(lazy, dims=("z", "y", "x"), coords=coordinates)

    def _read(self, box: Box) -> Array:
        return self.volume.read(box)

    def _more(self) -> str:
        z, y, x = self.spacing_um
        return f", voxels of {z:.6g} x {y:.6g} x {x:.6g} um"


class Computed(ABC):
    """A :class:`gpustitch.model.Volume` of which parts can be had where its source's array lies, maybe on a device.

    Parameters
    ----------
    dtype, spacing, coverage
        As of the volume.
    xp
        The library of the source's array, ``numpy`` or ``cupy``.
    """

    def __init__(self, dtype: np.dtype[Any], spacing: Spacing, coverage: Coverage, xp: Any = np) -> None:
        self.dtype = dtype
        self.spacing = spacing
        self.coverage = coverage
        self._library: str = xp.__name__  # a module cannot be pickled

    @property
    def xp(self) -> Any:
        """The library of the source's array."""
        return importlib.import_module(self._library)

    @abstractmethod
    def _inside(self, box: Box) -> Array:
        """Voxels of a box within the grid that is not empty, where the source lies; a new array."""

    def made(self, box: Box) -> Array:
        """Voxels of ``box`` where the source lies; zero outside the coverage or the grid."""
        return padded(box, self.coverage.shape, self.dtype, self._inside, self.xp)

    def read(self, box: Box) -> npt.NDArray[Any]:
        """The same in host memory."""
        return to_host(self.made(box))


class ComputedVolume(LazyVolume):
    """A volume whose voxels are made where its source's array lies."""

    def __init__(self, volume: Computed, origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        super().__init__(volume, origin_um)
        self._made = volume.made

    def _read(self, box: Box) -> Array:
        return self._made(box)
