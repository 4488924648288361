"""How much of what is alike along the rows is stripes: tissue has no direction, stripes have.

Windows of a row, some way apart, are alike by stripes and by tissue. Windows of a column are alike by tissue alone. The
difference of their covariances, level by level, is the stripes' energy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gpustitch.array import Array
from gpustitch.model.arrays import Bools, Floats, HostArray
from gpustitch.oblique.destripe.guarded_notch.carried import carried_on, likely
from gpustitch.oblique.destripe.guarded_notch.doubt import Doubt
from gpustitch.oblique.destripe.guarded_notch.far_apart import (
    FAR_PART,
    FAR_PX,
    OF_MANY_ROWS,
    FarApart,
    OfFrames,
    far_apart,
)
from gpustitch.oblique.destripe.guarded_notch.lean import Lean, lean_of
from gpustitch.oblique.destripe.guarded_notch.notch import (
    LENGTHS_PX,
    Notch,
    details,
    levels_in,
    sigma_px,
    stripes_of,
    window_grid,
    without_tissue,
)
from gpustitch.oblique.destripe.guarded_notch.reach import Ending, Grids, ending_of
from gpustitch.oblique.destripe.guarded_notch.robust_rows import low_pass_matrix, robust_low_pass
from gpustitch.oblique.destripe.guarded_notch.shadows import skewness
from gpustitch.oblique.destripe.guarded_notch.streaks import Length, are_streaks, bright_lines, length_of
from gpustitch.oblique.destripe.guarded_notch.window_grid import WINDOW_PX, between_windows_px, windows_apart
from gpustitch.ops.robust import MAD_TO_SIGMA, weighted_median

# Neighbouring windows are compared at fine levels, where lines that lean a little soon differ. At levels beyond this
# one neighbours share too much tissue, and windows two apart are compared.
_NEIGHBOURS_TO_LEVEL = 3
# Details beyond those of such a gain (its logarithm) are borders: no stripe is as strong.
_MOST_GAIN = 0.4
# Details beyond so many robust standard deviations are cells and edges: where it is doubted whether there are stripes,
# they are cut, or their few products would be most of the error.
_STANDS_OUT = 2.0
# Windows so many parts of a row apart tell what whole rows share; those at both ends must share so much of it.
_HALF, _ENDS, _LEAST_REACHING = 1 / 2, 7 / 8, 1 / 2
# Lines are followed along the rows without what is wider than this level's periods.
_THIN_LEVEL = 4
# Rows of fewer windows side by side hold too little tissue for its mean to be told well.
_LEAST_WINDOWS = 8


_SIDE_BY_SIDE = Doubt(2.0, 2.0, 3.5, 1 / 2)
# Of a level that is stripes by a small part, at most so many times this part is taken: by twice the part, what is taken
# of the tissue is as much as stripes were.
_MOST_OF_PART = 1.75
# Shadows of which the coarsest level found is taken by this part go on to the next one.
_STRONG = 0.7
# Beside lines that end, whose chance meetings half a frame apart are as strong as stripes.
_FAR = Doubt(3.5, 2.0, 4.5, 1 / 2)
_FEW = Doubt(3.0, 3.0, 4.5, 3 / 4, clear=50.0)
# Stripes have borders, so beside their level another holds so many standard errors of them.
_A_LITTLE = 1.0


@dataclass(frozen=True)
class Likeness:
    """Covariance of windows apart at each level, the finest first: along rows, and along columns with its error.

    ``columns`` are infinite at levels that cannot be compared, which therefore hold no stripes. ``surely`` is by how
    many standard errors rows are more alike than columns where what stands out, as cells and edges do, is cut.
    ``taken`` is the mean square of what a robust mean of each row takes: stripes, and tissue by chance; ``taken_by``
    that of robust low passes along the rows, by the length of the notch. ``reaching``
    are levels that surely hold stripes for what windows far apart have in common, ``denied`` those that hold none that
    go on along their rows for what they have not. ``error`` is the standard error of rows less columns, ``far`` what
    windows far apart have in common, None where it was not asked.
    """

    rows: Floats
    columns: Floats
    columns_error: Floats
    error: Floats
    surely: Floats
    taken: Floats
    reaching: Bools
    denied: Bools
    doubt: Doubt = _SIDE_BY_SIDE
    far: FarApart | None = None
    taken_by: Mapping[float, Floats] = field(default_factory=dict)

    @property
    def n_levels(self) -> int:
        """Number of levels at which rows and columns can be compared."""
        return int(np.count_nonzero(np.isfinite(self.columns)))

    @property
    def strengths(self) -> tuple[float, ...]:
        """Part that is to be taken of what a row's mean holds, for each level; 0 where stripes are not sure.

        Stripes have borders, so they are found at neighbouring levels; a level found alone does not count.
        """
        clear = self.rows > self.doubt.clear * (self.columns + self.doubt.sure * self.columns_error)
        sure = np.where(clear, _SIDE_BY_SIDE.sure, self.doubt.sure)
        found = self.surely > sure
        found &= _beside(found) | (_beside(self.surely > _A_LITTLE) & (self.surely > self.doubt.alone))
        for _ in found:
            found |= (self.surely > self.doubt.likely) & _beside(found)
        found |= self.reaching
        return tuple(self._parts(np.where(found, self._excess, 0), self.taken).tolist())

    def parts(self, length_px: float = np.inf, *, shadows: bool = False) -> tuple[float, ...]:
        """The same for a notch of this length, one of those in ``taken_by``, and of levels coarser than stripes' own.

        There a part of them is likely to go on; shadows that are most of what rows' means hold surely do. A short notch
        takes more of the tissue, so less of what it takes is stripes.
        """
        strengths, taken = np.array(self.strengths), self.taken_by.get(length_px, self.taken)
        found, excess = strengths > 0, self.rows - self.columns
        if not found.any():
            return self.strengths
        observed = [(excess, self.error)]
        if self.far is not None:
            observed.append((self.far.rows, self.far.error))
        known = np.isfinite(self.columns) & ~self.denied
        is_strong = shadows and strengths[found][-1] >= _STRONG
        further = carried_on(found, self._excess, observed, known, next_is_believed=is_strong)
        own = self._parts(self._excess, taken)
        # Coarser levels hold more tissue, so no more of them is stripes.
        return tuple(np.where(found, own, np.minimum(self._parts(further, taken), own[found][-1])).tolist())

    @property
    def _excess(self) -> Floats:
        """Energy of the stripes at each level: as is likely, and as windows share with an end of their rows at most."""
        excess = self.rows - self.columns
        if self.far is not None:
            excess = np.minimum(excess, self.far.at_most)
        return likely(excess, self.surely > self.doubt.alone)

    def _parts(self, energy: Floats, taken: Floats) -> Floats:
        """Part that is to be taken of what a row's mean holds, if stripes have this energy at each level."""
        part = _part(energy, taken)
        return np.minimum(part**self.doubt.power, _MOST_OF_PART * part)

    def with_far(self, far: FarApart) -> Likeness:
        """The same with what windows far apart tell: stripes, and how strong, where neighbours tell none at all."""
        reaching = far.found(self.rows) & np.isfinite(self.columns) & (not any(self.strengths))
        denied = far.denied(self.rows - self.columns, self.surely) & ~reaching
        columns = np.where(reaching, np.maximum(self.rows - far.rows, 0), self.columns)
        made = replace(self, columns=columns, reaching=reaching, denied=denied, far=far)
        left = np.array(made.going_on.strengths) > 0
        return made if far.is_seen(left) else replace(made, denied=np.ones_like(denied))

    @property
    def going_on(self) -> Likeness:
        """The same if lines neither lean nor are streaks: without those that windows far apart do not share."""
        return replace(self, surely=np.where(self.denied, np.minimum(self.surely, 0), self.surely))

    @property
    def nearby(self) -> Likeness:
        """The same if lines lean or are streaks, of which windows far apart know nothing."""
        return replace(self, far=None, denied=np.zeros_like(self.denied))

    def stripes(self, rows: Floats | None = None) -> float:
        """Energy of the stripes, as the relative variance of pixels; of corrected frames with their own ``rows``."""
        excess = np.maximum((self.rows if rows is None else rows) - self.columns, 0)
        return float((excess * 0.5 ** np.arange(1, len(excess) + 1)).sum())

    def found_stripes(self, rows: Floats) -> float:
        """The same of corrected frames, at levels that surely hold stripes: of others tissue alone would be judged."""
        return self.stripes(np.where(np.array(self.strengths) > 0, rows, 0))


def _part(energy: Floats, taken: Floats) -> Floats:
    """Part of what is taken at each level that is stripes."""
    return np.clip(energy / np.where(taken > 0, taken, 1), 0, 1)


def _beside(found: Bools) -> Bools:
    """Whether a level next to each is found."""
    return np.append(found[1:], False) | np.append(False, found[:-1])  # type: ignore[no-any-return]


class Windows:
    """Grids of some frames and of the frames turned by 90 degrees, from which notches are judged."""

    def __init__(self, frames: list[HostArray], dark: float) -> None:
        self.rows, self.columns = frames[0].shape
        self._upright = [window_grid(frame[None], dark) for frame in frames]
        self._turned = [window_grid(np.ascontiguousarray(frame.T)[None], dark) for frame in frames]
        # Rows and columns are compared over one distance, or tissue would pass for stripes where one side is short.
        self._most_apart = max(0, min(frames[0].shape) // WINDOW_PX - 1)
        self._doubt = _SIDE_BY_SIDE if self.columns >= _LEAST_WINDOWS * WINDOW_PX else _FEW
        self._apart = windows_apart(self.columns)
        self._apart_turned = windows_apart(frames[0].shape[0])
        self._lines: tuple[Grids, Grids] | None = None

    def likeness_of_whole_rows(self, level: int, wavelet: str) -> Likeness:
        """The covariances of windows half a frame apart; of rows, none if what they share does not reach both ends."""
        half, ends = (self.likeness(level, wavelet, over) for over in (_HALF, _ENDS))
        found = np.array(half.strengths) > 0
        shares = np.where(found, 0.5 ** np.arange(1, level + 1), 0)
        reaches = (shares * ends.rows).sum() >= _LEAST_REACHING * (shares * half.rows).sum()
        return half if reaches else replace(half, rows=np.zeros_like(half.rows))

    def likeness(self, level: int, wavelet: str, over: float | None = None) -> Likeness:
        """The covariances at ``level`` levels, of windows side by side, or of windows ``over`` this part of a row."""
        notch = Notch(1.0, level, wavelet)
        known = levels_in(self._upright[0][0].shape[1], notch) if self._most_apart else 0
        both = [_details_of(grids, notch) for grids in (self._upright, self._turned)]
        apart = [self._distances(level, over, turned=turned) for turned in (False, True)]
        most = [_most_detail(n) for n in range(1, level + 1)]
        (rows, rows_error), (columns, columns_error) = (_mean(*each, most) for each in zip(both, apart, strict=True))
        columns = np.where(np.arange(level) < known, np.maximum(columns, 0), np.inf)
        common = np.maximum(*(_spreads(details) for details in both))
        cut = np.minimum(most, _STANDS_OUT * common)
        robust = [_mean(*each, cut) for each in zip(both, apart, strict=True)]
        surely = _surely(*robust[0], np.where(np.isfinite(columns), np.maximum(robust[1][0], 0), np.inf), robust[1][1])
        # A single bright row is cut in all its details, which then seem to be many rows.
        of_many = _surely(rows, rows_error, columns, columns_error) > OF_MANY_ROWS
        surely = np.where(of_many, surely, np.minimum(surely, OF_MANY_ROWS))
        taken = _squares_of_rows(both[0], np.inf)
        doubt, none = _FAR if over else self._doubt, np.zeros(level, bool)
        error = np.hypot(rows_error, columns_error)
        near = Likeness(rows, columns, columns_error, error, surely, taken, none, none, doubt)
        if over or not known:
            return near
        far = far_apart(both[0], self._far_windows, most, np.minimum(most, _STANDS_OUT * _spreads(both[0])))
        step = between_windows_px(self.columns)
        by_length = {length: _squares_of_rows(both[0], sigma_px(length) / step) for length in LENGTHS_PX}
        return replace(near.with_far(far), taken_by=by_length)

    @property
    def is_narrow(self) -> bool:
        """Whether no windows of a row are far apart."""
        return self._far_windows >= int(self._upright[0][0].shape[2])

    @property
    def _far_windows(self) -> int:
        """How many windows farther on the first one is that is far apart."""
        windows = int(self._upright[0][0].shape[2])
        return max(int(np.ceil(FAR_PX / between_windows_px(self.columns))), int(FAR_PART * windows))

    def ending(self) -> Ending:
        """The lines along the rows that end within the frames."""
        if not self._most_apart:
            return Ending()
        # In narrow frames windows two apart leave too few to tell, which took vessels for stripes.
        further = 2 if self._most_apart > 1 and self._upright[0][0].shape[2] // 4 > 2 * self._apart else 1
        return ending_of(*self._both_thin(), further * self._apart, further * self._apart_turned)

    def length(self) -> Length:
        """How far lines along the rows go on."""
        if not self._most_apart:
            return Length()
        step_px = between_windows_px(self.columns)
        return length_of(*self._both_thin(), self._apart, self._apart_turned, step_px)

    def are_streaks(self, ending: Ending) -> bool:
        """Whether lines that end within the frames are streaks of light."""
        return are_streaks(*self._both_thin(), self._apart, self._apart_turned, ending.energy)

    def bright_lines(self) -> float:
        """Energy of lines along the rows if they are bright among dark, as fibres are; 0 if not."""
        return bright_lines(*self._both_thin(), self._apart, self._apart_turned) if self._most_apart else 0.0

    def lean(self) -> Lean:
        """How far lines lean that go on over half a frame, if any do."""
        return lean_of(self._both_thin()[0], between_windows_px(self.columns))

    def _both_thin(self) -> tuple[Grids, Grids]:
        """Lines of the frames, and of the frames turned."""
        if self._lines is None:
            self._lines = _thin_lines(self._upright), _thin_lines(self._turned)
        return self._lines

    def _distances(self, level: int, over: float | None = None, *, turned: bool = False) -> list[int]:
        """How many windows apart are compared at each level, the finest first; none if frames are too small."""
        if not self._most_apart:
            return []
        grid, unit = (self._turned, self._apart_turned) if turned else (self._upright, self._apart)
        if over:
            return [max(unit, int(over * grid[0][0].shape[2]))] * level
        wanted = (1 if n <= _NEIGHBOURS_TO_LEVEL else 2 for n in range(1, level + 1))
        return [unit * min(n, self._most_apart) for n in wanted]

    def skewness(self, notch: Notch) -> float:
        """Mean skewness over the rows of what a notch finds."""
        found = (skewness(stripes_of(grid, weights, notch, self.columns), weights) for grid, weights in self._upright)
        return float(np.mean(list(found)))

    def after(self, notch: Notch, level: int, *, whole_rows: bool = False) -> tuple[Floats, float]:
        """Covariances along rows at ``level`` levels after a notch, and the standard deviation of its gains.

        Of windows side by side, or half a frame apart if only stripes of ``whole_rows`` are looked for.
        """
        left, moments = [], np.zeros(3)
        for grid, weights in self._upright:
            stripes = stripes_of(grid, weights, notch, self.columns)
            left.append((grid - stripes, weights))
            moments += [(weights * stripes**n).sum(dtype=np.float64) for n in range(3)]
        apart = self._distances(level, _HALF if whole_rows else None)
        most = [_most_detail(n) for n in range(1, level + 1)]
        rows, _ = _mean(_details_of(left, Notch(1.0, level, notch.wavelet)), apart, most)
        # Shadows have a mean, which takes nothing from the tissue.
        mean, square = moments[1:] / moments[0]
        return rows, float(np.sqrt(max(square - mean**2, 0.0)))


def _details_of(grids: list[tuple[Array, Array]], notch: Notch) -> OfFrames:
    """Details and weights of each level of each frame."""
    # Also where a side is short for a level: there tissue would pass for stripes.
    found = (details(without_tissue(grid, notch.level), weights, notch, notch.level) for grid, weights in grids)
    return [each.by_level() for each in found]


def _spreads(frames: OfFrames) -> Floats:
    """Robust standard deviation of the details of each level, about 0."""
    of_levels = zip(*frames, strict=True)
    flat = ((np.concatenate([part[n].ravel() for part in level]) for n in (0, 1)) for level in of_levels)
    return np.array([MAD_TO_SIGMA * weighted_median(np.abs(values), weights) for values, weights in flat])


def _surely(rows: Floats, rows_error: Floats, columns: Floats, columns_error: Floats) -> Floats:
    """By how many standard errors rows are more alike than columns."""
    return (rows - columns) / np.maximum(np.hypot(rows_error, columns_error), 1e-30)


def _mean(frames: OfFrames, distances: Sequence[int], most: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    """Weighted mean product of windows apart at each level, and its standard error; 0 where there is no distance.

    Details are cut at ``most``. One row of all frames counts as one sample: neighbouring frames show the same tissue,
    and stripes stay in place.
    """
    mean, error = np.zeros(len(most)), np.zeros(len(most))
    for level, apart in enumerate(distances):
        products = [_products(*frame[level], apart, float(most[level])) for frame in frames]
        total = max(sum(float(weight.sum()) for _, weight in products), 1e-12)
        mean[level] = sum(float(product.sum()) for product, _ in products) / total
        of_rows = sum((product - weight * mean[level]).sum(axis=1) for product, weight in products)
        error[level] = np.sqrt(np.square(of_rows).sum()) / total
    return mean, error


def _thin_lines(grids: list[tuple[Array, Array]]) -> Grids:
    """Light and weights without what is wider than vessels are, for each frame."""
    found = []
    for grid, weights in grids:
        values = np.clip(without_tissue(grid, _THIN_LEVEL)[0].astype(np.float64), -_MOST_GAIN, _MOST_GAIN)
        found.append((values - np.median(values, axis=0), weights[0].astype(np.float64)))
    return found


def _squares_of_rows(frames: OfFrames, sigma: float) -> Floats:
    """Weighted mean square of robust low passes of ``sigma`` windows along the rows, at each level."""
    levels = len(frames[0])
    sums, counted = np.zeros(levels), np.full(levels, 1e-12)
    for frame in frames:
        for level, (detail, weight) in enumerate(frame):
            most, means = _most_detail(level + 1), np.empty_like(detail)
            matrix, whole = low_pass_matrix(detail.shape[2], sigma), np.ones(detail.shape[1], np.float32)
            robust_low_pass(np.clip(detail, -most, most), weight, matrix, whole, means)
            sums[level] += (weight * np.square(means, dtype=np.float64)).sum()
            counted[level] += weight.sum(dtype=np.float64)
    return sums / counted  # type: ignore[no-any-return]


def _most_detail(level: int) -> float:
    return float(_MOST_GAIN * 2 ** (level / 2))


def _products(detail: Array, weights: Array, apart: int, most: float) -> tuple[Floats, Floats]:
    """Weighted products of windows ``apart``, and their weights (rows, pairs), of one level of one frame."""
    values, w = np.clip(detail[0].astype(np.float64), -most, most), weights[0].astype(np.float64)
    both = w[:, apart:] * w[:, :-apart]
    return values[:, apart:] * values[:, :-apart] * both, both
