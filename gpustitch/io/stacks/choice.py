"""Which of several stacks at one place is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from gpustitch.errors import ParameterError
from gpustitch.model.options import documented, option

_PANEL = "Stack"
# Stacks that messages list.
_LISTED = 12


@documented
@dataclass(frozen=True, kw_only=True)
class StackChoice:
    """Which stack is read where files, or the pages of one, make several."""

    stack_channel: str | None = option(
        None, flag="--channel", help="Number of the channel to read, if there are several.", panel=_PANEL
    )
    stack_time: str | None = option(
        None, flag="--time", help="Number of the time to read, if there are several.", panel=_PANEL
    )
    stack_series: str | None = option(
        None,
        flag="--series",
        help="Stack to read, if there are several: its number in the list, or a part of its name.",
        panel=_PANEL,
    )


NO_CHOICE = StackChoice()


class Chosen(Protocol):
    """What can be chosen: a stack with a name, a number of planes, and what tells it from others."""

    @property
    def name(self) -> str:
        """Its name in the list."""

    @property
    def key(self) -> Mapping[str, str]:
        """Its image, channel and time, where there are several."""

    @property
    def count_text(self) -> str:
        """How much it holds, in words."""


S = TypeVar("S", bound=Chosen)


def chosen_of(place: str | Path, stacks: Sequence[S], choice: StackChoice) -> S:
    """The one stack that a choice leaves of those at a place.

    Raises
    ------
    ParameterError
        If several or none are left; the text lists them.
    """
    left = [
        (number, stack)
        for number, stack in enumerate(stacks, 1)
        if _matches(choice.stack_channel, stack.key.get("channel"))
        and _matches(choice.stack_time, stack.key.get("time"))
    ]
    if choice.stack_series is not None:
        left = _of_series(left, choice.stack_series)
    if len(left) == 1:
        return left[0][1]
    if not left:
        asked = ", ".join(f"`{name}` {value}" for name, value in vars(choice).items() if value is not None)
        raise ParameterError(f"{place} holds no stack with {asked}, but {_listed(stacks)}")
    kinds = [kind for kind in ("channel", "time") if len({stack.key.get(kind) for _, stack in left}) > 1]
    ways = [" and ".join(f"`stack_{kind}`" for kind in kinds), "`stack_series`"]
    raise ParameterError(
        f"{place} holds {len(left)} stacks; choose one by {' or '.join(filter(None, ways))}: "
        f"{_listed([stack for _, stack in left], [number for number, _ in left])}"
    )


def check_no_choice(place: str | Path, choice: StackChoice) -> None:
    """Raise ParameterError if a stack is chosen at a place that holds one thing alone."""
    asked = [name for name, value in vars(choice).items() if value is not None]
    if asked:
        raise ParameterError(f"{place} holds one stack, so there is nothing to choose; leave out `{asked[0]}`")


def stack_lines(stacks: Sequence[Chosen], numbers: Sequence[int] | None = None) -> list[str]:
    """Number, name and size of each stack, for people."""
    lines = []
    for number, stack in zip(numbers or range(1, len(stacks) + 1), stacks, strict=True):
        told = [*(f"{kind} {value}" for kind, value in stack.key.items()), stack.count_text]
        lines.append(f"{number}: {stack.name} ({', '.join(told)})")
    return lines


def _listed(stacks: Sequence[Chosen], numbers: Sequence[int] | None = None) -> str:
    lines = stack_lines(stacks, numbers)
    more = f"; and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    return "; ".join(lines[:_LISTED]) + more


def _matches(asked: str | None, own: str | None) -> bool:
    """Whether a stack is of the channel or time asked for; ``2`` is ``02`` too."""
    if asked is None:
        return True
    return own is not None and (own == asked or (own.isdecimal() and asked.isdecimal() and int(own) == int(asked)))


def _of_series(stacks: Sequence[tuple[int, S]], asked: str) -> list[tuple[int, S]]:
    """Stacks of a number in the list, else of a name, else with a part in their name."""
    numbered = [(number, stack) for number, stack in stacks if str(number) == asked.strip()]
    named = [(number, stack) for number, stack in stacks if stack.name == asked]
    return numbered or named or [(number, stack) for number, stack in stacks if asked in stack.name]
