"""Planes in a TIFF file, or in the files that one OME description names, and the spacing that is stated."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import DamagedInputError, GpustitchError
from gpustitch.io.images.files import reading
from gpustitch.io.images.tiff_facts import facts_of
from gpustitch.io.images.tiff_meaning import turned
from gpustitch.io.images.tiff_open import opened_tiff, tiff_alone
from gpustitch.io.stacks.ndtiff import ndtiff_stacks
from gpustitch.io.stacks.ome_planes import OmeStack, metadata_file, ome_stacks
from gpustitch.io.units import Resolution
from gpustitch.model.arrays import LengthsZYX

_SPLIT_AXES = "CT"
_NAMED = 5
_LEAST_PAGE_BYTES = 100  # eight tags; a damaged chain of pages may lead through thousands that are none


class Trouble(StrEnum):
    """What is wrong with the files of a stack."""

    FILES_LOST = "FILES_LOST"  # planes that no file holds
    SERIES_SPLIT = "SERIES_SPLIT"  # pages that differ, or are more than described
    UNREADABLE_FILE = "UNREADABLE_FILE"


@dataclass(frozen=True)
class Remark:
    """Something noticed: what it is for programs, and a sentence for people."""

    what: Trouble
    text: str


@dataclass(frozen=True)
class ImageStack:
    """Planes of one size and type.

    Attributes
    ----------
    places
        For each plane its file, page in it and number along z (from 0).
    shape, pixels
        (rows, columns), and the type of pixels (``uint16``, ``uint8 x 3``).
    stated_mm
        (z, y, x) by ImageJ's or OME's description.
    source
        Whose description that is.
    z_is_implied
        ImageJ's description leaves z out, which stands for one unit and for never set.
    resolution
        In plane, as any other program would understand the tags.
    key
        What tells the stack from others in the file (channel, time, image).
    notes
        What was noticed.
    n_planes
        Number of planes along z, also of those that no file holds; None for that of ``places``.
    lost
        Files of the stack that are not there or cannot be used, and why.
    positions_mm
        By number along z, where OME's description places the plane and the value of the last decimal of that.
    """

    places: tuple[tuple[Path, int, int], ...]
    shape: tuple[int, int]
    pixels: str
    stated_mm: LengthsZYX = (None, None, None)
    source: str = ""
    z_is_implied: bool = False
    resolution: Resolution | None = None
    key: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Remark, ...] = ()
    n_planes: int | None = None
    lost: Mapping[Path, str] = field(default_factory=dict)
    positions_mm: Mapping[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def pages(self) -> tuple[tuple[Path, int] | None, ...]:
        """File and page of each plane; None for those that no file holds."""
        pages: list[tuple[Path, int] | None] = [None] * (self.n_planes or len(self.places))
        for at, (file, page, z) in enumerate(self.places):
            pages[at if self.n_planes is None else z] = (file, page)
        return tuple(pages)


def tiff_stacks(path: Path) -> list[ImageStack]:
    """Stacks in a TIFF file; one file of a multi-file OME-TIFF stands for all of them.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it cannot be read or ends early.
    """
    with _quiet():
        return _tiff_stacks(path)


def _tiff_stacks(path: Path) -> list[ImageStack]:
    """The stacks of a TIFF: as its OME description says, if there is one that holds, else as its pages do."""
    text = _ome_text(path)
    if not text:
        return _of_tiff(path)
    try:
        return _as_described(path, text)
    except ValueError as error:
        problem = str(error)
    except DamagedInputError as error:
        problem = f"its metadata cannot be read: {error}"
    note = Remark(Trouble.UNREADABLE_FILE, f"{path}: {problem}; its pages are taken as they are")
    return [replace(stack, notes=(*stack.notes, note)) for stack in _of_pages(path)]


def _as_described(path: Path, text: str) -> list[ImageStack]:
    """The stacks that a TIFF's OME description, or the file that it names, tells of; ValueError if it does not hold."""
    master = metadata_file(text)
    source = path.parent / master if master else path
    if not source.is_file():
        raise ValueError(f"its metadata are in {source}, which is not there")
    described = ome_stacks(_ome_text(source) if master else text)
    if not described:
        raise ValueError(f"the OME description in {source} is empty")
    own_names = frozenset(name for stack in described for name in stack.own_names)
    return _whole_or_own(path, [_of_ome(source, stack) for stack in described], own_names)


def is_of_several(path: Path) -> bool:
    """Whether a TIFF has several pages, or describes planes of other files; not if it cannot be read."""
    try:
        with opened_tiff(path) as tiff:
            if len(tiff.pages) > 1 or planes_counted(tiff.series[0]) > 1:
                return True
        text = _ome_text(path)
        described = ome_stacks(text) if text else []
    except (DamagedInputError, ValueError):
        return False
    return bool(metadata_file(text)) or any(place and place[0] for stack in described for place in stack.pages)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what tifffile logs from being printed where nobody has set logging up; it is checked otherwise."""
    logger, handler = logging.getLogger("tifffile"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _ome_text(path: Path) -> str:
    with reading(path, "TIFF"), tiff_alone(path) as tiff:
        return str(tiff.ome_metadata) if tiff.is_ome else ""


def _of_ome(path: Path, stack: OmeStack) -> ImageStack:
    """A stack that an OME description lists, with a note on planes that are in no file."""
    files = ((z, place) for z, place in enumerate(stack.pages) if place is not None)
    places = tuple((path.parent / name if name else path, page, z) for z, (name, page) in files)
    missing = len(stack.pages) - len(places)
    notes = (
        [Remark(Trouble.FILES_LOST, f"{path}: {missing} of {len(stack.pages)} planes are in no file")]
        if missing
        else []
    )
    return ImageStack(
        places, stack.shape, stack.pixels, _mm(stack.stated_um), "OME", key=stack.key, notes=tuple(notes),
        n_planes=len(stack.pages),
        positions_mm={z: (um / 1e3, last / 1e3) for z, (um, last) in stack.positions_um.items()},
    )  # fmt: skip


def _mm(lengths_um: LengthsZYX) -> LengthsZYX:
    z, y, x = (None if um is None else um / 1e3 for um in lengths_um)
    return z, y, x


def _whole_or_own(path: Path, stacks: list[ImageStack], own_names: frozenset[str]) -> list[ImageStack]:
    """The stacks, without planes whose file is missing or damaged; those of the file alone if no other is there."""
    pages: dict[Path, int] = {}
    for file, page, _ in (place for stack in stacks for place in stack.places):
        pages[file] = max(page, pages.get(file, 0))
    whys = {file: why for file, page in pages.items() if (why := _unusable(file, page, stacks[0].shape))}
    if path in whys:
        raise DamagedInputError(whys[path])
    usable: list[ImageStack] = []
    gone: list[Remark] = []
    for stack in stacks:
        found = _without(stack, whys, path, is_of_set=path.name in own_names)
        if isinstance(found, ImageStack):
            usable.append(found)
        else:
            gone.append(found)
    if not usable:
        raise DamagedInputError(gone[0].text)
    return [replace(stack, notes=(*stack.notes, *gone)) for stack in usable]


def _without(stack: ImageStack, whys: Mapping[Path, str], path: Path, *, is_of_set: bool) -> ImageStack | Remark:
    """The stack without planes of unusable files, and notes of these; a remark if no file is left.

    ``whys`` says why files cannot be used. ``path``, the file that was named, may be taken out of its set.
    """
    lost = sorted({file for file, *_ in stack.places} & set(whys))
    kept = tuple(place for place in stack.places if place[0] not in whys)
    if not kept:
        which = " ".join(f"{name} {number}" for name, number in stack.key.items()) or "its planes"
        why = f" ({whys[lost[0]]})" if lost else ""
        return Remark(Trouble.FILES_LOST, f"{path}: no file of {which} can be used{why}")
    if lost and len(kept) == 1 and kept[0][0] == path and not is_of_set:
        # The set was taken apart or renamed: the file stands for itself, and its name says where it belongs.
        return replace(stack, places=kept, key={}, n_planes=None)
    texts = [whys[file] for file in lost[:_NAMED]]
    if len(lost) > _NAMED:
        texts.append(f"{len(lost) - _NAMED} more files of {path} are not there or damaged")
    notes = (Remark(Trouble.FILES_LOST, text) for text in texts)
    return replace(stack, places=kept, notes=(*stack.notes, *notes), lost={file: whys[file] for file in lost})


def _unusable(file: Path, last_page: int, shape: tuple[int, int]) -> str:
    """Why planes of a file, up to a page, cannot be used; empty if they can."""
    try:
        with reading(file, "TIFF"), tiff_alone(file) as tiff:
            n_pages, first = len(tiff.pages), tiff.pages.first
            last = tiff.pages[n_pages - 1]
            ends = [start + count for start, count in zip(last.dataoffsets, last.databytecounts, strict=False)]
            if n_pages == 1 and not first.is_tiled and first.compression == 1:
                # Planes may lie one after the other behind a single page.
                n_pages = max(1, (tiff.filehandle.size - first.dataoffsets[0]) // max(1, first.nbytes))
            if max(ends, default=0) > tiff.filehandle.size:
                return f"{file} is cut short"
            found = _shape(first)
    except GpustitchError as error:
        return str(error)
    if last_page >= n_pages:
        return f"{file} has {n_pages} pages, not the {last_page + 1} that its OME description needs"
    return "" if found == shape else f"{file} is {_by(found)}, not {_by(shape)} as its OME description says"


def _of_pages(path: Path) -> list[ImageStack]:
    """Pages of a file as they lie in it, by size and type."""
    with reading(path, "TIFF"), tiff_alone(path) as tiff:
        if len(tiff.pages) * _LEAST_PAGE_BYTES > tiff.filehandle.size:
            raise DamagedInputError(f"{path} is damaged: {len(tiff.pages)} pages cannot be in a file of its size")
        resolution = facts_of(tiff).resolution
        groups: dict[tuple[tuple[int, int], str], list[int]] = {}
        for number, page in enumerate(tiff.pages):
            groups.setdefault((_shape(page), _pixels(page)), []).append(number)
    notes = (
        () if len(groups) == 1 else (Remark(Trouble.SERIES_SPLIT, f"{path} holds pages of different sizes or types"),)
    )
    return [
        ImageStack(_places(path, pages), shape, pixels, resolution=resolution, notes=notes)
        for (shape, pixels), pages in groups.items()
    ]


def _of_tiff(path: Path) -> list[ImageStack]:
    """The stacks of a TIFF's own pages: by NDTiff's index, by what tifffile finds, or one."""
    with opened_tiff(path) as tiff:
        facts = facts_of(tiff)
        if (indexed := ndtiff_stacks(path, len(tiff.pages))) is not None:
            page = tiff.pages.first
            return [
                ImageStack(
                    tuple((path, *one) for one in stack.pages), _shape(page), _pixels(page),
                    resolution=facts.resolution, key=stack.key, n_planes=stack.n_planes,
                )
                for stack in indexed
            ]  # fmt: skip
        if len(tiff.series) == 1:
            (series,) = tiff.series
            page = series.keyframe
            notes = _count_notes(path, series, len(tiff.pages))
            return [
                ImageStack(
                    places=_places(path, pages),
                    shape=_shape(page),
                    pixels=_pixels(page),
                    stated_mm=_mm(facts.stated_um),
                    source=facts.source,
                    z_is_implied=facts.z_is_implied,
                    resolution=facts.resolution,
                    key=key,
                    notes=notes,
                )
                for key, pages in along_z(series, len(tiff.pages))
            ]
    return _of_pages(path)


def planes_counted(series: Any) -> int:
    """How many planes a description counts."""
    return max(1, int(np.prod(series.shape, dtype=np.int64) // np.prod(series.keyframe.shape, dtype=np.int64)))


def _count_notes(path: Path, series: Any, n_in_file: int) -> tuple[Remark, ...]:
    n_planes = planes_counted(series)
    if n_in_file in (1, n_planes):  # all planes may lie behind one page
        return ()
    code = Trouble.FILES_LOST if n_in_file < n_planes else Trouble.SERIES_SPLIT
    return (Remark(code, f"{path} holds {n_in_file} pages, but its description counts {n_planes} planes"),)


def along_z(series: Any, n_in_file: int) -> list[tuple[dict[str, str], list[int]]]:
    """Pages of each channel and time; channels or times alone are as good as planes."""
    page, n_planes = series.keyframe, planes_counted(series)
    numbers = np.arange(n_planes)
    if n_in_file not in (1, n_planes):
        numbers = np.array([part.index if part is not None else -1 for part in series.pages])
    n_other = len(series.shape) - len(page.shape)
    axes, lengths = series.axes[:n_other], series.shape[:n_other]
    if not series.axes.endswith(page.axes) or len(numbers) != np.prod(lengths, dtype=np.int64):
        axes, lengths = "Z", (len(numbers),)
    many = [axis for axis, length in zip(axes, lengths, strict=True) if length > 1]
    split = [axis for axis in many if axis in _SPLIT_AXES]
    if len(split) == len(many):
        split = split[1:] if split[:1] == ["T"] else split[:-1]  # of times and channels, times are the planes
    table = np.moveaxis(numbers.reshape(lengths), [axes.index(axis) for axis in split], range(len(split)))
    names = {"C": "channel", "T": "time"}
    return [
        (
            {names[axis]: str(i + 1) for axis, i in zip(split, index, strict=True)},
            [int(n) for n in table[index].ravel()],
        )
        for index in itertools.product(*(range(n) for n in table.shape[: len(split)]))
    ]


def _places(path: Path, pages: list[int]) -> tuple[tuple[Path, int, int], ...]:
    return tuple((path, page, z) for z, page in enumerate(pages) if page >= 0)


def _shape(page: Any) -> tuple[int, int]:
    """Rows and columns as the page is shown."""
    return turned(page, int(page.imagelength), int(page.imagewidth))


def _pixels(page: Any) -> str:
    name = np.dtype(page.dtype).name
    return name if page.samplesperpixel == 1 else f"{name} x {page.samplesperpixel}"


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
