"""Stacks of the planes that one TIFF itself holds: its channels and times, by ImageJ's or OME's description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tifffile

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.reading import reading
from gpustitch.io.images.tiff_open import opened_tiff, tiff_alone
from gpustitch.io.images.tiff_pages import TiffPlanes
from gpustitch.io.stacks.in_files import ImageStack, along_z, planes_counted
from gpustitch.io.stacks.ndtiff import ndtiff_stacks
from gpustitch.io.stacks.ome_planes import OmeStack, ome_stacks


def own_stacks(path: Path) -> list[ImageStack]:
    """Stacks in a TIFF, of its own planes alone; channels or times alone are as good as planes.

    Planes that are there win over a description of fewer of them; of more, the last are absent.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file cannot be read, or planes of several channels or times are not those of its description.
    """
    try:
        planes = TiffPlanes(path)
    except DamagedInputError:
        if stacks := _of_sizes(path):
            return stacks
        raise
    planes.close()
    rows, columns, *_ = planes.shape
    whole = ImageStack(tuple((path, z, z) for z in range(planes.count)), (rows, columns), planes.dtype.name)
    indexed = ndtiff_stacks(path, len(whole.places))
    if indexed is not None:
        return [
            replace(whole, places=tuple((path, *page) for page in one.pages), key=one.key, n_planes=one.n_planes)
            for one in indexed
        ]
    with opened_tiff(path) as tiff:
        text = str(tiff.ome_metadata) if tiff.is_ome and tiff.ome_metadata else ""
        if text:
            return _of_ome(whole, text)
        if tiff.is_imagej and len(tiff.series) == 1:
            return _of_imagej(whole, tiff)
    return [whole]


def _of_sizes(path: Path) -> list[ImageStack]:
    """The images of a file whose pages differ, as OME describes them; none unless it describes each page once."""
    with opened_tiff(path) as tiff:
        text = str(tiff.ome_metadata) if tiff.is_ome and tiff.ome_metadata else ""
    with reading(path, "TIFF"), tiff_alone(path, is_ome=False, is_imagej=False) as plain:
        pages = [plain.pages.get(k, aspage=True) for k in range(len(plain.pages))]
        found = [page.shape for page in pages]
    try:
        described = ome_stacks(text) if text else []
    except ValueError:
        return []
    owned = [(stack, [page for page in _own(stack, path.name) if page is not None]) for stack in described]
    if sorted(page for _, own in owned for page in own) != list(range(len(found))):
        return []
    if any(found[page] != stack.shape for stack, own in owned for page in own):
        return []
    return [
        ImageStack(
            tuple((path, page, z) for z, page in enumerate(own)), stack.shape, stack.pixels, key=stack.key,
            n_planes=len(own),
        )
        for stack, own in owned
    ]  # fmt: skip


def _of_imagej(whole: ImageStack, tiff: tifffile.TiffFile) -> list[ImageStack]:
    series, n_here = tiff.series[0], len(whole.places)
    n_said = planes_counted(series)
    stated = tiff.imagej_metadata or {}
    axes = [name for name in ("channels", "slices", "frames") if _count(stated.get(name)) > 1]
    n_said = max(n_said, *(_count(stated.get(name)) for name in ("channels", "slices", "frames")))
    if n_said == n_here:
        path = whole.places[0][0]
        return [
            replace(whole, places=tuple((path, page, z) for z, page in enumerate(pages)), key=key)
            for key, pages in along_z(series, n_here)
        ]
    return [_counted(whole, n_said, len(axes) > 1)]


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 1


def _counted(whole: ImageStack, n_said: int, is_split: bool) -> ImageStack:
    """The one stack of a file that holds more or fewer planes than its description counts."""
    n_here, path = len(whole.places), whole.places[0][0]
    if is_split:
        raise DamagedInputError(
            f"{path} holds {n_here} planes, but its description counts {n_said} in several channels, slices or times; "
            "save it again in the program that made it"
        )
    return replace(whole, n_planes=max(n_here, n_said))


def _of_ome(whole: ImageStack, text: str) -> list[ImageStack]:
    """What a description says of a file's own pages; the file as a whole where it does not fit them."""
    path, n_here = whole.places[0][0], len(whole.places)
    try:
        described = ome_stacks(text)
    except ValueError:
        return [whole]
    stacks = [(stack, _own(stack, path.name)) for stack in described]
    n_listed = len({page for _, own in stacks for page in own if page is not None})
    is_alone = all(place is None or place[0] in ("", path.name) for stack in described for place in stack.pages)
    if not is_alone:
        # One file of several: the planes that it holds, and no gaps between them.
        there = [(stack, [page for page in own if page is not None]) for stack, own in stacks]
        if n_listed != n_here:
            return [whole]
        return [_stack(whole, stack, own) for stack, own in there if own]
    if not described or n_listed == 0:
        return [whole]
    stacks = _alone(stacks)
    if n_listed < n_here or any(page is not None and page >= n_here for _, own in stacks for page in own):
        return [_counted(whole, max(len(own) for _, own in stacks), len(stacks) > 1)]
    return [_stack(whole, stack, own) for stack, own in stacks]


def _own(stack: OmeStack, name: str) -> list[int | None]:
    return [place[1] if place is not None and place[0] in ("", name) else None for place in stack.pages]


def _alone(stacks: Sequence[tuple[OmeStack, list[int | None]]]) -> list[tuple[OmeStack, list[int | None]]]:
    """Times, or else channels, as planes where no stack has several."""
    first = stacks[0][0]
    if first.n_images > 1 or any(len(own) > 1 for _, own in stacks) or len(stacks) == 1:
        return list(stacks)
    if first.n_times == 1:
        return [(replace(first, n_channels=1), [page for _, own in stacks for page in own])]
    by_channel: dict[int, list[int | None]] = {}
    for stack, own in stacks:
        by_channel.setdefault(stack.channel, []).extend(own)
    return [(replace(first, channel=channel, n_times=1), own) for channel, own in by_channel.items()]


def _stack(whole: ImageStack, stack: OmeStack, own: Sequence[int | None]) -> ImageStack:
    path = whole.places[0][0]
    places = tuple((path, page, z) for z, page in enumerate(own) if page is not None)
    return replace(whole, places=places, key=stack.key, n_planes=len(own))
