"""Whatever holds frames, planes or voxels, as what the steps take: arrays of any library, files, lazy volumes."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import CPU, Array, Device, choose_device, library_of, namespace, refuse_unlike
from gpustitch.array.namespace import is_array
from gpustitch.array.transfer import taken
from gpustitch.errors import ParameterError
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.planes.adapters import ArrayPlanes, VolumePlanes
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model import Box, Coverage, Frames, Spacing, Volume
from gpustitch.verbs.labels import check_order, stated_by
from gpustitch.verbs.lazy import Computed, ComputedVolume, Lazy, LazyFrames, LazyVolume

_KINDS = "an array of three axes, frames, a volume or a path"


def choosing(how: Mapping[str, Any]) -> dict[str, Any]:
    """Options of opening a path, with ``stack_channel``, ``stack_time`` and ``stack_series`` as one ``choice``."""
    names = [field.name for field in dataclasses.fields(StackChoice)]
    chosen = {name: None if how[name] is None else str(how[name]) for name in names if name in how}
    rest = {name: value for name, value in how.items() if name not in chosen}
    if not chosen:
        return rest
    if "choice" in rest:
        raise ParameterError(f"`choice` and `{next(iter(chosen))}` say the same; leave out one of them")
    return {**rest, "choice": StackChoice(**chosen)}


def array_of(source: Any) -> Array:
    """All of it, as a NumPy array in the machine's byte order or a CuPy one.

    TypeError for a masked array and for what is no array, ParameterError for one that does not hold numbers.
    """
    if isinstance(source, Lazy):
        return source[...]
    if not is_array(source):
        raise TypeError(f"an array was expected, not {type(source).__name__}")
    check_order(source)
    array = taken(source)
    if array.dtype.kind not in "uif":
        raise ParameterError(f"the array holds {array.dtype}; whole or real numbers were expected")
    # Kernels see bytes: those of the other order would be other numbers.
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def shaped(source: Any) -> Any:
    """The source; an array of it, if all that it can do is become one."""
    return taken(source) if is_array(source) and not hasattr(source, "shape") else source


def whole_number(value: Any, name: str) -> int:
    """``value`` as an int; ParameterError if it is none."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ParameterError(f"`{name}` must be a whole number, not {value!r:.60}") from None


def real_numbers(values: Any, name: str, n: int, axes: str) -> tuple[float, ...]:
    """``n`` finite numbers as floats; ParameterError for anything else."""
    found: tuple[float, ...] = ()
    if not isinstance(values, str | bytes):
        try:
            given = list(values)
            found = () if any(isinstance(value, str | bytes) for value in given) else tuple(map(float, given))
        except (TypeError, ValueError, OverflowError):
            found = ()
    if len(found) != n or not all(map(math.isfinite, found)):
        raise ParameterError(f"`{name}` must be {n} finite numbers ({axes}), not {values!r:.60}")
    return found


def spacing_given(spacing_um: Any) -> Spacing:
    """Three numbers (z, y, x), um, as a spacing; ParameterError for anything else."""
    return Spacing(*real_numbers(spacing_um, "spacing_um", 3, "z, y, x"))


def device_of(source: Any) -> Device:
    """The device that an array of any library lies on; the host for all that is read from files."""
    found: Any = _on_device(source)
    return CPU if found is None else choose_device(f"cuda:{int(found.device.id)}")


def _on_device(source: Any) -> Array | None:
    """An array on a CUDA device as CuPy's, without a copy; None for everything else. Nothing is read."""
    refuse_unlike(source)
    if isinstance(source, np.ndarray | Lazy):
        return None
    is_cuda = hasattr(source, "__cuda_array_interface__")
    if not is_cuda and (hasattr(source, "__array__") or not hasattr(source, "__dlpack__")):
        return None
    array = taken(source)
    return None if library_of(array) == "numpy" else array


def frames_of(source: Any, **how: Any) -> Frames:
    """Frames of an array (frame, row, column) of any library, of a path, or frames as they are.

    ``how`` a path is opened: :func:`gpustitch.io.frames.opening.open_frames`.
    """
    if isinstance(source, str | Path):
        return open_frames(source, **how)
    if isinstance(source, LazyFrames):
        return source.frames
    if hasattr(source, "absent") and hasattr(source, "read"):
        return source  # type: ignore[no-any-return]
    return planes_of(source)


def planes_of(source: Any) -> Planes:
    """Planes of an array (plane, row, column) of any library, of frames, a volume or a path."""
    if isinstance(source, str | Path):
        return open_planes(source)
    if isinstance(source, LazyVolume):
        return VolumePlanes(source.volume, "the volume", source.spacing)
    if isinstance(source, LazyFrames):
        return ArrayPlanes(source, "the frames")  # type: ignore[arg-type]
    if hasattr(source, "depth") and hasattr(source, "read"):
        return source  # type: ignore[no-any-return]
    check_order(source)
    source = shaped(source)
    if not is_array(source):
        raise TypeError(f"{_KINDS} was expected, not {type(source).__name__}")
    return ArrayPlanes(source)


def volume_of(source: Any, spacing_um: tuple[float, float, float] | None = None) -> LazyVolume:
    """A lazy volume of an array (z, y, x) of any library, or of a volume; coordinates in um are its place.

    Raises
    ------
    ParameterError
        If an array comes without ``spacing_um``, a volume or coordinates have another, or axes are in another order.
    """
    if isinstance(source, LazyVolume) or (hasattr(source, "coverage") and hasattr(source, "read")):
        volume = source if isinstance(source, LazyVolume) else LazyVolume(source)
        if spacing_um is not None and not np.allclose(spacing_given(spacing_um).zyx_um, volume.spacing_um, atol=0):
            raise ParameterError(f"`spacing_um` is {tuple(spacing_um)}, but the volume says {volume.spacing_um}")
        return volume
    stated = stated_by(source)
    if stated is None and spacing_um is None:
        raise ParameterError("`spacing_um` is needed: an array does not say how far apart its voxels are (z, y, x)")
    if stated is None:
        return ComputedVolume(ArraySource(source, spacing_given(spacing_um)))
    if spacing_um is not None and not np.allclose(spacing_given(spacing_um).zyx_um, stated[0].zyx_um, atol=0):
        raise ParameterError(f"`spacing_um` is {tuple(spacing_um)}, but coordinates say {stated[0].zyx_um}")
    return ComputedVolume(ArraySource(source, stated[0]), stated[1])


class ArraySource(Computed):
    """An array (z, y, x) of any library as a volume, parts of which stay where the array lies.

    Raises
    ------
    TypeError
        If this is no array, or is masked.
    DamagedInputError
        If it has other than three axes, or does not hold numbers.
    """

    def __init__(self, array: Any, spacing: Spacing) -> None:
        check_order(array)
        array = shaped(array)
        if not is_array(array):
            raise TypeError(f"an array (z, y, x) was expected, not {type(array).__name__}")
        planes = ArrayPlanes(array, "the volume")
        z, y, x = planes.shape
        there = _on_device(array)
        super().__init__(planes.dtype, spacing, Coverage(x, y, z), np if there is None else namespace(there))
        self._array = array

    def _inside(self, box: Box) -> Array:
        return taken(self._array[box.slices()]).astype(self.dtype, copy=True)


def voxels_of(volume: Volume, box: Box) -> Array:
    """Voxels of ``box``, where the volume's source lies if that can be; zero outside the grid."""
    return volume.made(box) if isinstance(volume, Computed) else volume.read(box)
