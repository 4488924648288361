"""Which links are right: the most probable choice, and the choices that are nearly as probable."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gpustitch.model.arrays import Bools, Floats, Integers
from gpustitch.oblique.align.solving.beliefs import LEAST_GAIN, Beliefs
from gpustitch.oblique.align.solving.hypotheses import Hypotheses
from gpustitch.oblique.align.solving.stage_model import AxisLinks, AxisPosterior, StageModel, log_sum

# A tile was bumped with this probability.
_BUMPED = 1e-3
# A tile that is off by less was not bumped.
_BUMP_LEAST_PX = 10.0
# Rounds after which a search stops, though it may still gain.
_ROUNDS = 50
# Effort for up to so many tiles, and for more: spanning trees to start from, choices that differ from the best by one
# change of a link, and by two or three of the least costly changes at once.
_FEW_TILES = 64
_TREES, _CHANGES, _CHANGES_AT_ONCE = (3, 1), (40, 12), (60, 4)
# Changes that are tried at all, and of which two or three are tried at once.
_MOST_TRIED, _MOST_AT_ONCE = 40, 16
# Costs in natural logarithms: a change that costs more is not tried; one that costs more, once the other links have
# followed, is left out; changes that together cost more are not tried at once.
_DOUBT, _LIKELY, _COMMON = 14.0, 9.0, 6.0
_NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Choice:
    """A hypothesis for each link, which tiles were bumped, and the positions on each axis that follow."""

    chosen: Integers
    bumped: Integers
    axes: tuple[AxisPosterior, ...]
    log_prior: float
    n_kinds: int

    @cached_property
    def _of_kind(self) -> Floats:
        """Logarithm of the evidence of each axis and kind of error, its scale integrated out, shape (axes, kinds)."""
        of_kind = [log_sum(axis.log_evidence.reshape(-1, self.n_kinds)) for axis in self.axes]
        return np.array(of_kind).reshape(len(self.axes), self.n_kinds)

    @cached_property
    def log_posterior(self) -> float:
        """Logarithm of the posterior, up to a constant; the stage's scales are integrated out."""
        return self.log_prior + float(log_sum(self._of_kind.sum(axis=0)))

    @cached_property
    def log_evidence(self) -> tuple[Floats, ...]:
        """For each axis the logarithm of how probable each scale is, given the links on all axes."""
        others = self._of_kind.sum(axis=0) - self._of_kind
        pairs = zip(self.axes, others, strict=True)
        return tuple((axis.log_evidence.reshape(-1, self.n_kinds) + more).ravel() for axis, more in pairs)

    @property
    def best(self) -> tuple[int, ...]:
        """Number of the most probable scale on each axis."""
        return tuple(int(np.argmax(log)) for log in self.log_evidence)


class Mixture:
    """Links as hypotheses, and tiles where the stage model has them; ``axes`` are the numbers of the axes solved."""

    def __init__(self, hypotheses: Hypotheses, stage: StageModel, axes: tuple[int, ...]) -> None:
        self.hypotheses, self.stage, self.axes = hypotheses, stage, axes
        self._size = int(stage.n_tiles > _FEW_TILES)

    def search(self) -> list[Choice]:
        """The most probable choice, then those that differ from it and may be right too."""
        if not len(self.hypotheses.fixed):
            return [self.choice(_NOTHING, _NOTHING)]
        best = max((self.settled(start, _NOTHING) for start in self._starts()), key=lambda choice: choice.log_posterior)
        others: list[Choice] = []
        for _ in range(_ROUNDS):
            doubts = itertools.islice(self._doubts(best), _CHANGES[self._size])
            others = [self.choice(chosen, best.bumped) for chosen in doubts]
            better = max(others, key=lambda choice: choice.log_posterior, default=best)
            if better.log_posterior <= best.log_posterior + LEAST_GAIN:
                break
            best = self.settled(better.chosen, better.bumped)
        return _distinct(best, [*others, *self._together(best, others)])

    def _together(self, best: Choice, others: list[Choice]) -> Iterator[Choice]:
        """Choices that differ from the best as two or three others do that change no link in common."""
        likely = sorted(others, key=lambda choice: -choice.log_posterior)[:_MOST_AT_ONCE]
        changed = [set(np.flatnonzero(c.chosen != best.chosen).tolist()) for c in likely]
        cost = [best.log_posterior - c.log_posterior for c in likely]
        sets = []
        for n in (2, 3):
            for of in itertools.combinations(range(len(likely)), n):
                is_apart = len(set[int]().union(*(changed[i] for i in of))) == sum(len(changed[i]) for i in of)
                if is_apart and sum(cost[i] for i in of) < _COMMON:
                    sets.append((sum(cost[i] for i in of), of))
        for _, of in sorted(sets)[: _CHANGES_AT_ONCE[self._size]]:
            chosen = best.chosen.copy()
            for i in of:
                at = list(changed[i])
                chosen[at] = likely[i].chosen[at]
            yield self.choice(chosen, best.bumped)

    def choice(self, chosen: Integers, bumped: Integers) -> Choice:
        """The positions that follow from one hypothesis for each link."""
        h = self.hypotheses
        n = self.stage.n_tiles
        axes = []
        for axis, all_weight, shift in zip(self.axes, h.weight, h.shift, strict=True):
            weight = all_weight[chosen]
            told = weight > 0
            links = AxisLinks(n, h.fixed[told], h.moving[told], shift[chosen[told]], weight[told])
            axes.append(self.stage.posterior(axis, links, bumped))
        return Choice(chosen, bumped, tuple(axes), self._log_prior(chosen, bumped), self.stage.n_kinds)

    def stage_alone(self) -> Choice:
        """What the stage says on all three axes, without any link."""
        links = AxisLinks(self.stage.n_tiles, _NOTHING, _NOTHING, np.zeros(0), np.zeros(0))
        axes = tuple(self.stage.posterior(axis, links, _NOTHING) for axis in range(3))
        return Choice(_NOTHING, _NOTHING, axes, 0.0, self.stage.n_kinds)

    def _log_prior(self, chosen: Integers, bumped: Integers) -> float:
        return float(self.hypotheses.log_prior[chosen].sum()) + len(bumped) * float(np.log(_BUMPED))

    def settled(self, chosen: Integers, bumped: Integers) -> Choice:
        """Change one hypothesis after the other, and which tiles were bumped, while that makes all more probable."""
        choice = self.choice(chosen, bumped)
        for _ in range(_ROUNDS):
            before, choice = choice, self._bumps(choice)
            beliefs = self.beliefs(choice)
            if not beliefs.climb():
                if choice is before:
                    break
                continue
            choice = self.choice(beliefs.chosen, choice.bumped)
        return choice

    def beliefs(self, choice: Choice) -> Beliefs:
        """Where tiles lie for the most probable scale of the stage's error on each axis."""
        h = self.hypotheses
        n, ends = len(h.fixed), (h.fixed, h.moving)
        mean, spread = np.zeros((len(self.axes), n)), np.zeros((len(self.axes), n, n))
        for axis, (posterior, scale) in enumerate(zip(choice.axes, choice.best, strict=True)):
            position = posterior.mean(scale)
            mean[axis], spread[axis] = position[ends[1]] - position[ends[0]], posterior.covariance(scale, *ends)
        return Beliefs(h, choice.chosen, mean, spread)

    def _bumps(self, choice: Choice) -> Choice:
        """The choice with a tile more or less among the bumped ones, or without its links, if that is more probable."""
        off = np.zeros(self.stage.n_tiles)
        for posterior, scale in zip(choice.axes, choice.best, strict=True):
            own = posterior.mean(scale)
            off = np.maximum(off, np.abs(own - np.median(own)))
        off[choice.bumped] = 0
        suspects = [*choice.bumped.tolist(), *np.flatnonzero((off > _BUMP_LEAST_PX) & (off == off.max())).tolist()]
        h = self.hypotheses
        for tile in suspects:
            bumped = np.setxor1d(choice.bumped, [tile])
            axes = [self.stage.posterior(a, p.links, bumped) for a, p in zip(self.axes, choice.axes, strict=True)]
            log_prior = self._log_prior(choice.chosen, bumped)
            other = dataclasses.replace(choice, bumped=bumped, axes=tuple(axes), log_prior=log_prior)
            # Or all that is known of the tile is false.
            at_tile = (h.fixed == tile) | (h.moving == tile)
            loose = self.choice(np.where(at_tile, h.last, choice.chosen), np.setdiff1d(choice.bumped, [tile]))
            best = max(choice, other, loose, key=lambda each: each.log_posterior)
            if best.log_posterior > choice.log_posterior + LEAST_GAIN:
                return best
        return choice

    def _starts(self) -> Iterator[Integers]:
        """Every link right at its surest candidate; no link; spanning trees at random, the surest links first."""
        h = self.hypotheses
        surest = h.likeliest(np.where(h.is_right, h.log_prior, -np.inf))
        yield surest
        yield h.last
        rng = np.random.default_rng(0)
        for _ in range(_TREES[self._size]):
            noise = rng.gumbel(size=len(surest))
            in_tree = _spanning_tree(h, np.argsort(-(h.log_prior[surest] + noise), kind="stable"), self.stage.n_tiles)
            yield np.where(in_tree, surest, h.last)

    def _doubts(self, best: Choice) -> Iterator[Integers]:
        """Hypotheses that may be as probable: those of a choice, one link changed, the others changed as follows."""
        h, beliefs = self.hypotheses, self.beliefs(best)
        odds = beliefs.log_odds()
        cost = odds[best.chosen][h.link] - odds
        # A rejected link is tried at each of its candidates, whatever that costs at first.
        is_first = np.diff(h.candidate, prepend=-1) != 0
        tried = (cost < _DOUBT) | (h.is_right & is_first & ~h.is_right[best.chosen][h.link])
        tried[best.chosen] = False
        order = np.argsort(cost, kind="stable")
        for hypothesis in order[tried[order]][:_MOST_TRIED]:
            link = h.link[hypothesis]
            other = beliefs.copy()
            other.change(np.array([link]), np.array([hypothesis]))
            if other.climb(int(link)) - cost[hypothesis] > -_LIKELY:
                yield other.chosen


def _spanning_tree(h: Hypotheses, order: Integers, n_tiles: int) -> Bools:
    """Which links, taken in an order, join groups of tiles that were apart."""
    group = np.arange(n_tiles)
    in_tree = np.zeros(len(h.fixed), bool)
    for link in order.tolist():
        a, b = group[h.fixed[link]], group[h.moving[link]]
        if a != b:
            group[group == b] = a
            in_tree[link] = True
    return in_tree


def _distinct(best: Choice, found: list[Choice]) -> list[Choice]:
    """Choices that differ, the best first, then by how probable they are."""
    by_content = {(c.chosen.tobytes(), c.bumped.tobytes()): c for c in found}
    by_content.pop((best.chosen.tobytes(), best.bumped.tobytes()), None)
    others = [c for c in by_content.values() if c.log_posterior > best.log_posterior - _LIKELY]
    return [best, *sorted(others, key=lambda c: -c.log_posterior)]
