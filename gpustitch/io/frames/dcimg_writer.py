"""Writes DCIMG version 1 files that the readers of the format accept: for phantoms and tests."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_file
from gpustitch.io.frames.dcimg_header import MAGIC, STAMP_BYTES, STAMP_IN_FOOTER, STAMP_ROW, VERSION_1

_SESSION = 112  # where the session header begins
_DATA = {32: 760, 16: 816}  # bytes from the session header to the first pixel, by size of the frame footer


def write_dcimg(
    path: str | Path,
    frames: Iterable[npt.NDArray[Any]],
    n_frames: int,
    shape: tuple[int, int],
    *,
    footer_bytes: int = 32,
    frame_s: float = 0.01,
    start_s: int = 1_583_288_320,
    dropped: Collection[int] = (),
    overwrite: bool = False,
) -> None:
    """Write ``n_frames`` frames, one after the other, as a DCIMG version 1 file.

    Parameters
    ----------
    path
        The file; it appears once it holds all frames.
    frames
        Arrays of ``shape``, all uint8 or all uint16.
    n_frames
        Number of frames.
    shape
        Rows and columns of a frame.
    footer_bytes
        32 (Camera Link cameras: the footer holds the first four pixels of row 1023) or 16 (USB cameras).
    frame_s, start_s
        Time between frames and Unix time of the first, for the time stamps.
    dropped
        Frames that the camera counts but does not record: frame stamps and time stamps jump over them.
    overwrite
        Replace the file if it exists.

    Raises
    ------
    ParameterError
        If a frame has another shape or type, or ``frames`` does not hold ``n_frames`` of them.
    OutputExistsError, OutputError
        If the file exists or cannot be written.
    """
    path = Path(path)
    n_rows, n_columns = shape
    if min(n_rows, n_columns, n_frames) < 1:
        raise ParameterError(f"{path}: a DCIMG file needs frames, not {n_frames} of {n_rows} x {n_columns}")
    if footer_bytes not in _DATA:
        raise ParameterError(f"{path}: the footer of a frame has 32 or 16 bytes, not {footer_bytes}")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None or first.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ParameterError(f"{path}: frames are uint8 or uint16, not {'none' if first is None else first.dtype}")
    numbers = (number for number in itertools.count() if number not in dropped)
    count = 0
    with atomic_file(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        file.write(_header(n_frames, n_rows, n_columns, first.dtype.itemsize, footer_bytes))
        for count, frame in enumerate(itertools.chain([first], iterator), start=1):
            if frame.shape != (n_rows, n_columns) or frame.dtype != first.dtype or count > n_frames:
                raise ParameterError(
                    f"{path}: frame {count - 1} is {frame.dtype} of {frame.shape}; "
                    f"{n_frames} of {first.dtype} and {(n_rows, n_columns)} were announced"
                )
            little_endian = frame.astype(frame.dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little_endian).data)
            number = next(numbers)
            time_us = start_s * 1_000_000 + round(number * frame_s * 1e6)
            file.write(_footer(little_endian, number, time_us, footer_bytes))
        if count != n_frames:
            raise ParameterError(f"{path}: {n_frames} frames were announced but there are {count}")


def _header(n_frames: int, n_rows: int, n_columns: int, pixel_bytes: int, footer_bytes: int) -> bytes:
    """The file header and session header of version 1, up to the first frame."""
    row_bytes = n_columns * pixel_bytes
    image_bytes = row_bytes * n_rows
    data = _DATA[footer_bytes]
    header = bytearray(_SESSION + data)
    file_bytes = len(header) + n_frames * (image_bytes + footer_bytes)
    struct.pack_into("<8sI", header, 0, MAGIC, VERSION_1)
    struct.pack_into("<IIIIQQQ", header, 0x20, 1, n_frames, _SESSION, 0, file_bytes, 0, file_bytes)
    session = (n_frames, pixel_bytes, 1, n_columns, n_rows, row_bytes, image_bytes)
    struct.pack_into("<Q", header, _SESSION, file_bytes - _SESSION)
    struct.pack_into("<7I", header, _SESSION + 60, *session)
    struct.pack_into("<Q", header, _SESSION + 96, data)
    struct.pack_into("<I", header, _SESSION + 124, footer_bytes)
    struct.pack_into("<4H", header, _SESSION + 712, 0, n_columns, 0, n_rows)
    return bytes(header)


def _footer(frame: npt.NDArray[Any], number: int, time_us: int, footer_bytes: int) -> bytes:
    footer = bytearray(footer_bytes)
    struct.pack_into("<III", footer, 0, number, *divmod(time_us, 1_000_000))
    if footer_bytes == 32 and frame.shape[0] > STAMP_ROW:
        pixels = frame[STAMP_ROW].tobytes()[:STAMP_BYTES]
        footer[STAMP_IN_FOOTER : STAMP_IN_FOOTER + len(pixels)] = pixels
    return bytes(footer)
