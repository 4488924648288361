"""Types of voxels and matrices to the patient, as callers state them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats

# No voxel is longer, or farther away, mm; none is so many times shorter.
_FARTHEST_MM = 1e12
# Three axes of length 1 that span less than this lie in a plane.
_FLAT = 1e-6


def type_stated(dtype: Any) -> np.dtype[Any]:
    """The type of voxels.

    Raises
    ------
    ParameterError
        If NumPy takes ``dtype`` for no type.
    """
    try:
        found: np.dtype[Any] | None = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None:
        raise ParameterError(f"`dtype` must be a type of numbers, such as 'uint16', not {dtype!r:.60}")
    return found


def matrix_stated(affine_lps_mm: npt.ArrayLike | None) -> Floats | None:
    """The matrix from voxel (x, y, z, 1) to mm in the patient (LPS), float64 (4, 4); None if there is none.

    Raises
    ------
    ParameterError
        If it gives voxels no place: what is written with it could not be read again.
    """
    if affine_lps_mm is None:
        return None
    try:
        given = np.asarray(affine_lps_mm)
        found = given.astype(np.float64) if given.dtype.kind in "iuf" else np.zeros(0)
    except ValueError:  # rows of unequal length
        found = np.zeros(0)
    if found.shape == (4, 4) and (np.abs(found) < _FARTHEST_MM).all() and found[3].tolist() == [0, 0, 0, 1]:
        sizes = np.linalg.norm(found[:3, :3], axis=0)
        if sizes.min() > 1 / _FARTHEST_MM and abs(np.linalg.det(found[:3, :3] / sizes)) > _FLAT:
            return found
    raise ParameterError(
        "`affine_lps_mm` must be a matrix of 4 x 4 numbers, whose last row is 0, 0, 0, 1 and whose axes differ, not "
        f"{affine_lps_mm!r:.100}"
    )
