"""Boxes that reach beyond what they are read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.model import ZYX, Box
from gpustitch.model.arrays import HostArray


def padded(box: Box, shape: ZYX, dtype: npt.DTypeLike, read: Callable[[Box], HostArray], xp: Any = np) -> HostArray:
    """The voxels of a box, zero outside a volume.

    Parameters
    ----------
    box
        The box, in voxels of the volume; any part of it may lie outside.
    shape
        Shape (z, y, x) of the volume.
    dtype
        Type of the voxels.
    read
        Reads a box that lies inside and is not empty. Its result is returned as it is if ``box`` lies inside.
    xp
        The library of what is read.

    Returns
    -------
    Array of shape ``box.shape``.
    """
    inside = box.intersect(Box.of_shape(shape))
    if inside.is_empty:
        return xp.zeros(box.shape, dtype)  # type: ignore[no-any-return]
    voxels = read(inside)
    if inside == box:
        return voxels
    out: HostArray = xp.zeros(box.shape, dtype)
    out[inside.slices(box.start)] = voxels
    return out
