"""Geometry of an oblique scan: camera frames in, an upright grid of voxels out.

Axis 0 of a frame stack is the frame f, axis 1 the camera row r, axis 2 the camera column c. Columns run
along the tilted sheet. With camera pixel p, stage step s and sheet angle theta, pixel (f, r, c) lies at

    x = f*s + c*p*cos(theta)        y = r*p        z = c*p*sin(theta)
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.box import ZYX, Box
from gpustitch.model.numbers import check_numbers, check_whole

# A frame position this close to a whole frame counts as that frame: x - shear * z of a large scan is not exact.
WHOLE_FRAME = 1e-9
# A shear this close to a whole number moves no voxel of a 2048-column frame by 1/1000 voxel.
_WHOLE_SHEAR = 5e-7


# Pixels and steps outside these bounds are nm or mm taken for um.
_PLAUSIBLE_UM = (0.01, 100.0)
# Neither is so many times the other.
_PLAUSIBLE_RATIO = 50
# Nothing is imaged with longer voxels, nor with ones shorter than the inverse, um.
_LARGEST_UM = 1e12


def is_voxel_um(um: float) -> bool:
    """Whether a voxel may be so long, in um: from 1e-12 to 1e12."""
    return 1 / _LARGEST_UM <= um <= _LARGEST_UM


def check_um(**sizes: tuple[str, float]) -> None:
    """Refuse sizes that no microscope has.

    Parameters
    ----------
    **sizes
        By the name of the parameter what it is called, and its value in um: a pixel, a step, or both.

    Raises
    ------
    ParameterError
        If a size is not positive or not plausible, or two are too unlike.
    """
    low, high = _PLAUSIBLE_UM
    for name, (what, um) in sizes.items():
        if not (math.isfinite(um) and um > 0):
            raise ParameterError(f"the {what} `{name}` must be a positive number of um, not {um}")
        if not low <= um <= high:
            unit, meant = ("nm", um / 1000) if um > high else ("mm", um * 1000)
            raise ParameterError(
                f"the {what} `{name}` is {um:g} um, but sizes are from {low:g} to {high:g} um; if {unit} were meant, "
                f"give {meant:g}"
            )
    smallest, *_, largest = sorted([um for _, um in sizes.values()] * 2)
    if largest > _PLAUSIBLE_RATIO * smallest:
        both = " and ".join(f"the {what} `{name}` {um:g} um" for name, (what, um) in sizes.items())
        raise ParameterError(
            f"{both} do not go together: one is at most {_PLAUSIBLE_RATIO} times the other; is one in another unit?"
        )


def check_sheet_angle(angle_deg: float) -> None:
    """ParameterError unless the sheet is neither along the stage's motion nor across it: between 0 and 90 degrees."""
    if not 0 < angle_deg < 90:
        raise ParameterError(f"the sheet angle `angle_deg` must be between 0 and 90 degrees, not {angle_deg}")


def column_step_um(pixel_um: float, angle_deg: float) -> tuple[float, float]:
    """Distance between neighbouring camera columns along x and z, um: p*cos(theta), p*sin(theta)."""
    angle = math.radians(angle_deg)
    return pixel_um * math.cos(angle), pixel_um * math.sin(angle)


def shear_of(pixel_um: float, step_um: float, angle_deg: float) -> float:
    """Grid columns by which each plane z of a scan is displaced along x: k = p*cos(theta)/s."""
    return column_step_um(pixel_um, angle_deg)[0] / step_um


def plane_frames(shear: float, z: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The two frames that the planes ``z`` are interpolated from, int64 and float64 of the shape of ``z``.

    Column x of a plane lies between the frames ``x + offset`` and ``x + offset + 1``. The second frame has the weight
    0 <= weight < 1. It is 0 where the plane meets the first frame exactly, and then the second one is not needed.
    """
    displacement = shear * z.astype(np.float64)
    whole = np.ceil(displacement - WHOLE_FRAME)
    weight = whole - displacement
    weight[np.abs(weight) <= WHOLE_FRAME] = 0
    return -whole.astype(np.int64), weight


@dataclass(frozen=True)
class Spacing:
    """Distance between neighbouring voxels along z, y and x, in um.

    Parameters
    ----------
    z_um, y_um, x_um
        Positive distances, um.

    Raises
    ------
    ParameterError
        If one is not positive and finite, or of no scale that is imaged.

    Examples
    --------
    >>> Spacing(2.0, 1.8, 1.28).zyx_um
    (2.0, 1.8, 1.28)
    """

    z_um: float
    y_um: float
    x_um: float

    def __post_init__(self) -> None:
        check_numbers(z_um=self.z_um, y_um=self.y_um, x_um=self.x_um)
        if not all(math.isfinite(v) and v > 0 for v in self.zyx_um):
            raise ParameterError(f"voxel spacing must be positive, not {self.zyx_um} um (z, y, x)")
        if not all(map(is_voxel_um, self.zyx_um)):
            raise ParameterError(
                f"voxel spacing must be from {1 / _LARGEST_UM:g} to {_LARGEST_UM:g}, not {self.zyx_um} um (z, y, x)"
            )

    @property
    def zyx_um(self) -> tuple[float, float, float]:
        """The three spacings in array order."""
        return self.z_um, self.y_um, self.x_um

    @property
    def xyz_nm(self) -> tuple[float, float, float]:
        """The three spacings as precomputed volumes state them: x first, nanometres."""
        return self.x_um * 1000, self.y_um * 1000, self.z_um * 1000

    @property
    def sheet_angle_deg(self) -> float:
        """Sheet angle that a de-obliqued grid of this spacing implies: asin(z / y), degrees; 90 where z >= y."""
        return math.degrees(math.asin(min(1.0, self.z_um / self.y_um)))


def _checked_absent(absent: Iterable[int], n_frames: int) -> tuple[int, ...]:
    """The numbers of absent frames, sorted, each once; ParameterError if one is no frame."""
    try:
        numbers = tuple(sorted({operator.index(number) for number in absent}))
    except TypeError:
        raise ParameterError(f"`absent` must be numbers of frames, not {absent!r:.60}") from None
    if numbers and not 0 <= numbers[0] <= numbers[-1] < n_frames:
        raise ParameterError(
            f"`absent` names the frames {numbers[0]} to {numbers[-1]}, but there are frames 0 to {n_frames - 1}"
        )
    return numbers


@dataclass(frozen=True)
class Coverage:
    """The voxels of a tile's grid that the camera saw: a parallelogram in (z, x) with holes, an interval in y.

    Voxel (z, y, x) lies at frame ``x - shear*z`` and is interpolated from the frames beside it, or from one frame
    alone. It is covered if these frames are among ``0 .. n_frames - 1`` and none is ``absent``, and if
    ``0 <= y < n_rows`` and ``0 <= z < n_columns``. A box-shaped volume has shear 0.

    ``absent`` is kept sorted.
    """

    n_frames: int
    n_rows: int
    n_columns: int
    shear: float = 0.0
    absent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "absent", _checked_absent(self.absent, self.n_frames))

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the smallest grid that holds the parallelogram, holes included."""
        extent = (self.n_frames - 1) + (self.n_columns - 1) * self.shear
        return self.n_columns, self.n_rows, math.ceil(extent - WHOLE_FRAME) + 1

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Half-open ranges of frames that are there without a gap, in order; each covers a parallelogram."""
        ends = [-1, *self.absent, self.n_frames]
        return tuple((a + 1, b) for a, b in itertools.pairwise(ends) if b > a + 1)

    def x_bounds(self, z: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """First and last x (inclusive, real-valued, in voxels) of the parallelogram on the planes ``z``."""
        first = np.asarray(z, dtype=np.float64) * self.shear
        return first, first + (self.n_frames - 1)

    def mask(self, box: Box) -> npt.NDArray[np.bool_]:
        """Which voxels of ``box`` are covered, shape ``box.shape``."""
        z, y, _ = (np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True))
        near, far = self._frames_beside(box)
        covered_zx = (near >= 0) & (far < self.n_frames) & ~self._holes(near, far)
        covered_zx &= ((z >= 0) & (z < self.n_columns))[:, None]
        covered_y = (y >= 0) & (y < self.n_rows)
        return np.asarray(covered_zx[:, None, :] & covered_y[None, :, None])

    def holes(self, box: Box) -> npt.NDArray[np.bool_]:
        """Which (z, x) of ``box`` need an absent frame, on all rows, shape ``(box.shape[0], box.shape[2])``."""
        return self._holes(*self._frames_beside(box))

    def holds(self, first: npt.ArrayLike, last: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether all frames are there that positions from ``first`` to ``last`` (real frame numbers) need."""
        low, high = np.floor(np.asarray(first) + WHOLE_FRAME), np.ceil(np.asarray(last) - WHOLE_FRAME)
        absent = np.searchsorted(self.absent, low) < np.searchsorted(self.absent, high, "right")
        return np.asarray((low >= 0) & (high <= self.n_frames - 1) & ~absent)

    def intersects(self, box: Box) -> bool:
        """Whether any voxel of ``box`` may be covered."""
        inside = box.intersect(Box.of_shape(self.shape))
        if inside.is_empty:
            return False
        frames = sorted(z * self.shear for z in (inside.start[0], inside.stop[0] - 1))
        return (
            inside.stop[2] - 1 >= frames[0] - WHOLE_FRAME
            and inside.start[2] <= frames[1] + self.n_frames - 1 + WHOLE_FRAME
        )

    def _frames_beside(self, box: Box) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The frames before and after each (z, x) of ``box``; twice the same where the voxel lies on a frame."""
        offset, weight = plane_frames(self.shear, np.arange(box.start[0], box.stop[0]))
        near = np.arange(box.start[2], box.stop[2]) + offset[:, None]
        return near, near + (weight > 0)[:, None]

    def _holes(self, near: npt.NDArray[np.int64], far: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        if not self.absent:
            return np.zeros(near.shape, bool)
        return np.isin(near, self.absent) | np.isin(far, self.absent)


@dataclass(frozen=True)
class ObliqueScan:
    """One stage run: ``n_frames`` camera frames of ``n_rows`` x ``n_columns`` pixels.

    Parameters
    ----------
    n_frames, n_rows, n_columns
        Shape of the frame stack; columns run along the tilted sheet (depth).
    pixel_um
        Camera pixel p in the sample, um.
    step_um
        Distance s that the stage moves between frames, um.
    angle_deg
        Angle theta between the sheet and the stage's motion, 0 < theta < 90.
    absent
        Frames that are not there, kept sorted. They keep their place and cover nothing.
    """

    n_frames: int
    n_rows: int
    n_columns: int
    pixel_um: float
    step_um: float
    angle_deg: float = 45.0
    absent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_whole(n_frames=self.n_frames, n_rows=self.n_rows, n_columns=self.n_columns)
        check_numbers(pixel_um=self.pixel_um, step_um=self.step_um, angle_deg=self.angle_deg)
        if min(self.n_frames, self.n_rows, self.n_columns) < 1:
            raise ParameterError(
                f"a scan needs at least one frame, row and column, not "
                f"{self.n_frames} x {self.n_rows} x {self.n_columns}"
            )
        check_um(pixel_um=("voxel size", self.pixel_um), step_um=("step size", self.step_um))
        check_sheet_angle(self.angle_deg)
        object.__setattr__(self, "absent", _checked_absent(self.absent, self.n_frames))

    @property
    def spacing(self) -> Spacing:
        """Spacing of the de-obliqued grid: (p*sin(theta), p, s)."""
        return Spacing(column_step_um(self.pixel_um, self.angle_deg)[1], self.pixel_um, self.step_um)

    @property
    def shear(self) -> float:
        """Grid columns by which each plane z is displaced along x: :func:`shear_of`.

        A value within rounding of a whole number becomes that number. So p = s*sqrt(2) at 45 degrees
        makes an exact copy.
        """
        shear = shear_of(self.pixel_um, self.step_um, self.angle_deg)
        whole = round(shear)
        return float(whole) if abs(shear - whole) < _WHOLE_SHEAR else shear

    @property
    def coverage(self) -> Coverage:
        """The voxels of the de-obliqued grid that the camera saw."""
        return Coverage(self.n_frames, self.n_rows, self.n_columns, self.shear, self.absent)

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x) of the de-obliqued grid."""
        return self.coverage.shape

    def frames_of(self, box: Box) -> tuple[int, int]:
        """Half-open range of the frames that interpolating ``box`` (in grid voxels) needs; may be empty."""
        box = box.intersect(Box.of_shape(self.shape))
        if box.is_empty:
            return 0, 0
        frames = [x - self.shear * z for x in (box.start[2], box.stop[2] - 1) for z in (box.start[0], box.stop[0] - 1)]
        first, last = math.floor(min(frames) + WHOLE_FRAME), math.ceil(max(frames) - WHOLE_FRAME)
        start = min(max(0, first), self.n_frames)
        return start, max(start, min(self.n_frames, last + 1))
