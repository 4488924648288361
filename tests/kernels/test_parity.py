"""Every body against the definition of its twin: on the emulator in three orders of threads, and on a real device."""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from gpustitch import ops
from gpustitch.array import cuda_devices, kernels
from tests.cuda_cpu import module, shim
from tests.kernels.case import Case
from tests.kernels.cases import all_cases

for _module in pkgutil.iter_modules(ops.__path__, "gpustitch.ops."):
    importlib.import_module(_module.name)
CASES = {f"{name}-{case.twin}-{case.id}": case for name, cases in all_cases().items() for case in cases}
# Sanitizers look at accesses, which do not depend on the order: one is enough there.
ORDERS = ("random",) if module.sanitized() else module.ORDERS

Arguments = dict[str, Any]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case_id", CASES)
def test_body_on_the_emulator(case_id: str, order: str) -> None:
    if module.why_not():
        pytest.skip(module.why_not())
    case, before = CASES[case_id], module.launches()
    with module.settings(order=order, seed=len(case_id)), shim.installed():
        found = run_body(case, shim.asarray, shim.asnumpy)
    compare(case, expected(case_id), found)
    assert module.launches() > before or not case.arguments()["out"].size


@pytest.mark.gpu
@pytest.mark.parametrize("case_id", CASES)
def test_body_on_a_device(case_id: str, cupy: Any) -> None:
    found = run_body(CASES[case_id], cupy.asarray, cupy.asnumpy)
    compare(CASES[case_id], expected(case_id), found)


@pytest.fixture(scope="module")
def cupy() -> Iterator[Any]:
    """CuPy with a device; without its memory pool where a tool looks at accesses beyond the ends of arrays."""
    devices, reason = cuda_devices()
    if not devices:
        pytest.skip(f"no CUDA device: {reason}")
    library = importlib.import_module("cupy")
    if os.environ.get("CUPY_TEST_NO_POOL") == "1":
        library.cuda.set_allocator(None)
    yield library
    library.cuda.set_allocator(library.get_default_memory_pool().malloc)


@functools.cache
def expected(case_id: str) -> Arguments:
    """The arguments after the definition ran on them."""
    case = CASES[case_id]
    arguments = case.arguments()
    with np.errstate(all="ignore"):
        kernels()[case.twin].definition(**arguments)
    return arguments


def run_body(case: Case, to_device: Callable[[Any], Any], to_host: Callable[[Any], Any]) -> Arguments:
    """The arguments, in host memory, after the body ran on them."""
    on_device = mapped(to_device, case.arguments())
    kernels()[case.twin](**on_device)
    return mapped(to_host, on_device)


def mapped(function: Callable[[Any], Any], arguments: Mapping[str, Any]) -> Arguments:
    """The arguments with the function applied to all arrays, those in lists too."""
    return {name: _mapped(function, value) for name, value in arguments.items()}


def compare(case: Case, expected: Arguments, found: Arguments) -> None:
    """What was to be written is within the case's tolerances; everything else is as it was."""
    original = case.arguments()
    for name in expected:
        written = name in case.written
        wanted, tolerance = (expected, (case.rtol, case.atol)) if written else (original, (0.0, 0.0))
        for i, (a, b) in enumerate(zip(_arrays(found[name]), _arrays(wanted[name]), strict=True)):
            _assert_close(a, b, tolerance, f"{name}[{i}]" if isinstance(found[name], list | tuple) else name)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [function(array) for array in value]
    return value if isinstance(value, bool | int | float | np.generic) else function(value)


def _arrays(value: Any) -> list[Any]:
    """The arrays of an argument; none of a number."""
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, np.ndarray)]


def _assert_close(found: Any, wanted: Any, tolerance: tuple[float, float], name: str) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
    rtol, atol = tolerance
    if rtol or atol:
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol, equal_nan=True, err_msg=name)
        return
    np.testing.assert_array_equal(found, wanted, err_msg=name)
    if found.dtype.kind == "f":
        numbers = ~np.isnan(wanted)
        signs = np.signbit(found[numbers]) == np.signbit(wanted[numbers])
        assert np.all(signs), f"{name}: zeros of another sign"
