"""From a judged series of slices to a volume of evenly spaced planes with its place in the body.

Slices of a grid are taken at its steps, not where rounding has written them: a uniform series is copied exactly.
Where slices are missing there is background.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
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
from gpustitch.io.write.format import VolumeOutput
from gpustitch.io.write.formats import titles
from gpustitch.io.write.opening import open_as
from gpustitch.io.write.shards import MOST_UNFINISHED_BYTES
from gpustitch.io.write.storing import planned_file_bytes, writing_of
from gpustitch.model import ZYX, Spacing
from gpustitch.ops.pyramid import downsample, signed_too
from gpustitch.regrid.plan import FILLED, GAP, OUTSIDE, plan_z
from gpustitch.regrid.plane_shift import plane_shifts
from gpustitch.regrid.stage import RENDERED_TYPES, Making, cut_blocks, write_blocks
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.foretold import Stored
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, size_text
from gpustitch.running.threads import checked_workers
from gpustitch.slices.dicom.times import volume_step_s
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict.pixels import SlicePlanes, alike_planes
from gpustitch.slices.verdict.stage import judge
from gpustitch.slices.volume.background import background_of, background_warnings, no_data_of
from gpustitch.slices.volume.choice import check_usable, chosen_stack
from gpustitch.slices.volume.file import planes_table, several_volumes, sidecar
from gpustitch.slices.volume.in_time import IN_TIME, OneOfSeveral, check_one_grid, volumes_of_one_series
from gpustitch.slices.volume.options import ResampleOptions
from gpustitch.slices.volume.plane_grid import PlaneGrid, check_number, grid_affine, plane_grid, stretch_grid
from gpustitch.slices.volume.planned import VolumePlan, path_of_stretch

__all__ = ["ResampleOptions", "ResamplePlan", "plan", "run"]


@dataclass(frozen=True)
class ResamplePlan:
    """Checked work: ``volumes`` are the whole one, then those of the stretches.

    ``later`` are those that follow in the file; ``step`` is seconds from one to the next, and the tag that says so.
    With ``is_in_memory`` nothing is written, and no room on a disk is looked for.
    """

    options: ResampleOptions
    stack: SliceStack
    planes: Planes
    device: Device
    n_workers: int
    volumes: tuple[VolumePlan, ...] = ()
    inputs: Inputs = Inputs()
    later: tuple[ResamplePlan, ...] = ()
    step: tuple[float, str] | None = None
    is_in_memory: bool = False

    @property
    def n_volumes(self) -> int:
        """Volumes in the file."""
        return 1 + len(self.later)

    @property
    def summary(self) -> str:
        """What is resampled, and each volume in a line, for people."""
        lines = [f"{self.stack.series.name}: {self.stack.fit.spacing_class}, {len(self.stack.order)} slices"]
        for volume in self.volumes:
            z_um, y_um, x_um = volume.spacing.zyx_um
            n, rows, columns = volume.shape
            columns //= volume.samples
            lines.append(
                f"{volume.path}: {n} planes of {columns} x {rows}, voxels of {x_um / 1000:.6g} x {y_um / 1000:.6g} x "
                f"{z_um / 1000:.6g} mm, at most {size_text(volume.output_bytes)} on disk and about "
                f"{size_text(volume.blocks.memory_bytes)} of memory"
            )
        if self.later:
            step = "an unknown time" if self.step is None else f"{self.step[0]:.6g} s ({self.step[1]})"
            lines.append(f"{self.n_volumes} volumes like it in one file, {step} apart")
        return "\n".join(lines)

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        options, dtype, (n, rows, columns) = self.options, self.planes.dtype, self.planes.shape
        stored = [
            Stored(of.path, options.output_format, options, _all_planes(self, of), dtype, of.spacing, of.file_bytes)
            for of in self.volumes
        ]
        n += sum(job.planes.shape[0] for job in self.later)
        reads, n_bytes = f"{n:,} slices of {rows} x {columns} {dtype}", n * rows * columns * dtype.itemsize
        disk_bytes = sum(of.output_bytes for of in self.volumes) * self.n_volumes
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
    _check_output(options)
    n_workers = checked_workers(options.n_workers)
    device = choose_device(options.device, options.device_memory_bytes)
    paths = () if options.stack and options.planes else options.paths
    inputs = Inputs.of(paths, apart=[options.output])
    stacks = [check_usable(stack, options.pixel_spacing_mm, options.spacing_mm) for stack in _chosen(options, progress)]
    opened = [options.planes] if options.planes else alike_planes(stacks)
    jobs = [
        planned(ResamplePlan(options, stack, planes, device, n_workers, inputs=inputs))
        for stack, planes in zip(stacks, opened, strict=True)
    ]
    job = _in_one_file(jobs)
    _check_volumes(job, stacks)
    if len(job.volumes) > 1:  # some are whole before the last begins
        made = [path for volume in job.volumes for path in (volume.path, record_of(volume.path), volume.table)]
        job = dataclasses.replace(job, inputs=Inputs.of(paths, apart=made))
    return job


def _check_output(options: ResampleOptions) -> None:
    """Refuse an output that exists, or that is or holds an input."""
    check_output(options.output, overwrite=options.overwrite)
    if options.output_format.in_order:
        check_file_output(options.output, overwrite=options.overwrite)
    check_apart(options.output, options.paths)
    for source in options.paths:
        check_outside(options.output, source, is_image=options.output_format.is_image)


def _check_volumes(job: ResamplePlan, stacks: Sequence[SliceStack]) -> None:
    """Refuse volumes and tables that exist, are slices, or would not fit on the disk."""
    overwrite = job.options.overwrite
    for volume in job.volumes:
        check_output(volume.path, overwrite=overwrite)
        check_file_output(volume.table, overwrite=overwrite)
        for path in (volume.path, volume.table):
            for stack in stacks:
                check_apart(path, (header.path for header in stack.series.headers))
    check_free_space(job.options.output, sum(volume.output_bytes for volume in job.volumes) * job.n_volumes)


def _chosen(options: ResampleOptions, progress: Progress) -> list[SliceStack]:
    """The series to resample; several if it was split into volumes that the output holds in one file."""
    if options.stack is not None:
        return [options.stack]
    found = judge(options.paths, options.judge, progress)
    if options.series is None and "n_volumes" in options.output_format.takes:
        volumes = volumes_of_one_series(found, options.judge.split_by)
        if volumes:
            return volumes
    return [chosen_stack(found, options.series)]


def planned(job: ResamplePlan) -> ResamplePlan:
    """The job with its volumes; its options name the background. Raises what :func:`plan` raises of a series."""
    options = dataclasses.replace(job.options, background=background_of(job.planes, job.options.background))
    _check_pixels(options, job.planes)
    job = dataclasses.replace(job, options=options)
    volumes = tuple(_volume(job, path, along) for path, along in _grids(options, job.stack))
    return dataclasses.replace(job, volumes=volumes)


def _in_one_file(jobs: Sequence[ResamplePlan]) -> ResamplePlan:
    """The first of the jobs with the others that follow in its file."""
    first = jobs[0]
    if len(jobs) == 1:
        return first
    if first.options.stretches:
        raise ParameterError(f"`stretches`: {len(jobs)} volumes would go into one file; choose one with `series`")
    check_one_grid([job.volumes[0] for job in jobs], [job.stack.series.name for job in jobs])
    step = None
    if set(first.options.judge.split_by) <= IN_TIME:
        step = volume_step_s([job.stack.series.headers[job.stack.order[0]] for job in jobs])
    return dataclasses.replace(first, later=tuple(jobs[1:]), step=step)


def _all_planes(job: ResamplePlan, volume: VolumePlan) -> ZYX:
    """Shape of all volumes of the file, one after another along z."""
    planes, rows, columns = volume.shape
    return planes * job.n_volumes, rows, columns


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
    for message in cautions(plan):
        progress.warn(message)
    for volume in plan.volumes:
        record = sidecar(_parameters(plan), plan.stack, volume)
        if plan.later:
            record |= several_volumes([(job.stack, job.volumes[0]) for job in (plan, *plan.later)], plan.step)
        writing = dataclasses.replace(
            writing_of(options, signed_too(hosted(downsample, plan.device)), volume.file_bytes, record),
            compression=options.compression,
            affine_lps_mm=volume.affine,
            samples=volume.samples,
            n_volumes=plan.n_volumes,
            volume_step_s=None if plan.step is None else plan.step[0],
        )
        with open_as(
            volume.path, _all_planes(plan, volume), plan.planes.dtype, volume.spacing, writing, format=options.format
        ) as output:
            _write(plan, volume, output, progress)
            record |= plan.inputs.tell(progress)
        with atomic_file(volume.table, overwrite=options.overwrite) as partial:
            partial.write_text(planes_table(volume), encoding="utf-8", newline="")
    return tuple(volume.path for volume in plan.volumes)


def _write(plan: ResamplePlan, volume: VolumePlan, output: VolumeOutput, progress: Progress) -> None:
    """The voxels of a volume, or of all volumes of its file."""
    in_order = plan.options.output_format.in_order
    if not plan.later:
        write_blocks(volume.blocks, output, in_order=in_order, progress=progress)
        return
    for number, job in enumerate((plan, *plan.later)):
        one = OneOfSeveral(output, volume.shape, number * volume.shape[0])
        write_blocks(job.volumes[0].blocks, one, in_order=in_order, progress=progress)


def check_pixels(planes: Planes, background: float, spacing_mm: float | None) -> None:
    """Raise ParameterError unless planes are of a type that is resampled, which holds ``background``."""
    if planes.dtype.name not in RENDERED_TYPES:
        raise ParameterError(f"slices of {', '.join(RENDERED_TYPES)} are resampled; {planes.name} holds {planes.dtype}")
    if planes.dtype.kind != "f":
        limits = np.iinfo(planes.dtype)
        if not (limits.min <= background <= limits.max and float(background).is_integer()):
            raise ParameterError(
                f"`background` is {background:g}, but for slices of {planes.dtype} it must be a whole number "
                f"from {limits.min} to {limits.max}"
            )
    if spacing_mm is not None and not 0 < spacing_mm < np.inf:
        raise ParameterError(f"`spacing_mm` is {spacing_mm:g}, but it must be a positive number of mm")


def _check_pixels(options: ResampleOptions, planes: Planes) -> None:
    check_pixels(planes, options.background or 0, options.spacing_mm)
    if _samples(planes) > 1 and "samples" not in options.output_format.takes:
        raise ParameterError(
            f"{planes.name} has colors, which {options.output_format.title} volumes do not hold; {titles('samples')} do"
        )
    if _samples(planes) > 1 and options.unshear:
        raise ParameterError(f"{planes.name} has colors, which are not moved sideways; leave out `unshear`")


def _samples(planes: Planes) -> int:
    """Values of a pixel along a row."""
    return planes.samples if isinstance(planes, SlicePlanes) else 1


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
        yield path_of_stretch(options.output, number), stretch_grid(fit, positions, part, options.spacing_mm)


def _volume(job: ResamplePlan, path: Path, along: PlaneGrid) -> VolumePlan:
    """The volume to write at ``path``, with planes as ``along`` says."""
    options, stack, planes = job.options, job.stack, job.planes
    _, y_mm, x_mm = stack.spacing_mm
    assert y_mm is not None and x_mm is not None
    unshears = options.unshear and any(stack.shear)
    shape = planes.shape[1:]
    check_number(along, stack.series.name)
    spacing = Spacing(along.grid.step * 1000, y_mm * 1000, x_mm * 1000)
    format, stored = options.output_format, (planes.dtype, spacing, options.levels, options.chunk_shape)
    _, output_bytes = format.block((along.grid.n_planes, *shape), *stored)
    if not job.is_in_memory:
        check_free_space(path, output_bytes)
    shifts = None
    if unshears:
        slope = stack.shear[0] / y_mm, stack.shear[1] / x_mm
        shifts = plane_shifts(along.grid.positions(), slope, shape, nearest=options.nearest)
    sources = plan_z(
        along.series, along.grid, limits=along.limits, fill_gaps=options.fill_gaps, nearest=options.nearest
    )
    making = Making(
        planes=planes,
        order=along.series.order,
        sources=sources,
        grid=along.grid,
        nearest=options.nearest,
        shifts=shifts,
        background=float(options.background or 0),
        no_data=no_data_of(planes),
        device=job.device,
    )
    block, output_bytes = format.block(making.shape, *stored)
    blocks = cut_blocks(making, block, options.memory_bytes, job.n_workers)
    affine = grid_affine(stack, along, unsheared=unshears)
    if affine is not None and shifts is not None:
        # Plane 0 of the slices is not at the corner of the wider planes.
        affine[:3, 3] -= shifts.columns[0] * affine[:3, 0] + shifts.rows[0] * affine[:3, 1]
    file_bytes = planned_file_bytes(
        format,
        options,
        making.shape,
        planes.dtype,
        spacing,
        blocks.cut.front_px,
        min(options.memory_bytes, MOST_UNFINISHED_BYTES),
    )
    return VolumePlan(
        path=path,
        plane_grid=along,
        sources=sources,
        affine=affine,
        spacing=spacing,
        blocks=blocks,
        output_bytes=output_bytes,
        file_bytes=file_bytes,
        samples=_samples(planes),
    )


def cautions(plan: ResamplePlan) -> Iterator[str]:
    """Warnings, in lines for people."""
    stack, options, whole = plan.stack, plan.options, plan.volumes[0]
    every = (plan, *plan.later)
    yield from dict.fromkeys(f"{note.code}: {note.text}" for job in every for note in job.stack.notes)
    n = whole.shape[0] * plan.n_volumes
    gaps, filled = (sum(job.volumes[0].count(origin) for job in every) for origin in (GAP, FILLED))
    if gaps:
        yield f"{gaps} of {n} planes are background: slices are missing there (`fill_gaps` interpolates)"
    if gaps or whole.count(OUTSIDE) or whole.blocks.making.shifts is not None:
        yield from background_warnings(stack, whole.blocks.making.background)
    if filled:
        yield f"{filled} of {n} planes are interpolated across gaps: nothing was measured there"
    stored = plan.planes.stored if isinstance(plan.planes, SlicePlanes) else plan.planes.dtype
    if stored.itemsize > plan.planes.dtype.itemsize and plan.planes.dtype.kind == "f":
        yield f"pixels are {stored}; voxels are {plan.planes.dtype}, to 7 digits"
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
