"""A correction on a few frames of a job: chosen by them where it is left open, and measured on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpustitch.array import Device
from gpustitch.array.transfer import hosted
from gpustitch.model import Frames
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.choice import N_FRAMES, TO_REMOVE, Choice, choose_notch
from gpustitch.oblique.destripe.measured.measures import DestripeMeasures, combined, measure
from gpustitch.running.progress import Progress

# Frames looked at: more than are taken, as empty ones say nothing.
LOOKED_AT = 3 * N_FRAMES
# Bytes for each pixel of a frame while filters are tried and measured, beside the frames: 55 were measured.
_JUDGING_BYTES = 64
# Rows that are changed by more, as a fraction of the light (standard deviation), are asked to be looked at.
_STRONG = 0.1
# The brightness of a frame is taken from every so many rows and columns.
_EVERY = 8


@dataclass(frozen=True)
class Judged:
    """A correction, how it was chosen (None if it was given), and what it did to the frames looked at.

    ``is_unseen`` says that frames should have chosen, and there was none.
    """

    correction: Correction
    choice: Choice | None
    measures: DestripeMeasures | None
    is_unseen: bool = False

    def lines(self) -> Iterator[str]:
        """What people should read."""
        if self.choice is not None:
            yield from self.choice.lines
        if self.measures is not None:
            yield from self.measures.lines()

    def cautions(self) -> Iterator[str]:
        """What people should be warned of."""
        if self.choice is not None:
            yield from self.choice.cautions
            if (spread := self.choice.gain_spread) >= _STRONG:
                yield (
                    f"rows are made brighter or darker by {100 * spread:.0f} % (standard deviation), more than most "
                    "stripes: look whether tissue along the rows, such as a border or a layer, was taken"
                )
        if self.is_unseen:
            yield "no frame could be looked at, so the filter was not chosen: it is that of `method` wavelet by default"
        if self.measures is not None:
            if self.choice is not None and self.choice.is_none_told and self.measures.has_lines:
                yield (
                    f"lines along the rows, of {self.measures.stripes_left_before or 0:.1f} % of the light, are left, "
                    f"as they may be tissue: look at the frames; {TO_REMOVE}"
                )
            yield from self.measures.cautions()

    def tell(self, progress: Progress) -> None:
        """Say all of it: lines as notes, cautions as warnings."""
        for line in self.lines():
            progress.note(line)
        for caution in self.cautions():
            progress.warn(caution)

    @property
    def record(self) -> dict[str, Any]:
        """What provenance keeps."""
        return {
            "method": self.correction.method,
            "choice": None if self.choice is None else self.choice.record,
            "measures": None if self.measures is None else self.measures.record,
        }


def judging_bytes(frames: Frames) -> int:
    """About the bytes held while a correction is judged on some of these frames."""
    return math.prod(frames.shape[1:]) * ((N_FRAMES + 1) * frames.dtype.itemsize + _JUDGING_BYTES)


def judged(frames: Sequence[HostArray], correction: Correction, device: Device, *, choose: bool) -> Judged:
    """Choose the filter from the frames if ``choose``, and measure what it does to them.

    ``frames`` are raw, on the host, upright, of one shape. Without frames, or without destriping, nothing is measured.
    """
    if choose and not frames:
        return Judged(replace(correction, wavelet=correction.wavelet.completed), None, None, is_unseen=True)
    choice = choose_notch(frames, correction) if choose else None
    chosen = correction if choice is None else choice.correction(correction)
    if not frames or not (chosen.destripes or choice is not None):
        return Judged(chosen, choice, None)
    alone = replace(chosen, flat=None, dtype="float32")
    apply = hosted(alone.apply, device)
    measures = [
        measure(frame, apply(frame), dark=chosen.dark, background_removed=chosen.method == "lightsheet")
        for frame in frames
    ]
    # Lines that are left on purpose are no stripes that should be fewer.
    is_destriped = chosen.destripes and not (choice is not None and choice.lines_along.ending)
    return Judged(chosen, choice, replace(combined(measures), is_destriped=is_destriped))


def brightest(frames: Iterable[HostArray], count: int = N_FRAMES) -> list[HostArray]:
    """The ``count`` brightest of some frames, in their order, all of the shape that most of the pixels are of."""
    pixels: Counter[tuple[int, ...]] = Counter()
    of_shape: dict[tuple[int, ...], list[tuple[float, HostArray]]] = {}
    for frame in frames:
        kept = of_shape.setdefault(frame.shape, [])
        pixels[frame.shape] += frame.size
        light = frame[::_EVERY, ::_EVERY].astype(np.float64)
        kept.append((float(np.square(light).mean()), frame))
        if len(kept) > count:
            kept.remove(min(kept, key=lambda pair: pair[0]))
    return [frame for shape, _ in pixels.most_common(1) for _, frame in of_shape[shape]]


def evenly(length: int, count: int = LOOKED_AT) -> list[int]:
    """Up to ``count`` of ``length`` places, evenly spaced; all if there are no more."""
    if length <= count:
        return list(range(length))
    places = np.linspace(0, length - 1, count + 2)[1:-1]
    return [int(place) for place in np.unique(places.round())]


def sampled_frames(sources: Sequence[Frames], usable: Callable[[HostArray], bool]) -> list[HostArray]:
    """The brightest of frames evenly spaced over all sources; absent frames are left out."""
    there = [(source, n) for source in sources for n in range(source.shape[0]) if n not in source.absent]
    return brightest(frame for frame in _read(there) if usable(frame))


def _read(there: Sequence[tuple[Frames, int]]) -> Iterator[HostArray]:
    for at in evenly(len(there)) if there else ():
        source, number = there[at]
        frame = source.read(number, number + 1)[0]
        # Where unreadable frames are skipped, reading tells.
        if number not in source.absent:
            yield frame
