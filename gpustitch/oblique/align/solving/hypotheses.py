"""What each link may be: right at one of its candidates, near the truth but false, or false altogether."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gpustitch.model import Candidate, Link
from gpustitch.model.arrays import Bools, Floats, Integers, PxZYX
from gpustitch.ops.robust import MEDIAN_ERROR

# Error of a link's median, however many matches agree: bias of the sub-voxel fit, distortion.
SYSTEMATIC_PX = 0.05
# No standard error is believed to be less, voxels.
_LEAST_SIGMA = 0.005
# A link of n matches is false with this probability / n^2, but at most one half, unless its candidates say more.
_FALSE, _MOST_FALSE = 6.0, 0.5
_SUREST = 0.999
# A right link's error may be so many times larger than stated, and so many voxels besides, with this probability.
_LOOSE_TIMES, _LOOSE_PX, _LOOSE = 2.0, 0.5, 0.01
# This part of false offsets lies near the truth, by a standard deviation of so many voxels; the others lie anywhere.
_NEAR, _NEAR_PX = 0.5, 5.0
_ANYWHERE_PX = 120.0
# A candidate this close to the link's offset, voxels, is that offset before it was refined.
_SAME_PX = 1.5


def link_sigma(link: Link) -> Floats:
    """Standard error (z, y, x) of a link's offset, voxels; from the scatter of its matches where it states none."""
    if link.sigma_px is not None:
        return np.asarray(link.sigma_px, np.float64)
    scatter = np.asarray(link.scatter_px) * MEDIAN_ERROR / np.sqrt(max(1, len(link.matches)))
    return np.asarray(np.hypot(scatter, SYSTEMATIC_PX))


def candidates_of(link: Link) -> tuple[Candidate, ...]:
    """The offsets at which a link may be right; none for a rejected link without candidates.

    An accepted link's own offset is one of them: it replaces the candidate that it was refined from.
    """
    if link.reason:
        return link.candidates
    apart = [np.abs(np.subtract(c.offset_px, link.offset_px)).max() for c in link.candidates]
    same = int(np.argmin(apart)) if apart and min(apart) <= _SAME_PX else None
    confidence = 1 - min(_MOST_FALSE, _FALSE / max(1, len(link.matches)) ** 2)
    others, rest = link.candidates, 1 - confidence
    if same is not None:
        confidence, rest = link.candidates[same].confidence, 1.0
        others = link.candidates[:same] + link.candidates[same + 1 :]
    z, y, x = link_sigma(link).tolist()
    own = Candidate(link.offset_px, (z, y, x), confidence)
    return own, *(Candidate(c.offset_px, c.sigma_px, c.confidence * rest) for c in others)


@dataclass(frozen=True)
class Hypotheses:
    """All that n links may be, as arrays of h hypotheses, those of a link in a row.

    ``fixed`` and ``moving``, shape (n,), are numbers of tiles, ``link``, shape (h,), the link of each hypothesis,
    ``candidate`` the one that it takes for right, -1 where it takes the link for false. ``shift`` and ``variance``,
    shape (a, h) for the a axes that are solved, say where the moving tile then lies, less the commanded offset, and how
    surely: the variance is infinite where nothing is said. ``log_prior``, shape (h,), holds the prior and, where
    nothing is said, the density of the offset.
    """

    fixed: Integers
    moving: Integers
    link: Integers
    candidate: Integers
    shift: Floats
    variance: Floats
    log_prior: Floats

    @cached_property
    def weight(self) -> Floats:
        """1 / variance."""
        return np.asarray(1 / self.variance)

    @cached_property
    def first(self) -> Integers:
        """Each link's first hypothesis, shape (n,)."""
        return np.searchsorted(self.link, np.arange(len(self.fixed)))

    @property
    def last(self) -> Integers:
        """Each link's last hypothesis, shape (n,): false, and anywhere."""
        return np.append(self.first[1:], len(self.link))[: len(self.first)] - 1

    @property
    def is_right(self) -> Bools:
        """Whether a hypothesis takes its link for right, shape (h,)."""
        return np.asarray(self.candidate >= 0)

    def likeliest(self, log_odds: Floats) -> Integers:
        """Each link's hypothesis of the greatest value, shape (n,); of equal ones the first."""
        best = np.maximum.reduceat(log_odds, self.first)
        order = np.flatnonzero(log_odds == best[self.link])
        return order[np.searchsorted(self.link[order], np.arange(len(self.fixed)))]


def hypotheses_of(
    links: Sequence[Link], number: Mapping[str, int], nominal_px: Floats, axes: Bools
) -> tuple[Hypotheses, tuple[int, ...], tuple[tuple[Candidate, ...], ...]]:
    """Hypotheses of the links that may be right, which links these are, and the candidates of each.

    The order is one of places: it depends on neither the order of ``links`` nor on names. Each link runs from its tile
    of lesser ``number`` to that of the greater.
    """
    offers = [candidates_of(k) for k in links]
    ends = [(number[k.fixed], number[k.moving]) for k in links]
    places = [(min(e), max(e), tuple(_shift(e, c.offset_px) for c in o)) for e, o in zip(ends, offers, strict=True)]
    order = sorted((i for i, offer in enumerate(offers) if offer), key=lambda i: places[i])
    rows = [(at, *row, ends[i]) for at, i in enumerate(order) for row in _rows(offers[i], axes)]
    ordered = np.array([sorted(ends[i]) for i in order], np.int64).reshape(-1, 2)
    link = np.array([row[0] for row in rows], np.int64)
    apart = nominal_px[ordered[:, 1]] - nominal_px[ordered[:, 0]]
    offset = np.array([_shift(row[5], row[2]) for row in rows], np.float64).reshape(-1, 3)
    variance = np.array([row[3] for row in rows], np.float64).reshape(-1, 3) ** 2
    shift = np.where(np.isfinite(variance), offset - apart[link], 0)
    found = Hypotheses(
        ordered[:, 0],
        ordered[:, 1],
        link,
        np.array([row[1] for row in rows], np.int64),
        np.ascontiguousarray(shift[:, axes].T),
        np.ascontiguousarray(variance[:, axes].T),
        np.array([row[4] for row in rows], np.float64),
    )
    return found, tuple(order), tuple(offers[i] for i in order)


def _shift(ends: tuple[int, int], offset_px: PxZYX) -> tuple[float, ...]:
    return tuple(v if ends[0] <= ends[1] else -v for v in offset_px)


def _rows(offer: Sequence[Candidate], axes: Bools) -> list[tuple[int, PxZYX, tuple[float, ...], float]]:
    """Candidate, offset, standard error and log prior of all that one link may be."""
    confidence = np.clip([c.confidence for c in offer], 1e-6, None)
    confidence *= min(1.0, _SUREST / confidence.sum())
    false, n_axes = 1 - confidence.sum(), int(axes.sum())
    everywhere = _ANYWHERE_PX**-n_axes
    rows = []
    for i, (each, sure) in enumerate(zip(offer, confidence.tolist(), strict=True)):
        # If this one is right, the others are false, and some of those lie near the truth.
        apart = np.array([np.subtract(c.offset_px, each.offset_px)[axes] for c in offer if c is not each])
        apart = apart.reshape(len(offer) - 1, n_axes)
        close = np.exp(-0.5 * (apart / _NEAR_PX) ** 2).prod(axis=-1) / (np.sqrt(2 * np.pi) * _NEAR_PX) ** n_axes
        others = float(np.log1p(_NEAR / (1 - _NEAR) * close / everywhere).sum())
        tight = np.maximum(each.sigma_px, _LEAST_SIGMA)
        loose = np.hypot(_LOOSE_TIMES * tight, _LOOSE_PX)
        near = np.hypot(tight, _NEAR_PX)
        for candidate, sigma, prior, more in (
            (i, tight, sure * (1 - _LOOSE), others),
            (i, loose, sure * _LOOSE, others),
            (-1, near, false * _NEAR / len(offer), 0.0),
        ):
            rows.append((candidate, each.offset_px, tuple(sigma.tolist()), float(np.log(prior)) + more))
    anywhere = np.log(false * (1 - _NEAR) * everywhere)
    return [*rows, (-1, offer[0].offset_px, (np.inf,) * 3, float(anywhere))]
