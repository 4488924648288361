"""From sections at uneven positions to a volume of evenly spaced planes.

:mod:`gpustitch.regrid.stage` cuts the work and does it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import CPU, Device
from gpustitch.array.transfer import hosted
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import check_apart, check_free_space, check_output
from gpustitch.io.frames.opening import truncation
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import check_outside, open_planes
from gpustitch.io.provenance import provenance
from gpustitch.io.write.formats import format_for
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.model import ZYX, Spacing
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.regrid.columns import Cut
from gpustitch.regrid.plan import (
    FILLED,
    GAP,
    OUTSIDE,
    Deformation,
    ZGrid,
    ZPlan,
    deformation,
    plan_z,
    planes_within,
    runs,
)
from gpustitch.regrid.stage import RENDERED_TYPES, Blocks, Making, cut_blocks, write_blocks
from gpustitch.running.progress import SILENT, Progress, listed
from gpustitch.running.threads import checked_workers
from gpustitch.sections.render.file import SectionsAlongZ, output_spacing, sections_along_z


@dataclass(frozen=True)
class RenderOptions:
    """What is rendered, and how.

    Attributes
    ----------
    input
        What :func:`gpustitch.io.planes.opening.open_planes` opens.
    positions
        Positions in sections: CSV of :func:`gpustitch.sections.positions.file.read_z_positions`, or, where they differ
        over each section, ``.npz`` of :func:`gpustitch.sections.grid.file.read_z_grids`.
    output, format
        What to write; None for the format that the name asks for.
    z_spacing_um
        Distance of the planes; None for that of the input.
    spacing
        Voxel size of the input; None for what it states.
    nearest
        Take the nearer section in place of an interpolation.
    max_gap
        Widest gap between sections, in sections, that is interpolated.
    fill_gaps
        Interpolate all gaps.
    leave_out, least_weight
        Sections that are not used, as :func:`gpustitch.sections.render.file.sections_along_z` takes them; planes at
        their place are made of the sections on either side.
    levels, chunk_shape
        Of the output, if it has any; None for its default.
    memory_bytes
        Most memory for planes of the input.
    planes
        The planes themselves, in place of those at ``input``.
    """

    input: Path
    positions: Path
    output: Path
    z_spacing_um: float | None = None
    spacing: Spacing | None = None
    nearest: bool = False
    max_gap: float = 5.0
    fill_gaps: bool = False
    leave_out: str = ""
    least_weight: float | None = None
    format: str | None = None
    levels: int | None = None
    chunk_shape: ZYX | None = None
    memory_bytes: int = 1 << 30
    n_workers: int | None = None
    n_writers: int = N_WRITERS
    overwrite: bool = False
    allow_truncated: bool = False
    device: Device = CPU
    planes: Planes | None = None


@dataclass(frozen=True)
class RenderPlan:
    """Checked work.

    Attributes
    ----------
    sections_used
        Sections of the input along z, without those left out and those at the place of another.
    sources
        What each plane is made of; a :class:`Deformation` where that differs over it.
    shape, spacing
        Of the output.
    blocks
        The work, cut.
    """

    options: RenderOptions
    planes: Planes
    sections_used: SectionsAlongZ
    sources: ZPlan | Deformation
    grid: ZGrid
    shape: ZYX
    spacing: Spacing
    blocks: Blocks
    output_bytes: int

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Sections of the input along z."""
        return self.sections_used.series.order

    @property
    def cut(self) -> Cut:
        """Columns and pieces of work: each plane of the input is read once for each column."""
        return self.blocks.cut

    @property
    def memory_bytes(self) -> int:
        """Most host memory that is held, about."""
        return self.blocks.memory_bytes

    @property
    def background(self) -> tuple[int, int]:
        """Numbers of planes that are background in gaps, and that are interpolated across gaps."""
        if isinstance(self.sources, Deformation):
            return 0, 0
        kinds = self.sources.kind
        return int(np.isin(kinds, (GAP, OUTSIDE)).sum()), int((kinds == FILLED).sum())


@dataclass(frozen=True)
class RenderResult:
    """What was written, and how many planes of the input were read, again for each column."""

    path: Path
    shape: ZYX
    spacing: Spacing
    n_read: int


def plan(options: RenderOptions) -> RenderPlan:
    """Open the planes and positions and check everything before the output is touched.

    Raises
    ------
    ParameterError
        If an option is out of range, the input does not state its voxel size and none is given, or holds numbers
        that are not rendered.
    MosaicError
        If there are more or fewer positions than planes.
    InputMissingError, DamagedInputError
        If an input is not there or cannot be read.
    OutputExistsError, OutputError
        If the output exists, cannot be created, or would not fit on the disk.
    """
    check_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, [options.input, options.positions])
    format = format_for(options.output, options.format)
    check_outside(options.output, options.input, is_image=format.in_order)
    n_workers = checked_workers(options.n_workers)
    if not options.max_gap > 0:
        raise ParameterError(f"--max-gap is a number of sections above 0, not {options.max_gap}")
    planes = options.planes or open_planes(options.input, allow_truncated=options.allow_truncated)
    if planes.dtype.name not in RENDERED_TYPES:
        raise ParameterError(f"planes of {', '.join(RENDERED_TYPES)} are rendered; {planes.name} holds {planes.dtype}")
    spacing, step = output_spacing(planes, options.spacing, options.z_spacing_um)
    used = sections_along_z(options.positions, planes.shape[0], planes.name, options.leave_out, options.least_weight)
    first, last = float(used.series.positions.min()), float(used.series.positions.max())
    grid = ZGrid(first, step, planes_within(last - first, step))
    shape = (grid.n_planes, planes.shape[1], planes.shape[2])
    # Before anything is made for each plane: with a wrong unit there are billions.
    block, output_bytes = format.block(shape, planes.dtype, options.levels, options.chunk_shape)
    check_free_space(options.output, output_bytes)
    sources = _sources(options, planes, used, grid)
    making = Making(planes, used.series.order, sources, grid, options.nearest, device=options.device)
    blocks = cut_blocks(making, block, options.memory_bytes, n_workers)
    return RenderPlan(options, planes, used, sources, grid, shape, spacing, blocks, output_bytes)


def run(plan: RenderPlan, progress: Progress = SILENT) -> RenderResult:
    """Read, resample and write.

    Raises
    ------
    DamagedInputError
        If a plane cannot be read.
    OutputError, DeviceError
        If the output cannot be written or the device fails; nothing is left of the output then.
    """
    options, used = plan.options, plan.sections_used
    if options.planes is None and (ends_early := truncation(options.input)):
        progress.warn(ends_early)
    if used.left_out:
        progress.note(f"left out as asked: sections {listed(used.left_out)}")
    if used.doubled:
        progress.warn(f"left out, at the place of another: sections {listed(used.doubled)}")
    background, filled = plan.background
    if background:
        progress.warn(
            f"{background} of {plan.shape[0]} planes are background: they lie in gaps wider than {options.max_gap:g} "
            "sections (--fill-gaps interpolates there)"
        )
    if filled:
        progress.warn(f"{filled} of {plan.shape[0]} planes are interpolated across gaps wider than {options.max_gap:g}")
    with open_output(
        options.output,
        plan.shape,
        plan.planes.dtype,
        plan.spacing,
        downsample=signed_too(hosted(downsample, options.device)),
        format=options.format,
        levels=options.levels,
        chunk_shape=options.chunk_shape,
        sidecar=_sidecar(plan),
        overwrite=options.overwrite,
        n_writers=options.n_writers,
    ) as output:
        n_read = write_blocks(
            plan.blocks, output, in_order=format_for(options.output, options.format).in_order, progress=progress
        )
    return RenderResult(options.output, plan.shape, plan.spacing, n_read)


def _sources(options: RenderOptions, planes: Planes, used: SectionsAlongZ, grid: ZGrid) -> ZPlan | Deformation:
    """What the planes are made of."""
    if used.grids is None:
        limits, fill_gaps = options.max_gap, options.fill_gaps
        return plan_z(used.series, grid, limits=limits, fill_gaps=fill_gaps, nearest=options.nearest)
    return deformation(
        used.series,
        planes.shape[1:],
        limits=math.inf if options.fill_gaps else options.max_gap,
        row_centers=used.grids.row_centers,
        column_centers=used.grids.column_centers,
    )


def _sidecar(plan: RenderPlan) -> dict[str, Any]:
    options = plan.options
    files = [path for path in (options.input, options.positions) if path.is_file()]
    content = {
        **provenance({key: value for key, value in vars(options).items() if key != "planes"}, files),
        "first_plane_at_section": plan.grid.first,
        "plane_distance_in_sections": plan.grid.step,
        "sections_left_out": sorted([*plan.sections_used.left_out, *plan.sections_used.doubled]),
    }
    if isinstance(plan.sources, ZPlan):
        content["background_planes"] = runs(np.isin(plan.sources.kind, (GAP, OUTSIDE)))
        content["planes_across_gaps"] = runs(plan.sources.kind == FILLED)
    return content
