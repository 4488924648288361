"""Steps on series of slices: what is true of their spacing, and an even volume of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, cpu_count
from gpustitch.errors import ParameterError
from gpustitch.io.write.format import origin_along_axes_um
from gpustitch.model import Box
from gpustitch.model.arrays import Floats
from gpustitch.regrid.stage import write_blocks
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict import stage as verdict_stage
from gpustitch.slices.verdict.judge import JudgeOptions
from gpustitch.slices.verdict.pixels import slice_planes
from gpustitch.slices.volume.choice import check_usable, chosen_stack
from gpustitch.slices.volume.options import ResampleOptions
from gpustitch.slices.volume.planned import VolumePlan
from gpustitch.slices.volume.stage import ResamplePlan, cautions, planned
from gpustitch.verbs.lazy import ComputedVolume
from gpustitch.verbs.sources import ArraySource
from gpustitch.verbs.told import TOLD, tell
from gpustitch.verbs.typed import typed

_NOWHERE = (0.0, 0.0, 0.0)
# Options tell by a format what it cannot hold; memory holds what NIfTI does.
_IN_MEMORY = Path("the volume.nii")


@typed(JudgeOptions)
def judge(paths: str | Path | Iterable[str | Path], **how: Any) -> list[SliceStack]:
    """Judge the slice spacing of each series at paths: DICOM, TIFF and other images.

    Parameters
    ----------
    paths
        Files, folders and globs; one or several.
    **how
        Fields of :class:`gpustitch.slices.verdict.judge.JudgeOptions`, such as ``split_by`` or ``tolerance``.

    Returns
    -------
    list of SliceStack
        One for each series. ``spacing_mm`` is (z, y, x), ``notes`` are warnings, ``advice`` says what to do,
        ``is_usable`` whether a volume can be made.

    Raises
    ------
    InputMissingError, DamagedInputError
        If nothing is there, or all of it is unreadable.

    Examples
    --------
    >>> import gpustitch as gs
    >>> [(stack.spacing_mm, stack.advice) for stack in gs.judge("CT/")]
    [((2.0, 0.5, 0.5), 'Use 2 mm for all slices.')]
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
    stretches
        Volumes of the stretches of equally spaced slices, if they were asked for.
    """

    stretches: tuple[SliceVolume, ...] = ()

    def __init__(self, source: ArraySource, stack: SliceStack, affine_lps_mm: Floats | None) -> None:
        super().__init__(source, _NOWHERE if affine_lps_mm is None else origin_along_axes_um(affine_lps_mm))
        self.stack = stack
        self.affine_lps_mm = affine_lps_mm


@typed(JudgeOptions)
def resample_slices(
    source: str | Path | Iterable[str | Path] | SliceStack,
    *,
    spacing_mm: float | None = ResampleOptions.spacing_mm,
    series: str | None = ResampleOptions.series,
    fill_gaps: bool = ResampleOptions.fill_gaps,
    stretches: bool = ResampleOptions.stretches,
    unshear: bool = ResampleOptions.unshear,
    nearest: bool = ResampleOptions.nearest,
    background: float | None = ResampleOptions.background,
    pixel_spacing_mm: tuple[float, float] | None = ResampleOptions.pixel_spacing_mm,
    **how: Any,
) -> SliceVolume:
    """Make an evenly spaced volume of a series of slices; slices that are evenly spaced stay as they are.

    Parameters
    ----------
    source
        A path or several, or a series of :func:`gpustitch.judge`.
    spacing_mm, series, fill_gaps, stretches, unshear, nearest, background, pixel_spacing_mm
        As of :class:`gpustitch.slices.volume.options.ResampleOptions`. Without ``unshear`` a stack of a tilted gantry
        stays sheared, and ``affine_lps_mm`` says so. ``pixel_spacing_mm`` is (y, x).
    **how
        Fields of :class:`gpustitch.slices.verdict.judge.JudgeOptions`, for paths.

    Returns
    -------
    SliceVolume
        (z, y, x), of the slices' type, in memory, with ``affine_lps_mm``. Voxels without data are ``background``. With
        ``stretches`` it also has a volume of each stretch. What is doubtful is a warning.

    Raises
    ------
    ParameterError
        If an option is out of range, none of several series is chosen, or the pixel size is not known.
    DamagedInputError
        If no volume can be made of the series.

    Examples
    --------
    >>> import gpustitch as gs
    >>> volume = gs.resample_slices("CT/")
    >>> volume.shape[0], volume.spacing_um
    (12, (2000.0, 500.0, 500.0))
    """
    if isinstance(source, SliceStack):
        given = [*how, *(["series"] if series is not None else [])]
        if given:
            raise ParameterError(f"`{given[0]}` is about paths, but a series is given that was judged")
        stack = source
    else:
        stack = chosen_stack(judge(source, **how), series)
    stack = check_usable(stack, pixel_spacing_mm, spacing_mm)
    planes = slice_planes(stack)
    if planes.samples > 1:
        raise ParameterError(f"{planes.name} has colors; gpustitch resample writes them to NIfTI or TIFF")
    options = ResampleOptions(
        (), _IN_MEMORY, spacing_mm=spacing_mm, fill_gaps=fill_gaps, stretches=stretches, unshear=unshear,
        nearest=nearest, background=background, pixel_spacing_mm=pixel_spacing_mm, stack=stack, planes=planes,
    )  # fmt: skip
    job = planned(ResamplePlan(options, stack, planes, CPU, cpu_count(), is_in_memory=True))
    for text in cautions(job):
        tell(text)
    whole, *parts = (_made(stack, volume, planes.dtype) for volume in job.volumes)
    whole.stretches = tuple(parts)
    return whole


def _made(stack: SliceStack, volume: VolumePlan, dtype: np.dtype[Any]) -> SliceVolume:
    """The voxels of a planned volume."""
    output: Any = _Voxels(np.zeros(volume.shape, dtype))
    write_blocks(volume.blocks, output, in_order=False)
    return SliceVolume(ArraySource(output.voxels, volume.spacing), stack, volume.affine)


class _Voxels:
    """What takes blocks, of the methods of a writer those that making a volume calls."""

    def __init__(self, voxels: npt.NDArray[Any]) -> None:
        self.voxels = voxels

    def write(self, box: Box, voxels: npt.NDArray[Any]) -> None:
        """Keep the voxels of a box."""
        self.voxels[box.slices()] = voxels

    def skip(self, box: Box) -> None:
        """A box of zeros."""
