"""What a path holds, for programs: the facts that :mod:`gpustitch.show.describe` puts in words."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpustitch.array import choose_device, cpu_count, cuda_devices
from gpustitch.errors import DamagedInputError, GpustitchError
from gpustitch.io.found import found_places, one_place
from gpustitch.io.frames.opening import details, open_frames, stacks_at
from gpustitch.io.planes.format import PlaneFormat
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.stacks.choice import StackChoice, stack_lines
from gpustitch.io.volumes.opening import choices_at, open_volume, volumes_at
from gpustitch.model import Mosaic, TilePath
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.pipeline.options import ALIGNMENT, VOLUME
from gpustitch.show.describe import PLANE_SUFFIXES, SAME_PLACE_UM, InfoOptions, installed, record_line
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
        return found | {"machine": _machine(options)}
    return found | {"paths": [each for path in options.paths for each in _places(path)]}


def exit_code_of(found: dict[str, Any]) -> int:
    """The exit code of the first path with an error; 0 without one."""
    return next((each["exit_code"] for each in found.get("paths", ()) if "error" in each), 0)


def _machine(options: InfoOptions) -> dict[str, Any]:
    devices, reason = cuda_devices()
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cpus": cpu_count(),
        "cuda_devices": [vars(device) for device in devices],
        "why_no_cuda": reason or None,
        "device": str(choose_device(options.device)),
        "packages": installed(),
    }


def _places(path: Path) -> Iterator[dict[str, Any]]:
    """The facts of a path, or of each that a pattern fits."""
    try:
        places = found_places(path)
    except GpustitchError as error:
        yield {"path": str(path), **_error(error)}
        return
    if not path.exists() and all(place.name.lower().endswith(PLANE_SUFFIXES) for place in places):
        yield _tried(path, lambda: {"path": str(path), **_frames(path)})
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
            return _json(path)
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
            return _mosaic(mosaic, _raw_tile if are_raw else _volume)
        case PlaneFile(format):
            return _plane_file(path, format)
        case Frames():
            return _frames(path)


def _output(path: Path) -> dict[str, Any]:
    """An output of the pipeline, of one channel."""
    held = {"volume": {"path": str(path / VOLUME), **_volume(path / VOLUME)}}
    if others := [place for place in volumes_at(path) if place.name != VOLUME]:
        held["volumes_beside"] = {place.name: _volumes(place) for place in others}
    alignment = path / ALIGNMENT
    return {"kind": "pipeline output", **held, **({"alignment": _json(alignment)} if alignment.is_file() else {})}


def _plane_file(path: Path, format: PlaneFormat) -> dict[str, Any]:
    if several := format.stacks(path):
        return {"kind": "stacks", "stacks": [{"text": line, "missing": None} for line in stack_lines(several)]}
    planes = open_planes(path)
    return {"kind": "planes", "shape": list(planes.shape), "dtype": str(planes.dtype)}


def _frames(path: Path) -> dict[str, Any]:
    stacks = stacks_at(path)
    if len(stacks) > 1:
        listed = [
            {"text": line, "missing": stack.missing or None}
            for stack, line in zip(stacks, stack_lines(stacks), strict=True)
        ]
        lacking = [stack.missing for stack in stacks if stack.missing]
        error = _error(DamagedInputError(f"{len(lacking)} of {len(stacks)} stacks lack planes")) if lacking else {}
        return {"kind": "stacks", "stacks": listed, **error}
    error = {}
    try:
        frames = open_frames(path)
    except DamagedInputError as damage:
        frames, error = open_frames(path, allow_missing=True), _error(damage)
    held = {"kind": "frames", "shape": list(frames.shape), "dtype": str(frames.dtype)}
    return {**held, "details": list(details(path)), **error}


def _raw_tile(path: Path) -> dict[str, Any]:
    return _frames(path)


def _mosaic(mosaic: Mosaic, what: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    def tile_facts(tile: TilePath) -> dict[str, Any]:
        place = {"name": tile.name, "path": str(tile.path), "stage_um": list(tile.stage_um)}
        return {**place, **_tried(tile.path, lambda: what(tile.path))}

    grid = mosaic.grid_um(SAME_PLACE_UM)
    found = {
        "kind": "tiles",
        "grid": [len(places) for places in grid],
        "missing_um": [list(place) for place in mosaic.missing_positions(SAME_PLACE_UM)],
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
        return _volume(path)
    return {"kind": "volumes", "volumes": [{"name": name, **_volume(path, choice)} for name, choice in choices]}


def _volume(path: Path, choice: StackChoice | None = None) -> dict[str, Any]:
    """The facts of a volume, with files that are there and missing on all levels."""
    volume = open_volume(path, choice=choice)
    levels = [volume, *(open_volume(path, level=level, choice=choice) for level in range(1, volume.levels))]
    coverage, spacing = volume.coverage, volume.stated_spacing
    n_files, n_missing = sum(level.n_files for level in levels), sum(level.n_missing for level in levels)
    found: dict[str, Any] = {
        "kind": "volume",
        "shape": list(coverage.shape),
        "dtype": str(volume.dtype),
        "spacing_um": None if spacing is None else list(spacing.zyx_um),
        "origin_um": list(getattr(volume, "origin_um", (0.0, 0.0, 0.0))),
        "levels": volume.levels,
        "level_shapes": [list(level.coverage.shape) for level in levels],
        "files": n_files or None,
        "missing_files": n_missing if n_files else None,
    }
    if coverage.shear:
        found |= {"columns_per_plane": coverage.shear, "n_frames": coverage.n_frames}
    return found | ({"absent_frames": list(coverage.absent)} if coverage.absent else {})


def _json(path: Path) -> dict[str, Any]:
    if line := record_line(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"kind": "record", "text": line, **{key: content.get(key) for key in ("version", "inputs")}}
    alignment = read_alignment(path)
    return {
        "kind": "alignment",
        "tiles": len(alignment.origin_um),
        "y_voxel_um": alignment.voxel_size_um,
        "y_voxel_nominal_um": alignment.voxel_size_nominal_um,
        "is_unaligned": alignment.is_unaligned,
    }
