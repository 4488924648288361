"""DICOM files sorted into series of slices of one size, pixel spacing and orientation."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.found import natural_key
from gpustitch.slices.dicom.frames import SPLIT_TAGS, Slice
from gpustitch.slices.dicom.headers import DicomFile, read_dicom
from gpustitch.slices.dicom.values import Problem, cross_product
from gpustitch.slices.model import Code, Note, SliceHeader, SliceSeries

# Pixel spacings are equal up to this part; directions, if no cosine differs by more.
_SAME_SPACING = 1e-4
_SAME_COSINE = 1e-3
# Parts whose sizes are told one by one.
_MOST_SIZES = 8
# Each file of several frames is a series of its own, parts of a concatenation too.
BY_FILE = "file"
SPLIT_NAMES = (*SPLIT_TAGS, BY_FILE)
# All are read: which of them tell volumes apart is found out later.
_TAGS = tuple(SPLIT_TAGS)


def find_dicom_series(
    files: Iterable[str | Path],
    split_by: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
    threads: int = 1,
    *,
    merge: bool = False,
) -> tuple[list[SliceSeries], list[Note]]:
    """Sort the slices of DICOM files into series.

    Slices are of one series if SeriesInstanceUID, Rows, Columns, PixelSpacing (to 0.01 %) and ImageOrientationPatient
    (cosines to 0.001) agree; localizers are apart from what was planned on them. Files of several slices each are
    volumes of their own (doses of several beams, say), unless a ConcatenationUID joins them.

    Parameters
    ----------
    files
        In any order.
    split_by
        What else tells series apart: names in ``SPLIT_NAMES``.
    progress
        Called with the number of files read so far.
    threads
        How many files are read at once; more than one only helps where the disk is slow to answer.
    merge
        Join series of a study and a frame of reference that agree in all else but SeriesInstanceUID.

    Returns
    -------
    The series in the order of their first files, slices in the natural order of file names; and notes of the files
    that could not be read (UNREADABLE_FILE) or hold no pixels (NOT_AN_IMAGE).

    Raises
    ------
    ParameterError
        If ``split_by`` has other names.
    """
    unknown = sorted(set(split_by) - set(SPLIT_NAMES))
    if unknown:
        raise ParameterError(f"`split_by` is {unknown[0]!r}; choose from {', '.join(SPLIT_NAMES)}")
    paths = _in_natural_order(Path(file) for file in files)
    tags = tuple(split for split in split_by if split != BY_FILE)
    read, notes = [], []
    with warnings.catch_warnings():
        # pydicom names neither file nor tag in its warnings.
        warnings.filterwarnings("ignore", module="pydicom")
        for number, found in enumerate(_read_all(paths, threads), start=1):
            if isinstance(found, Note):
                notes.append(found)
            elif found.slices:
                read.append(found)
            else:
                notes.extend(problem.note(found.path) for problem in found.problems)
            if progress is not None:
                progress(number)
    names = [*tags, *([BY_FILE] if BY_FILE in split_by else [])]
    return [series for group in _by_series(read, merge=merge) for series in _split(group, names)], notes


def _in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Folder by folder, and ``img_2`` before ``img_10`` in both; files named twice are there once."""
    folders: dict[Path, tuple[tuple[tuple[int, int | str], ...], ...]] = {}

    def key(path: Path) -> tuple[object, object]:
        folder = path.parent
        if folder not in folders:
            folders[folder] = tuple(natural_key(Path(part)) for part in folder.parts)
        return folders[folder], natural_key(path)

    return sorted(dict.fromkeys(paths), key=key)


def _read_all(paths: list[Path], threads: int) -> Iterator[DicomFile | Note]:
    def read(path: Path) -> DicomFile | Note:
        try:
            return read_dicom(path, _TAGS)
        except (DamagedInputError, InputMissingError) as error:
            return Note(Code.UNREADABLE_FILE, str(error))

    if threads <= 1:
        yield from map(read, paths)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(read, paths)


def _by_series(files: list[DicomFile], *, merge: bool) -> list[list[DicomFile]]:
    """Files of one SeriesInstanceUID; those without one are of one series if they lie in one folder.

    Merged, they are files of one FrameOfReferenceUID and Modality instead.

    Of two studies they are two series: copies that were given new names may share the UIDs of series.
    """
    groups: dict[tuple[str, str, str], list[DicomFile]] = defaultdict(list)
    for file in files:
        uid = file.series["SeriesInstanceUID"]
        if merge:
            uid = f"{file.series['FrameOfReferenceUID']} {file.series['Modality']}"
        groups[uid, file.series["StudyInstanceUID"], "" if uid else str(file.path.parent)].append(file)
    return list(groups.values())


@dataclass(frozen=True)
class _Kind:
    """What slices of one group share, but for tolerances."""

    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    directions: tuple[float, ...] | None
    is_localizer: bool
    volume: str
    parts: tuple[str, ...]

    def is_like(self, other: _Kind) -> bool:
        """Whether slices of both are of one series."""
        return (
            self.shape == other.shape
            and (self.is_localizer, self.volume, self.parts) == (other.is_localizer, other.volume, other.parts)
            and _near(self.directions, other.directions, _SAME_COSINE, 0)
            and _near(self.spacing, other.spacing, 0, _SAME_SPACING)
        )


def _near(one: Sequence[float] | None, other: Sequence[float] | None, absolute: float, relative: float) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= absolute + relative * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def _split(files: list[DicomFile], names: list[str]) -> list[SliceSeries]:
    """The series that files of one SeriesInstanceUID make."""
    # Most slices are exactly alike; only the first of each kind is compared with the others.
    exact: dict[_Kind, list[tuple[DicomFile, Slice]]] = {}
    groups: dict[_Kind, list[tuple[DicomFile, Slice]]] = {}
    for file in files:
        for one in file.slices:
            kind = _kind(one, file, names)
            if kind not in exact:
                like = next((known for known in groups if known.is_like(kind)), kind)
                exact[kind] = groups.setdefault(like, [])
            exact[kind].append((file, one))
    kinds = list(groups)
    split = _split_note(kinds, list(groups.values()))
    if len(groups) == 1:
        return [_series(kinds[0], groups[kinds[0]], names, "", split)]
    return [
        dataclasses.replace(
            _series(kind, members, names, _part(kind, names, number, len(groups)), split),
            numbers_apart=frozenset().union(*(_numbers(groups[other]) for other in kinds if other != kind)),
        )
        for number, (kind, members) in enumerate(groups.items(), start=1)
    ]


def alike(one: SliceSeries, other: SliceSeries) -> bool:
    """Whether two series agree in all that tells series apart but SeriesInstanceUID, so that they may be merged."""
    names = ("StudyInstanceUID", "FrameOfReferenceUID", "Modality")
    if any(one.key.get(name) != other.key.get(name) for name in names):
        return False
    return _geometry(one.headers[0]).is_like(_geometry(other.headers[0]))


def _geometry(header: SliceHeader) -> _Kind:
    return _Kind(header.shape, header.pixel_spacing_mm, _directions(header), False, "", ())


def _directions(header: SliceHeader) -> tuple[float, ...] | None:
    row, column = header.row_direction, header.column_direction
    return None if row is None or column is None else (*row, *column)


def _numbers(members: list[tuple[DicomFile, Slice]]) -> set[int]:
    return {one.header.number for _, one in members if one.header.number is not None}


def _part(kind: _Kind, names: list[str], number: int, n_parts: int) -> str:
    """Which part of a series it is, and the values that the user has split it by."""
    values = [f"{name} {value}" for name, value in zip(names, kind.parts, strict=True) if value]
    return f", part {number} of {n_parts}" + (f" ({', '.join(values)})" if values else "")


def _kind(one: Slice, file: DicomFile, names: list[str]) -> _Kind:
    header = one.header
    directions = _directions(header)
    volume, parts = file.volume, tuple(one.parts[_TAGS.index(name)] for name in names if name != BY_FILE)
    if BY_FILE in names:
        volume, parts = "", (*parts, str(file.path) if len(file.slices) > 1 else "")
    return _Kind(header.shape, header.pixel_spacing_mm, directions, one.is_localizer, volume, parts)


def _split_note(kinds: list[_Kind], groups: list[list[tuple[DicomFile, Slice]]]) -> Note | None:
    """Says that one SeriesInstanceUID was split by more than the user asked for, and by what; None if it was not."""
    what = {
        "size": len({kind.shape for kind in kinds}),
        "PixelSpacing": _distinct([kind.spacing for kind in kinds], 0, _SAME_SPACING),
        "ImageOrientationPatient": _distinct([kind.directions for kind in kinds], _SAME_COSINE, 0),
        "ImageType LOCALIZER": len({kind.is_localizer for kind in kinds}),
        "the file of several slices that they are in (no ConcatenationUID joins these)": len(
            {kind.volume for kind in kinds}
        ),
    }
    reasons = [name for name, count in what.items() if count > 1]
    if not reasons:
        return None
    counts = [len(members) for members in groups]
    sizes = " + ".join(map(str, counts))
    if len(counts) > _MOST_SIZES:
        sizes = f"{len(counts)} parts of up to {max(counts)}"
    uids = {file.series["SeriesInstanceUID"] for members in groups for file, _ in members}
    what_holds = "series that were joined hold"
    if len(uids) == 1:
        what_holds = f"SeriesInstanceUID {uids.pop() or '(none)'} holds"
    return Note(
        Code.SERIES_SPLIT,
        f"{what_holds} slices that differ in {', '.join(reasons)}; judged apart: {sizes} slices",
    )


def _distinct(values: list[tuple[float, ...] | None] | list[tuple[float, float] | None], a: float, r: float) -> int:
    found: list[Sequence[float] | None] = []
    for value in values:
        if not any(_near(value, known, a, r) for known in found):
            found.append(value)
    return len(found)


def _series(
    kind: _Kind, members: list[tuple[DicomFile, Slice]], names: list[str], part: str, split: Note | None
) -> SliceSeries:
    """The series of some slices of one kind, with the notes that they call for."""
    first = members[0][0]
    files = list({file.path: file for file, _ in members}.values())
    headers = [one.header for _, one in members]
    headers, misplaced = _without_false_zeros(headers)
    key = _key(kind, first.series, names)
    if kind.volume:
        key["ConcatenationUID" if first.concatenation else "SOPInstanceUID"] = kind.volume
    uids = {file.series["SeriesInstanceUID"] for file in files}
    if len(uids) > 1:
        key.pop("SeriesInstanceUID", None)
        misplaced = [*misplaced, Note(Code.SERIES_MERGED, f"{len(uids)} series were joined as was asked")]
    notes = [*_merged(files), *misplaced, *_frame_notes(files), *_pixel_notes(headers), *([split] if split else [])]
    return SliceSeries(
        name=_name(first.series, first.path) + part,
        source_format="dicom",
        headers=tuple(headers),
        notes=tuple(notes),
        key=key,
        role=_role(kind, files),
        tags=_stated([one.parts for _, one in members]),
    )


def _frame_notes(files: Sequence[DicomFile]) -> list[Note]:
    """A warning of files of several frames of reference: the patient may have moved between them."""
    frames = Counter(file.series["FrameOfReferenceUID"] for file in files if file.series["FrameOfReferenceUID"])
    if len(frames) < 2:
        return []
    sizes = " + ".join(map(str, frames.values())) if len(frames) <= _MOST_SIZES else f"{len(frames)} of them"
    text = f"FrameOfReferenceUID differs ({sizes} files): positions of one need not fit those of another"
    return [Note(Code.FRAMES_OF_REFERENCE, text)]


def _role(kind: _Kind, files: Sequence[DicomFile]) -> str:
    if kind.is_localizer:
        return "localizer"
    return "secondary capture" if all(file.is_capture for file in files) else ""


def _stated(parts: list[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What slices state that not all state alike, by the name of the split as users give it."""
    columns = zip(*parts, strict=True)
    return {name.replace(" ", "-"): column for name, column in zip(_TAGS, columns, strict=True) if len(set(column)) > 1}


def _key(kind: _Kind, series: Mapping[str, str], names: list[str]) -> dict[str, str]:
    key = {name: value for name, value in series.items() if value}
    key |= {"Rows": str(kind.shape[0]), "Columns": str(kind.shape[1])}
    for name, values in (("PixelSpacing", kind.spacing), ("ImageOrientationPatient", kind.directions)):
        if values is not None:
            key[name] = "\\".join(f"{value:g}" for value in values)
    return key | {name: part for name, part in zip(names, kind.parts, strict=False) if part}


def _name(series: Mapping[str, str], path: Path) -> str:
    number, text = series["SeriesNumber"], series["SeriesDescription"] or series["Modality"]
    words = [text, f"(series {number})" if number else ""]
    return " ".join(word for word in words if word) or path.parent.name or str(path)


def _merged(files: list[DicomFile]) -> list[Note]:
    """One note for each problem, however many files have it."""
    found: dict[tuple[Code, str], list[tuple[Path, Problem]]] = defaultdict(list)
    for file in files:
        for key, problem in {(problem.code, problem.tag): problem for problem in file.problems}.items():
            found[key].append((file.path, problem))
    return [places[0][1].note(places[0][0], len(places)) for places in found.values()]


def _without_false_zeros(headers: list[SliceHeader]) -> tuple[list[SliceHeader], list[Note]]:
    """Take 0, 0, 0 as no position if all slices have it or the others' line misses it."""
    zeros = [header for header in headers if header.position_mm == (0.0, 0.0, 0.0)]
    others = [header.position_mm for header in headers if header.position_mm and any(header.position_mm)]
    if not zeros or len(headers) == 1 or (others and not (len(zeros) < len(others) and _misses_zero(others))):
        return headers, []
    problem = Problem(Code.POSITION_BAD, "ImagePositionPatient", "is 0, 0, 0, which cannot be; taken as missing")
    false = set(map(id, zeros))
    kept = [dataclasses.replace(header, position_mm=None) if id(header) in false else header for header in headers]
    return kept, [problem.note(zeros[0].path, len({header.path for header in zeros}))]


def _misses_zero(places: Sequence[tuple[float, float, float]]) -> bool:
    """Whether the line through the outermost places misses the origin by over 1 mm and 1 % of their extent."""
    start = places[0]
    end = max(places, key=lambda place: _length([a - b for a, b in zip(place, start, strict=True)]))
    line = [b - a for a, b in zip(start, end, strict=True)]
    length = _length(line)
    if length == 0:
        return True
    return _length(cross_product(start, line)) / length > 1 + 0.01 * length


def _length(vector: Sequence[float]) -> float:
    return float(sum(value * value for value in vector) ** 0.5)


def _pixel_notes(headers: list[SliceHeader]) -> list[Note]:
    """What to know of the values of pixels."""
    notes = []
    stored = [(header.path, header.pixels) for header in headers if header.pixels is not None]
    scales = {(pixels.slope, pixels.intercept) for _, pixels in stored}
    if len(scales) > 1:
        low, high = min(scales), max(scales)
        text = (
            f"from {low[0]:g} x stored + {low[1]:g} to {high[0]:g} x stored + {high[1]:g}; each is applied to its own"
        )
        notes.append(Note(Code.RESCALE_VARIES, f"slices are scaled differently, {text}"))
    inverted = [path for path, pixels in stored if pixels.photometric == "MONOCHROME1"]
    if inverted:
        problem = Problem(Code.INVERTED_GREY, "PhotometricInterpretation", "is MONOCHROME1; values are left as stored")
        notes.append(problem.note(inverted[0], len(set(inverted))))
    return notes
