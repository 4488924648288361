"""Steps of every fate, which a run of gpu-check starts in processes of their own."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.gpu_check.step import Asked, NoDeviceError, SkipError


def device(asked: Asked) -> None:
    """A device is there."""
    asked.add("Device of a test", memory_GB=1)


def no_device(asked: Asked) -> None:
    """None is there."""
    raise NoDeviceError("no CUDA device: the test has none")


def good(asked: Asked) -> None:
    """Two rows, one with a figure."""
    asked.add("first", {"GB_per_s": 12.5}, n=3)
    asked.add("second | with a bar", n=4)


def crashes(asked: Asked) -> None:
    """A row, then the process is gone."""
    asked.add("before the crash", n=1)
    os.kill(os.getpid(), signal.SIGSEGV)


def leaves(asked: Asked) -> None:
    """Ends its process with a code of its own."""
    asked.add("before it leaves", n=1)
    os._exit(5)


def hangs(asked: Asked) -> None:
    """A row, half of another, a child that would go on, and no end."""
    asked.add("before the hang", n=1)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    asked.add("child", pid=child.pid)
    with asked.rows.open("a") as file:
        file.write('{"what": "cut')
    time.sleep(60)


def wrong(asked: Asked) -> None:
    """What was compared differs."""
    asked.add("compared", n=1)
    raise AssertionError("3 of 4 are wrong")


def lacks_tool(asked: Asked) -> None:
    """A tool is missing."""
    raise SkipError("the tool is not on PATH")


def lacks_wheel(asked: Asked) -> None:
    """A package is missing."""
    importlib.import_module("no_such_package_of_a_wheel")


def lacks_own(asked: Asked) -> None:
    """A module of the checkout is missing: that is a fault."""
    importlib.import_module("gpustitch.no_such_room")


def imports_wheel(asked: Asked) -> None:
    """A package comes from a wheel."""
    asked.add("imported", answer=importlib.import_module("a_package_of_a_test").ANSWER)


def waits(asked: Asked) -> None:
    """Goes on until a file beside its rows says that it may end."""
    asked.add("it runs", pid=os.getpid())
    while not Path(f"{asked.rows}.go").exists():
        time.sleep(0.05)
