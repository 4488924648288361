"""Link two overlapping tiles: where the overlap as a whole fits, whether it can be trusted, and exactly where."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model import ZYX, Candidate, Link, Match, Volume
from gpustitch.model.arrays import Floats, PxZYX
from gpustitch.oblique.align.in_range import in_range
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.overlaps import reasons
from gpustitch.oblique.align.overlaps.bending import with_bend
from gpustitch.oblique.align.overlaps.camera import CameraView
from gpustitch.oblique.align.overlaps.camera_pattern import Cleared, Still, level_px
from gpustitch.oblique.align.overlaps.candidates import TRUSTED, Peak, find_candidates, settle
from gpustitch.oblique.align.overlaps.counted import Counted
from gpustitch.oblique.align.overlaps.evidence import Evidence, weigh
from gpustitch.oblique.align.overlaps.ground import find_ground, settled_elsewhere
from gpustitch.oblique.align.overlaps.windows import Found as FoundWindow
from gpustitch.oblique.align.overlaps.windows import Windows, fitting, ladder, match_windows
from gpustitch.oblique.align.points import Centres, Overlap, draw_points, nearest_voxel
from gpustitch.running.threads import Workers

# A place is kept for the solver that is so sure.
_KEPT = 0.05
# Windows count that end within so many bins of where the whole overlap fits, and correlate more than noise does.
_NEAR_BINS = 1.0
_NOISE_CORRELATION = 0.5
# Windows that correlate by this show the same thing, wherever they lead.
_SAME_CORRELATION = 0.8
# What is left of a pattern of the camera makes this part of what windows err by, measured: it is the same all along x,
# and alike as far as what was taken for the level.
_STILL = 0.33
# Where windows say less than so many independent ones, the whole overlap is asked without bins: they may see one thing.
_FEW = 2.0
# It then errs by less than this part of what its correlation lets expect, measured: what is not alike lies mostly
# where nothing is, and moves no structure.
_ALONE = 0.5
# Small windows of a narrow overlap have this part of its error in common, measured where light is uneven.
_SHARED = 0.6
# Windows end within .2 bins of where the binned overlap fits, measured. If not, the overlap without bins decides.
_PAST_BINS = 0.25
# Without a search the windows alone tell: by their correlation, and if more than this part of them agree.
_UNSEARCHED_CORRELATION = 0.95
_UNSEARCHED_PART = 1 / 3
# Standard error of a place that no window refined, bins.
_COARSE_BINS = 0.5
# A place with a standard error above this, voxels, is none: little is alike. Where a pattern of the camera was taken
# away, what is left of it makes errors of good places so great, and so does what small windows have in common.
_LOOSEST_PX, _LOOSEST_CLEARED_PX = 0.6, 1.5
# Where objects have moved, what is between them may know it as badly as the stage, and is right with this probability.
_LOOSEST_GROUND_PX, _BY_GROUND = 3.0, 0.95


@dataclass(frozen=True)
class LinkCount:
    """How many points of an overlap were compared, how many correlated well enough, how many agreed; bytes read.

    ``elsewhere`` counts those that correlate nearly as one picture with itself, and do not lead where the others do.
    ``moved_px`` (z, y, x) is how far objects that stand out lie from where what is between them has them;
    ``by_objects_alone`` says that nothing between them tells.
    """

    sampled: int = 0
    correlated: int = 0
    agreeing: int = 0
    n_bytes: int = 0
    elsewhere: int = 0
    moved_px: PxZYX | None = None
    by_objects_alone: bool = False


@dataclass(frozen=True)
class _Refined:
    """The offset near one place, its standard error and the scatter of its matches, or why there is none.

    The offset is that in the grid of the tiles, the matches are along the sheet. ``sigma_px`` is that of the mean
    offset: it leaves out by how much the offset changes from end to end, ``bend_px``.
    """

    offset_px: PxZYX = (0.0, 0.0, 0.0)
    sigma_px: PxZYX = (0.0, 0.0, 0.0)
    scatter_px: PxZYX = (0.0, 0.0, 0.0)
    matches: tuple[Match, ...] = ()
    n_independent: float = 0.0
    count: LinkCount = LinkCount()
    is_narrow: bool = False
    is_shared: bool = False
    reason: str = ""
    bend_px: PxZYX | None = None


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
        self._ladder = ladder(options.window_px, options.largest_px)
        self._stage, self._may_move, self._is_cleared = overlap.offset, may_move, is_cleared

    def link(self) -> tuple[Link, LinkCount]:
        if not any(self._reach):
            alone = self._by_windows(self._overlap.offset, None, self._ladder[0])
            return self._made(alone, alone.reason or self._disagreeing(alone.count), ()), alone.count
        found = find_candidates(self._overlap, self._reach, self._options.sigma_um, self._rng, self._workers.device)
        worth = [p for p in found.peaks if p.confidence >= _KEPT and not p.is_drawn_out]
        if not worth:
            return self._made(_Refined(), reasons.why_nothing(found, self._reach), ()), LinkCount()
        refined = [self._surest(p, found.binning) for p in worth]
        candidates = tuple(
            Candidate(*self._place(r, p.offset_px, found.binning), p.confidence)
            for p, r in zip(worth, refined, strict=True)
        )
        loosest_px = self._loosest_px(refined[0])
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

    def _checked(self, first: _Refined, candidates: tuple[Candidate, ...]) -> tuple[Link, LinkCount]:
        """The link, if what lies between objects does not contradict them; else the one that it makes."""
        ground, is_told = self._ground(first)
        if ground is None:
            return self._made(first, "", candidates), dataclasses.replace(first.count, by_objects_alone=not is_told)
        # Objects that have moved join no tiles, however well they fit.
        moved_px = None if ground.offset_px == first.offset_px else _less(first.offset_px, ground.offset_px)
        count = dataclasses.replace(first.count, moved_px=moved_px)
        loose = reasons.why_loose(ground.sigma_px, _LOOSEST_GROUND_PX)
        if loose:
            return self._made(_Refined(), loose, ()), count
        return self._made(ground, "", (Candidate(ground.offset_px, ground.sigma_px, _BY_GROUND),)), count

    def _ground(self, objects: _Refined) -> tuple[_Refined | None, bool]:
        """Where what lies between objects fits, if elsewhere; in doubt the objects' place, less sure; if it tells."""
        sigma_um, device = self._options.sigma_um, self._workers.device
        found = find_ground(self._overlap, self._reach, sigma_um, self._rng, device, is_cleared=self._is_cleared)
        z, y, x = objects.offset_px
        is_elsewhere = found.is_elsewhere((z, y, x - self._shear * z))
        if found.peak is None or is_elsewhere == "no":
            return None, found.peak is not None
        overlap = dataclasses.replace(found.overlap, offset=nearest_voxel(found.peak.offset_px))
        z_px, y_px, x_px = found.binning
        ground = self._whole(overlap, (z_px, y_px, x_px), found.fine_px)
        if is_elsewhere == "yes":
            return ground or _Refined(self._in_grid(found.peak.offset_px), (z_px, y_px, x_px)), True
        if ground is None:
            return None, True
        sigma_px = np.hypot(ground.sigma_px, objects.sigma_px)
        is_off = settled_elsewhere(np.subtract(ground.offset_px, objects.offset_px), sigma_px)
        return {"no": None, "perhaps": _less_sure(objects, ground), "yes": ground}[is_off], True

    def _loosest_px(self, refined: _Refined) -> float:
        return _LOOSEST_CLEARED_PX if self._is_cleared or refined.is_shared else _LOOSEST_PX

    def _surest(self, peak: Peak, binning: ZYX) -> _Refined:
        """The offset near a peak. Where stripes or uneven light hide it, windows are compared free of levels."""
        refined = self._checked_by_whole(peak, binning)
        if self._options.window_px is not None or max(refined.sigma_px) <= self._loosest_px(refined):
            return refined
        again = self._checked_by_whole(peak, binning, level_free=True)
        is_better = not again.reason and max(again.sigma_px) <= self._loosest_px(again)
        return again if is_better else refined

    def _checked_by_whole(self, peak: Peak, binning: ZYX, *, level_free: bool = False) -> _Refined:
        """The offset near a peak: by windows, or by the overlap as a whole where windows lead past the peak.

        Light that falls off along the camera's picture, or tiles that saturate, displace windows all alike, and they
        do not know. Of the whole overlap levels and shading are taken away.
        """
        z, y, x = (_NEAR_BINS * n + 1 for n in binning)
        refined = self._refine(nearest_voxel(peak.offset_px), (z, y, x), level_free=level_free)
        if refined.n_independent < _FEW or self._options.window_px is not None:
            return refined
        past = self._past(refined, peak, binning)
        if past <= _PAST_BINS:
            return refined
        whole = self._whole(dataclasses.replace(self._overlap, offset=nearest_voxel(peak.offset_px)), (z, y, x))
        if whole is None:
            return refined
        off = np.abs(np.subtract(whole.offset_px, refined.offset_px))
        # Where the whole ends as far past the peak, the bins are what misled, and the windows are right.
        if (off > whole.sigma_px).any() and self._past(whole, peak, binning) < past / 2:
            return dataclasses.replace(whole, count=refined.count, bend_px=refined.bend_px)
        return _less_sure(refined, whole)

    def _past(self, refined: _Refined, peak: Peak, binning: ZYX) -> float:
        return float((np.abs(np.subtract(refined.offset_px, self._in_grid(peak.offset_px))) / binning).max())

    def _refine(self, place: ZYX, near_px: PxZYX, *, level_free: bool) -> _Refined:
        """The offset near a place: by windows, or by the overlap as a whole where few windows show anything."""
        # Large windows that nearly fill an overlap see the same: smaller ones are asked too, which shading displaces.
        tried: dict[ZYX, _Refined] = {}
        overlap = dataclasses.replace(self._overlap, offset=place)
        for largest in self._ladder:
            if (shape := self._fitting(overlap, largest, level_free)[0].shape) in tried:
                continue
            refined = self._by_windows(place, near_px, largest, level_free=level_free)
            if refined.matches and refined.is_narrow:
                z, y, x = refined.offset_px
                closer = nearest_voxel((z, y, x - self._shear * z))
                if closer != place:
                    # What both tiles have is known only now; near its ends, every voxel counts.
                    refined = self._by_windows(closer, near_px, largest, level_free=level_free)
            if self._options.window_px is not None or (not tried and refined.n_independent >= _FEW):
                return refined
            tried[shape] = refined
        (first, *_), last = tried.values(), refined
        whole = None if reasons.NO_PEAK in last.reason else self._whole(overlap, near_px, part=_ALONE)
        if last.n_independent >= _FEW:
            return last if whole is None else _less_sure(last, whole, _SHARED)
        return first if whole is None else dataclasses.replace(whole, count=first.count)

    def _whole(self, overlap: Overlap, near_px: PxZYX, binning: ZYX = (1, 1, 1), part: float = 1.0) -> _Refined | None:
        """The offset near the assumed one by the overlap as a whole, with a ``part`` of the error one would expect."""
        z, y, x = (math.ceil(n) + k for n, k in zip(near_px, binning, strict=True))
        settled = settle(overlap, (z, y, x), self._options.sigma_um, self._rng, self._workers.device, binning)
        if settled is None:
            return None
        whole = settled.peak
        both = overlap.shared[0]
        middle = [(a + b - 1) // 2 for a, b in zip(both.start, both.stop, strict=True)]
        fixed = (middle[0], middle[1], middle[2])
        match = Match(fixed, _less(fixed, whole.offset_px), whole.correlation)
        z_px, y_px, x_px = (part * settled.error * self._reaches(whole.spread)).tolist()
        return _Refined(self._in_grid(whole.offset_px), (z_px, y_px, x_px), matches=(match,), n_independent=1.0)

    def _by_windows(self, place: ZYX, near_px: PxZYX | None, largest: ZYX, *, level_free: bool = False) -> _Refined:
        """Windows at a place: those that correlate and, if ``near_px`` (z, y, x) is given, lead near to it."""
        options, overlap = self._options, dataclasses.replace(self._overlap, offset=place)
        windows, centres = self._fitting(overlap, largest, level_free)
        if centres.is_empty:
            return _Refined(reason=reasons.why_no_room(overlap.shape, windows.shape))
        points = draw_points(
            overlap.fixed, centres, options.blob_window_px, options.sample_count, self._rng, self._workers
        )
        all_matches = match_windows(overlap, windows, points, self._workers, shared_only=near_px is not None)
        matches = [w for w in all_matches if w.is_known]
        least = options.min_correlation
        if least is None:
            least = _UNSEARCHED_CORRELATION if near_px is None else _NOISE_CORRELATION
        seen = [w for w in matches if w.match.correlation >= least and w.is_near(place, near_px)]
        good = [w.match for w in seen]
        count = LinkCount(len(points), len(good), 0)
        if not good:
            best = max((w.match.correlation for w in all_matches), default=0.0)
            return _Refined(count=count, reason=reasons.why_none_leads(len(points), least, best, len(matches)))
        found = self._weighed(seen, windows.shape)
        agreeing = tuple(m for m, yes in zip(good, found.agrees, strict=True) if yes)
        others = [w for w in matches if w.match.correlation >= _SAME_CORRELATION and w.match not in agreeing]
        elsewhere = self._elsewhere(others, windows.shape)
        count = dataclasses.replace(count, agreeing=len(agreeing), elsewhere=elsewhere)
        is_narrow = windows.shape != largest
        return _Refined(
            found.offset_px, found.sigma_px, found.scatter_px, agreeing, found.n_independent, count, is_narrow,
            bend_px=found.bend_px,
        )  # fmt: skip

    def _weighed(self, seen: Sequence[FoundWindow], window_px: ZYX) -> Evidence:
        return weigh(
            [self._in_grid(w.offset_px) for w in seen],
            [w.match.correlation for w in seen],
            [self._reaches(w.spread) for w in seen],
            [w.match.fixed_px for w in seen],
            window_px,
            _STILL if self._is_cleared else 0.0,
            level_px(self._overlap.fixed.spacing, self._options.sigma_um),
            [(z, y, x + self._shear * z) for z, y, x in (w.beyond for w in seen)],
        )

    def _elsewhere(self, others: Sequence[FoundWindow], window_px: ZYX) -> int:
        """How many windows that disagree lead to one other place; one object seen by many of them says nothing."""
        if not others:
            return 0
        found = self._weighed(others, window_px)
        return int(found.agrees.sum()) if found.n_independent >= _FEW else 0

    def _reaches(self, spread: Sequence[Sequence[float]]) -> Floats:
        """How far a peak of such a spread along the sheet reaches on the axes of the grid."""
        turn = np.array([[1, 0, 0], [0, 1, 0], [self._shear, 0, 1]])
        return np.asarray(np.sqrt(np.diag(turn @ np.asarray(spread) @ turn.T)))

    def _fitting(self, overlap: Overlap, largest: ZYX, level_free: bool) -> tuple[Windows, Centres]:
        options, (z, y, x) = self._options, (self._options.sigma_um / um for um in overlap.fixed.spacing.zyx_um)
        windows = Windows(largest, (z, y, x), options.border_px, level_free=level_free)
        return fitting(overlap, windows, shrinks=options.window_px is None)

    def _disagreeing(self, count: LinkCount) -> str:
        is_enough = count.agreeing >= self._options.min_matches and count.agreeing > _UNSEARCHED_PART * count.correlated
        return "" if is_enough else reasons.why_disagreeing(count.agreeing, count.correlated)

    def _place(self, refined: _Refined, coarse: PxZYX, binning: ZYX) -> tuple[PxZYX, PxZYX]:
        """Offset and standard error of a candidate in the grid of the tiles."""
        if refined.matches:
            return refined.offset_px, refined.sigma_px
        z, y, x = (_COARSE_BINS * n for n in binning)
        return self._in_grid(coarse), (z, y, x)

    def _in_grid(self, offset: PxZYX) -> PxZYX:
        z, y, x = offset
        return z, y, x + self._shear * z

    def _made(self, refined: _Refined, reason: str, candidates: tuple[Candidate, ...]) -> Link:
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


def _less_sure(refined: _Refined, whole: _Refined, part: float = 0.0) -> _Refined:
    """The same, less sure by how far off the whole overlap fits, and by a ``part`` of what that errs by."""
    off = np.hypot(np.subtract(whole.offset_px, refined.offset_px), part * np.array(whole.sigma_px))
    z, y, x = np.hypot(refined.sigma_px, off).tolist()
    return dataclasses.replace(refined, sigma_px=(z, y, x), is_shared=part > 0)


def _less(a: Sequence[float], b: Sequence[float]) -> PxZYX:
    z, y, x = (p - q for p, q in zip(a, b, strict=True))
    return z, y, x
