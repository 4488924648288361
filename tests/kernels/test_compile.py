"""Bodies compile for every family of devices with every type, without a warning, and leave room for enough threads.

NVRTC is what CuPy compiles with on a device's machine; it needs no device itself.
"""

from __future__ import annotations

import pytest

from bench import nvrtc
from bench.variants import ARCHITECTURES, program, threads, variants
from tests.kernels.resources import report
from tests.paths import ROOT

SOURCES = sorted(path.name for path in (ROOT / "kernels").glob("*.cu"))
# Most bytes that a thread keeps outside its registers, by body; all others none. All but halve_mode are held to few
# registers by their launch bounds, so that more blocks run together; halve_mode is so for uint8 on sm_120 alone.
SPILL_BYTES = {
    "analyse_low_pass": 36, "blend_bands": 80, "fuse_frames": 88, "fuse_tiles": 60, "halve_mode": 24,
    "multiply_rows": 4,
}  # fmt: skip
# The newest has each type of each body, the others have each body once: what spills does so there as a rule.
# `python -m bench kernel_resources` compiles all for all devices.
FAMILIES = (75, 90, 120)
NEWEST = 120
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


def compiled_for(source, architecture):
    """Variants of a file that are compiled for a family: they have each type of each body, or each body once."""
    chosen, seen = [], set()
    for variant in variants(source):
        kinds = variant.names if architecture == NEWEST else ()
        of_bodies = {(body, kind) for body in variant.twins for kind in (None, *kinds)}
        if not seen.issuperset(of_bodies):
            chosen.append(variant)
            seen |= of_bodies
    return chosen


def test_each_type_of_each_body_is_compiled_for_the_newest_family():
    for source in SOURCES:
        asked, compiled = (
            {(body, kind) for v in some for body in v.twins for kind in v.names}
            for some in (variants(source), compiled_for(source, NEWEST))
        )
        assert compiled == asked, source


def test_each_body_is_compiled_for_each_family():
    for source in SOURCES:
        of_family = [{name for v in compiled_for(source, family) for name in v.twins} for family in FAMILIES]
        assert of_family[0] and all(bodies == of_family[0] for bodies in of_family), source


@needs_nvrtc
@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("source", SOURCES)
def test_bodies_compile_without_warnings_and_stay_in_registers(source, architecture):
    for variant in compiled_for(source, architecture):
        result = report(variant, architecture)
        assert not result.warnings, variant
        for name in variant.twins:
            taken = result.resources[name]
            what = f"{name} ({variant.types}) on sm_{architecture}"
            assert taken.spill_bytes <= SPILL_BYTES.get(name, 0), what
            assert taken.shared_bytes <= SHARED_BYTES, what
            assert taken.occupancy(threads(name)) >= LEAST_OCCUPANCY, what


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
    taken = result.resources["body"]
    assert taken.registers > 0
    assert (taken.shared_bytes, taken.stack_bytes) == (
        36000 if "shared" in text else 0,
        2400 if "double a" in text else 0,
    )


@needs_nvrtc
def test_errors_are_told():
    with pytest.raises(nvrtc.CompileError, match=r"no_such_name"):
        nvrtc.compile_text('extern "C" __global__ void body() { no_such_name(); }', [], 90)


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
