"""Changes of the order of sections, where the similarities are evidence for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.positions.normal import FLOOR, Expected

# Places tried for a section, in sections from where it is.
FARTHEST, STEP = 6.0, 0.25
# A section's pairs are looked at this far, and count for at most CAP squared errors each.
LAGS, CAP = 8, 25.0
# A section is tried elsewhere if its mean squared error is SUSPECT times the usual one. It is moved if the error there
# is less than half as large, and smaller by EVIDENCE.
SUSPECT, EVIDENCE = 4.0, 20.0
# Standard errors by which two sections have to be in the wrong order.
CERTAIN = 3.0
# The same where all partners agree, of which there have to be so many on each side, and similar enough. Standard errors
# are mostly of what neighbours share, which does not change their order.
AGREED, PARTNERS, SIMILAR = 0.25, 4, 0.05


def relocated(expected: Expected, measured: Floats, positions: Floats) -> Floats | None:
    """Positions with sections moved to where their similarities say they belong; None if all are in place."""
    n = len(positions)
    lags = min(LAGS, len(measured), n - 1)
    partner, value, level, some = _both_sides(expected, measured, lags)
    here = _cost(expected, positions[:, None], positions[partner], value, level, some)
    number = np.maximum(some.sum(axis=1), 1)
    usual = np.median((here[:, 0] / number)[some.any(axis=1)])
    suspects = np.flatnonzero((here[:, 0] / number > SUSPECT * usual) & (here[:, 0] > EVIDENCE))
    if not len(suspects):
        return None
    offsets = np.arange(-FARTHEST, FARTHEST + STEP, STEP)
    places = positions[suspects, None] + offsets
    pick = [a[suspects] for a in (positions[partner], value, level, some)]
    there = _cost(expected, places, *pick)
    best = there.argmin(axis=1)
    least = there[np.arange(len(suspects)), best]
    better = (least < 0.5 * here[suspects, 0]) & (least < here[suspects, 0] - EVIDENCE)
    # Moves of less than a section are made by the solution itself.
    better &= np.abs(offsets[best]) >= 1
    if not better.any():
        return None
    moved = positions.copy()
    moved[suspects[better]] = places[np.arange(len(suspects)), best][better]
    return moved


def _both_sides(expected: Expected, measured: Floats, lags: int) -> tuple[Integers, Floats, Floats, Floats]:
    """Of each section (n, 2 lags): its partners, and the pairs' similarity, level and whether they are used."""
    n = measured.shape[1]
    steps = np.arange(1, lags + 1)
    after = np.arange(n)[:, None] + steps
    before = np.arange(n)[:, None] - steps
    partner = np.clip(np.concatenate([after, before], axis=1), 0, n - 1)
    first = np.maximum(before, 0)
    found = []
    for values in (measured, expected.level, expected.counts > 0):
        found.append(np.concatenate([values[:lags].T, values[steps - 1, first]], axis=1))
    some = found[2].astype(bool)
    some[:, lags:] &= before >= 0
    return partner, found[0], found[1], some


def _cost(expected: Expected, places: Floats, others: Floats, value: Floats, level: Floats, some: Floats) -> Floats:
    """Squared errors (m, places) of sections at each of their places, each pair's limited."""
    similarity = expected.curve.at(np.abs(places[:, :, None] - others[:, None, :]))[0] * level[:, None, :]
    error = np.maximum(1 - similarity**2, FLOOR) * expected.noise
    squares = np.minimum(((value[:, None, :] - similarity) / error) ** 2, CAP)
    cost: Floats = np.where(some[:, None, :], squares, 0).sum(axis=2)
    return cost


def all_agree(measured: Floats, i: int, j: int) -> bool:
    """Whether all sections before i and after j, i < j, are more similar to the farther one of both.

    ``measured`` is (range, n) as in :mod:`gpustitch.sections.positions.normal`. Quality takes no part: one ratio of
    both sections' similarities has to keep those before from those after.
    """
    max_lag, n = measured.shape
    before = np.arange(max(0, j - min(LAGS, max_lag)), i)
    after = np.arange(j + 1, min(n, i + min(LAGS, max_lag) + 1))
    of_i_before = measured[i - before - 1, before]
    of_j_before = measured[j - before - 1, before]
    of_i_after, of_j_after = measured[after - i - 1, i], measured[after - j - 1, j]
    earlier = np.minimum(of_i_before, of_j_before) > SIMILAR
    later = np.minimum(of_i_after, of_j_after) > SIMILAR
    if min(earlier.sum(), later.sum()) < PARTNERS:
        return False
    return bool((of_j_before[earlier] / of_i_before[earlier]).min() > (of_j_after[later] / of_i_after[later]).max())


def accepted_order(
    positions: Floats,
    error: Callable[[int, int], float],
    allowed: bool,
    agreed: Callable[[int, int], bool] = lambda i, j: False,
) -> Integers:
    """The order by position, in which sections change places only where it is certain that they have.

    ``error(i, j)`` is the standard error of the distance of two sections; ``agreed(i, j)`` says whether all
    others have sections i < j the other way round; less is asked then. Unless ``allowed``, the order stays.
    """
    n = len(positions)
    order = np.arange(n)
    if not allowed or (np.diff(positions) >= 0).all():
        return order
    known: dict[tuple[int, int], bool] = {}
    changed = True
    while changed:
        changed = False
        for k in np.flatnonzero(positions[order[:-1]] > positions[order[1:]]):
            i, j = int(order[k]), int(order[k + 1])
            if positions[i] <= positions[j]:
                continue
            if (i, j) not in known:
                least = AGREED if i < j and agreed(i, j) else CERTAIN
                known[i, j] = positions[i] - positions[j] > least * error(i, j)
            if known[i, j]:
                order[k], order[k + 1] = j, i
                changed = True
    return order


def in_given_order(positions: Floats, order: Integers, sigma: Floats, thickness: float) -> Floats:
    """The nearest positions that rise by at least the thickness in the given order (weighted least squares)."""
    n = len(positions)
    target = positions[order] - thickness * np.arange(n)
    if (np.diff(target) >= 0).all():
        return positions
    weight = 1 / np.maximum(sigma[order], 1e-6) ** 2
    blocks: list[tuple[float, float, int]] = []
    for value, share in zip(target, weight, strict=True):
        mean, total, count = float(value), float(share), 1
        while blocks and blocks[-1][0] > mean:
            before, other, number = blocks.pop()
            mean, total, count = (mean * total + before * other) / (total + other), total + other, count + number
        blocks.append((mean, total, count))
    out = np.empty(n)
    out[order] = np.repeat([b[0] for b in blocks], [b[2] for b in blocks]) + thickness * np.arange(n)
    return out
