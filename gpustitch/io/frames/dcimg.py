"""Hamamatsu DCIMG files, memory-mapped: frame ranges and windows of them, without reading the file whole.

Both versions of the format are read. The readers ``dcimg`` and spimstitch find fields in the same places.
In version 1 the header states the size of the footer after each frame: Camera Link cameras write 32 bytes, USB 16.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.frames.format import Files, FrameFormat, Reading
from gpustitch.io.images.files import reading as reading_file
from gpustitch.model import Frames

MAGIC = b"DCIMG\0\0\0"
VERSION_0 = 7
VERSION_1 = 0x01000000

_FILE_HEADER_BYTES = 0x48
_STAMP_PIXELS = 4  # the camera writes a stamp over this many pixels and keeps the true pixels elsewhere
_STAMP_ROW = 1023  # row of the stamp on the whole sensor (version 1)
_STAMP_FOOTER_BYTES = 32  # only footers of this size hold the true pixels
_STAMP_IN_FOOTER = 12
_FOOTER_LIMIT = 1 << 16  # a header that states a longer footer is damaged


@dataclass(frozen=True)
class DcimgHeader:
    """The headers of a DCIMG file; offsets are bytes from the start of the file.

    ``n_frames`` is the session's count, ``n_frames_in_file`` the file header's. ``stamp_row`` is the row whose first
    four pixels hold a camera stamp, or None. The true pixels of frame f lie at ``stamp_offset + f * stamp_stride``.
    """

    version: int
    n_frames: int
    n_frames_in_file: int
    n_rows: int
    n_columns: int
    pixel_bytes: int
    row_bytes: int
    image_bytes: int
    data_offset: int
    footer_bytes: int
    stamp_row: int | None
    stamp_offset: int
    stamp_stride: int

    @property
    def stride(self) -> int:
        """Bytes from one frame to the next."""
        return self.image_bytes + self.footer_bytes

    def whole_frames(self, file_bytes: int) -> int:
        """Number of whole frames in a file of this many bytes, whatever the headers count."""
        return max(0, file_bytes - self.data_offset) // self.stride


class DcimgFrames:
    """Frames of a DCIMG file (:class:`gpustitch.model.Frames`); may be read from several threads.

    Parameters
    ----------
    path
        The file; it is opened read-only.
    allow_missing
        Take the whole frames if the file ends early or the two frame counts differ.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If the file is not DCIMG, is truncated, or its headers contradict each other.
    """

    absent: frozenset[int] = frozenset()

    def __init__(self, path: str | Path, allow_missing: bool = False) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError as error:
            raise InputMissingError(f"there is no file {self.path}") from error
        except IsADirectoryError as error:
            raise InputMissingError(f"{self.path} is a directory, not a DCIMG file") from error
        except PermissionError as error:
            raise InputMissingError(f"{self.path} cannot be opened: no permission to read it") from error
        file_bytes = os.fstat(self._file.fileno()).st_size
        self.header = _read_header(self.path, self._file, file_bytes)
        n_frames = _checked_count(self.path, self.header, file_bytes, allow_missing)
        header = self.header
        self.shape = (n_frames, header.n_rows, header.n_columns)
        self.dtype: np.dtype[Any] = np.dtype(f"<u{header.pixel_bytes}")
        self._bytes = np.memmap(self._file, np.uint8, mode="r")
        self._pixels = self._view(header.data_offset, self.shape, (header.stride, header.row_bytes, header.pixel_bytes))
        self._true_pixels = None
        if header.stamp_row is not None:
            shape = (n_frames, min(_STAMP_PIXELS, header.n_columns))
            self._true_pixels = self._view(header.stamp_offset, shape, (header.stamp_stride, header.pixel_bytes))

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> npt.NDArray[Any]:
        """Frames ``start <= f < stop``, cut to ``rows`` and ``columns``, as a new array.

        Raises
        ------
        ParameterError
            If the range is not inside the file.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise ParameterError(
                f"{self.path} has frames 0 to {self.shape[0] - 1}; {start}..{stop - 1} are not all there"
            )
        row_numbers, column_numbers = range(self.shape[1])[rows], range(self.shape[2])[columns]
        if self._is_contiguous(row_numbers, column_numbers):
            out = self._read_rows(start, stop, row_numbers)
        else:
            out = self._pixels[start:stop, rows, columns].copy()
        self._restore_stamped(out, start, stop, row_numbers, column_numbers)
        return out

    def _is_contiguous(self, rows: range, columns: range) -> bool:
        packed = self.header.row_bytes == self.shape[2] * self.dtype.itemsize
        return packed and bool(rows) and rows.step == 1 and columns == range(self.shape[2]) and hasattr(os, "preadv")

    def _read_rows(self, start: int, stop: int, rows: range) -> npt.NDArray[Any]:
        """Whole rows read with one request per frame; a failing disk raises an error, unlike a map."""
        out = np.empty((stop - start, len(rows), self.shape[2]), self.dtype)
        first = self.header.data_offset + rows.start * self.header.row_bytes
        for index, frame in enumerate(out):
            view = memoryview(frame).cast("B")
            offset = first + (start + index) * self.header.stride
            while view:
                try:
                    count = os.preadv(self._file.fileno(), [view], offset)
                except OSError as error:
                    raise DamagedInputError(f"{self.path}: frame {start + index} cannot be read: {error}") from error
                if count == 0:
                    raise DamagedInputError(f"{self.path} became shorter while frame {start + index} was read")
                view, offset = view[count:], offset + count
        return out

    def _restore_stamped(self, out: npt.NDArray[Any], start: int, stop: int, rows: range, columns: range) -> None:
        """Put the true pixels where the camera wrote its stamp."""
        stamp_row = self.header.stamp_row
        if self._true_pixels is None or stamp_row is None or stamp_row not in rows:
            return
        row = rows.index(stamp_row)
        for i, column in enumerate(columns):
            if column < _STAMP_PIXELS:
                out[:, row, i] = self._true_pixels[start:stop, column]

    def _view(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> npt.NDArray[Any]:
        return np.ndarray(shape, self.dtype, self._bytes.data, offset, strides)


def _read_header(path: Path, file: Any, file_bytes: int) -> DcimgHeader:
    start = file.read(_FILE_HEADER_BYTES)
    if start[:8] != MAGIC or len(start) < _FILE_HEADER_BYTES:
        raise DamagedInputError(
            f"{path} is not a DCIMG file: it begins with {start[:8]!r}, not {MAGIC!r}"
            if start[:8] != MAGIC
            else f"{path} is truncated: it ends after {len(start)} bytes, inside the file header"
        )
    (version,) = struct.unpack_from("<I", start, 8)
    n_sessions, n_frames, session = struct.unpack_from("<3I", start, 0x20)
    if version not in (VERSION_0, VERSION_1):
        raise DamagedInputError(
            f"{path} is of DCIMG version 0x{version:x}; 0x{VERSION_0:x} and 0x{VERSION_1:x} can be read"
        )
    if n_sessions > 1:
        raise DamagedInputError(f"{path} holds {n_sessions} recording sessions; only files of one session can be read")
    file.seek(session)
    fields = file.read(720 if version == VERSION_1 else 80)
    if len(fields) < 80 or (version == VERSION_1 and len(fields) < 720):
        raise DamagedInputError(f"{path} is truncated: its {file_bytes} bytes end inside the session header")
    if version == VERSION_1:
        header = _session_1(fields, n_frames, session)
    else:
        header = _session_0(fields, n_frames, session, file, file_bytes)
    _check_header(path, header)
    return header


def _session_1(fields: bytes, n_frames_in_file: int, session: int) -> DcimgHeader:
    n_frames, pixel_bytes, _, n_columns, n_rows, row_bytes, image_bytes = struct.unpack_from("<7I", fields, 60)
    (offset,) = struct.unpack_from("<Q", fields, 96)
    (footer_bytes,) = struct.unpack_from("<I", fields, 124)
    _, _, y0, sensor_rows = struct.unpack_from("<4H", fields, 712)
    binning = max(1, sensor_rows // n_rows) if n_rows else 1
    stamp_row = (_STAMP_ROW - y0) // binning
    data_offset = session + offset
    return DcimgHeader(
        version=1,
        n_frames=n_frames,
        n_frames_in_file=n_frames_in_file,
        n_rows=n_rows,
        n_columns=n_columns,
        pixel_bytes=pixel_bytes,
        row_bytes=row_bytes,
        image_bytes=image_bytes,
        data_offset=data_offset,
        footer_bytes=footer_bytes,
        stamp_row=stamp_row if footer_bytes >= _STAMP_FOOTER_BYTES and 0 <= stamp_row < n_rows else None,
        stamp_offset=data_offset + image_bytes + _STAMP_IN_FOOTER,
        stamp_stride=image_bytes + footer_bytes,
    )


def _session_0(fields: bytes, n_frames_in_file: int, session: int, file: Any, file_bytes: int) -> DcimgHeader:
    n_frames, pixel_bytes, _, n_columns, row_bytes, n_rows, image_bytes = struct.unpack_from("<7I", fields, 32)
    (offset,) = struct.unpack_from("<I", fields, 68)
    (session_bytes,) = struct.unpack_from("<Q", fields, 72)
    row, stamp_offset = _stamp_0(file, session + session_bytes, n_frames, pixel_bytes, row_bytes, file_bytes)
    return DcimgHeader(
        version=0,
        n_frames=n_frames,
        n_frames_in_file=n_frames_in_file,
        n_rows=n_rows,
        n_columns=n_columns,
        pixel_bytes=pixel_bytes,
        row_bytes=row_bytes,
        image_bytes=image_bytes,
        data_offset=session + offset,
        footer_bytes=0,
        stamp_row=row if row is not None and row < n_rows else None,
        stamp_offset=stamp_offset,
        stamp_stride=_STAMP_PIXELS * pixel_bytes,
    )


def _stamp_0(
    file: Any, footer: int, n_frames: int, pixel_bytes: int, row_bytes: int, file_bytes: int
) -> tuple[int | None, int]:
    """Row of the stamp, and offset of the true pixels: the last part of the session footer, if the footer has it."""
    file.seek(footer)
    first = file.read(44)
    if len(first) < 44 or not row_bytes:
        return None, 0
    (second,) = struct.unpack_from("<Q", first, 8)
    (footer_bytes,) = struct.unpack_from("<I", first, 40)
    if footer + second + 112 > file_bytes:
        return None, 0
    file.seek(footer + second)
    more = file.read(112)
    (offset,) = struct.unpack_from("<Q", more, 88)
    (in_frame,) = struct.unpack_from("<I", more, 100)
    size = _STAMP_PIXELS * pixel_bytes * n_frames
    if footer_bytes != offset + size or footer + offset + size > file_bytes:
        return None, 0
    return in_frame // row_bytes, footer + offset


def _check_header(path: Path, header: DcimgHeader) -> None:
    for name, value in (("rows", header.n_rows), ("columns", header.n_columns)):
        if value == 0:
            raise DamagedInputError(
                f"{path}: its header says frames of {header.n_rows} rows x {header.n_columns} columns; no {name}"
            )
    if header.pixel_bytes not in (1, 2):
        raise DamagedInputError(f"{path}: {header.pixel_bytes} bytes per pixel; only 1 and 2 can be read")
    if header.row_bytes < header.n_columns * header.pixel_bytes:
        raise DamagedInputError(
            f"{path}: its header says {header.row_bytes} bytes per row, but {header.n_columns} pixels of "
            f"{header.pixel_bytes} bytes need {header.n_columns * header.pixel_bytes}"
        )
    if header.image_bytes != header.row_bytes * header.n_rows:
        raise DamagedInputError(
            f"{path}: its header says {header.image_bytes} bytes per frame, but {header.n_rows} rows of "
            f"{header.row_bytes} bytes make {header.row_bytes * header.n_rows}"
        )
    if header.footer_bytes > _FOOTER_LIMIT:
        raise DamagedInputError(
            f"{path}: its header says {header.footer_bytes} bytes of footer after each frame; "
            f"0 to {_FOOTER_LIMIT} were expected"
        )


def _checked_count(path: Path, header: DcimgHeader, file_bytes: int, allow_missing: bool) -> int:
    """Number of frames that can be read."""
    whole = header.whole_frames(file_bytes)
    if allow_missing:
        counts = [count for count in (header.n_frames, header.n_frames_in_file) if count]
        n_frames = min([whole, *counts])
        if n_frames == 0:
            raise DamagedInputError(f"{path} ({file_bytes} bytes) holds no whole frame")
        return n_frames
    if header.n_frames != header.n_frames_in_file:
        raise DamagedInputError(
            f"{path}: the file header counts {header.n_frames_in_file} frames, the session header {header.n_frames}; "
            f"the file is long enough for {whole}; `allow_missing` takes the least of these numbers"
        )
    if whole < header.n_frames:
        expected = header.data_offset + header.n_frames * header.stride
        raise DamagedInputError(
            f"{path} is truncated: {header.n_frames} frames need {expected} bytes, the file has {file_bytes}, "
            f"which is {whole} whole frames; copy it again, or `allow_missing` takes the whole frames"
        )
    if header.n_frames == 0:
        raise DamagedInputError(
            f"{path}: its header says 0 frames (was the recording cut short?); the file is long enough for {whole}; "
            "`allow_missing` takes these frames"
        )
    return header.n_frames


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

    def truncation(self, file: Path) -> str:
        """How many of the frames that the header promises are whole; empty for a whole file."""
        frames = DcimgFrames(file, allow_missing=True)
        promised = max(frames.header.n_frames, frames.header.n_frames_in_file)
        if frames.shape[0] == promised:
            return ""
        return f"{file} is truncated: {frames.shape[0]} whole frames are used, its header promises {promised}"
