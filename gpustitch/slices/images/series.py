"""Series of slices in TIFF, PNG, JPEG and BMP files, and the spacing that these state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpustitch.errors import GpustitchError
from gpustitch.io.found import path_key
from gpustitch.io.images.files import TIFF_SUFFIXES
from gpustitch.io.stacks.holes import even_row, number_step
from gpustitch.io.stacks.in_files import ImageStack, tiff_stacks
from gpustitch.io.stacks.names import NamedStack, stacks_of_names
from gpustitch.io.stacks.numbers import Number
from gpustitch.io.units import Resolution
from gpustitch.model.arrays import LengthsZYX
from gpustitch.slices.images.headers import read_header
from gpustitch.slices.images.positions import Position, placed, plane_positions
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries

_RTOL = 1e-4  # as PixelSpacing of DICOM
_NAMED = 3


@dataclass(frozen=True)
class _Stated:
    spacing_mm: LengthsZYX
    notes: tuple[Note, ...]


def find_image_series(files: Sequence[Path], trust_resolution: bool = False) -> list[SliceSeries]:
    """Series in image files: stacks of single images, and files of many planes.

    Images of a folder make a stack if their names differ in one number, with one size and type. A file of several
    planes is a series by itself, or one for each channel and time. All files of a multi-file OME-TIFF are one series.
    Numbers in names (or of planes, from 1) become ``SliceHeader.number``.

    The distance of planes is that of ImageJ's or OME's description; a plain image states none. Its
    resolution counts only when asked for, since programs and cameras write one that nobody meant; a note says so.

    A file that cannot be read is named in a note of the series that its name belongs to. If that has no other file, it
    is a series without slices.

    Parameters
    ----------
    files
        TIFF, PNG, JPEG and BMP.
    trust_resolution
        Take distances in plane from the resolution (dots per inch) of plain images.

    Returns
    -------
    The series in the natural order of their first files; no error is raised for a file.
    """
    singles: list[tuple[Path, ImageStack]] = []
    series: list[SliceSeries] = []
    unread: list[tuple[Path, Note]] = []
    covered: set[Path] = set()
    for path in sorted(files, key=path_key):
        if path in covered:
            continue
        try:
            stacks = _stacks_in(path)
        except GpustitchError as error:
            unread.append((path, Note(Code.UNREADABLE_FILE, str(error))))
            continue
        covered |= {place[0] for stack in stacks for place in stack.places}
        if len(stacks) == 1 and len(stacks[0].places) == 1:
            singles.append((path, stacks[0]))
        else:
            series += [_of_file(path, stack, trust_resolution) for stack in stacks]
    series += _of_singles(singles, unread, trust_resolution)
    return sorted(series, key=lambda one: path_key(one.headers[0].path if one.headers else Path(one.name)))


def _stacks_in(path: Path) -> list[ImageStack]:
    """Stacks in an image file; a multi-file OME-TIFF stands for all its files."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        return tiff_stacks(path)
    header = read_header(path)
    return [ImageStack(((path, 0, 0),), header.shape, header.pixels, resolution=header.resolution)]


def _notes(stack: ImageStack) -> tuple[Note, ...]:
    return tuple(Note(Code(remark.what), remark.text) for remark in stack.notes)


def _of_file(path: Path, stack: ImageStack, trust: bool) -> SliceSeries:
    """The series of a stack in one TIFF, or in it and the files that it names."""
    numbers = [z + 1 for _, _, z in stack.places]
    stated = _spacing(str(path), stack, trust)
    positions, wrong = plane_positions(str(path), _positions(stack), stack.stated_mm[0])
    label = ", ".join(f"{name} {number}" for name, number in stack.key.items())
    several = len({place[0] for place in stack.places}) > 1
    name = f"{path} and the files it names" if several else str(path)
    return SliceSeries(
        f"{name}, {label}" if label else name,
        "tiff",
        _headers(stack, numbers, stated.spacing_mm, positions),
        (*_notes(stack), *stated.notes, *wrong),
        dict(stack.key),
        stated.spacing_mm,
    )


def _positions(stack: ImageStack) -> list[Position | None]:
    return [stack.positions_mm.get(z) for _, _, z in stack.places]


def _headers(
    stack: ImageStack, numbers: Sequence[int | None], spacing_mm: LengthsZYX, positions: Sequence[Position] = ()
) -> tuple[SliceHeader, ...]:
    z, y, x = spacing_mm
    pixel = (y, x) if y is not None and x is not None else None
    bare = [
        SliceHeader(file, page, stack.shape, pixel_spacing_mm=pixel, number=number)
        for (file, page, _), number in zip(stack.places, numbers, strict=True)
    ]
    return tuple(placed(bare, positions, z) if positions else bare)


def _of_singles(
    singles: Sequence[tuple[Path, ImageStack]], unread: Sequence[tuple[Path, Note]], trust: bool
) -> list[SliceSeries]:
    """Stacks of files by their names, then by size and type; files that were not read are noted where they belong."""
    stacks, notes = dict(singles), dict(unread)
    series = []
    for named in stacks_of_names(sorted([*stacks, *notes], key=path_key)):
        paths = named.paths
        kinds: dict[tuple[tuple[int, int], str], list[Path]] = {}
        for path in paths:
            if path in stacks:
                kinds.setdefault((stacks[path].shape, stacks[path].pixels), []).append(path)
        damaged = tuple(notes[path] for path in paths if path in notes)
        if not kinds:
            source_format = "tiff" if paths[0].suffix.lower() in TIFF_SUFFIXES else "image"
            series.append(SliceSeries(_name(paths), source_format, (), damaged))
        split = _split_note(kinds)
        most = max(kinds.values(), key=len, default=[])
        for some in kinds.values():
            more = (*split, *damaged) if some is most else split
            series.append(_of_files(some, [stacks[path] for path in some], named, more, trust))
    return series


def _split_note(kinds: dict[tuple[tuple[int, int], str], list[Path]]) -> tuple[Note, ...]:
    if len(kinds) < 2:
        return ()
    found = "; ".join(
        f"{shape[0]} x {shape[1]} {pixels}: {_name(paths)}" for (shape, pixels), paths in list(kinds.items())[:_NAMED]
    )
    text = f"images of one name differ in size or type, and are series of their own: {found}"
    return (Note(Code.SERIES_SPLIT, text),)


def _of_files(
    paths: list[Path], stacks: list[ImageStack], named: NamedStack, notes: tuple[Note, ...], trust: bool
) -> SliceSeries:
    """The series of a stack of files, one or more slices each."""
    numbers, lost = _numbers(named, paths)
    name = _name(paths)
    stated = _agreed(name, paths, [_spacing(name, stack, trust) for stack in stacks])
    positions, wrong = plane_positions(name, [_positions(stack)[0] for stack in stacks], stated.spacing_mm[0])
    headers = tuple(
        header
        for k, (stack, number) in enumerate(zip(stacks, numbers, strict=True))
        for header in _headers(stack, [number], stated.spacing_mm, positions[k : k + 1])
    )
    return SliceSeries(
        name,
        "tiff" if paths[0].suffix.lower() in TIFF_SUFFIXES else "image",
        headers,
        (
            *dict.fromkeys(note for stack in stacks for note in _notes(stack)),
            *notes,
            *((Note(Code.FILES_LOST, lost),) if lost else ()),
            *_same_numbers(named, paths),
            *(() if positions else _contrary_numbers(named)),
            *stated.notes,
            *wrong,
        ),
        {},
        stated.spacing_mm,
    )


def _name(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} ... {paths[-1].name} ({len(paths)} files)"


def _agreed(name: str, paths: Sequence[Path], stated: Sequence[_Stated]) -> _Stated:
    """What most files state; a file that states something else is named."""
    most = Counter(map(_rounded, stated)).most_common(1)[0][0]
    usual = next(one for one in stated if _rounded(one) == most)
    others = [path for path, one in zip(paths, stated, strict=True) if not _same(one.spacing_mm, usual.spacing_mm)]
    if not others:
        return usual
    named = ", ".join(path.name for path in others[:_NAMED])
    text = (
        f"{name}: {len(others)} of {len(paths)} files state other distances than the rest ({named}); those are not used"
    )
    return _Stated(usual.spacing_mm, (*usual.notes, Note(Code.SPACING_TAG_MISMATCH, text)))


def _rounded(one: _Stated) -> tuple[float | None, ...]:
    return tuple(None if mm is None else float(f"{mm:.5g}") for mm in one.spacing_mm)


def _same(one: LengthsZYX, other: LengthsZYX) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or b is None or bool(np.isclose(a, b, rtol=_RTOL, atol=0)))
        for a, b in zip(one, other, strict=True)
    )


def _numbers(named: NamedStack, paths: Sequence[Path]) -> tuple[list[int | None], str]:
    """Whole numbers of files among those of one name, and a sentence that names the missing ones.

    Numbers with decimals become their places in an even row. Some files may not have been read.
    """
    written = dict(zip(named.paths, named.numbers, strict=True))
    known = [number for path in paths if (number := written[path]) is not None]
    row = even_row(known) if len(known) == len(paths) else None
    if all(number.denominator == 1 for number in known):
        numbers = [None if (number := written[path]) is None else int(number) for path in paths]
    else:
        numbers = [None] * len(paths) if row is None else list(row.places)
    if row is None or row.n_missing == 0 or number_step(numbers) is None:
        return numbers, ""
    return numbers, f"{paths[0].parent}: {row.missing_text} missing between {paths[0].name} and {paths[-1].name}"


def _contrary_numbers(named: NamedStack) -> tuple[Note, ...]:
    """A note on names in which two numbers say of different orders, and nothing tells which of them counts."""
    if named.contrary:
        text = f"numbers in the names put the files in different orders: {named.contrary}"
        return (Note(Code.NAMES_CONTRADICT, text),)
    if named.is_backward:
        first, last = named.paths[0].name, named.paths[-1].name
        text = f"two numbers in the names run in opposite directions; {first} was taken for the first, not {last}"
        return (Note(Code.FILE_ORDER, text),)
    return ()


def _same_numbers(named: NamedStack, paths: Sequence[Path]) -> tuple[Note, ...]:
    """A note on files with the number of another, which nothing puts in order; pixels tell nobody which is right."""
    seen: dict[Number, Path] = {}
    again: list[str] = []
    for path, number in zip(named.paths, named.numbers, strict=True):
        if path in paths and number is not None and seen.setdefault(number, path) != path:
            again.append(f"{path.name} (that of {seen[number].name})")
    if not again:
        return ()
    more = f" and {len(again) - _NAMED} more" if len(again) > _NAMED else ""
    what = "1 file has" if len(again) == 1 else f"{len(again)} files have"
    text = f"{what} the same number as another: {', '.join(again[:_NAMED])}{more}"
    return (Note(Code.SLICES_CONFLICT, text),)


def _spacing(name: str, stack: ImageStack, trust: bool) -> _Stated:
    """Distances of a stack, and notes on those that are not known or were not meant."""
    z, y, x = stack.stated_mm
    plain, notes = stack.resolution, []
    if z is not None and stack.z_is_implied:
        text = f"ImageJ's description has no distance of planes, which stands for {z:.6g} mm and for one never set"
        notes.append(Note(Code.RESOLUTION_IS_DEFAULT, f"{name}: {text}"))
    is_plain = not stack.source and plain is not None
    if plain is not None and plain.is_default and (is_plain or _is_of(plain, y, x)):
        text = f"its resolution, {plain.text}, is what programs and cameras write unasked"
        notes.append(Note(Code.RESOLUTION_IS_DEFAULT, f"{name}: {text}"))
    if is_plain and plain is not None and trust:
        y, x = plain.spacing_mm or (None, None)
    if y is None or x is None:
        notes.append(Note(Code.NO_PIXEL_SPACING, f"{name}: {_why_unknown(stack)}"))
    return _Stated((z, y, x), tuple(notes))


def _is_of(plain: Resolution, y: float | None, x: float | None) -> bool:
    """Whether distances that ImageJ states are no more than the resolution the image was opened with."""
    return plain.spacing_mm is not None and _same((None, *plain.spacing_mm), (None, y, x))


def _why_unknown(stack: ImageStack) -> str:
    if stack.source:
        return f"{stack.source}'s description states no distance of pixels"
    if stack.resolution is None:
        return "it states no distance of pixels"
    if stack.resolution.spacing_mm is None:
        return f"its resolution, {stack.resolution.text}, is no length"
    y, x = stack.resolution.spacing_mm
    return f"its resolution, {stack.resolution.text} ({y:.6g} x {x:.6g} mm), is taken only with `trust_resolution`"
