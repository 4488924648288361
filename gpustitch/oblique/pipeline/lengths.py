"""Whether tiles may have lost their first or last frames, by how many they have and where their numbers begin."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from gpustitch.io.stacks.numbers import Number
from gpustitch.running.progress import listed


def shorter(counts: Mapping[str, int]) -> str:
    """What to say of tiles with fewer frames than others, which may have lost their first or last ones; or nothing."""
    most = max(counts.values())
    named = [f"{name}: {n}" for name, n in counts.items() if n < most]
    if not named:
        return ""
    return (
        f"{len(named)} of {len(counts)} tiles have fewer than {most} frames ({listed(named)}): if the first ones of a "
        "tile were lost, it lies in the wrong place along x"
    )


def later(counts: Mapping[str, int], ends: Mapping[str, tuple[Number, Number] | None]) -> str:
    """What to say of tiles whose files begin at a later number than those of others; or nothing.

    Numbers that run on from tile to tile say nothing, and neither do those that differ by less than a frame.

    Parameters
    ----------
    counts
        The number of frames of each tile by name, absent ones counted.
    ends
        The numbers of the first and last file of each tile; None where names count no frames.
    """
    known = {name: numbers for name, numbers in ends.items() if numbers is not None and counts[name] > 1}
    named = []
    for name, (first, last) in known.items():
        step = Fraction(last - first) / (counts[name] - 1)
        least = min(a for a, b in known.values() if a <= first <= b)
        if n_later := round((first - least) / step):
            named.append(f"{name}: {n_later}")
    if not named:
        return ""
    return (
        f"the files of {len(named)} of {len(counts)} tiles begin at later numbers than those of others, by frames "
        f"({listed(named)}): if these frames were lost, such a tile lies in the wrong place along x"
    )
