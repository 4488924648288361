"""Finds cells in a volume without the truth, and compares them with the true cells."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.model.arrays import Floats, Floats32

SMALL_UM = 2.5
LARGE_UM = 5.5
# Least response of the filter, as a fraction of the local brightness, at which a maximum is a cell.
LEAST_CONTRAST = 0.33
_TRUNCATE = 3.0


def halo_px(spacing_um: tuple[float, float, float]) -> tuple[int, int, int]:
    """Voxels (z, y, x) around a block on which the block's cells depend."""
    z, y, x = (int(np.ceil(_TRUNCATE * (SMALL_UM + LARGE_UM) / s)) + 2 for s in spacing_um)
    return z, y, x


def find_cells(
    volume: npt.NDArray[np.generic], spacing_um: tuple[float, float, float], *, removed: float = 0.0
) -> Floats:
    """Centres of cells, (n, 3) as z, y, x in voxels: maxima of a difference of Gaussians, refined by parabolas.

    A cell must exceed the brightness around it by `LEAST_CONTRAST`. Maxima in the outermost voxels are not found.
    Without its background a volume holds noise that exceeds the little around it: `LEAST_CONTRAST` is then of the
    background that was there, so that a cell needs the height in counts that it needed before.

    Parameters
    ----------
    volume
        Voxels (z, y, x) of any numeric type.
    spacing_um
        Voxel spacing (z, y, x).
    removed
        Counts of background that were taken out of the volume.
    """
    if min(volume.shape) < 3:
        return np.zeros((0, 3))
    small_px = [SMALL_UM / s for s in spacing_um]
    rest_px = [np.sqrt(LARGE_UM**2 - SMALL_UM**2) / s for s in spacing_um]
    small = scipy.ndimage.gaussian_filter(volume.astype(np.float32), small_px, truncate=_TRUNCATE, mode="nearest")
    around = scipy.ndimage.gaussian_filter(small, rest_px, truncate=_TRUNCATE, mode="nearest")
    response = small - around
    around += 50.0 + removed
    candidates = np.argwhere(response[1:-1, 1:-1, 1:-1] > LEAST_CONTRAST * around[1:-1, 1:-1, 1:-1]) + 1
    return _refined(response, candidates)


def cell_amount(volume: Floats32, centre_px: Floats, spacing_um: tuple[float, float, float], radius_um: float) -> float:
    """Sum of a cell's brightness within ``radius_um`` above the median of the shell 1.5 times as wide.

    Interpolation changes the peak but not the sum.
    """
    axes = [(np.arange(n) - c) * s for n, c, s in zip(volume.shape, centre_px, spacing_um, strict=True)]
    square = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    inner = square <= radius_um**2
    shell = (square > radius_um**2) & (square <= (1.5 * radius_um) ** 2)
    return float(volume[inner].sum(dtype=np.float64) - inner.sum() * np.median(volume[shell]))


@dataclass(frozen=True)
class CellMatches:
    """Matched cells: ``pairs`` (n, 2) are indices of a true cell and of the same found cell."""

    pairs: npt.NDArray[np.int64]
    distance_um: Floats
    recall: float
    precision: float


def match_cells(true_um: Floats, found_um: Floats, radius_um: float) -> CellMatches:
    """Pair true and found cells (n, 3) that are each other's nearest within ``radius_um``.

    Recall is the share of true cells that were found, precision the share of found cells that are true. Recall is NaN
    without true cells, precision NaN without found cells.
    """
    none = np.zeros((0, 2), np.int64)
    if len(true_um) == 0 or len(found_um) == 0:
        recall = 0.0 if len(true_um) else float("nan")
        return CellMatches(none, np.zeros(0), recall, 0.0 if len(found_um) else float("nan"))
    distance, nearest_found = (np.asarray(v) for v in scipy.spatial.cKDTree(found_um).query(true_um))
    nearest_true = np.asarray(scipy.spatial.cKDTree(true_um).query(found_um)[1], np.int64)
    index = np.arange(len(true_um))
    mutual = (nearest_true[nearest_found] == index) & (distance <= radius_um)
    pairs = np.column_stack([index, nearest_found])[mutual].astype(np.int64)
    return CellMatches(pairs, distance[mutual], len(pairs) / len(true_um), len(pairs) / len(found_um))


def _refined(response: Floats32, candidates: npt.NDArray[np.int64]) -> Floats:
    """The candidates that no neighbour exceeds, moved to the top of the parabola on each axis."""
    if not len(candidates):
        return np.zeros((0, 3))
    height = response[tuple(candidates.T)]
    top = np.ones(len(candidates), np.bool_)
    for step in itertools.product((-1, 0, 1), repeat=3):
        if any(step):
            beside = response[tuple((candidates + step).T)]
            # Of two equal neighbours only the first in order counts, so that a plateau is one cell.
            top &= (height > beside) if step > (0, 0, 0) else (height >= beside)
    peaks, height = candidates[top], height[top]
    refined = peaks.astype(np.float64)
    for axis in range(3):
        step_along = np.eye(3, dtype=np.int64)[axis]
        before, after = response[tuple((peaks - step_along).T)], response[tuple((peaks + step_along).T)]
        bend = before - 2 * height + after
        shift = np.divide(0.5 * (before - after), bend, out=np.zeros(len(peaks), np.float32), where=bend < 0)
        refined[:, axis] += np.clip(shift, -0.5, 0.5)
    return refined
