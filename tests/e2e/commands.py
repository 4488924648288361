"""Runs commands as a user does, in this process, and reads what they wrote with tensorstore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
from typer.testing import CliRunner

from gpustitch.cli.main import app


def run(*arguments: object) -> Any:
    """Run a command; whatever its exit code."""
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)


def succeed(*arguments: object) -> str:
    """Run a command that must exit with 0; what it printed."""
    result = run(*arguments)
    assert result.exit_code == 0, f"gpustitch {' '.join(map(str, arguments))}\n{result.output}\n{result.exception!r}"
    return result.output


def fail(code: int, *arguments: object) -> str:
    """Run a command that must say why it cannot and leave with ``code``; what it said."""
    result = run(*arguments)
    assert result.exit_code == code, f"exit {result.exit_code}, not {code}\n{result.output}\n{result.exception!r}"
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    return result.output


# Once something is finished beside a file that must be there, however fast the disk and busy the machine.
_SIGNALLED = """
import os
from gpustitch.cli.main import main
from gpustitch.io.journal import Journal
note, sent = Journal.add, []
def noted(self, *unit):
    note(self, *unit)
    if not sent and os.path.exists({there!r}):
        sent.append(os.kill(os.getpid(), {number}))
Journal.add = noted
main()
"""


def signalled(number: int, there: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that sends itself a signal once it notes something finished and a file is there."""
    program = [sys.executable, "-c", _SIGNALLED.format(number=int(number), there=str(there)), *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True)


def read_level(volume: Path, level: int = 0) -> npt.NDArray[Any]:
    """A whole level (z, y, x), read without gpustitch."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{volume}/"},
        "scale_index": level,
    }
    return np.asarray(ts.open(spec, read=True).result()[..., 0].read().result()).transpose(2, 1, 0)
