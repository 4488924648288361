"""Bodies compile for every family of devices and with every type without a warning, and leave room for threads.

NVRTC is what CuPy compiles with on a device's machine; it needs no device itself.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench import nvrtc
from bench.variants import ARCHITECTURES, program, threads, variants
from tests.kernels.resources import report, warnings_of
from tests.paths import ROOT

SOURCES = sorted(path.name for path in (ROOT / "kernels").glob("*.cu"))
# Most bytes that a thread keeps outside its registers on the newest family, by body; all others none there. Bodies of
# few registers, so that more blocks run together, keep some with other types and on other families.
SPILL_BYTES = {"analyse_low_pass": 36, "halve_mode": 24}
# The newest has each body once, as a binary: ptxas states what it takes. The older ones have each body too, and its
# types by turns, as PTX. `python -m bench kernel_resources` makes binaries of all types for all devices.
NEWEST = 120
OLDER = (75, 90)
FAMILIES = (NEWEST, *OLDER)
SHARED_BYTES = 48 << 10
LEAST_OCCUPANCY = 0.25

needs_nvrtc = pytest.mark.skipif(bool(nvrtc.why_not()), reason=nvrtc.why_not() or "NVRTC is installed")


@needs_nvrtc
def test_the_compiler_knows_these_devices():
    assert set(FAMILIES) <= set(ARCHITECTURES) <= set(nvrtc.architectures())


@needs_nvrtc
def test_what_is_compiled_flushes_small_numbers_to_zero_as_on_a_device():
    _, options = program(variants("climb.cu")[0])
    assert options[-1] == "-ftz=true"
    body = 'extern "C" __global__ void body(float* out) { out[0] *= out[1]; }'
    flushed, kept = (nvrtc.compile_text(body, some, 90).cubin for some in (options, options[:-1]))
    assert flushed != kept


def kinds_of(variant):
    """The types of each body of a variant, and the body itself."""
    return {(body, kind) for body in variant.twins for kind in (None, *variant.names)}


def shared_out(source):
    """Variants of a file by family: each has each body, all together have each type of each body.

    The newest has the narrowest types: threads that take several values at once take most registers with these.
    """
    known = variants(source)
    missing = set().union(*map(kinds_of, known))
    bodies = {body for body, _ in missing}
    chosen = {family: [] for family in FAMILIES}

    def choose(family, want):
        def worth(variant):
            kinds = kinds_of(variant)
            narrow = -sum(np.dtype(name.split("=")[-1]).itemsize for name in variant.types.split())
            new = len(kinds & missing)
            return (len(want.intersection(variant.twins)), *((narrow, new) if family == NEWEST else (new, narrow)))

        best = max(known, key=worth)
        chosen[family].append(best)
        missing.difference_update(kinds_of(best))
        want.difference_update(best.twins)

    for family in FAMILIES:
        want = set(bodies)
        while want:
            choose(family, want)
    while missing:
        choose(min(OLDER, key=lambda family: len(chosen[family])), set())
    return chosen


def test_each_type_of_each_body_is_compiled():
    for source in SOURCES:
        compiled = [variant for some in shared_out(source).values() for variant in some]
        assert len(compiled) == len({(variant, of) for of, some in shared_out(source).items() for variant in some})
        assert set().union(*map(kinds_of, compiled)) == set().union(*map(kinds_of, variants(source))), source


def test_each_body_is_compiled_for_each_family():
    for source in SOURCES:
        asked = {body for variant in variants(source) for body in variant.twins}
        for some in shared_out(source).values():
            assert asked and {body for variant in some for body in variant.twins} == asked, source


@needs_nvrtc
@pytest.mark.parametrize("source", SOURCES)
def test_bodies_compile_without_warnings_and_stay_in_registers(source):
    for variant in shared_out(source)[NEWEST]:
        result = report(variant, NEWEST)
        assert not result.warnings, variant
        for name in variant.twins:
            taken = result.resources[name]
            what = f"{name} ({variant.types}) on sm_{NEWEST}"
            assert taken.spill_bytes <= SPILL_BYTES.get(name, 0), what
            assert taken.shared_bytes <= SHARED_BYTES, what
            assert taken.occupancy(threads(name)) >= LEAST_OCCUPANCY, what


@needs_nvrtc
@pytest.mark.parametrize("source", SOURCES)
def test_bodies_become_ptx_without_warnings(source):
    for family in OLDER:
        for variant in shared_out(source)[family]:
            assert not warnings_of(variant, family), (variant, family)


@needs_nvrtc
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int unused_one = 1;", "warning"),
        ("double a[300]; for (int i = 0; i < n; ++i) a[i] = out[i]; out[0] = a[n / 2];", ""),
        ("__shared__ float s[9000]; s[n] = 1; out[0] = s[n + 1];", ""),
    ],
)
def test_what_the_compiler_says_is_read(text, said):
    body = f'extern "C" __global__ void body(double* out, int n) {{ {text} }}'
    result = nvrtc.compile_text(body, ["--std=c++17"], 90)
    assert bool(result.warnings) == bool(said)
    assert nvrtc.translate_text(body, ["--std=c++17"], 75) == result.warnings
    taken = result.resources["body"]
    assert taken.registers > 0
    assert (taken.shared_bytes, taken.stack_bytes) == (
        36000 if "shared" in text else 0,
        2400 if "double a" in text else 0,
    )


@needs_nvrtc
def test_errors_are_told():
    wrong = 'extern "C" __global__ void body() { no_such_name(); }'
    with pytest.raises(nvrtc.CompileError, match=r"no_such_name"):
        nvrtc.compile_text(wrong, [], 90)
    with pytest.raises(nvrtc.CompileError, match=r"no_such_name"):
        nvrtc.translate_text(wrong, [], 90)


@pytest.mark.parametrize(
    ("registers", "shared_bytes", "n_threads", "expected"),
    [
        (32, 0, 256, 1.0),
        (33, 0, 256, 0.75),
        (40, 0, 256, 0.75),
        (64, 0, 256, 0.5),
        (80, 0, 256, 0.375),
        (128, 0, 256, 0.25),
        (255, 0, 256, 0.125),
        (32, 48 << 10, 256, 0.5),
        (16, 0, 32, 0.5),
        (32, 0, 96, 0.984375),
    ],
)
def test_occupancy_of_compute_capability_9(registers, shared_bytes, n_threads, expected):
    assert nvrtc.Resources(registers, 0, 0, shared_bytes).occupancy(n_threads) == expected
