"""What kind of thing lies at a path: decided once, for the text of ``info`` and for its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpustitch.errors import InputMissingError
from gpustitch.io.planes.format import PlaneFormat
from gpustitch.io.planes.opening import PLANE_FORMATS
from gpustitch.io.volumes.opening import is_volume
from gpustitch.model import Mosaic
from gpustitch.oblique.channels.file import channel_folders
from gpustitch.oblique.mosaic.folders import find_raw_mosaic, find_volume_mosaic, raw_channels
from gpustitch.oblique.pipeline.options import VOLUME


@dataclass(frozen=True)
class Record:
    """A JSON file: a record of gpustitch, or an alignment."""


@dataclass(frozen=True)
class Volumes:
    """A folder that holds a volume, or several in one format."""


@dataclass(frozen=True)
class StitchedChannels:
    """An output of the pipeline that has a folder for each channel."""

    folders: Sequence[Path]


@dataclass(frozen=True)
class Output:
    """An output of the pipeline, of one channel."""


@dataclass(frozen=True)
class RawChannels:
    """A folder with a folder of raw tiles for each channel."""

    folders: Sequence[Path]


@dataclass(frozen=True)
class Tiles:
    """Tiles of a mosaic: raw frames, or volumes."""

    mosaic: Mosaic
    are_raw: bool


@dataclass(frozen=True)
class PlaneFile:
    """A file of planes that no camera writes, such as NIfTI."""

    format: PlaneFormat


@dataclass(frozen=True)
class Frames:
    """Anything else: a stack of frames, or nothing that gpustitch reads."""


Kind = Record | Volumes | StitchedChannels | Output | RawChannels | Tiles | PlaneFile | Frames


def kind_at(path: Path) -> Kind:
    """What kind of thing lies at ``path``; nothing is read but names of files and small descriptions.

    Raises
    ------
    InputMissingError
        If nothing lies there.
    """
    if path.suffix.lower() == ".json":
        return Record()
    if is_volume(path):
        return Volumes()
    if folders := channel_folders(path):
        return StitchedChannels(folders)
    if is_volume(path / VOLUME):
        return Output()
    if path.is_dir() and (folders := raw_channels(path)):
        return RawChannels(folders)
    return _tiles(path) or next((PlaneFile(format) for format in PLANE_FORMATS if format.has_suffix(path)), Frames())


def _tiles(path: Path) -> Tiles | None:
    """The mosaic in a folder; None if the path is one tile itself, or holds none."""
    for find, are_raw in ((find_raw_mosaic, True), (find_volume_mosaic, False)):
        try:
            mosaic = find(path, may_be_part=True)
        except InputMissingError:
            continue
        is_one_tile = path.is_file() or [tile.path for tile in mosaic.tiles] == [path]
        return None if is_one_tile else Tiles(mosaic, are_raw)
    return None
