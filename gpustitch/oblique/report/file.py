"""An output of the pipeline as it lies on the disk: its records, its volume, and the raw tiles that it was made of."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import GpustitchError, InputMissingError
from gpustitch.io.checked import number, read_json, rows, table, told
from gpustitch.io.frames.opening import Oriented, open_frames
from gpustitch.io.frames.readable import Lost, Readable
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.format import StoredVolume
from gpustitch.io.volumes.opening import PIPELINE_VOLUME, is_volume, open_volume, volume_at
from gpustitch.io.volumes.sidecar import SIDECAR
from gpustitch.io.write.planes import PLANES
from gpustitch.model import Coverage, Frames, ObliqueScan, PlacedVolume, part_axis
from gpustitch.model.arrays import Floats32, HostArray, PxZYX
from gpustitch.oblique.deskew.tile import FrameCache, ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.flat.file import read_flat
from gpustitch.oblique.mosaic.file import Alignment, read_alignment
from gpustitch.oblique.mosaic.folders import find_raw_mosaic
from gpustitch.oblique.report.names import ALIGNMENT, FLAT, PROVENANCE
from gpustitch.running.record import RUN_RECORD

# Frames kept while an output is looked at.
_CACHED_BYTES = 1 << 28


@dataclass(frozen=True)
class TilePlace:
    """Where the volume says that a tile lies: its first voxel (z, y, x) in the volume, and what it covers there."""

    name: str
    origin_px: PxZYX
    coverage: Coverage
    shear_px: float = 0.0


@dataclass(frozen=True)
class Output:
    """What an output says of itself.

    Attributes
    ----------
    folder, volume
        The output, and the folder of its volume.
    record, run
        The record of provenance, and that of the last run; the latter is empty if there is none.
    alignment
        What the alignment file says; None if there is none.
    places
        Where the volume says that its tiles are.
    """

    folder: Path
    volume: Path
    record: Mapping[str, Any]
    run: Mapping[str, Any]
    alignment: Alignment | None
    places: tuple[TilePlace, ...]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the run."""
        return dict(self.record.get("parameters", {}))

    @property
    def method(self) -> str:
        """How stripes were removed; empty if the record does not say."""
        return str(self.parameters.get("correction", {}).get("method", ""))


class Reading:
    """What is read of frames; frames that cannot be read in parts are kept whole, those used last."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self.cache = FrameCache(_CACHED_BYTES)


class CountedFrames:
    """Frames whose reads are counted in a :class:`Reading`, which keeps whole ones where parts are no cheaper."""

    def __init__(self, frames: Frames, reading: Reading) -> None:
        self._frames, self._reading, self._key = frames, reading, object()
        self.shape, self.dtype, self.part_axis = frames.shape, frames.dtype, part_axis(frames)

    @property
    def absent(self) -> frozenset[int]:
        """Frames that no file holds."""
        return self._frames.absent

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> HostArray:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``."""
        if self.part_axis is not None:
            out = self._frames.read(start, stop, rows, columns)
            # Of rows or columns that are read, a disk gives all.
            whole = self.shape[2 - self.part_axis] // max(1, out.shape[2 - self.part_axis])
            self._reading.n_bytes += out.nbytes * max(1, whole)
            return out
        shape = (stop - start, len(range(self.shape[1])[rows]), len(range(self.shape[2])[columns]))
        out = np.empty(shape, self.dtype)
        for n in range(start, stop):
            frame = self._reading.cache.get((self._key, n), functools.partial(self._whole, n))
            out[n - start] = frame[rows, columns]
        return out

    def _whole(self, n: int) -> HostArray:
        frame: HostArray = self._frames.read(n, n + 1)[0]
        self._reading.n_bytes += frame.nbytes
        return frame


@dataclass(frozen=True)
class RawTiles:
    """The raw tiles of an output, by name, frames by frame as the volume has them but for stripes.

    ``lost`` has the frames that are not there now. ``problems`` says what could not be opened. ``reading`` counts.
    """

    tiles: Mapping[str, ObliqueTile]
    lost: Mapping[str, Lost]
    problems: tuple[str, ...] = ()
    reading: Reading = field(default_factory=lambda: Reading())

    def placed(self, places: Sequence[TilePlace]) -> dict[str, PlacedVolume]:
        """The tiles where the volume says that they are, by name."""
        return {
            place.name: PlacedVolume(place.name, self.tiles[place.name], place.origin_px, place.shear_px)
            for place in places
            if place.name in self.tiles
        }


def read_output(folder: Path) -> Output:
    """Read the records of an output.

    Raises
    ------
    InputMissingError
        If the folder is no output of the pipeline.
    DamagedInputError
        If a record cannot be understood.
    """
    record, volume = folder / PROVENANCE, _volume_in(folder)
    if not record.is_file() or volume is None:
        if record.is_file() and (planes := _planes_in(folder)) is not None:
            raise InputMissingError(
                f"{folder} holds its volume as {planes.name} alone, of which small parts cannot be read; make one of "
                f"chunks first: gpustitch convert {planes} {folder / PIPELINE_VOLUME}"
            )
        what = f"file {PROVENANCE}" if not record.is_file() else "volume"
        raise InputMissingError(f"{folder} is no output of `pipeline`: there is no {what} in it")
    with told(record, "a run of the pipeline"):
        content = table(read_json(record), "it")
        table(content["parameters"], "parameters")
    alignment = folder / ALIGNMENT
    return Output(
        folder,
        volume,
        content,
        _last_run(folder / RUN_RECORD),
        read_alignment(alignment) if alignment.is_file() else None,
        _places(volume / SIDECAR),
    )


def _volume_in(folder: Path) -> Path | None:
    """The folder of the volume of an output, of whatever format."""
    found = volume_at(folder)
    if found is None and folder.is_dir():
        found = next((path for path in sorted(folder.iterdir()) if path.is_dir() and is_volume(path)), None)
    return found


def _planes_in(folder: Path) -> Path | None:
    """A volume of an output as planes: one file, or a folder of them."""
    files = (path for path in sorted(folder.glob(f"{PIPELINE_VOLUME}.*")) if path.is_file() and path.suffix != ".json")
    return next((path for path in (*files, folder / PLANES) if path.exists()), None)


def _last_run(path: Path) -> Mapping[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["runs"][-1])
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}


def _places(path: Path) -> tuple[TilePlace, ...]:
    if not path.is_file():
        return ()
    with told(path, "where tiles are"):
        return tuple(_place(table(tile, "a tile")) for tile in table(read_json(path), "it").get("tiles", ()))


def _place(tile: Mapping[str, Any]) -> TilePlace:
    z, y, x = (number(v, "origin_px") for v in rows(tile["origin_px"], "origin_px", 3))
    cover = Coverage(**table(tile["coverage"], "coverage"))
    return TilePlace(str(tile["name"]), (z, y, x), cover, number(tile["shear_px"], "shear_px"))


def open_levels(output: Output) -> list[StoredVolume]:
    """The levels of an output's volume, fine to coarse.

    Raises
    ------
    DamagedInputError
        If a level has lost files, or cannot be opened.
    """
    finest = open_volume(output.volume)
    return [finest, *(open_volume(output.volume, level=level) for level in range(1, finest.levels))]


def flat_of(output: Output) -> Floats32 | None:
    """The flat that the frames were divided by; None if there was none, or it is gone."""
    path = output.folder / FLAT
    return read_flat(path) if path.is_file() else None


def open_raw(output: Output, channel: Path | None = None) -> RawTiles:
    """Open the raw tiles of an output, where the record says that they are or in the folder ``channel``."""
    stated, problems = output.parameters, []
    tiles: dict[str, ObliqueTile] = {}
    lost: dict[str, Lost] = {}
    place = Path(str(stated.get("channel", ""))) if channel is None else channel
    try:
        found = find_raw_mosaic(place).tiles
    except (GpustitchError, OSError, ValueError) as error:
        return RawTiles({}, {}, (str(error),))
    reading, correction = Reading(), _light(output)
    for tile in found:
        try:
            readable = _opened(tile.path, stated)
            frames = CountedFrames(readable, reading)
            scan = ObliqueScan(
                *frames.shape,
                float(stated["y_voxel_um"]),
                float(stated["x_step_um"]),
                float(stated.get("angle_deg", 45)),
                tuple(frames.absent),
            )
            tiles[tile.name] = ObliqueTile(frames, scan, correction, name=str(tile.path))
            lost[tile.name] = Lost.of(readable)
        except (GpustitchError, OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"tile {tile.name} cannot be opened: {error}")
    return RawTiles(tiles, lost, tuple(problems), reading)


def _opened(path: Path, stated: Mapping[str, Any]) -> Readable:
    """Frames, upright; absent and unreadable ones are counted, not refused."""
    choice = StackChoice(**{name: value for name, value in (stated.get("choice") or {}).items() if value})
    frames: Any = open_frames(path, allow_missing=True, skip_damaged=True, choice=choice)
    turns, flips = int(stated.get("rotate_90") or 0), bool(stated.get("flip_ud"))
    if turns % 4 or flips:
        frames = Oriented(frames, turns, flips)
    return Readable(frames, skips=True)


def _light(output: Output) -> Correction | None:
    """Dark offset and flat of the run, without its destriping: each pixel by itself, so that windows are cheap."""
    dark, flat = float(output.parameters.get("correction", {}).get("dark", 0) or 0), flat_of(output)
    correction = Correction(flat=flat, dark=dark, dtype="float32")
    return None if flat is None and dark == 0 else correction
