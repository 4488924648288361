"""Which numbers are missing from a row of numbers that counts frames."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gpustitch.io.stacks.numbers import Number

# Numbers count frames if at least this part of their intervals is the usual one, and all are whole multiples of it to
# this part: stage positions are rounded, and differ a little.
_LEAST_USUAL, _TOLERANCE = 0.5, 0.25
# Part of all intervals that may be holes, as in gpustitch.slices.fit.grid; with more, numbers count no slices.
_MOST_HOLES = 0.2
# Numbers that texts name.
_NAMED = 8


@dataclass(frozen=True)
class EvenRow:
    """Numbers, rising, in an even row of them.

    Attributes
    ----------
    numbers
        The numbers.
    places
        Place of each in the row, the first 0.
    step
        Distance of neighbours in the row.
    is_exact
        Whether all numbers lie in the row exactly.
    """

    numbers: tuple[Number, ...]
    places: tuple[int, ...]
    step: Fraction
    is_exact: bool

    @property
    def n_missing(self) -> int:
        """How many places no number has."""
        return self.places[-1] + 1 - len(self.places)

    @property
    def missing_text(self) -> str:
        """The missing numbers, as ``number 3 is`` or ``numbers 3, 7 to 9 are``; empty if none is."""
        holes = []
        for at in range(1, len(self.places)):
            before, after = self.numbers[at - 1], self.numbers[at]
            n = self.places[at] - self.places[at - 1]
            if n > 1:
                step = Fraction(after - before) / n
                holes.append((before + step, after - step))
        if not holes:
            return ""
        named = ", ".join(self._text(first, last) for first, last in holes[:_NAMED])
        more = ", and more" if len(holes) > _NAMED else ""
        about = "" if self.is_exact else "about "
        return f"number {about}{named} is" if self.n_missing == 1 else f"numbers {about}{named}{more} are"

    def _text(self, first: Number, last: Number) -> str:
        low, high = number_text(first), number_text(last)
        return low if low == high else f"{low} to {high}"


def number_text(number: Number) -> str:
    """A number as people write it."""
    return str(number.numerator) if number.denominator == 1 else f"{float(number):.6g}"


def even_row(numbers: Sequence[Number]) -> EvenRow | None:
    """The even row that rising numbers lie in; None if they count no frames, or are less than two."""
    scale = math.lcm(*(number.denominator for number in numbers))
    whole = [number.numerator * (scale // number.denominator) for number in numbers]
    gaps = [after - before for before, after in itertools.pairwise(whole)]
    if not gaps or min(gaps) <= 0:
        return None
    length, n_steps = statistics.median_low(gaps), 1  # so many steps are so long
    for _ in range(3):  # rounded numbers have no usual distance but on average
        counts = [max(1, round(gap * n_steps / length)) for gap in gaps]
        is_exact = all(gap * n_steps == n * length for gap, n in zip(gaps, counts, strict=True))
        if is_exact:
            break
        length, n_steps = sum(gaps), sum(counts)
    if any(abs(gap * n_steps / length - n) > _TOLERANCE for gap, n in zip(gaps, counts, strict=True)):
        return None
    n_usual = counts.count(1)
    if n_usual < _LEAST_USUAL * len(counts) or (n_usual == 1 and sum(counts) > 2 * len(counts) + 1):
        return None
    places = tuple(itertools.accumulate(counts, initial=0))
    return EvenRow(tuple(numbers), places, Fraction(length, n_steps * scale), is_exact)


def number_step(numbers: Sequence[int | None]) -> int | None:
    """The distance of whole numbers in an even row, in any order; None if one is unknown or they count no slices."""
    known = sorted(number for number in numbers if number is not None)
    row = even_row(known) if len(known) == len(numbers) else None
    if row is None or not row.is_exact or row.step.denominator != 1:
        return None
    n_holes = sum(after - before > row.step for before, after in itertools.pairwise(known))
    return int(row.step) if n_holes <= max(1, _MOST_HOLES * (len(known) - 1)) else None
