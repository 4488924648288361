"""Shared by all commands: progress on a terminal, errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Iterator, Mapping

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from gpustitch.cli.signals import STOPPING, ErrorStream, Stopped, handled, silence, stop, word_of
from gpustitch.errors import OutputError
from gpustitch.io.failures import failure

_errors = ErrorStream()
_console = Console(file=_errors)  # type: ignore[arg-type]  # all of a file that rich uses


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {task.fields['unit']}/s", style="cyan")


class TerminalProgress:
    """Draws a bar with rate and remaining time on a terminal; on anything else, one line per finished part."""

    def __init__(self, *, quiet: bool = False, flags: Mapping[str, str] | None = None) -> None:
        self._quiet = quiet
        self._flags = flags or {}
        self._bar: RichProgress | None = None
        self._label = ""
        self._unit = ""
        self._done = 0

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin a bar."""
        self._label, self._unit, self._done = label, unit, 0
        if not self._quiet and _console.is_terminal:
            self._bar = RichProgress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(),
                TimeRemainingColumn(), console=_console,
            )  # fmt: skip
            self._bar.start()
            self._bar.add_task(label, total=total, unit=unit)

    def advance(self, count: int = 1) -> None:
        """Move the bar on."""
        self._done += count
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], count)

    def finish(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif not self._quiet and self._label:
            print(f"{self._label}: {self._done} {self._unit}", file=_errors)
        self._label = ""

    def note(self, message: str) -> None:
        """Print a line, above the bar if one is drawn."""
        if not self._quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """Print a line, quiet or not."""
        _console.print(as_typed(message, self._flags), highlight=False, markup=False, soft_wrap=True)

    def result(self, message: str) -> None:
        """Print a line of the command's result to standard output, quiet or not.

        Nothing happens if the program that reads it wants no more; OutputError if the line is lost otherwise.
        """
        try:
            typer.echo(message)
        except BrokenPipeError:
            silence(sys.stdout)
        except OSError as error:
            silence(sys.stdout)
            raise OutputError(f"standard output takes no result ({error.strerror}): {message}") from error


def as_typed(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library, with each parameter in backquotes replaced by the flag that users type."""
    return re.sub(r"`(\w+)`", lambda name: flags.get(name[1], name[1]), message)


@contextlib.contextmanager
def reported_errors(flags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Print an error as one line and leave with its exit code; Ctrl-C leaves with 130, another signal with 128 + it.

    ``flags`` maps names of parameters to flags of the command line. In every case half-written outputs are removed.
    """
    try:
        with handled(stop, (signal.SIGINT, *STOPPING)):
            yield
    except Exception as error:  # those of typer, and faults of the program, are none
        found = failure(error)
        if found is None:
            raise
        raise _left(f"error: {as_typed(str(found), flags or {})}", found.exit_code) from error
    except Stopped as stopped:
        raise _left(word_of(stopped.number), 128 + stopped.number) from stopped
    except KeyboardInterrupt as stopped:
        raise _left(word_of(signal.SIGINT), 128 + signal.SIGINT) from stopped


def _left(text: str, code: int) -> typer.Exit:
    print(f"gpustitch: {text}", file=_errors)
    return typer.Exit(code)
