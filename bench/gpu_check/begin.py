"""The process of a step: ``python -m bench.gpu_check.begin MODULE:FUNCTION``, with options that the runner gives."""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import signal
import sys
import time
import traceback
from pathlib import Path

from bench.gpu_check.step import FAILED, NO_DEVICE, SKIPPED, Asked, NoDeviceError, SkipError

# A process whose runner is gone ends itself so long after its time.
_GRACE_S = 5
# Python itself takes so long to start.
_STARTS_S = 1
_OWN = ("bench", "gpustitch", "tests")


def main() -> int:
    """Do a step; the exit code says how it went, and a last line among its rows why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", metavar="MODULE:FUNCTION")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--small", action="store_true")
    told = parser.parse_args()
    asked = Asked(told.rows, told.budget, told.small, time.monotonic())
    # A step that crashes says where; one that hangs does before the runner ends it.
    faulthandler.enable()
    faulthandler.dump_traceback_later(max(0.1, 0.95 * asked.budget_s - _STARTS_S))
    if hasattr(signal, "alarm"):
        signal.alarm(int(asked.budget_s) + _GRACE_S)
    return _done(told.step, asked)


def _done(step: str, asked: Asked) -> int:
    module, _, function = step.partition(":")
    try:
        getattr(importlib.import_module(module), function)(asked)
    except SkipError as error:
        return _said(asked, str(error), SKIPPED)
    except NoDeviceError as error:
        return _said(asked, str(error), NO_DEVICE)
    except Exception as error:
        traceback.print_exc()
        missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if missing and missing not in _OWN:
            return _said(asked, f"{missing} is not installed; a wheel beside the checkout is taken", SKIPPED)
        return _said(asked, f"{type(error).__name__}: {error}", FAILED)
    return 0


def _said(asked: Asked, why: str, code: int) -> int:
    asked.store({"why": why})
    return code


if __name__ == "__main__":
    sys.exit(main())
