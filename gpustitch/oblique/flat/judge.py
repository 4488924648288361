"""How well flats fit, told without knowing the truth, and the choice of one.

Percentiles of two halves of the frames have the light in common, and differ in tissue and noise. So a model fitted to
one half is judged by the other. What it misses of the light shows in both ways of judging, and noise in neither.
Stripes show in both too. Light is smooth from row to row, so rows that jump are stripes and no fault of a flat. Columns
that jump are one: nothing else takes them out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Bools, Floats
from gpustitch.oblique.flat.fit import FlatFit, FlatOptions, counts_of, refitted_counts, usable
from gpustitch.oblique.flat.percentiles import Parts, Percentiles
from gpustitch.oblique.flat.spread import Spread

# Side of the blocks in whose means the misfit is sought; small frames have smaller ones, to make so many along a side.
_BLOCK_PX, _BLOCKS_ALONG, _LEAST_BLOCK_PX = 10, 12, 2
# A block needs this part of its pixels; the frame is covered if this part of its blocks has them.
_BLOCK_SHARE, _COVERED = 0.25, 0.99
_LEAST_BLOCKS = 6
# What is told must exceed noise by so many standard errors.
_SURE = 2.0
# A flat whose light varies by less than so many times its scatter may be chance: neighbouring frames are alike, which
# halves do not tell.
_SURELY_UNEVEN = 3.0
# Stripes are sought in so many parts of the columns; a shadow may darken a part of its rows only.
_STRIPE_PARTS = 4
# A richer model must be better than a simpler one by this part of the misfit, and by this much.
_BETTER_SHARE, _TIE = 0.1, 0.003
# A model that surely misses no more than this needs no richer one; nor one whose misfit that would not lessen to this
# part. Halves share some tissue, and a rich model follows it.
_GOOD, _MUCH_BETTER = 0.01, 0.5


@dataclass(frozen=True)
class Sampled:
    """Percentiles of parts of the frames, of the frame's ``rows`` and ``columns`` with these numbers."""

    parts: Parts
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]

    @property
    def halves(self) -> tuple[Percentiles, Percentiles]:
        """Percentiles of the two halves of the frames."""
        return self.parts.halves


@dataclass(frozen=True)
class Judged:
    """A flat, or None for no flat at all, and how well it fits.

    Attributes
    ----------
    fit
        The flat.
    misfit
        Root mean square of what the model misses in blocks of the frame, as a fraction of the light. NaN if unknown.
    sure_misfit
        The part of it that noise does not explain.
    possible_misfit
        What it may be where noise hides some of it.
    scatter
        Standard deviation of the flat over choices of frames, as a fraction of the light. NaN if unknown.
    change
        Half of what flats of the first and of the last frames differ by, as a fraction of the light. NaN if unknown.
    model, errors, noise
        Of each block: logarithm of the model, its squared error as judged by the other half, and the part of noise.
    """

    fit: FlatFit | None
    misfit: float = np.nan
    sure_misfit: float = np.nan
    possible_misfit: float = np.nan
    scatter: float = np.nan
    change: float = np.nan
    model: Floats = field(default_factory=lambda: np.empty(0))
    errors: Floats = field(default_factory=lambda: np.empty(0))
    noise: Floats = field(default_factory=lambda: np.empty(0))

    def is_better_than(self, other: Judged) -> bool:
        """Whether this is noticeably better than the other; False if that is unknown."""
        return bool(self.misfit < min((1 - _BETTER_SHARE) * other.misfit, other.misfit - _TIE))

    @property
    def unevenness(self) -> float:
        """Standard deviation of the model over the blocks, as a fraction of the light; 0 of no flat."""
        return float(self.model.std()) if self.model.size else 0.0

    @property
    def is_surely_uneven(self) -> bool:
        """Whether the flat tells more of the light than of the choice of frames; False if that is unknown."""
        return self.unevenness > _SURELY_UNEVEN * self.scatter

    def is_surely_better_than(self, other: Judged) -> bool:
        """Whether this is noticeably better than the other, and not by chance; both are judged by the same blocks."""
        if not self.is_better_than(other):
            return False
        # Noise moves the gain of a block by this, at two judgements of each.
        moved = 2 * (self.model - other.model) ** 2 * self.noise
        gain = float((other.errors - self.errors).mean())
        return bool(gain > _SURE * float(moved.mean() / len(moved)) ** 0.5)


class Judge:
    """Judges flats of the same percentiles.

    Parameters
    ----------
    sampled
        Percentiles of parts of the frames.
    options
        Bins and background.
    """

    def __init__(self, sampled: Sampled, options: FlatOptions) -> None:
        self._sampled, self._options = sampled, options
        height, width = sampled.halves[0].bins.shape
        self._side = max(_LEAST_BLOCK_PX, min(_BLOCK_PX, height // _BLOCKS_ALONG, width // _BLOCKS_ALONG))
        self._seen = np.zeros((height, width), np.bool_)
        self._known = np.zeros((height // self._side, width // self._side), np.bool_)
        try:
            first, second = (usable(part.bins, part.count, options) for part in sampled.halves)
        except ParameterError:  # too few pixels in a half
            return
        self._seen = first & second
        self._known = self._sums(self._seen) > _BLOCK_SHARE * self._side**2
        if self.is_able:
            counts = [counts_of(part.bins, options) for part in sampled.halves]
            self._logs = [self._log(one) for one in counts]
            self._of_columns = self._jumps(counts)
            self._spread = self._spread_of_quarters()

    @property
    def is_able(self) -> bool:
        """Whether the halves hold enough to judge by."""
        return int(np.count_nonzero(self._known)) >= _LEAST_BLOCKS

    @property
    def unable(self) -> str:
        """Why the halves cannot be judged by; empty if they can."""
        if self.is_able:
            return ""
        if self._known.size < _LEAST_BLOCKS:
            height, width = self._seen.shape
            return f"{height} x {width} pixels are too few"
        return "halves of its frames show too little tissue"

    @property
    def is_covered(self) -> bool:
        """Whether tissue passed everywhere."""
        return self.is_able and float(self._known.mean()) >= _COVERED

    def no_flat(self) -> Judged:
        """The judgement of frames that are left as they are."""
        if not self.is_able:
            return Judged(None)
        nothing = np.zeros_like(self._logs[0])
        return self._judged(None, nothing, nothing, 0.0)

    def judged(self, fit: FlatFit, options: FlatOptions) -> Judged:
        """The judgement of a flat that was fitted to all frames with these options."""
        if not self.is_able:
            return Judged(fit)
        at = self._sampled.rows, self._sampled.columns
        try:
            models = [refitted_counts(fit, part.bins, part.count, at, options) for part in self._sampled.halves]
        except ParameterError:
            return Judged(fit)
        change = np.log(models[0]) - np.log(models[1])
        first, second = (self._log(model) for model in models)
        found = self._judged(fit, first, second, float(change.std()) / 2)
        chance, changed = self._spread.of_model(fit.basis.degrees)
        return replace(found, scatter=float(np.fmax(found.scatter, chance)), change=changed)

    def _judged(self, fit: FlatFit | None, first: Floats, second: Floats, scatter: float) -> Judged:
        """The misfit of a model, from how much each half's flat misses of the other half."""
        errors = ((self._logs[0] - second) ** 2 + (self._logs[1] - first) ** 2) / 2
        noise = (self._logs[0] - self._logs[1]) ** 2 / 2
        # The flat of all frames scatters half as much as those of the halves, squared.
        square = float((errors - noise).mean()) - scatter**2
        square -= self._striped(self._logs[0] - second, self._logs[1] - first)
        square += self._of_columns
        doubt = _SURE * self._noise_of_products()
        misfit, least, most = (math.sqrt(max(0.0, one)) for one in (square, square - doubt, max(0.0, square) + doubt))
        return Judged(
            fit=fit,
            misfit=misfit,
            sure_misfit=least,
            possible_misfit=most,
            scatter=scatter,
            model=(first + second) / 2,
            errors=errors,
            noise=noise,
        )

    def _striped(self, first: Floats, second: Floats) -> float:
        """What stripes along the rows add to the squared misfit: the part that bends from row to row as white noise.

        Light hardly bends between three rows of blocks; white noise bends by 6 times its variance. Means along a
        part of the columns leave dirt out, which is short.
        """
        bends = []
        for part in np.array_split(np.arange(self._known.shape[1]), _STRIPE_PARTS):
            rows = [np.diff(self._row_means(half, part), 2) for half in (first, second)]
            bends.append(rows[0] * rows[1])
        common = np.concatenate(bends)
        common = common[np.isfinite(common)]
        return max(0.0, float(common.mean()) / 6) if len(common) else 0.0

    def _row_means(self, values: Floats, columns: npt.NDArray[np.intp]) -> Floats:
        """Mean of the known blocks of each row of blocks, in some columns; NaN where there are none."""
        grid = np.zeros(self._known.shape)
        grid[self._known] = values
        n = self._known[:, columns].sum(axis=1)
        means: Floats = np.divide(grid[:, columns].sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
        return means

    def _jumps(self, counts: Sequence[Floats]) -> float:
        """Mean square, as a fraction of the light, of what columns of pixels have beyond those around them.

        Halves have it in common, and noise not. Blocks are too wide to show it.
        """
        n = self._seen.sum(axis=0)
        is_known = n > _BLOCK_SHARE * len(self._seen)
        sums = [np.where(self._seen, np.log(one), 0).sum(axis=0) for one in counts]
        width = self._side // 2 * 2 + 1
        first, second = (_jumping(np.where(is_known, one / np.maximum(n, 1), np.nan), width) for one in sums)
        common = (first * second)[np.isfinite(first * second)]
        return max(0.0, float(common.mean())) * width / (width - 1) if len(common) else 0.0

    def _spread_of_quarters(self) -> Spread:
        """How much smooth light depends on the frames."""
        quarters = self._sampled.parts.quarters
        try:
            seen = self._seen & np.logical_and.reduce([usable(one.bins, one.count, self._options) for one in quarters])
        except ParameterError:  # too few pixels in a quarter
            return Spread()
        n = self._sums(seen)
        known = self._known & (n > _BLOCK_SHARE * self._side**2)
        light = (self._sums(np.where(seen, counts_of(one.bins, self._options), 0))[known] for one in quarters)
        return Spread.of(known, [_centred(np.log(one / n[known])) for one in light])

    def _noise_of_products(self) -> float:
        """Standard error of the mean, over the known blocks, of the product of the halves' noise.

        Noise is alike in neighbouring blocks: tissue is coarser than a block. The sum of its squared covariances at
        all distances says by how much that matters, and their power spectrum gives this sum.
        """
        grid = np.zeros(self._known.shape)
        grid[self._known] = (self._logs[0] - self._logs[1]) / 2**0.5
        n, size = len(self._logs[0]), grid.size
        covariances = float((np.abs(np.fft.fft2(grid)) ** 4).mean()) / (n + size)
        return math.sqrt(max(covariances, float((grid**4).sum()) / 3)) / n

    def _log(self, image: Floats) -> Floats:
        """Logarithm of the means of the known blocks, less its mean."""
        means = self._sums(np.where(self._seen, image, 0))[self._known] / self._sums(self._seen)[self._known]
        return _centred(np.log(means))

    def _sums(self, image: Floats | Bools) -> Floats:
        side, (height, width) = self._side, self._known.shape
        blocks = image[: height * side, : width * side].reshape(height, side, width, side)
        return np.asarray(blocks.sum(axis=(1, 3), dtype=np.float64))


def best(judged: Sequence[Judged]) -> Judged:
    """The best of the flats, which are in the order of their simplicity; of flats as good, the simplest.

    A model with more terms is taken only where the simpler one surely misses light, and the richer surely much less.
    """
    chosen = judged[0]
    for other in judged[1:]:
        if _n_terms(other) == _n_terms(chosen):
            is_taken = other.is_better_than(chosen)
        else:
            is_much_better = other.misfit < _MUCH_BETTER * chosen.misfit and other.is_surely_better_than(chosen)
            is_taken = chosen.sure_misfit > _GOOD and is_much_better
        chosen = other if is_taken else chosen
    return chosen


def _n_terms(judged: Judged) -> int:
    return 0 if judged.fit is None else len(judged.fit.terms)


def _jumping(values: Floats, width: int) -> Floats:
    """Each value less the mean of an odd number of values around it, which all must be known."""
    if len(values) < width:
        return np.empty(0)
    around = np.lib.stride_tricks.sliding_window_view(values, width)
    return np.asarray(values[width // 2 : len(values) - width // 2] - around.mean(axis=1))


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean())
