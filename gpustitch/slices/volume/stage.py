"""From a judged series of slices to a volume of evenly spaced planes with its place in the body.

Slices of a grid are taken at its steps, not where rounding has written them: a uniform series is copied exactly.
Where slices are missing there is background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import Device, choose_device
from gpustitch.array.transfer import hosted
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_file, check_apart, check_file_output, check_free_space, check_output, record_of
from gpustitch.io.planes.format import Planes
from gpustitch.io.planes.opening import check_outside
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import format_for, volume_suffix
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.shards import MOST_UNFINISHED_BYTES
from gpustitch.io.write.storing import planned_file_bytes
from gpustitch.model import ZYX, Spacing
from gpustitch.model.options import documented, nested, option
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.regrid import options as volume_options
from gpustitch.regrid.plan import FILLED, GAP, OUTSIDE, plan_z
from gpustitch.regrid.plane_shift import plane_shifts
from gpustitch.regrid.stage import RENDERED_TYPES, Making, cut_blocks, write_blocks
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.foretold import Stored
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, size_text
from gpustitch.running.threads import checked_workers
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.images.pixels import ImageSlices
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict.stage import JudgeOptions, judge
from gpustitch.slices.volume.choice import check_usable, chosen_stack
from gpustitch.slices.volume.file import planes_table, sidecar
from gpustitch.slices.volume.plane_grid import PlaneGrid, grid_affine, plane_grid, stretch_grid
from gpustitch.slices.volume.planned import VolumePlan

# More planes than any scanner makes: memory for the table of planes would not be bounded.
_MOST_PLANES = 1_000_000


@documented
@dataclass(frozen=True)
class ResampleOptions:
    """What is resampled, and how.

    ``inputs`` is a path or several. A program may give the series judged already as ``stack``, and its slices in the
    order of ``stack.order`` as ``planes``; then nothing is read at ``inputs``.
    """

    inputs: Path | tuple[Path, ...] = option(
        is_argument=True,
        metavar="PATH",
        help="A folder, file or glob of DICOM or image slices, or a TIFF of pages.",
    )
    output: Path = volume_options.output()
    spacing_mm: float | None = option(
        None,
        flag="--spacing",
        unit="mm",
        help="Distance of the planes, mm.",
        shown="that of the slices; the finest, if it varies",
    )
    series: str | None = option(
        None,
        metavar="N|UID",
        help="Which of several series: number in the list, or beginning or end of the SeriesInstanceUID.",
        shown="the only one",
    )
    fill_gaps: bool = option(
        False, help="Interpolate where slices are missing too; else there is background: nothing is made up."
    )
    stretches: bool = option(
        False,
        flag="--stretches --runs",
        help="Write each stretch of equally spaced slices as a volume of its own too: OUT_run1 and so on.",
    )
    unshear: bool = option(
        False,
        flag="--unshear/--keep-shear",
        help="Stacks of a tilted gantry: move the planes over each other, in a wider volume; or keep them as they are, "
        "the affine sheared (NIfTI and the sidecar hold it).",
    )
    nearest: bool = option(False, help="Take the nearer slice, unchanged; else two are interpolated.")
    background: float = option(0.0, help="Value where there is nothing; for CT in HU perhaps -1024.")
    pixel_spacing_mm: tuple[float, float] | None = option(
        None, flag="--pixel-spacing", text="positive xy", help="Size of a pixel, mm.", shown="what the files state"
    )
    judge: JudgeOptions = nested(JudgeOptions, without=("keep_going",))
    format: str | None = volume_options.volume_format()
    levels: int | None = volume_options.levels()
    chunk_shape: ZYX | None = volume_options.chunk_shape()
    shard_bytes: int | None = shared.shard_bytes()
    codec: str | None = shared.codec()
    write_empty: bool = shared.write_empty()
    compression: int | None = volume_options.compression()
    memory_bytes: int = shared.memory(1 << 30, "Most memory for slices, such as 4G.")
    n_workers: int | None = shared.n_workers()
    n_writers: int = shared.n_writers()
    overwrite: bool = shared.overwrite()
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    stack: SliceStack | None = None
    planes: Planes | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The inputs, one or several."""
        return (Path(self.inputs),) if isinstance(self.inputs, str | Path) else tuple(map(Path, self.inputs))

    @property
    def output_format(self) -> OutputFormat:
        """Format asked for, or that of the output's name; ParameterError if there is none."""
        return format_for(self.output, self.format)


@dataclass(frozen=True)
class ResamplePlan:
    """Checked work: ``volumes`` are the whole one, then those of the stretches."""

    options: ResampleOptions
    stack: SliceStack
    planes: Planes
    device: Device
    n_workers: int
    volumes: tuple[VolumePlan, ...] = ()
    inputs: Inputs = Inputs()

    @property
    def summary(self) -> str:
        """What is resampled, and each volume in a line, for people."""
        lines = [f"{self.stack.series.name}: {self.stack.fit.spacing_class}, {len(self.stack.order)} slices"]
        for volume in self.volumes:
            z_um, y_um, x_um = volume.spacing.zyx_um
            n, rows, columns = volume.shape
            lines.append(
                f"{volume.path}: {n} planes of {columns} x {rows}, voxels of {x_um / 1000:.6g} x {y_um / 1000:.6g} x "
                f"{z_um / 1000:.6g} mm, at most {size_text(volume.output_bytes)} on disk and about "
                f"{size_text(volume.blocks.memory_bytes)} of memory"
            )
        return "\n".join(lines)

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        options, dtype, (n, rows, columns) = self.options, self.planes.dtype, self.planes.shape
        stored = [
            Stored(of.path, options.output_format, options, of.shape, dtype, of.spacing, of.file_bytes)
            for of in self.volumes
        ]
        reads, n_bytes = f"{n:,} slices of {rows} x {columns} {dtype}", n * rows * columns * dtype.itemsize
        disk_bytes = sum(of.output_bytes for of in self.volumes)
        most = max(of.blocks.memory_bytes for of in self.volumes)
        return foretold.lines(reads, n_bytes, stored, disk_bytes, most, options.memory_bytes)


def plan(options: ResampleOptions, progress: Progress = SILENT) -> ResamplePlan:
    """Judge the series, open its pixels and check everything before an output is touched.

    Raises
    ------
    ParameterError
        If an option is out of range, none of several series is chosen, or the pixel size is not known.
    InputMissingError, DamagedInputError
        If an input is not there or cannot be read, or no volume can be made of the series.
    OutputExistsError, OutputError
        If an output exists, cannot be created, or would not fit on the disk.
    """
    check_output(options.output, overwrite=options.overwrite)
    if options.output_format.in_order:
        check_file_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, options.paths)
    for source in options.paths:
        check_outside(options.output, source, is_image=options.output_format.is_image)
    n_workers = checked_workers(options.n_workers)
    device = choose_device(options.device, options.device_memory_bytes)
    paths = () if options.stack and options.planes else options.paths
    inputs = Inputs.of(paths, apart=[options.output])
    stack = options.stack or chosen_stack(judge(options.paths, options.judge, progress), options.series)
    stack = check_usable(stack, options.pixel_spacing_mm, options.spacing_mm)
    planes = options.planes or slice_planes(stack)
    _check_pixels(options, planes)
    job = ResamplePlan(options, stack, planes, device, n_workers, inputs=inputs)
    job = dataclasses.replace(job, volumes=tuple(_volume(job, path, along) for path, along in _grids(options, stack)))
    for volume in job.volumes:
        check_output(volume.path, overwrite=options.overwrite)
        check_file_output(volume.table, overwrite=options.overwrite)
        for path in (volume.path, volume.table):
            check_apart(path, (header.path for header in stack.series.headers))
    check_free_space(options.output, sum(volume.output_bytes for volume in job.volumes))
    if len(job.volumes) > 1:  # some are whole before the last begins
        made = [path for volume in job.volumes for path in (volume.path, record_of(volume.path), volume.table)]
        job = dataclasses.replace(job, inputs=Inputs.of(paths, apart=made))
    return job


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
        record = sidecar(_parameters(plan), plan.stack, volume)
        with open_output(
            volume.path,
            volume.shape,
            plan.planes.dtype,
            volume.spacing,
            downsample=signed_too(hosted(downsample, plan.device)),
            format=options.format,
            levels=options.levels,
            chunk_shape=options.chunk_shape,
            shard_bytes=volume.file_bytes,
            codec=options.codec,
            compression=options.compression,
            affine_lps_mm=volume.affine,
            sidecar=record,
            overwrite=options.overwrite,
            n_writers=options.n_writers,
            write_empty=options.write_empty,
        ) as output:
            write_blocks(volume.blocks, output, in_order=options.output_format.in_order, progress=progress)
            record |= plan.inputs.tell(progress)
        with atomic_file(volume.table, overwrite=options.overwrite) as partial:
            partial.write_text(planes_table(volume), encoding="utf-8", newline="")
    return tuple(volume.path for volume in plan.volumes)


def _check_pixels(options: ResampleOptions, planes: Planes) -> None:
    if planes.dtype.name not in RENDERED_TYPES:
        raise ParameterError(f"slices of {', '.join(RENDERED_TYPES)} are resampled; {planes.name} holds {planes.dtype}")
    if planes.dtype.kind != "f":
        limits = np.iinfo(planes.dtype)
        if not (limits.min <= options.background <= limits.max and float(options.background).is_integer()):
            raise ParameterError(
                f"`background` is {options.background:g}, but for slices of {planes.dtype} it must be a whole number "
                f"from {limits.min} to {limits.max}"
            )
    if options.spacing_mm is not None and not 0 < options.spacing_mm < np.inf:
        raise ParameterError(f"`spacing_mm` is {options.spacing_mm:g}, but it must be a positive number of mm")


def _grids(options: ResampleOptions, stack: SliceStack) -> Iterator[tuple[Path, PlaneGrid]]:
    """The volumes to write."""
    fit, positions = stack.fit, stack.positions_mm
    yield options.output, plane_grid(fit, positions, options.spacing_mm)
    if not options.stretches:
        return
    long = [part for part in fit.stretches if part.n_slices > 1]
    if len(fit.stretches) < 2 or not long:
        raise ParameterError(
            f"`stretches`: {stack.series.name} is {fit.spacing_class} and has no stretches to write one by one"
        )
    for number, part in enumerate(long, 1):
        yield _numbered(options.output, number), stretch_grid(fit, positions, part, options.spacing_mm)


def _volume(job: ResamplePlan, path: Path, along: PlaneGrid) -> VolumePlan:
    options, stack, planes = job.options, job.stack, job.planes
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
            f"more than {_MOST_PLANES}; check units, positions (gpustitch spacing) and `spacing_mm`"
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
        planes, along.series.order, sources, along.grid, options.nearest, shifts, options.background, job.device
    )
    block, output_bytes = format.block(making.shape, *stored)
    blocks = cut_blocks(making, block, options.memory_bytes, job.n_workers)
    affine = grid_affine(stack, along, unsheared=unshears)
    if affine is not None and shifts is not None:
        # Plane 0 of the slices is not at the corner of the wider planes.
        affine[:3, 3] -= shifts.columns[0] * affine[:3, 0] + shifts.rows[0] * affine[:3, 1]
    spacing = Spacing(along.grid.step * 1000, y_mm * 1000, x_mm * 1000)
    file_bytes = planned_file_bytes(
        format,
        options,
        making.shape,
        planes.dtype,
        blocks.cut.front_px,
        min(options.memory_bytes, MOST_UNFINISHED_BYTES),
    )
    return VolumePlan(path, along, sources, affine, spacing, blocks, output_bytes, file_bytes)


def _numbered(path: Path, number: int) -> Path:
    """The name with the number of a stretch before its suffix."""
    stem = path.name[: len(path.name) - len(volume_suffix(path))]
    return path.with_name(f"{stem}_run{number}{path.name[len(stem) :]}")


def _warnings(plan: ResamplePlan) -> Iterator[str]:
    stack, options, whole = plan.stack, plan.options, plan.volumes[0]
    for note in stack.notes:
        yield f"{note.code}: {note.text}"
    n, gaps, filled = whole.shape[0], whole.count(GAP), whole.count(FILLED)
    if gaps:
        yield f"{gaps} of {n} planes are background: slices are missing there (`fill_gaps` interpolates)"
    if filled:
        yield f"{filled} of {n} planes are interpolated across gaps: nothing was measured there"
    if whole.count(OUTSIDE):
        yield "the last plane is background: it lies beyond the last slice"
    loose = sum(part.n_slices == 1 for part in stack.fit.stretches)
    if options.stretches and loose:
        yield f"slices that are in no stretch: {loose}; they are in {options.output.name} alone"
    is_sheared = any(stack.shear) and not options.unshear
    if is_sheared and "affine_lps_mm" in options.output_format.takes:
        yield "the stack is sheared and so is its affine; programs with ITK refuse that (`unshear` moves the planes)"
    elif is_sheared:
        yield (
            f"the stack is sheared, which {options.output_format.title} cannot state: the volume looks skewed; "
            "`unshear` moves its planes into place (affine_lps in the sidecar is right)"
        )


def _parameters(plan: ResamplePlan) -> dict[str, Any]:
    """What was asked for, as the sidecar has it; ``runs`` is what ``stretches`` was called in schema 1."""
    used = shared.settled(plan.options, plan.device, plan.n_workers)
    given = {key: value for key, value in vars(used).items() if key not in ("stack", "planes")}
    return {**given, "inputs": plan.options.paths, "runs": plan.options.stretches}


def slice_planes(stack: SliceStack) -> Planes:
    """The slices in order along the normal.

    Raises
    ------
    InputMissingError, DamagedInputError
        If pixels cannot be read.
    """
    if stack.series.source_format == "dicom":
        return DicomPlanes(stack.series, stack.order)
    return ImageSlices([stack.series.headers[k] for k in stack.order.tolist()], stack.series.name)
