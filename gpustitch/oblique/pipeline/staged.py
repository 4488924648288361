"""The pipeline by stages: a volume of each tile is written, then aligned and fused with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpustitch.io.frames.readable import Lost
from gpustitch.io.write.pyramid_layout import pyramid_bytes
from gpustitch.model import Mosaic, TilePath, level_factors
from gpustitch.oblique.deskew import stage as deoblique
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.deskew.sweep import HOST_GRAIN
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction, working_bytes
from gpustitch.oblique.fuse import stage as stitch
from gpustitch.oblique.fuse.stage import StitchPlan
from gpustitch.oblique.pipeline import formats, shares
from gpustitch.oblique.pipeline.budget import likely_correction
from gpustitch.oblique.pipeline.options import TILES, VOLUME, PipelineOptions
from gpustitch.oblique.pipeline.work import Made, Work, aligned, place_of, placed, tree_of
from gpustitch.running.memory import give_back
from gpustitch.running.parts import Parts
from gpustitch.running.progress import Progress


def disk_bytes(options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> int:
    """Bound on the disk space that the run needs: the tiles and the volume made of them."""
    tile_bytes = sum(job.output_bytes for job in tiles)
    levels = options.stitch.levels
    stitched_bytes = sum(pyramid_bytes(job.shape, job.dtype, level_factors(job.scan.spacing, levels)) for job in tiles)
    volume_bytes = min(stitched_bytes, 2 * tile_bytes)
    # Files of planes have one level, and so no more than what the volume takes at most.
    return tile_bytes + (1 + len(options.stitch.beside) + len(formats.in_order(options))) * volume_bytes


def foreseen(options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> StitchPlan:
    """The fusion, with the tiles where the stage or the given alignment puts them."""
    volumes = [ObliqueTile(job.frames, job.scan, job.correction) for job in tiles]
    at = placed(options, mosaic, volumes, options.align_file)
    return stitch.plan(at, replace(options.stitch, output=place_of(options.output), overwrite=True))


def tile_bytes(options: PipelineOptions, tiles: Sequence[DeobliquePlan]) -> int:
    """Bound on the memory in which the volume of a tile is written."""
    correction, most = likely_correction(options, tiles), 0
    for job in tiles:
        more, planned = (working_bytes(c, job.frames, HOST_GRAIN.frames) for c in (correction, job.correction))
        most = max(most, job.memory_bytes + job.n_workers * (more - planned))
    return most


def made(work: Work, progress: Parts) -> Made:
    """De-oblique every tile, align and fuse; the tiles go into the output only if they are to be kept."""
    options, folder, lost = work.options, work.run.folder, {}
    trees = (folder if options.keep_tiles else work.run.scratch) / TILES
    kept = all(work.run.has(_unit(tile)) for tile in work.mosaic.tiles)
    with progress.part(shares.TILES, is_kept=kept):
        for number, (tile, job) in enumerate(zip(work.mosaic.tiles, work.tiles, strict=True), 1):
            place = trees / job.options.output.relative_to(options.output / TILES)

            def deobliqued(number: int = number, job: DeobliquePlan = job, place: Path = place) -> dict[str, Any]:
                progress.note(f"tile {number} of {len(work.tiles)}: {job.options.input}")
                return _deobliqued(job, place, work.correction, progress).facts

            progress.step(number, len(work.tiles))
            lost[tile.name] = Lost.of_facts(work.run.once(_unit(tile), deobliqued))
    with progress.part(shares.ALIGNMENT, is_kept=work.run.has("alignment")):
        alignment, said = aligned(work, progress, tree=trees)
    give_back()
    tree = tree_of(options, trees, alignment)
    stitching = replace(options.stitch, output=folder / VOLUME, overwrite=True)
    with progress.part(shares.VOLUME):
        stitched = stitch.run(stitch.plan_tree(tree, stitching, checks_disk=False), progress, work.run.journal)
    return Made(stitched, said, lost)


def _unit(tile: TilePath) -> str:
    """The name of the work on a tile."""
    return f"tile/{tile.name}"


def _deobliqued(job: DeobliquePlan, place: Path, correction: Correction, progress: Progress) -> Lost:
    options = replace(job.options, output=place, correction=correction, overwrite=True)
    job = replace(job, options=options, correction=None if correction.is_identity else correction)
    lost = deoblique.run(job, progress).lost
    give_back()
    return lost
