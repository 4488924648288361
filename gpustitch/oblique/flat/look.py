"""A first look at a few frames: how bright they are, and which bins their values need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from gpustitch.model.arrays import HostArray
from gpustitch.oblique.flat.fit import FlatOptions
from gpustitch.oblique.flat.offset import Offset, noticed_offset
from gpustitch.oblique.flat.spots import Spots

# Values of a frame that are looked at, at least.
_VALUES = 1 << 14
# The brightness of tissue is this percentile of the values above the floor.
_BRIGHT = 90
_LEAST = 0.1
# Tissue begins this share of its brightness above the floor, and this many standard deviations of the camera's noise.
_TISSUE_SHARE, _TISSUE_SIGMAS = 0.04, 6.0
# The bins end at this many times the brightness of tissue, so that bright cells hardly widen the bins.
_BINS_END = 4.0
# Part of the values that is lit at least, where others show the offset.
_LIT = 1e-3
# A greatest value that more than this part of all values share is where the camera ends.
_SATURATED = 2e-5


@dataclass(frozen=True)
class Look:
    """What a few frames show.

    Attributes
    ----------
    offset
        The camera's offset; None where no pixel shows it.
    floor
        Count that stands for no light: the offset if it is known, else the given ``dark``.
    least
        Count that hardly any value is below.
    bright
        Brightness of tissue above the floor, counts; 0 if there is none.
    saturation
        The value at which the camera ends; None if no frame reaches it.
    spots
        Bright spots.
    values
        Some of the counts, (values,).
    """

    offset: Offset | None
    floor: float
    least: float
    bright: float
    saturation: int | None
    spots: Spots = field(repr=False)
    values: HostArray = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def background(self) -> int:
        """Least count that is tissue."""
        noise = _TISSUE_SIGMAS * self.offset.sigma if self.offset else 0.0
        return int(np.ceil(self.floor + max(1.0, noise, _TISSUE_SHARE * self.bright)))

    def near(self, background: float) -> float:
        """Part of the values from the background up that half of the light would take below it."""
        counted = self.values >= background
        near = counted & (self.values - self.floor < 2 * (background - self.floor))
        return float(near.sum()) / max(1.0, float(counted.sum()))

    def bins(self, n_bins: int, values_per_bin: int | None) -> tuple[int, int]:
        """Number and width of the bins, at most ``n_bins``; of ``values_per_bin`` counts if that is given.

        The camera's greatest value lies in the last bin, or beyond.
        """
        end = int(np.ceil(self.floor + _BINS_END * self.bright)) + 1
        if self.saturation is not None:
            end = min(end, self.saturation + 1)
        width = values_per_bin or (max(1, -(-end // n_bins)) if self.bright else FlatOptions.values_per_bin)
        if self.saturation is not None:
            n_bins = min(n_bins, self.saturation // width + 1)
        return n_bins, width


def first_look(frames: Iterable[HostArray], dark: float) -> Look:
    """Look at a few raw frames (rows, columns) of whole counts; ``dark`` is the offset as far as it is known."""
    some: list[HostArray] = [np.empty(0)]
    spots: list[Spots] = []

    def passing() -> Iterator[HostArray]:
        for frame in frames:  # one at a time is in memory
            some.append(_some(frame))
            spots.append(Spots.of(frame))
            yield frame

    offset = noticed_offset(passing())
    values = np.concatenate(some)
    lit = values[values > (offset.value + _TISSUE_SIGMAS * offset.sigma if offset else dark)]
    if offset and offset.value > dark + _TISSUE_SIGMAS * offset.sigma and len(lit) < _LIT * len(values):
        offset, lit = None, values  # all alike and brighter than dark: even light on an even sample
    floor = offset.value if offset else dark
    bright = float(np.percentile(lit, _BRIGHT)) - floor if len(lit) else 0.0
    least = float(np.percentile(values, _LEAST)) if len(values) else 0.0
    top = int(values.max(initial=0))
    at_top = np.count_nonzero(values == top)
    is_end = bright > 0 and at_top > max(2, _SATURATED * len(values))
    return Look(offset, floor, least, bright, top if is_end else None, Spots.joined(spots), values)


def _some(frame: HostArray) -> HostArray:
    step = max(1, int((frame.size / _VALUES) ** 0.5))
    return frame[::step, ::step].flatten()
