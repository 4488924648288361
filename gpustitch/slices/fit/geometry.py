"""Slices in the body: their normal, where along it they are, how far that may be off, and how they move sideways.

Positions are those of DICOM (x, y, z in mm, LPS). ``directions`` are rows of unit vectors: the normal, that along a
column of pixels (to higher rows), that along a row (to higher columns); the axes z, y, x of the volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, Integers
from gpustitch.slices.fit.lines import least_squares_line

# Direction cosines that are further from unit length, or from a right angle, contradict themselves.
NOT_A_FRAME = 0.02
# Positions nearer than this part of the usual interval are one.
SAME_PLACE = 1e-3
# An interval more than _FAR times as wide as all others leads to a slice whose position is wrong. The others must be
# _SERIES or more and differ by less than the factor _ALIKE. Gaps of series and spacings that vary stay far below.
_FAR = 50
_SERIES = 8
_ALIKE = 8
# Shift sideways for each mm along the normal above which a stack is sheared.
SHEARED = 1e-3
_MOST_DECIMALS = 12  # about as many as float64 holds of hundreds of mm
# A position along the normal is computed from three binary numbers: its error, as a part of the greatest of them.
_ARITHMETIC = 8 * np.finfo(np.float64).eps


def mean_directions(rows: Floats, columns: Floats) -> Floats:
    """The right-handed frame nearest to the direction cosines of all slices.

    Parameters
    ----------
    rows, columns
        float64 (n, 3): unit vectors along rows and along columns of each slice.

    Returns
    -------
    float64 (3, 3): rows are the normal (row x column), the column direction, the row direction.

    Raises
    ------
    ParameterError
        If a vector is no unit vector, two are not perpendicular, or slices are not parallel.
    """
    pairs = np.stack([columns, rows], 1).astype(np.float64)
    grams = pairs @ pairs.transpose(0, 2, 1)
    if not np.isfinite(pairs).all() or (np.abs(grams - np.eye(2)) > NOT_A_FRAME).any():
        raise ParameterError("direction cosines are two unit vectors at a right angle")
    mean = pairs.mean(0)
    if (np.abs(pairs - mean) > NOT_A_FRAME).any():
        raise ParameterError("slices are not parallel")
    left, _, right = np.linalg.svd(mean, full_matrices=False)
    column, row = left @ right
    return np.stack([np.cross(row, column), column, row])


def decimals_quantum(values: npt.ArrayLike) -> float:
    """Value of the last decimal that any of the numbers needs, 1 for whole numbers."""
    given = np.asarray(values, np.float64)
    for decimals in range(_MOST_DECIMALS):
        if (np.round(given, decimals) == given).all():
            return float(10.0**-decimals)
    return float(10.0**-_MOST_DECIMALS)


def quantum_of_series(quanta: Floats, positions: Floats) -> Floats:
    """Value of the last decimal of each coordinate of a series.

    Programs leave out zeros at the end. The finest in the series counts, and a coordinate that never changes shows no
    decimals of its own: it has those of the others.

    Parameters
    ----------
    quanta, positions
        float64 (n, 3): of each slice as written.

    Returns
    -------
    float64 (3,)
    """
    finest: Floats = quanta.min(0)
    moves = positions.min(0) < positions.max(0)
    if moves.any():
        finest = np.where(moves, finest, min(finest.min(), finest[moves].min()))
    return finest


def rounding_error(quantum: Floats, normal: Floats, positions: Floats) -> float:
    """Greatest error along the normal: half of the last decimals, and that of arithmetic with binary numbers."""
    return float(rounding_errors(quantum[None] / 2, normal, positions)[0])


def rounding_errors(errors: Floats, normal: Floats, positions: Floats) -> Floats:
    """Greatest error along the normal of each slice, from those of its coordinates and that of arithmetic.

    Parameters
    ----------
    errors
        float64 (n, 3): half of the last decimals, and what else coordinates may be off.
    normal
        float64 (3,): unit vector.
    positions
        float64 (m, 3): whose size tells the error of arithmetic.

    Returns
    -------
    float64 (n,)
    """
    arithmetic = _ARITHMETIC * np.abs(positions).max(0)
    return np.asarray((errors + arithmetic) @ np.abs(normal))


def same_places(positions_mm: Floats) -> Integers:
    """Number of the place of each slice: 0, 0, 1, 2, 2 ... for ascending positions along the normal.

    Positions are one place within a thousandth of the usual interval (the median of those that are none).

    Parameters
    ----------
    positions_mm
        float64 (n,): ascending.
    """
    gaps = np.diff(positions_mm)
    if not gaps.any():
        return np.zeros(len(positions_mm), np.int64)
    wide = gaps[gaps > SAME_PLACE * _without_far(gaps).mean()]
    return np.concatenate([[0], np.cumsum(gaps > SAME_PLACE * np.median(wide))]).astype(np.int64)


def _without_far(gaps: Floats) -> Floats:
    """Intervals without one or two that are far wider than the others: a slice whose position is wrong.

    Copies at two or three places look alike, but the intervals between them are errors of arithmetic, which vary.
    """
    wide = np.sort(gaps[gaps > 0])
    for n in (1, 2):
        rest = wide[:-n]
        if len(rest) >= _SERIES and wide[-n] > _FAR * rest[-1] and rest[-1] < _ALIKE * rest[0]:
            return rest
    return gaps


@dataclass(frozen=True)
class Drift:
    """How slices move sideways along the normal: on a straight line, ``start + slope * position``.

    Attributes
    ----------
    start_mm, slope
        (y, x): along columns and along rows.
    shear
        The slopes that are more than errors make, others 0.
    crooked_mm
        Greatest distance of a slice from the line.
    """

    start_mm: tuple[float, float]
    slope: tuple[float, float]
    shear: tuple[float, float]
    crooked_mm: float


def drift(positions_mm: Floats, sideways_mm: Floats, least: npt.ArrayLike) -> Drift:
    """Fit a straight line to the shift sideways.

    Parameters
    ----------
    positions_mm
        float64 (n,): along the normal.
    sideways_mm
        float64 (n, 2): along columns and along rows.
    least
        Slopes up to this are no shear: one number, or one for each of the two.
    """
    if len(positions_mm) < 2 or positions_mm.max() == positions_mm.min():
        y, x = sideways_mm[0]
        return Drift((float(y), float(x)), (0.0, 0.0), (0.0, 0.0), 0.0)
    lines = [least_squares_line(positions_mm, side)[:2] for side in sideways_mm.T]
    rest = sideways_mm - np.stack([slope * positions_mm + start for slope, start in lines], 1)
    slope = lines[0][0], lines[1][0]
    y, x = (s if abs(s) > limit else 0.0 for s, limit in zip(slope, np.broadcast_to(least, 2), strict=True))
    return Drift((lines[0][1], lines[1][1]), slope, (y, x), float(np.hypot(*rest.T).max()))


def least_shear(quantum: Floats, directions: Floats, cosines: Floats, extent_mm: float) -> Floats:
    """Slopes below which a shift sideways may come from the decimals of positions or of direction cosines.

    Decimals of one coordinate move slices only along the directions that the coordinate is part of: whole numbers along
    the normal do not hide a tilt.

    Parameters
    ----------
    quantum
        float64 (3,): value of the last decimal of positions.
    directions
        float64 (3, 3): the normal, the column direction, the row direction.
    cosines
        Direction cosines as written.
    extent_mm
        From the first slice to the last.

    Returns
    -------
    float64 (2,): along columns and along rows.
    """
    step = decimals_quantum(cosines)
    by_positions = np.abs(directions[1:]) @ quantum / extent_mm
    return np.maximum(by_positions, max(SHEARED, step if step < 1 else 0.0))


def first_voxel(position_mm: float, sideways: Drift, directions: Floats) -> tuple[float, float, float]:
    """Center of the first voxel (x, y, z) of the plane at a position along the normal."""
    y, x = (start + slope * position_mm for start, slope in zip(sideways.start_mm, sideways.slope, strict=True))
    at = position_mm * directions[0] + y * directions[1] + x * directions[2]
    return float(at[0]), float(at[1]), float(at[2])


def volume_affine(
    origin_mm: tuple[float, float, float],
    directions: Floats,
    spacing_mm: tuple[float, float, float],
    shear: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """Matrix from voxel (x, y, z, 1) to mm (LPS).

    Parameters
    ----------
    origin_mm
        Center of the first voxel (x, y, z).
    directions
        float64 (3, 3): unit vectors, in rows, of the axes z, y, x.
    spacing_mm
        (z, y, x).
    shear
        (y, x) of a volume whose planes lie where its slices were; nothing if they were shifted over each other.
    """
    axes = np.array(directions, np.float64)
    axes[0] += shear[0] * axes[1] + shear[1] * axes[2]
    matrix = np.eye(4)
    matrix[:3, 2::-1] = (axes * np.asarray(spacing_mm)[:, None]).T
    matrix[:3, 3] = origin_mm
    return matrix
