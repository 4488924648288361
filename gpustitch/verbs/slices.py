"""Steps on series of slices: what is true of their spacing, and an even volume of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.write.format import origin_along_axes_um
from gpustitch.model import Spacing
from gpustitch.regrid.plan import GAP, OUTSIDE, plan_z
from gpustitch.regrid.zresample import planes_between
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict import stage as verdict_stage
from gpustitch.slices.verdict.judge import JudgeOptions
from gpustitch.slices.verdict.pixels import slice_planes
from gpustitch.slices.volume.background import background_of, background_warnings
from gpustitch.slices.volume.choice import check_usable, chosen_stack
from gpustitch.slices.volume.options import ResampleOptions
from gpustitch.slices.volume.plane_grid import grid_affine, plane_grid
from gpustitch.slices.volume.stage import check_pixels
from gpustitch.verbs.lazy import ComputedVolume
from gpustitch.verbs.sources import ArraySource
from gpustitch.verbs.told import TOLD, tell

_UM_PER_MM = 1000.0
_NOWHERE = (0.0, 0.0, 0.0)


def judge(paths: str | Path | Iterable[str | Path], **how: Any) -> list[SliceStack]:
    """What is true of the slice spacing of each series at paths: DICOM, TIFF and other images.

    Parameters
    ----------
    paths
        Files, folders and globs; one or several.
    **how
        Fields of :class:`gpustitch.slices.verdict.judge.JudgeOptions`, such as ``split_by`` or ``tolerance``.

    Returns
    -------
    The series. ``spacing_mm`` is (z, y, x), ``notes`` are warnings, ``advice`` says what to do, ``is_usable`` whether
    a volume can be made.

    Raises
    ------
    InputMissingError, DamagedInputError
        If nothing is there, or all of it is unreadable.
    """
    return verdict_stage.judge(paths, JudgeOptions(**how), TOLD)


class SliceVolume(ComputedVolume):
    """Evenly spaced planes of a series of slices, in memory.

    Attributes
    ----------
    stack
        The series as it was judged.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm in the patient (LPS); None where the series does not state it.
    """

    def __init__(self, source: ArraySource, stack: SliceStack, affine_lps_mm: Any) -> None:
        super().__init__(source, _NOWHERE if affine_lps_mm is None else origin_along_axes_um(affine_lps_mm))
        self.stack = stack
        self.affine_lps_mm = affine_lps_mm


def resample_slices(
    source: str | Path | SliceStack,
    *,
    spacing_mm: float | None = ResampleOptions.spacing_mm,
    series: str | None = ResampleOptions.series,
    fill_gaps: bool = ResampleOptions.fill_gaps,
    nearest: bool = ResampleOptions.nearest,
    background: float | None = ResampleOptions.background,
    **how: Any,
) -> SliceVolume:
    """An even volume of a series of slices; where it is even, the slices themselves.

    A sheared stack (tilted gantry) stays sheared: ``affine_lps_mm`` says so.

    Parameters
    ----------
    source
        A path, or a series of :func:`gpustitch.judge`.
    spacing_mm, series, fill_gaps, nearest, background
        As of :class:`gpustitch.slices.volume.stage.ResampleOptions`.
    **how
        Fields of :class:`gpustitch.slices.verdict.judge.JudgeOptions`, for a path.

    Raises
    ------
    ParameterError
        If an option is out of range, none of several series is chosen, or the pixel size is not known.
    DamagedInputError
        If no volume can be made of the series.
    """
    stack = source if isinstance(source, SliceStack) else chosen_stack(judge(source, **how), series)
    stack = check_usable(stack, spacing_mm=spacing_mm)
    for note in stack.notes:
        tell(f"{stack.series.name}: {note.text}")
    planes = slice_planes(stack)
    value = background_of(planes, background)
    check_pixels(planes, value, spacing_mm)
    if planes.samples > 1:
        raise ParameterError(f"{planes.name} has colors; gpustitch resample writes them to NIfTI or TIFF")
    along = plane_grid(stack.fit, stack.positions_mm, spacing_mm)
    plan = plan_z(along.series, along.grid, limits=along.limits, fill_gaps=fill_gaps, nearest=nearest)
    pixels = planes.read(0, planes.shape[0])
    made = planes_between(list(pixels), plan.lower, plan.upper, plan.weight)
    empty = np.isin(plan.plane_origin, (GAP, OUTSIDE))
    made[empty] = value
    for text in background_warnings(stack, value) if empty.any() else ():
        tell(text)
    _, y_mm, x_mm = stack.spacing_mm
    if y_mm is None or x_mm is None:
        raise ParameterError(f"{stack.series.name} does not state the size of a pixel (`pixel_spacing_mm`)")
    spacing = Spacing(along.grid.step * _UM_PER_MM, y_mm * _UM_PER_MM, x_mm * _UM_PER_MM)
    return SliceVolume(ArraySource(made, spacing), stack, grid_affine(stack, along, unsheared=False))
