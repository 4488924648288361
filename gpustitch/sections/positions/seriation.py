"""The order of pieces of a series that does not hang together, from how similar their ends are."""

from __future__ import annotations

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers

# Sections hang together if they are as similar as those so many sections apart usually are, at most so many apart.
_LAGS = 3
# The series does if they are this part as similar as neighbours usually are: it may have gaps of some sections.
LOOSELY = 0.5
# Sections of each end of a piece that are compared.
N_ENDS = 2


def least_similarity(half_strip: Floats) -> float:
    """Similarity from which on two sections hang together; 0 if there is none."""
    return max(_usual(half_strip[:, min(_LAGS, half_strip.shape[1] - 1)]), LOOSELY * _usual(half_strip[:, 1]))


def _usual(similarity: Floats) -> float:
    known = similarity[np.isfinite(similarity)]
    return float(np.median(known)) if len(known) else 0.0


def pieces_of(half_strip: Floats, loosely: bool = False) -> list[Integers]:
    """Sections that hang together, ascending in each piece; pieces by their first section.

    Parameters
    ----------
    half_strip
        (n, max_lag + 1): ``[i, d]`` is the similarity of sections i and i + d, NaN where there is none.
    loosely
        Whether gaps of some sections are no end of a piece.
    """
    n, width = half_strip.shape
    least = LOOSELY * _usual(half_strip[:, 1]) if loosely else least_similarity(half_strip)
    if least <= 0:
        return [np.arange(n)]
    near = half_strip[:, 1 : min(_LAGS, width - 1) + 1] >= least
    first, lag = np.nonzero(near)
    links = scipy.sparse.coo_matrix((np.ones(len(first)), (first, first + lag + 1)), (n, n))
    label = scipy.sparse.csgraph.connected_components(links, directed=False)[1]
    return sorted((np.flatnonzero(label == k) for k in range(int(label.max()) + 1)), key=lambda piece: int(piece[0]))


def ends_of(pieces: list[Integers]) -> Integers:
    """Sections (pieces, 2, N_ENDS) at the first and the last end of each piece, the outermost first."""
    found = []
    for piece in pieces:
        # No section is taken for both ends, or short pieces could lie either way.
        inner = np.minimum(np.arange(N_ENDS), max(len(piece) // 2 - 1, 0))
        found.append([piece[inner], piece[::-1][inner]])
    return np.array(found)


def order_of_pieces(pieces: list[Integers], likeness: Floats, least: float) -> Integers:
    """Sections in the order in which the pieces hang together best: ``order[k]`` is the section that comes k-th.

    Parameters
    ----------
    pieces
        Sections of each piece in their order.
    likeness
        (2 m, 2 m), symmetric: similarity of the ends of m pieces, the first and the last end of each in turn; NaN where
        there is none.
    least
        Ends that are less similar are not joined.

    Notes
    -----
    The most similar ends are joined first. A chain runs the way that most of its sections were recorded in. Chains
    follow one another as recorded, and a section that no end resembles stays behind the one recorded before it.
    """
    chains = _chains(pieces, likeness, least)
    alone = [chain for chain in chains if sum(len(part) for part in chain) == 1]
    rest = [np.concatenate(chain) for chain in chains if sum(len(part) for part in chain) > 1]
    rest.sort(key=lambda chain: float(np.median(chain)))
    order = np.concatenate(rest).tolist() if rest else []
    for (section,) in sorted((chain[0] for chain in alone), key=lambda part: int(part[0])):
        order.insert(order.index(section - 1) + 1 if section - 1 in order else 0, section)
    return np.array(order, np.int64)


def _chains(pieces: list[Integers], likeness: Floats, least: float) -> list[list[Integers]]:
    """Pieces joined at their ends, each chain with its pieces in order and turned around where needed."""
    m = len(pieces)
    # Each chain is the list of its pieces' ends, as they come: 2 k and 2 k + 1 are those of piece k.
    chain_of = {k: [2 * k, 2 * k + 1] for k in range(m)}
    owner = list(range(m))
    upper = np.triu(np.nan_to_num(likeness, nan=-1.0), 1)
    first, second = np.nonzero(upper >= least)
    for e in np.argsort(-upper[first, second], kind="stable"):
        a, b = int(first[e]), int(second[e])
        one, two = owner[a // 2], owner[b // 2]
        if one == two:
            continue
        left, right = chain_of[one], chain_of[two]
        left = left if left[-1] == a else left[::-1] if left[0] == a else []
        right = right if right[0] == b else right[::-1] if right[-1] == b else []
        if not left or not right:
            continue
        chain_of[one] = left + right
        del chain_of[two]
        for end in right:
            owner[end // 2] = one
    return [_turned(pieces, ends) for ends in chain_of.values()]


def _turned(pieces: list[Integers], ends: list[int]) -> list[Integers]:
    """Sections of the pieces of a chain, the chain turned so that most of them run as recorded."""
    parts = [pieces[e // 2] if e % 2 == 0 else pieces[e // 2][::-1] for e in ends[::2]]
    forward = sum(len(part) for part, e in zip(parts, ends[::2], strict=True) if e % 2 == 0 and len(part) > 1)
    backward = sum(len(part) for part, e in zip(parts, ends[::2], strict=True) if e % 2 == 1 and len(part) > 1)
    rises = forward > backward or (forward == backward and np.median(parts[0]) <= np.median(parts[-1]))
    return parts if rises else [part[::-1] for part in parts[::-1]]


def runs_text(order: Integers) -> str:
    """An order of sections in words: ``0-29, 60-89, 59-30`` for three blocks, the last one back to front."""
    runs: list[list[int]] = []
    for section in order.tolist():
        last = runs[-1] if runs else []
        step = section - last[-1] if last else 0
        if abs(step) == 1 and (len(last) == 1 or step == last[-1] - last[-2]):
            last.append(section)
        else:
            runs.append([section])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
