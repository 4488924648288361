"""How much of the stripes goes on to levels that are too coarse to see them beside the tissue.

Tissue holds more at each coarser level, and hides the coarsest levels of stripes. Thin stripes hold as much at all
levels, wide ones more at coarser ones up to their own width. That is what is expected, and half as much doubted: what
windows have in common there corrects it, by how well it is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpustitch.model.arrays import Bools, Floats

# A level holds at most so many times as much of a wide stripe as the next finer one.
_MOST_GROWN = 4.0
# The standard deviation of what is expected, as a part of it.
_DOUBTED = 0.5
# What is measured denies beyond so many standard errors.
_SURELY = 2.0
# By chance a level holds so many times as much as it should.
_CHANCE = 2.0


def likely(energy: Floats, sure: Bools) -> Floats:
    """Energy of each level, the finest first, but no more than stripes of one width are likely to hold there.

    From level to level they grow by ever smaller factors. More is tissue, unless it is ``sure``.
    """
    found = energy.copy()
    for level in range(2, len(found)):
        before, finer = found[level - 2], found[level - 1]
        if not sure[level] and before > 0 and finer > 0:
            found[level] = min(found[level], _CHANCE * finer * max(1.0, finer / before))
    return found


def carried_on(
    found: Bools,
    energy: Floats,
    observed: Sequence[tuple[Floats, Floats]],
    known: Bools,
    *,
    next_is_believed: bool = False,
) -> Floats:
    """Energy of stripes at levels coarser than those found, the finest level first; 0 elsewhere.

    Parameters
    ----------
    found
        Levels that surely hold stripes, one at least.
    energy
        Energy of the stripes, right where they are found.
    observed
        Energies that were measured at all levels, each with its standard error, infinite where nothing is known.
    known
        Levels that stripes may go on to.
    next_is_believed
        Whether the next level holds what is expected unless what is measured surely denies it.
    """
    carried = np.zeros(len(energy))
    last = int(np.flatnonzero(found)[-1])
    before = max(float(energy[last - 1]), 0.0) if last else 0.0
    grown = float(np.clip(energy[last] / before, 1, _MOST_GROWN)) if before else 1.0
    expected = max(float(energy[last]), 0.0) * grown
    for level in range(last + 1, len(energy)):
        if not known[level] or expected <= 0:
            break
        weights = [1 / error[level] ** 2 for _, error in observed]
        measured = sum(weight * value[level] for weight, (value, _) in zip(weights, observed, strict=True))
        prior, weight = 1 / (_DOUBTED * expected) ** 2, sum(weights)
        at_most = (measured + _SURELY * np.sqrt(weight)) / weight if weight else np.inf
        if not (next_is_believed and level == last + 1 and at_most > _DOUBTED * expected):
            expected = max(float((prior * expected + measured) / (prior + weight)), 0.0)
        carried[level] = expected
    return carried
