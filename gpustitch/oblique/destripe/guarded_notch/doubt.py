"""How much it takes to believe that a level holds stripes, and how much of them is taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Doubt:
    """How stripes are doubted.

    Attributes
    ----------
    sure
        Stripes of a level count if their energy exceeds that of tissue by so many of its standard errors.
    likely
        Beside levels that count, so many will do.
    alone
        So many are enough beside a level that holds a little more than tissue, too.
    power
        Of the part of a row's mean that is stripes: what is taken of it. 1 leaves the least error (Wiener), 0 the least
        of the stripes, which are seen sooner than tissue that is missed.
    clear
        Where rows are so many times more alike than tissue, as many standard errors will do as in frames of many
        columns: what rows vary by are the stripes.
    """

    sure: float
    likely: float
    alone: float
    power: float
    clear: float = np.inf
