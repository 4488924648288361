"""Opening frames in files of any kind, and views of frames: turned and flipped, or a range."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.format import FRAME_TYPES, Files, FrameFormat, Reading
from gpustitch.io.frames.formats import common_format, frame_files, frame_format, frame_names
from gpustitch.io.frames.tiff import TiffFormat
from gpustitch.io.stacks.choice import NO_CHOICE, StackChoice, check_no_choice, chosen_of
from gpustitch.io.stacks.finding import FileStack, chosen_stack, find_stacks
from gpustitch.io.stacks.numbers import Number
from gpustitch.model import Frames, Layout, layout_of, part_axis, read_into

_log = logging.getLogger(__name__)

_TRANSPOSED_ROWS = 8  # rows of the source that stay in cache while columns of the target are written


def open_frames(
    pattern_or_path: str | Path,
    *,
    allow_missing: bool = False,
    skip_damaged: bool = False,
    types: Sequence[str] = FRAME_TYPES,
    choice: StackChoice = NO_CHOICE,
) -> Frames:
    """Frames of a file, of a folder or of a glob, in any format of :data:`FRAME_FORMATS`.

    Files of a folder or glob are ordered by the numbers in their names, or as an OME description says. With
    ``allow_missing``, frames that no file holds keep their place and are named in ``absent``. With ``skip_damaged``,
    frames whose file is damaged keep their place, and raise when they are read. ``types`` names the types that pixels
    may have, ``choice`` which of several stacks to read.

    Raises
    ------
    InputMissingError
        If nothing lies at the path.
    ParameterError
        If the files have several formats, make several stacks, or some are copies of others.
    DamagedInputError
        If a file is damaged or of no known format, the frames differ in size or type, or some are missing.
    """
    reading = Reading(types, allow_missing, choice, skip_damaged=skip_damaged)
    return open_files(pattern_or_path, frame_files(pattern_or_path), reading).frames


@dataclass(frozen=True)
class Opened:
    """Frames with what is known of where they come from.

    Attributes
    ----------
    frames
        The frames.
    format
        Their format.
    files
        Their files; of one of several stacks, those that hold its planes.
    image
        Number of the image in a file that describes several, from 0; None where it describes one.
    """

    frames: Frames
    format: FrameFormat
    files: Sequence[Path]
    image: int | None = None


def open_files(place: str | Path, files: Sequence[Path], reading: Reading) -> Opened:
    """The frames in the files found at a place; raises what :func:`open_frames` raises."""
    format = common_format(place, files)
    if format is None:
        raise DamagedInputError(f"{files[0]} is no {frame_names()} file; frames are read from such files")
    if format.files is Files.ONE or (Path(place).is_file() and not isinstance(format, TiffFormat)):
        check_no_choice(place, reading.choice)
        opened = Opened(format.open(files, reading), format, files)
    else:
        opened = _of_stack(place, files, format, reading)
    frames = opened.frames
    if frames.dtype.name not in reading.types:
        raise DamagedInputError(f"{place} holds {frames.dtype} pixels; frames are {', '.join(reading.types)}")
    _log.debug("opened %s as frames: %s, %s, by %s", place, frames.shape, frames.dtype, type(format).__name__)
    return opened


def stacks_at(pattern_or_path: str | Path) -> list[FileStack]:
    """The stacks that files at a place make; none where the place is a file that is no TIFF.

    Raises what :func:`open_frames` raises, but for what is missing.
    """
    files = frame_files(pattern_or_path)
    format = common_format(pattern_or_path, files)
    is_tiff = isinstance(format, TiffFormat)
    if format is None or format.files is Files.ONE or (Path(pattern_or_path).is_file() and not is_tiff):
        return []
    return find_stacks(pattern_or_path, files, are_tiffs=is_tiff)


def numbers_of_ends(place: str | Path, choice: StackChoice = NO_CHOICE) -> tuple[Number, Number] | None:
    """The numbers that the first and the last frame's file have in their names; None where names count no frames.

    Raises what :func:`stacks_at` raises, and ParameterError if there are several stacks and ``choice`` tells none.
    """
    stacks = stacks_at(place)
    return chosen_of(place, stacks, choice).numbers if stacks else None


def _of_stack(place: str | Path, files: Sequence[Path], format: FrameFormat, reading: Reading) -> Opened:
    """The frames of the one stack that the files make, or that was chosen."""
    stack = chosen_stack(
        place, files, reading.choice, are_tiffs=isinstance(format, TiffFormat), allow_missing=reading.allow_missing
    )
    there = [page for page in stack.pages if page is not None]
    numbered = [(file, page) for file, page in there if page is not None]
    if numbered and isinstance(format, TiffFormat):
        frames = format.open_pages(numbered, reading)
    else:
        frames = format.open([file for file, _ in there], reading)
    if stack.absent:
        frames = Spread(frames, stack.absent, len(stack.pages))
    own = files if reading.choice == NO_CHOICE or not there else [file for file, _ in there]
    image = stack.key.get("image", "")
    return Opened(frames, format, own, int(image) - 1 if image.isdecimal() else None)


def cautions(pattern_or_path: str | Path) -> tuple[str, ...]:
    """Warnings about a file that is used all the same: frames are absent, or its kind was never tried."""
    path = Path(pattern_or_path)
    format = frame_format(path)
    return () if format is None or not path.is_file() else tuple(format.cautions(path))


def details(path: Path) -> tuple[str, ...]:
    """What else is known of a file of frames, in lines for people."""
    format = frame_format(path)
    return () if format is None or not path.is_file() else tuple(format.details(path))


class Oriented:
    """Frames turned by ``rotate_90`` quarter turns (:func:`numpy.rot90`), then flipped upside down if ``flip_ud``.

    A window reads only its own part of the frames beneath.
    """

    def __init__(self, frames: Frames, rotate_90: int = 0, flip_ud: bool = False) -> None:
        self.frames = frames
        n_frames, n_rows, n_columns = frames.shape
        self.dtype: np.dtype[Any] = frames.dtype
        self.absent = frames.absent
        self._swap = rotate_90 % 2 == 1
        self.shape = (n_frames, n_columns, n_rows) if self._swap else (n_frames, n_rows, n_columns)
        turn = rotate_90 % 4
        self._flip_rows = (turn in (1, 2)) != flip_ud
        self._flip_columns = turn in (2, 3)
        part = part_axis(frames)
        self.part_axis = 1 - part if part is not None and self._swap else part
        self.layout = Layout(self._swap, self._flip_rows, self._flip_columns)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, turned and flipped, cut to ``rows`` and ``columns``."""
        row_source, row_pick = _source(rows, self.shape[1], self._flip_rows)
        column_source, column_pick = _source(columns, self.shape[2], self._flip_columns)
        if not self._swap:
            return self.frames.read(start, stop, row_source, column_source)[:, row_pick, column_pick]
        sides = (len(range(n)[part]) for n, part in zip(self.shape[1:], (rows, columns), strict=True))
        out = np.empty((stop - start, *sides), self.dtype)
        self.read_into(start, stop, rows, columns, out)
        return out

    def read_into(self, start: int, stop: int, rows: slice, columns: slice, out: npt.NDArray[Any]) -> None:
        """Like :meth:`read`, into ``out``: at once where that is memory in the order of ``layout``."""
        row_source, row_pick = _source(rows, self.shape[1], self._flip_rows)
        column_source, column_pick = _source(columns, self.shape[2], self._flip_columns)
        sources = (column_source, row_source) if self._swap else (row_source, column_source)
        stored = self.layout.stored(out)
        if stored.flags.c_contiguous and all(abs(pick.step or 1) == 1 for pick in (row_pick, column_pick)):
            read_into(self.frames, start, stop, *sources, stored)
        elif self._swap:
            frames = self.frames.read(start, stop, *sources)
            _transpose(frames[:, column_pick, row_pick], out)
        else:
            out[...] = self.read(start, stop, rows, columns)


def _transpose(frames: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Each frame transposed; copying a few rows at a time is many times faster than all at once."""
    for target, frame in zip(out, frames, strict=True):
        for row in range(0, len(frame), _TRANSPOSED_ROWS):
            target[:, row : row + _TRANSPOSED_ROWS] = frame[row : row + _TRANSPOSED_ROWS].T


def _source(wanted: slice, length: int, flipped: bool) -> tuple[slice, slice]:
    """The contiguous part of a source axis that holds the wanted indices, and the slice that picks them there."""
    indices = range(length)[wanted]
    if flipped:
        indices = range(length - 1 - indices.start, length - 1 - indices.stop, -indices.step)
    if not indices:
        return slice(0, 0), slice(None)
    low, high = min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1
    last = indices[-1] - low + indices.step
    return slice(low, high), slice(indices[0] - low, last if last >= 0 else None, indices.step)


class Spread:
    """Frames with gaps between them: those of numbers in ``absent``, of ``n_frames`` in all, read as zeros."""

    def __init__(self, frames: Frames, absent: frozenset[int], n_frames: int) -> None:
        self.frames = frames
        self.absent = absent
        self.part_axis, self.layout = part_axis(frames), layout_of(frames)
        self.shape = (n_frames, frames.shape[1], frames.shape[2])
        self.dtype: np.dtype[Any] = frames.dtype
        # How many frames there are before each, and in all.
        self._before = np.cumsum([0, *(number not in absent for number in range(n_frames))])

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, zeros where there is none; ParameterError outside them."""
        n_frames = self.shape[0]
        if not 0 <= start <= stop <= n_frames:
            raise ParameterError(f"frames {start}..{stop - 1} are not among the {n_frames} of the stack")
        read = self.frames.read(int(self._before[start]), int(self._before[stop]), rows, columns)
        there = [number - start for number in range(start, stop) if number not in self.absent]
        if len(there) == stop - start:
            return read
        out = np.zeros((stop - start, *read.shape[1:]), read.dtype)
        out[there] = read
        return out

    def read_into(self, start: int, stop: int, rows: slice, columns: slice, out: npt.NDArray[Any]) -> None:
        """Like :meth:`read`, into ``out``."""
        if 0 <= start <= stop <= self.shape[0] and not self.absent.intersection(range(start, stop)):
            read_into(self.frames, int(self._before[start]), int(self._before[stop]), rows, columns, out)
        else:
            out[...] = self.read(start, stop, rows, columns)


class Slice:
    """Frames ``start <= f < stop`` of ``frames``.

    Raises
    ------
    ParameterError
        If the range is empty or not inside ``frames``.
    """

    def __init__(self, frames: Frames, start: int = 0, stop: int | None = None) -> None:
        n_frames = frames.shape[0]
        last = n_frames if stop is None else stop
        if not 0 <= start < last <= n_frames:
            raise ParameterError(
                f"frames {start} to {last} (`start`, `stop`) were asked for, but there are frames 0 to {n_frames}; "
                "`start` must be less than `stop`, and `stop` at most the number of frames"
            )
        self.frames = frames
        self.start = start
        self.part_axis, self.layout = part_axis(frames), layout_of(frames)
        self.shape = (last - start, frames.shape[1], frames.shape[2])
        self.dtype: np.dtype[Any] = frames.dtype
        self.absent = frozenset(f - start for f in frames.absent if start <= f < last)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames of the range, counted from its start; ParameterError outside it."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise ParameterError(f"frames {start}..{stop - 1} are not among the {self.shape[0]} chosen ones")
        return self.frames.read(self.start + start, self.start + stop, rows, columns)

    def read_into(self, start: int, stop: int, rows: slice, columns: slice, out: npt.NDArray[Any]) -> None:
        """Like :meth:`read`, into ``out``."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise ParameterError(f"frames {start}..{stop - 1} are not among the {self.shape[0]} chosen ones")
        read_into(self.frames, self.start + start, self.start + stop, rows, columns, out)
