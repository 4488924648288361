"""Work in processes of their own: Python's lock lets the threads of one process wait for each other.

A process is a new interpreter that gets a function and its arguments. It ends with this one, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol, TypeVar

from gpustitch.errors import ResourceError
from gpustitch.running.worker import DONE, FAILED, main, message_of

T = TypeVar("T", covariant=True)

_START = f"from {main.__module__} import main; main()"
_LOST = "lost"


class Job(Protocol[T]):
    """What a process does: it calls ``advance`` with counts of what is done, and returns what came of it."""

    def __call__(self, advance: Callable[[int], None]) -> T:
        """Do it."""


class LostProcess(Exception):
    """A process ended before its work: the system, or a user, ended it."""


def run_jobs(
    jobs: Sequence[Job[T]], advance: Callable[[int], None], environments: Sequence[Mapping[str, str]] = ()
) -> Iterator[tuple[int, T | LostProcess]]:
    """Do all jobs at the same time, each in a process; the number of each and what came of it, as they end.

    The first error of a job is raised, and ends all others. ``advance`` is called in this thread.

    Parameters
    ----------
    jobs
        What to do. Jobs and results are pickled.
    advance
        Told what the jobs tell.
    environments
        Variables beside those of this process, for the process of each job, in turn.

    Raises
    ------
    ResourceError
        If the system starts no more processes.
    """
    messages: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        for number, job in enumerate(jobs):
            more = environments[number % len(environments)] if environments else {}
            process = stack.enter_context(_started(more))
            threading.Thread(target=_attend, args=(number, process, job, messages), daemon=True).start()
        left = len(jobs)
        while left:
            number, kind, content = messages.get()
            if kind == FAILED:
                raise content
            if kind == DONE:
                left -= 1
                yield number, content
            elif kind == _LOST:
                left -= 1
                yield number, LostProcess(content)
            else:
                advance(content)


@contextlib.contextmanager
def _started(more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a job; it is ended with the ``with`` block."""
    pipe, environment = subprocess.PIPE, {**os.environ, **more}
    try:
        process = subprocess.Popen([sys.executable, "-c", _START], stdin=pipe, stdout=pipe, env=environment)
    except OSError as error:
        raise ResourceError(f"no process can be started: {error.strerror or error}; use fewer `n_workers`") from error
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):  # of what was still to be sent
            process.stdin.close()


def _attend(
    number: int,
    process: subprocess.Popen[bytes],
    job: Job[Any],
    messages: queue.SimpleQueue[tuple[int, str, Any]],
) -> None:
    """Give a process its job, and pass on what it tells until it ends: processes that start wait for no other."""
    assert process.stdin is not None and process.stdout is not None
    with process.stdout as stream:
        try:
            _give(process.stdin, job)
        except Exception as error:  # the job cannot be pickled
            messages.put((number, FAILED, error))
            return
        for kind, content in _told(stream):
            messages.put((number, kind, content))
            if kind in (DONE, FAILED):
                return
    messages.put((number, _LOST, _end_of(process)))


def _give(stream: IO[bytes], job: Job[Any]) -> None:
    """Send a job; the stream stays open, as its end ends the process."""
    with contextlib.suppress(BrokenPipeError):  # the process ended already, which is heard
        for part in (sys.path, job):
            pickle.dump(part, stream, protocol=pickle.HIGHEST_PROTOCOL)
        stream.flush()


def _told(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    with contextlib.suppress(EOFError, pickle.UnpicklingError):  # it was ended
        while True:
            yield message_of(stream)


def _end_of(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
