"""How much a flat depends on which frames it is made of, told by four quarters of them.

The inner two quarters are of the first frames, the outer two of the last. Pairings of one inner and one outer quarter
take turns along the frames: what two such pairs differ by is chance. What first and last frames differ by beyond chance
has changed meanwhile, light or tissue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gpustitch.model.arrays import Bools, Floats
from gpustitch.oblique.flat.basis import Basis, Degrees

# Chance is measured by smooth patterns up to this degree: more of them than a simple model has terms.
_DEGREE = 4
_PATTERNS: Degrees = tuple((i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i))
# So many blocks for each pattern, at least.
_BLOCKS_EACH = 3


@dataclass(frozen=True)
class Spread:
    """What quarters of the frames differ by, in the ``known`` blocks of the frame (rows, columns of blocks).

    ``turns`` are halves of the differences of pairs that take turns, ``change`` that of first and last frames:
    logarithms of the light, (known blocks,) each. Without blocks nothing is known.
    """

    known: Bools = field(default_factory=lambda: np.zeros((1, 1), np.bool_))
    turns: tuple[Floats, ...] = ()
    change: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, known: Bools, quarters: Sequence[Floats]) -> Spread:
        """That of the logarithms of the four quarters' light in the known blocks."""
        one, two, three, four = quarters
        turns = (one + two - three - four) / 4, (one - two + three - four) / 4
        return cls(known, turns, (one - two - three + four) / 4)

    def of_model(self, degrees: Degrees) -> tuple[float, float]:
        """Standard deviations over the frame of a flat with these terms, as fractions of the light; NaN if unknown.

        The first is over choices of frames: the mean square of all patterns, as often as the model has terms, as a few
        terms alone tell little; or that of its own terms where it is more, as of tissue that is coarse. The second is
        half of what flats of the first and of the last frames differ by.
        """
        n = int(np.count_nonzero(self.known))
        if n < _BLOCKS_EACH * len(_PATTERNS):
            return np.nan, np.nan
        patterns, own = (_directions(self.known, terms) for terms in (_PATTERNS, degrees))
        alike, coarse = (
            float(np.mean([np.square(terms.T @ one).mean() for one in self.turns])) for terms in (patterns, own)
        )
        changed = float(np.square(own.T @ self.change).sum())
        return math.sqrt(max(alike, coarse) * own.shape[1] / n), math.sqrt(changed / n)


def _directions(known: Bools, degrees: Degrees) -> Floats:
    """Orthonormal patterns without a mean, (known blocks, patterns), that the terms make on the known blocks."""
    terms = Basis((known.shape[0], known.shape[1]), degrees).at(*np.nonzero(known))
    found, sizes, _ = np.linalg.svd(terms - terms.mean(axis=0), full_matrices=False)
    return np.asarray(found[:, sizes > 1e-9 * sizes.max(initial=1.0)])
