"""Lengths, changes, names and numbers of things in the sentences of a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpustitch.running import progress
from gpustitch.slices.model import SliceHeader

# Of more names it is said how many.
_NAMED = 3


def mm(value: float, error: float = 0.0) -> str:
    """A length to six digits, or to the second digit of its error."""
    if not math.isfinite(value):
        return "unknown"
    if error > 0 and math.isfinite(error):
        decimals = min(9, max(0, 1 - math.floor(math.log10(error))))
        if decimals < 6 - math.floor(math.log10(abs(value) or 1)):
            return f"{value:.{decimals}f}"
    return f"{value:.6g}"


def percent(part: float) -> str:
    """A change as signed percent, to two digits; as a factor where it is more than fivefold."""
    if abs(part) < 5e-6:
        return "0 %"
    if part > 4:
        return f"x {1 + part:.0f}"
    return f"{100 * part:+.2g} %" if abs(part) < 0.995 else f"{100 * part:+.0f} %"


def plural(n: int, one: str, many: str = "") -> str:
    """``1 slice``, ``2 slices``; ``many`` where an s does not make it."""
    return f"{n} {one}" if n == 1 else f"{n} {many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    return progress.listed(names, _NAMED)


def slice_name(header: SliceHeader) -> str:
    """File of a slice, and its number in it if that is not the first."""
    return header.path.name if header.frame == 0 else f"{header.path.name}[{header.frame}]"
