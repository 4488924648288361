"""What the windows of an overlap say together: an offset, its standard error, and on how much it rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.model.arrays import Floats, PxZYX
from gpustitch.oblique.align.overlaps.bending import bend

# Windows that correlate by r weigh r^2 / (1 - r^2 + this): near 1, other errors than noise remain.
_PERFECT = 0.01
# Offsets that differ by less on every axis may agree, voxels; beyond the second they never do.
_NEAR_PX = 1.0
_FAR_PX = 1.5
_CLOSE_PX = 0.35
_LIMIT = 4.0
# A window is expected to err by this part of the reach of its correlation's peak, times sqrt(1 - r^2 + the first), and
# this expected scatter counts as so many windows.
_EXPECTED = 0.09
_EXPECTED_WEIGHT = 0.5
# What no number of windows averages out: the sub-voxel fit, distortion.
_SYSTEMATIC_PX = 0.004
_ROUNDS = 5


@dataclass(frozen=True)
class Evidence:
    """The offset (z, y, x) that windows agree on, voxels.

    ``scatter_px`` is their standard deviation, ``sigma_px`` the standard error of the offset. ``agrees`` says which of
    the windows agree, ``n_independent`` how many that share no voxel would say as much. ``bend_px`` (z, y, x) is by how
    much the offsets change from end to end of the overlap, None if that is not sure.
    """

    offset_px: PxZYX
    scatter_px: PxZYX
    sigma_px: PxZYX
    agrees: npt.NDArray[np.bool_]
    n_independent: float
    bend_px: PxZYX | None = None


def weigh(
    offsets_px: npt.ArrayLike,
    correlations: npt.ArrayLike,
    reaches_px: npt.ArrayLike,
    centres_px: npt.ArrayLike,
    window_px: Sequence[int],
    still: float = 0.0,
    still_px: Sequence[float] = (0.0, 0.0),
    beyond_px: npt.ArrayLike = 0.0,
) -> Evidence:
    """Weigh windows by their correlation, leave out those that disagree, and count shared voxels once.

    On each axis a window weighs more, the sharper the peak of its correlation is. Two windows are as alike as the
    voxels that they share. So ``n`` windows are worth ``1 / sum(w_i w_j share_ij)``, with weights that sum to 1. The
    scatter is pooled with that which the peaks let expect, for few windows may agree by chance.

    Parameters
    ----------
    offsets_px, correlations, reaches_px, centres_px
        Offset (n, 3), correlation (n,), how far its peak reaches on each axis (n, 3), voxels, and centre (n, 3) of each
        window; n at least 1.
    window_px
        Size of the windows (z, y, x).
    still
        Which part of their errors (variance) windows share that see the same pixels of the camera, wherever along x.
        Such errors are noise of all windows, not objects that moved in some: then the scatter is that of all.
    still_px
        How far beyond a window (z, y) these errors are alike.
    beyond_px
        By how much more each offset may be off, shape (n, 3) or 0: windows that all stop short do not agree by that.
    """
    offsets, centres = np.asarray(offsets_px, np.float64), np.asarray(centres_px, np.float64)
    r = np.clip(np.asarray(correlations, np.float64), 1e-3, 1)
    weight = r**2 / (1 - r**2 + _PERFECT)
    agrees = _agreeing(offsets, weight)
    share = _share(centres, np.asarray(window_px))
    if still:
        reach = np.asarray(window_px[:2]) + np.asarray(still_px)
        share = (1 - still) * share + still * _share(centres[:, :2], reach)
    expected = _EXPECTED**2 * np.asarray(reaches_px, np.float64) ** 2 * (1 - r**2 + _PERFECT)[:, None]
    on_axis = np.where(agrees, weight, 0)[:, None] / np.asarray(reaches_px, np.float64) ** 2
    on_axis /= on_axis.sum(axis=0)
    offset = (on_axis * offsets).sum(axis=0)
    n = 1 / (on_axis * (share @ on_axis)).sum(axis=0)
    beyond = np.square(np.broadcast_to(np.asarray(beyond_px, np.float64), offsets.shape))
    square = (on_axis * ((offsets - offset) ** 2 + beyond)).sum(axis=0)
    scatter = np.sqrt(square)
    if still:
        of_all = weight[:, None] / np.asarray(reaches_px, np.float64) ** 2
        off = np.clip(offsets - offset, -2 * _FAR_PX, 2 * _FAR_PX)
        square = (of_all * (off**2 + beyond)).sum(axis=0) / of_all.sum(axis=0)
    variance = (_EXPECTED_WEIGHT * (on_axis * expected).sum(axis=0) + n * square) / (_EXPECTED_WEIGHT + n - 1)
    sigma = np.sqrt(variance / n + _SYSTEMATIC_PX**2)
    of = np.flatnonzero(agrees)
    bent = bend(offsets[of], on_axis[of], expected[of], centres[of], share[np.ix_(of, of)], np.asarray(window_px))
    return Evidence(_triple(offset), _triple(scatter), _triple(sigma), agrees, float(n.min()), bent)


def _share(centres: Floats, size: Floats) -> Floats:
    """Which part of boxes of one size, at n centres, each two have in common, shape (n, n)."""
    along = np.clip(1 - np.abs(centres[:, None] - centres[None]) / size, 0, None)
    return np.asarray(along.prod(axis=2))


def _agreeing(offsets: Floats, weight: Floats) -> npt.NDArray[np.bool_]:
    """The windows about the offset that has most weight near it."""
    apart = np.abs(offsets[:, None] - offsets[None]).max(axis=2)
    support = (apart <= _NEAR_PX) @ weight
    agrees: npt.NDArray[np.bool_] = apart[int(np.argmax(support))] <= _FAR_PX
    for _ in range(_ROUNDS):
        w = np.where(agrees, weight, 0) / weight[agrees].sum()
        middle = w @ offsets
        reach = np.clip(_LIMIT * np.sqrt(w @ (offsets - middle) ** 2), _CLOSE_PX, _FAR_PX)
        now: npt.NDArray[np.bool_] = np.all(np.abs(offsets - middle) <= reach, axis=1)
        if not now.any() or bool((now == agrees).all()):
            break
        agrees = now
    return agrees


def _triple(values: Floats) -> PxZYX:
    z, y, x = values.tolist()
    return z, y, x
