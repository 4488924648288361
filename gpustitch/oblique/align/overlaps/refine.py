"""The exact place of an overlap near a candidate: by windows in it, or by the overlap as a whole."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model import ZYX, Match
from gpustitch.model.arrays import Floats, PxZYX
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.overlaps import reasons
from gpustitch.oblique.align.overlaps.camera_pattern import level_px
from gpustitch.oblique.align.overlaps.evidence import Evidence, weigh
from gpustitch.oblique.align.overlaps.peaks import Peak
from gpustitch.oblique.align.overlaps.settle import settle
from gpustitch.oblique.align.overlaps.windows import Found as FoundWindow
from gpustitch.oblique.align.overlaps.windows import Windows, fitting, ladder, match_windows
from gpustitch.oblique.align.points import Centres, Overlap, draw_points, nearest_voxel
from gpustitch.running.threads import Workers

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
# Without a search the windows alone tell, by their correlation.
_UNSEARCHED_CORRELATION = 0.95
# A place with a standard error above this, voxels, is none: little is alike. Where a pattern of the camera was taken
# away, what is left of it makes errors of good places so great, and so does what small windows have in common.
_LOOSEST_PX, _LOOSEST_CLEARED_PX = 0.6, 1.5


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
class Refined:
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


class Refining:
    """Refines places of one overlap.

    Parameters
    ----------
    overlap
        The tiles without shear, and where the moving one should be.
    options
        How points are compared.
    rng
        Draws the parts and points that are compared.
    workers
        Threads and device.
    shear
        Columns of the tiles' grid by which the grid without shear is displaced from plane to plane.
    is_cleared
        Whether a pattern of the camera was taken away.
    """

    def __init__(
        self,
        overlap: Overlap,
        options: MatchOptions,
        rng: np.random.Generator,
        workers: Workers,
        *,
        shear: float,
        is_cleared: bool,
    ) -> None:
        self._overlap, self._options, self._rng, self._workers = overlap, options, rng, workers
        self._shear, self._is_cleared = shear, is_cleared
        self._ladder = ladder(options.window_px, options.largest_px)

    def unsearched(self) -> Refined:
        """What windows at the assumed offset say, wherever they lead."""
        return self._by_windows(self._overlap.offset, None, self._ladder[0])

    def loosest_px(self, refined: Refined) -> float:
        """The greatest standard error of a place, voxels: beyond it, there is none."""
        return _LOOSEST_CLEARED_PX if self._is_cleared or refined.is_shared else _LOOSEST_PX

    def surest(self, peak: Peak, binning: ZYX) -> Refined:
        """The offset near a peak. Where stripes or uneven light hide it, windows are compared free of levels."""
        refined = self._checked_by_whole(peak, binning)
        if self._options.window_px is not None or max(refined.sigma_px) <= self.loosest_px(refined):
            return refined
        again = self._checked_by_whole(peak, binning, level_free=True)
        is_better = not again.reason and max(again.sigma_px) <= self.loosest_px(again)
        return again if is_better else refined

    def _checked_by_whole(self, peak: Peak, binning: ZYX, *, level_free: bool = False) -> Refined:
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
        whole = self.by_whole(dataclasses.replace(self._overlap, offset=nearest_voxel(peak.offset_px)), (z, y, x))
        if whole is None:
            return refined
        off = np.abs(np.subtract(whole.offset_px, refined.offset_px))
        # Where the whole ends as far past the peak, the bins are what misled, and the windows are right.
        if (off > whole.sigma_px).any() and self._past(whole, peak, binning) < past / 2:
            return dataclasses.replace(whole, count=refined.count, bend_px=refined.bend_px)
        return less_sure(refined, whole)

    def _past(self, refined: Refined, peak: Peak, binning: ZYX) -> float:
        return float((np.abs(np.subtract(refined.offset_px, self.in_grid(peak.offset_px))) / binning).max())

    def _refine(self, place: ZYX, near_px: PxZYX, *, level_free: bool) -> Refined:
        """The offset near a place: by windows, or by the overlap as a whole where few windows show anything."""
        # Large windows that nearly fill an overlap see the same: smaller ones are asked too, which shading displaces.
        tried: dict[ZYX, Refined] = {}
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
        whole = None if reasons.NO_PEAK in last.reason else self.by_whole(overlap, near_px, part=_ALONE)
        if last.n_independent >= _FEW:
            return last if whole is None else less_sure(last, whole, _SHARED)
        return first if whole is None else dataclasses.replace(whole, count=first.count)

    def by_whole(self, overlap: Overlap, near_px: PxZYX, binning: ZYX = (1, 1, 1), part: float = 1.0) -> Refined | None:
        """The offset near the assumed one by the overlap as a whole, with a ``part`` of the error one would expect."""
        z, y, x = (math.ceil(n) + k for n, k in zip(near_px, binning, strict=True))
        settled = settle(overlap, (z, y, x), self._options.sigma_um, self._rng, self._workers.device, binning)
        if settled is None:
            return None
        whole = settled.peak
        both = overlap.shared[0]
        middle = [(a + b - 1) // 2 for a, b in zip(both.start, both.stop, strict=True)]
        fixed = (middle[0], middle[1], middle[2])
        match = Match(fixed, difference(fixed, whole.offset_px), whole.correlation)
        z_px, y_px, x_px = (part * settled.error * self._reaches(whole.spread)).tolist()
        return Refined(self.in_grid(whole.offset_px), (z_px, y_px, x_px), matches=(match,), n_independent=1.0)

    def _by_windows(self, place: ZYX, near_px: PxZYX | None, largest: ZYX, *, level_free: bool = False) -> Refined:
        """Windows at a place: those that correlate and, if ``near_px`` (z, y, x) is given, lead near to it."""
        options, overlap = self._options, dataclasses.replace(self._overlap, offset=place)
        windows, centres = self._fitting(overlap, largest, level_free)
        if centres.is_empty:
            return Refined(reason=reasons.why_no_room(overlap.shape, windows.shape))
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
            return Refined(count=count, reason=reasons.why_none_leads(len(points), least, best, len(matches)))
        found = self._weighed(seen, windows.shape)
        agreeing = tuple(m for m, yes in zip(good, found.agrees, strict=True) if yes)
        others = [w for w in matches if w.match.correlation >= _SAME_CORRELATION and w.match not in agreeing]
        elsewhere = self._elsewhere(others, windows.shape)
        count = dataclasses.replace(count, agreeing=len(agreeing), elsewhere=elsewhere)
        is_narrow = windows.shape != largest
        return Refined(
            found.offset_px, found.sigma_px, found.scatter_px, agreeing, found.n_independent, count, is_narrow,
            bend_px=found.bend_px,
        )  # fmt: skip

    def _weighed(self, seen: Sequence[FoundWindow], window_px: ZYX) -> Evidence:
        return weigh(
            [self.in_grid(w.offset_px) for w in seen],
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

    def in_grid(self, offset: PxZYX) -> PxZYX:
        """An offset along the sheet (z, y, x) in the grid of the tiles."""
        z, y, x = offset
        return z, y, x + self._shear * z


def less_sure(refined: Refined, whole: Refined, part: float = 0.0) -> Refined:
    """The same, less sure by how far off the whole overlap fits, and by a ``part`` of what that errs by."""
    off = np.hypot(np.subtract(whole.offset_px, refined.offset_px), part * np.array(whole.sigma_px))
    z, y, x = np.hypot(refined.sigma_px, off).tolist()
    return dataclasses.replace(refined, sigma_px=(z, y, x), is_shared=part > 0)


def difference(a: Sequence[float], b: Sequence[float]) -> PxZYX:
    """``a`` less ``b`` (z, y, x)."""
    z, y, x = (p - q for p, q in zip(a, b, strict=True))
    return z, y, x
