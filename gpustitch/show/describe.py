"""Describes what a path holds, in lines of text: a channel of tiles, frames, a volume, an alignment."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from gpustitch.array import Device, choose_device, cpu_count, cuda_devices
from gpustitch.array.sources import own_folder
from gpustitch.array.transfer import hosted
from gpustitch.errors import DamagedInputError, DeviceError, GpustitchError, InputMissingError, ParameterError
from gpustitch.io.found import found_places, one_place
from gpustitch.io.frames.formats import raw_suffixes
from gpustitch.io.frames.opening import details, open_frames, stacks_at
from gpustitch.io.planes.format import PlaneFormat
from gpustitch.io.planes.opening import open_planes, plane_sources
from gpustitch.io.stacks.choice import Chosen, StackChoice, stack_lines
from gpustitch.io.volumes.format import StoredVolume
from gpustitch.io.volumes.opening import choices_at, open_volume, volumes_at
from gpustitch.io.write.planes import PLANES
from gpustitch.model import Mosaic, TilePath
from gpustitch.model.options import documented, option
from gpustitch.model.runs import ranges_text
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.folders import raw_places
from gpustitch.oblique.pipeline.options import ALIGNMENT
from gpustitch.ops.pyramid import downsample
from gpustitch.running import options as shared
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

# What a record is of, by the first of these names in it.
_RECORDS = {
    "cut_off_pixels": "destriped images", "largest_move_sections": "positions of sections",
    "first_plane_at_section": "a volume of sections", "verdict": "a volume of slices", "scan": "an oblique tile",
    "tiles": "stitched tiles", "absent_planes": "similarities of sections", "runs": "how runs went",
}  # fmt: skip
_FILES = {"illumination": "truth of a phantom", "figures": "figures of a demo"}
PLANE_SUFFIXES = raw_suffixes(one=False)
_PACKAGES = (
    "numpy", "scipy", "PyWavelets", "scikit-image", "tensorstore", "zarr", "tifffile", "dcimg", "imagecodecs", "typer",
)  # fmt: skip
# Stage positions that differ by less than a quarter of this belong to one column or row of tiles.
SAME_PLACE_UM = (20.0, 20.0, 20.0)
_OPTIONAL = ("cupy-cuda12x", "cupy-cuda13x", "cucim-cu12", "cucim-cu13", "neuroglancer", "matplotlib")


@documented
@dataclass(frozen=True)
class InfoOptions:
    """What to describe: paths, or this machine if there are none."""

    paths: tuple[Path, ...] = option(
        (), help="Channels, DCIMG files, volumes, alignments.", is_argument=True, metavar="PATHS..."
    )
    device: str | Device = shared.device()


def described(options: InfoOptions) -> Iterator[str]:
    """Lines on each path, or on this machine; raises what :func:`describe_path` and ``choose_device`` raise."""
    if not options.paths:
        yield from describe_machine(choose_device(options.device))
    for path in options.paths:
        places = found_places(path)
        # Files of one plane each are a stack, which the glob names as a whole.
        whole = not path.exists() and all(place.name.lower().endswith(PLANE_SUFFIXES) for place in places)
        for place in [path] if whole else places:
            yield from _frames(place) if whole else describe_path(place)


def describe_machine(taken: Device) -> Iterator[str]:
    """Processors, CUDA devices (or why there are none), the device that commands take, and versions."""
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {cpu_count()} CPUs"
    devices, reason = cuda_devices()
    for found in devices:
        yield f"cuda:{found.index}: {found.name}, {found.memory_bytes / 2**30:.0f} GiB, capability {found.capability}"
        yield f"  {_working(Device(found.index, found.name))}"
    if not devices:
        yield f"no CUDA device: {reason}"
    yield f"commands take device {taken.why}"
    yield f"kernels: {_kernels()}"
    yield ", ".join([f"gpustitch {VERSION}", *(f"{name} {_version(name) or 'unknown'}" for name in _PACKAGES)])
    for name in _OPTIONAL:
        if _version(name):
            yield f"optional: {name} {_version(name)}"


def _kernels() -> str:
    """The place of the CUDA bodies."""
    try:
        return str(own_folder())
    except DeviceError as error:
        return f"NOT FOUND: {error}"


def _working(device: Device) -> str:
    """Whether bodies compile and run on the device, and whether cuCIM is installed."""
    volume = np.arange(64, dtype=np.uint16).reshape(4, 4, 4)
    try:
        reduced = hosted(downsample, device)(volume)
    except GpustitchError as error:
        return f"DOES NOT WORK: {error}"
    if not np.array_equal(reduced, downsample(volume)):
        return "DOES NOT WORK: a kernel ran but its result is wrong"
    if any(map(_version, ("cucim-cu12", "cucim-cu13"))):
        return "kernels compile and run; cuCIM is installed"
    return "kernels compile and run; cuCIM is not installed (wavelet thresholds of float images need it)"


def installed() -> dict[str, str]:
    """Versions of the packages that gpustitch uses, by name; those that are not installed are left out."""
    return {name: version for name in (*_PACKAGES, *_OPTIONAL) if (version := _version(name))}


def _version(name: str) -> str:
    """Version of an installed package; empty if the package is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


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
            yield record_line(path) or next(_alignment(path))
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
            yield from _mosaic(path, mosaic)
            yield from _tiles(path, mosaic, _raw_tile if are_raw else _volume_tile)
        case PlaneFile(format):
            yield from _plane_file(path, format)
        case Frames():
            yield from _frames(path)


def _output(path: Path) -> Iterator[str]:
    """An output of the pipeline, of one channel."""
    for place in volumes_at(path):
        yield from _volumes(place)
    if (path / PLANES).is_dir():
        yield from _frames(path / PLANES)
    if (path / ALIGNMENT).is_file():
        yield from _alignment(path / ALIGNMENT)


def _plane_file(path: Path, format: PlaneFormat) -> Iterator[str]:
    if several := format.stacks(path):
        yield from _several(path, several)
        return
    planes = open_planes(path)
    count, rows, columns = planes.shape
    yield f"{path}: {count} planes of {rows} rows x {columns} columns, {planes.dtype}"


def _frames(path: Path) -> Iterator[str]:
    """The frames at a path, or the stacks where there are several; DamagedInputError at the end if some are absent."""
    try:
        stacks = stacks_at(path)
    except InputMissingError:
        raise ParameterError(
            f"{path} holds nothing that `info` looks at: no tiles ({raw_places()}), no {plane_sources()}; of DICOM "
            "and other series of slices `gpustitch spacing` says what is there"
        ) from None
    if len(stacks) > 1:
        yield from _several(path, stacks)
        lacking = [stack.missing for stack in stacks if stack.missing]
        if lacking:
            raise DamagedInputError(f"{len(lacking)} of {len(stacks)} stacks lack planes: {'; '.join(lacking)}")
        return
    try:
        frames, damage = open_frames(path), ""
    except DamagedInputError as error:
        frames, damage = open_frames(path, allow_missing=True), str(error)
    count, rows, columns = frames.shape
    yield f"{path}: {count} frames of {rows} rows x {columns} columns, {frames.dtype}"
    for detail in details(path):
        yield f"  {detail}"
    if damage:
        raise DamagedInputError(damage)


def _several(path: Path, stacks: Sequence[Chosen]) -> Iterator[str]:
    yield f"{path}: {len(stacks)} stacks; commands read one of them, by its number, channel or time"
    yield from (f"  {line}" for line in stack_lines(stacks))


def _mosaic(path: Path, mosaic: Mosaic) -> Iterator[str]:
    counts = [len(places) for places in mosaic.grid_um(SAME_PLACE_UM)]
    yield f"{path}: {len(mosaic.tiles)} tiles on a grid of {counts[0]} x {counts[1]} x {counts[2]} (x, y, z)"
    for x_um, y_um, z_um in mosaic.missing_positions(SAME_PLACE_UM):
        yield f"  no tile near x {x_um:g}, y {y_um:g}, z {z_um:g} um"


def _tiles(path: Path, mosaic: Mosaic, what: Callable[[TilePath], str]) -> Iterator[str]:
    """A line for each tile; DamagedInputError at the end if any is damaged."""
    n_damaged = 0
    for tile in mosaic.tiles:
        try:
            yield f"  {tile.name}: {what(tile)}"
        except GpustitchError as error:
            n_damaged += 1
            yield f"  {tile.name}: DAMAGED: {error}"
    if n_damaged:
        raise DamagedInputError(f"{path}: {n_damaged} of {len(mosaic.tiles)} tiles are damaged")


def _raw_tile(tile: TilePath) -> str:
    stacks = stacks_at(tile.path)
    if len(stacks) > 1:
        return f"{len(stacks)} stacks: {'; '.join(stack_lines(stacks))}"
    count, rows, columns = open_frames(tile.path).shape
    return ", ".join([f"{count} frames of {rows} x {columns}", *details(tile.path)])


def _volume_tile(tile: TilePath) -> str:
    volume = open_volume(tile.path)
    z, y, x = volume.coverage.shape
    return "; ".join(filter(None, [f"volume of {z} x {y} x {x} voxels (z, y, x)", _files(volume, tile.path)]))


def _volumes(path: Path) -> Iterator[str]:
    """The volume in a folder, or each of several."""
    choices = choices_at(path)
    if len(choices) <= 1:
        yield from _volume(path)
        return
    yield f"{path}: {len(choices)} volumes; commands read one of them, by its number, channel or time"
    for name, choice in choices:
        yield from _volume(path, name, choice)


def _volume(path: Path, name: str = "", choice: StackChoice | None = None) -> Iterator[str]:
    volume = open_volume(path, choice=choice)
    z, y, x = volume.coverage.shape
    stated = volume.stated_spacing
    spacing = "unknown size" if stated is None else ", ".join(f"{v:g}" for v in stated.zyx_um) + " um"
    what = f"{path} ({name})" if name else str(path)
    yield f"{what}: volume of {z} x {y} x {x} voxels (z, y, x) of {spacing}, {volume.dtype}, {volume.levels} levels"
    if volume.coverage.shear:
        yield f"  one oblique tile of {volume.coverage.n_frames} frames, {volume.coverage.shear:g} columns per plane"
    if volume.coverage.absent:
        absent = volume.coverage.absent
        yield f"  {len(absent)} of its frames are absent ({ranges_text(absent)}): empty there"
    if files := _files(volume, path, choice):
        yield f"  {files}"


def _files(volume: StoredVolume, path: Path, choice: StackChoice | None = None) -> str:
    """Whether the files of all levels are there; empty if the format cannot tell."""
    levels = [volume, *(open_volume(path, level=level, choice=choice) for level in range(1, volume.levels))]
    n_files, n_missing = sum(level.n_files for level in levels), sum(level.n_missing for level in levels)
    if n_missing:
        return f"{n_missing} of {n_files} files of chunks are not there: they are empty or lost"
    return f"all {n_files} files of chunks are there" if n_files else ""


def record_line(path: Path) -> str:
    """What a record of gpustitch is about, in a line; empty if the file is none, or an alignment."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return ""
    if not isinstance(content, dict) or "alignments" in content:
        return ""
    if content.get("program") != "gpustitch":
        what = next((what for key, what in _FILES.items() if key in content), "")
        return f"{path}: {what}" if what else ""
    what = next((what for key, what in _RECORDS.items() if key in content), "a run")
    listed = content.get("inputs")
    entries = listed if isinstance(listed, list) else []
    inputs = [entry["path"] for entry in entries if isinstance(entry, dict) and "path" in entry]
    made_of = f", made of {inputs[0]}" + (f" and {len(inputs) - 1} more" if inputs[1:] else "") if inputs else ""
    return f"{path}: record of {what} by gpustitch {content.get('version', 'unknown')}{made_of}"


def _alignment(path: Path) -> Iterator[str]:
    alignment = read_alignment(path)
    size = "unknown" if alignment.voxel_size_um is None else f"{alignment.voxel_size_um:g} um"
    if alignment.voxel_size_nominal_um is not None and alignment.voxel_size_estimate_um is None:
        size += " (NOT measured, nominal)"
    lies = "; UNALIGNED: all tiles lie where the stage says" if alignment.is_unaligned else ""
    yield f"{path}: alignment of {len(alignment.origin_um)} tiles, y voxel size {size}{lies}"
