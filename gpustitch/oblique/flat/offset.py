"""The camera's offset, noticed in the darkest parts of its frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats, HostArray

# Side of the blocks whose means are compared, and how many of a frame's blocks are looked at, at least.
_BLOCK_PX = 8
_BLOCKS = 1 << 12
# The darkest part of all blocks, and how few blocks tell nothing.
_DARKEST, _LEAST_BLOCKS = 0.005, 20
# Half the width of the heap of empty blocks, in standard errors of a block's mean; at least half a count.
_HEAP_ERRORS, _LEAST_HEAP = 4.0, 0.5
# How much fuller the heap is than its width beside it.
_HEAPED = 3.0


@dataclass(frozen=True)
class Offset:
    """What the camera shows without light: ``value`` and the standard deviation ``sigma`` of a pixel, in counts."""

    value: float
    sigma: float


def noticed_offset(frames: Iterable[HostArray]) -> Offset | None:
    """The offset of the camera, if some pixels saw no light.

    Blocks of empty pixels have one mean, as far as noise lets them: they heap up at the least brightness. Where light
    falls everywhere, brightness has no such heap at its lower end. Blocks that hold nothing but 0 are padding.

    Parameters
    ----------
    frames
        Raw frames (rows, columns), of counts.

    Returns
    -------
    The offset, or None where the frames do not show it.
    """
    found = [_blocks(frame) for frame in frames]
    mean, sigma = (np.concatenate([one[k] for one in found] or [np.empty(0)]) for k in range(2))
    seen = (mean > 0) | (sigma > 0)
    mean, sigma = mean[seen], sigma[seen]
    if len(mean) < _LEAST_BLOCKS:
        return None
    least = float(np.partition(mean, n := max(_LEAST_BLOCKS // 2, int(_DARKEST * len(mean))))[n])
    half = _half_width(sigma[mean <= least])
    centre = float(np.median(mean[(mean >= least - half) & (mean <= least + 2 * half)]))
    heap = np.abs(mean - centre) <= half
    half = max(half, _half_width(sigma[heap]))
    heap = np.abs(mean - centre) <= half
    beside = (mean > centre + half) & (mean <= centre + 3 * half)
    if np.count_nonzero(heap) < max(_LEAST_BLOCKS, _HEAPED * np.count_nonzero(beside)):
        return None
    return Offset(float(np.median(mean[heap])), float(np.median(sigma[heap])))


def _half_width(sigma: Floats) -> float:
    return max(_LEAST_HEAP, _HEAP_ERRORS * float(np.median(sigma)) / _BLOCK_PX)


def _blocks(frame: HostArray) -> tuple[Floats, Floats]:
    """Mean and standard deviation of blocks of a frame; of large frames some rows of blocks."""
    rows, columns = (n // _BLOCK_PX for n in frame.shape)
    step = max(1, rows * columns // _BLOCKS)
    blocks = frame[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)[::step]
    values = blocks.astype(np.float64)
    return values.mean(axis=(1, 3)).ravel(), values.std(axis=(1, 3)).ravel()
