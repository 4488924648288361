"""What a path holds, for programs: the same facts as :mod:`gpustitch.show.describe` puts in words, in JSON's types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpustitch.array import choose_device
from gpustitch.errors import GpustitchError
from gpustitch.io.found import one_place
from gpustitch.io.volumes.opening import choices_at, volumes_at
from gpustitch.model import Mosaic, TilePath
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.pipeline.options import ALIGNMENT, VOLUME
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
from gpustitch.show.machine import machine_facts
from gpustitch.version import VERSION

SCHEMA = 1


def facts(options: InfoOptions) -> dict[str, Any]:
    """What paths hold, or what this machine has if there are none, in JSON's types.

    ``schema`` is the number of this layout. Each of ``paths`` has ``path`` and ``kind``, and what is known of a thing
    of that kind: lengths in um, shapes as (z, y, x) or (frame, row, column). ``error`` and ``exit_code`` tell of what
    cannot be read or is not whole; nothing is raised for that.
    """
    found: dict[str, Any] = {"schema": SCHEMA, "gpustitch": VERSION}
    if not options.paths:
        return found | {"machine": machine_facts(choose_device(options.device))}
    return found | {"paths": [each for path in options.paths for each in _places(path)]}


def exit_code_of(found: dict[str, Any]) -> int:
    """The exit code of the first path with an error; 0 without one."""
    return next((each["exit_code"] for each in found.get("paths", ()) if "error" in each), 0)


def _places(path: Path) -> Iterator[dict[str, Any]]:
    """The facts of a path, or of each that a pattern fits."""
    try:
        places, are_planes = places_of(path)
    except GpustitchError as error:
        yield {"path": str(path), **_error(error)}
        return
    if are_planes:
        yield _tried(path, lambda: {"path": str(path), **_stacks(stacks_of(path))})
        return
    for place in places:
        yield of_path(place)


def of_path(path: Path) -> dict[str, Any]:
    """The facts of one path; raises nothing that is wrong with what lies there."""
    return _tried(path, lambda: {"path": str(one_place(path)), **_of(one_place(path))})


def _tried(path: Path, find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return find()
    except GpustitchError as error:
        return {"path": str(path), **_error(error)}


def _error(error: GpustitchError) -> dict[str, Any]:
    return {"error": str(error), "exit_code": error.exit_code}


def _of(path: Path) -> dict[str, Any]:
    """The facts of a path, by what it holds."""
    match kind_at(path):
        case Record():
            return _record(path)
        case Volumes():
            return _volumes(path)
        case StitchedChannels(folders):
            beside = {place.name: _volumes(place) for place in volumes_at(path)}
            made = [of_path(folder) for folder in folders]
            return _with_parts({"kind": "stitched channels", "volumes_beside": beside, "channels": made}, "channels")
        case Output():
            return _output(path)
        case RawChannels(folders):
            return _with_parts({"kind": "channels", "channels": [of_path(folder) for folder in folders]}, "channels")
        case Tiles(mosaic, are_raw):
            return _tiles(mosaic, are_raw)
        case PlaneFile(format):
            return _stacks(planes_of(path, format), "planes")
        case Frames():
            return _stacks(stacks_of(path))


def _output(path: Path) -> dict[str, Any]:
    """An output of the pipeline, of one channel."""
    held = {"volume": {"path": str(path / VOLUME), **_volume(volume_of(path / VOLUME))}}
    if others := [place for place in volumes_at(path) if place.name != VOLUME]:
        held["volumes_beside"] = {place.name: _volumes(place) for place in others}
    alignment = path / ALIGNMENT
    return {"kind": "pipeline output", **held, **({"alignment": _alignment(alignment)} if alignment.is_file() else {})}


def _stacks(held: HeldStack | HeldStacks, kind: str = "frames") -> dict[str, Any]:
    """One stack or several, with what is wrong with them."""
    error = _error(held.damage) if held.damage else {}
    if isinstance(held, HeldStacks):
        told = zip(held.lines, held.missing, strict=True)
        return {"kind": "stacks", "stacks": [{"text": line, "missing": lack or None} for line, lack in told], **error}
    found = {"kind": kind, "shape": list(held.shape), "dtype": str(held.dtype)}
    return found | ({"details": list(held.details)} if kind == "frames" else {}) | error


def _tiles(mosaic: Mosaic, are_raw: bool) -> dict[str, Any]:
    def what(path: Path) -> dict[str, Any]:
        return _stacks(stacks_of(path)) if are_raw else _volume(volume_of(path))

    def tile_facts(tile: TilePath) -> dict[str, Any]:
        place = {"name": tile.name, "path": str(tile.path), "stage_um": list(tile.stage_um)}
        return {**place, **_tried(tile.path, lambda: what(tile.path))}

    grid = grid_of(mosaic)
    found = {
        "kind": "tiles",
        "grid": list(grid.counts),
        "missing_um": [list(place) for place in grid.missing_um],
        "tiles": [tile_facts(tile) for tile in mosaic.tiles],
    }
    return _with_parts(found, "tiles")


def _with_parts(found: dict[str, Any], parts: str) -> dict[str, Any]:
    """With an error of the whole if some parts have one."""
    wrong = [part for part in found[parts] if "error" in part]
    if not wrong:
        return found
    text = f"{len(wrong)} of {len(found[parts])} {parts} are damaged"
    return {**found, "error": text, "exit_code": wrong[0]["exit_code"]}


def _volumes(path: Path) -> dict[str, Any]:
    """The volume in a folder, or each of several by its name."""
    choices = choices_at(path)
    if len(choices) <= 1:
        return _volume(volume_of(path))
    several = [{"name": name, **_volume(volume_of(path, choice))} for name, choice in choices]
    return {"kind": "volumes", "volumes": several}


def _volume(held: HeldVolume) -> dict[str, Any]:
    """The facts of a volume, with files that are there and missing on all levels."""
    volume, coverage = held.volume, held.volume.coverage
    found: dict[str, Any] = {
        "kind": "volume",
        "shape": list(coverage.shape),
        "dtype": str(volume.dtype),
        "spacing_um": None if held.spacing_um is None else list(held.spacing_um),
        "origin_um": list(getattr(volume, "origin_um", (0.0, 0.0, 0.0))),
        "levels": volume.levels,
        "level_shapes": [list(level.coverage.shape) for level in held.levels],
        "files": held.n_files or None,
        "missing_files": held.n_missing if held.n_files else None,
    }
    if coverage.shear:
        found |= {"columns_per_plane": coverage.shear, "n_frames": coverage.n_frames}
    return found | ({"absent_frames": list(coverage.absent)} if coverage.absent else {})


def _record(path: Path) -> dict[str, Any]:
    """A record of gpustitch, or an alignment."""
    if record := record_at(path):
        return {"kind": "record", "text": record.line, "version": record.version, "inputs": record.inputs}
    return _alignment(path)


def _alignment(path: Path) -> dict[str, Any]:
    alignment = read_alignment(path)
    return {
        "kind": "alignment",
        "tiles": len(alignment.origin_um),
        "y_voxel_um": alignment.voxel_size_um,
        "y_voxel_nominal_um": alignment.voxel_size_nominal_um,
        "is_unaligned": alignment.is_unaligned,
    }
