"""Per-pixel histograms over frames, and the percentile bin of every pixel.

A pixel's value v counts where ``background <= v < n_bins * values_per_bin``, in bin ``v // values_per_bin``.
Source of the rule: spimstitch's illumination correction.

The percentile bin needs no histogram. A comparison and a sum over frames give the number of a pixel's values up to a
limit. So bisecting the limit finds the bin in log2(n_bins) passes over data that stay in the cache. The CUDA body of
:func:`percentile_bin` selects by the digits of the bin's number, in shared memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpustitch.array import Array, kernel
from gpustitch.errors import ParameterError

# Elements of a block: 2 bytes of data and 1 of mask each stay within 1 MiB of cache.
_BLOCK_ELEMENTS = 1 << 18
_LEAST_BLOCK_PIXELS = 1024
_FRAMES = "frames: uint8 uint16 uint32"
# Most rows of a boolean mask whose sum a uint8 can hold.
_MASK_ROWS = 255


def check_bins(dtype: np.dtype[Any], n_bins: int, values_per_bin: int, background: int) -> None:
    """Refuse a histogram that frames of ``dtype`` cannot give.

    Raises
    ------
    ParameterError
        If a number is out of range, or the bins reach no value above the background. If ``dtype`` is not an unsigned
        integer of at most 32 bits.
    """
    if dtype.kind != "u" or dtype.itemsize > 4:
        raise ParameterError(
            f"a histogram needs frames of uint8, uint16 or uint32, not of {dtype}; make the flat from whole counts"
        )
    if n_bins < 1 or values_per_bin < 1:
        raise ParameterError(f"`n_bins` and `values_per_bin` must be at least 1, not {n_bins} and {values_per_bin}")
    if background < 0:
        raise ParameterError(f"`background` must be at least 0, not {background}")
    end = min(n_bins * values_per_bin, _end_of(dtype))
    if background >= end:
        raise ParameterError(
            f"no value counts: `background` is {background}, but {n_bins} bins of {values_per_bin} of {dtype} end at "
            f"{end}; lower `background` or raise `n_bins` or `values_per_bin`"
        )


@kernel("histogram.cu", T=_FRAMES, COUNT="out: uint16 int32 uint32", tile=(1, 16, 1024))
def histogram(frames: Array, out: Array, background: int, values_per_bin: int) -> None:
    """Add one to ``out[y, x, frames[f, y, x] // values_per_bin]`` for every frame f.

    Values below ``background`` and values beyond the last bin do not count.

    Parameters
    ----------
    frames
        Counts of the camera, shape (frames, rows, columns), unsigned integers.
    out
        Histograms, shape (rows, columns, bins), uint16, int32 or uint32; added to.
    background
        Least value that counts.
    values_per_bin
        Width of a bin.
    """
    n_bins = out.shape[2]
    for frame in frames:
        values = frame.astype(np.int64)
        y, x = np.nonzero((values >= background) & (values < n_bins * values_per_bin))
        out[y, x, values[y, x] // values_per_bin] += 1


@kernel("histogram.cu", T=_FRAMES, COUNT="out: int32", tile=(1, 32))
def count_between(frames: Array, out: Array, first: int, stop: int) -> None:
    """``out[y, x]`` = number of frames f with ``first <= frames[f, y, x] < stop``.

    Parameters
    ----------
    frames
        Shape (frames, rows, columns), unsigned integers.
    out
        Shape (rows, columns), int32; written.
    first, stop
        Half-open range of values.
    """
    if stop <= first:
        out[...] = 0
        return
    flat_out = out.reshape(-1)
    for run, values in _pixel_blocks(frames):
        flat_out[run] = _Block(values, first).count_through(np.full(values.shape[1], stop - 1))


@kernel("histogram.cu", T=_FRAMES, COUNT="out: int32", tile=(1, 16))
def percentile_bin(
    frames: Array, count: Array, out: Array, percentile: float, n_bins: int, values_per_bin: int, background: int
) -> None:
    """``out[y, x]`` = the bin at which the pixel's cumulative histogram comes nearest to a share of its total.

    Let c(b) be the number of the pixel's counted values in bins 0..b. The result is the first bin b at which
    ``|c(b) - percentile * c(n_bins - 1) / 100|`` is least. It is 0 for a pixel without counted values.
    `histogram` followed by `histogram_percentile` gives the same, but needs the histogram.

    Parameters
    ----------
    frames
        Shape (frames, rows, columns), unsigned integers.
    count
        Number of counted values of each pixel, shape (rows, columns), int32: `count_between` of ``background``
        and ``n_bins * values_per_bin``.
    out
        Shape (rows, columns), int32; written.
    percentile
        0 to 100.
    n_bins, values_per_bin
        Number and width of the bins.
    background
        Least value that counts.
    """
    flat_count, flat_out = count.reshape(-1), out.reshape(-1)
    bins = range(background // values_per_bin, min(n_bins, -(-_end_of(frames.dtype) // values_per_bin)))
    for run, values in _pixel_blocks(frames):
        flat_out[run] = _bisected_bins(_Block(values, background), flat_count[run], percentile, bins, values_per_bin)


@kernel("histogram.cu", T="counts: uint16 int32 uint32", COUNT="out: int32", tile=(1, 8))
def histogram_percentile(counts: Array, out: Array, percentile: float) -> None:
    """``out[y, x]`` = the first bin at which the cumulative histogram is nearest to ``percentile`` % of its total.

    Parameters
    ----------
    counts
        Histograms, shape (rows, columns, bins), uint16, int32 or uint32; none negative.
    out
        Shape (rows, columns), int32; written, 0 where a histogram is empty.
    percentile
        0 to 100.
    """
    cumulative = np.cumsum(counts, axis=-1, dtype=np.int64)
    target = percentile * cumulative[..., -1:] / 100
    out[...] = np.argmin(np.abs(cumulative - target), axis=-1)


class _Block:
    """Values of some pixels in all frames, relative to the background; values below it wrap to beyond any limit."""

    def __init__(self, values: Array, background: int) -> None:
        self._values = np.subtract(values, values.dtype.type(background), dtype=values.dtype)
        self._mask = np.empty(values.shape, np.bool_)
        self._background = background
        self._last = _end_of(values.dtype) - 1

    def count_through(self, limits: Array) -> Array:
        """Number of each pixel's values from the background to the pixel's limit, inclusive.

        No limit may be below the background.
        """
        relative = np.minimum(limits, self._last) - self._background
        np.less_equal(self._values, relative.astype(self._values.dtype), out=self._mask)
        ones = self._mask.view(np.uint8)
        total = np.zeros(self._values.shape[1], np.int32)
        for row in range(0, len(ones), _MASK_ROWS):
            total += np.add.reduce(ones[row : row + _MASK_ROWS], axis=0, dtype=np.uint8)
        return total

    def greatest_through(self, limits: Array) -> Array:
        """Each pixel's greatest value that `count_through` counts, or the background. The block is then used up."""
        relative = np.minimum(limits, self._last) - self._background
        # What a value lies below the limit; those above it wrap to more than any of these.
        below = np.subtract(relative.astype(self._values.dtype), self._values, out=self._values)
        least = np.minimum.reduce(below, axis=0, initial=self._last).astype(np.int64)
        greatest: Array = np.maximum(relative - least, 0) + self._background
        return greatest


def _bisected_bins(block: _Block, count: Array, percentile: float, bins: range, values_per_bin: int) -> Array:
    """Percentile bins of a block's pixels; ``bins`` can hold values, ``count`` is each pixel's number of them."""
    target = percentile * count / 100
    # Invariant: c(low) < target <= c(high). Below the first bin c is 0.
    low, high = np.full(len(count), bins.start - 1), np.full(len(count), bins.stop - 1)
    count_low, count_high = np.zeros(len(count), np.int32), count.copy()
    for _ in range((len(bins) - 1).bit_length()):
        middle = (low + high + 1) // 2
        reached = block.count_through((middle + 1) * values_per_bin - 1)
        enough = reached >= target
        np.copyto(high, middle, where=enough)
        np.copyto(count_high, reached, where=enough)
        np.logical_not(enough, out=enough)
        np.copyto(low, middle, where=enough)
        np.copyto(count_low, reached, where=enough)
    # c first reaches count_low in the bin of the greatest value up to bin low. If count_low is 0, that is bin 0.
    earlier = block.greatest_through((np.maximum(low, bins.start) + 1) * values_per_bin - 1) // values_per_bin
    nearest_low = np.where(count_low > 0, earlier, 0)
    return np.where(target - count_low <= count_high - target, nearest_low, high)


def _pixel_blocks(frames: Array) -> Iterator[tuple[slice, Array]]:
    """Runs of the pixels of (frames, rows, columns) that fit the cache: slice and values (frames, pixels)."""
    values = frames.reshape(len(frames), math.prod(frames.shape[1:]))
    length = max(_LEAST_BLOCK_PIXELS, _BLOCK_ELEMENTS // max(1, len(frames)))
    for start in range(0, values.shape[1], length):
        run = slice(start, start + length)
        yield run, values[:, run]


def _end_of(dtype: np.dtype[Any]) -> int:
    return 1 << (8 * dtype.itemsize)
