"""Whether lines along the rows go on as stripes do, or end within the frame as vessels and fibres do.

A stripe goes on to an end of its row: to both, or to the one behind what casts a shadow, and all shadows fall to one
side. So what windows side by side have in common, they have in common with that end of their row too. What is beyond
this are lines that end within the frame. Both are told from the same rows, so that strong stripes hide no vessels.
Stripes of a sheet out of its focus fade, but all by one profile along the rows, which their energy in its parts tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats

Grids = Sequence[tuple[Floats, Floats]]

# The end of a row is its last part of so many. Windows in the part beside it share tissue with it.
_PARTS, _BESIDE = 8, 2
# Stripes at the end may have so many times less energy than elsewhere, and still be the same lines.
_MOST_FAINTER = 4.0
# Where the end has less than this part of the energy, stripes fade towards it, the same lines so many times at most.
_FADED, _MOST_FADED = 1 / 2, 8.0
# Rows that count as one sample: the lines of tissue are no wider.
_ROWS = 8
# Lines end surely beyond so many standard errors.
_SURE = 2.0
# Lines that end matter if they are as strong as this part of the light and hold 1/16 of the energy of all lines, or
# if they hold half of it and are not too faint to be seen.
_STRONG, _PART, _HALF, _FAINT = 0.025, 1 / 16, 1 / 2, 0.01
# Strong lines that hold this part of the energy of all lines end though few rows leave it unsure: of stripes that go
# on, hardly any of their energy is missing at both ends.
_MUCH = 2 / 5


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
    tissue = _alike(turned, apart_turned)
    half = min(apart, _half_part(upright[0][0].shape[1]))
    tissue_in_part = _alike(turned, max(1, round(half * apart_turned / apart))).value
    to_last = [(values[:, ::-1], weights[:, ::-1]) for values, weights in upright]
    sides = [_beyond_first(grids, apart, tissue, tissue_in_part) for grids in (upright, to_last)]
    energy = min(energy for energy, _, _ in sides)
    surely = all(energy > _SURE * error for energy, error, _ in sides)
    lines = min(lines for _, _, lines in sides)
    enough = max(_FAINT**2, min(max(_STRONG**2, _PART * lines), _HALF * lines))
    much = energy > max(_STRONG**2, _MUCH * lines)
    return Ending(max(energy, 0.0), much or (surely and energy > enough))


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


def _alike(grids: Grids, apart: int, part: slice = slice(None)) -> _Mean:
    """Energy of what windows ``apart`` in one part of the rows have in common."""
    return _Mean.of([_side_by_side(values[:, part], weights[:, part], apart) for values, weights in grids])


def _half_part(windows: int) -> int:
    """Windows in half of a part of the rows."""
    return max(1, round(windows / _PARTS) // 2)


def _beyond_first(grids: Grids, apart: int, tissue: _Mean, tissue_in_part: float) -> tuple[float, float, float]:
    """Energy of lines that do not go on to the first windows, its standard error, and that of all lines compared."""
    windows = grids[0][0].shape[1]
    stops = np.linspace(0, windows, _PARTS + 1).round().astype(np.intp).tolist()
    far = stops[_BESIDE]
    near = _alike(grids, apart, slice(far, None))
    first = _Mean.of([_with_first(values, weights, stops[1], far) for values, weights in grids])
    half = _half_part(windows)
    # Stripes may be fainter at the end than elsewhere: by how much, their energy there tells.
    at_end = _alike(grids, half, slice(stops[1])).value - tissue.value
    fainter = float(np.clip(first.value / max(at_end, 1e-12), 1, _MOST_FAINTER))
    parts = [slice(*part) for part in itertools.pairwise(stops)]
    profile = np.array([_alike(grids, min(apart, half), part).value for part in parts]) - tissue_in_part
    lines = near.value - tissue.value
    fainter = max(fainter, _faded(np.maximum(profile, 0), lines))
    error = np.hypot(_error(near.of_rows - fainter * first.of_rows), _error(tissue.of_rows))
    return lines - fainter * first.value, float(error), lines


def _faded(profile: Floats, lines: float) -> float:
    """How many times less stripes that all fade alike share with the first part than with themselves; 1 if none fade.

    ``profile`` is the energy in each part of the rows, ``lines`` that of all lines beyond the first parts.
    """
    if profile[0] >= _FADED * lines:
        return 1.0
    shared = float(np.sqrt(profile[0]) * np.sqrt(profile[_BESIDE:]).mean())
    return float(np.clip(lines / max(shared, 1e-12), 1, _MOST_FADED))


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
