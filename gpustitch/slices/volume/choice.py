"""Which series is taken, whether a volume can be made of it, and its slices as planes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.slices.model import UNUSABLE, Code, SliceStack

_UID = "SeriesInstanceUID"
_MOST_NAMED = 10
_MOST_DIGITS = 4  # of the number of a series; more are part of a UID


def chosen_stack(stacks: Sequence[SliceStack], series: str | None) -> SliceStack:
    """The series asked for, or the only one that is there or that a volume can be made of.

    Localizers and secondary captures do not count beside other series.

    Parameters
    ----------
    stacks
        All series, judged.
    series
        A number from 1 on in this order, or the beginning or end of a SeriesInstanceUID; None for the only one.

    Raises
    ------
    DamagedInputError
        If there is none.
    ParameterError
        If there are several, or none or several that are called so.
    """
    if not stacks:
        raise DamagedInputError("no series of slices was found")
    if series is None:
        return _only(stacks)
    if series.isdigit() and len(series) <= _MOST_DIGITS:
        if 1 <= int(series) <= len(stacks):
            return stacks[int(series) - 1]
        raise ParameterError(f"`series` is {series}; there are these:\n{_listed(stacks)}")
    named = [
        stack for stack in stacks if (uid := stack.series.key.get(_UID, "")).startswith(series) or uid.endswith(series)
    ]
    if len(named) != 1:
        raise ParameterError(f"`series` {series} is {_number(len(named))} of these:\n{_listed(stacks)}")
    return named[0]


def _only(stacks: Sequence[SliceStack]) -> SliceStack:
    """The only series, or the only one that a volume can be made of."""
    usable = [stack for stack in stacks if stack.is_usable]
    usable = [stack for stack in usable if not stack.series.role] or usable
    found = list(stacks) if len(stacks) == 1 else usable
    if len(found) == 1:
        return found[0]
    scattered = next((n for one in stacks for n in one.notes if n.code is Code.SERIES_SCATTERED), None)
    if scattered is not None and not usable:
        raise ParameterError(scattered.text)
    raise ParameterError(f"{_number(len(stacks))} were found; choose one with `series`:\n{_listed(stacks)}")


def check_usable(
    stack: SliceStack, pixel_spacing_mm: tuple[float, float] | None = None, spacing_mm: float | None = None
) -> SliceStack:
    """The stack, with the pixel spacing (y, x) if one is given; ``spacing_mm`` of the planes makes up for TOO_UNEVEN.

    Raises
    ------
    DamagedInputError
        If no volume can be made of it; the text is that of the verdict.
    ParameterError
        If the pixel spacing is not known, or is not positive.
    """
    codes = {note.code for note in stack.notes}
    uneven_only = not stack.is_usable and Code.TOO_UNEVEN in codes and not codes & (UNUSABLE - {Code.TOO_UNEVEN})
    if not stack.is_usable and not (uneven_only and spacing_mm is not None):
        reasons = "; ".join(note.text for note in stack.notes) or f"it is {stack.fit.spacing_class}"
        raise DamagedInputError(f"no volume can be made of {stack.series.name}: {reasons}. {stack.advice}".rstrip())
    z_mm, y_mm, x_mm = stack.spacing_mm
    if pixel_spacing_mm is not None:
        y_mm, x_mm = pixel_spacing_mm
    if y_mm is None or x_mm is None:
        raise ParameterError(f"{stack.series.name} does not state its pixel spacing; give it: `pixel_spacing_mm`")
    if not (y_mm > 0 and x_mm > 0):
        raise ParameterError(f"`pixel_spacing_mm` is {x_mm:g}, {y_mm:g}, but it must be two positive numbers of mm")
    return dataclasses.replace(stack, spacing_mm=(z_mm, y_mm, x_mm))


def _number(count: int) -> str:
    return {0: "no series", 1: "one series"}.get(count, f"{count} series")


def _listed(stacks: Sequence[SliceStack]) -> str:
    lines = [
        f"  {k}  {one.series.name}, {one.fit.spacing_class}, {len(one.order)} slices {one.series.key.get(_UID, '')}"
        for k, one in enumerate(stacks[:_MOST_NAMED], 1)
    ]
    more = len(stacks) - _MOST_NAMED
    return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)
