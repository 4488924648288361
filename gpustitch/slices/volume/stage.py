"""From a judged series of slices to a volume of evenly spaced planes with its place in the body.

Slices of a grid are at its steps, not where rounding has written them, so that a uniform series is copied exactly.
Where slices are missing there is background: what each plane is made of is in the sidecar and in
``<output>.planes.csv``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import CPU, Device
from gpustitch.array.transfer import hosted
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_file, check_apart, check_file_output, check_free_space, check_output
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import check_outside
from gpustitch.io.provenance import provenance
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import format_for, volume_suffix
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.model import ZYX, Spacing
from gpustitch.model.arrays import Floats
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.regrid.plan import FILLED, GAP, OUTSIDE, ZPlan, plan_z, runs
from gpustitch.regrid.plane_shift import plane_shifts
from gpustitch.regrid.stage import RENDERED_TYPES, Blocks, Making, cut_blocks, write_blocks
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.images.pixels import ImageSlices
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict.report import verdict_dict
from gpustitch.slices.verdict.stage import JudgeOptions, judge
from gpustitch.slices.volume.choice import check_usable, chosen_stack
from gpustitch.slices.volume.file import KINDS, planes_table
from gpustitch.slices.volume.layout import Layout, layout, layout_affine, run_layout

# More planes than any scanner makes: memory for the table of planes would not be bounded.
_MOST_PLANES = 1_000_000


@dataclass(frozen=True)
class ResampleOptions:
    """What is resampled, and how.

    Attributes
    ----------
    inputs
        Folders and files of the series.
    output, format
        What to write; None for the format that the name asks for.
    spacing_mm
        Distance of the planes; None for the fitted one, that of the finest run where it varies.
    series
        Which of several series: its number from 1 on, or the beginning or end of its SeriesInstanceUID.
    judge
        How the series is judged.
    pixel_spacing_mm
        (y, x) in place of what the files state; None for that.
    fill_gaps
        Interpolate across gaps and missing slices; they are background otherwise.
    runs
        Write each run of equally spaced slices as a volume of its own, too.
    unshear
        Move the planes of a sheared stack over each other; else they stay, and only the affine is sheared.
    nearest
        Take the nearer slice (and whole pixels) in place of interpolation.
    background
        Value of voxels that are made of nothing.
    levels, chunk_shape, compression
        Of the output, if it has any; None for its default.
    memory_bytes
        Most memory for slices.
    n_workers, n_writers
        Threads that make blocks (None: one for each core) and that write them.
    overwrite
        Replace outputs that exist.
    device
        Where planes are interpolated.
    stack, planes
        The series judged already, and its slices in the order of ``stack.order``, in place of those at ``inputs``.
    """

    inputs: tuple[Path, ...]
    output: Path
    spacing_mm: float | None = None
    series: str | None = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    pixel_spacing_mm: tuple[float, float] | None = None
    fill_gaps: bool = False
    runs: bool = False
    unshear: bool = False
    nearest: bool = False
    background: float = 0.0
    format: str | None = None
    levels: int | None = None
    chunk_shape: ZYX | None = None
    compression: int | None = None
    memory_bytes: int = 1 << 30
    n_workers: int | None = None
    n_writers: int = N_WRITERS
    overwrite: bool = False
    device: Device = CPU
    stack: SliceStack | None = None
    planes: Planes | None = None

    @property
    def output_format(self) -> OutputFormat:
        """Format asked for, or that of the output's name; ParameterError if there is none."""
        return format_for(self.output, self.format)


@dataclass(frozen=True)
class VolumePlan:
    """One volume to write.

    Attributes
    ----------
    path
        Of the volume.
    layout
        Slices and planes along the normal.
    sources
        What each plane is made of.
    affine
        float64 (4, 4): from voxel (x, y, z, 1) to mm (LPS); None where the series does not say where it is.
    spacing
        Voxel size.
    blocks
        The volume cut into pieces of work.
    output_bytes
        Size on the disk before compression.
    """

    path: Path
    layout: Layout
    sources: ZPlan
    affine: Floats | None
    spacing: Spacing
    blocks: Blocks
    output_bytes: int

    @property
    def shape(self) -> ZYX:
        """Shape (z, y, x)."""
        return self.blocks.making.shape

    @property
    def table(self) -> Path:
        """Where it is written what each plane is made of."""
        return self.path.with_name(f"{self.path.name}.planes.csv")

    def count(self, *kinds: int) -> int:
        """Planes of some kinds."""
        return int(np.isin(self.sources.plane_origin, kinds).sum())


@dataclass(frozen=True)
class ResamplePlan:
    """Checked work: the whole volume, then those of the runs."""

    options: ResampleOptions
    stack: SliceStack
    planes: Planes
    volumes: tuple[VolumePlan, ...]


def plan(options: ResampleOptions, progress: Progress = SILENT) -> ResamplePlan:
    """Judge the series, open its pixels and check everything before an output is touched.

    Raises
    ------
    ParameterError
        If an option is out of range, several series are there and none is chosen, or the pixel size is not known.
    InputMissingError, DamagedInputError
        If an input is not there or cannot be read, or no volume can be made of the series.
    OutputExistsError, OutputError
        If an output exists, cannot be created, or would not fit on the disk.
    """
    check_output(options.output, overwrite=options.overwrite)
    if options.output_format.in_order:
        check_file_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, options.inputs)
    for source in options.inputs:
        check_outside(options.output, source, is_image=options.output_format.is_image)
    n_workers = checked_workers(options.n_workers)
    stack = options.stack or chosen_stack(judge(options.inputs, options.judge, progress), options.series)
    stack = check_usable(stack, options.pixel_spacing_mm)
    planes = options.planes or slice_planes(stack)
    _check_pixels(options, planes)
    volumes = tuple(_volume(options, stack, planes, along, path, n_workers) for path, along in _layouts(options, stack))
    for volume in volumes:
        check_output(volume.path, overwrite=options.overwrite)
        check_file_output(volume.table, overwrite=options.overwrite)
    check_free_space(options.output, sum(volume.output_bytes for volume in volumes))
    return ResamplePlan(options, stack, planes, volumes)


def run(plan: ResamplePlan, progress: Progress = SILENT) -> tuple[Path, ...]:
    """Read, resample and write; the paths of the volumes.

    Raises
    ------
    DamagedInputError
        If a slice cannot be read.
    OutputError, DeviceError
        If an output cannot be written or the device fails; nothing is left of it then.
    """
    options = plan.options
    for message in _warnings(plan):
        progress.warn(message)
    for volume in plan.volumes:
        with open_output(
            volume.path,
            volume.shape,
            plan.planes.dtype,
            volume.spacing,
            downsample=signed_too(hosted(downsample, options.device)),
            format=options.format,
            levels=options.levels,
            chunk_shape=options.chunk_shape,
            compression=options.compression,
            affine_lps_mm=volume.affine,
            sidecar=_sidecar(plan, volume),
            overwrite=options.overwrite,
            n_writers=options.n_writers,
        ) as output:
            write_blocks(volume.blocks, output, in_order=options.output_format.in_order, progress=progress)
        with atomic_file(volume.table, overwrite=options.overwrite) as partial:
            partial.write_text(planes_table(volume.layout.grid, volume.sources), encoding="utf-8", newline="")
    return tuple(volume.path for volume in plan.volumes)


def _check_pixels(options: ResampleOptions, planes: Planes) -> None:
    if planes.dtype.name not in RENDERED_TYPES:
        raise ParameterError(f"slices of {', '.join(RENDERED_TYPES)} are resampled; {planes.name} holds {planes.dtype}")
    if planes.dtype.kind != "f":
        limits = np.iinfo(planes.dtype)
        if not (limits.min <= options.background <= limits.max and float(options.background).is_integer()):
            raise ParameterError(
                f"--background is a whole number from {limits.min} to {limits.max} for slices of {planes.dtype}, not "
                f"{options.background:g}"
            )
    if options.spacing_mm is not None and not 0 < options.spacing_mm < np.inf:
        raise ParameterError(f"--spacing is a positive number of mm, not {options.spacing_mm:g}")


def _layouts(options: ResampleOptions, stack: SliceStack) -> Iterator[tuple[Path, Layout]]:
    """The volumes to write."""
    fit, positions = stack.fit, stack.positions_mm
    yield options.output, layout(fit, positions, options.spacing_mm)
    if not options.runs:
        return
    long = [part for part in fit.runs if part.stop - part.first > 1]
    if len(fit.runs) < 2 or not long:
        raise ParameterError(f"--runs: {stack.series.name} is {fit.kind} and has no runs to write one by one")
    for number, part in enumerate(long, 1):
        yield _numbered(options.output, number), run_layout(fit, positions, part, options.spacing_mm)


def _volume(
    options: ResampleOptions, stack: SliceStack, planes: Planes, along: Layout, path: Path, n_workers: int
) -> VolumePlan:
    _, y_mm, x_mm = stack.spacing_mm
    assert y_mm is not None
    assert x_mm is not None
    unshears = options.unshear and any(stack.shear)
    shape = planes.shape[1:]
    # Before anything is made for each plane: with a wrong unit there are billions.
    if along.grid.n_planes > _MOST_PLANES:
        extent = float(np.ptp(along.series.positions))
        raise ParameterError(
            f"{stack.series.name}: planes {along.grid.step:g} mm apart over {extent:g} mm are {along.grid.n_planes}, "
            f"more than {_MOST_PLANES}; check units, positions (gpustitch spacing) and --spacing"
        )
    format, stored = options.output_format, (planes.dtype, options.levels, options.chunk_shape)
    _, output_bytes = format.block((along.grid.n_planes, *shape), *stored)
    check_free_space(path, output_bytes)
    shifts = None
    if unshears:
        slope = stack.shear[0] / y_mm, stack.shear[1] / x_mm
        shifts = plane_shifts(along.grid.positions(), slope, shape, nearest=options.nearest)
    sources = plan_z(
        along.series, along.grid, limits=along.limits, fill_gaps=options.fill_gaps, nearest=options.nearest
    )
    making = Making(
        planes, along.series.order, sources, along.grid, options.nearest, shifts, options.background, options.device
    )
    block, output_bytes = format.block(making.shape, *stored)
    blocks = cut_blocks(making, block, options.memory_bytes, n_workers)
    affine = layout_affine(stack, along, unsheared=unshears)
    if affine is not None and shifts is not None:
        # Plane 0 of the slices is not at the corner of the wider planes.
        affine[:3, 3] -= shifts.columns[0] * affine[:3, 0] + shifts.rows[0] * affine[:3, 1]
    spacing = Spacing(along.grid.step * 1000, y_mm * 1000, x_mm * 1000)
    return VolumePlan(path, along, sources, affine, spacing, blocks, output_bytes)


def _numbered(path: Path, number: int) -> Path:
    """The name with the number of a run before its suffix."""
    stem = path.name[: len(path.name) - len(volume_suffix(path))]
    return path.with_name(f"{stem}_run{number}{path.name[len(stem) :]}")


def _warnings(plan: ResamplePlan) -> Iterator[str]:
    stack, options, whole = plan.stack, plan.options, plan.volumes[0]
    for note in stack.notes:
        yield f"{note.code}: {note.text}"
    n, gaps, filled = whole.shape[0], whole.count(GAP), whole.count(FILLED)
    if gaps:
        yield f"{gaps} of {n} planes are background: slices are missing there (--fill-gaps interpolates)"
    if filled:
        yield f"{filled} of {n} planes are interpolated across gaps: nothing was measured there"
    if whole.count(OUTSIDE):
        yield "the last plane is background: it lies beyond the last slice"
    loose = sum(part.stop - part.first == 1 for part in stack.fit.runs)
    if options.runs and loose:
        yield f"slices that are in no run: {loose}; they are in {options.output.name} alone"
    is_sheared = any(stack.shear) and not options.unshear
    if is_sheared and "affine_lps_mm" in options.output_format.takes:
        yield "the stack is sheared and so is its affine; programs with ITK refuse that (--unshear moves the planes)"
    elif is_sheared:
        yield (
            f"the stack is sheared, which {options.output_format.title} cannot state: the volume looks skewed; "
            "--unshear moves its planes into place (affine_lps in the sidecar is right)"
        )


def _sidecar(plan: ResamplePlan, volume: VolumePlan) -> dict[str, Any]:
    stack, options, affine = plan.stack, plan.options, volume.affine
    asked = {key: value for key, value in vars(options).items() if key not in ("stack", "planes")}
    files = dict.fromkeys(stack.series.headers[k].path for k in stack.order.tolist())
    return {
        **provenance(asked, [path for path in files if path.is_file()]),
        "verdict": verdict_dict(stack),
        "affine_lps": None if affine is None else affine.tolist(),
        "origin_lps_mm": None if affine is None else affine[:3, 3].tolist(),
        "directions_lps": None if affine is None else _directions(affine),
        "voxel_size_mm": [v / 1000 for v in volume.spacing.zyx_um],
        "planes_moved_sideways": volume.blocks.making.shifts is not None,
        "planes": {name: runs(volume.sources.plane_origin == kind) for kind, name in KINDS.items()},
        "slices": _slices(stack, volume),
    }


def _directions(affine: Floats) -> list[list[float]]:
    """Unit vectors of the volume's axes z, y, x."""
    axes = affine[:3, 2::-1].T
    return (axes / np.linalg.norm(axes, axis=1, keepdims=True)).tolist()  # type: ignore[no-any-return]


def _slices(stack: SliceStack, volume: VolumePlan) -> list[dict[str, Any]]:
    """File of each slice in order along the normal, where it was written to be and where it was taken to be."""
    listed = []
    for k, place in zip(volume.layout.series.order.tolist(), volume.layout.series.positions.tolist(), strict=True):
        header = stack.series.headers[stack.order[k]]
        written = float(stack.positions_mm[k])
        listed.append(
            {"slice": k, "file": str(header.path), "frame": header.frame, "stated_mm": written, "taken_mm": place}
        )
    return listed


def slice_planes(stack: SliceStack) -> Planes:
    """The slices in order along the normal.

    Raises
    ------
    InputMissingError, DamagedInputError
        If pixels cannot be read.
    """
    if stack.series.kind == "dicom":
        return DicomPlanes(stack.series, stack.order)
    return ImageSlices([stack.series.headers[k] for k in stack.order.tolist()], stack.series.name)
