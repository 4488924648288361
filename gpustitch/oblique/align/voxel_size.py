"""The true size of the camera pixel, from tiles that the stage set apart along y."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from gpustitch.model import Link, UmXYZ, column_step_um
from gpustitch.oblique.align.solve import SYSTEMATIC_PX, link_sigma
from gpustitch.ops.robust import MEDIAN_ERROR, weighted_median

# A link runs along y if it spans at least this fraction of the longest y distance.
_Y_LINK = 0.5
# Links that span less than this fraction of that distance along z show the stage's error in x and z.
_SAME_DEPTH = 0.1


@dataclass(frozen=True)
class VoxelSize:
    """Estimate of the y voxel size.

    ``n_links`` links run along y. Each of their matches gives a size: stage distance in um / matched distance in
    voxels. ``estimate_um`` is the median of these sizes, weighted so that every link counts the same.
    ``uncertainty_um`` is the half width of its 95 % interval. Both are None without a link along y.
    """

    nominal_um: float
    estimate_um: float | None
    uncertainty_um: float | None
    n_links: int

    @property
    def is_significant(self) -> bool:
        """Whether the estimate differs from the nominal size by more than its uncertainty."""
        if self.estimate_um is None or self.uncertainty_um is None:
            return False
        return abs(self.estimate_um - self.nominal_um) > self.uncertainty_um

    @property
    def used_um(self) -> float:
        """The size to go on with: the estimate if it is significant, else the nominal size."""
        return self.estimate_um if self.is_significant and self.estimate_um is not None else self.nominal_um


def estimate_voxel_size(
    links: Sequence[Link], stage_um: Mapping[str, UmXYZ], nominal_um: float, step_um: float, angle_deg: float
) -> VoxelSize:
    """Estimate the y voxel size and its uncertainty.

    Parameters
    ----------
    links
        Links between tiles; rejected links (with a ``reason``) are not used.
    stage_um
        Stage position (x, y, z) of each tile, um.
    nominal_um, step_um, angle_deg
        Camera pixel, stage step and sheet angle that the tiles were de-obliqued with.

    Notes
    -----
    Two errors make the estimate wrong: the scatter of the matches, known for each link, and the error of the stage.
    The stage's error shows in the differences among links along y. A mosaic often has only two of those links. So the
    deviations of links from the stage along x and z count too: the pixel size hardly matters there. All go into one
    standard deviation. The number of its independent deviations sets Student's factor.
    """
    accepted = [k for k in links if not k.reason]
    apart_um = {(k.fixed, k.moving): np.subtract(stage_um[k.moving], stage_um[k.fixed]) for k in accepted}
    longest_um = max((abs(d[1]) for d in apart_um.values()), default=0.0)
    y_links = [
        k
        for k in accepted
        if longest_um > 0 and abs(apart_um[k.fixed, k.moving][1]) >= _Y_LINK * longest_um and abs(k.offset_px[1]) > 1
    ]
    if not y_links:
        return VoxelSize(nominal_um, None, None, 0)
    sizes = [
        (apart_um[k.fixed, k.moving][1] / (m.fixed_px[1] - m.moving_px[1]), 1 / len(k.matches))
        for k in y_links
        for m in k.matches
        if m.fixed_px[1] != m.moving_px[1]
    ]
    estimate = abs(weighted_median(*zip(*sizes, strict=True)))
    spacing_xz = np.array([step_um, column_step_um(estimate, angle_deg)[1]])
    aside_um = [
        v
        for k in accepted
        if abs(apart_um[k.fixed, k.moving][2]) < _SAME_DEPTH * longest_um
        for v in _aside(k, apart_um, spacing_xz)
    ]
    # Deviations around loops repeat each other: n tiles have n - 1 independent ones per axis.
    tiles = {n for k in accepted for n in (k.fixed, k.moving)}
    n_aside = min(len(aside_um), 2 * (len(tiles) - 1))
    uncertainty = _uncertainty(y_links, apart_um, estimate, np.array(aside_um), n_aside)
    return VoxelSize(nominal_um, estimate, uncertainty, len(y_links))


def _uncertainty(
    y_links: Sequence[Link],
    apart_um: Mapping[tuple[str, str], np.ndarray],
    estimate_um: float,
    aside_um: np.ndarray,
    n_aside: int,
) -> float:
    """Half width of the 95 % interval, um; ``n_aside`` of the deviations ``aside_um`` are independent."""
    along_y_um = np.array([apart_um[k.fixed, k.moving][1] for k in y_links])
    distance_um = np.abs(along_y_um)
    of_links_um = np.abs(along_y_um / np.array([k.offset_px[1] for k in y_links]))
    between_um = (of_links_um - estimate_um) / estimate_um * distance_um
    freedom = len(y_links) - 1 + n_aside
    pooled = float(np.sum(between_um**2) + np.mean(np.square(aside_um)) * n_aside) / freedom if freedom else 0.0
    matching_um = np.array([max(float(link_sigma(k)[1]), SYSTEMATIC_PX) for k in y_links]) * estimate_um
    one_link_um = np.sqrt(pooled + np.mean(matching_um**2)) / np.median(distance_um) * estimate_um
    # Student's factor for a two-sided 95 %, times a median's loss against a mean; of two links it is the mean.
    factor = float(stdtrit(max(freedom, 1), 0.975)) * (MEDIAN_ERROR if len(y_links) > 2 else 1.0)
    return float(factor * one_link_um / len(y_links) ** 0.5)


def _aside(link: Link, apart_um: Mapping[tuple[str, str], np.ndarray], spacing_xz: np.ndarray) -> tuple[float, float]:
    """Deviation of a link from the stage along x and z, um."""
    stage = apart_um[link.fixed, link.moving]
    x = link.offset_px[2] * spacing_xz[0] - stage[0]
    z = link.offset_px[0] * spacing_xz[1] - stage[2]
    return float(x), float(z)
