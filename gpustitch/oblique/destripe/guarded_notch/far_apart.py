"""What windows far apart along the rows are alike by: stripes that go on, for tissue reaches less far.

Wide stripes are as wide as the tissue's own structures, and then few columns tell what neighbours have in common by
tissue alone. Windows farther apart than tissue reaches need no such comparison, and rows have many pairs of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array
from gpustitch.model.arrays import Bools, Floats

# Of weighted values, weights and a distance: products and their weights, for each row.
_Products = Callable[[Floats, Floats, int], tuple[Floats, Floats]]
# Details and weights (1, rows, windows) of each level, the finest first, of each frame.
OfFrames = list[list[tuple[Array, Array]]]

# Windows are far apart from so many pixels, and from this part of a row on.
FAR_PX, FAR_PART = 128, 1 / 4
# Stripes have borders, so they are at neighbouring levels, which together exceed chance by so many standard errors.
_SURE_OF_TWO, _SURE_OF_EACH = 3.7, 2.0
# Layers that undulate are more alike half a frame apart than nearer by; stripes are at most so much more alike.
_HALF, _MOST_FARTHER = 1 / 2, 6 / 5
# Lines so many times more alike half a frame apart, beyond so many standard errors, are such layers.
_SURELY_FARTHER, _SURELY = 2.0, 3.0
# Neighbours are alike by stripes and by tissue, so at least by this part of what windows far apart are.
_LEAST_NEAR = 1 / 2
# Neighbours so sure at most are not believed where windows far apart, not surely alike, hold less than this part of
# what they hold by a standard error; the surest ones neither where these hold so little by two.
_MOST_DOUBTED, _SEEN, _LEAST_FAR, _NEXT_TO_NONE = 4.0, 1.0, 1 / 2, 1 / 5
# The end of a row is this part of it.
_END = 1 / 8
# Nothing is surer than this unless all details, not cut, are alike by as many standard errors.
OF_MANY_ROWS = 1.5


@dataclass(frozen=True)
class FarApart:
    """Covariance of windows far apart along the rows at each level, the finest first, and its standard error.

    ``surely`` is by how many standard errors it exceeds 0 where what stands out, as cells and edges do, is cut.
    ``half`` is the covariance of windows at least half a frame apart, ``to_end`` that of windows with that end of
    their rows with which they share more, and ``to_end_error`` its standard error.
    """

    rows: Floats
    error: Floats
    surely: Floats
    half: Floats
    to_end: Floats
    to_end_error: Floats

    @property
    def is_sure(self) -> Bools:
        """Whether each level, taken alone, exceeds chance."""
        return self.surely >= _SURE_OF_EACH

    def found(self, near: Floats) -> Bools:
        """Levels that surely hold stripes; ``near`` is the covariance of neighbours."""
        each, twos = self.is_sure, [slice(first, first + 2) for first in range(len(self.rows) - 1)]
        found = np.zeros(len(self.rows), bool)
        for two in twos:
            sure = each[two].all() and self.surely[two].sum() >= _SURE_OF_TWO * np.sqrt(2)
            found[two] |= bool(sure and self._goes_on(near, two))
        for two in (*twos, *reversed(twos)):
            found[two] |= bool(found[two].any() and each[two].all() and self._goes_on(near, two))
        return found

    @property
    def at_most(self) -> Floats:
        """Energy that lines along the rows hold at most, as far as these windows tell."""
        return np.maximum(np.maximum(self.rows, self.to_end), 0) + np.maximum(self.error, self.to_end_error)

    def _goes_on(self, near: Floats, levels: slice) -> bool:
        """Whether lines of these levels are as much alike near by as farther apart."""
        far = float(self.rows[levels].sum())
        return bool(near[levels].sum() >= _LEAST_NEAR * far and self.half[levels].sum() <= _MOST_FARTHER * far)

    def denied(self, excess: Floats, surely: Floats) -> Bools:
        """Levels at which lines of this energy, that neighbours have so surely in common, do not go on."""
        reach = self.to_end + self.to_end_error
        unsure = (surely < _MOST_DOUBTED) & (self.surely < _SEEN) & (reach < _LEAST_FAR * excess)
        undulating = self.half > np.maximum(_SURELY_FARTHER * self.rows, _SURELY * self.error)
        none = reach + self.to_end_error < _NEXT_TO_NONE * excess
        return unsure | undulating | none

    def is_seen(self, found: Bools) -> bool:
        """Whether lines of one of these levels at least are alike far apart, or there are no windows to tell."""
        known = np.isfinite(self.error)
        return not found.any() or not known.any() or bool(self.is_sure[found].any())


def far_apart(frames: OfFrames, apart: int, most: Sequence[float], cut: Floats) -> FarApart:
    """Compare all windows of a row that are at least ``apart`` windows from each other.

    Parameters
    ----------
    frames
        Details and weights of the frames.
    apart
        In windows, at least 1. Where rows have no such windows nothing is sure.
    most, cut
        Values at which details of each level are cut, where rows are compared and where it is doubted that they are
        alike.
    """
    mean, error = _means(frames, apart, most, _pairs)
    robust = np.divide(*_means(frames, apart, cut, _pairs))
    of_many = mean > OF_MANY_ROWS * error
    surely = np.where(of_many, robust, np.minimum(robust, OF_MANY_ROWS))
    half, _ = _means(frames, max(apart, int(_HALF * frames[0][0][0].shape[2])), most, _pairs)
    sides = [_means(frames, apart, most, ends) for ends in (_with_first, _with_last)]
    last = sides[1][0] > sides[0][0]
    to_end, to_end_error = (np.where(last, sides[1][n], sides[0][n]) for n in (0, 1))
    return FarApart(mean, error, surely, half, to_end, to_end_error)


def _means(frames: OfFrames, apart: int, most: Sequence[float] | Floats, of: _Products) -> tuple[Floats, Floats]:
    """Weighted mean product of pairs of windows, and its standard error; one row of all frames is one sample."""
    mean, error = np.zeros(len(most)), np.full(len(most), np.inf)
    if apart >= frames[0][0][0].shape[2]:
        return mean, error
    for level, bound in enumerate(most):
        pairs = []
        for frame in frames:
            detail, weights = (part[0].astype(np.float64) for part in frame[level])
            pairs.append(of(np.clip(detail, -bound, bound) * weights, weights, apart))
        total = sum(float(weight.sum()) for _, weight in pairs)
        if total <= 0:
            continue
        mean[level] = sum(float(product.sum()) for product, _ in pairs) / total
        of_rows = sum(product - weight * mean[level] for product, weight in pairs)
        error[level] = max(float(np.sqrt(np.square(of_rows).sum())) / total, 1e-30)
    return mean, error


def _pairs(values: Floats, weights: Floats, apart: int) -> tuple[Floats, Floats]:
    """For each row the sum of the products of weighted values, and of weights, of all windows so far apart."""
    beyond, weight = (np.cumsum(part[:, ::-1], axis=1)[:, ::-1][:, apart:] for part in (values, weights))
    return (values[:, :-apart] * beyond).sum(axis=1), (weights[:, :-apart] * weight).sum(axis=1)


def _with_first(values: Floats, weights: Floats, apart: int) -> tuple[Floats, Floats]:
    """The same of the first windows of a row with all that are so far from them."""
    first = max(1, round(_END * values.shape[1]))
    far = slice(first - 1 + apart, None)
    products, both = (part[:, :first].sum(axis=1) * part[:, far].sum(axis=1) for part in (values, weights))
    return products, both


def _with_last(values: Floats, weights: Floats, apart: int) -> tuple[Floats, Floats]:
    """The same of the last windows."""
    return _with_first(values[:, ::-1], weights[:, ::-1], apart)
