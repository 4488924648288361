"""Solve the positions of all tiles at once from the links between them and from where the stage puts them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from gpustitch.errors import AlignmentError
from gpustitch.model import Candidate, Link, Placement
from gpustitch.model.arrays import Bools, Floats, PxZYX
from gpustitch.oblique.align.solving.certainty import positions_on, standard_errors, weights_of
from gpustitch.oblique.align.solving.hypotheses import SYSTEMATIC_PX, hypotheses_of, link_sigma
from gpustitch.oblique.align.solving.mixture import Choice, Mixture
from gpustitch.oblique.align.solving.stage_model import StageModel
from gpustitch.oblique.align.solving.support import supports

__all__ = ["SYSTEMATIC_PX", "link_sigma", "solve_positions"]

# A revived link keeps its matches if they lie this close to the candidate, voxels.
_SAME_PX = 0.5


def solve_positions(
    nominal_px: Mapping[str, Sequence[float]],
    links: Sequence[Link],
    *,
    axes: tuple[bool, bool, bool] = (True, True, True),
    voxel_um: Sequence[float] = (1.5, 1.5, 1.5),
    stage_repeatability_um: float | None = None,
) -> Placement:
    """Most probable positions of all tiles, and how sure they are.

    Each link is right at one of its candidates or false. If right, ``position[moving] - position[fixed]`` is its offset
    to within its standard error. The stage's positions are right up to an affine map, an error of each row and one of
    each tile; their scales are learnt. So a link is judged by the loops it closes and by the stage. Tiles and groups of
    tiles that no link joins to the others lie where this model of the stage has them.

    Parameters
    ----------
    nominal_px
        Position (z, y, x) at which the stage puts each tile's first voxel, in voxels.
    links
        Links. One with a ``reason`` may still be right at one of its ``candidates``, if links without a reason join its
        tiles too; without candidates it is not used.
    axes
        Which of z, y and x to solve; on the other axes nominal positions stay.
    voxel_um
        Size of a voxel (z, y, x), um: the prior of the stage's error is known in um.
    stage_repeatability_um
        Standard deviation of the stage's error on each axis, um, if it is known.

    Returns
    -------
    Placement
        With the least coordinate on each axis 0, and with the reasons of the links rejected here. A link that turned
        out to be right at another candidate has that one's offset and standard error, and no reason.

    Raises
    ------
    AlignmentError
        If a link names a tile without nominal position.
    """
    unknown = sorted({n for link in links for n in (link.fixed, link.moving)} - nominal_px.keys())
    if unknown:
        raise AlignmentError(f"links name the tiles {unknown}, but `nominal_px` holds no position for them")
    offered = list(links)
    while True:
        placement = _solved(nominal_px, offered, axes, voxel_um, stage_repeatability_um)
        doubtful = _unsupported(offered, placement.links)
        if not doubtful:
            break
        offered = [dataclasses.replace(k, candidates=()) if i in doubtful else k for i, k in enumerate(offered)]
    judged = (dataclasses.replace(k, candidates=own.candidates) for k, own in zip(placement.links, links, strict=True))
    return dataclasses.replace(placement, links=tuple(judged))


def _unsupported(before: Sequence[Link], after: Sequence[Link]) -> set[int]:
    """Numbers of the links that had a reason and lost it, though no links without one join their tiles.

    Where a pattern repeats, places of all links fit the stage and each other and are false.
    """
    group = {name: {name} for link in before for name in (link.fixed, link.moving)}
    for old, new in zip(before, after, strict=True):
        if not (old.reason or new.reason):
            joined = group[new.fixed] | group[new.moving]
            group.update(dict.fromkeys(joined, joined))
    pairs = enumerate(zip(before, after, strict=True))
    return {i for i, (old, new) in pairs if old.reason and not new.reason and new.moving not in group[new.fixed]}


def _solved(
    nominal_px: Mapping[str, Sequence[float]],
    links: Sequence[Link],
    axes: tuple[bool, bool, bool],
    voxel_um: Sequence[float],
    stage_repeatability_um: float | None,
) -> Placement:
    # In the order of places, so that nothing depends on the order of tiles or on names.
    names = sorted(nominal_px, key=lambda name: tuple(nominal_px[name]))
    nominal = np.array([nominal_px[n] for n in names], np.float64).reshape(-1, 3)
    solved = np.array(axes, bool)
    number = {name: i for i, name in enumerate(names)}
    hypotheses, which, offers = hypotheses_of(links, number, nominal, solved)
    stage = StageModel(nominal, voxel_um, stage_repeatability_um)
    mixture = Mixture(hypotheses, stage, tuple(np.flatnonzero(solved).tolist()))
    best, choices, weights = _choices(mixture)
    moved, sigma = _positions(mixture, best, choices, weights)
    solution = _Solution(dict(zip(names, nominal + moved, strict=True)), solved)
    candidates = hypotheses.candidate[best.chosen].tolist()
    judged = _judged(solution, links, dict(zip(which, zip(offers, candidates, strict=True), strict=True)))
    accepted = [k for k in judged if not k.reason]
    held = supports(list(nominal_px), [(k.fixed, k.moving) for k in accepted])
    least = (nominal + moved).min(axis=0)
    return Placement(
        {n: _triple(solution.position_px[n] - least) for n in nominal_px},
        {(k.fixed, k.moving): _triple(solution.residual(k)) for k in accepted},
        judged,
        tuple(n for n in nominal_px if held[n] == "stage"),
        {n: _triple(sigma[number[n]]) for n in nominal_px},
        held,
    )


def _choices(mixture: Mixture) -> tuple[Choice, list[Choice], Floats]:
    """The choice to go on with, and all that are probable with their probabilities.

    A link that is right in the most probable choice, but in less than half of all, is not trusted. Links that are not
    trusted say nothing.
    """
    h = mixture.hypotheses
    choices = mixture.search()
    weights = weights_of(choices)
    candidate = h.candidate[choices[0].chosen]
    agree = weights @ np.array([h.candidate[c.chosen] == candidate for c in choices])
    trusted = (candidate >= 0) & (agree >= 0.5)
    return mixture.choice(np.where(trusted, choices[0].chosen, h.last), choices[0].bumped), choices, weights


def _positions(mixture: Mixture, best: Choice, choices: list[Choice], weights: Floats) -> tuple[Floats, Floats]:
    """Positions less the nominal ones, and standard errors, both (n, 3); on axes not solved those of the stage."""
    n = mixture.stage.n_tiles
    moved, sigma = np.zeros((n, 3)), np.zeros((n, 3))
    alone = mixture.stage_alone()
    for axis in range(3):
        if axis in mixture.axes:
            place = mixture.axes.index(axis)
            moved[:, axis] = positions_on(best, place)
            sigma[:, axis] = standard_errors(moved[:, axis], choices, weights, place)
        else:
            sigma[:, axis] = standard_errors(moved[:, axis], [alone], np.ones(1), axis)
    return moved, sigma


@dataclasses.dataclass(frozen=True)
class _Solution:
    position_px: Mapping[str, Floats]
    solved: Bools

    def residual(self, link: Link) -> Floats:
        """The solved offset less the link's; 0 on axes that are not solved."""
        apart = self.position_px[link.moving] - self.position_px[link.fixed]
        return np.where(self.solved, apart - np.asarray(link.offset_px), 0)


def _judged(
    solution: _Solution, links: Sequence[Link], verdicts: Mapping[int, tuple[tuple[Candidate, ...], int]]
) -> tuple[Link, ...]:
    """The links, at the candidates that are right, or with a reason; ``verdicts``: candidates, and the right one."""
    judged = list(links)
    for i, (offer, right) in verdicts.items():
        if right >= 0:
            judged[i] = _at(links[i], offer[right])
    group = {name: {name} for name in solution.position_px}
    for i, (_, right) in verdicts.items():
        if right >= 0:
            joined = group[links[i].fixed] | group[links[i].moving]
            group.update(dict.fromkeys(joined, joined))
    for i, (offer, right) in verdicts.items():
        if right < 0 and not links[i].reason:
            in_loop = links[i].moving in group[links[i].fixed]
            reason = _reason(float(np.abs(solution.residual(links[i])).max()), in_loop, len(offer))
            judged[i] = dataclasses.replace(links[i], reason=reason)
    return tuple(judged)


def _reason(off_px: float, in_loop: bool, n_candidates: int) -> str:
    """Why a link is false: by how much it is off, and off what."""
    if in_loop:
        why = f"contradicts the other links by {off_px:.1f} voxels; a larger `window_px` tells repeats apart"
    else:
        why = (
            f"lies {off_px:.1f} voxels from where the stage model puts it, and no loop supports it; a smaller "
            "`search_px` leaves such places out"
        )
    return why if n_candidates == 1 else f"{why}; nor is any other of its {n_candidates} candidates right"


def _at(link: Link, right: Candidate) -> Link:
    """The link at the candidate that is right; matches that belong to another offset are left out."""
    if not link.reason and right.offset_px == link.offset_px:
        return link
    found = dataclasses.replace(link, offset_px=right.offset_px, sigma_px=right.sigma_px, reason="")
    if np.abs(np.subtract(right.offset_px, link.offset_px)).max() <= _SAME_PX:
        return found
    return dataclasses.replace(found, matches=(), scatter_px=(0.0, 0.0, 0.0), bend_px=None)


def _triple(values: Floats) -> PxZYX:
    z, y, x = values.tolist()
    return z, y, x
