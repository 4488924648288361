"""Processes of steps: their command, what they may import, how they are ended; wheels that lie beside the checkout."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A module that runs another one with a stand-in for CuPy, as `python -m` does: figures are then of no GPU.
THROUGH = "GPUSTITCH_BENCH_THROUGH"
_ENDS_S = 10


def command(module: str, *arguments: str, through: str | None = None) -> list[str]:
    """The command that runs a module in this Python; ``through`` is the module of a stand-in for CuPy, if any."""
    return [sys.executable, "-m", *([through] if through else []), module, *arguments]


def environment(wheels: Path | None = None, through: str | None = None) -> dict[str, str]:
    """The environment of a step: this checkout is imported, then unpacked wheels, then what was to be found before."""
    places = [str(ROOT), *([str(wheels)] if wheels else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    # With one BLAS thread the threads of a step do not fight one another for the cores.
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(places), **({THROUGH: through} if through else {})}


def unpacked(folders: Iterable[Path], target: Path) -> list[str]:
    """Unpack wheels of packages that are not installed; returns what was done, for people. A bad wheel is told of."""
    told = []
    for wheel in sorted({path.resolve() for folder in folders for path in folder.glob("*.whl")}):
        name, number = wheel.name.split("-")[:2]
        with contextlib.suppress(PackageNotFoundError):
            told.append(f"{name} {version(name.replace('_', '-'))} is installed: {wheel.name} is not used")
            continue
        try:
            with zipfile.ZipFile(wheel) as file:
                file.extractall(target)
        except (OSError, zipfile.BadZipFile) as error:
            told.append(f"{wheel.name} cannot be unpacked: {error}")
        else:
            told.append(f"{name} {number} is taken from {wheel.name}")
    return told


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that the driver holds does not end
        process.wait(_ENDS_S)
