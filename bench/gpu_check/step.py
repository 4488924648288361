"""What a step's process does around the step: rows that a kill does not lose, reasons, the time that is left."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu_check.process import THROUGH

NO_FIGURE = "stand-in: no figure"
FAILED, SKIPPED, NO_DEVICE = 1, 77, 78
# A process whose runner is gone ends itself so long after its time.
_GRACE_S = 5


class SkipError(Exception):
    """The step cannot be done here; the text says why."""


class NoDeviceError(Exception):
    """There is no CUDA device; the text says why."""


@dataclass(frozen=True)
class Asked:
    """What the runner asks of a step: a file for rows, the time it has, and whether sizes are to be small."""

    rows: Path
    budget_s: float
    is_small: bool
    begun: float

    @property
    def left_s(self) -> float:
        """Seconds until the runner ends the step."""
        return self.begun + self.budget_s - time.monotonic()

    def add(self, what: str, figures: dict[str, Any] | None = None, **facts: Any) -> None:
        """Store a row at once. On a stand-in for a GPU its figures are left out."""
        shown = dict.fromkeys(figures or {}, NO_FIGURE) if is_stand_in() else figures or {}
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **facts, **shown}) + "\n")


def is_stand_in() -> bool:
    """Whether what is called CuPy here is none: it lies in no file."""
    cupy = sys.modules.get("cupy")
    return bool(os.environ.get(THROUGH)) or (cupy is not None and getattr(cupy, "__file__", None) is None)


def device_of(index: int = 0) -> tuple[Any, Any]:
    """CuPy and gpustitch's first CUDA device.

    Raises
    ------
    NoDeviceError
        If there is none.
    """
    from gpustitch.array import choose_device, cuda_devices

    devices, reason = cuda_devices()
    if not devices:
        raise NoDeviceError(f"no CUDA device: {reason}")
    return importlib.import_module("cupy"), choose_device(f"cuda:{index}")


def run(function: Callable[[Asked], None]) -> None:
    """Do a step as its runner asks, and end this process with a code that says how it went."""
    parser = argparse.ArgumentParser(description="A step of gpu-check, as its runner starts it.")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--small", action="store_true")
    told = parser.parse_args()
    asked = Asked(told.rows, told.budget, told.small, time.monotonic())
    # A step that hangs says where, just before the runner ends it.
    faulthandler.dump_traceback_later(max(0.1, 0.97 * asked.budget_s - 0.2))
    if hasattr(signal, "alarm"):
        signal.alarm(int(asked.budget_s) + _GRACE_S)
    sys.exit(_code(function, asked))


def _code(function: Callable[[Asked], None], asked: Asked) -> int:
    try:
        function(asked)
    except (SkipError, ModuleNotFoundError) as error:
        why = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
        return _said(asked, why, SKIPPED)
    except NoDeviceError as error:
        return _said(asked, str(error), NO_DEVICE)
    except Exception as error:
        traceback.print_exc()
        return _said(asked, f"{type(error).__name__}: {error}", FAILED)
    return 0


def _said(asked: Asked, why: str, code: int) -> int:
    with asked.rows.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"why": why}) + "\n")
    return code
