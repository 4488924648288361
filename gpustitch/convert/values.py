"""Voxels of one type as voxels of another: rounded, cut off at the limits of the type, and counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def as_type(voxels: npt.NDArray[Any], dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], int]:
    """Voxels as ``dtype``, and how many of them have another value than a rounded one.

    Whole numbers are the nearest ones, halves to even. Values beyond the limits of the type become the limit, and what
    is no number becomes 0 in a type of whole numbers; both are counted. float32 and float64 keep what is not finite.
    """
    if voxels.dtype == dtype:
        return voxels, 0
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            found = voxels.astype(dtype)
        beyond = np.isfinite(voxels) & ~np.isfinite(found)
        if n_beyond := int(beyond.sum()):
            found[beyond] = np.copysign(np.finfo(dtype).max, voxels[beyond])
        return found, n_beyond
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if voxels.dtype.kind == "f":
        voxels = np.rint(voxels)
        # Doubles hold every limit of a type of up to 32 bits exactly, and compare with it as numbers.
        voxels = voxels.astype(np.float64, copy=False)
    is_inside = (voxels >= least) & (voxels <= most)
    n_beyond = int(voxels.size - np.count_nonzero(is_inside))
    if not n_beyond:
        return voxels.astype(dtype), 0
    held = np.where(np.isnan(voxels), 0, voxels) if voxels.dtype.kind == "f" else voxels
    # The limits of the two types that both hold: numpy compares no number with an array that cannot hold it.
    if held.dtype.kind != "f":
        least, most = max(least, int(np.iinfo(held.dtype).min)), min(most, int(np.iinfo(held.dtype).max))
    return np.clip(held, least, most).astype(dtype), n_beyond


def changed_text(count: int, dtype: np.dtype[Any]) -> str:
    """A warning about voxels that :func:`as_type` counts."""
    return f"{count:,} voxels lie beyond the limits of {dtype}, or are no numbers: they are cut off, or 0"
