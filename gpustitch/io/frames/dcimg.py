"""Hamamatsu DCIMG files: frame ranges and windows of them, without reading the file whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.dcimg_header import MAGIC, DcimgHeader, counted, doubts, read_header
from gpustitch.io.frames.dcimg_stamps import placed, read_stamps, timing
from gpustitch.io.frames.format import Files, FrameFormat, Reading
from gpustitch.io.images.files import reading as reading_file
from gpustitch.io.windows import StoredFile
from gpustitch.model import Frames

_MOST_NAMED = 10  # runs of frames that a message names


class DcimgFrames:
    """Frames of a DCIMG file (:class:`gpustitch.model.Frames`); may be read from several threads.

    Parameters
    ----------
    path
        The file; it is opened read-only.
    allow_missing
        Leave places for frames that are absent, and name them in ``absent``: the camera dropped them, they were never
        written, or they are cut off at the end. If the two frame counts differ, the least is there.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is not DCIMG, is truncated, frames are absent, or its headers or stamps contradict each other.
    """

    part_axis = 0  # rows lie one after another

    def __init__(self, path: str | Path, allow_missing: bool = False) -> None:
        self.path = Path(path)
        with reading_file(self.path, "DCIMG"):
            self._file = StoredFile(self.path)
            file_bytes = self._file.size
            self.header: DcimgHeader = read_header(self.path, self._file.bytes_at, file_bytes)
            n_held, n_promised = counted(self.path, self.header, file_bytes, allow_missing=allow_missing)
            self.stamps = read_stamps(self.path, self._file.bytes_at, self.header, n_held)
        self.places = placed(self.path, self.stamps)
        self.n_cut_off = n_promised - n_held
        self.n_beyond = self.header.whole_frames(file_bytes) - n_promised
        self.shape = (self.places.n_places + self.n_cut_off, self.header.n_rows, self.header.n_columns)
        self.dtype: np.dtype[Any] = np.dtype(f"<u{self.header.pixel_bytes}")
        self._held = np.full(self.shape[0], -1)
        held = np.flatnonzero(self.places.of_held >= 0)
        self._held[self.places.of_held[held]] = held
        self.absent: frozenset[int] = frozenset(np.flatnonzero(self._held < 0).tolist())
        if self.absent and not allow_missing:
            raise DamagedInputError(
                f"{self.path}: {self.losses}; record or copy it again, or `allow_missing` leaves them uncovered"
            )

    @property
    def losses(self) -> str:
        """Which frames are absent, and why; empty if none is."""
        if not self.absent:
            return ""
        causes = (
            (self.places.n_dropped, "dropped by the camera, for frame stamps jump there"),
            (self.places.n_blank, "never written"),
            (self.n_cut_off, "cut off at the end"),
        )
        why = ", ".join(f"{count} {cause}" for count, cause in causes if count)
        return f"{len(self.absent)} of {self.shape[0]} frames are absent: {_runs(sorted(self.absent))} ({why})"

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``, as a new array; zeros for absent frames.

        Raises
        ------
        ParameterError
            If the range is not inside the file.
        DamagedInputError
            If the disk fails, or the file became shorter.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise ParameterError(
                f"{self.path} has frames 0 to {self.shape[0] - 1}; {start}..{stop - 1} are not all there"
            )
        shape = stop - start, len(range(self.shape[1])[rows]), len(range(self.shape[2])[columns])
        out = np.empty(shape, self.dtype)
        self.read_into(start, stop, rows, columns, out)
        return out

    def read_into(self, start: int, stop: int, rows: slice, columns: slice, out: npt.NDArray[Any]) -> None:
        """Like :meth:`read`, into ``out``; rows that are read whole come straight from the disk."""
        if not (out.flags.c_contiguous and out.dtype == self.dtype and 0 <= start <= stop <= self.shape[0]):
            out[...] = self.read(start, stop, rows, columns)
            return
        row_numbers, column_numbers = range(self.shape[1])[rows], range(self.shape[2])[columns]
        if not out.size:
            return
        are_whole = self.header.row_bytes == out.shape[2] * self.dtype.itemsize and column_numbers.step == 1
        spare = None if are_whole else np.empty((len(row_numbers), self.header.row_bytes), np.uint8)
        for place, frame in enumerate(out, start):
            held = int(self._held[place])
            if held < 0:
                frame[...] = 0
                continue
            lines = frame.view(np.uint8) if spare is None else spare
            self._read_rows(lines, held, row_numbers)
            if spare is not None:
                frame[:] = spare[:, : self.shape[2] * self.dtype.itemsize].view(self.dtype)[:, columns]
            self._restore_stamped(frame, held, row_numbers, column_numbers)

    def _read_rows(self, lines: npt.NDArray[np.uint8], held: int, rows: range) -> None:
        """Fill ``lines`` with whole rows of a frame: with one request if these lie side by side, else one each."""
        first = self.header.data_offset + held * self.header.stride
        if rows.step == 1:
            self._file.fill(lines, first + rows.start * self.header.row_bytes, f"frame {held}")
            return
        for line, row in zip(lines, rows, strict=True):
            self._file.fill(line, first + row * self.header.row_bytes, f"frame {held}")

    def _restore_stamped(self, frame: npt.NDArray[Any], held: int, rows: range, columns: range) -> None:
        """Put the true pixels where the camera wrote its stamp."""
        pixels = self.stamps.true_pixels[held].view(self.dtype)
        if self.header.stamp_row is None or self.header.stamp_row not in rows:
            return
        row = rows.index(self.header.stamp_row)
        for column in range(min(len(pixels), self.shape[2])):
            if column in columns:
                frame[row, columns.index(column)] = pixels[column]

    def cautions(self) -> Iterator[str]:
        """What a user must know: absent frames, odd times, and what was never tried on a file of a camera."""
        if self.absent:
            yield f"{self.path}: {self.losses}"
        if self.header.is_cut_off:
            yield f"{self.path}: its end is not there, which holds frame stamps and pixels under the camera's stamp"
        yield from self._doubts()

    def _doubts(self) -> Iterator[str]:
        """What to say of a file that may not mean what its header says."""
        yield from (f"{self.path}: {doubt}; look at the frames" for doubt in doubts(self.header))
        if self.n_beyond > 0:
            yield (
                f"{self.path} is longer than its header says: {self.n_beyond} frames beyond those that it counts are "
                "not read; is the acquisition still running?"
            )
        if self.header.version == 2:
            yield f"{self.path} is of DCIMG version 0x2000000, not verified on a real file; look at the frames"
        if self.header.stamp_row is not None and self.header.pixel_bytes == 1:
            yield (
                f"{self.path} has 8-bit pixels; that the camera's stamp covers 8 of them was not verified on a real "
                f"file; look at the first pixels of row {self.header.stamp_row}"
            )
        times = timing(self.places, self.stamps)
        if times is not None and times.odd:
            yield (
                f"{self.path}: time stamps, {times.period_us / 1e3:.4g} ms a frame, jump at frames {_runs(times.odd)}: "
                "a pause, or triggers that the camera missed"
            )

    def details(self) -> Iterator[str]:
        """Version, rate, duration and drops, for people."""
        times = timing(self.places, self.stamps)
        if times is None:
            timed = "time stamps that do not run on" if self.stamps.times_us.any() else "no time stamps"
        else:
            rate = f"{1e6 / times.period_us:.4g} Hz, " if times.period_us else ""
            timed = f"{rate}{times.duration_us / 1e6:.4g} s from first to last frame"
        if not self.places.is_numbered:
            stamped = "no frame stamps: dropped frames cannot be seen"
        else:
            stamped = f"{self.places.n_dropped or 'no'} dropped frames"
        yield f"DCIMG version {self.header.version}, {timed}, {stamped}"
        yield from self._doubts()


def _runs(frames: Sequence[int]) -> str:
    """Sorted frame numbers for people: ``3, 7 to 9``."""
    groups = [
        [frame for _, frame in group]
        for _, group in itertools.groupby(enumerate(frames), lambda pair: pair[1] - pair[0])
    ]
    texts = [f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in groups[:_MOST_NAMED]]
    return ", ".join(texts) + (f" and {len(groups) - _MOST_NAMED} more" if len(groups) > _MOST_NAMED else "")


class DcimgFormat(FrameFormat):
    """DCIMG: one file for each stage run."""

    name = "DCIMG"
    suffixes = (".dcimg",)
    files = Files.ONE

    def open(self, files: Sequence[Path], reading: Reading) -> Frames:
        """The frames in the file."""
        return DcimgFrames(files[0], reading.allow_missing)

    def recognises(self, file: Path) -> bool:
        """Whether the file begins with DCIMG's first bytes."""
        with reading_file(file, self.name), file.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC

    def cautions(self, file: Path) -> Iterable[str]:
        """Absent frames, odd times, and what was never tried on a file of a camera."""
        return DcimgFrames(file, allow_missing=True).cautions()

    def details(self, file: Path) -> Iterable[str]:
        """Version, rate, duration and drops."""
        return DcimgFrames(file, allow_missing=True).details()
