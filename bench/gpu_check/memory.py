"""Step: what operations take of the device's memory, against what they state; the cases are those of the tests."""

from __future__ import annotations

import json
import os
import subprocess

from bench.gpu_check.process import ROOT, THROUGH, command
from bench.gpu_check.step import Asked, device_of

PROGRAM = "tests.stated.on_device"


def memory(asked: Asked) -> None:
    """A row for each case: bytes that are stated, and the most that were in use."""
    device_of()
    program = command(PROGRAM, *["--once"] * asked.is_small, through=os.environ.get(THROUGH))
    n_wrong = n_rows = 0
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            row = json.loads(line)
            n_rows += 1
            n_wrong += row["wrong"]
            taken = row.pop("taken", None)
            figures = {} if taken is None else {"taken": taken, "share": taken / row["stated"]}
            asked.add(row.pop("case"), figures, **row)
    if n_wrong or process.returncode or not n_rows:
        raise AssertionError(f"{n_wrong} of {n_rows} cases take more than is stated (exit code {process.returncode})")
