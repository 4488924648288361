"""``gpustitch spacing``: how far apart slices are, and what is wrong with a series."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from gpustitch.cli.build import command_of, flags_of
from gpustitch.cli.terminal import TerminalProgress, as_typed
from gpustitch.errors import OutputError
from gpustitch.model.options import leaves
from gpustitch.slices.model import SliceStack, SpacingClass
from gpustitch.slices.verdict.report import LABEL_WIDTH, headline, verdict, verdict_dict
from gpustitch.slices.verdict.stage import SpacingOptions, judge
from gpustitch.slices.volume.stage import ResampleOptions

# Exit codes of series with warnings, and of series that no volume can be made of.
WARNED, UNUSABLE = 21, 22
_WIDEST = 100
_MOST_SINGLE = 5
_MOST_BESIDE = 10
_STYLES = {"warning": "yellow", "warnings": "yellow", "do": "bold"}


class _Warned(TerminalProgress):
    """Progress that remembers whether there was a warning."""

    is_warned = False

    def warn(self, message: str) -> None:
        self.is_warned = True
        super().warn(message)


@command_of
def command(
    options: SpacingOptions,
    progress: _Warned,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs: a list with one object per series.")
    ] = False,
) -> None:
    """Say how far apart slices are, what is wrong with a series, and what other programs would make of it.

    Exit code: 0 if every series is clean, 21 if a series has warnings or is of no use, 22 if no volume can be made of
    any series. Localizers and secondary captures beside other series are listed and do not count.

    Example: gpustitch spacing CT/ --json
    """
    stacks = [_typed(stack) for stack in judge(options.inputs, options.judge, progress)]
    with _stdout():
        if as_json:
            print(json.dumps([verdict_dict(stack) for stack in stacks], indent=2, allow_nan=False))
        else:
            _print(stacks)
    raise typer.Exit(_exit_code(stacks, is_warned=progress.is_warned))


def _typed(stack: SliceStack) -> SliceStack:
    """The verdict with flags in place of parameter names, also for parameters of ``resample``."""
    flags = flags_of(leaves(ResampleOptions))
    return dataclasses.replace(
        stack,
        notes=tuple(dataclasses.replace(note, text=as_typed(note.text, flags)) for note in stack.notes),
        evidence=tuple(as_typed(text, flags) for text in stack.evidence),
        advice=as_typed(stack.advice, flags),
    )


@contextlib.contextmanager
def _stdout() -> Iterator[None]:
    """Write ``?`` for characters that stdout cannot encode; raise OutputError if stdout cannot be written to."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # The rest of the buffer would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"the verdict cannot be written: {error.strerror}") from error


def _exit_code(stacks: Sequence[SliceStack], *, is_warned: bool) -> int:
    if not any(stack.is_usable for stack in stacks):
        return UNUSABLE
    return WARNED if is_warned or any(stack.notes or not stack.is_usable for stack in _told_of(stacks)) else 0


def _told_of(stacks: Sequence[SliceStack]) -> list[SliceStack]:
    """The series that count: not the localizers and secondary captures, unless there is nothing else."""
    return [stack for stack in stacks if not stack.series.role] or list(stacks)


def _few_single(stacks: Sequence[SliceStack]) -> tuple[list[SliceStack], int]:
    """The verdicts to print, and the number of left out single slices: a radial series falls into many."""
    single = [stack for stack in stacks if stack.fit.spacing_class is SpacingClass.SINGLE]
    hidden = set(map(id, single[_MOST_SINGLE:]))
    return [stack for stack in stacks if id(stack) not in hidden], len(hidden)


def _print(stacks: Sequence[SliceStack]) -> None:
    """Verdicts one below the other, in color on a terminal."""
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    console = Console(highlight=False, soft_wrap=True, width=max(width, 40))
    told = _told_of(stacks)
    shown, more = _few_single(told)
    for i, stack in enumerate(shown):
        if i:
            console.print()
        color = "red" if not stack.is_usable else "yellow" if stack.notes else "green"
        console.print(Text(headline(stack), style=f"bold {color}"))
        style = ""
        for line in verdict(stack, width):
            label = line[:LABEL_WIDTH].strip()
            style = _STYLES.get(label, "") if label else style
            console.print(Text(line, style=style))
    if more:
        console.print(f"\n{more} more series of a single slice (--json lists them)")
    counted = set(map(id, told))
    beside = [stack for stack in stacks if id(stack) not in counted]
    if beside:
        console.print()
    for stack in beside[:_MOST_BESIDE]:
        n = len(stack.order)
        console.print(f"{stack.series.name}: {stack.series.role}, {n} {'slice' if n == 1 else 'slices'}")
    if len(beside) > _MOST_BESIDE:
        console.print(f"{len(beside) - _MOST_BESIDE} more of these (--json lists them)")
