"""Which image, channel and time of a zarr group is read, where there are several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.stacks.choice import StackChoice, chosen_of, stack_lines
from gpustitch.io.volumes.ome_metadata import Series, read_ome_image
from gpustitch.io.volumes.zarr_files import array_shape, read_array

_KINDS = {"c": "channel", "t": "time"}
_LISTED = 12


@dataclass(frozen=True)
class _Image:
    """An image that can be chosen."""

    name: str
    count_text: str
    series: Series
    key: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Volume:
    """A channel and time that can be chosen, and its numbers along the axes."""

    name: str
    count_text: str
    key: Mapping[str, str]
    at: Mapping[str, int]


def chosen_series(path: Path, found: Sequence[Series], choice: StackChoice | None) -> Series:
    """The one image of a group that is read; None for a caller whose users cannot choose.

    Raises
    ------
    ParameterError
        If there are several; the text lists them.
    """
    if len(found) == 1:
        return found[0]
    images = [_Image(series.name, str(series.folder), series) for series in found]
    if choice is None:
        raise ParameterError(_several(path, images, "images", "name the folder of one"))
    return chosen_of(path, images, replace(choice, stack_channel=None, stack_time=None)).series


def chosen_place(
    path: Path, axes: Sequence[str], shape: Sequence[int], labels: Sequence[str], choice: StackChoice | None
) -> Mapping[str, int]:
    """The number along each axis other than z, y and x at which a volume is read; None as for the series.

    Raises
    ------
    ParameterError
        If there are several channels or times; the text lists them.
    DamagedInputError
        If the image has several values along another axis.
    """
    lengths = {axis: n for axis, n in zip(axes, shape, strict=True) if axis not in "zyx"}
    for axis, n in lengths.items():
        if n != 1 and axis not in _KINDS:
            raise DamagedInputError(
                f"{path} has {n} values along its axis {axis}; z, y, x, channels and times were expected. "
                "Copy the volume to be read into an image of its own"
            )
    several = [axis for axis, n in lengths.items() if n > 1]
    if not several and (choice is None or choice == StackChoice()):
        return dict.fromkeys(lengths, 0)
    size = " x ".join(str(n) for axis, n in zip(axes, shape, strict=True) if axis in "zyx")
    volumes = []
    for index in itertools.product(*(range(lengths[axis]) for axis in several)):
        at = dict(zip(several, index, strict=True))
        label = labels[at["c"]] if "c" in at and at["c"] < len(labels) else ""
        key = {_KINDS[axis]: str(number + 1) for axis, number in at.items()}
        volumes.append(_Volume(label or path.name, f"{size} voxels", key, dict.fromkeys(lengths, 0) | at))
    if choice is None:
        raise ParameterError(
            _several(
                path, volumes, "volumes", "copy one into an image of its own, or use a command that lets you choose"
            )
        )
    return chosen_of(path, volumes, choice).at


def choices_of(found: Sequence[Series]) -> list[tuple[str, StackChoice | None]]:
    """All that can be chosen, each with its name and the choice that leaves it; None as choice of a single volume."""
    listed: list[tuple[str, StackChoice | None]] = []
    for number, series in enumerate(found, start=1):
        image = read_ome_image(series)
        lengths = dict(zip(image.axes, array_shape(read_array(series.folder / image.paths[0])), strict=False))
        several = {axis: lengths[axis] for axis in _KINDS if lengths.get(axis, 1) > 1}
        for index in itertools.product(*(range(n) for n in several.values())):
            at = dict(zip(several, index, strict=True))
            label = image.channels[at["c"]] if "c" in at and at["c"] < len(image.channels) else ""
            numbers = {f"stack_{_KINDS[axis]}": str(place + 1) for axis, place in at.items()}
            if len(found) > 1:
                numbers["stack_series"] = str(number)
            said = [f"{_KINDS[axis]} {place + 1}" for axis, place in at.items()]
            name = ", ".join(filter(None, [series.name if len(found) > 1 else "", *said, label]))
            listed.append((name, StackChoice(**numbers) if numbers else None))
    return listed


def _several(path: Path, found: Sequence[_Image] | Sequence[_Volume], what: str, way: str) -> str:
    lines = stack_lines(found[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"{path} holds {len(found)} {what}, but one was expected; {way}: {'; '.join(lines)}{more}"
