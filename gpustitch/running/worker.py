"""What runs in a process that :mod:`gpustitch.running.processes` starts: one job."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from typing import IO, Any

DONE, FAILED, ADVANCED = "done", "failed", "advanced"
_TELL_EVERY_S = 0.2


def main() -> None:
    """Do the job that stands in standard input, and tell what comes of it through standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the process that started this one decides
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # for whatever else is printed
    sys.path[:] = pickle.load(sys.stdin.buffer)
    job = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told = _Told(out)
    try:
        content = job(told.advance)
        told.advance(0, at_once=True)
        _tell(out, DONE, content)
    except Exception as error:
        _tell(out, FAILED, _picklable(error))


def message_of(stream: IO[bytes]) -> tuple[str, Any]:
    """The next message of a process: its kind and content; EOFError where there is none."""
    kind, content = pickle.load(stream)
    return str(kind), content


class _Told:
    """Tells how much is done, but not at every step."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._count, self._last = out, 0, time.monotonic()

    def advance(self, count: int, *, at_once: bool = False) -> None:
        self._count += count
        now = time.monotonic()
        if at_once or now - self._last >= _TELL_EVERY_S:
            _tell(self._out, ADVANCED, self._count)
            self._count, self._last = 0, now


def _tell(out: IO[bytes], kind: str, content: Any) -> None:
    pickle.dump((kind, content), out, protocol=pickle.HIGHEST_PROTOCOL)
    out.flush()


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Wait until the process that started this one is no more, however it ended; then end at once."""
    os.read(0, 1)  # not through the buffer, whose lock would keep Python from ending
    os._exit(1)
