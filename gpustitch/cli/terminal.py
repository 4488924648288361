"""Shared by all commands: progress on a terminal, errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from gpustitch.errors import GpustitchError, ParameterError

_console = Console(stderr=True)


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
            print(f"{self._label}: {self._done} {self._unit}", file=sys.stderr)
        self._label = ""

    def note(self, message: str) -> None:
        """Print a line, above the bar if one is drawn."""
        if not self._quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """Print a line, quiet or not."""
        _console.print(as_typed(message, self._flags), highlight=False, markup=False, soft_wrap=True)

    def result(self, message: str) -> None:
        """Print a line of the command's result to standard output, quiet or not."""
        typer.echo(message)


def as_typed(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library, with each parameter in backquotes replaced by the flag that users type."""
    return re.sub(r"`(\w+)`", lambda name: flags.get(name[1], name[1]), message)


class _Terminated(KeyboardInterrupt):
    """The system or a job scheduler ends this run."""


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


@contextlib.contextmanager
def reported_errors(flags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Print a gpustitch error as one line and leave with its exit code; Ctrl-C leaves with 130, SIGTERM with 143.

    ``flags`` maps names of parameters to flags of the command line. In every case half-written outputs are removed.
    """
    handles_signals = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _terminate) if handles_signals else None
    try:
        yield
    except GpustitchError as error:
        print(f"gpustitch: error: {as_typed(str(error), flags or {})}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"gpustitch: error: the name is longer than the disk takes: {error.filename}", file=sys.stderr)
        raise typer.Exit(ParameterError.exit_code) from error
    except _Terminated as stop:
        print("gpustitch: terminated", file=sys.stderr)
        raise typer.Exit(143) from stop
    except KeyboardInterrupt as stop:
        print("gpustitch: interrupted", file=sys.stderr)
        raise typer.Exit(130) from stop
    finally:
        if handles_signals:
            signal.signal(signal.SIGTERM, previous)
