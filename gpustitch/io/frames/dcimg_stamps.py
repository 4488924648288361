"""Frame stamps and time stamps of a DCIMG file, and what they say: which frames the camera dropped, and when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.dcimg_header import STAMP_IN_FOOTER, DcimgHeader, ReadAt, frame_stamp

Integers = npt.NDArray[np.int64]

_READERS = 16  # requests at once: on a network or a disk each takes a while
_COUNTERS = (16, 31, 32)  # bits of the counters that frame stamps may come from: they begin again at their end
_MOST_DROPPED = 1 << 15  # a jump over more frames is damage
_ODD_PERIODS = 0.75  # frames whose time is off by this part of the usual time between frames are named
_ODD_SCATTERS = 10.0  # ... unless times scatter so much that this many times their scatter is more


@dataclass(frozen=True)
class Stamps:
    """What the camera wrote about each of n frames in a file.

    Parameters
    ----------
    numbers
        Frame stamps, int64 (n,); all alike where the camera writes none.
    times_us
        Time stamps in microseconds, int64 (n,).
    true_pixels
        The pixels under the camera's stamp, uint8 (n, bytes); no bytes where there are none.
    """

    numbers: Integers
    times_us: Integers
    true_pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Places:
    """Where the frames of a file belong.

    Parameters
    ----------
    of_held
        Place of each frame in the file, int64 (n,); -1 for a frame that was never written.
    n_places
        Number of places, from that of the first frame to that of the last one.
    n_dropped, n_blank
        Frames that the camera dropped, and that are in the file but were never written.
    is_numbered
        Whether frame stamps tell.
    """

    of_held: Integers
    n_places: int
    n_dropped: int
    n_blank: int
    is_numbered: bool


@dataclass(frozen=True)
class Timing:
    """When frames were taken: the usual time between two, from the first to the last, and the odd ones.

    ``odd`` are places of frames whose time since the frame before does not fit the number of frames between.
    """

    period_us: float
    duration_us: int
    odd: tuple[int, ...]


def read_stamps(path: Path, read_at: ReadAt, header: DcimgHeader, n_frames: int) -> Stamps:
    """The stamps of the first frames; DamagedInputError if the file became shorter meanwhile."""
    if header.version:
        return _in_footers(path, read_at, header, n_frames)
    numbers, times = np.zeros(n_frames, np.int64), np.zeros(n_frames, np.int64)
    if header.stamps_offset:
        counters = np.frombuffer(read_at(header.stamps_offset, 12 * header.n_frames), "<u4")
        numbers[:] = counters[:n_frames]
        seconds, fractions = counters[header.n_frames :].reshape(-1, 2)[:n_frames].T
        times[:] = _microseconds(seconds, fractions)
    size = header.stamp_bytes if header.stamp_row is not None else 0
    pixels = np.frombuffer(read_at(header.true_pixels_offset, n_frames * size), np.uint8)
    return Stamps(numbers, times, pixels.reshape(n_frames, size))


def _in_footers(path: Path, read_at: ReadAt, header: DcimgHeader, n_frames: int) -> Stamps:
    """Stamps in the footers of frames, read by a few threads."""
    size = min(header.footer_bytes, STAMP_IN_FOOTER + header.stamp_bytes)
    first = header.data_offset + header.image_bytes
    if size < frame_stamp().itemsize:
        size = 0

    def footers(part: range) -> bytes:
        return b"".join(read_at(first + frame * header.stride, size) for frame in part)

    n_readers = min(_READERS, 1 + n_frames // 64)
    parts = [range(start, n_frames, n_readers) for start in range(n_readers)] if size else []
    table = np.zeros((n_frames, max(size, frame_stamp().itemsize)), np.uint8)
    with ThreadPoolExecutor(n_readers) as threads:
        for part, data in zip(parts, threads.map(footers, parts), strict=True):
            if len(data) < len(part) * size:
                raise DamagedInputError(f"{path} became shorter while its frame stamps were read")
            table[part.start :: n_readers] = np.frombuffer(data, np.uint8).reshape(len(part), size)
    fields = np.ascontiguousarray(table[:, : frame_stamp().itemsize]).view(frame_stamp())[:, 0]
    times = _microseconds(fields["timestamp"], fields["timestamp_frac"])
    pixels = table[:, STAMP_IN_FOOTER:] if header.stamp_row is not None else table[:, :0]
    return Stamps(fields["progressive_number"].astype(np.int64), times, pixels)


def _microseconds(seconds: npt.NDArray[Any], fractions: npt.NDArray[Any]) -> Integers:
    return seconds.astype(np.int64) * 1_000_000 + fractions.astype(np.int64)


def placed(path: Path, stamps: Stamps) -> Places:
    """Where frames belong by their stamps: a jump leaves places for frames that were dropped.

    A frame without stamp and time among frames that have them was never written: a copy broke off, or has a hole.

    Raises
    ------
    DamagedInputError
        If frame stamps repeat, run back, or jump too far.
    """
    n_frames = len(stamps.numbers)
    written = np.flatnonzero(_written(stamps))
    steps = _steps(stamps.numbers[written])
    between = np.diff(written)
    is_numbered = bool(steps.any())
    if not is_numbered:
        steps = between
    wrong = np.flatnonzero((steps < between) | (steps - between > _MOST_DROPPED))
    if wrong.size:
        before, after = written[wrong[0]], written[wrong[0] + 1]
        raise DamagedInputError(
            f"{path}: frame {before} in the file has the frame stamp {stamps.numbers[before]}, frame {after} "
            f"{stamps.numbers[after]}; frames repeat or are out of order, or the file is damaged; copy it again"
        )
    of_held = np.full(n_frames, -1, np.int64)
    of_held[written] = written[0] + np.concatenate([[0], np.cumsum(steps)])
    n_places = int(of_held[written[-1]]) + n_frames - int(written[-1])
    return Places(of_held, n_places, n_places - n_frames, n_frames - len(written), is_numbered)


def _written(stamps: Stamps) -> npt.NDArray[np.bool_]:
    """Which frames were written; all, if none has a time."""
    blank = (stamps.numbers == 0) & (stamps.times_us == 0)
    if blank[:1].all() and not blank[1:2].all():
        blank[:1] = False  # counters and clocks may begin at 0
    return np.ones_like(blank) if blank.all() or not stamps.times_us.any() else ~blank


def _steps(numbers: Integers) -> Integers:
    """Differences of frame stamps, int64 (n-1,); a counter that began again goes on."""
    steps = np.diff(numbers)
    for bits in _COUNTERS:
        on = steps + (1 << bits)
        began_again = (steps < 0) & (on > 0) & (on <= _MOST_DROPPED) & (numbers.max(initial=0) < 1 << bits)
        steps = np.where(began_again, on, steps)
    return steps


def timing(places: Places, stamps: Stamps) -> Timing | None:
    """When frames were taken; None unless all that were written have times that run on."""
    written = places.of_held >= 0
    at, times = places.of_held[written], stamps.times_us[written]
    passed, steps = np.diff(times), np.diff(at)
    if len(times) < 2 or not (passed >= 0).all() or not passed.any():
        return None
    period = float(np.median(passed / steps))
    late = passed - steps * period
    odd = np.zeros(0, np.int64)
    if period:
        limit = max(_ODD_PERIODS * period, _ODD_SCATTERS * float(np.median(np.abs(late))))
        odd = at[1:][(np.abs(late) > limit) & (np.abs(_shifts(late)) > limit)]
    return Timing(period, int(times[-1] - times[0]), tuple(odd.tolist()))


def _shifts(late: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By how much times are late from a frame on; one that is late alone, as a busy computer writes it, is not."""
    error = np.pad(np.concatenate([[0.0], np.cumsum(late)]), 3, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(error, 3), axis=1)
    shifts: npt.NDArray[np.float64] = middle[4:-1] - middle[1:-4]
    return shifts
