"""Stripes that lean: lines that go on along the frame, though not in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from gpustitch.model.arrays import Floats

# Lines that lean farther are told from the frames' directions.
_MOST_DEG, _STEP_DEG = 5.0, 0.025
# Windows that lie so many parts of a row apart are compared.
_FROM, _TO = 3 / 8, 5 / 8


@dataclass(frozen=True)
class Lean:
    """How far lines lean, positive where they run down to the right, and their covariance about half a row on.

    ``along_rows`` is the covariance that they have on the rows themselves.
    """

    degrees: float
    covariance: float
    along_rows: float


def lean_of(grids: Sequence[tuple[Floats, Floats]], step_px: float) -> Lean:
    """The lean at which windows about half a row apart are most alike.

    Parameters
    ----------
    grids
        Light without tissue, as a logarithm, and weights of the windows of each frame (rows, windows), at least two
        windows.
    step_px
        Columns from one window to the next.
    """
    rows, count = grids[0][0].shape
    length = scipy.fft.next_fast_len(2 * rows, real=True)
    distances = [n for n in range(1, count) if _FROM * count <= n <= _TO * count] or [count // 2]
    spectra, weights = np.zeros((len(distances), length // 2 + 1), np.complex128), np.zeros(len(distances))
    for values, weight in grids:
        of_columns = scipy.fft.rfft((values - values.mean(axis=0)) * weight, length, axis=0)
        for n, apart in enumerate(distances):
            spectra[n] += (np.conj(of_columns[:, :-apart]) * of_columns[:, apart:]).sum(axis=1)
            weights[n] += (weight[:, :-apart] * weight[:, apart:]).sum()
    covariances = scipy.fft.irfft(spectra, length) / np.maximum(weights, 1e-12)[:, None]
    n_angles = 2 * round(_MOST_DEG / _STEP_DEG) + 1
    angles = np.linspace(-_MOST_DEG, _MOST_DEG, n_angles)
    down = np.rint(np.outer(distances, np.tan(np.deg2rad(angles))) * step_px).astype(np.intp) % length
    of_angles = np.take_along_axis(covariances, down, axis=1).mean(axis=0)
    # Angles between which no row differs are as good: the one in their middle.
    best = np.flatnonzero(of_angles == of_angles.max())
    middle = int(best[len(best) // 2])
    return Lean(float(angles[middle]), float(of_angles[middle]), float(of_angles[n_angles // 2]))
