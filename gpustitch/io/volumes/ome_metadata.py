"""What zarr groups say of the images in them: OME-NGFF 0.1 to 0.5, layouts of bioformats2raw, plates, wells, labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.checked import inside
from gpustitch.io.found import natural_key
from gpustitch.io.units import um_per
from gpustitch.io.volumes.record import RECORD_KEY
from gpustitch.io.volumes.zarr_files import CONSOLIDATED, array_shape, read_array, read_description

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray", CONSOLIDATED)
_OLD_AXES = "tczyx"  # of images and arrays that do not name their axes
_LONG_NAMES = {"time": "t", "channel": "c"}
_LAYOUT = "bioformats2raw.layout"
_LISTED = 3  # images that messages name


@dataclass(frozen=True)
class OmeImage:
    """The description of an image: the axes' names, and for each level its path, scale and translation.

    Names of axes are in lower case. Levels are in order from fine to coarse. ``scales`` are in um if z, y and x all
    have a unit of length (``has_units``). Otherwise their unit is unknown. ``channels`` are the labels of channels, as
    far as there are any. ``has_record`` tells whether a record of files lies beside it, ``is_bare`` whether it is an
    array without a group.
    """

    version: str
    axes: tuple[str, ...]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    translations: tuple[tuple[float, ...], ...]
    has_units: bool
    channels: tuple[str, ...] = ()
    has_record: bool = False
    is_bare: bool = False


@dataclass(frozen=True)
class Series:
    """One of the images in a group: its name, the folder of its own group, and its number among the group's images."""

    name: str
    folder: Path
    number: int = 0


def is_ome_zarr(path: Path) -> bool:
    """Whether ``path`` is the folder of a zarr group or array."""
    return any((path / name).is_file() for name in METADATA)


def read_series(path: Path) -> list[Series]:
    """The images of the zarr group in folder ``path``: its own, or those that bioformats2raw lays below; or the array.

    Raises
    ------
    InputMissingError
        If there is no zarr group or array.
    DamagedInputError
        If the group describes no image. The text names what lies below the group.
    """
    if not is_ome_zarr(path):
        raise InputMissingError(f"{path} is not an OME-Zarr image: there is no zarr.json or .zattrs in it")
    attributes, is_array = _attributes(path)
    if is_array:
        return [Series(path.name, path)]
    ome = _ome(attributes)
    if images := _list(ome, "multiscales"):
        named = [str(image.get("name", "")) if isinstance(image, dict) else "" for image in images]
        return [Series(name or str(number), path, number) for number, name in enumerate(named)]
    if "plate" in ome or "well" in ome:
        raise DamagedInputError(f"{path} is a {_plate_text(path, ome)}; a volume was expected")
    if _LAYOUT in ome:
        return _layout(path)
    below = list(_images_below(path, [*map(str, _list(ome, "labels")), *_numbered(path)]))
    hint = f"; name one of the groups in it, such as {' or '.join(map(str, below))}" if below else ""
    raise DamagedInputError(f"{path} is a zarr group but describes no OME-Zarr image (no multiscales){hint}")


def read_ome_image(series: Series) -> OmeImage:
    """The description of an image.

    Raises
    ------
    DamagedInputError
        If the group does not describe the image correctly.
    """
    path = series.folder
    attributes, is_array = _attributes(path)
    if is_array:
        array = read_array(path) or {}
        axes = _array_axes(path, array, attributes)
        return OmeImage("", axes, ("",), ((),), ((),), False, is_bare=True)
    ome = _ome(attributes)
    try:
        return _image(path, ome, ome["multiscales"][series.number], RECORD_KEY in attributes)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, OSError) as error:
        if isinstance(error, DamagedInputError):
            raise
        raise DamagedInputError(
            f"{path} does not describe an OME-Zarr image correctly: {type(error).__name__}: {error}"
        ) from error


def check_order(folder: Path, axes: Sequence[str]) -> None:
    """Raise DamagedInputError if the array in ``folder`` has the axes of its image, but says another order."""
    names = _dimension_names(folder, read_array(folder) or {}, {})
    if names != tuple(axes) and sorted(names) == sorted(axes):
        raise DamagedInputError(
            f"{folder} names its dimensions {', '.join(names)}, but its image the axes {', '.join(axes)}; "
            "correct the one that is wrong"
        )


def _attributes(path: Path) -> tuple[dict[str, Any], bool]:
    """Attributes of a zarr group or array, and whether it is an array."""
    content = read_description(path, "zarr.json")
    if content is None:
        return read_description(path, ".zattrs") or {}, read_description(path, ".zarray") is not None
    attributes = content.get("attributes", {})
    if content.get("node_type") not in ("array", "group") or not isinstance(attributes, dict):
        raise DamagedInputError(f"{path / 'zarr.json'} is not zarr metadata: it describes no group and no array")
    return attributes, content["node_type"] == "array"


def _ome(attributes: dict[str, Any]) -> dict[str, Any]:
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, dict) else {}


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    found = content.get(name)
    return found if isinstance(found, list) else []


def _numbered(path: Path) -> list[str]:
    """Names of the folders of zarr groups and arrays below a group."""
    folders = (entry for entry in path.iterdir() if entry.is_dir() and is_ome_zarr(entry))
    return [folder.name for folder in sorted(folders, key=natural_key)]


def _layout(path: Path) -> list[Series]:
    """The series of bioformats2raw, as the group OME lists them, else all that are numbered."""
    listed = _list(_ome(_attributes(path / "OME")[0]), "series") if is_ome_zarr(path / "OME") else []
    names = [str(name) for name in listed] or [name for name in _numbered(path) if name.isdecimal()]
    if not names:
        raise DamagedInputError(f"{path} should hold series as bioformats2raw writes them, but there is none")
    if gone := [name for name in names if not is_ome_zarr(path / name)]:
        raise DamagedInputError(f"{path} lists the series {gone[0]}, but there is no image {path / gone[0]}")
    return [Series(f"{name}/{own.name}" if len(own_all) > 1 else name, own.folder, own.number)
            for name in names for own_all in [read_series(path / name)] for own in own_all]  # fmt: skip


def _images_below(path: Path, names: Sequence[str]) -> Iterator[Path]:
    """The first few of the groups below a group."""
    for name in dict.fromkeys(names[:_LISTED]):
        if is_ome_zarr(path / name):
            yield path / name


def _plate_text(path: Path, ome: dict[str, Any]) -> str:
    """Whether it is a plate or a well, with the first fields of view in it."""
    if "well" not in ome:
        plate = ome["plate"] if isinstance(ome["plate"], dict) else {}
        wells = [str(well.get("path")) for well in _list(plate, "wells") if isinstance(well, dict)]
        fields = [field for well in wells[:_LISTED] for field in _fields(path / well)[1]]
        return f"plate of {len(wells)} wells; name one of their fields of view{_such_as(fields)}"
    n_fields, fields = _fields(path)
    return f"well of {n_fields} fields of view; name one{_such_as(fields)}"


def _fields(well: Path) -> tuple[int, list[Path]]:
    """The number of fields of view in a well, and the first few."""
    content = _ome(_attributes(well)[0]).get("well")
    images = _list(content, "images") if isinstance(content, dict) else []
    names = [str(image.get("path")) for image in images if isinstance(image, dict)]
    return len(names), list(_images_below(well, names))


def _such_as(fields: Sequence[Path]) -> str:
    return f", such as {' or '.join(map(str, fields[:_LISTED]))}" if fields else ""


def _dimension_names(folder: Path, array: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of an array's dimensions in lower case, empty ones where it has no name; empty if it names none."""
    names = array.get("dimension_names")
    if array.get("zarr_format") == 2:
        names = (attributes or read_description(folder, ".zattrs") or {}).get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list):
        return ()
    lower = ["" if name is None else str(name).lower() for name in names]
    return tuple(_LONG_NAMES.get(name, name) for name in lower)


def _array_axes(folder: Path, array: Mapping[str, Any], attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The axes of an array without a group: as it names them, or else the last of t, c, z, y, x."""
    names, usual = _dimension_names(folder, array, attributes), tuple(_OLD_AXES[-len(array_shape(array)) :])
    if {"y", "x"} <= set(names):
        return names
    if any(name in _OLD_AXES and name != other for name, other in zip(names, usual, strict=False) if name):
        raise DamagedInputError(f"{folder} names its dimensions {', '.join(names)}; z, y and x were expected")
    return usual


def _axes(multiscales: Mapping[str, Any]) -> tuple[tuple[str, ...], list[float | None]]:
    """Names of the axes in lower case, and how many um their units are, None where that is not known."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscales.get("axes", _OLD_AXES)]
    names = tuple(str(axis["name"]).lower() for axis in axes)
    if not all(names):
        raise ValueError("an axis has no name")
    if len(set(names)) < len(names):
        raise ValueError(f"of the axes {', '.join(names)} two have one name")
    return names, [um_per(axis.get("unit")) for axis in axes]


def _image(path: Path, ome: Mapping[str, Any], multiscales: dict[str, Any], has_record: bool) -> OmeImage:
    """What the description of an image says; ValueError or KeyError for what is no description."""
    names, units = _axes(multiscales)
    has_units = all(unit is not None for name, unit in zip(names, units, strict=True) if name in "zyx")
    in_um = np.array([unit if has_units and unit is not None else 1.0 for unit in units])
    if not multiscales["datasets"]:
        raise ValueError("there are no datasets")
    outer = _transform(multiscales, len(names))
    datasets = _fine_to_coarse(path, multiscales["datasets"], len(names))
    stated = any("coordinateTransformations" in part for part in (multiscales, datasets[0]))
    paths, scales, translations = [], [], []
    for dataset in datasets:
        scale, translation = _transform(dataset, len(names))
        scales.append(tuple(float(v) for v in scale * outer[0] * in_um))
        translations.append(tuple(float(v) for v in (translation * outer[0] + outer[1]) * in_um))
        paths.append(inside(dataset["path"], "the path of a dataset"))
    omero = ome.get("omero")
    labels = [channel.get("label", "") for channel in _list(omero if isinstance(omero, dict) else {}, "channels")]
    return OmeImage(
        version=str(ome.get("version") or multiscales.get("version", "")),
        axes=names,
        paths=tuple(paths),
        scales=tuple(scales),
        translations=tuple(translations),
        has_units=has_units and stated,
        channels=tuple(map(str, labels)),
        has_record=has_record,
    )


def _fine_to_coarse(path: Path, datasets: Sequence[dict[str, Any]], rank: int) -> list[dict[str, Any]]:
    """Levels in order of their scales; where these are alike or unknown, the one with the most voxels first."""
    places = [path / inside(dataset["path"], "the path of a dataset") for dataset in datasets]
    sizes = [math.prod(array_shape(read_array(place))) for place in places]
    scales = [float(_transform(dataset, rank)[0].prod()) for dataset in datasets]
    order = sorted(range(len(datasets)), key=lambda number: (scales[number], -sizes[number]))
    known = [sizes[number] for number in order if sizes[number] > 1]
    if known != sorted(known, reverse=True):
        raise ValueError("a level of larger scale has more voxels than one of smaller scale")
    if len(set(places)) < len(places):
        raise ValueError("two datasets have one path")
    return [datasets[number] for number in order]


def _transform(part: dict[str, Any], rank: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scale and translation equivalent to all ``coordinateTransformations`` of a part."""
    scale, translation = np.ones(rank), np.zeros(rank)
    for step in part.get("coordinateTransformations", ()):
        kind = step["type"]
        if kind == "identity":
            continue
        if kind not in ("scale", "translation"):
            raise ValueError(f"transformations of type {kind} are not known")
        values = np.array(step[kind], np.float64)
        if not np.isfinite(values).all() or np.abs(values).max(initial=0) > 1e15:
            raise ValueError(f"a {kind} is {values.tolist()}, not finite numbers up to 1e15")
        if values.shape != (rank,):
            raise ValueError(f"a {kind} has {values.size} numbers but there are {rank} axes")
        if kind == "scale":
            scale, translation = scale * values, translation * values
        else:
            translation = translation + values
    return scale, translation
