"""What a step is asked, and what it says: rows that a kill does not lose, and why it cannot be done."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gpu_check.process import THROUGH

NO_FIGURE = "stand-in: no figure"
# Exit codes of a step's process that did not pass.
FAILED, SKIPPED, NO_DEVICE = 1, 77, 78


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
        self.store({"what": what, **facts, **shown})

    def store(self, line: dict[str, Any]) -> None:
        """Append a line to the file of rows."""
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


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
