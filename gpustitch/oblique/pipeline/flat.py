"""The flat of the pipeline: the given one, or one made of the frames if that is better than none."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_file
from gpustitch.io.images.files import read_image
from gpustitch.io.partial import flush
from gpustitch.io.provenance import plain
from gpustitch.io.resumable import Run
from gpustitch.model import Mosaic
from gpustitch.model.arrays import Floats32
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.flat import stage as illumination
from gpustitch.oblique.flat.flatfield import normalized_flat
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.stage import IlluminationPlan
from gpustitch.oblique.pipeline.options import FLAT, FLAT_FRAMES, PipelineOptions
from gpustitch.oblique.pipeline.orientation import Orientation
from gpustitch.running.memory import most_bytes, part_of
from gpustitch.running.progress import Progress

_KEPT = "flat.npy"
# What users state of the making of a flat; nothing unless stated.
_OF_MAKING = ("n_frames", "background", "values_per_bin", "allow_poor_flat")

# The given flat, and the plan to make one: at most one of them.
Planned = tuple[Floats32 | None, IlluminationPlan | None]


def planned_flat(
    options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan], orientation: Orientation
) -> Planned:
    """The given flat, checked, or the plan to make one; neither if the illumination is not to be corrected.

    Raises
    ------
    GpustitchError
        If the given flat cannot be used, or none can be made of such frames.
    """
    if options.flat is not None:
        if not options.correct_flat:
            raise ParameterError(
                "`flat` is given, but the illumination is not to be corrected; leave out one of the two"
            )
        flat = normalized_flat(read_image(options.flat))
        Correction(flat=flat).check_shape((tiles[0].scan.n_rows, tiles[0].scan.n_columns))
        return flat, None
    if not options.correct_flat:
        return None, None
    if tiles[0].frames.dtype.kind == "f":
        raise ParameterError(
            "no flat can be made from float frames: give `flat`, a file, or do not correct the illumination"
        )
    n_frames = sum(job.scan.n_frames - len(job.scan.absent) for job in tiles)
    return None, illumination.plan(_illumination_options(options, mosaic, n_frames, orientation))


def flat_used(
    options: PipelineOptions, planned: Planned, run: Run, progress: Progress
) -> tuple[Floats32 | None, Mapping[str, Any] | None]:
    """Make or take the flat, put it into the output folder too, and say for the record how it fits; None for no flat.

    What an earlier run has made is taken as it is.
    """
    kept = run.scratch / _KEPT

    def make() -> dict[str, Any]:
        flat, record = _made(options, planned, run.folder, progress)
        if flat is not None:
            with atomic_file(kept, overwrite=True) as partial, partial.open("wb") as file:
                np.save(file, flat)
        return {"is_used": flat is not None, "record": plain(record)}

    facts = run.once("flat", make)
    return (np.load(kept) if facts["is_used"] else None), facts["record"]


def _made(
    options: PipelineOptions, planned: Planned, folder: Path, progress: Progress
) -> tuple[Floats32 | None, Mapping[str, Any] | None]:
    """Make or take the flat, and put it into the folder.

    A flat that no choice of the user's hinders, and that yet cannot be made or is worse than none, is left out.
    """
    given, making = planned
    if making is None:
        if options.flat is not None and given is not None:
            unused = [f"`{name}`" for name in _OF_MAKING if getattr(options.illumination, name) not in (None, False)]
            if unused:
                progress.warn(f"{', '.join(unused)} would tell how to make a flat, but `flat` is given: not used")
            if unlit := float((given == 0).mean()):
                progress.warn(f"{options.flat} is 0 in {100 * unlit:.2g} % of its pixels: so are the voxels there")
            shutil.copyfile(options.flat, folder / FLAT)
            flush(folder / FLAT)
        return given, None
    making = replace(making, options=replace(making.options, output=folder / FLAT, overwrite=True))
    try:
        made = illumination.estimated(making, progress)
    except ParameterError as error:
        if making.options.background is not None or making.options.values_per_bin is not None:
            raise
        progress.warn(f"the volume is made WITHOUT a flat: {error}")
        return None, {"is_used": False, "refused": str(error)}
    illumination.write_residual(made, making.options)
    is_used = made.verdict.is_useful or making.options.allow_poor_flat
    record = made.record(is_used=is_used)
    if not is_used:
        progress.warn("the volume is made WITHOUT a flat")
        return None, record
    if record["warnings"]:
        progress.note("another flat, such as that of another channel, can be given as `flat`")
    illumination.write_flat(made, making.options)
    return made.flat, record


def _illumination_options(
    options: PipelineOptions, mosaic: Mosaic, n_frames: int, orientation: Orientation
) -> IlluminationOptions:
    """The options of the flat field, as the pipeline has them."""
    asked = options.illumination
    return replace(
        asked,
        paths=tuple(tile.path for tile in mosaic.tiles),
        output=options.output / FLAT,
        n_frames=min(FLAT_FRAMES, n_frames) if asked.n_frames is None else asked.n_frames,
        dark=options.correction.dark,
        rotate_90=orientation[0],
        flip_ud=orientation[1],
        allow_missing=options.allow_missing,
        on_error=options.on_error,
        choice=options.choice,
        device=options.device,
        memory_bytes=part_of(most_bytes(options.memory_bytes), asked.memory_bytes),
        n_workers=options.n_workers,
        overwrite=options.overwrite,
    )
