"""Finds the tiles of a channel in a spimstitch folder tree: ``X/X_Y/Z``, names in tenths of a micron."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from gpustitch.errors import InputMissingError, MosaicError
from gpustitch.io.found import one_place
from gpustitch.io.frames.formats import frame_format, raw_suffixes
from gpustitch.io.registry import either
from gpustitch.io.volumes.opening import is_volume, volume_marks
from gpustitch.model import Mosaic, TilePath, stage_position
from gpustitch.model.tile import PAIR_NAME, WHOLE_NAME
from gpustitch.running.progress import listed


def find_raw_mosaic(root: str | Path, *, may_be_part: bool = False) -> Mosaic:
    """The raw tiles of a channel: ``ROOT/X/X_Y/Z.dcimg``, ``ROOT/X/X_Y/Z/*.tiff``, or one DCIMG file alone.

    Other raw formats of frames work alike: each tile is one file or a folder of files.

    A lone file is at (0, 0, 0) if it lies in ROOT itself or if its parents' names are not positions. ``may_be_part``
    allows a folder X or X_Y of a channel that has more of them.

    Raises
    ------
    InputMissingError
        If ``root`` does not exist or holds no tile.
    MosaicError
        If a name is not a position, or two tiles are at one place. If ``root`` is part of a channel, or holds several.
    ParameterError
        If ``root`` is a glob that matches several files and folders.
    """
    return _find(Path(root), _is_raw, f"raw tile ({raw_places()})", may_be_part)


def raw_channels(root: Path) -> list[Path]:
    """The folders of raw tiles in a folder that holds no tile itself."""
    return [] if _tiles_below(root, _is_raw) else _channels(root, _is_raw)


def _channels(root: Path, is_tile: Callable[[Path], bool]) -> list[Path]:
    return [entry for entry in _entries(root) if entry.is_dir() and _holds_tiles(entry, is_tile)]


def raw_places() -> str:
    """The places of raw tiles, as text for people."""
    files = (f"X/X_Y/Z{suffix}" for suffix in raw_suffixes(one=True))
    return either([*files, *(f"X/X_Y/Z/*{suffix}" for suffix in raw_suffixes(one=False))])


def find_volume_mosaic(root: str | Path, *, may_be_part: bool = False) -> Mosaic:
    """The volumes of a channel, of any format: ``ROOT/X/X_Y/Z`` or ``ROOT/X/X_Y``.

    A lone volume is at (0, 0, 0) if its parents' names are not positions. Errors are those of :func:`find_raw_mosaic`.
    """
    return _find(Path(root), is_volume, f"volume (X/X_Y/Z with a file {volume_marks()})", may_be_part)


def _is_raw(path: Path) -> bool:
    if path.is_file():
        return path.name.lower().endswith(raw_suffixes(one=True))
    suffixes = raw_suffixes(one=False)
    return any(file.name.lower().endswith(suffixes) for file in _entries(path))


def _find(root: Path, is_tile: Callable[[Path], bool], what: str, may_be_part: bool) -> Mosaic:
    root = one_place(root)
    if is_tile(root) and not _is_picture_folder(root, is_tile):
        return Mosaic((TilePath(root, stage_position(root) or (0.0, 0.0, 0.0)),))
    if root.is_file():
        raise InputMissingError(f"{root} is not a {what}")
    if not may_be_part:
        _check_whole(root)
    tiles = _tiles_below(root, is_tile)
    if not tiles:
        return _lone(root, is_tile, what)
    return Mosaic(tuple(sorted(tiles, key=lambda tile: tile.stage_um)))


def _tiles_below(root: Path, is_tile: Callable[[Path], bool]) -> list[TilePath]:
    return [tile for x_folder in _x_folders(root) for tile in _tiles_in(x_folder, is_tile)]


def _check_whole(root: Path) -> None:
    """Raise MosaicError if ``root`` is a folder X or X_Y of a channel that has more of them."""
    place = root.absolute()
    for x_folder in (place, place.parent):
        if re.fullmatch(WHOLE_NAME, x_folder.name) and (x_folder == place or re.fullmatch(PAIR_NAME, place.name)):
            pairs = [pair for folder in _x_folders(x_folder.parent) for pair in _entries(folder) if _is_pair(pair)]
            if any(not pair.is_relative_to(place) for pair in pairs):
                raise MosaicError(
                    f"{root} holds only a part of the channel {x_folder.parent}: {len(pairs)} places X/X_Y lie there; "
                    f"give {x_folder.parent}"
                )


def _is_pair(path: Path) -> bool:
    return re.fullmatch(PAIR_NAME, path.name) is not None and path.is_dir()


def _lone(root: Path, is_tile: Callable[[Path], bool], what: str) -> Mosaic:
    """The mosaic of the only tile that lies in ``root`` itself."""
    files = [entry for entry in _entries(root) if entry.is_file() and is_tile(entry)]
    if not files:
        if channels := _channels(root, is_tile):
            raise MosaicError(
                f"{root} holds no {what} itself, but channels: {listed([channel.name for channel in channels])}; give "
                f"one of them, such as {channels[0]}"
            )
        raise InputMissingError(f"{root} holds no {what}")
    if len(files) > 1:
        names = "/".join(sorted({format.name for file in files if (format := frame_format(file)) is not None}))
        raise MosaicError(f"{root} holds {len(files)} {names} files that are not in folders X/X_Y; name one of them")
    return Mosaic((TilePath(files[0], (0.0, 0.0, 0.0)),))


def _tiles_in(x_folder: Path, is_tile: Callable[[Path], bool]) -> Iterator[TilePath]:
    for column in _entries(x_folder):
        if not column.is_dir():
            continue
        found = [entry for entry in _entries(column) if is_tile(entry)]
        # X_Y with Z.dcimg and a picture in it is no tile itself, and 1_1_1 in a volume X_Y is no Z.
        has_z = any(re.fullmatch(WHOLE_NAME, entry.name.partition(".")[0]) for entry in found)
        yield from map(_tile, [column] if is_tile(column) and not has_z else found)


def _tile(path: Path) -> TilePath:
    position = stage_position(path)
    if position is None:
        raise MosaicError(
            f"{path} should be named X/X_Y/Z or X/X_Y: X, Y and Z are whole numbers in tenths of a micron, "
            "and both X are the same; rename or move it"
        )
    return TilePath(path, position)


def _x_folders(root: Path) -> list[Path]:
    """The folders X in ``root``, or ``root`` itself if it is one; folders of any name that hold X_Y count too."""
    if re.fullmatch(WHOLE_NAME, root.absolute().name) and _holds_pairs(root):
        return [root]
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    return [folder for folder in folders if re.fullmatch(WHOLE_NAME, folder.name) or _holds_pairs(folder)]


def _holds_pairs(folder: Path) -> bool:
    return any(map(_is_pair, _entries(folder)))


def _is_picture_folder(root: Path, is_tile: Callable[[Path], bool]) -> bool:
    """Whether images in a folder are no frames of a tile, but lie beside files or folders of tiles."""
    if is_tile is not _is_raw or root.is_file():
        return False
    return bool(_x_folders(root)) or any(
        is_tile(entry) if entry.is_file() else _holds_tiles(entry, is_tile) for entry in _entries(root)
    )


def _holds_tiles(folder: Path, is_tile: Callable[[Path], bool]) -> bool:
    try:
        return bool(_tiles_below(folder, is_tile))
    except MosaicError:  # tiles, though not all are named rightly
        return True


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except PermissionError as error:
        raise InputMissingError(f"{folder} cannot be listed: no permission to read it") from error
