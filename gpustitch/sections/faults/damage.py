"""Sections that resemble all others less than those around them: single ones and runs of any length."""

from __future__ import annotations

import numpy as np
import scipy

from gpustitch.model.arrays import Bools, Floats, Integers
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.sections.faults.losses import NEAR, QUALITY_WINDOW, local_median
from gpustitch.sections.faults.qualities import Qualities, log_qualities

# How fast pairs beyond the lags looked at count less: sections beside a gap are not damaged.
_FADE = 4
# A section must stand out by this many standard deviations of quality, which has a long tail, and has lost at least
# this part of its similarity.
_SIGMAS, _LEAST_LOSS = 6.0, 0.05
# Of that loss, the pairs of a section may leave this part unexplained.
_UNEXPLAINED = 0.3
# Both ends of a run show at least this part of its loss within two sections: slow changes of quality are no damage.
_EDGE = 0.5
# Scatter towards less quality counts up to this many times that towards more: it holds the damaged sections, too.
_SKEW = 3.0
# Quality changes slowly where it changes so much within two sections nearly everywhere; times this it is a loss.
_SLOW, _SLOW_PERCENTILE = 4.0, 20
# A loss is more than this many times what pairs nearby leave unexplained.
_NOISE = 3.0


def damaged_sections(half_strip: Floats, weights: Floats) -> list[tuple[int, float]]:
    """Damaged sections, ascending, and how often each one's loss is that at which it would only just stand out.

    Parameters
    ----------
    half_strip
        (n, max_lag + 1) similarities of sections that are all defined, NaN where there is none.
    weights
        (n,): how far each section is trusted as a witness, not negative.

    Notes
    -----
    Quality is held against its running median over 15 sections, and over twice as many again and again up to all of
    them: a run is not seen by a window that it fills. See :func:`~gpustitch.sections.faults.qualities.log_qualities`.
    """
    n = len(half_strip)
    similarity = half_strip[:, 1:].T
    later = np.minimum(np.arange(n) + np.arange(1, len(similarity) + 1)[:, None], n - 1)
    known = np.isfinite(similarity)
    found = log_qualities(np.where(known, similarity, 0), known * weights[later] * weights, NEAR, _FADE)
    unsteady = np.maximum(
        _SLOW * _slow_change(found.log), _NOISE * MAD_TO_SIGMA * local_median(found.unexplained, QUALITY_WINDOW)
    )
    clearness, window = np.zeros(n), QUALITY_WINDOW
    while True:
        clearness = np.maximum(clearness, _standing_out(found, unsteady, window))
        if window >= 2 * n:
            return [(int(i), float(clearness[i])) for i in np.flatnonzero(clearness)]
        window = 2 * window + 1


def damaged_in_order(half_strip: Floats, positions: Floats, weights: Floats) -> list[tuple[int, float]]:
    """Those of :func:`damaged_sections` that are so as recorded and in the order of their positions (n,).

    Blocks in the wrong order resemble none beside them as recorded, but those beside them along z.
    """
    damaged = damaged_sections(half_strip, weights)
    order = np.argsort(positions, kind="stable")
    if not damaged or (np.diff(order) > 0).all():
        return damaged
    there = damaged_sections(part_of(half_strip, order), weights[order])
    clear = {int(order[k]): clearness for k, clearness in there}
    return [(i, min(clearness, clear[i])) for i, clearness in damaged if i in clear]


def part_of(half_strip: Floats, kept: Integers) -> Floats:
    """Half strip of some sections (m,), in any order: of those next to each other in what is left."""
    n, width = len(kept), half_strip.shape[1]
    out = np.full((n, min(width, n)), np.nan)
    for d in range(out.shape[1]):
        one, two = kept[: n - d], kept[d:]
        distance = np.abs(two - one)
        inside = distance < width
        out[: n - d, d][inside] = half_strip[np.minimum(one, two)[inside], distance[inside]]
    return out


def _slow_change(log: Floats) -> Floats:
    """By how much quality changes within two sections around each one, (n,), if it does so everywhere nearby."""
    if len(log) < 3:
        return np.zeros(len(log))
    change = scipy.ndimage.percentile_filter(
        np.abs(log[2:] - log[:-2]), _SLOW_PERCENTILE, QUALITY_WINDOW, mode="nearest"
    )
    return np.pad(change, 1, mode="edge")


def _standing_out(found: Qualities, unsteady: Floats, window: int) -> Floats:
    """Loss of each section against those in a window, as a multiple of the least one that stands out; else 0."""
    loss = local_median(found.log, window, own_ends=True) - found.log
    above = loss - np.median(loss)
    worse, better = np.median(above[above >= 0]), -np.median(above[above <= 0])
    scatter = np.hypot(MAD_TO_SIGMA * min(worse, _SKEW * better), found.scatter)
    least = np.maximum(np.maximum(_SIGMAS * scatter, -np.log1p(-_LEAST_LOSS)), unsteady)
    multiple = loss / least
    return np.where(_sure_runs(found, unsteady, loss, multiple), np.maximum(multiple, 1), 0)


def _sure_runs(found: Qualities, slow: Floats, loss: Floats, multiple: Floats) -> Bools:
    """Runs that stand out, whose pairs agree about it, and at whose ends quality changes at once.

    Between sections that stand out others may, too, that half do.
    """
    log, n = found.log, len(loss)
    sure = np.zeros(n, np.bool_)
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], multiple > 0.5, [False]]))).reshape(-1, 2)
    for start, stop in bounds:
        clear = start + np.flatnonzero(multiple[start:stop] > 1)
        if not len(clear):
            continue
        a, b = int(clear[0]), int(clear[-1]) + 1
        usual = np.median(loss[a:b])
        before, after = log[max(a - 2, 0) : a], log[b : b + 2]
        falls = not len(before) or before.max() - np.median(log[a : min(a + 2, b)]) >= max(_EDGE * usual, slow[a])
        rises = not len(after) or after.max() - np.median(log[max(b - 2, a) : b]) >= max(_EDGE * usual, slow[b - 1])
        agreed = np.median(found.unexplained[a:b]) < _UNEXPLAINED * usual
        sure[a:b] = falls and rises and agreed and b - a < n
    return sure
