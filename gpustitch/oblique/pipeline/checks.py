"""What `pipeline` refuses before it touches the output: by its options, by the names of tiles, by their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpustitch.errors import MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_output, check_outside
from gpustitch.io.write.formats import format_for
from gpustitch.io.write.pyramid_layout import block_shape_of, check_block, checked_levels, triple
from gpustitch.io.write.storing import planned_file_bytes
from gpustitch.model import ZYX, Mosaic, level_factors
from gpustitch.oblique.align.outcome import check_measured
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.fuse.stage import check_intensity
from gpustitch.oblique.pipeline import files_beside, formats
from gpustitch.oblique.pipeline.options import VOLUME, PipelineOptions
from gpustitch.oblique.pipeline.work import check_alignment


def check_place(options: PipelineOptions) -> None:
    """Refuse an output that cannot be made there."""
    named = format_for(options.output)
    if named.suffixes:
        raise ParameterError(
            f"`output` {options.output} is named as {named.title}, but it will be a folder that holds more than a "
            "volume; give a name without such a suffix"
        )
    check_output(options.output, overwrite=options.overwrite)
    files_beside.check(options)


def check_options(options: PipelineOptions, mosaic: Mosaic) -> None:
    """Refuse what the options and the names of the tiles alone show to be wrong, before a frame is read."""
    check_apart(options.output, (tile.path for tile in mosaic.tiles))
    if options.channel.is_dir():
        check_outside(options.output, options.channel)
    check_intensity(options.stitch.intensity)
    checked_levels(options.stitch.levels)
    triple(options.stitch.chunk_shape, "chunk_shape")
    if options.align_file is not None:
        check_alignment(options, mosaic, options.align_file)
    else:
        check_measured(options.y_size, len(mosaic.grid_um()[1]) > 1)


def check_alike(mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> None:
    """Raise MosaicError unless the tiles are alike in the size of frames and the type of voxels."""
    for tile, job in zip(mosaic.tiles, tiles, strict=True):
        if job.scan != replace(tiles[0].scan, n_frames=job.scan.n_frames, absent=job.scan.absent):
            raise MosaicError(
                f"{tile.path} has frames of {job.scan.n_rows} x {job.scan.n_columns} pixels but {mosaic.tiles[0].path} "
                f"of {tiles[0].scan.n_rows} x {tiles[0].scan.n_columns}; tiles of one channel must be alike"
            )
        if job.dtype != tiles[0].dtype:
            raise MosaicError(
                f"{tile.path} gives {job.dtype} voxels but {mosaic.tiles[0].path} gives {tiles[0].dtype}; state one "
                "`dtype` for all tiles"
            )


def check_volume(options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> None:
    """Refuse levels, chunks, files and formats that the volume cannot have, if no tile lies off its place."""
    least, spacing, dtype = _least_shape(mosaic, tiles), tiles[0].scan.spacing, tiles[0].dtype
    block_shape = block_shape_of(level_factors(spacing, options.stitch.levels), options.stitch.chunk_shape)
    check_block(block_shape, least, dtype)
    planned_file_bytes(format_for(VOLUME), options.stitch, least, dtype, spacing, least)
    formats.check_types(options, dtype)


def _least_shape(mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> ZYX:
    """Approximate shape (z, y, x) of the stitched volume: the extent of the stage positions and one tile."""
    spacing = tiles[0].scan.spacing.zyx_um
    stage = [[tile.stage_um[axis] for tile in mosaic.tiles] for axis in (2, 1, 0)]
    z, y, x = (round((max(at) - min(at)) / um) + n for at, um, n in zip(stage, spacing, tiles[0].shape, strict=True))
    return z, y, x
