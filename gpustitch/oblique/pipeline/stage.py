"""The pipeline: raw tiles of one channel to one stitched volume, in the steps of spimstitch's pipeline script.

It estimates the flat field, aligns the tiles, and corrects, de-obliques and fuses them: from the raw frames at once, or
by volumes of the tiles. Everything is written into one folder, which appears when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from gpustitch.array import choose_devices
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.found import one_place
from gpustitch.io.frames.readable import Lost
from gpustitch.io.manifest import Making
from gpustitch.io.provenance import RECORD_SCHEMA, provenance, write_json
from gpustitch.io.resumable import Run, check_same, resumable_directory, unfinished
from gpustitch.model import Mosaic, TilePath, check_sheet_angle, check_um
from gpustitch.oblique.align.voxel_size import check_y_size
from gpustitch.oblique.deskew import stage as deoblique
from gpustitch.oblique.deskew.stage import DeobliqueOptions, DeobliquePlan
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.flat.stage import IlluminationPlan
from gpustitch.oblique.fuse.stage import StitchResult
from gpustitch.oblique.mosaic.folders import find_raw_mosaic
from gpustitch.oblique.pipeline import files_beside, formats, one_pass, staged
from gpustitch.oblique.pipeline.checks import check_alike, check_options, check_place, check_volume
from gpustitch.oblique.pipeline.destriping import judged_correction
from gpustitch.oblique.pipeline.flat import flat_used, planned_flat
from gpustitch.oblique.pipeline.foreseen import Foreseen, check_disk, fitting
from gpustitch.oblique.pipeline.lengths import cautions
from gpustitch.oblique.pipeline.options import (
    ALIGNMENT,
    ORIENTATIONS,
    PROVENANCE,
    TILES,
    VOLUME,
    PipelineOptions,
    Preset,
)
from gpustitch.oblique.pipeline.orientation import Orientation
from gpustitch.oblique.pipeline.shares import DESTRIPING, FLAT_FIELD, shares
from gpustitch.oblique.pipeline.upright import Upright, upright
from gpustitch.oblique.pipeline.work import Made, Work, check_devices, check_spread
from gpustitch.oblique.report import stage as report
from gpustitch.oblique.report.stage import ReportOptions, ReportResult
from gpustitch.running.inputs import Inputs
from gpustitch.running.memory import give_back
from gpustitch.running.options import settled
from gpustitch.running.parts import Parts
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.resumed import making_of, tell
from gpustitch.running.threads import checked_workers

# Values that let a run end where another value lets it go on: what it has finished until then is the same.
_STRICT = {"on_error": "stop", "allow_missing": False, "allow_unaligned": False}
_MOST_NAMED = 5  # damaged tiles that a message names


@dataclass(frozen=True)
class PipelinePlan:
    """A checked job.

    ``flat`` is the given flat, ``illumination`` the plan to make one. ``tiles`` are the plans that de-oblique the tiles
    of ``mosaic``. ``foreseen`` is what the run will take. ``upright`` says how frames are turned.
    ``inputs`` are what is read, ``making`` is what the result depends on. ``cautions`` are warnings about tiles; they
    may be empty.
    """

    options: PipelineOptions
    mosaic: Mosaic
    flat: npt.NDArray[np.float32] | None
    illumination: IlluminationPlan | None
    tiles: tuple[DeobliquePlan, ...]
    foreseen: Foreseen
    upright: Upright
    inputs: Inputs
    making: Making
    cautions: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people. Some frames are tried for that, beside the output.

        Raises
        ------
        OutputError
            After the last line, if the disk is too small.
        """
        yield from self.foreseen.lines(self.options, self.tiles)
        check_disk(self.options, self.foreseen)


@dataclass(frozen=True)
class PipelineResult:
    """What was written, the flat (maximum 1) used, if any, and in words how the tiles were aligned.

    ``correction`` is what every frame went through. ``lost`` has for each tile (by name) the frames that it lacks.
    ``report`` has the checks of what was written; None if none were asked for, or could be made.
    """

    output: Path
    flat: npt.NDArray[np.float32] | None
    stitched: StitchResult
    aligned: str
    correction: Correction
    lost: Mapping[str, Lost]
    report: ReportResult | None = None

    @property
    def summary(self) -> str:
        """What was written and how the tiles were aligned, in one line for people."""
        z, y, x = self.stitched.shape
        spacing = " x ".join(f"{v:.4g}" for v in self.stitched.spacing.zyx_um)
        n_lost = sum(map(len, self.lost.values()))
        lost = f"; without {n_lost} frames that are absent or cannot be read" if n_lost else ""
        return f"{self.volume}: {z} x {y} x {x} voxels (z, y, x) of {spacing} um; {self.aligned}{lost}"

    @property
    def volume(self) -> Path:
        """The stitched volume."""
        return self.output / VOLUME

    @property
    def alignment(self) -> Path | None:
        """The alignment file used; None for a single tile."""
        path = self.output / ALIGNMENT
        return path if path.exists() else None


def plan(options: PipelineOptions) -> PipelinePlan:
    """Find and open all tiles, and check the job, before any output is touched.

    Raises
    ------
    InputMissingError, DamagedInputError
        If a file is not there, damaged or truncated.
    MosaicError
        If the tiles do not make a mosaic: unreadable names, impossible places, frames of different sizes or types.
    ParameterError
        If an option is out of range.
    AlignmentError
        If no orientation of the frames is stated, and none is clear.
    OutputExistsError, OutputError
        If the output exists, cannot be written, or the disk is too small.
    """
    options = _settled(options)
    check_place(options)
    mosaic = find_raw_mosaic(options.channel)
    earlier = None if options.restart else unfinished(options.output)
    if earlier is not None:  # it may have been told to go by stages, for want of memory
        options = replace(options, staged=options.staged or bool(earlier["settings"].get("staged")))
    strict: dict[str, Any] = {}
    as_asked, inputs = options, Inputs.of(_inputs(options, mosaic))
    if earlier is not None:
        strict = {name: value for name, value in _STRICT.items() if earlier["settings"].get(name) == value}
        check_same(options.output, making_of(replace(options, **strict), options.device, inputs))
    check_options(options, mosaic)
    turned, options, tiles = _upright_tiles(options, mosaic)
    check_alike(mosaic, tiles)
    told = cautions(mosaic, [job.scan.n_frames for job in tiles], options.choice)
    check_volume(options, mosaic, tiles)
    flat, illumination = planned_flat(options, mosaic, tiles, turned.orientation)
    options, tiles, foreseen, caution = fitting(options, mosaic, tiles, illumination, may_change=earlier is None)
    if not options.dry_run:
        check_disk(options, foreseen)
    made = making_of(replace(as_asked, **strict), options.device, inputs, staged=options.staged)
    return PipelinePlan(
        options=options, mosaic=mosaic, flat=flat, illumination=illumination, tiles=tiles, foreseen=foreseen,
        upright=turned, inputs=inputs, making=made, cautions=(*told, caution),
    )  # fmt: skip


def _upright_tiles(
    options: PipelineOptions, mosaic: Mosaic
) -> tuple[Upright, PipelineOptions, tuple[DeobliquePlan, ...]]:
    """How frames are turned, as stated or as they show; options that say so; plans of the tiles in that orientation."""
    try:
        turned = upright(options, mosaic)
    except DamagedInputError:
        _planned(options, mosaic, ORIENTATIONS["plain"])  # names all damaged tiles together
        raise
    options = replace(options, rotate_90=turned.orientation[0], flip_ud=turned.orientation[1])
    return turned, options, _planned(options, mosaic, turned.orientation)


def run(plan: PipelinePlan, progress: Progress = SILENT) -> PipelineResult:
    """Run every stage; the output folder appears when it is complete.

    Raises
    ------
    GpustitchError
        Any error of a stage. What is finished is kept beside the output, and the next run goes on with it.
    """
    options = plan.options
    n_frames = sum(job.scan.n_frames for job in plan.tiles)
    parts = Parts(progress, shares(options, n_frames, len(plan.tiles)), checked_workers(options.n_workers))
    for note in (plan.upright.note, options.correction.note, options.implied):
        if note:
            parts.note(note)
    n_columns = plan.tiles[0].scan.n_columns
    for caution in (plan.upright.warning, *plan.cautions, options.correction.caution(n_columns)):
        if caution:
            parts.warn(caution)
    with (
        resumable_directory(
            options.output,
            plan.making,
            overwrite=options.overwrite,
            restart=options.restart,
            ended=parts.warn,
        ) as unit,
        parts.recorded(unit.folder, _facts(options, unit)),
    ):
        made, flat, correction = _made(plan, unit, parts)
    files_beside.write(options, progress)
    stitched = replace(made.stitched, path=options.output / VOLUME)
    told = _reported(options, progress) if options.report else None
    return PipelineResult(
        output=options.output,
        flat=flat,
        stitched=stitched,
        aligned=made.aligned,
        correction=correction,
        lost=made.lost,
        report=told,
    )


def _reported(options: PipelineOptions, progress: Progress) -> ReportResult | None:
    """The report of the finished output; None if it cannot be made, which a whole volume must not suffer from."""
    try:
        made = report.run(report.plan(ReportOptions(options.output)), progress)
    except Exception as error:  # whatever it is, the volume is there
        progress.warn(f"no report was made of {options.output}: {type(error).__name__}: {error}")
        return None
    progress.note(made.summary)
    return made


def _made(plan: PipelinePlan, unit: Run, parts: Parts) -> tuple[Made, npt.NDArray[np.float32] | None, Correction]:
    """Make all that the output holds; returns the volume, the flat and the correction too."""
    options = plan.options
    tell(unit, parts)
    with parts.part(FLAT_FIELD, is_kept=unit.has("flat")):
        flat, flat_record = flat_used(options, (plan.flat, plan.illumination), unit, parts)
    with parts.part(DESTRIPING, is_kept=unit.has("destriping")):
        judged, destriping = judged_correction(unit, options.correction, plan.tiles, parts)
    give_back()
    correction = replace(judged, flat=flat)
    work = Work(options, plan.mosaic, plan.tiles, correction, unit, plan.foreseen.cut)
    made = staged.made(work, parts) if options.writes_tiles else one_pass.made(work, parts)
    formats.made(work, parts)
    record = provenance(replace(options, correction=judged), _inputs(options, plan.mosaic))
    record |= {"flat": flat_record, "destriping": destriping}
    record |= {"tiles": {name: of_tile.record for name, of_tile in made.lost.items()}}
    record |= plan.inputs.tell(parts)
    write_json(unit.folder / PROVENANCE, record, schema=RECORD_SCHEMA, overwrite=True)
    return made, flat, correction


def _facts(options: PipelineOptions, unit: Run) -> dict[str, Any]:
    """What the record of the run tells of it beside its parts."""
    return {
        "command": "pipeline",
        "continues": unit.began or None,
        "units_kept": len(unit.journal),
        "device": options.device,
        "n_processes": options.n_processes,
        "cluster": options.cluster,
        "memory_bytes": options.memory_bytes,
        "staged": options.writes_tiles,
    }


def _settled(options: PipelineOptions) -> PipelineOptions:
    """The options with device and threads worked out."""
    presets = get_args(Preset)
    if options.preset not in presets:
        raise ParameterError(f"`preset` must be one of {', '.join(presets)}, not {options.preset!r}")
    check_um(y_voxel_um=("y voxel size", options.y_voxel_um), x_step_um=("x step size", options.x_step_um))
    check_sheet_angle(options.angle_deg)
    check_y_size(options.y_size, options.stage_repeatability_um)
    check_spread(options)
    device = choose_devices(options.device, options.device_memory_bytes)
    check_devices(options, device)
    correction = options.correction
    if correction.method == "wavelet" and not correction.wavelet.is_open:
        correction = replace(correction, wavelet=correction.wavelet.completed)
    options = formats.settled(replace(options, channel=one_place(options.channel), correction=correction))
    return settled(options, device, checked_workers(options.n_workers))


def _planned(options: PipelineOptions, mosaic: Mosaic, orientation: Orientation) -> tuple[DeobliquePlan, ...]:
    """The plan of each tile; damaged ones are named together."""
    plans, damage = [], []
    for job in _tile_options(options, mosaic, orientation):
        try:
            plans.append(deoblique.plan(job, checks_disk=False))
        except DamagedInputError as error:
            damage.append(str(error))
    if damage:
        count = f"{len(damage)} of {len(mosaic.tiles)} tiles are damaged; " if len(damage) > 1 else ""
        more = f"; and {len(damage) - _MOST_NAMED} more" if len(damage) > _MOST_NAMED else ""
        raise DamagedInputError(count + "; ".join(damage[:_MOST_NAMED]) + more)
    return tuple(plans)


def _tile_options(options: PipelineOptions, mosaic: Mosaic, orientation: Orientation) -> Iterator[DeobliqueOptions]:
    """How each tile would be de-obliqued by itself."""
    for tile in mosaic.tiles:
        yield DeobliqueOptions(
            tile.path,
            options.output / TILES / _tile_folder(tile),
            pixel_um=options.y_voxel_um,
            step_um=options.x_step_um,
            angle_deg=options.angle_deg,
            rotate_90=orientation[0],
            flip_ud=orientation[1],
            correction=options.correction,
            levels=1,
            shard_bytes=0,  # read once, by windows, and removed
            allow_missing=options.allow_missing,
            on_error=options.on_error,
            choice=options.choice,
            device=options.device,
            n_workers=options.n_workers,
            overwrite=options.overwrite,
        )


def _tile_folder(tile: TilePath) -> Path:
    x, y, z = (f"{round(v * 10)}" for v in tile.stage_um)
    return Path(x) / f"{x}_{y}" / z


def _inputs(options: PipelineOptions, mosaic: Mosaic) -> Iterator[Path]:
    for tile in mosaic.tiles:
        yield tile.path
    for path in (options.flat, options.align_file):
        if path is not None:
            yield path
