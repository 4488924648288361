"""NVIDIA's compute-sanitizer over every body on a real device: accesses out of bounds, races in shared memory."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from gpustitch.array import cuda_devices
from tests.paths import ROOT

_FOUND = 86


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_bodies_are_clean(tool: str) -> None:
    devices, reason = cuda_devices()
    if not devices:
        pytest.skip(f"no CUDA device: {reason}")
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed (it comes with the CUDA toolkit)")
    command = [
        sanitizer, "--tool", tool, "--error-exitcode", str(_FOUND), "--launch-timeout", "120", "--",
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/kernels/test_parity.py",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert " passed" in result.stdout, "no body ran"
