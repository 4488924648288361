"""Shared by all commands: progress on a terminal, errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpustitch.array import cpu_count
from gpustitch.cli.signals import STOPPING, ErrorStream, Stopped, handled, silence, stop, word_of
from gpustitch.cli.state import State
from gpustitch.errors import OutputError
from gpustitch.io.failures import failure
from gpustitch.running.measured import WHOLE, Part, table
from gpustitch.running.meter import Meter, Used, used_now

_errors = ErrorStream()
_console = Console(file=_errors)  # type: ignore[arg-type]  # all of a file that rich uses


# Shorter commands have no table at their end.
_LEAST_TABLE_S = 10.0
_DRAWN_PER_S = 2.0
_LOOKED_EVERY_S = 1.0


class TerminalProgress:
    """Draws a bar over the run on a terminal; on anything else, a line per finished piece, and one now and then.

    Nothing that befalls the terminal ends the run.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        level: str = "INFO",
        flags: Mapping[str, str] | None = None,
        meter: Meter = used_now,
    ) -> None:
        self._quiet, self._least = quiet, getattr(logging, level)
        self._flags = flags or {}
        self._meter, self._state = meter, State(meter)
        self._first = meter()
        self._parts: list[Part] = []
        self._begun: tuple[str, Used] | None = None
        self._was_long = False
        self._bar: Live | None = None
        self._closed = threading.Event()
        self._lines: threading.Thread | None = None

    def span(self, label: str, begin: float, end: float) -> None:
        """Begin a part of a long run, all of which is one bar; an empty span ends it."""
        if begin < end:
            self._was_long = True
            self._state.span(label, begin, end)
            self._watch()
        else:
            self._stop()
            self._state.span("", 1.0, 1.0)

    def start(self, label: str, total: int, unit: str) -> None:
        """Begin a piece of work."""
        self._begun = label, self._meter()
        self._state.start(label, total, unit)
        self._watch()

    def advance(self, count: int = 1) -> None:
        """Move the bar on."""
        self._state.advance(count)

    def finish(self) -> None:
        """End the piece of work."""
        if self._begun is not None:
            self._parts.append(Part.between(*self._begun, self._meter(), None, done=self._state.done))
        self._begun = None
        if not self._state.is_long:
            self._stop()
        text = self._state.finish()
        if text and not self._quiet and not _console.is_terminal:
            _write(text)

    def close(self, *, is_finished: bool = True) -> None:
        """End what is drawn; after a long command say what took how long, unless its stage has said so."""
        self._stop()
        self._closed.set()
        whole = Part.between(WHOLE, self._first, self._meter(), None)
        if is_finished and self._parts and not self._was_long and whole.seconds >= _LEAST_TABLE_S:
            for line in table(self._parts, whole, cpu_count()):
                self.note(line)

    def _watch(self) -> None:
        """Begin to draw, or to print lines; not if there are no more threads for that."""
        if self._quiet or self._bar is not None or self._lines is not None:
            return
        with contextlib.suppress(RuntimeError):
            if _console.is_terminal:
                self._bar = Live(get_renderable=self._drawn, console=_console, refresh_per_second=_DRAWN_PER_S)
                self._bar.start()
            else:
                self._lines = threading.Thread(target=self._print_lines, name="gpustitch-lines", daemon=True)
                self._lines.start()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _drawn(self) -> RenderableType:
        look = self._state.look()
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        elapsed = datetime.timedelta(seconds=int(look.elapsed_s))
        times = "  ".join(filter(None, (f"{100 * look.fraction:3.0f} %", str(elapsed), look.left)))
        bar.add_row(Text(look.label), ProgressBar(1.0, look.fraction), Text(times))
        return Group(bar, Text("  " + "  ".join(look.facts), style="cyan", no_wrap=True, overflow="ellipsis"))

    def _print_lines(self) -> None:
        while not self._closed.wait(_LOOKED_EVERY_S):
            if self._state.due():
                _write(self._state.look().line)

    def note(self, message: str) -> None:
        """Print a line, above the bar if one is drawn."""
        if not self._quiet and self._least <= logging.INFO:
            self.line(message)

    def warn(self, message: str) -> None:
        """Print a line that says that it is a warning, quiet or not."""
        if self._least <= logging.WARNING:
            self.line(f"warning: {message}")

    def line(self, message: str) -> None:
        """Print a line, above the bar if one is drawn, whatever the level."""
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


@contextlib.contextmanager
def closed(progress: TerminalProgress) -> Iterator[None]:
    """End what is drawn when the block ends, in whatever way."""
    is_finished = False
    try:
        yield
        is_finished = True
    finally:
        progress.close(is_finished=is_finished)


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


def _write(text: str) -> None:
    """A line on standard error, in one piece."""
    _errors.write(text + "\n")


def _left(text: str, code: int) -> typer.Exit:
    _write(f"gpustitch: {text}")
    return typer.Exit(code)
