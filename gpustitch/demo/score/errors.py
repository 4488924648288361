"""Errors of a result against the truth: positions, flat field, stripes, seams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.model.arrays import Bools, Floats, Floats32

# Relative deviation of each row, and whether the row is known.
RowProfile = tuple[Floats, Bools]

# Structure across the stripes coarser than this many rows is illumination, not a stripe.
_STRIPE_SMOOTHING_ROWS = 8.0
_LEAST_LAYER = 150


@dataclass(frozen=True)
class PositionErrors:
    """Solved minus true position of each tile, (n, 3) as z, y, x, without the common displacement of all tiles."""

    error_px: Floats
    error_um: Floats

    @property
    def distance_px(self) -> Floats:
        """Distance of each tile from its true position, in voxels."""
        return np.asarray(np.linalg.norm(self.error_px, axis=1))

    @property
    def distance_um(self) -> Floats:
        """Distance of each tile from its true position, in um."""
        return np.asarray(np.linalg.norm(self.error_um, axis=1))


def position_errors(solved_px: npt.ArrayLike, true_px: npt.ArrayLike, spacing_um: tuple[float, ...]) -> PositionErrors:
    """Compare solved with true tile positions, both (n, 3) as z, y, x in voxels of ``spacing_um``.

    Positions are compared in voxels because a wrong pixel size is a figure of its own. A displacement of the whole
    mosaic is no error.
    """
    error = np.asarray(solved_px, np.float64) - np.asarray(true_px, np.float64)
    error -= error.mean(axis=0)
    return PositionErrors(error, error * np.asarray(spacing_um))


def flat_rmse(found: npt.ArrayLike, true: npt.ArrayLike, seen: Bools | None = None) -> float:
    """Relative RMS difference of two flat fields (rows, columns), both scaled to mean 1 over the pixels ``seen``."""
    pixels = np.ones(np.shape(true), np.bool_) if seen is None else seen
    a, b = np.asarray(found, np.float64)[pixels], np.asarray(true, np.float64)[pixels]
    return float(np.sqrt(np.mean((a / a.mean() / (b / b.mean()) - 1) ** 2)))


def row_profile(image: Floats32, ideal: Floats32, usable: Bools, *, least_share: float = 0.2) -> RowProfile:
    """Mean of log(image / ideal) per row without its smooth part, and which rows are known.

    Parameters
    ----------
    image, ideal
        Measured and ideal voxels (z, y, x); rows are axis 1.
    usable
        Voxels to be compared.
    least_share
        A row counts if at least this share of its voxels is usable.

    Returns
    -------
    Profile (rows,), 0 on rows that do not count, and the mask (rows,) of rows that count.
    """
    counted = usable & (image > 0) & (ideal > 0)
    log_ratio = np.zeros(image.shape, np.float64)
    np.log(image, out=log_ratio, where=counted)
    log_ratio -= np.log(ideal, out=np.zeros(image.shape, np.float64), where=counted)
    return mean_profile(log_ratio, counted, least_share=least_share)


def mean_profile(values: Floats | Floats32, usable: Bools, *, least_share: float = 0.2) -> RowProfile:
    """Mean of ``values`` (z, y, x) per row without its smooth part, and which rows are known, as `row_profile`.

    Of differences between an image and its ideal in counts this is the profile of an image that may be 0.
    """
    number = usable.sum(axis=(0, 2))
    known = number >= max(1.0, least_share * values.shape[0] * values.shape[2])
    total = values.sum(axis=(0, 2), where=usable, dtype=np.float64)
    profile = np.where(known, total / np.maximum(number, 1), 0.0)
    weight = known.astype(np.float64)
    smooth = scipy.ndimage.gaussian_filter1d(profile * weight, _STRIPE_SMOOTHING_ROWS, mode="constant")
    norm = scipy.ndimage.gaussian_filter1d(weight, _STRIPE_SMOOTHING_ROWS, mode="constant")
    return np.where(known, profile - smooth / np.maximum(norm, 1e-9), 0.0), known


def row_energy(profiles: Sequence[RowProfile]) -> float:
    """Mean square over all known rows of the profiles, so of all row-to-row differences; NaN if no row is known."""
    total = sum(float(np.square(profile[known]).sum()) for profile, known in profiles)
    count = sum(int(known.sum()) for _, known in profiles)
    return total / count if count else float("nan")


def stripe_energy(profiles: Sequence[RowProfile], patterns: Sequence[RowProfile]) -> float:
    """Energy of known stripes in the profiles, as a fraction of the patterns' energy: 1 for unchanged stripes.

    Each profile is projected on its pattern (the profile of the true gains at the same voxels). NaN without patterns.
    """
    found = made = 0.0
    for (profile, known), (pattern, also_known) in zip(profiles, patterns, strict=True):
        rows = known & also_known
        energy = float(np.square(pattern[rows]).sum())
        if energy > 0:
            found += float(profile[rows] @ pattern[rows]) ** 2 / energy
            made += energy
    return found / made if made > 0 else float("nan")


def seam_step(image: Floats32, ideal: Floats32, distance_px: Floats32, usable: Bools, *, depth_px: int = 3) -> float:
    """Relative step of ``image`` at a border, with the ideal divided out.

    Image / ideal is averaged over layers one voxel thick, parallel to the border. The step is the greatest change from
    one layer to the next near the border: the height of a sudden step, the slope of a gradual change.

    Parameters
    ----------
    image, ideal
        Measured and true values, any shape.
    distance_px
        Distance of each voxel from the border, positive on one side.
    usable
        Voxels to be compared.
    depth_px
        How many layers to look at on each side.

    Returns
    -------
    Relative change towards the positive side; NaN if a side has no layer of at least 150 usable voxels.
    """
    near = usable & (ideal > 0) & (distance_px >= -depth_px) & (distance_px < depth_px)
    layer = np.floor(distance_px[near]).astype(np.int64) + depth_px
    number, sums, ideal_sums = (
        np.bincount(layer, weights=values, minlength=2 * depth_px) for values in (None, image[near], ideal[near])
    )
    enough = number >= _LEAST_LAYER
    if not (enough[:depth_px].any() and enough[depth_px:].any()):
        return float("nan")
    ratio = sums[enough] / ideal_sums[enough]
    change = np.diff(ratio) / ratio[:-1]
    return float(change[np.abs(change).argmax()])
