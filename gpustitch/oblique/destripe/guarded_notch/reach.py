"""Whether lines along the rows go on as stripes do, or end within the frame as vessels and fibres do.

A stripe is in all of its row, or behind what casts a shadow. So where two places of a row hold lines at all, half a
frame apart, they hold the same lines. Vessels shorter than that do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats

# Lines of so many parts of a row are compared with those half a row farther on.
N_PARTS = 4
# Lines that are less alike over half a row than this, of 1, end within the frame.
_LEAST_ALIKE = 0.5
# With fewer of the lines in places that can be compared nothing is said: they may begin near an end of the rows.
_LEAST_COMPARED = 0.15
_SURE = 2.0


@dataclass(frozen=True)
class Energies:
    """Mean product of windows apart for each part of the rows, and its standard error."""

    mean: Floats
    error: Floats

    @classmethod
    def of(cls, products: Sequence[Floats], weights: Sequence[Floats], n_parts: int) -> Energies:
        """From weighted products of pairs and their weights (rows, pairs) of some frames; one row is one sample."""
        starts = np.linspace(0, products[0].shape[1], n_parts + 1).round().astype(np.intp)[:-1]
        sums, counted = (sum(np.add.reduceat(each, starts, axis=1) for each in all_) for all_ in (products, weights))
        total = np.maximum(np.sum(counted, axis=0), 1e-12)
        mean = np.sum(sums, axis=0) / total
        return cls(mean, np.sqrt(np.square(sums - counted * mean).sum(axis=0)) / total)

    @classmethod
    def summed(cls, levels: Sequence[Energies], shares: Floats) -> Energies:
        """The sum of ``shares`` of levels, which are independent."""
        mean = sum(share * level.mean for share, level in zip(shares, levels, strict=True))
        square = sum(np.square(share * level.error) for share, level in zip(shares, levels, strict=True))
        return cls(np.asarray(mean), np.sqrt(square))


def lines_end(near: Energies, far: Energies, tissue: float) -> bool:
    """Whether lines surely end within half a row; False also where that cannot be told.

    Parameters
    ----------
    near
        Energy of lines in `2 * N_PARTS` parts of the rows, from windows side by side.
    far
        Covariance of lines of the first `N_PARTS` parts with those half a row farther on.
    tissue
        Part of each value of ``near`` that is tissue.
    """
    energy = near.mean - tissue
    surely = np.maximum(energy - _SURE * near.error, 0)
    alike = np.sqrt(surely[:N_PARTS] * surely[N_PARTS:]).sum()
    at_most = far.mean.sum() + _SURE * np.sqrt(np.square(far.error).sum())
    compared = alike > _LEAST_COMPARED * np.maximum(energy, 0).sum() / 2
    return bool(compared and at_most < _LEAST_ALIKE * alike)
