"""Whether tiles may have lost frames, by how many they have and the numbers in the names of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.opening import numbers_of_ends
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.stacks.numbers import Number
from gpustitch.model import Mosaic
from gpustitch.running.progress import listed

Ends = Mapping[str, tuple[Number, Number] | None]

# Numbers that are that many times as far apart as in another tile are no rounding.
_WIDER = 1.5


def cautions(mosaic: Mosaic, n_frames: Sequence[int], choice: StackChoice) -> tuple[str, ...]:
    """What to say of frames that tiles may have lost; DamagedInputError where they surely have.

    Parameters
    ----------
    mosaic
        The tiles.
    n_frames
        The number of frames of each, absent ones counted.
    choice
        Which of several stacks in a tile's place it is.
    """
    counts = {tile.name: n for tile, n in zip(mosaic.tiles, n_frames, strict=True)}
    ends = {tile.name: numbers_of_ends(tile.path, choice) for tile in mosaic.tiles}
    check_steps(counts, ends)
    return shorter(counts), later(counts, ends)


def check_steps(counts: Mapping[str, int], ends: Ends) -> None:
    """Refuse tiles of which every second frame, or so, is lost: their numbers are evenly spaced all the same.

    Parameters
    ----------
    counts
        The number of frames of each tile by name, absent ones counted.
    ends
        The numbers of the first and last file of each tile; None where names count no frames.

    Raises
    ------
    DamagedInputError
        If the numbers of a tile are farther apart than those of another one.
    """
    steps = {
        name: float(e[1] - e[0]) / (counts[name] - 1) for name, e in ends.items() if e is not None and counts[name] > 1
    }
    least = min(steps, key=lambda name: steps[name], default="")
    wider = [f"{name}: {step:.4g}" for name, step in steps.items() if step > _WIDER * steps[least]]
    if wider:
        raise DamagedInputError(
            f"the numbers of the files of {len(wider)} of {len(counts)} tiles are farther apart ({listed(wider)}) than "
            f"those of {least}, {steps[least]:.4g}: frames between them are missing; bring the files back"
        )


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


def later(counts: Mapping[str, int], ends: Ends) -> str:
    """What to say of tiles whose files begin at a later number than those of others; or nothing.

    Numbers that run on from tile to tile say nothing, and neither do those that differ by less than a frame.

    Parameters
    ----------
    counts, ends
        As in :func:`check_steps`.
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
