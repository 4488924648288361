"""DCIMG files of any version as cameras write them: with stamps over pixels, drops, and counters that begin again."""

from __future__ import annotations

import struct

import dcimg as dcimg_package
import numpy as np

STAMP = 0xAB
VERSIONS = {0: 7, 1: 0x01000000, 2: 0x02000000}


def camera_file(frames, numbers=None, times_us=None, *, version=1, footer=32, y0=0, binning=1, stamp_row=None):
    """Bytes of a file; ``stamp_row`` is that of version 0, the others compute it."""
    n_frames = len(frames)
    numbers = range(n_frames) if numbers is None else numbers
    times_us = [10**12 + 10_000 * number for number in range(n_frames)] if times_us is None else times_us
    make = _version_0 if version == 0 else _version_1
    return make(frames, list(numbers), list(times_us), version, footer, y0, binning, stamp_row)


def row_of_stamp(version, footer, y0, binning, n_rows):
    """The row that the camera writes its stamp over, or None."""
    row = 0 if version == 2 else (1023 - y0) // binning
    return row if footer in (32, 512) and 0 <= row < n_rows else None


def _stamped(frame, row):
    """Bytes of a frame with a stamp, and the true pixels under it."""
    data = frame.tobytes()
    if row is None:
        return data, b""
    start = row * frame.shape[1] * frame.itemsize
    end = start + min(8, frame.shape[1] * frame.itemsize)
    return data[:start] + bytes([STAMP]) * (end - start) + data[end:], data[start:end]


def _version_1(frames, numbers, times_us, version, footer, y0, binning, _):
    n_frames, n_rows, n_columns = frames.shape
    session, data, size = 112, 760, frames.itemsize
    header = bytearray(session + data)
    row = row_of_stamp(version, footer, y0, binning, n_rows)
    body = b""
    for frame, number, time in zip(frames, numbers, times_us, strict=True):
        pixels, true = _stamped(frame, row)
        end = struct.pack("<III", number % 2**32, *divmod(time, 10**6)) + true.ljust(8, b"\0")
        body += pixels + end.ljust(footer, b"\0")[:footer]
    total = len(header) + len(body)
    struct.pack_into("<8sI", header, 0, b"DCIMG", VERSIONS[version])
    struct.pack_into("<IIIIQQQ", header, 0x20, 1, n_frames, session, 0, total, 0, total)
    struct.pack_into("<Q", header, session, total - session)
    fields = (n_frames, size, 1, n_columns, n_rows, n_columns * size, n_rows * n_columns * size)
    struct.pack_into("<7I", header, session + 60, *fields)
    struct.pack_into("<Q", header, session + 96, data)
    struct.pack_into("<I", header, session + 124, footer)
    struct.pack_into("<4H", header, session + 712, 0, n_columns * binning, y0, n_rows * binning)
    return bytes(header) + body


def _version_0(frames, numbers, times_us, _version, _footer, _y0, _binning, stamp_row):
    n_frames, n_rows, n_columns = frames.shape
    image, size = frames[0].nbytes, frames.itemsize
    stored = [_stamped(frame, stamp_row) for frame in frames]
    true = b"".join(pixels.ljust(8, b"\0") for _, pixels in stored) if stamp_row is not None else b""
    header, data = bytearray(232), 100
    session = bytearray(data)
    struct.pack_into("<7I", session, 32, n_frames, size, 1, n_columns, n_columns * size, n_rows, image)
    struct.pack_into("<I", session, 68, data)
    struct.pack_into("<Q", session, 72, data + n_frames * image)
    struct.pack_into("<8sI", header, 0, b"DCIMG", VERSIONS[0])
    struct.pack_into("<III", header, 0x20, 1, n_frames, len(header))
    footer = bytearray(272 + 12 * n_frames)
    struct.pack_into("<Q", footer, 8, 160)
    struct.pack_into("<I", footer, 40, len(footer) + len(true))
    struct.pack_into("<Q", footer, 160 + 48, 272)  # where the frame stamps are
    struct.pack_into("<Q", footer, 160 + 88, len(footer))
    struct.pack_into("<I", footer, 160 + 100, (stamp_row or 0) * n_columns * size)
    footer[272 : 272 + 4 * n_frames] = np.array([n % 2**32 for n in numbers], "<u4").tobytes()
    footer[272 + 4 * n_frames :] = np.array([divmod(t, 10**6) for t in times_us], "<u4").tobytes()
    return bytes(header) + bytes(session) + b"".join(pixels for pixels, _ in stored) + bytes(footer) + true


class _Int(int):
    """``int()`` as the dcimg package expects it: of arrays of one element too, which NumPy 2.4 refuses."""

    def __new__(cls, value=0):
        return int.__new__(int, np.asarray(value).item())


def opened_by_the_package(monkeypatch, path):
    """A file opened by the dcimg package, with any NumPy."""
    monkeypatch.setattr(dcimg_package, "int", _Int, raising=False)
    other = dcimg_package.DCIMGFile(path)
    other._target_line = np.asarray(other._target_line).item()
    return other
