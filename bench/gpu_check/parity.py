"""Step: every body, compiled and run, against the definition of its twin, on all the cases of the tests.

The cases belong to the tests, which no bench imports: a program of the tests runs them in processes of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from typing import Any

from bench.gpu_check.process import ROOT, THROUGH, command
from bench.gpu_check.step import Asked, device_of

PROCESSES = 12
PROGRAM = "tests.kernels.on_device"
_SMALL = 5  # of all cases, every so many


def parity(asked: Asked) -> None:
    """One row for each twin as its last case ends, and one for each case that failed."""
    device_of()
    n_processes = max(1, min(PROCESSES, os.cpu_count() or 1))
    arguments = ["--processes", str(n_processes), *(["--every", str(_SMALL)] if asked.is_small else [])]
    program = command(PROGRAM, *arguments, through=os.environ.get(THROUGH))
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        n_wrong, n_left = _rows(asked, (json.loads(line) for line in process.stdout if line.startswith("{")))
    if n_wrong or n_left or process.returncode:
        raise AssertionError(f"{n_wrong} cases failed, {n_left} did not run (exit code {process.returncode})")


def _rows(asked: Asked, lines: Any) -> tuple[int, int]:
    """Numbers of cases that failed and that never came."""
    wanted: dict[str, int] = {}
    done: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for line in lines:
        if "cases" in line:
            wanted = line["cases"]
            continue
        twin = line["twin"]
        done[twin] += 1
        seconds[twin] += line["s"]
        if line["error"]:
            wrong[twin] += 1
            asked.add(line["case"], error=line["error"])
        if done[twin] == wanted[twin]:
            asked.add(twin, {"s": round(seconds[twin], 2)}, cases=done[twin], failed=wrong[twin])
    return wrong.total(), sum(wanted.values()) - done.total()
