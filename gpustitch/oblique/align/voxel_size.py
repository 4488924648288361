"""The true size of the camera pixel, from tiles that the stage set apart along y."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import scipy

from gpustitch.errors import ParameterError
from gpustitch.model import Link, UmXYZ
from gpustitch.model.arrays import Floats, Integers
from gpustitch.oblique.align import YSize
from gpustitch.oblique.align.solve import link_sigma
from gpustitch.oblique.align.solving.stage_model import MEDIAN_UM

# Prior of the stage's error along y: its standard deviation has the median MEDIAN_UM, and its logarithm this deviation.
# One stage of so many is far worse. With what follows, intervals hold the truth under all errors of 1 to 10 um.
_LOG_DEVIATION = 0.23
_RARE, _RARE_MEDIAN_UM, _RARE_LOG_DEVIATION = 0.01, 25.0, 0.4
_SCALES_UM = np.geomspace(0.1, 60, 20)
# How likely the drift over the whole scan is so many times the rest of the error: a stage that errs more also drifts
# more. Great multiples stand for a drift beside which nothing else errs.
_DRIFTS = {0.0: 0.3, 2.0: 0.5, 4.0: 0.05, 8.0: 0.05, 16.0: 0.05, 32.0: 0.025, 100.0: 0.025}
# The same where the rest of the error is stated.
_DRIFTS_BESIDE_STATED = {0.0: 0.65, 1.0: 0.35}
# A drift of so many um over the whole scan counts as an error of 1 um.
_PER_DRIFT = 1.85
# How likely the tiles of a row share this part of what is no drift.
_SHARED = {0.0: 0.5, 0.5: 0.3, 0.9: 0.1, 1.0: 0.1}
# Half widths of this probability: what is stated, and what a size must differ by to replace the nominal one.
STATED, _SURE = 0.95, 0.998
# Tiles whose y differ by less than this part of a tile's height are one row.
_BESIDE = 0.25
# Beyond this many standard errors a link counts linearly instead of squared.
_HUBER = 2.5
_ROUNDS = 30
_LEAST_SIGMA_PX = 1e-3
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class VoxelSize:
    """Estimate of the y voxel size, relative to the stage's own scale.

    ``uncertainty_um`` is the half width of its 95 % interval. Only beyond ``sure_um``, the half width of the 99.8 %
    interval, is the nominal size wrong for sure. All three are None without a link along y. The estimate rests on
    ``n_links`` links between rows, on ``n_tiles`` linked tiles and ``n_rows`` rows. ``y_size`` says which size to take.
    """

    nominal_um: float
    estimate_um: float | None
    uncertainty_um: float | None
    n_links: int
    n_tiles: int = 0
    n_rows: int = 0
    sure_um: float | None = None
    stage_repeatability_um: float | None = None
    y_size: YSize = "auto"

    @property
    def is_significant(self) -> bool:
        """Whether the nominal size is wrong for sure."""
        if self.estimate_um is None or self.sure_um is None:
            return False
        return abs(self.estimate_um - self.nominal_um) > self.sure_um

    @property
    def used_um(self) -> float:
        """The size to go on with; left to ``auto``, the nominal one unless it is wrong for sure."""
        is_measured = self.is_significant if self.y_size == "auto" else self.y_size == "measured"
        return self.estimate_um if is_measured and self.estimate_um is not None else self.nominal_um

    @property
    def basis(self) -> dict[str, object]:
        """What the estimate rests on, for records."""
        return {
            "links": self.n_links,
            "tiles": self.n_tiles,
            "rows": self.n_rows,
            "stage_repeatability": self.stage_repeatability_um,
            "y_size": self.y_size,
        }


def estimate_voxel_size(
    links: Sequence[Link],
    stage_um: Mapping[str, UmXYZ],
    nominal_um: float,
    height_um: float,
    *,
    stage_repeatability_um: float | None = None,
    y_size: YSize = "auto",
) -> VoxelSize:
    """Estimate the y voxel size and its uncertainty.

    Parameters
    ----------
    links
        Links between tiles; rejected links (with a ``reason``) are not used.
    stage_um
        Stage position (x, y, z) of each tile, um.
    nominal_um
        Camera pixel that the tiles were made with.
    height_um
        Nominal height of a tile along y.
    stage_repeatability_um
        Standard deviation of the stage's error along y, of tiles and rows together; None if it is not known.
    y_size
        Which size :attr:`VoxelSize.used_um` is.

    Notes
    -----
    The links give the tiles' y in voxels, loops included. Generalised least squares fit them to the stage's y. Three
    errors of the stage count: one of each tile, one that the tiles of a row share, and a drift over the whole scan.
    A drift along y looks like another size, and two rows say nothing about the error of a row. So the total error and
    its parts have a prior, and the interval is that of all of them, weighted by how well each fits the positions. It
    holds 95 % of what the prior foresees, and more where a stage that might drift does not: nothing tells them apart.
    """
    accepted = [k for k in links if not k.reason]
    names = sorted({name for k in accepted for name in (k.fixed, k.moving)})
    number = {name: i for i, name in enumerate(names)}
    ends = np.array([(number[k.fixed], number[k.moving]) for k in accepted], np.int64).reshape(-1, 2)
    stage = np.array([stage_um[name][1] for name in names])
    row = _rows(stage, height_um)
    n_links = sum(is_measurable([(k.fixed, k.moving)], stage_um, height_um) for k in accepted)
    unknown = VoxelSize(nominal_um, None, None, 0, stage_repeatability_um=stage_repeatability_um, y_size=y_size)
    if not n_links:
        return unknown
    offset = np.array([k.offset_px[1] for k in accepted])
    sigma = np.maximum([link_sigma(k)[1] for k in accepted], _LEAST_SIGMA_PX)
    solved, covariance, group = _solved_y(ends, offset, sigma, len(names))
    fits = _fits(solved, covariance, group, stage / nominal_um, row, nominal_um, stage_repeatability_um)
    if float(fits.weight @ fits.slope) <= 0:
        return unknown
    size, deviation = nominal_um / fits.slope, nominal_um * fits.deviation / fits.slope**2
    estimate = float(fits.weight @ size)
    stated, sure = (_half_width(fits.weight, size - estimate, deviation, level) for level in (STATED, _SURE))
    n_rows = len(np.unique(row))
    return VoxelSize(nominal_um, estimate, stated, n_links, len(names), n_rows, sure, stage_repeatability_um, y_size)


def is_measurable(pairs: Sequence[tuple[str, str]], stage_um: Mapping[str, UmXYZ], height_um: float) -> bool:
    """Whether any of the pairs of tiles lies in two rows, so that a link between them would tell the y voxel size."""
    return any(abs(stage_um[a][1] - stage_um[b][1]) > _BESIDE * height_um for a, b in pairs)


def check_y_size(y_size: str, stage_repeatability_um: float | None) -> None:
    """Raise ParameterError if the choice is none of :data:`YSize`, or the repeatability no length."""
    if y_size not in get_args(YSize):
        raise ParameterError(f"`y_size` must be one of {', '.join(get_args(YSize))}, not {y_size!r}")
    if stage_repeatability_um is not None and not 0 <= stage_repeatability_um < math.inf:
        raise ParameterError(f"`stage_repeatability_um` must be at least 0 um, not {stage_repeatability_um}")


def _rows(y_um: Floats, height_um: float) -> Integers:
    """The number of each tile's row; rows begin more than a part of a tile's height apart."""
    row = np.zeros(len(y_um), np.int64)
    first = -math.inf
    for i in np.argsort(y_um, kind="stable"):
        if y_um[i] - first > _BESIDE * height_um:
            first, row = y_um[i], row + (y_um >= y_um[i])
    return row


def _solved_y(ends: Integers, offset: Floats, sigma: Floats, n: int) -> tuple[Floats, Floats, Integers]:
    """Each tile's y in voxels by the links alone, its covariance, and the group of linked tiles that it belongs to.

    The mean of each group is 0. Huber weights keep a false link of a loop from moving its tiles.
    """
    fixed, moving = ends.T
    _, group = scipy.sparse.csgraph.connected_components(
        scipy.sparse.coo_array((np.ones(len(ends)), (fixed, moving)), shape=(n, n)), directed=False
    )
    together = group[:, None] == group
    mean = together / together.sum(axis=1)
    weight = sigma**-2
    incidence = np.zeros((len(ends), n))
    incidence[np.arange(len(ends)), moving] = 1
    incidence[np.arange(len(ends)), fixed] = -1
    y = np.zeros(n)
    for _ in range(_ROUNDS):
        before = y
        covariance = np.linalg.inv(incidence.T @ (weight[:, None] * incidence) + mean)
        y = covariance @ (incidence.T @ (weight * offset))
        off = np.abs(y[moving] - y[fixed] - offset) / sigma
        weight = sigma**-2 * np.minimum(1, _HUBER / np.maximum(off, 1e-12))
        if np.allclose(before, y, rtol=0, atol=1e-4):
            break
    return y, covariance, group.astype(np.int64)


@dataclass(frozen=True)
class _Fits:
    """Fits under errors of the stage of many kinds: how likely each is, its slope (voxels by links per voxel by the
    stage) and the slope's standard deviation."""

    weight: Floats
    slope: Floats
    deviation: Floats


def _fits(
    solved: Floats,
    covariance: Floats,
    group: Integers,
    stage_px: Floats,
    row: Integers,
    nominal_um: float,
    repeatability_um: float | None,
) -> _Fits:
    drifts = _DRIFTS if repeatability_um is None else _DRIFTS_BESIDE_STATED
    drift, likely = np.array(list(drifts)), np.array(list(drifts.values()))
    scales, prior = _prior(drift, repeatability_um)
    shared, of_share = np.array(list(_SHARED)), np.array(list(_SHARED.values()))
    tile, in_row = np.eye(len(row)), row[:, None] == row
    means = group[:, None] == np.unique(group)
    columns = np.column_stack([stage_px - means @ (means.T @ stage_px / means.sum(axis=0)), means, solved])
    white = np.linalg.inv(np.linalg.cholesky(covariance))
    fitted = [
        _fit(white @ columns, white @ (part * in_row + (1 - part) * tile) @ white.T, (scales / nominal_um) ** 2)
        for part in shared
    ]
    slope, variance, evidence = (np.stack(part, axis=1)[:, :, None] for part in zip(*fitted, strict=True))
    # The rest of the error is a drift: of all that changes linearly with y, the slope alone can take it up.
    drifted = scales[:, None, None] * drift / (nominal_um * np.ptp(stage_px))
    weight = np.exp(evidence - evidence.max()) * prior[:, None, :] * of_share[:, None] * likely
    deviation = np.sqrt(variance + (slope * drifted) ** 2)
    return _Fits((weight / weight.sum()).ravel(), np.broadcast_to(slope, weight.shape).ravel(), deviation.ravel())


def _prior(drift: Floats, repeatability_um: float | None) -> tuple[Floats, Floats]:
    """Standard deviations, um, of what is no drift, and how likely each is (first axis) beside each drift."""
    if repeatability_um is not None:
        return np.array([repeatability_um]), np.ones((1, len(drift)))
    beside = _SCALES_UM[:, None] * np.sqrt(1 + (drift / _PER_DRIFT) ** 2)
    usual, rare = (
        np.exp(-0.5 * (np.log(beside / median) / deviation) ** 2)
        for median, deviation in ((MEDIAN_UM, _LOG_DEVIATION), (_RARE_MEDIAN_UM, _RARE_LOG_DEVIATION))
    )
    return _SCALES_UM, (1 - _RARE) * usual / usual.sum(axis=0) + _RARE * rare / rare.sum(axis=0)


def _fit(columns: Floats, shape: Floats, variances: Floats) -> tuple[Floats, Floats, Floats]:
    """Slope, its variance, and the log evidence, by generalised least squares of the last column on the others.

    The errors of the links are independent and of unit variance. The covariance of the stage's is one of ``variances``
    times ``shape``; there is a result for each. The slope belongs to the first column.
    """
    eigenvalues, axes = np.linalg.eigh(shape)
    spread = 1 + variances[:, None] * np.maximum(eigenvalues, 0)
    turned = axes.T @ columns
    products = turned.T @ (turned / spread[:, :, None])
    normal, right = products[:, :-1, :-1], products[:, :-1, -1:]
    inverse = np.linalg.inv(normal)
    best = inverse @ right
    misfit = products[:, -1, -1] - (right * best).sum(axis=(1, 2))
    evidence = -0.5 * (np.log(spread).sum(axis=1) + np.linalg.slogdet(normal)[1] + misfit)
    return best[:, 0, 0], inverse[:, 0, 0], evidence


def _half_width(weight: Floats, centre: Floats, deviation: Floats, level: float) -> float:
    """Half width of the interval about 0 that holds ``level`` of a mixture of normal distributions."""
    is_there = weight > _NEGLIGIBLE
    weight, centre, deviation = weight[is_there], centre[is_there], np.maximum(deviation[is_there], 1e-12)

    def beyond(half: float) -> float:
        above, below = (scipy.special.ndtr((end - centre) / deviation) for end in (half, -half))
        return float(weight @ (above - below)) - level

    return float(scipy.optimize.brentq(beyond, 0, float(np.abs(centre).max() + 8 * deviation.max()), rtol=1e-6))
