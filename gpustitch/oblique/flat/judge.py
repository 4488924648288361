"""How well flats fit, told without knowing the truth, and the choice of one.

Percentiles of two halves of the frames have the light in common, and differ in tissue and noise. So a model fitted to
one half is judged by the other. What it misses of the light shows in both ways of judging, and noise in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Bools, Floats
from gpustitch.oblique.flat.fit import FlatFit, FlatOptions, counts_of, refitted_counts, usable
from gpustitch.oblique.flat.percentiles import Percentiles

# Side of the blocks in whose means the misfit is sought; small frames have smaller ones, to make so many along a side.
_BLOCK_PX, _BLOCKS_ALONG, _LEAST_BLOCK_PX = 10, 12, 2
# A block needs this part of its pixels; the frame is covered if this part of its blocks has them.
_BLOCK_SHARE, _COVERED = 0.25, 0.99
_LEAST_BLOCKS = 6
# What is told must exceed noise by so many standard errors. Blocks are not independent: this holds as if they were.
_SURE = 2.0
# A richer model must be better than a simpler one by this part of the misfit, and by this much.
_BETTER_SHARE, _TIE = 0.1, 0.003
# A model that surely misses no more than this needs no richer one.
_GOOD = 0.01


@dataclass(frozen=True)
class Halves:
    """Percentiles of the two halves of the frames, of the frame's ``rows`` and ``columns`` with these numbers."""

    parts: tuple[Percentiles, Percentiles]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]


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
    scatter
        Standard deviation of the flat over choices of frames, as a fraction of the light. NaN if unknown.
    model, errors, noise
        Of each block: logarithm of the model, its squared error as judged by the other half, and the part of noise.
    """

    fit: FlatFit | None
    misfit: float = np.nan
    sure_misfit: float = np.nan
    scatter: float = np.nan
    model: Floats = field(default_factory=lambda: np.empty(0))
    errors: Floats = field(default_factory=lambda: np.empty(0))
    noise: Floats = field(default_factory=lambda: np.empty(0))

    def is_better_than(self, other: Judged) -> bool:
        """Whether this is noticeably better than the other; False if that is unknown."""
        return bool(self.misfit < min((1 - _BETTER_SHARE) * other.misfit, other.misfit - _TIE))

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
    halves
        Percentiles of two halves of the frames.
    options
        Bins and background.
    """

    def __init__(self, halves: Halves, options: FlatOptions) -> None:
        self._halves, self._options = halves, options
        height, width = halves.parts[0].bins.shape
        self._side = max(_LEAST_BLOCK_PX, min(_BLOCK_PX, height // _BLOCKS_ALONG, width // _BLOCKS_ALONG))
        self._seen = np.zeros((height, width), np.bool_)
        self._known = np.zeros((height // self._side, width // self._side), np.bool_)
        try:
            first, second = (usable(part.bins, part.count, options) for part in halves.parts)
        except ParameterError:  # too few pixels in a half
            return
        self._seen = first & second
        self._known = self._sums(self._seen) > _BLOCK_SHARE * self._side**2
        if self.is_able:
            self._logs = [self._log(counts_of(part.bins, options)) for part in halves.parts]

    @property
    def is_able(self) -> bool:
        """Whether the halves hold enough to judge by."""
        return int(np.count_nonzero(self._known)) >= _LEAST_BLOCKS

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
        at = self._halves.rows, self._halves.columns
        try:
            models = [refitted_counts(fit, part.bins, part.count, at, options) for part in self._halves.parts]
        except ParameterError:
            return Judged(fit)
        change = np.log(models[0]) - np.log(models[1])
        first, second = (self._log(model) for model in models)
        return self._judged(fit, first, second, float(change.std()) / 2)

    def _judged(self, fit: FlatFit | None, first: Floats, second: Floats, scatter: float) -> Judged:
        errors = ((self._logs[0] - second) ** 2 + (self._logs[1] - first) ** 2) / 2
        noise = (self._logs[0] - self._logs[1]) ** 2 / 2
        # The flat of all frames scatters half as much as those of the halves, squared.
        square = float((errors - noise).mean()) - scatter**2
        # A normal error's fourth power is 3 times its variance squared.
        doubt = _SURE * float(np.square(noise).mean() / 3 / len(noise)) ** 0.5
        misfit, sure_misfit = (max(0.0, one) ** 0.5 for one in (square, square - doubt))
        return Judged(fit, misfit, sure_misfit, scatter, (first + second) / 2, errors, noise)

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

    A model with more terms is taken only where the simpler one surely misses light, and the richer surely less.
    """
    chosen = judged[0]
    for other in judged[1:]:
        if _n_terms(other) == _n_terms(chosen):
            is_taken = other.is_better_than(chosen)
        else:
            is_taken = chosen.sure_misfit > _GOOD and other.is_surely_better_than(chosen)
        chosen = other if is_taken else chosen
    return chosen


def _n_terms(judged: Judged) -> int:
    return 0 if judged.fit is None else len(judged.fit.terms)


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean())
