"""Arrays whose axes have names and places, as those of xarray: what they say of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.units import um_per
from gpustitch.model import Spacing

_AXES = ("z", "y", "x")
# Steps of coordinates differ by less than this part.
_EVEN = 1e-6
_ROUNDED = 1e-15


def check_order(array: Any) -> None:
    """ParameterError if an array names its axes z, y or x in another order, which would be taken for this one."""
    dims = getattr(array, "dims", None)
    if not isinstance(dims, tuple) or not all(isinstance(name, str) for name in dims):
        return
    found = [name for name in map(str.lower, dims) if name in _AXES]
    wanted = [name for name in _AXES if name in found]
    if found != wanted:
        raise ParameterError(f"the axes of the array are {', '.join(dims)}; transpose it to {', '.join(wanted)}")


def stated_by(array: Any) -> tuple[Spacing, tuple[float, float, float]] | None:
    """Spacing, and centre (z, y, x) of the first voxel, um, that coordinates state.

    None unless all three axes have even ascending coordinates with a unit of length.
    """
    coords = getattr(array, "coords", None)
    if coords is None or getattr(array, "dims", None) != _AXES or not all(axis in coords for axis in _AXES):
        return None
    steps, first = [], []
    for axis in _AXES:
        um = um_per(coords[axis].attrs.get("units"))
        at = np.asarray(coords[axis])
        if um is None or at.ndim != 1 or len(at) < 2 or at.dtype.kind not in "uif":
            return None
        step = float(at[-1] - at[0]) / (len(at) - 1)
        # Coordinates far from 0 have few digits for their steps.
        off = np.abs(np.diff(at.astype(np.float64)) - step).max()
        if step <= 0 or off > _EVEN * step + _ROUNDED * float(np.abs(at).max()):
            return None
        steps.append(step * um)
        first.append(float(at[0]) * um)
    return Spacing(*steps), (first[0], first[1], first[2])
