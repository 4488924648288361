"""Whether lines along the rows go on as stripes do, or end within the frame as vessels and fibres do.

A stripe goes on to an end of its row: to both, or to the one behind what casts a shadow, and all shadows fall to one
side. So what windows side by side have in common, they have in common with that end of their row too. What is beyond
this are lines that end within the frame. Both are told from the same rows, so that strong stripes hide no vessels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats

Grids = Sequence[tuple[Floats, Floats]]

# The end of a row is its last part of so many. Windows in the part beside it share tissue with it.
_PARTS, _BESIDE = 8, 2
# Stripes at the end may have so many times less energy than elsewhere, and still be the same lines.
_MOST_FAINTER = 4.0
# Rows that count as one sample: the lines of tissue are no wider.
_ROWS = 8
# Lines end surely beyond so many standard errors.
_SURE = 2.0
# Lines that end matter if they are as strong as this part of the light and hold 1/16 of the energy of all lines, or
# if they hold half of it and are not too faint to be seen.
_STRONG, _PART, _HALF, _FAINT = 0.025, 1 / 16, 1 / 2, 0.01


@dataclass(frozen=True)
class Ending:
    """Energy of lines along the rows that end within the frame, as a relative variance, and whether they matter."""

    energy: float = 0.0
    matters: bool = False


def ending_of(upright: Grids, turned: Grids, apart: int, apart_turned: int) -> Ending:
    """Compare windows side by side with the ends of their rows.

    Parameters
    ----------
    upright, turned
        Light without tissue, as a logarithm, and weights of the windows (rows, windows) of each frame; of the frames,
        and of the frames turned by 90 degrees, in which windows have only tissue in common.
    apart, apart_turned
        How many windows farther on the next one is that is compared, over one distance in both.

    Returns
    -------
    Ending
        None that matters where rows have too few windows to tell.
    """
    if upright[0][0].shape[1] // 4 <= apart:
        return Ending()
    tissue = _Mean.of([_side_by_side(values, weights, apart_turned) for values, weights in turned])
    to_last = [(values[:, ::-1], weights[:, ::-1]) for values, weights in upright]
    sides = [_beyond_first(grids, apart, tissue) for grids in (upright, to_last)]
    energy = min(energy for energy, _, _ in sides)
    surely = all(energy > _SURE * error for energy, error, _ in sides)
    lines = min(lines for _, _, lines in sides)
    enough = max(_FAINT**2, min(max(_STRONG**2, _PART * lines), _HALF * lines))
    return Ending(max(energy, 0.0), surely and energy > enough)


@dataclass(frozen=True)
class _Mean:
    """A weighted mean over rows of some frames, and the part of each row in its deviation from the truth."""

    value: float
    of_rows: Floats

    @classmethod
    def of(cls, frames: Sequence[tuple[Floats, Floats]]) -> _Mean:
        """From the sums and weights of each row; neighbouring frames show the same tissue, so they are one sample."""
        sums, weights = (np.sum(each, axis=0) for each in zip(*frames, strict=True))
        total = max(float(weights.sum()), 1e-12)
        value = float(sums.sum()) / total
        return cls(value, (sums - value * weights) / total)


def _beyond_first(upright: Grids, apart: int, tissue: _Mean) -> tuple[float, float, float]:
    """Energy of lines that do not go on to the first windows, its standard error, and that of all lines compared."""
    parts = np.linspace(0, upright[0][0].shape[1], _PARTS + 1).round().astype(np.intp)
    far = parts[_BESIDE]
    near = _Mean.of([_side_by_side(values[:, far:], weights[:, far:], apart) for values, weights in upright])
    first = _Mean.of([_with_first(values, weights, int(parts[1]), far) for values, weights in upright])
    stop = int(parts[1])
    at_end = _Mean.of(
        [_side_by_side(values[:, :stop], weights[:, :stop], max(1, stop // 2)) for values, weights in upright]
    )
    # Stripes may be fainter at the end than elsewhere: by how much, their energy there tells.
    fainter = float(np.clip(first.value / max(at_end.value - tissue.value, 1e-12), 1, _MOST_FAINTER))
    error = np.hypot(_error(near.of_rows - fainter * first.of_rows), _error(tissue.of_rows))
    lines = near.value - tissue.value
    return lines - fainter * first.value, float(error), lines


def _side_by_side(values: Floats, weights: Floats, apart: int) -> tuple[Floats, Floats]:
    """For each row, the sum of products of windows ``apart``, and of their weights."""
    both = weights[:, apart:] * weights[:, :-apart]
    return (values[:, apart:] * values[:, :-apart] * both).sum(axis=1), both.sum(axis=1)


def _with_first(values: Floats, weights: Floats, stop: int, far: int) -> tuple[Floats, Floats]:
    """For each row, the sum of products of windows from ``far`` on with the mean of those before ``stop``."""
    there = weights[:, :stop].sum(axis=1)
    mean = (values[:, :stop] * weights[:, :stop]).sum(axis=1) / np.maximum(there, 1e-12)
    return mean * there * (values * weights)[:, far:].sum(axis=1), there * weights[:, far:].sum(axis=1)


def _error(of_rows: Floats) -> float:
    """Standard error from the deviations of rows, of which some neighbours are one sample."""
    starts = np.arange(0, len(of_rows), _ROWS)
    return float(np.sqrt(np.square(np.add.reduceat(of_rows, starts)).sum()))
