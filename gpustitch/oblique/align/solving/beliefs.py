"""Where tiles lie, while links change from one hypothesis to another."""

from __future__ import annotations

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.oblique.align.solving.hypotheses import Hypotheses

# A change of a hypothesis must gain more than this, in natural logarithms.
LEAST_GAIN = 1e-9
# Of several links that share no tile, those that gain at least this part of the greatest gain change together.
_TOGETHER = 0.25
# Only where there are more links: there one change after the other takes too long.
_FEW_LINKS = 150
# A link alone holds tiles in place if it leaves less than this part of the variance that the offset has without it.
_ALONE = 1e-3
# No part is less than rounding can tell.
_LEAST_LEFT = 1e-10


class Beliefs:
    """Offsets of n pairs of tiles on a axes for fixed scales of the stage's error, given one hypothesis for each link.

    ``mean``, shape (a, n), and covariance ``spread``, shape (a, n, n), are of moving less fixed tile of each link, less
    the commanded offset. Kept for tiles, they would lose the small errors of offsets in large ones.
    """

    def __init__(self, hypotheses: Hypotheses, chosen: Integers, mean: Floats, spread: Floats) -> None:
        self.hypotheses, self.chosen, self.mean, self.spread = hypotheses, chosen.copy(), mean, spread

    def copy(self) -> Beliefs:
        """The same, to be changed."""
        return Beliefs(self.hypotheses, self.chosen, self.mean.copy(), self.spread.copy())

    def log_odds(self) -> Floats:
        """Logarithm of how probable each hypothesis is given all *other* links, up to a constant for each link."""
        h = self.hypotheses
        seen = np.maximum(np.diagonal(self.spread, axis1=1, axis2=2), 0)
        weight, shift = h.weight[:, self.chosen], h.shift[:, self.chosen]
        left = np.maximum(1 - weight * seen, _LEAST_LEFT)
        mean = (self.mean - weight * seen * shift) / left
        total = (seen / left)[:, h.link] + h.variance
        off = h.shift - mean[:, h.link]
        told = np.isfinite(total)
        total = np.where(told, total, 1.0)
        terms = np.where(told, np.log(2 * np.pi * total) + off**2 / total, 0.0)
        return np.asarray(h.log_prior - 0.5 * terms.sum(axis=0))

    def climb(self, clamped: int | None = None) -> float:
        """Change the hypotheses that gain most, until none gains, but not that of link ``clamped``; what was gained.

        After a link is let go that alone held tiles in place, rounding would spoil what follows. Then this stops, and
        beliefs have to be made anew from ``chosen``.
        """
        h, gained = self.hypotheses, 0.0
        # Changes that gain one by one may lose together, and what was left is then reached again, and again.
        seen, one_by_one = {self.chosen.tobytes(): gained}, False
        for _ in range(4 * len(h.fixed)):
            odds = self.log_odds()
            best = h.likeliest(odds)
            gain = odds[best] - odds[self.chosen]
            if clamped is not None:
                gain[clamped] = 0
            if gain.max() <= LEAST_GAIN:
                break
            first = int(np.argmax(gain))
            if self._alone_holds(first, int(best[first])):
                self.chosen[first] = best[first]
                return gained + float(gain[first])
            links = np.array([first]) if one_by_one else self._together(gain, best)
            gained += float(gain[links].sum())
            self.change(links, best[links])
            state = self.chosen.tobytes()
            one_by_one |= state in seen
            gained = seen.setdefault(state, gained)
        return gained

    def _alone_holds(self, link: int, hypothesis: int) -> bool:
        """Whether a link, about to say less, says nearly all that is known of its offset."""
        weight = self.hypotheses.weight[:, self.chosen[link]]
        says_less = self.hypotheses.weight[:, hypothesis] < weight
        return bool((says_less & (1 - weight * self.spread[:, link, link] < _ALONE)).any())

    def _together(self, gain: Floats, best: Integers) -> Integers:
        """The link that gains most; in a large mosaic also others, far from it and from each other."""
        first = int(np.argmax(gain))
        if self.mean.shape[1] <= _FEW_LINKS:
            return np.array([first])
        h = self.hypotheses
        links, taken = [], set[int]()
        enough = np.flatnonzero(gain >= _TOGETHER * gain[first])
        for link in enough[np.argsort(-gain[enough], kind="stable")].tolist():
            ends = {int(h.fixed[link]), int(h.moving[link])}
            if not (ends & taken or self._alone_holds(link, int(best[link]))):
                links.append(link)
                taken |= ends
        return np.array(links)

    def change(self, links: Integers, hypotheses: Integers) -> None:
        """Take some links, no two of one tile, for what other hypotheses say."""
        h = self.hypotheses
        old, self.chosen[links] = self.chosen[links], hypotheses
        for axis, (mean, spread) in enumerate(zip(self.mean, self.spread, strict=True)):
            before, after = h.weight[axis, old], h.weight[axis, hypotheses]
            told = after * h.shift[axis, hypotheses] - before * h.shift[axis, old]
            through, change = spread[:, links], (after - before)[:, None]
            right = np.column_stack([change * through.T, told - change[:, 0] * mean[links]])
            gain = np.linalg.solve(np.eye(len(links)) + change * through[links], right)
            mean += through @ gain[:, -1]
            spread -= through @ gain[:, :-1]
