"""What both ways through the pipeline share: their input, what they give back, and the alignment of the tiles."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.array import Device
from gpustitch.errors import AlignmentError, ParameterError
from gpustitch.io.frames.readable import Lost
from gpustitch.io.partial import flush, work_place
from gpustitch.io.resumable import Run
from gpustitch.model import Mosaic, Volume
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.fuse.options import TreeOptions
from gpustitch.oblique.fuse.stage import StitchResult
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.placing import PlacedMosaic, check_aligned, check_angle, place_opened
from gpustitch.oblique.pipeline.options import ALIGNMENT, VOLUME, PipelineOptions
from gpustitch.oblique.stream.bands import Cut
from gpustitch.running.cluster import check_cluster
from gpustitch.running.progress import Progress, counted


@dataclass(frozen=True)
class Work:
    """Tiles to align and fuse: the plan of each tile of ``mosaic``, and the correction that all frames go through.

    ``run`` has the folder where the output is made, and knows what is finished. ``cut`` is how one pass is fitted into
    the memory.
    """

    options: PipelineOptions
    mosaic: Mosaic
    tiles: tuple[DeobliquePlan, ...]
    correction: Correction
    run: Run
    cut: Cut = Cut()


@dataclass(frozen=True)
class Made:
    """What came of it: the volume, in words how the tiles were aligned, and the frames that each tile lacks."""

    stitched: StitchResult
    aligned: str
    lost: Mapping[str, Lost]


def place_of(output: Path) -> Path:
    """Where the volume of an output lies while it is made."""
    return work_place(output) / output.name / VOLUME


def placed(
    options: PipelineOptions, mosaic: Mosaic, volumes: Sequence[ObliqueTile], alignment: Path | None
) -> PlacedMosaic:
    """The tiles where an alignment, or else the stage, puts them."""
    return place_opened(
        mosaic,
        volumes,
        alignment=alignment,
        x_step_um=options.x_step_um,
        z_offset=options.z_offset,
        negative_y=options.negative_y,
    )


def tree_of(options: PipelineOptions, folder: Path, alignment: Path | None) -> TreeOptions:
    """The tiles below a folder, and how they are placed."""
    return TreeOptions(
        folder,
        alignment,
        x_step_um=options.x_step_um,
        z_offset=options.z_offset,
        negative_y=options.negative_y,
    )


def check_spread(options: PipelineOptions) -> None:
    """Refuse processes or a cluster that cannot be."""
    if options.n_processes is not None and options.n_processes < 1:
        raise ParameterError(f"`n_processes` must be at least 1, not {options.n_processes}")
    if options.cluster is None:
        return
    check_cluster(options.cluster)
    if options.writes_tiles:
        raise ParameterError("`cluster` is of use in one pass; leave out `staged` and `keep_tiles`")
    if options.n_processes is not None:
        raise ParameterError("`cluster` brings its own processes; leave out `n_processes`")


def check_devices(options: PipelineOptions, device: Device) -> None:
    """Refuse several devices where processes of this machine do not share the volume."""
    if not device.others:
        return
    if options.writes_tiles:
        raise ParameterError("several of `device` share one pass; leave out `staged` and `keep_tiles`, or name one")
    if options.cluster is not None:
        raise ParameterError("several of `device` are for processes of this machine; leave out `cluster`, or name one")
    if options.n_processes not in (None, 1 + len(device.others)):
        raise ParameterError(f"`n_processes` is one for each of `device`, not {options.n_processes}; leave it out")


def check_alignment(options: PipelineOptions, mosaic: Mosaic, file: Path) -> None:
    """Refuse an alignment file that does not fit the options or the tiles."""
    if options.y_size != "auto" or options.stage_repeatability_um is not None:
        name = "y_size" if options.y_size != "auto" else "stage_repeatability_um"
        raise ParameterError(f"`{name}` has no effect beside `align_file`, whose y voxel size is taken; leave it out")
    found = read_alignment(file)
    check_aligned(mosaic, found.origin_um, file)
    check_angle(found.angle_deg, options.angle_deg, file)
    if found.is_unaligned and not options.allow_unaligned:
        raise AlignmentError(
            f"{file} holds the stage's positions: none of its {counted(len(found.links), 'overlaps')} gave a link; "
            "align the mosaic again, or keep these positions with `allow_unaligned`"
        )
    if found.x_step_um is not None and not math.isclose(found.x_step_um, options.x_step_um, rel_tol=1e-6):
        raise ParameterError(
            f"{file} was made with a step of {found.x_step_um:g} um, but `x_step_um` is {options.x_step_um:g}; "
            "channels that share an alignment share the step"
        )


def aligned(
    work: Work, progress: Progress, *, volumes: Mapping[str, Volume] | None = None, tree: Path | None = None
) -> tuple[Path | None, str]:
    """Make or copy the alignment file in the output folder, and what it came to; no file for a single tile.

    The tiles are ``volumes``, by name, or those in the folder ``tree``.
    """
    target = work.run.folder / ALIGNMENT

    def align() -> dict[str, Any]:
        return {"said": _align(work, progress, target, volumes, tree), "has_file": target.exists()}

    facts = work.run.once("alignment", align)
    return target if facts["has_file"] else None, facts["said"]


def _align(
    work: Work, progress: Progress, target: Path, volumes: Mapping[str, Volume] | None, tree: Path | None
) -> str:
    """Write the alignment: as the given file has it, or found; none of a single tile. Returns what was done."""
    options = work.options
    if options.align_file is not None:
        shutil.copyfile(options.align_file, target)
        flush(target)
        size = read_alignment(target).voxel_size_um
        if size is not None:
            progress.note(f"tile positions and the y voxel size, {size:.4f} um, are those of {options.align_file}")
        return f"aligned by {options.align_file}"
    if len(work.mosaic.tiles) == 1:
        said = f"one tile: nothing to align, y voxel size NOT measured, nominal kept: {options.y_voxel_um:g} um"
        progress.note(said)
        return said
    aligning = AlignOptions(
        tree,
        target,
        overwrite=True,  # an ended run may have left one
        mosaic=None if volumes is None else work.mosaic,
        volumes=volumes,
        matching=options.matching,
        align_xz=options.align_xz,
        z_offset=options.z_offset,
        negative_y=options.negative_y,
        allow_unaligned=options.allow_unaligned,
        y_size=options.y_size,
        stage_repeatability_um=options.stage_repeatability_um,
        device=options.device,
        n_workers=options.n_workers,
    )
    return align.run(align.plan(aligning), progress).summary
