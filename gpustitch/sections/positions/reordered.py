"""Series whose recorded order does not hang together, put in the order in which they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpustitch.model.arrays import Floats, Integers
from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.model import Estimate
from gpustitch.sections.positions.seriation import ends_of, least_similarity, order_of_pieces, pieces_of
from gpustitch.sections.similarity.bands import full_matrix

# Pieces beyond which a series is not put in order: there is hardly any order to go by.
MOST_PIECES = 200


@dataclass(frozen=True)
class Reordered:
    """Sections in another order than recorded: ``order[k]`` comes k-th, and ``half_strip`` is of them as they come."""

    order: Integers
    half_strip: Floats

    def of_sections(self, values: Floats | None) -> Floats | None:
        """Values of sections (n,) or of pairs (n, n), given as recorded, for the sections as they come."""
        if values is None:
            return None
        return values[self.order] if values.ndim == 1 else values[np.ix_(self.order, self.order)]

    def as_recorded(self, found: Estimate) -> Estimate:
        """An estimate of the sections as they come, for the sections as they were recorded."""
        back = np.argsort(self.order)
        return replace(
            found,
            positions=found.positions[back],
            order=self.order[found.order],
            weights=found.weights[back],
            uncertainty=found.uncertainty[back],
            curves=found.curves if len(found.curves) == 1 else found.curves[back],
            without_votes=np.sort(self.order[found.without_votes]),
        )

    def faults_as_recorded(self, faults: Sequence[SectionFault]) -> tuple[SectionFault, ...]:
        """Faults of the sections as they come, with their numbers as recorded."""
        named = [replace(f, sections=tuple(sorted(int(self.order[i]) for i in f.sections))) for f in faults]
        return tuple(sorted(named, key=lambda fault: (fault.sections, fault.fault_type)))


def reordered(half_strip: Floats, compare: Callable[[Integers, int], Floats]) -> Reordered | None:
    """The order in which a series hangs together better than as recorded; None if there is none.

    Parameters
    ----------
    half_strip
        (n, max_lag + 1): ``[i, d]`` is the similarity of sections i and i + d as recorded, NaN where there is none.
    compare
        Half strip of the sections of given numbers, in that order, within a range.

    Notes
    -----
    Nothing is compared if all sections hang together. Otherwise the ends of the pieces are, and if that joins them in
    another order, all sections in this order. It counts only if fewer pieces remain.
    """
    pieces = pieces_of(half_strip)
    if not 1 < len(pieces) <= MOST_PIECES:
        return None
    ends = ends_of(pieces).reshape(2 * len(pieces), -1)
    sections, place = np.unique(ends, return_inverse=True)
    strip = compare(sections, len(sections) - 1)
    matrix = full_matrix(strip)
    place = place.reshape(ends.shape)
    both = np.nan_to_num(matrix[place[:, None, :, None], place[None, :, None, :]], nan=-1.0)
    order = order_of_pieces(pieces, both.max(axis=(2, 3)), least_similarity(half_strip))
    if (order == np.arange(len(order))).all():
        return None
    found = Reordered(order, compare(order, half_strip.shape[1] - 1))
    return found if len(pieces_of(found.half_strip)) < len(pieces) else None


def breaks_text(half_strip: Floats) -> str:
    """Where a series does not hang together: ``29|30, 59|60``; empty if it does, but for single sections."""
    large = [piece for piece in pieces_of(half_strip, loosely=True) if len(piece) > 1]
    piece_of = np.full(len(half_strip), -1)
    for k, piece in enumerate(large):
        piece_of[piece] = k
    inside = np.flatnonzero(piece_of >= 0)
    ends = np.flatnonzero(np.diff(piece_of[inside]))
    return ", ".join(f"{inside[k]}|{inside[k + 1]}" for k in ends)
