"""What a path holds, read once: ``describe.py`` puts it in words, ``facts.py`` in JSON."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.found import found_places
from gpustitch.io.frames.formats import raw_suffixes
from gpustitch.io.frames.opening import details, open_frames, stacks_at
from gpustitch.io.planes.format import PlaneFormat
from gpustitch.io.planes.opening import open_planes, plane_sources
from gpustitch.io.stacks.choice import StackChoice, stack_lines
from gpustitch.io.volumes.format import StoredVolume
from gpustitch.io.volumes.opening import open_volume
from gpustitch.model import ZYX, Mosaic
from gpustitch.model.options import documented, option
from gpustitch.oblique.mosaic.folders import raw_places
from gpustitch.running import options as shared

# What a record is of, by the first of these names in it.
_RECORDS = {
    "cut_off_pixels": "destriped images", "largest_move_sections": "positions of sections",
    "first_plane_at_section": "a volume of sections", "verdict": "a volume of slices", "scan": "an oblique tile",
    "tiles": "stitched tiles", "absent_planes": "similarities of sections", "runs": "how runs went",
}  # fmt: skip
_FILES = {"illumination": "truth of a phantom", "figures": "figures of a demo"}
_PLANE_SUFFIXES = raw_suffixes(one=False)
# Stage positions that differ by less than a quarter of this belong to one column or row of tiles.
_SAME_PLACE_UM = (20.0, 20.0, 20.0)


@documented
@dataclass(frozen=True)
class InfoOptions:
    """What to describe: paths, or this machine if there are none."""

    paths: tuple[Path, ...] = option(
        (), help="Channels, DCIMG files, volumes, alignments.", is_argument=True, metavar="PATHS..."
    )
    device: str | Device = shared.device()


@dataclass(frozen=True)
class HeldStack:
    """One stack, of frames (frame, row, column) or of planes (z, y, x); ``damage`` says what it lacks."""

    shape: ZYX
    dtype: np.dtype[Any]
    details: Sequence[str] = ()
    damage: DamagedInputError | None = None


@dataclass(frozen=True)
class HeldStacks:
    """Several stacks, of which commands read one: a line on each, and what each lacks (empty if nothing)."""

    lines: Sequence[str]
    missing: Sequence[str]

    @property
    def damage(self) -> DamagedInputError | None:
        """What the stacks lack together; None if they are whole."""
        if not (lacking := list(filter(None, self.missing))):
            return None
        return DamagedInputError(f"{len(lacking)} of {len(self.lines)} stacks lack planes: {'; '.join(lacking)}")


@dataclass(frozen=True)
class HeldVolume:
    """A volume at full resolution; its coarser levels are opened when they are asked for."""

    path: Path
    volume: StoredVolume
    choice: StackChoice | None

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """Voxel size (z, y, x), um; None if the files do not state it."""
        stated = self.volume.stated_spacing
        return None if stated is None else stated.zyx_um

    @functools.cached_property
    def levels(self) -> Sequence[StoredVolume]:
        """All levels, fine to coarse."""
        coarser = range(1, self.volume.levels)
        return [self.volume, *(open_volume(self.path, level=level, choice=self.choice) for level in coarser)]

    @property
    def n_files(self) -> int:
        """Files of chunks that all levels should have; 0 if the format cannot tell."""
        return sum(level.n_files for level in self.levels)

    @property
    def n_missing(self) -> int:
        """How many of these files are not there."""
        return sum(level.n_missing for level in self.levels)


@dataclass(frozen=True)
class HeldGrid:
    """Where tiles lie: how many places there are along x, y and z, and stage positions (um) that have no tile."""

    counts: tuple[int, int, int]
    missing_um: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class HeldRecord:
    """A JSON file that gpustitch wrote: a line on it, the version that wrote it, and its list of inputs as it is."""

    line: str
    version: Any
    inputs: Any


def places_of(path: Path) -> tuple[Sequence[Path], bool]:
    """The places that a path or pattern names; True if their files of one plane each are one stack, named as a whole.

    Raises
    ------
    InputMissingError
        If nothing lies there.
    """
    places = found_places(path)
    are_planes = not path.exists() and all(place.name.lower().endswith(_PLANE_SUFFIXES) for place in places)
    return ([path], True) if are_planes else (places, False)


def stacks_of(path: Path) -> HeldStack | HeldStacks:
    """The frames at a path, or the stacks where there are several; damage is told, not raised.

    Raises
    ------
    DamagedInputError
        If nothing can be read.
    ParameterError
        If gpustitch reads nothing of what lies there.
    """
    try:
        stacks = stacks_at(path)
    except InputMissingError:
        raise ParameterError(
            f"{path} holds nothing that `info` looks at: no tiles ({raw_places()}), no {plane_sources()}; of DICOM "
            "and other series of slices `gpustitch spacing` says what is there"
        ) from None
    if len(stacks) > 1:
        return HeldStacks(stack_lines(stacks), [stack.missing for stack in stacks])
    try:
        frames, damage = open_frames(path), None
    except DamagedInputError as error:
        frames, damage = open_frames(path, allow_missing=True), error
    return HeldStack(frames.shape, frames.dtype, details(path), damage)


def planes_of(path: Path, format: PlaneFormat) -> HeldStack | HeldStacks:
    """The planes in one file, or the stacks where it holds several."""
    if several := format.stacks(path):
        return HeldStacks(stack_lines(several), [""] * len(several))
    planes = open_planes(path)
    return HeldStack(planes.shape, planes.dtype)


def volume_of(path: Path, choice: StackChoice | None = None) -> HeldVolume:
    """A volume, or the chosen one of several."""
    return HeldVolume(path, open_volume(path, choice=choice), choice)


def grid_of(mosaic: Mosaic) -> HeldGrid:
    """Where the tiles of a mosaic lie."""
    x, y, z = mosaic.grid_um(_SAME_PLACE_UM)
    return HeldGrid((len(x), len(y), len(z)), mosaic.missing_positions(_SAME_PLACE_UM))


def record_at(path: Path) -> HeldRecord | None:
    """A record of gpustitch; None if the file is none, or an alignment."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None
    if not isinstance(content, dict) or "alignments" in content:
        return None
    version, inputs = content.get("version"), content.get("inputs")
    if content.get("program") != "gpustitch":
        what = next((what for key, what in _FILES.items() if key in content), "")
        return HeldRecord(f"{path}: {what}", version, inputs) if what else None
    what = next((what for key, what in _RECORDS.items() if key in content), "a run")
    entries = inputs if isinstance(inputs, list) else []
    paths = [entry["path"] for entry in entries if isinstance(entry, dict) and "path" in entry]
    made_of = f", made of {paths[0]}" + (f" and {len(paths) - 1} more" if paths[1:] else "") if paths else ""
    line = f"{path}: record of {what} by gpustitch {content.get('version', 'unknown')}{made_of}"
    return HeldRecord(line, version, inputs)
