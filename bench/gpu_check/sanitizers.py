"""Steps: NVIDIA's compute-sanitizer over one case of every body; all cases would take far too long under it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from bench.gpu_check.parity import PROGRAM
from bench.gpu_check.process import ROOT, THROUGH, command
from bench.gpu_check.step import Asked, SkipError, device_of

_FOUND = 86
_PLACES = ("/usr/local/cuda", "/opt/cuda")
_MOST_TOLD = 20


def sanitizer() -> str | None:
    """Path of compute-sanitizer: on PATH, or in CUDA's folder; None if it is in neither."""
    homes = [home for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), *_PLACES) if home]
    folders = [f"{home}/{part}" for home in homes for part in ("bin", "compute-sanitizer")]
    return shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=os.pathsep.join(folders))


def memcheck(asked: Asked) -> None:
    """Look for accesses out of bounds."""
    _checked(asked, "memcheck")


def racecheck(asked: Asked) -> None:
    """Look for races in shared memory."""
    _checked(asked, "racecheck")


def _checked(asked: Asked, tool: str) -> None:
    """Run the bodies under a tool of it; a row for each twin, and one for each of its words of a fault."""
    device_of()
    found = sanitizer()
    if found is None:
        raise SkipError("compute-sanitizer is neither on PATH nor in CUDA_HOME; it comes with the CUDA toolkit")
    program = command(PROGRAM, "--few", "--here", through=os.environ.get(THROUGH))
    words = [found, "--tool", tool, "--error-exitcode", str(_FOUND), "--launch-timeout", "120", *program]
    n_wrong, n_wanted, n_done, faults = 0, 0, 0, 0
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"cases"'):
                n_wanted = sum(json.loads(line)["cases"].values())
            elif line.startswith("{"):
                result = json.loads(line)
                n_done += 1
                n_wrong += bool(result["error"])
                error = {"error": result["error"]} if result["error"] else {}
                asked.add(result["case"], {"s": result["s"]}, **error)
            elif line.startswith("=========") and _is_fault(line):
                faults += 1
                if faults <= _MOST_TOLD:
                    asked.add(f"{tool}: {line.strip('= ').strip()}")
                print(line, end="")
            else:
                print(line, end="")
    if process.returncode == _FOUND:
        raise AssertionError(f"{tool} found faults")
    if process.returncode or n_wrong or not n_wanted or n_done < n_wanted:
        raise AssertionError(
            f"{n_wrong} cases failed, {n_wanted - n_done} of {n_wanted} did not run (exit code {process.returncode})"
        )


def _is_fault(line: str) -> bool:
    return any(word in line for word in ("Invalid ", "Misaligned", "hazard", "Error:", "Race reported", "leak"))
