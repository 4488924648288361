"""Pixels without data, which must not be mixed with others: their value means nothing.

They are NaN while planes are interpolated, so that each voxel that takes part of one is NaN too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace

Range = tuple[float, float] | None


def without_data(sections: Sequence[Array], empty: Sequence[Range]) -> tuple[list[Array], bool]:
    """The sections with NaN for pixels without data, and whether there are any.

    Parameters
    ----------
    sections
        Arrays (rows, columns) of one type.
    empty
        The value of such pixels for each section, and the other end of their range (the same, if all have one value).
        None for a section without; empty if there are none at all.

    Returns
    -------
    float32 sections and True; or the sections as they are and False.
    """
    found = [_is_within(section, limits) for section, limits in zip(sections, empty, strict=False)]
    if not any(mask is not None and bool(mask.any()) for mask in found):
        return list(sections), False
    marked = [section.astype(np.float32) for section in sections]
    for section, mask in zip(marked, found, strict=True):
        if mask is not None:
            section[mask] = np.nan
    return marked, True


def with_empty(
    made: Array,
    sections: Sequence[Array],
    empty: Sequence[Range],
    plan: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.floating]],
    *,
    is_moved: bool,
) -> Array:
    """Planes of :func:`without_data` with the value of pixels without data in place of NaN, of the sections' type.

    Parameters
    ----------
    made
        float32 (planes, rows, columns).
    sections, empty
        As :func:`without_data` took them.
    plan
        ``lower``, ``upper`` and ``weight`` of each plane, as in :class:`gpustitch.regrid.plan.ZPlan`.
    is_moved
        Planes were moved sideways: none is a section as it was.

    Returns
    -------
    A new array of the shape of ``made``. Whole numbers are rounded, halves to even.
    """
    xp, dtype = namespace(made), sections[0].dtype
    out: Array = xp.empty(made.shape, dtype)
    for k, (low, high, weight) in enumerate(zip(*(values.tolist() for values in plan), strict=True)):
        if low >= 0 and not weight and not is_moved:
            out[k] = sections[low]
            continue
        limits = next((empty[i] for i in (low, high) if i >= 0 and empty[i] is not None), None)
        value = made[k] if limits is None else xp.where(xp.isnan(made[k]), np.float32(limits[0]), made[k])
        out[k] = value if dtype.kind == "f" else xp.rint(value)
    return out


def _is_within(section: Array, limits: Range) -> Array | None:
    """Where pixels have no data; None if all have."""
    if limits is None:
        return None
    # Compared as float32, as pixels are that were rescaled.
    low, high = (np.float32(limit) for limit in sorted(limits))
    mask: Array = (section >= low) & (section <= high)
    return mask
