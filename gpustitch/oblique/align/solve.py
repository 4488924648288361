"""Solve the positions of all tiles at once from the links between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gpustitch.errors import AlignmentError
from gpustitch.model import Link, Placement
from gpustitch.model.arrays import Floats
from gpustitch.ops.robust import MAD_TO_SIGMA, MEDIAN_ERROR

# Error of a link's median, however many matches agree: bias of the sub-voxel fit, distortion.
SYSTEMATIC_PX = 0.05
# Beyond this many standard errors a residual counts linearly instead of squared.
_HUBER = 2.5
_ROUNDS = 20
# This many links with the worst residuals are tried as the link to drop.
_CANDIDATES = 12


def link_sigma(link: Link) -> Floats:
    """Standard error (z, y, x) of a link's offset, voxels; from the scatter of its matches where it states none."""
    if link.sigma_px is not None:
        return np.asarray(link.sigma_px, np.float64)
    scatter = np.asarray(link.scatter_px) * MEDIAN_ERROR / np.sqrt(max(1, len(link.matches)))
    return np.asarray(np.hypot(scatter, SYSTEMATIC_PX))


def solve_positions(
    nominal_px: Mapping[str, Sequence[float]],
    links: Sequence[Link],
    *,
    axes: tuple[bool, bool, bool] = (True, True, True),
    max_residual_px: float = 0.75,
) -> Placement:
    """Positions of all tiles that fit all links best.

    Each accepted link asks that ``position[moving] - position[fixed]`` be its offset, weighted by its standard error.
    Links that contradict the loops they close are rejected first. While any residual exceeds ``max_residual_px`` and
    five times its link's scatter, one link is dropped. The dropped link is the one without which the others fit their
    loops best. Where the loops do not decide, the fit to the stage does. The remaining links are solved by least
    squares with Huber weights.

    Links say nothing about where the mosaic as a whole lies. So each connected group of tiles keeps the mean of its
    nominal positions. A tile without an accepted link keeps its nominal position.

    Parameters
    ----------
    nominal_px
        Position (z, y, x) at which the stage puts each tile's first voxel, in voxels.
    links
        Links; a link with a ``reason`` is not used.
    axes
        Which of z, y and x to solve; on the other axes nominal positions stay.
    max_residual_px
        A link is accepted, whatever its scatter, if its residual on every axis is at most this.

    Returns
    -------
    Placement
        With the least coordinate on each axis 0, and with the reasons of the links rejected here.

    Raises
    ------
    AlignmentError
        If a link names a tile without nominal position.
    """
    names = list(nominal_px)
    number = {name: i for i, name in enumerate(names)}
    unknown = sorted({n for link in links for n in (link.fixed, link.moving)} - number.keys())
    if unknown:
        raise AlignmentError(f"links name the tiles {unknown}, but `nominal_px` holds no position for them")
    problem = _Problem(
        np.array([nominal_px[n] for n in names], dtype=np.float64).reshape(-1, 3), number, np.array(axes)
    )
    reasons = _contradictions(problem, [link for link in links if not link.reason], max_residual_px)
    judged = tuple(dataclasses.replace(k, reason=k.reason or reasons.get((k.fixed, k.moving), "")) for k in links)
    accepted = [link for link in judged if not link.reason]
    position = problem.solve(accepted)
    residual = problem.residuals(position, accepted)
    position -= position.min(axis=0)
    linked = {n for link in accepted for n in (link.fixed, link.moving)}
    return Placement(
        {name: (p[0], p[1], p[2]) for name, p in zip(names, position.tolist(), strict=True)},
        {(k.fixed, k.moving): (r[0], r[1], r[2]) for k, r in zip(accepted, residual.tolist(), strict=True)},
        judged,
        tuple(n for n in names if n not in linked),
    )


class _Problem:
    def __init__(self, nominal: Floats, number: Mapping[str, int], axes: npt.NDArray[np.bool_]) -> None:
        self.nominal, self.number, self.axes = nominal, number, axes

    def ends(self, links: Sequence[Link]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        fixed = np.array([self.number[k.fixed] for k in links], np.int64)
        return fixed, np.array([self.number[k.moving] for k in links], np.int64)

    def residuals(self, position: Floats, links: Sequence[Link]) -> Floats:
        fixed, moving = self.ends(links)
        offsets = np.array([k.offset_px for k in links], dtype=np.float64).reshape(-1, 3)
        return np.where(self.axes, position[moving] - position[fixed] - offsets, 0)

    def solve(self, links: Sequence[Link]) -> Floats:
        """Positions by least squares with Huber weights; each connected group keeps its mean nominal position."""
        sigma = np.array([link_sigma(k) for k in links]).reshape(-1, 3)
        weights = sigma**-2
        position = self.nominal.copy()
        for _ in range(_ROUNDS):
            before = position
            position = self.weighted(links, weights)
            size = np.abs(self.residuals(position, links)) / sigma
            weights = sigma**-2 * np.minimum(1, _HUBER / np.maximum(size, 1e-12))
            if np.allclose(before, position, rtol=0, atol=1e-6):
                break
        return self._anchored(position, links)

    def weighted(self, links: Sequence[Link], weights: Floats, prior: float = 1e-9) -> Floats:
        """Positions by weighted least squares; ``prior`` is the weight of each tile's nominal position."""
        fixed, moving = self.ends(links)
        offsets = np.array([k.offset_px for k in links], dtype=np.float64).reshape(-1, 3)
        correction = offsets - (self.nominal[moving] - self.nominal[fixed])
        out = self.nominal.copy()
        for axis in np.flatnonzero(self.axes):
            w = weights[:, axis]
            n = len(out)
            normal = np.eye(n) * prior
            right = np.zeros(n)
            for i, j, sign in ((fixed, fixed, 1), (moving, moving, 1), (fixed, moving, -1), (moving, fixed, -1)):
                np.add.at(normal, (i, j), sign * w)
            np.add.at(right, moving, w * correction[:, axis])
            np.add.at(right, fixed, -w * correction[:, axis])
            out[:, axis] += np.linalg.solve(normal, right)
        return out

    def _anchored(self, position: Floats, links: Sequence[Link]) -> Floats:
        fixed, moving = self.ends(links)
        n = len(position)
        graph = coo_array((np.ones(len(links)), (fixed, moving)), shape=(n, n))
        _, label = connected_components(graph, directed=False)
        for group in np.unique(label):
            members = label == group
            position[members] += (self.nominal[members] - position[members]).mean(axis=0)
        return position

    def cost(self, links: Sequence[Link], stage_sigma: float) -> float:
        """Misfit of the loops plus, with far less weight, misfit of the stage."""
        weights = np.array([link_sigma(k) for k in links]).reshape(-1, 3) ** -2
        position = self.weighted(links, weights, stage_sigma**-2)
        misfit = (weights * self.residuals(position, links) ** 2).sum()
        return float(misfit + ((position - self.nominal) ** 2).sum() / stage_sigma**2)

    def stage_sigma(self, links: Sequence[Link]) -> float:
        """How far the links are from the stage's positions, voxels: a robust standard deviation, at least 1."""
        deviation = np.abs(self.residuals(self.nominal, links))[:, self.axes]
        return max(1.0, MAD_TO_SIGMA * float(np.median(deviation))) if deviation.size else 1.0


def _contradictions(problem: _Problem, links: list[Link], max_residual_px: float) -> dict[tuple[str, str], str]:
    """The reason for each link that does not fit the loops: by how much it is off."""
    reasons: dict[tuple[str, str], str] = {}
    links = list(links)
    stage_sigma = problem.stage_sigma(links)
    while links:
        weights = np.array([link_sigma(k) for k in links]) ** -2
        residual = np.abs(problem.residuals(problem.weighted(links, weights), links))
        limit = np.maximum(max_residual_px, 5 * np.array([k.scatter_px for k in links]))
        excess = (residual / limit).max(axis=1)
        if excess.max() <= 1:
            break
        suspects = [i for i in np.argsort(-excess)[:_CANDIDATES].tolist() if excess[i] > excess.max() / 4]
        cost = {i: problem.cost(links[:i] + links[i + 1 :], stage_sigma) for i in suspects}
        culprit = min(suspects, key=lambda i: cost[i])
        dropped = links.pop(culprit)
        position = problem.solve(links)
        off = np.abs(problem.residuals(position, [dropped])).max()
        why = f"contradicts the other links by {off:.1f} voxels; a larger `window_px` tells repeated structures apart"
        reasons[dropped.fixed, dropped.moving] = why
    return reasons
