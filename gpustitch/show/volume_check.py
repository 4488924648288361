"""The check of one volume: its files against the record, and every chunk by its decoder."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.volumes.format import Access, LevelFiles, StoredVolume, VolumeFiles, VolumeFormat
from gpustitch.io.volumes.opening import VOLUME_FORMATS
from gpustitch.io.volumes.presence import Index, Listing, listed
from gpustitch.io.volumes.record import ARRAY_FILES, RECORD, FileRecord, Files, check_levels, read_record
from gpustitch.io.volumes.replaced import Unchanged
from gpustitch.model import Box, Spacing
from gpustitch.running.progress import SILENT, Progress, counted, size_text
from gpustitch.show.reading import MOST_NAMED, Check, Damages, Found, Read, read_all, read_file, reason

_BLOCK = 1024  # voxels along y and x that are read at a time where files are not known
_UNIT = Spacing(1, 1, 1)  # of volumes that state none: voxels are read all the same


@dataclass
class _Work:
    """What is to be read of a volume."""

    damages: Damages = field(default_factory=Damages)
    reads: list[Iterable[Read]] = field(default_factory=list)
    n_levels: int = 0
    n_files: int = 0
    n_bytes: int = 0  # to be read
    n_bytes_read: int = 0
    n_absent: int = 0  # files that nobody knows to be lost
    are_summed: bool = True  # sizes and checksums of all files are recorded


def check_volume(path: Path, n_workers: int, progress: Progress = SILENT) -> Check:
    """Read every file of the volume in folder ``path``, and decode every chunk; on ``n_workers`` threads.

    Memory is that of a chunk for each thread, and of a number for each file. Damage is counted, and no error.

    Raises
    ------
    ParameterError
        If the volume lies in a file of a kind that is not read.
    ResourceError
        If memory or open files do not suffice.
    """
    work = _Work()
    format = next((format for format in VOLUME_FORMATS if format.found_in(path)), None)
    marks = () if format is None else format.marks
    unchanged = Unchanged(path, [path / name for name in (RECORD, *marks)])
    with work.damages.told():
        if format is None:
            read_record(path)  # names the marks that are lost
            raise DamagedInputError(f"{path} has lost what describes it; copy the volume again")
        _plan(path, format, work)
    damages = work.damages
    reads = (read for of_level in work.reads for read in of_level)
    label = f"Verifying {path}"
    n_bytes = work.n_bytes_read + read_all(reads, damages, work.n_bytes, n_workers, progress, label)
    with damages.told():
        unchanged.check()
    return Check(path, _extent(work, n_bytes), _verdict(work), tuple(damages.named), damages.n)


def _extent(work: _Work, n_bytes: int) -> str:
    """How much was read; of a format whose chunks share files in a way of its own, bytes are those of voxels."""
    files = f"{counted(work.n_files, 'files')}, " if work.n_files else ""
    levels = "1 level" if work.n_levels == 1 else f"{work.n_levels} levels"
    return f"{files}{size_text(n_bytes)}, {levels}"


def _verdict(work: _Work) -> str:
    if work.are_summed:
        return "whole, as written"
    absent = f"; {work.n_absent} files of chunks are not there: they are empty or lost" if work.n_absent else ""
    return f"all chunks decode{absent}; no checksums are recorded"


def _plan(path: Path, format: VolumeFormat, work: _Work) -> None:
    """List what is to be read, and what is not there."""
    volumes = format.files(path)
    for volume in volumes:
        record, n_before = None, work.damages.n
        with work.damages.told():
            record = read_record(volume.folder, is_due=volume.is_record_due)
            if record is not None and not volume.is_part:
                check_levels(record, volume.levels)
        is_lost = work.damages.n > n_before
        sums = {} if record is None else _sums(record, volume)
        work.are_summed &= bool(sums)
        damaged = {name for name, of in sums.items() if _is_damaged(volume.folder / name, of, work)}
        for number, name in enumerate(volume.levels):
            work.n_levels += 1
            if not {f"{name}/{file}" for file in ARRAY_FILES} & damaged:  # else nothing is known of its files
                with work.damages.told():
                    _plan_level(format, volume, number, record, work, is_lost=is_lost)
    if not volumes:
        _plan_blocks(path, format, work)


def _is_damaged(path: Path, expected: tuple[int, int], work: _Work) -> bool:
    """Whether a small file is not as it was written, which is then told."""
    n_bytes, text = read_file(path, expected)
    work.n_files += 1
    work.n_bytes_read += n_bytes
    if text:
        work.damages.add(text)
    return bool(text)


def _sums(record: FileRecord, volume: VolumeFiles) -> dict[str, tuple[int, int]]:
    """What is recorded of descriptions and the sidecar, or of the descriptions of one level."""
    within = tuple(f"{level}/" for level in volume.levels)
    return {name: of for name, of in record.sums.items() if not volume.is_part or name.startswith(within)}


def _plan_level(
    format: VolumeFormat, volume: VolumeFiles, number: int, record: FileRecord | None, work: _Work, *, is_lost: bool
) -> None:
    """List what is to be read of a level; ``is_lost`` says that there is a record, but it is damaged."""
    level = volume.level(number)
    listing = listed(level.folder, level.naming, ARRAY_FILES)
    there = listing.kinds > 0
    known = None if record is None else record.levels.get(volume.levels[number])
    n_before = work.damages.n
    if known is not None and known.there.shape != there.shape:
        work.damages.add(
            f"{level.folder} has a grid of {there.shape} files (z, y, x), but {RECORD} knows {known.there.shape}"
        )
        known, is_lost = None, True
    _compare(level, listing, known, work, is_sparse=level.is_sparse or is_lost)  # nobody then knows what is due
    is_complete = work.damages.n == n_before
    opened = _opened(format, volume, number, work.damages, is_complete=is_complete)
    expected = known if known is not None and known.are_summed else None
    if known is not None:
        there &= known.there  # all others are damages already
    work.are_summed &= expected is not None
    work.n_files += int(there.sum())
    work.n_bytes += _size(level, listing) if expected is None else int(expected.n_bytes[there].sum())
    work.reads.append(_level_reads(level, np.where(there, listing.kinds, 0), expected, opened))


def _opened(
    format: VolumeFormat, volume: VolumeFiles, number: int, damages: Damages, *, is_complete: bool
) -> StoredVolume | None:
    """The level as all commands open it; None if that is refused, or if users would have to choose a channel."""
    place, level = (volume.folder / volume.levels[0], 0) if volume.is_part else (volume.folder, number)
    telling = damages if is_complete else Damages()  # what it lacks is told already
    with telling.told(), contextlib.suppress(ParameterError):
        return format.open(place, Access(_UNIT, level, allow_missing=not is_complete))
    return None


def _compare(level: LevelFiles, listing: Listing, known: Files | None, work: _Work, *, is_sparse: bool) -> None:
    """Compare a level's folder with what should be there."""
    there = listing.kinds > 0
    damages, folder = work.damages, level.folder
    if known is None and is_sparse:
        work.n_absent += int((~there).sum())
        missing = np.zeros_like(there) if there.any() else ~there
    else:
        missing = ~there if known is None else known.there & ~there
    if missing.any() and not there.any():
        damages.add(f"{folder} holds none of its {missing.sum()} files of chunks", int(missing.sum()))
    else:
        _add_files(damages, level, missing, "is not there")
    if known is not None:
        _add_files(damages, level, there & ~known.there, "was not written with the volume")
        n_others, example = listing.n_outside + listing.n_others, listing.outside or listing.other
        if n_others:
            damages.add(f"{folder} holds {n_others} other files, such as {example}, not written with it", n_others)
    if listing.doubled:
        damages.add(f"{folder} holds {listing.doubled} of one chunk")
    if listing.n_broken:
        damages.add(f"{folder}: {listing.n_broken} names, such as {listing.broken}, lead to no file", listing.n_broken)


def _add_files(damages: Damages, level: LevelFiles, flags: npt.NDArray[np.bool_], text: str) -> None:
    """Files on a level's grid, each in words of its own."""
    for index in itertools.islice(_indices(flags), MOST_NAMED):
        damages.add(f"{level.folder / level.naming.name(index)} {text}")
    damages.n += max(0, int(flags.sum()) - MOST_NAMED)


def _indices(flags: npt.NDArray[Any]) -> Iterator[Index]:
    """Where flags are set."""
    return (tuple(map(int, np.unravel_index(place, flags.shape))) for place in np.flatnonzero(flags))


def _size(level: LevelFiles, listing: Listing) -> int:
    """Bytes of the files of a level."""
    n_bytes = 0
    for index in _indices(listing.kinds):
        with contextlib.suppress(OSError):  # reading it says why
            n_bytes += _place(level, listing.kinds, index).stat().st_size
    return n_bytes


def _place(level: LevelFiles, kinds: npt.NDArray[np.uint8], index: Index) -> Path:
    return level.folder / level.naming.name(index, int(kinds[index]))


def _level_reads(
    level: LevelFiles, kinds: npt.NDArray[np.uint8], expected: Files | None, opened: StoredVolume | None
) -> Iterator[Read]:
    """A read of each file of a level that has a kind."""
    for index in _indices(kinds):
        of_file = None if expected is None else (int(expected.n_bytes[index]), int(expected.crc32[index]))
        decode = functools.partial(level.decode, index, opened)
        yield functools.partial(read_file, _place(level, kinds, index), of_file, decode)


def _plan_blocks(path: Path, format: VolumeFormat, work: _Work) -> None:
    """All voxels of a volume, where nothing is known of files."""
    work.are_summed = False
    volume = format.open(path, Access(_UNIT))
    work.n_levels = volume.levels
    for number in range(volume.levels):
        level = volume if number == 0 else format.open(path, Access(_UNIT, number))
        whole = Box.of_shape(level.coverage.shape)
        work.n_bytes += whole.size * level.dtype.itemsize
        blocks = whole.blocks((level.depth, _BLOCK, _BLOCK))
        work.reads.append(functools.partial(_read_block, level, block) for block in blocks)


def _read_block(volume: StoredVolume, block: Box) -> Found:
    try:
        return volume.read(block).nbytes, ""
    except OSError as error:
        return 0, reason(error)
