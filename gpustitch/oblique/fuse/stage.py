"""From tiles to one volume: every block of the mosaic is read, fused, written, and reduced while in memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device, choose_device, on, to_device, to_host
from gpustitch.errors import MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_free_space, check_output
from gpustitch.io.journal import Journal
from gpustitch.io.provenance import provenance
from gpustitch.io.resumable import finished_bytes
from gpustitch.io.write.format import VolumeOutput
from gpustitch.io.write.formats import unordered_format
from gpustitch.io.write.in_flight import IN_FLIGHT_BYTES
from gpustitch.io.write.pyramid_layout import (
    block_shape_of,
    check_block,
    checked_levels,
    level_shape,
    morton_order,
    pyramid_bytes,
)
from gpustitch.io.write.shards import grid_of, unfinished_bytes
from gpustitch.io.write.storing import planned_file_bytes
from gpustitch.model import ZYX, Box, Coverage, PlacedVolume, Spacing, level_factors
from gpustitch.oblique.fuse.file import FusedVolume
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.intensity import overlap_patches, row_gains, tiles_last_to_first
from gpustitch.oblique.fuse.options import Intensity, StitchOptions, TreeOptions
from gpustitch.oblique.mosaic.folders import find_volume_mosaic
from gpustitch.oblique.mosaic.placing import PlacedMosaic, cropped, place_found
from gpustitch.ops.robust import median_and_scatter
from gpustitch.running import foretold
from gpustitch.running.inputs import Inputs
from gpustitch.running.options import settled
from gpustitch.running.progress import SILENT, Progress, counted, tracked
from gpustitch.running.threads import checked_workers, ordered_map

# A chunk of a tile at a block's border is read for both blocks: wide blocks read fewer such chunks.
_BLOCK_ROWS, _BLOCK_WIDTH = 256, 256
# More patches along y tell nothing more.
_MOST_PATCHES = 1_000_000
FUSED_TYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class StitchPlan:
    """A checked job.

    ``mosaic`` is placed in the output's voxels. ``n_chunks`` and ``output_bytes`` bound the output; places without a
    tile take less. ``memory_bytes`` bounds the blocks and unfinished files in memory, ``file_bytes`` a file.
    """

    options: StitchOptions
    source: TreeOptions | None
    mosaic: PlacedMosaic
    shape: ZYX
    dtype: np.dtype[Any]
    block_shape: ZYX
    n_workers: int
    device: Device
    n_chunks: int
    output_bytes: int
    memory_bytes: int
    file_bytes: int
    inputs: Inputs = Inputs()

    @property
    def summary(self) -> str:
        """Tiles in, voxels out, disk, in one line for people."""
        z, y, x = self.shape
        tiles = counted(len(self.mosaic.tiles), "tiles")
        return f"{tiles} to {x} x {y} x {z} voxels, at most {self.output_bytes / 1e9:.2f} GB"

    @property
    def n_files(self) -> tuple[int, ...]:
        """At most how many files of chunks each level has."""
        return self.fused.stored[0].n_files

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        tiles = self.mosaic.tiles
        n_bytes = sum(math.prod(tile.volume.coverage.shape) for tile in tiles) * self.dtype.itemsize
        return foretold.lines(
            counted(len(tiles), "tiles"), n_bytes, self.fused.stored, self.output_bytes, self.memory_bytes
        )

    @property
    def fused(self) -> FusedVolume:
        """The volume to write."""
        return FusedVolume(self.options, self.shape, self.dtype, self.spacing, self.file_bytes, self.device)

    @property
    def spacing(self) -> Spacing:
        """Spacing of the output."""
        return self.mosaic.spacing

    def blocks(self) -> Iterator[Box]:
        """The output cut into blocks, z fastest, so that planes which two blocks share are read once.

        Columns of blocks follow a Morton curve, so that few files of coarse levels are unfinished at a time.
        """
        z, y, x = self.shape[0], *self.block_shape[1:]
        _, n_y, n_x = grid_of(self.shape, self.block_shape)
        for _, row, column in morton_order((1, n_y, n_x)):
            blocks = Box.of_shape((z, y, x), (0, row * y, column * x)).intersect(Box.of_shape(self.shape))
            yield from blocks.blocks(self.block_shape)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return math.prod(grid_of(self.shape, self.block_shape))


@dataclass(frozen=True)
class StitchResult:
    """What was written: number of blocks with a tile, number of all blocks, and the y correction used, if any."""

    path: Path
    shape: ZYX
    spacing: Spacing
    n_written: int
    n_blocks: int
    last_to_first: float | None


def plan_tree(source: TreeOptions, options: StitchOptions, *, checks_disk: bool = True) -> StitchPlan:
    """Open the volumes below a folder, place them, and check the job, before the output is touched.

    A larger job that has checked the room on the disk for all of it asks for no further check.

    Raises
    ------
    InputMissingError, DamagedInputError
        If there are no volumes, or a volume or the alignment cannot be opened.
    MosaicError
        If the volumes do not make one mosaic, or the alignment does not name all of them.
    ParameterError
        If an option is out of range.
    OutputExistsError, OutputError
        If the output exists, cannot be created, or would not fit on the disk.
    """
    check_output(options.output, overwrite=options.overwrite)
    unordered_format(options.output)
    paths = [tile.path for tile in find_volume_mosaic(source.input).tiles]
    check_apart(options.output, paths)
    inputs = Inputs.of([*paths, *([source.alignment] if source.alignment else [])], apart=[options.output])
    mosaic = place_found(
        source.input,
        alignment=source.alignment,
        x_step_um=source.x_step_um,
        y_voxel_um=source.y_voxel_um,
        z_offset=source.z_offset,
        negative_y=source.negative_y,
        allow_missing=source.allow_missing,
    )
    planned = replace(plan(mosaic, options, source=source), inputs=inputs)
    if checks_disk:
        check_free_space(options.output, planned.output_bytes - finished_bytes(options.output))
    return planned


def plan(mosaic: PlacedMosaic, options: StitchOptions, *, source: TreeOptions | None = None) -> StitchPlan:
    """Check the fusion of open and placed volumes, but for the disk. Errors are those of :func:`plan_tree`."""
    check_output(options.output, overwrite=options.overwrite)
    format = unordered_format(options.output)
    n_workers = checked_workers(options.n_workers)
    check_intensity(options.intensity)
    offset, shape = _part(mosaic.shape, options)
    dtype = _dtype(mosaic)
    factors = level_factors(mosaic.spacing, checked_levels(options.levels))
    if min(options.chunk_shape) < 1:
        raise ParameterError(f"`chunk_shape` must be at least 1 along each axis, not {options.chunk_shape} (z, y, x)")
    z, y, x = block_shape_of(factors, options.chunk_shape)
    block_shape = (z, y * max(1, _BLOCK_ROWS // y), x * max(1, _BLOCK_WIDTH // x))
    check_block(block_shape, shape, dtype)
    counts = [math.prod(grid_of(level_shape(shape, factor), options.chunk_shape)) for factor in factors]
    n_outputs = 1 + len(options.beside)
    n_bytes = n_outputs * output_bytes(mosaic, shape, dtype, options)
    block_bytes = math.prod(min(b, n) for b, n in zip(block_shape, shape, strict=True)) * dtype.itemsize
    # A worker holds a block, the voxels of its tiles (mostly one or two) and float32 sums of a part.
    front = shape[0], *block_shape[1:]
    file_bytes = planned_file_bytes(format, options, shape, dtype, mosaic.spacing, front) or 0
    unfinished = unfinished_bytes(shape, options.chunk_shape, dtype.itemsize, factors, file_bytes, front)
    memory_bytes = 5 * n_workers * block_bytes + n_outputs * (unfinished + IN_FLIGHT_BYTES)
    return StitchPlan(
        options=options, source=source, mosaic=cropped(mosaic, offset), shape=shape, dtype=dtype,
        block_shape=block_shape, n_workers=n_workers,
        device=choose_device(options.device, options.device_memory_bytes), n_chunks=sum(counts),
        output_bytes=n_bytes, memory_bytes=memory_bytes, file_bytes=file_bytes,
    )  # fmt: skip


def run(plan: StitchPlan, progress: Progress = SILENT, journal: Journal | None = None) -> StitchResult:
    """Read, fuse and write.

    With a ``journal`` the run goes on where an earlier one ended, and leaves what is finished if an error ends it.

    Raises
    ------
    DamagedInputError
        If a tile cannot be read.
    ParameterError
        If the intensity correction cannot be estimated from the overlaps.
    OutputError
        If the output cannot be written. Then no part of the output remains.
    """
    options, tiles = plan.options, plan.mosaic.tiles
    for note in plan.mosaic.notes:
        progress.warn(note)
    last_to_first = row_brightness(plan, progress)
    gains = gains_of(tiles, last_to_first)
    record = sidecar(plan, last_to_first)
    with plan.fused.opened(record, journal) as writer:
        fuse = functools.partial(_fuse_and_write, tiles=tiles, gains=gains, writer=writer, device=plan.device)
        results = ordered_map(fuse, plan.blocks(), plan.n_workers)
        n_written = sum(tracked(results, progress, "stitch", plan.n_blocks, "blocks"))
        record |= plan.inputs.tell(progress)
    return StitchResult(options.output, plan.shape, plan.spacing, n_written, plan.n_blocks, last_to_first)


def _fuse_and_write(
    box: Box,
    tiles: tuple[PlacedVolume, ...],
    gains: Mapping[int, npt.NDArray[np.float32]],
    writer: VolumeOutput,
    device: Device,
) -> bool:
    """Fuse and write one block; returns whether a tile covers part of it."""
    parts = list(writer.missing(box))
    if parts != [box]:
        return sum(_fuse_and_write(part, tiles, gains, writer, device) for part in parts) > 0
    block = plan_block(box, tiles)
    if block.is_empty:
        writer.skip(box)
        return False
    read = {number: tiles[number].volume.read(need) for number, need in block.reads.items()}
    with on(device):
        voxels = {number: to_device(array, device) for number, array in read.items()}
        fused = to_host(fuse_block(block, voxels, gains))
    writer.write(box, fused)
    return True


def _part(whole: ZYX, options: StitchOptions) -> tuple[ZYX, ZYX]:
    """First voxel and shape (z, y, x) of the written part of the mosaic."""
    offset = options.offset or (0, 0, 0)
    if min(offset) < 0 or any(o >= n for o, n in zip(offset, whole, strict=True)):
        raise ParameterError(f"`offset` x,y,z must be within the mosaic of {_xyz(whole)} voxels, not {_xyz(offset)}")
    if options.size is None:
        z, y, x = (n - o for n, o in zip(whole, offset, strict=True))
        return offset, (z, y, x)
    if min(options.size) < 1:
        raise ParameterError(f"`size` x,y,z must be at least 1 voxel each, not {_xyz(options.size)}")
    return offset, options.size


def _xyz(zyx: ZYX) -> str:
    return ",".join(str(n) for n in zyx[::-1])


def _dtype(mosaic: PlacedMosaic) -> np.dtype[Any]:
    dtypes = {tile.volume.dtype for tile in mosaic.tiles}
    if len(dtypes) > 1:
        raise MosaicError(f"tiles of one mosaic must hold voxels of one type, not {sorted(map(str, dtypes))}")
    dtype = dtypes.pop()
    if dtype.name not in FUSED_TYPES:
        raise MosaicError(f"tiles must hold voxels of {', '.join(FUSED_TYPES)} to be fused, not of {dtype}")
    return dtype


def output_bytes(mosaic: PlacedMosaic, shape: ZYX, dtype: np.dtype[Any], options: StitchOptions) -> int:
    """Bytes of the chunks that tiles touch, on all levels, or of all chunks, as it is asked for or if that is less."""
    whole = pyramid_bytes(shape, dtype, level_factors(mosaic.spacing, options.levels))
    if options.write_empty:
        return whole
    touched = 0.0
    depth, height, width = options.chunk_shape
    for tile in mosaic.tiles:
        cover = tile.volume.coverage
        slant = cover.shear * depth
        touched += (cover.n_columns + depth) * (cover.n_rows + height) * (cover.n_frames + slant + 2 * width)
    return math.ceil(whole * min(1.0, touched / math.prod(shape)))


def check_intensity(intensity: Intensity) -> None:
    """Refuse a correction of brightness that contradicts itself or is out of range."""
    if intensity.last_to_first is not None:
        if intensity.is_estimated:
            raise ParameterError("`last_to_first` gives what `is_estimated` would estimate; choose one of them")
        row_gains(1, intensity.last_to_first)
    if not 1 <= intensity.n_patches <= _MOST_PATCHES:
        raise ParameterError(f"`n_patches` must be 1 to {_MOST_PATCHES}, not {intensity.n_patches}")
    if not 0 <= intensity.min_correlation < 1:
        raise ParameterError(f"`min_correlation` must be from 0 to below 1, not {intensity.min_correlation}")


def row_brightness(plan: StitchPlan, progress: Progress) -> float | None:
    """Brightness of each tile's last row over that of its first: as stated, or estimated, or None for neither."""
    intensity = plan.options.intensity
    if not intensity.is_estimated:
        return intensity.last_to_first
    return estimated_last_to_first(plan.mosaic.tiles, intensity, plan.n_workers, progress)


def estimated_last_to_first(
    tiles: tuple[PlacedVolume, ...], intensity: Intensity, n_workers: int, progress: Progress
) -> float:
    """The brightness of a tile's last row over that of its first, estimated where tiles overlap along y.

    Raises
    ------
    ParameterError
        If the overlaps do not tell it.
    """
    patches = overlap_patches(tiles, intensity.n_patches, intensity.seed)
    estimate = functools.partial(
        tiles_last_to_first, tiles=tiles, min_mean=intensity.min_mean, min_correlation=intensity.min_correlation
    )
    values = tracked(ordered_map(estimate, patches, n_workers), progress, "y intensity", len(patches), "patches")
    kept = [value for value in values if value is not None]
    if not kept:
        raise ParameterError(
            f"the y intensity correction cannot be estimated: none of {len(patches)} patches in overlaps along y has a "
            f"mean of {intensity.min_mean:g} and a correlation of {intensity.min_correlation:g}; lower `min_mean` or "
            "`min_correlation`, or give `last_to_first`"
        )
    median, scatter = map(float, median_and_scatter(kept))
    spread = scatter / math.sqrt(len(kept))
    progress.note(
        f"y intensity: the last row of a tile is {median:.4f} +- {spread:.4f} as bright as the first "
        f"({len(kept)} of {len(patches)} patches)"
    )
    return median


def gains_of(tiles: Sequence[PlacedVolume], last_to_first: float | None) -> dict[int, npt.NDArray[np.float32]]:
    """The factors of the rows of each tile, by its number; empty without a ratio."""
    if last_to_first is None:
        return {}
    return {number: row_gains(tile.volume.coverage.n_rows, last_to_first) for number, tile in enumerate(tiles)}


def sidecar(plan: StitchPlan, last_to_first: float | None) -> dict[str, Any]:
    """The record of the volume: how it was made, and of which tiles."""
    used = settled(plan.options, plan.device, plan.n_workers)
    alignment = [] if plan.source is None or plan.source.alignment is None else [plan.source.alignment]
    return {
        **provenance({"mosaic": plan.source, "output": used}, alignment),
        "tiles": [
            {
                "name": tile.name,
                "origin_px": list(tile.origin_px),
                "shear_px": tile.shear_px,
                "coverage": _extent(tile.volume.coverage),
                "absent_frames": len(tile.volume.coverage.absent),
            }
            for tile in plan.mosaic.tiles
        ],
        "missing": list(plan.mosaic.notes),
        "y_intensity_last_to_first": last_to_first,
    }


def _extent(cover: Coverage) -> dict[str, Any]:
    """The outline of what the camera saw of a tile."""
    names = ("n_frames", "n_rows", "n_columns", "shear")
    return {name: getattr(cover, name) for name in names}
