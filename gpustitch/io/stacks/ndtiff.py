"""Which stacks the pages of an NDTiff are, the format of Micro-Manager 2: only the index beside the file says so."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from gpustitch.errors import DamagedInputError
from gpustitch.io.images.reading import reading
from gpustitch.io.stacks.holes import even_row

INDEX = "NDTiff.index"
_MAGIC = 483729  # behind the TIFF's own header
_KINDS = {"position": "image"}  # axes that stacks have under another name

Axes = Mapping[str, int | str]


@dataclass(frozen=True)
class IndexedStack:
    """Pages of one channel, time and position, along z: number of each page, and its place; ``n_planes`` with holes."""

    key: Mapping[str, str]
    pages: tuple[tuple[int, int], ...]
    n_planes: int


def ndtiff_stacks(path: Path, n_pages: int) -> list[IndexedStack] | None:
    """The stacks in a TIFF with ``n_pages`` pages; None if it is no NDTiff.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If there is no index beside it, or the index counts other pages.
    """
    with reading(path, "TIFF"), path.open("rb") as file:
        start = file.read(12)
    if len(start) < 12 or struct.unpack("<I" if start[:2] == b"II" else ">I", start[8:])[0] != _MAGIC:
        return None
    index = path.parent / INDEX
    if not index.is_file():
        raise DamagedInputError(
            f"{path} is an NDTiff without its {INDEX}, which says what its pages are; copy it there"
        )
    with reading(index, "the index of an NDTiff"):
        entries = [entry for entry in tifffile.read_ndtiff_index(index) if entry[1] == path.name]
    if len(entries) != n_pages:
        raise DamagedInputError(f"{path} has {n_pages} pages, but {index} counts {len(entries)} of a file of this name")
    entries.sort(key=lambda entry: entry[2])  # pages lie in the order in which they were written
    return _stacks(path, [dict(entry[0]) for entry in entries])


def _stacks(path: Path, pages: Sequence[Axes]) -> list[IndexedStack]:
    names = dict.fromkeys(name for axes in pages for name in axes)
    varying = [name for name in names if len({axes.get(name) for axes in pages}) > 1]
    counting = next((name for name in ("z", "time") if name in varying), varying[-1] if varying else "z")
    parting = [name for name in varying if name != counting]
    groups: dict[tuple[int | str | None, ...], list[int]] = {}
    for number, axes in enumerate(pages):
        groups.setdefault(tuple(axes.get(name) for name in parting), []).append(number)
    return [
        _stack(path, pages, group, counting, {_KINDS.get(n, n): _text(v) for n, v in zip(parting, values, strict=True)})
        for values, group in groups.items()
    ]


def _stack(
    path: Path, pages: Sequence[Axes], group: Sequence[int], counting: str, key: Mapping[str, str]
) -> IndexedStack:
    numbers = {page: number for page in group if isinstance(number := pages[page].get(counting), int)}
    if len(numbers) < len(group):  # names are in the order in which they were written
        numbers = {page: at for at, page in enumerate(group)}
    order = sorted(group, key=lambda page: numbers[page])
    values = [numbers[page] for page in order]
    if len(set(values)) < len(values):
        raise DamagedInputError(f"{path}: {INDEX} has several pages of one place along {counting}; one was expected")
    row = even_row(values)
    places = range(len(order)) if row is None else row.places
    return IndexedStack(key, tuple(zip(order, places, strict=True)), places[-1] + 1)


def _text(value: int | str | None) -> str:
    """A name as it is, a number counted from 1."""
    return str(value + 1) if isinstance(value, int) else str(value)
