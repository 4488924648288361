"""All bodies under the address and undefined behaviour sanitizers, and what these find in planted mistakes."""

from __future__ import annotations

import json
import re

import pytest

from tests.cuda_cpu import planted, sanitizers

pytestmark = pytest.mark.skipif(bool(sanitizers.why_not()), reason=sanitizers.why_not())

_BEYOND = r"AddressSanitizer: (heap|global|stack)-buffer-overflow|insufficient space|out of bounds"
FOUND = {
    "read past the end": _BEYOND,
    "read before the start": _BEYOND,
    "read past the end of an array in a list": _BEYOND,
    "write past the end": _BEYOND,
    "read past the end of shared memory": _BEYOND,
    "write past the end of shared memory": _BEYOND,
    "write past the end of shared memory after a barrier": _BEYOND,
    "write past the end of shared memory of a template": _BEYOND,
    "read past the end of dynamic shared memory": _BEYOND,
    "read past the end of an array of the thread": _BEYOND,
    "float beyond uint16": "65536 is outside the range of representable values of type 'short unsigned int'",
    "negative float to uint16": "-7.5 is outside the range of representable values of type 'short unsigned int'",
    "signed overflow": "signed integer overflow",
    "shift too far": "shift exponent 32 is too large",
    "misaligned vector": "misaligned address",
}


@pytest.fixture(scope="module")
def reports():
    done = sanitizers.run_python(["-m", "tests.cuda_cpu.planted"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_planted_mistake_has_a_finding():
    assert planted.BODIES.keys() - FOUND.keys() == {"no mistake"}


def test_a_correct_body_passes(reports):
    report = reports["no mistake"]
    assert report["status"] == 0, report["words"]
    assert "rror" not in report["words"]


@pytest.mark.parametrize("mistake", FOUND)
def test_planted_mistake_is_found(reports, mistake):
    assert reports[mistake]["status"] != 0
    assert re.search(FOUND[mistake], reports[mistake]["words"])
    assert "kernels/planted.cu:" in reports[mistake]["words"]


@pytest.mark.slow
def test_all_bodies_pass():
    from tests.kernels.test_parity import covering

    done = sanitizers.run_python(
        ["-m", "pytest", "-q", "-p", "no:faulthandler", "-p", "no:cacheprovider"]
        + ["--assert=plain", "-o", "addopts=", "-m", "not gpu", "tests/kernels/test_parity.py", "-k", "emulator"]
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert re.search(rf"^{len(covering())} passed", done.stdout, re.MULTILINE), done.stdout[-1000:]
