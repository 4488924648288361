"""Which image, channel and time of a zarr group is read, where there are several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.stacks.choice import StackChoice, chosen_of, stack_lines
from gpustitch.io.volumes.ome_metadata import Series

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
    if all(n == 1 for n in lengths.values()) and (choice is None or choice == StackChoice()):
        return dict.fromkeys(lengths, 0)
    volumes = _volumes(path, axes, shape, labels)
    if choice is None:
        raise ParameterError(
            _several(
                path, volumes, "volumes", "copy one into an image of its own, or use a command that lets you choose"
            )
        )
    return chosen_of(path, volumes, choice).at


def _volumes(path: Path, axes: Sequence[str], shape: Sequence[int], labels: Sequence[str]) -> list[_Volume]:
    """The volumes of an image, one for each channel and time."""
    lengths = {axis: n for axis, n in zip(axes, shape, strict=True) if axis not in "zyx"}
    several = [axis for axis, n in lengths.items() if n > 1]
    size = " x ".join(str(n) for axis, n in zip(axes, shape, strict=True) if axis in "zyx")
    volumes = []
    for index in itertools.product(*(range(lengths[axis]) for axis in several)):
        at = dict(zip(several, index, strict=True))
        label = labels[at["c"]] if "c" in at and at["c"] < len(labels) else ""
        key = {_KINDS.get(axis, axis): str(number + 1) for axis, number in at.items()}
        volumes.append(_Volume(label or path.name, f"{size} voxels", key, dict.fromkeys(lengths, 0) | at))
    return volumes


def choices_of(
    path: Path, axes: Sequence[str], shape: Sequence[int], labels: Sequence[str]
) -> list[tuple[str, StackChoice]]:
    """Of each volume of an image its name, and the choice that picks it."""
    return [
        (
            " ".join([volume.name, *(f"{kind} {number}" for kind, number in volume.key.items())]),
            StackChoice(stack_channel=volume.key.get("channel"), stack_time=volume.key.get("time")),
        )
        for volume in _volumes(path, axes, shape, labels)
    ]


def _several(path: Path, found: Sequence[_Image] | Sequence[_Volume], what: str, way: str) -> str:
    lines = stack_lines(found[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"{path} holds {len(found)} {what}, but one was expected; {way}: {'; '.join(lines)}{more}"
