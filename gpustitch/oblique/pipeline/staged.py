"""The pipeline by stages: a volume of each tile is written, then aligned and fused with the others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace

from gpustitch.io.write.pyramid_layout import pyramid_bytes
from gpustitch.model import Mosaic
from gpustitch.oblique.deskew import stage as deoblique
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.fuse import stage as stitch
from gpustitch.oblique.fuse.options import TreeOptions
from gpustitch.oblique.pipeline.options import TILES, VOLUME, PipelineOptions
from gpustitch.oblique.pipeline.work import Made, Work, aligned
from gpustitch.running.progress import Progress


def disk_bytes(options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> int:
    """Bound on the disk space that the run needs: the tiles and the volume made of them."""
    tile_bytes = sum(job.output_bytes for job in tiles)
    stitched_bytes = sum(pyramid_bytes(job.shape, job.dtype, options.stitch.levels) for job in tiles)
    return tile_bytes + min(stitched_bytes, 2 * tile_bytes)


def made(work: Work, progress: Progress) -> Made:
    """De-oblique every tile, align and fuse; the tiles are removed if they are not to be kept."""
    options, folder, correction, lost = work.options, work.folder, work.correction, {}
    for number, (tile, job) in enumerate(zip(work.mosaic.tiles, work.tiles, strict=True), 1):
        place = folder / job.options.output.relative_to(options.output)
        progress.note(f"tile {number} of {len(work.tiles)}: {tile.path}")
        placed = replace(job.options, output=place, correction=correction)
        job = replace(job, options=placed, correction=None if correction.is_identity else correction)
        lost[tile.name] = deoblique.run(job, progress).lost
    alignment, said = aligned(work, progress, tree=folder / TILES)
    tree = TreeOptions(
        folder / TILES,
        alignment,
        x_step_um=options.x_step_um,
        z_offset=options.z_offset,
        negative_y=options.negative_y,
    )
    stitched = stitch.run(stitch.plan_tree(tree, replace(options.stitch, output=folder / VOLUME)), progress)
    if not options.keep_tiles:
        shutil.rmtree(folder / TILES)
    return Made(stitched, said, lost)
