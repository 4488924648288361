"""What a volume is converted from: whatever can be opened as a volume or as planes, read by boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.checked import read_json, table, told
from gpustitch.io.planes.format import Planes, doubt_of
from gpustitch.io.planes.opening import PlanesVolume, open_planes
from gpustitch.io.provenance import PROGRAM
from gpustitch.io.stacks.choice import NO_CHOICE, StackChoice
from gpustitch.io.units import spacing_of
from gpustitch.io.volumes.format import READ_CACHE_BYTES, StoredVolume, chunk_shape_of, missing_text
from gpustitch.io.volumes.opening import open_volume, volume_at
from gpustitch.io.volumes.sidecar import Origin, affine_with, read_affine, read_sidecar, record_of
from gpustitch.io.write.losses import has_directions
from gpustitch.io.write.omero import emission_nm
from gpustitch.model import ZYX, Box, Spacing, part_axis
from gpustitch.model.arrays import Floats
from gpustitch.model.runs import ranges_text
from gpustitch.running.memory import SPARE_BYTES, held_bytes

_ANY_SPACING = Spacing(1.0, 1.0, 1.0)
_PROGRAM_BYTES = 320 << 20  # what the command line holds with its libraries, and a little more
# What a sidecar says of the voxels themselves, and so of the same voxels in another format.
_OF_VOXELS = ("scan", "tiles")


@dataclass(frozen=True)
class Source:
    """An open volume.

    Attributes
    ----------
    name
        The source in messages.
    volume
        Its voxels, by box.
    shape, spacing
        (z, y, x).
    chunk
        Voxels (z, y, x) that are stored together: a part of them costs as much to read as all.
    origin_um
        Centre of the first voxel; None if the source states none.
    affine_lps_mm
        float64 (4, 4): from voxel (x, y, z, 1) to mm (LPS); None if the source states no directions of its axes.
    channel, states_channel
        Name of the channel, None if nothing tells; whether the volume itself states it.
    sidecar
        What the source's own sidecar says of its voxels.
    cautions
        What users must know of it.
    """

    name: str
    volume: StoredVolume | PlanesVolume
    shape: ZYX
    spacing: Spacing
    chunk: ZYX
    origin_um: Origin | None
    channel: str | None
    sidecar: Mapping[str, Any]
    cautions: tuple[str, ...]
    affine_lps_mm: Floats | None = None
    states_channel: bool = False

    @property
    def cache_bytes(self) -> int:
        """Bytes of decoded chunks that are held beside what is read."""
        n_bytes = math.prod(self.shape) * self.dtype.itemsize
        return 0 if isinstance(self.volume, PlanesVolume) else min(READ_CACHE_BYTES, n_bytes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, in the machine's order of bytes."""
        return self.volume.dtype.newbyteorder("=")

    def read(self, box: Box) -> npt.NDArray[Any] | None:
        """Voxels of a box; None if no file holds any, so that all are 0.

        Raises
        ------
        DamagedInputError
            If a file cannot be read.
        """
        holds = getattr(self.volume, "holds", None)
        if holds is not None and not holds(box):
            return None
        return np.asarray(self.volume.read(box), self.dtype)


def open_source(
    path: Path, spacing: Spacing | None = None, *, allow_missing: bool = False, choice: StackChoice = NO_CHOICE
) -> Source:
    """The volume in a folder, or the planes of whatever else lies at a path.

    Parameters
    ----------
    path
        As :func:`gpustitch.io.planes.opening.open_planes` takes it.
    spacing
        Spacing of the voxels, instead of what the source states.
    allow_missing
        Go on where planes or chunks are missing: they are 0.
    choice
        Which of several stacks to read.

    Raises
    ------
    InputMissingError, DamagedInputError
        If nothing lies there, or it cannot be opened.
    ParameterError
        If it is of no known kind, ``choice`` leaves several stacks, or nothing states the voxel size.
    """
    folder = volume_at(path)
    if folder is None:
        return _of_planes(open_planes(path, allow_missing=allow_missing, choice=choice), path, spacing)
    volume = open_volume(folder, _ANY_SPACING, allow_missing=allow_missing, choice=choice)
    missing = missing_text(volume, str(folder))
    channel, size = getattr(volume, "channel", None), _known(spacing or volume.stated_spacing, str(folder))
    record = _record(folder)
    return Source(
        name=str(folder),
        volume=volume,
        shape=volume.coverage.shape,
        spacing=size,
        chunk=chunk_shape_of(volume),
        origin_um=getattr(volume, "origin_um", None),
        channel=channel or record.get("channel") or _named_channel(folder),
        sidecar=_of_voxels(record),
        cautions=(missing,) if missing else (),
        affine_lps_mm=_directions(read_affine(record_of(folder)), size),
        # A writer that is told no channel takes the volume's name.
        states_channel=bool(channel) and channel != folder.name.split(".")[0],
    )


def _of_planes(planes: Planes, path: Path, spacing: Spacing | None) -> Source:
    """Planes as a volume, with what they state of themselves."""
    record = _record(path)
    volume = PlanesVolume(
        planes, _known(spacing or planes.spacing or _recorded_spacing(record), planes.name, doubt_of(planes))
    )
    n, rows, columns = planes.shape
    # Planes are decoded whole, unless a part of their rows or columns can be read.
    parts: dict[int | None, ZYX] = {0: (planes.depth, 1, columns), 1: (planes.depth, rows, 1)}
    chunk = parts.get(part_axis(planes), (planes.depth, rows, columns))
    absent = f"{planes.name}: planes {ranges_text(planes.absent)} are not there; they are 0" if planes.absent else ""
    missing = missing_text(planes, planes.name)
    return Source(
        name=planes.name,
        volume=volume,
        shape=(n, rows, columns),
        spacing=volume.spacing,
        chunk=chunk,
        origin_um=getattr(planes, "origin_um", None) or (read_sidecar(path)[1] if path.is_dir() else None),
        channel=record.get("channel") or _named_channel(path),
        sidecar=_of_voxels(record),
        cautions=tuple(text for text in (absent, missing) if text),
        affine_lps_mm=_directions(_affine_of(planes, path), volume.spacing),
    )


def _affine_of(planes: Planes, path: Path) -> Floats | None:
    """The matrix that planes state, or the record of what wrote them."""
    stated: Floats | None = getattr(planes, "affine_lps_mm", None)
    return read_affine(record_of(path)) if stated is None and _record(path) else stated


def _directions(affine_lps_mm: Floats | None, spacing: Spacing) -> Floats | None:
    """The matrix, if it says more than the place: with the spacing that voxels are taken to have."""
    if affine_lps_mm is None or not has_directions(affine_lps_mm):
        return None
    return affine_with(affine_lps_mm, spacing)


def _known(spacing: Spacing | None, name: str, doubt: str = "does not state its voxel size") -> Spacing:
    if spacing is None:
        raise ParameterError(f"{name} {doubt}; give it: `spacing` x,y,z in um")
    return spacing


def beside_bytes(source: Source) -> int:
    """Bytes held beside voxels on their way: the program, and chunks that were read.

    What else a process holds, which calls this as a library, is not the run's.
    """
    return min(held_bytes(), _PROGRAM_BYTES) + SPARE_BYTES + source.cache_bytes


def _named_channel(path: Path) -> str | None:
    """The last part of a path that states an emission, as folders of channels do."""
    return next((part for part in reversed(path.absolute().parts) if emission_nm(part) is not None), None)


def _record(path: Path) -> dict[str, Any]:
    """What a writer's record says of the volume at a path; empty if there is none. Files may have others' beside."""
    file = record_of(path)
    if not file.is_file():
        return {}
    with told(file, "how the volume was made", "remove it to convert the voxels alone"):
        content = table(read_json(file), "it")
    return content if path.is_dir() or content.get("program") == PROGRAM else {}


def _of_voxels(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in _OF_VOXELS if record.get(name) is not None}


def _recorded_spacing(record: Mapping[str, Any]) -> Spacing | None:
    """The voxel size of a format that states none, in the record of the conversion that wrote it."""
    stated = record.get("voxel_size_mm")
    if not isinstance(stated, list) or len(stated) != 3 or not all(isinstance(v, int | float) for v in stated):
        return None
    return spacing_of(*(v * 1000 for v in stated))
