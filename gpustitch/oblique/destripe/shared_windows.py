"""Percentiles in windows that overlap, on a device: windows share cells, and each sample is sorted once.

The ends of all windows along an axis cut it into cells, so that each window consists of whole cells. A processor finds
percentiles faster window by window (:func:`~gpustitch.oblique.destripe.percentile.window_percentiles`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace, resident

# Samples in a sorted run: what a warp sorts in its registers.
RUN = 128


@dataclass(frozen=True)
class Cells:
    """Cells along an axis, and which of them windows consist of; int64.

    A row of ``spans`` (cells, 3) holds a phase of the step, and the first sample and the end of the samples that begin
    there. A row of ``ranges`` (windows, 2) holds the first cell of a window and the one behind its last.
    """

    spans: npt.NDArray[np.int64]
    ranges: npt.NDArray[np.int64]

    @property
    def longest(self) -> int:
        """Most samples of a cell."""
        return int((self.spans[:, 2] - self.spans[:, 1]).max())


def cells_of(starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], step: int) -> Cells:
    """The cells of windows ``starts <= pixel < stops`` along an axis, of which every ``step``-th pixel counts."""
    spans: list[tuple[int, int, int]] = []
    ranges = np.empty((len(starts), 2), np.int64)
    for phase in np.unique(starts % step).tolist():
        windows = np.flatnonzero(starts % step == phase)
        first = starts[windows] // step
        last = first - (starts - stops)[windows] // step
        ends = np.unique([first, last])
        ranges[windows] = len(spans) + np.searchsorted(ends, np.column_stack([first, last]))
        spans += [(phase, a, b) for a, b in itertools.pairwise(ends.tolist())]
    return Cells(np.array(spans, np.int64), ranges)


@kernel("shared_windows.cu", T="images: uint8 uint16 uint32 float32", tile=(1, 128, 128))
def sort_runs(images: Array, row_cells: Array, column_cells: Array, out: Array, step: int) -> None:
    """Put the samples of each cell behind each other, in runs of 128 that are sorted.

    Parameters
    ----------
    images
        Shape (frames, rows, columns), uint8, uint16, uint32 or float32.
    row_cells, column_cells
        ``spans`` of cells along both axes, shape (cells, 3), int64.
    out
        Shape and dtype of ``images``; written where there are cells. Each image holds its cells, one phase of the step
        after the other, in each of them row by row.
    step
        Distance between sampled rows, and columns.
    """
    rows, columns = images.shape[1:]
    for image, result in zip(images, out.reshape(len(out), -1), strict=True):
        for down, across in itertools.product(row_cells.tolist(), column_cells.tolist()):
            cell = image[_pixels(down, step), _pixels(across, step)].ravel()
            first = _place(down, across, rows, columns, step)
            for start in range(0, cell.size, RUN):
                result[first + start : first + min(start + RUN, cell.size)] = np.sort(cell[start : start + RUN])


@kernel("shared_windows.cu", T="runs: uint8 uint16 uint32 float32", tile=(1, 1, 8))
def percentiles_of_runs(
    runs: Array, row_cells: Array, column_cells: Array, row_ranges: Array, column_ranges: Array, out: Array,
    step: int, n_runs: int, fraction: float,
) -> None:  # fmt: skip
    """Percentiles of windows of images whose cells :func:`sort_runs` has put in order.

    Parameters
    ----------
    runs
        What :func:`sort_runs` wrote, shape (frames, rows, columns).
    row_cells, column_cells
        As in :func:`sort_runs`.
    row_ranges, column_ranges
        ``ranges`` of windows along both axes, shape (windows, 2), int64.
    out
        Shape (frames, windows down, windows across), float32; written.
    step
        Distance between sampled rows, and columns.
    n_runs
        Most runs of a cell.
    fraction
        Percentile as a fraction, 0 to 1: it lies at ``fraction * (n - 1)`` in the window's n sorted values, linear in
        between, in float64.
    """
    rows, columns = runs.shape[1:]
    downs, acrosses = row_cells.tolist(), column_cells.tolist()
    for image, result in zip(runs.reshape(len(runs), -1), out, strict=True):
        for i, j in np.ndindex(result.shape):
            values = []
            for down, across in itertools.product(downs[slice(*row_ranges[i])], acrosses[slice(*column_ranges[j])]):
                first = _place(down, across, rows, columns, step)
                n = (down[2] - down[1]) * (across[2] - across[1])
                values.append(image[first : first + n])
            window = np.sort(np.concatenate(values)).astype(np.float64)
            at = fraction * (window.size - 1)
            lower, share = window[int(at)], at - int(at)
            result[i, j] = lower + share * (window[int(at) + 1] - lower) if share > 0 else lower


def shared_percentiles(images: Array, down: Cells, across: Cells, out: Array, step: int, fraction: float) -> None:
    """Percentiles of windows as :func:`~gpustitch.oblique.destripe.percentile.window_percentiles` finds them.

    Parameters
    ----------
    images
        Images on a device, shape (frames, rows, columns), uint8, uint16, uint32 or float32 without NaN.
    down, across
        The windows along both axes, which must live as long as the work.
    out
        Shape (frames, windows down, windows across), float32; written.
    step
        Distance between sampled rows, and columns.
    fraction
        Percentile as a fraction, 0 to 1.
    """
    row_cells, column_cells, row_ranges, column_ranges = (
        resident(table, images) for table in (down.spans, across.spans, down.ranges, across.ranges)
    )
    runs = namespace(images).empty(images.shape, images.dtype)
    sort_runs(images, row_cells, column_cells, runs, step)
    n_runs = -(-down.longest * across.longest // RUN)
    percentiles_of_runs(runs, row_cells, column_cells, row_ranges, column_ranges, out, step, n_runs, fraction)


def _pixels(cell: list[int], step: int) -> slice:
    phase, first, stop = cell
    return slice(phase + first * step, phase + (stop - 1) * step + 1, step)


def _place(down: list[int], across: list[int], rows: int, columns: int, step: int) -> int:
    """Where the samples of a cell begin in an image."""
    (phase_down, top, bottom), (phase_across, left, _) = down, across
    height, width = len(range(phase_down, rows, step)), len(range(phase_across, columns, step))
    before_down, before_across = (
        sum(len(range(phase, length, step)) for phase in range(phases))
        for phases, length in ((phase_down, rows), (phase_across, columns))
    )
    return before_down * columns + height * before_across + top * width + (bottom - top) * left
