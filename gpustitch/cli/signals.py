"""What the system sends to stop a run, and streams that nobody reads any more."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import IO, Any

# Sent when a job is cancelled, a terminal is closed, or time is up; schedulers send the last two as a warning.
STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)  # not all are on every system
)


class Stopped(KeyboardInterrupt):
    """The system or a job scheduler ends this run, by the signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(word_of(number))
        self.number = number


def word_of(number: int) -> str:
    """What a signal means, in a word for people."""
    if number == signal.SIGINT:
        return "interrupted"
    return "terminated" if number == signal.SIGTERM else f"terminated by {signal.Signals(number).name}"


def stop(number: int, _frame: FrameType | None) -> None:
    """Raise what ends the run; a second signal does not disturb the clearing up, except Ctrl-C."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_IGN)
    raise Stopped(number)


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], Any], numbers: Iterable[int]) -> Iterator[None]:
    """Have signals handled within the ``with`` block, but those that are ignored, as ``nohup`` has SIGHUP."""
    previous: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    previous[number] = signal.signal(number, handler)
        yield
    finally:
        for number, earlier in previous.items():
            signal.signal(number, earlier)


class ErrorStream:
    """Standard error for notes and progress: a run goes on where nobody reads them, or their disk is full."""

    def write(self, text: str) -> int:
        """Write what can be written."""
        stream = _stderr()
        if stream is not None:
            try:
                stream.write(text)
                stream.flush()
            except BrokenPipeError:
                silence(stream)
            except (OSError, ValueError):
                pass
        return len(text)

    def flush(self) -> None:
        """Nothing: all is written at once."""

    def isatty(self) -> bool:
        """Whether a person watches."""
        stream = _stderr()
        return stream is not None and not stream.closed and stream.isatty()

    def fileno(self) -> int:
        """Number of the open file."""
        return sys.stderr.fileno()

    @property
    def encoding(self) -> str:
        """How text becomes bytes."""
        return getattr(_stderr(), "encoding", None) or "utf-8"


def _stderr() -> IO[str] | None:
    """Standard error itself, also while a bar stands in for it."""
    return getattr(sys.stderr, "rich_proxied_file", sys.stderr)


def silence(stream: IO[str] | None) -> None:
    """Have a stream that is broken lead nowhere, so that it breaks nothing more, not even when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        assert stream is not None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def silence_if_broken(stream: IO[str] | None) -> None:
    """Write what waits in a stream; lead it nowhere if that cannot be."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        silence(stream)
