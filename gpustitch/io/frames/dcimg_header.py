"""The headers of a DCIMG file: fields in the layouts that the ``dcimg`` package knows, and whether they can be true.

Both versions that package reads are read, and 0x2000000, which its authors describe. From version 1 on the header
states the size of the footer after each frame: Camera Link cameras write 32 bytes, USB 16.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import DamagedInputError

MAGIC = b"DCIMG\0\0\0"
VERSION_1 = 0x01000000
STAMP_BYTES = 8  # the camera writes a stamp over so many bytes of pixels and keeps the true ones elsewhere
STAMP_ROW = 1023  # row of the stamp on the whole sensor (version 1)
STAMP_IN_FOOTER = 12  # where the true pixels lie in the footer of a frame
_VERSIONS = {7: 0, VERSION_1: 1, 0x02000000: 2}
_CROP = 712  # from the session header to the part of the sensor
_FOOTER_SIZE = 124  # from the session header to the size of a frame's footer, which the package does not name
_FOOTER_LIMIT = 1 << 16  # a header that states a longer footer is damaged
_FOOTERS = (16, 32)  # what cameras are known to write
_LONG_FOOTER = 512  # footers from this on hold true pixels too
_STAMPS_0 = 272  # from the session footer to the frame stamps (version 0)
_MOST_FRAMES = 1 << 20  # a header that counts more frames than this, and more than the file can hold, is damaged

ReadAt = Callable[[int, int], bytes]  # the bytes of a file from an offset on; fewer than asked where it ends


@dataclass(frozen=True)
class DcimgHeader:
    """The headers of a DCIMG file; offsets are bytes from the start of the file.

    ``n_frames`` is the session's count, ``n_frames_in_file`` the file header's. ``stamp_row`` is the row whose first
    ``stamp_bytes`` hold a camera stamp, or None. Version 0 has no footers of frames: its frame stamps lie at
    ``stamps_offset``, then its time stamps, and its true pixels at ``true_pixels_offset``; 0 where there are none.
    ``data_end`` is where its frames end; ``is_cut_off`` says that what follows, which holds these, is not all there.
    ``sensor_shape`` is the part (rows, columns) of the sensor that was read, in pixels before binning; 0 if not stated.
    """

    version: int
    n_frames: int
    n_frames_in_file: int
    n_rows: int
    n_columns: int
    pixel_bytes: int
    row_bytes: int
    image_bytes: int
    session_offset: int
    data_offset: int
    footer_bytes: int
    stamp_row: int | None
    stamp_bytes: int = STAMP_BYTES
    stamps_offset: int = 0
    true_pixels_offset: int = 0
    data_end: int | None = None
    is_cut_off: bool = False
    sensor_shape: tuple[int, int] = (0, 0)

    @property
    def stride(self) -> int:
        """Bytes from one frame to the next."""
        return self.image_bytes + self.footer_bytes

    def whole_frames(self, file_bytes: int) -> int:
        """Number of whole frames in a file of this many bytes, whatever the headers count."""
        end = file_bytes if self.data_end is None else min(file_bytes, self.data_end)
        return max(0, end - self.data_offset) // self.stride


@functools.cache
def _layouts() -> Any:
    """The class that holds the layouts; the package is imported when a DCIMG file is read, which needs it."""
    with warnings.catch_warnings():  # Python 3.12 and newer tell every user of backslashes in its docstrings
        warnings.simplefilter("ignore")
        from dcimg import DCIMGFile
    return DCIMGFile


@functools.cache
def frame_stamp() -> np.dtype[Any]:
    """Layout of the stamp after a frame: its number, seconds, microseconds."""
    stamp: np.dtype[Any] = np.dtype(_layouts().NEW_FRAME_FOOTER_DTYPE[:3])
    return stamp


def read_header(path: Path, read_at: ReadAt, file_bytes: int) -> DcimgHeader:
    """The headers of a file.

    Raises
    ------
    DamagedInputError
        If the file is not DCIMG, is truncated inside its headers, or these contradict themselves.
    """
    start = read_at(0, _bytes_of(_layouts().FILE_HDR_DTYPE))
    if start[:8] != MAGIC:
        raise DamagedInputError(f"{path} is not a DCIMG file: it begins with {start[:8]!r}, not {MAGIC!r}")
    file = _fields(path, _layouts().FILE_HDR_DTYPE, start, "file header")
    version = _VERSIONS.get(file["format_version"])
    if version is None:
        raise DamagedInputError(
            f"{path} is of DCIMG version 0x{file['format_version']:x}; {', '.join(map(hex, _VERSIONS))} can be read"
        )
    if file["nsess"] > 1:
        raise DamagedInputError(
            f"{path} holds {file['nsess']} recording sessions; only files of one session can be read"
        )
    header = _session_1(path, read_at, file, version) if version else _session_0(path, read_at, file, file_bytes)
    _check_header(path, header)
    return header


def _session_1(path: Path, read_at: ReadAt, file: dict[str, int], version: int) -> DcimgHeader:
    """The session header of versions 1 and 2."""
    start = file["header_size"]
    data = read_at(start, _CROP + _bytes_of(_layouts().NEW_CROP_INFO))
    crop = _fields(path, _layouts().NEW_CROP_INFO, data[_CROP:], "session header")
    session = _fields(path, _layouts().NEW_SESSION_HEADER_DTYPE, data, "session header")
    footer_bytes = int.from_bytes(data[_FOOTER_SIZE : _FOOTER_SIZE + 4], "little")
    n_rows = session["ysize"]
    binning = max(1, crop["ysize"] // n_rows) if n_rows else 1
    row = (STAMP_ROW - crop["y0"]) // binning if version == 1 else 0
    # Footers of other sizes hold no true pixels, as far as is known.
    has_true_pixels = footer_bytes == 32 or footer_bytes >= _LONG_FOOTER
    return _header(
        version,
        file,
        session,
        footer_bytes=footer_bytes,
        stamp_row=row if has_true_pixels and 0 <= row < n_rows else None,
        sensor_shape=(crop["ysize"], crop["xsize"]),
    )


def _session_0(path: Path, read_at: ReadAt, file: dict[str, int], file_bytes: int) -> DcimgHeader:
    """The session header of version 0, whose stamps lie in a footer behind all frames."""
    start = file["header_size"]
    layout = _layouts().SESS_HDR_DTYPE
    session = _fields(path, layout, read_at(start, _bytes_of(layout)), "session header")
    footer, n_frames = start + session["session_data_size"], session["nfrms"]
    ends, places = _footer_0(path, read_at, footer, file_bytes)
    # A recording that was never closed has no count, and nothing behind its frames.
    data_end = footer if n_frames or footer > start + session["offset_to_data"] else None
    if not ends or not n_frames or footer + max(ends["footer_size"], _STAMPS_0 + 12 * n_frames) > file_bytes:
        return _header(0, file, session, footer_bytes=0, stamp_row=None, data_end=data_end, is_cut_off=True)
    # A footer that states another place than the package's contradicts it: then nothing is known of stamps.
    stamps = footer + _STAMPS_0 if places["offset_to_frame_counts"] in (0, _STAMPS_0) else 0
    pixels, rest = divmod(ends["footer_size"] - places["offset_to_4px"], max(1, n_frames))
    row = places["4px_offset_in_frame"] // max(1, session["bytes_per_row"])
    has_true_pixels = pixels in (4 * session["byte_depth"], STAMP_BYTES) and not rest and row < session["ysize"]
    return _header(
        0,
        file,
        session,
        footer_bytes=0,
        stamp_row=row if has_true_pixels else None,
        stamp_bytes=pixels if has_true_pixels else 0,
        stamps_offset=stamps,
        true_pixels_offset=footer + places["offset_to_4px"] if has_true_pixels else 0,
        data_end=data_end,
    )


def _footer_0(path: Path, read_at: ReadAt, footer: int, file_bytes: int) -> tuple[dict[str, int], dict[str, int]]:
    """Both parts of a session footer; nothing if the file ends inside them."""
    first, second = _layouts().SESSION_FOOTER_DTYPE, _layouts().SESSION_FOOTER2_DTYPE
    if footer + _bytes_of(first) > file_bytes:
        return {}, {}
    ends = _fields(path, first, read_at(footer, _bytes_of(first)), "session footer")
    at = footer + ends["offset_to_2nd_struct"]
    if at + _bytes_of(second) > file_bytes:
        return {}, {}
    return ends, _fields(path, second, read_at(at, _bytes_of(second)), "session footer")


def _header(version: int, file: dict[str, int], session: dict[str, int], **rest: Any) -> DcimgHeader:
    return DcimgHeader(
        version=version,
        n_frames=session["nfrms"],
        n_frames_in_file=file["nfrms"],
        n_rows=session["ysize"],
        n_columns=session["xsize"],
        pixel_bytes=session["byte_depth"],
        row_bytes=session["bytes_per_row"],
        image_bytes=session["bytes_per_img"],
        session_offset=file["header_size"],
        data_offset=file["header_size"] + session["offset_to_data"],
        **rest,
    )


def _bytes_of(layout: Any) -> int:
    return int(np.dtype(layout).itemsize)


def _fields(path: Path, layout: Any, data: bytes, part: str) -> dict[str, int]:
    """The numbers in a part of the file, by their names in a layout of the package."""
    if len(data) < _bytes_of(layout):
        raise DamagedInputError(f"{path} is truncated: it ends inside the {part}")
    record = np.frombuffer(data, layout, 1)[0]
    return {name: int(record[name]) for name, (kind, *_) in record.dtype.fields.items() if kind.kind == "u"}


def _check_header(path: Path, header: DcimgHeader) -> None:
    """Refuse sizes that no frame has, or that contradict each other."""
    least = _CROP + _bytes_of(_layouts().NEW_CROP_INFO) if header.version else _bytes_of(_layouts().SESS_HDR_DTYPE)
    if header.data_offset - header.session_offset < least:
        raise DamagedInputError(
            f"{path}: its header says that frames begin {header.data_offset - header.session_offset} bytes into the "
            f"session header, which has {least} at least"
        )
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


def doubts(header: DcimgHeader) -> Iterator[str]:
    """What in the headers of a file is unlike anything that cameras write, though frames can be read by it."""
    needed = header.n_columns * header.pixel_bytes
    if header.row_bytes >= 2 * needed:
        yield (
            f"its header says {header.row_bytes} bytes per row, but {header.n_columns} pixels of {header.pixel_bytes} "
            f"bytes need {needed}: the number of columns, or of bytes in a pixel, may be wrong"
        )
    rows, columns = header.sensor_shape
    is_stated = header.version == 1 and min(rows, columns) > 0
    if is_stated and (rows * header.n_columns != columns * header.n_rows or rows % header.n_rows):
        yield (
            f"its header says frames of {header.n_rows} rows x {header.n_columns} columns, of {rows} x {columns} "
            "pixels of the sensor: that is no binning, and one of them is wrong"
        )
    if header.version and header.footer_bytes not in _FOOTERS and header.footer_bytes < _LONG_FOOTER:
        yield (
            f"its header says {header.footer_bytes} bytes of footer after each frame, where cameras write "
            f"{' or '.join(map(str, _FOOTERS))}: if that is wrong, frames after the first are shifted"
        )
    if header.data_end is not None and (header.data_end - header.data_offset) % header.stride:
        yield (
            f"its header says that frames take {header.data_end - header.data_offset} bytes, which is no whole number "
            f"of frames of {header.stride}: where they begin may be wrong"
        )


def counted(path: Path, header: DcimgHeader, file_bytes: int, *, allow_missing: bool) -> tuple[int, int]:
    """Number of frames that the file holds, and number that its headers promise.

    Raises
    ------
    DamagedInputError
        If the two differ and ``allow_missing`` is not given; if there is no whole frame, or no count can be true.
    """
    whole = header.whole_frames(file_bytes)
    if not allow_missing:
        _check_count(path, header, file_bytes, whole)
        return header.n_frames, header.n_frames
    stated = {count for count in (header.n_frames, header.n_frames_in_file) if count}
    counts = [count for count in stated if count <= max(whole, _MOST_FRAMES)] or ([] if stated else [whole])
    if not counts:
        raise DamagedInputError(
            f"{path}: its header counts {max(stated)} frames; the file is long enough for {whole}; it is damaged"
        )
    held = min(whole, *counts)
    if held == 0:
        raise DamagedInputError(f"{path} ({file_bytes} bytes) holds no whole frame")
    return held, max(counts)


def _check_count(path: Path, header: DcimgHeader, file_bytes: int, whole: int) -> None:
    """Refuse a file whose headers count differently, or that ends before the frames that they count."""
    if header.n_frames != header.n_frames_in_file:
        raise DamagedInputError(
            f"{path}: the file header counts {header.n_frames_in_file} frames, the session header {header.n_frames}; "
            f"the file is long enough for {whole}; `allow_missing` takes the frames that both count, "
            "and leaves the others uncovered"
        )
    if whole < header.n_frames:
        expected = header.data_offset + header.n_frames * header.stride
        raise DamagedInputError(
            f"{path} is truncated: {header.n_frames} frames need {expected} bytes, the file has {file_bytes}, "
            f"which is {whole} whole frames, so that {header.n_frames - whole} are absent; copy it again, "
            "or `allow_missing` leaves these uncovered"
        )
    if header.n_frames == 0:
        raise DamagedInputError(
            f"{path}: its header says 0 frames (was the recording cut short, or is it still running?); "
            f"the file is long enough for {whole}; "
            "`allow_missing` takes these frames"
        )
    if header.is_cut_off:
        raise DamagedInputError(
            f"{path} is truncated: its end is not there, which holds frame stamps and the pixels under the camera's "
            "stamp; copy it again, or `allow_missing` goes on without them"
        )
