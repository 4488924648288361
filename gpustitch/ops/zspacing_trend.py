"""Similarity that changes along the series looks like spacing that does: the slow part of it is taken out."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from gpustitch.model.zspacing import Floats, Integers

# Sections of a stretch whose mean spacing is taken.
STRETCH = 30
# Standard deviation, in sections, of the Gaussian that is the slow part of the spacing.
_SLOW = STRETCH / 2.5
# No mean spacing and no slow part is taken to be less than these, in sections: both are divided by.
_LEAST_MEAN, _LEAST_SLOW = 1e-9, 1e-3


def without_trend(
    positions: Floats, order: Integers, local_estimates: int, ratio: float
) -> tuple[Floats, Floats] | None:
    """Positions with a mean spacing that is the same all along the series, and the scale taken out at each section.

    Parameters
    ----------
    positions, order
        (n,): positions, and the sections in order of position.
    local_estimates
        More than 1 if similarity is known to change along the series.
    ratio
        Nothing is changed unless the mean spacings of two stretches of 30 sections differ by more than this factor,
        or by its root if similarity is known to change: sections are hardly cut with three times the thickness, while
        textures do become finer.

    Returns
    -------
    Both (n,), float64, positions from 0. None if nothing is changed, as in series of no more than 30 sections.
    """
    n = len(positions)
    spacing = np.diff(positions[order])
    limit = ratio if local_estimates == 1 else np.sqrt(ratio)
    if n <= STRETCH:
        return None
    means = np.convolve(spacing, np.full(STRETCH, 1 / STRETCH), "valid")
    if means.max() <= limit * max(means.min(), _LEAST_MEAN):
        return None
    smooth = np.maximum(gaussian_filter1d(spacing, _SLOW, mode="nearest"), _LEAST_SLOW)
    out, scale = np.empty(n), np.empty(n)
    out[order] = np.concatenate([[0], np.cumsum(spacing / smooth)])
    scale[order] = np.concatenate([smooth[:1], (smooth[1:] + smooth[:-1]) / 2, smooth[-1:]])
    return out, scale
