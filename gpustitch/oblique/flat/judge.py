"""How well flats fit, told without knowing the truth, and the choice of one.

Percentiles of two halves of the frames have the light in common, and differ in tissue and noise. So a model fitted to
one half is judged by the other. What it misses of the light shows in both ways of judging, and noise in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Bools, Floats
from gpustitch.oblique.flat.fit import FlatFit, FlatOptions, counts_of, refitted_counts, usable
from gpustitch.oblique.flat.percentiles import Percentiles

# Side of the blocks in whose means the misfit is sought; small frames have smaller ones, to make so many along a side.
_BLOCK_PX, _BLOCKS_ALONG, _LEAST_BLOCK_PX = 20, 6, 2
# A block needs this part of its pixels; the frame is covered if this part of its blocks has them.
_BLOCK_SHARE, _COVERED = 0.25, 0.99
_LEAST_BLOCKS = 6
# A richer model must be better than a simpler one by so many standard errors, and by this part of the misfit.
_BETTER_ERRORS, _BETTER_SHARE = 2.0, 0.1
# Differences of misfits less than this are none.
_TIE = 0.003


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
    scatter
        Standard deviation of the flat over choices of frames, as a fraction of the light. NaN if unknown.
    errors
        Squared error of each block, judged by the other half, noise included.
    """

    fit: FlatFit | None
    misfit: float
    scatter: float
    errors: Floats

    def is_better_than(self, other: Judged) -> bool:
        """Whether this is surely and noticeably better than the other, by the errors in the same blocks."""
        if not (len(self.errors) and len(other.errors)):
            return False
        gain = other.errors - self.errors
        if self.misfit > min((1 - _BETTER_SHARE) * other.misfit, other.misfit - _TIE):
            return False
        return bool(gain.mean() > _BETTER_ERRORS * gain.std() / len(gain) ** 0.5)


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
            return Judged(None, np.nan, np.nan, np.empty(0))
        nothing = np.zeros_like(self._logs[0])
        return self._judged(None, nothing, nothing, 0.0)

    def judged(self, fit: FlatFit, options: FlatOptions) -> Judged:
        """The judgement of a flat that was fitted to all frames with these options."""
        if not self.is_able:
            return Judged(fit, np.nan, np.nan, np.empty(0))
        at = self._halves.rows, self._halves.columns
        try:
            models = [refitted_counts(fit, part.bins, part.count, at, options) for part in self._halves.parts]
        except ParameterError:
            return Judged(fit, np.nan, np.nan, np.empty(0))
        change = np.log(models[0]) - np.log(models[1])
        first, second = (self._log(model) for model in models)
        return self._judged(fit, first, second, float(change.std()) / 2)

    def _judged(self, fit: FlatFit | None, first: Floats, second: Floats, scatter: float) -> Judged:
        errors = ((self._logs[0] - second) ** 2 + (self._logs[1] - first) ** 2) / 2
        noise = (self._logs[0] - self._logs[1]) ** 2 / 2
        # The flat of all frames scatters half as much as those of the halves, squared.
        misfit = max(0.0, float((errors - noise).mean()) - scatter**2) ** 0.5
        return Judged(fit, misfit, scatter, errors)

    def _log(self, image: Floats) -> Floats:
        """Logarithm of the means of the known blocks, less its mean."""
        means = self._sums(np.where(self._seen, image, 0))[self._known] / self._sums(self._seen)[self._known]
        return _centred(np.log(means))

    def _sums(self, image: Floats | Bools) -> Floats:
        side, (height, width) = self._side, self._known.shape
        blocks = image[: height * side, : width * side].reshape(height, side, width, side)
        return np.asarray(blocks.sum(axis=(1, 3), dtype=np.float64))


def best(judged: Sequence[Judged]) -> Judged:
    """The simplest of the flats, which are in the order of their simplicity, that no other is better than."""
    chosen = judged[0]
    for other in judged[1:]:
        if other.is_better_than(chosen):
            chosen = other
    return chosen


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean())
