"""Link two overlapping tiles: where the overlap as a whole fits, whether it can be trusted, and exactly where."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from gpustitch.model import ZYX, Candidate, Link, Match, Volume
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.in_range import in_range
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.overlaps import reasons
from gpustitch.oblique.align.overlaps.bending import with_bend
from gpustitch.oblique.align.overlaps.camera import CameraView
from gpustitch.oblique.align.overlaps.camera_pattern import Cleared, Still
from gpustitch.oblique.align.overlaps.candidates import TRUSTED, find_candidates
from gpustitch.oblique.align.overlaps.counted import Counted
from gpustitch.oblique.align.overlaps.ground import find_ground, settled_elsewhere
from gpustitch.oblique.align.overlaps.refine import LinkCount, Refined, Refining, difference, less_sure
from gpustitch.oblique.align.points import Overlap, nearest_voxel
from gpustitch.running.threads import Workers

# A place is kept for the solver that is so sure.
_KEPT = 0.05
# Without a search more than this part of the windows that correlate must agree.
_UNSEARCHED_PART = 1 / 3
# Standard error of a place that no window refined, bins.
_COARSE_BINS = 0.5
# Where objects have moved, what is between them may know it as badly as the stage, and is right with this probability.
_LOOSEST_GROUND_PX, _BY_GROUND = 3.0, 0.95


def link_tiles(
    overlap: Overlap,
    names: tuple[str, str],
    options: MatchOptions,
    reach_px: ZYX,
    rng: np.random.Generator,
    workers: Workers,
    still: Still | None = None,
    *,
    may_move: bool = False,
) -> tuple[Link, LinkCount]:
    """Find where the moving tile lies; the ``reason`` of a link says why it cannot be trusted.

    Parameters
    ----------
    overlap
        The tiles, and where the moving one should be.
    names
        Names of the fixed and the moving tile.
    options
        How points are compared.
    reach_px
        How far from there the moving tile may be (z, y, x); all 0 for no search.
    rng
        Draws the parts and points that are compared.
    workers
        Threads and device.
    still
        What stands still in the camera's picture, along the sheet of both tiles; None for nothing.
    may_move
        Whether objects may have moved between the tiles, as debris does. Then what lies between them is asked too.
    """
    fixed, moving = Counted(overlap.fixed), Counted(overlap.moving)
    seen: Sequence[Volume] = (fixed, moving)
    if still is not None:
        seen = [Cleared(volume, half) for volume, half in zip(seen, still.halves, strict=True)]
    overlap = in_range(dataclasses.replace(overlap, fixed=seen[0], moving=seen[1]))
    linking = _Linking(overlap, names, options, reach_px, rng, workers, may_move=may_move, is_cleared=still is not None)
    link, count = linking.link()
    return link, dataclasses.replace(count, n_bytes=fixed.n_bytes + moving.n_bytes)


class _Linking:
    def __init__(
        self,
        overlap: Overlap,
        names: tuple[str, str],
        options: MatchOptions,
        reach_px: ZYX,
        rng: np.random.Generator,
        workers: Workers,
        *,
        may_move: bool,
        is_cleared: bool,
    ) -> None:
        fixed, moving = overlap.fixed, overlap.moving
        # Along the sheet an overlap is a box, if both sheets slant alike.
        shear = fixed.coverage.shear if fixed.coverage.shear == moving.coverage.shear else 0.0
        self._shear = shear
        if shear:
            fixed, moving = CameraView(fixed), CameraView(moving)
        z, y, x = overlap.offset
        self._overlap = Overlap(fixed, moving, (z, y, round(x - shear * z)))
        self._names, self._options, self._rng, self._workers = names, options, rng, workers
        self._reach = (
            (reach_px[0], reach_px[1], math.ceil(reach_px[2] + shear * reach_px[0])) if any(reach_px) else reach_px
        )
        self._refining = Refining(self._overlap, options, rng, workers, shear=shear, is_cleared=is_cleared)
        self._stage, self._may_move, self._is_cleared = overlap.offset, may_move, is_cleared

    def link(self) -> tuple[Link, LinkCount]:
        if not any(self._reach):
            alone = self._refining.unsearched()
            return self._made(alone, alone.reason or self._disagreeing(alone.count), ()), alone.count
        found = find_candidates(self._overlap, self._reach, self._options.sigma_um, self._rng, self._workers.device)
        worth = [p for p in found.peaks if p.confidence >= _KEPT and not p.is_drawn_out]
        if not worth:
            return self._made(Refined(), reasons.why_nothing(found, self._reach), ()), LinkCount()
        refined = [self._refining.surest(p, found.binning) for p in worth]
        candidates = tuple(
            Candidate(*self._place(r, p.offset_px, found.binning), p.confidence)
            for p, r in zip(worth, refined, strict=True)
        )
        loosest_px = self._refining.loosest_px(refined[0])
        first, reason = refined[0], refined[0].reason or reasons.why_loose(refined[0].sigma_px, loosest_px)
        candidates = tuple(c for c in candidates if max(c.sigma_px) <= loosest_px)
        if reason and self._options.window_px is not None:
            # Where the stated windows find nothing, no other place is offered.
            candidates = ()
        if worth[0].confidence < TRUSTED:
            reason = reasons.why_nothing(found, self._reach)
        if reason or not self._may_move:
            return self._made(first, reason, candidates), first.count
        return self._checked(first, candidates)

    def _checked(self, first: Refined, candidates: tuple[Candidate, ...]) -> tuple[Link, LinkCount]:
        """The link, if what lies between objects does not contradict them; else the one that it makes."""
        ground, is_told = self._ground(first)
        if ground is None:
            return self._made(first, "", candidates), dataclasses.replace(first.count, by_objects_alone=not is_told)
        # Objects that have moved join no tiles, however well they fit.
        moved_px = None if ground.offset_px == first.offset_px else difference(first.offset_px, ground.offset_px)
        count = dataclasses.replace(first.count, moved_px=moved_px)
        loose = reasons.why_loose(ground.sigma_px, _LOOSEST_GROUND_PX)
        if loose:
            return self._made(Refined(), loose, ()), count
        return self._made(ground, "", (Candidate(ground.offset_px, ground.sigma_px, _BY_GROUND),)), count

    def _ground(self, objects: Refined) -> tuple[Refined | None, bool]:
        """Where what lies between objects fits, if elsewhere; in doubt the objects' place, less sure; if it tells."""
        sigma_um, device = self._options.sigma_um, self._workers.device
        found = find_ground(self._overlap, self._reach, sigma_um, self._rng, device, is_cleared=self._is_cleared)
        z, y, x = objects.offset_px
        is_elsewhere = found.is_elsewhere((z, y, x - self._shear * z))
        if found.peak is None or is_elsewhere == "no":
            return None, found.peak is not None
        overlap = dataclasses.replace(found.overlap, offset=nearest_voxel(found.peak.offset_px))
        z_px, y_px, x_px = found.binning
        ground = self._refining.by_whole(overlap, (z_px, y_px, x_px), found.fine_px)
        if is_elsewhere == "yes":
            return ground or Refined(self._refining.in_grid(found.peak.offset_px), (z_px, y_px, x_px)), True
        if ground is None:
            return None, True
        sigma_px = np.hypot(ground.sigma_px, objects.sigma_px)
        is_off = settled_elsewhere(np.subtract(ground.offset_px, objects.offset_px), sigma_px)
        return {"no": None, "perhaps": less_sure(objects, ground), "yes": ground}[is_off], True

    def _disagreeing(self, count: LinkCount) -> str:
        is_enough = count.agreeing >= self._options.min_matches and count.agreeing > _UNSEARCHED_PART * count.correlated
        return "" if is_enough else reasons.why_disagreeing(count.agreeing, count.correlated)

    def _place(self, refined: Refined, coarse: PxZYX, binning: ZYX) -> tuple[PxZYX, PxZYX]:
        """Offset and standard error of a candidate in the grid of the tiles."""
        if refined.matches:
            return refined.offset_px, refined.sigma_px
        z, y, x = (_COARSE_BINS * n for n in binning)
        return self._refining.in_grid(coarse), (z, y, x)

    def _made(self, refined: Refined, reason: str, candidates: tuple[Candidate, ...]) -> Link:
        if not refined.matches:
            z, y, x = self._stage
            offset = candidates[0].offset_px if candidates else (float(z), float(y), float(x))
            return Link(*self._names, offset, (0.0, 0.0, 0.0), (), reason, None, candidates)
        matches = tuple(self._match(m) for m in refined.matches)
        bend_px, sigma_px = refined.bend_px, with_bend(refined.sigma_px, refined.bend_px)
        return Link(*self._names, refined.offset_px, refined.scatter_px, matches, reason, sigma_px, candidates, bend_px)

    def _match(self, match: Match) -> Match:
        """A match in the grids of the tiles, about a whole voxel of the fixed one."""
        (z, y, f), (mz, my, mf) = match.fixed_px, match.moving_px
        x = round(f + self._shear * z)
        return Match((z, y, x), (mz, my, mf + self._shear * mz + (x - f - self._shear * z)), match.correlation)
