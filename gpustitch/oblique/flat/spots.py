"""Bright spots such as cells, which tell light from tissue: they follow the light, wherever the tissue is dim.

A flat made of tissue that is always dimmer at one side has taken that for light. Spots are then brighter at that side
once the flat is divided out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Bools, Floats, HostArray
from gpustitch.ops.robust import MEDIAN_ERROR, median_and_scatter

# Side of the blocks in which the brightest pixel is looked at, and how many of a frame, about.
_BLOCK_PX, _BLOCKS = 16, 512
# A spot's neighbours reach this part of its height: a hot pixel's do not.
_NEIGHBOURS = 0.4
# A spot stands out from the noise of nearly all blocks by so many standard deviations, wherever it lies.
_OUT, _NEARLY_ALL = 5.0, 0.9
# What is told: differences of at least this, by so many standard errors, of at least so many spots in each half.
_LEAST_TREND, _SURE, _LEAST_SPOTS = 0.08, 4.0, 15


@dataclass(frozen=True)
class Spots:
    """The brightest pixel of each block: place, height of its neighbours above the block's median, the block's noise.

    ``is_spot`` says whether its neighbours are bright too. All have shape (blocks,); heights are in counts.
    """

    row: HostArray
    column: HostArray
    height: Floats
    noise: Floats
    is_spot: Bools

    @classmethod
    def of(cls, frame: HostArray) -> Spots:
        """Those of a frame (rows, columns); of large frames some. A spot that is cut off by the camera is none."""
        side, (rows, columns) = _BLOCK_PX, (n // _BLOCK_PX for n in frame.shape)
        step = max(1, rows * columns // _BLOCKS)
        blocks = frame[: rows * side, : columns * side].reshape(rows, side, columns, side)[::step]
        top = np.repeat(np.arange(rows)[::step], columns) * side
        left = np.tile(np.arange(columns), len(blocks)) * side
        blocks = blocks.swapaxes(1, 2).reshape(-1, side * side).astype(np.float64)
        middle, noise = median_and_scatter(blocks.T)
        y, x = np.divmod(blocks.argmax(axis=1), side)
        inside = (np.minimum(y, x) > 0) & (np.maximum(y, x) < side - 1)
        inside &= np.count_nonzero(blocks == blocks.max(axis=1, keepdims=True), axis=1) == 1
        y, x = np.clip(y, 1, side - 2), np.clip(x, 1, side - 2)
        around = np.stack([(y - 1) * side + x, (y + 1) * side + x, y * side + x - 1, y * side + x + 1], axis=1)
        height = np.take_along_axis(blocks, around, axis=1).mean(axis=1) - middle
        is_spot = inside & (height > _NEIGHBOURS * (blocks.max(axis=1) - middle))
        return cls(top + y, left + x, height, noise, is_spot)

    @classmethod
    def joined(cls, parts: Iterable[Spots]) -> Spots:
        """Those of several frames."""
        parts = list(parts) or [cls.of(np.zeros((0, 0)))]
        names = ("row", "column", "height", "noise", "is_spot")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def trends(self, flat: HostArray) -> Mapping[str, float]:
        """By how much spots are surely brighter in the second half of the ``rows`` or ``columns`` than in the first.

        ``flat`` (rows, columns) is divided out, in the orientation of the frames. The fraction is negative where they
        are dimmer; a direction is left out where nothing is sure.
        """
        gain = flat[self.row, self.column]
        height, noise = self.height / gain, self.noise / gain
        out = _OUT * float(np.quantile(noise, _NEARLY_ALL)) if len(noise) else 0.0
        is_out = self.is_spot & (height > out)
        logs = np.log(height[is_out])
        found = {}
        for name, place, length in (("rows", self.row, flat.shape[0]), ("columns", self.column, flat.shape[1])):
            second = place[is_out] >= length / 2
            halves = [logs[~second], logs[second]]
            if min(map(len, halves)) < _LEAST_SPOTS:
                continue
            (first, of_first), (then, of_then) = map(median_and_scatter, halves)
            error = MEDIAN_ERROR * np.hypot(of_first / len(halves[0]) ** 0.5, of_then / len(halves[1]) ** 0.5)
            if abs(then - first) > max(_LEAST_TREND, _SURE * error):
                found[name] = float(np.exp(then - first) - 1)
        return found
