"""Killing a run at any moment: in a process of its own, at the n-th call within the modules that write files."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

# What runs import when they first need it, which takes each of them half of its time.
_IMPORTED_LATE = ("dcimg", "scipy.fft", "scipy.optimize", "scipy.spatial")
WRITERS = ("gpustitch/io/manifest.py", "gpustitch/io/atomic.py", "gpustitch/io/partial.py")


def forkserver() -> Any:
    """Processes that have imported everything; all tests share the server, which imports when it starts.

    Forks of this process would have none of its threads; tensorstore ends the process rather than be forked.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.oblique.pipeline.test_one_pass", *_IMPORTED_LATE])
    return context


def killed(run: Callable[[], Any], moment: int) -> bool:
    """Run what can be pickled in a process that is killed at a moment; whether it did not come to its end before."""
    process = forkserver().Process(target=counted, args=(run, moment))
    process.start()
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


def counted(run: Callable[[], Any], moment: int = -1) -> int:
    """Run, and count the moments of the writers in all threads: every call that they make, and every return."""
    count = itertools.count(1)

    def look(frame: Any, event: str, _: Any) -> None:
        if frame.f_code.co_filename.endswith(WRITERS) and next(count) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return next(count) - 1
