"""Describes what a path holds, in lines of text: a channel of tiles, frames, a volume, an alignment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpustitch.array import choose_device
from gpustitch.errors import DamagedInputError, GpustitchError
from gpustitch.io.found import one_place
from gpustitch.io.volumes.opening import choices_at, volumes_at
from gpustitch.io.write.planes import PLANES
from gpustitch.model import Mosaic, TilePath
from gpustitch.model.runs import ranges_text
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.pipeline.options import ALIGNMENT
from gpustitch.running.progress import counted
from gpustitch.show.held import (
    HeldStack,
    HeldStacks,
    HeldVolume,
    InfoOptions,
    grid_of,
    places_of,
    planes_of,
    record_at,
    stacks_of,
    volume_of,
)
from gpustitch.show.kinds import (
    Frames,
    Output,
    PlaneFile,
    RawChannels,
    Record,
    StitchedChannels,
    Tiles,
    Volumes,
    kind_at,
)
from gpustitch.show.machine import describe_machine


def described(options: InfoOptions) -> Iterator[str]:
    """Lines on each path, or on this machine; raises what :func:`describe_path` and ``choose_device`` raise."""
    if not options.paths:
        yield from describe_machine(choose_device(options.device))
    for path in options.paths:
        places, are_planes = places_of(path)
        for place in places:
            yield from _stack_lines(place, stacks_of(place)) if are_planes else describe_path(place)


def describe_path(path: Path) -> Iterator[str]:
    """What lies at ``path``.

    Raises
    ------
    DamagedInputError
        If the files of a volume are not all there. Damaged tiles are named first, each in its line.
    InputMissingError
        If nothing lies at the path.
    ParameterError
        If gpustitch reads nothing of what lies there.
    """
    path = one_place(path)
    match kind_at(path):
        case Record():
            record = record_at(path)
            yield record.line if record else _alignment_line(path)
        case Volumes():
            yield from _volumes(path)
        case StitchedChannels(folders):
            yield f"{path}: {len(folders)} channels, stitched alike"
            for place in volumes_at(path):
                yield from _volumes(place)
            for folder in folders:
                yield from describe_path(folder)
        case Output():
            yield from _output(path)
        case RawChannels(folders):
            yield f"{path}: {len(folders)} channels"
            for folder in folders:
                yield from describe_path(folder)
        case Tiles(mosaic, are_raw):
            yield from _tiles(path, mosaic, are_raw)
        case PlaneFile(format):
            yield from _stack_lines(path, planes_of(path, format), "planes")
        case Frames():
            yield from _stack_lines(path, stacks_of(path))


def _output(path: Path) -> Iterator[str]:
    """An output of the pipeline, of one channel."""
    for place in volumes_at(path):
        yield from _volumes(place)
    if (path / PLANES).is_dir():
        yield from _stack_lines(path / PLANES, stacks_of(path / PLANES))
    if (path / ALIGNMENT).is_file():
        yield _alignment_line(path / ALIGNMENT)


def _stack_lines(path: Path, held: HeldStack | HeldStacks, what: str = "frames") -> Iterator[str]:
    """One stack or several; their damage is raised at the end."""
    if isinstance(held, HeldStacks):
        yield f"{path}: {len(held.lines)} stacks; commands read one of them, by its number, channel or time"
        yield from (f"  {line}" for line in held.lines)
    else:
        count, rows, columns = held.shape
        yield f"{path}: {count} {what} of {rows} rows x {columns} columns, {held.dtype}"
        yield from (f"  {detail}" for detail in held.details)
    if held.damage:
        raise held.damage


def _tiles(path: Path, mosaic: Mosaic, are_raw: bool) -> Iterator[str]:
    """The grid, and a line for each tile; DamagedInputError at the end if any is damaged."""
    grid = grid_of(mosaic)
    x, y, z = grid.counts
    yield f"{path}: {counted(len(mosaic.tiles), 'tiles')} on a grid of {x} x {y} x {z} (x, y, z)"
    for x_um, y_um, z_um in grid.missing_um:
        yield f"  no tile near x {x_um:g}, y {y_um:g}, z {z_um:g} um"
    n_damaged = 0
    for tile in mosaic.tiles:
        try:
            yield f"  {tile.name}: {_raw_tile(tile) if are_raw else _volume_tile(tile)}"
        except GpustitchError as error:
            n_damaged += 1
            yield f"  {tile.name}: DAMAGED: {error}"
    if n_damaged:
        raise DamagedInputError(f"{path}: {n_damaged} of {len(mosaic.tiles)} tiles are damaged")


def _raw_tile(tile: TilePath) -> str:
    held = stacks_of(tile.path)
    if held.damage:
        raise held.damage
    if isinstance(held, HeldStacks):
        return f"{len(held.lines)} stacks: {'; '.join(held.lines)}"
    count, rows, columns = held.shape
    return ", ".join([f"{count} frames of {rows} x {columns}", *held.details])


def _volume_tile(tile: TilePath) -> str:
    held = volume_of(tile.path)
    z, y, x = held.volume.coverage.shape
    return "; ".join(filter(None, [f"volume of {z} x {y} x {x} voxels (z, y, x)", _files(held)]))


def _volumes(path: Path) -> Iterator[str]:
    """The volume in a folder, or each of several."""
    choices = choices_at(path)
    if len(choices) <= 1:
        yield from _volume(str(path), volume_of(path))
        return
    yield f"{path}: {len(choices)} volumes; commands read one of them, by its number, channel or time"
    for name, choice in choices:
        yield from _volume(f"{path} ({name})", volume_of(path, choice))


def _volume(name: str, held: HeldVolume) -> Iterator[str]:
    coverage = held.volume.coverage
    z, y, x = coverage.shape
    size = "unknown size" if held.spacing_um is None else ", ".join(f"{v:g}" for v in held.spacing_um) + " um"
    kind = f"{held.volume.dtype}, {held.volume.levels} levels"
    yield f"{name}: volume of {z} x {y} x {x} voxels (z, y, x) of {size}, {kind}"
    if coverage.shear:
        yield f"  one oblique tile of {coverage.n_frames} frames, {coverage.shear:g} columns per plane"
    if coverage.absent:
        yield f"  {len(coverage.absent)} of its frames are absent ({ranges_text(coverage.absent)}): empty there"
    if files := _files(held):
        yield f"  {files}"


def _files(held: HeldVolume) -> str:
    """Whether the files of all levels are there; empty if the format cannot tell."""
    if held.n_missing:
        return f"{held.n_missing} of {held.n_files} files of chunks are not there: they are empty or lost"
    return f"all {held.n_files} files of chunks are there" if held.n_files else ""


def _alignment_line(path: Path) -> str:
    alignment = read_alignment(path)
    size = "unknown" if alignment.voxel_size_um is None else f"{alignment.voxel_size_um:g} um"
    if alignment.voxel_size_nominal_um is not None and alignment.voxel_size_estimate_um is None:
        size += " (NOT measured, nominal)"
    lies = "; UNALIGNED: all tiles lie where the stage says" if alignment.is_unaligned else ""
    return f"{path}: alignment of {counted(len(alignment.origin_um), 'tiles')}, y voxel size {size}{lies}"
