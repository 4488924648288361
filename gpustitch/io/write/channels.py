"""One OME-Zarr image with a channel axis, made of images of one channel each: their files are taken over as they are.

A chunk or shard of one channel has the same bytes as that of an image with several, whose chunks are one channel deep.
So no voxel is read or written again: files get a second name (a hard link), and only descriptions are new.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.atomic import atomic_directory
from gpustitch.io.volumes.record import ARRAY_FILES, RECORD_KEY, FileRecord, Files, read_record, write_record
from gpustitch.io.volumes.sidecar import SIDECAR

_GROUP_FILES = ("zarr.json", ".zattrs")


@dataclass(frozen=True)
class _Image:
    """An image of one channel: its folder, description, record of files, and the descriptions of its levels."""

    folder: Path
    file: str
    group: dict[str, Any]
    record: FileRecord
    arrays: Mapping[str, tuple[str, dict[str, Any]]]

    @property
    def ome(self) -> dict[str, Any]:
        """The part of the description that OME-NGFF defines."""
        return self.group if self.file == ".zattrs" else self.group["attributes"]["ome"]


def join_channels(images: Sequence[Path], path: Path, *, overwrite: bool = False) -> Path:
    """Make one image of images that :class:`gpustitch.io.write.ome_zarr.OmeZarrWriter` wrote, one for each channel.

    Parameters
    ----------
    images
        Folders of the images, in the order of channels: of one shape, type, spacing, place, version and way to store.
    path
        Folder to create. On the same disk as the images it takes no more space than these: remove them afterwards.
    overwrite
        Replace ``path`` if it exists.

    Returns
    -------
    ``path``. The images stay as they are.

    Raises
    ------
    ParameterError
        If the images differ in more than their voxels and names, or there is none.
    DamagedInputError
        If an image is none of that writer's.
    OutputExistsError, OutputError
        If ``path`` exists or cannot be written.
    """
    if not images:
        raise ParameterError("`images` holds no image to join")
    found = [_read(Path(image)) for image in images]
    for other in found[1:]:
        _check_alike(found[0], other)
    with atomic_directory(path, overwrite=overwrite) as partial:
        for level, (name, array) in found[0].arrays.items():
            (partial / level).mkdir(parents=True)
            _write(partial / level / name, _with_channels(array, len(found)))
            for number, image in enumerate(found):
                _take_over(image.folder / level, partial / level, number)
        _describe(found, partial)
        levels = {level: _joined([image.record.levels[level] for image in found]) for level in found[0].arrays}
        write_record(partial, levels)
    return path


def _read(folder: Path) -> _Image:
    """An image of one channel and all that describes it."""
    record = read_record(folder, is_due=True)
    file = next((name for name in _GROUP_FILES if (folder / name).is_file()), None)
    if record is None or file is None:
        raise DamagedInputError(f"{folder} is no OME-Zarr image that gpustitch wrote")
    group = json.loads((folder / file).read_text(encoding="utf-8"))
    arrays = {}
    for level in record.levels:
        name = next(name for name in ("zarr.json", ".zarray") if (folder / level / name).is_file())
        arrays[level] = (name, json.loads((folder / level / name).read_text(encoding="utf-8")))
    image = _Image(folder, file, group, record, arrays)
    axes = [axis["name"] for axis in image.ome["multiscales"][0]["axes"]]
    if axes != ["z", "y", "x"]:
        raise DamagedInputError(f"{folder} has the axes {', '.join(axes)}; z, y, x were expected")
    return image


def _check_alike(first: _Image, other: _Image) -> None:
    """Raise ParameterError unless two images may be channels of one."""
    if first.arrays != other.arrays:
        a, b = (image.arrays.get("0", ("", {}))[1] for image in (first, other))
        differing = sorted(key for key in {*a, *b} if a.get(key) != b.get(key)) or ["levels"]
        raise ParameterError(
            f"{first.folder} and {other.folder} differ in {', '.join(differing)}; channels of one image must be alike"
        )
    if first.ome["multiscales"][0]["datasets"] != other.ome["multiscales"][0]["datasets"]:
        raise ParameterError(f"{first.folder} and {other.folder} differ in spacing or place; channels must be alike")


def _with_channels(array: Mapping[str, Any], n: int) -> dict[str, Any]:
    """The description of an array with a channel axis in front."""
    made = json.loads(json.dumps(array))
    made["shape"] = [n, *made["shape"]]
    if made["zarr_format"] == 2:
        return {**made, "chunks": [1, *made["chunks"]]}
    grid = made["chunk_grid"]["configuration"]
    grid["chunk_shape"] = [1, *grid["chunk_shape"]]
    for codec in made["codecs"]:
        if codec["name"] == "sharding_indexed":
            codec["configuration"]["chunk_shape"] = [1, *codec["configuration"]["chunk_shape"]]
    if made.get("dimension_names"):
        made["dimension_names"] = ["c", *made["dimension_names"]]
    return made  # type: ignore[no-any-return]


def _take_over(level: Path, target: Path, number: int) -> None:
    """Give all files of chunks of a level their names as those of channel ``number``."""
    for file in _chunk_files(level):
        parts = file.relative_to(level).parts
        # zarr 3 has all chunks below c/.
        named = ("c", str(number), *parts[1:]) if parts[0] == "c" else (str(number), *parts)
        place = target.joinpath(*named)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:  # a disk without hard links
            shutil.copyfile(file, place)


def _chunk_files(level: Path) -> Iterator[Path]:
    return (file for file in sorted(level.rglob("*")) if file.is_file() and file.name not in ARRAY_FILES)


def _describe(images: Sequence[_Image], folder: Path) -> None:
    """Write the descriptions of the joined image: axes, steps along them, and how channels are shown."""
    first = images[0]
    group = json.loads(json.dumps(first.group))
    ome = group if first.file == ".zattrs" else group["attributes"]["ome"]
    image = ome["multiscales"][0]
    image["name"] = folder.name.strip(".").split(".")[0]
    image["axes"] = [{"name": "c", "type": "channel"}, *image["axes"]]
    for dataset in image["datasets"]:
        for step in dataset["coordinateTransformations"]:
            kind = step["type"]
            step[kind] = [1.0 if kind == "scale" else 0.0, *step[kind]]
    ome["omero"]["name"] = image["name"]
    ome["omero"]["channels"] = [channel for one in images for channel in one.ome["omero"]["channels"]]
    if first.file == ".zattrs":
        _write(folder / ".zgroup", {"zarr_format": 2})
    assert RECORD_KEY in (group if first.file == ".zattrs" else group["attributes"])
    _write(folder / first.file, group)
    sidecars = [one.folder / SIDECAR for one in images]
    if all(sidecar.is_file() for sidecar in sidecars):
        held = [json.loads(sidecar.read_text(encoding="utf-8")) for sidecar in sidecars]
        alike = {key: value for key, value in held[0].items() if all(one.get(key) == value for one in held)}
        _write(folder / SIDECAR, {**alike, "channels": held})


def _joined(levels: Sequence[Files]) -> Files:
    """The files of a level of all channels, on a grid of files (c, z, y, x)."""
    return Files(
        np.stack([files.there for files in levels]),
        np.stack([files.n_bytes for files in levels]),
        np.stack([files.crc32 for files in levels]),
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
