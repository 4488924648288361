"""Every body against the definition of its twin: on the emulator in three orders of threads, and on a real device."""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.variants import twins
from gpustitch.array import cuda_devices
from tests.cuda_cpu import module, shim
from tests.cuda_cpu.shim_books import BOOKS
from tests.kernels.case import Case
from tests.kernels.cases import all_cases
from tests.kernels.compare import Arguments, compare, mapped

TWINS = twins()
CASES = {f"{name}-{case.twin}-{case.id}": case for name, cases in all_cases().items() for case in cases}


def covering() -> dict[str, Case]:
    """Cases for sanitizers: each type of each argument is there, but of twins of several types not each pair.

    All cases of the types that are chosen stay; those of the most cases come first.
    """
    chosen = dict(CASES)
    for name, twin in TWINS.items():
        if len(twin.grid.types) > 1:
            own = {case_id: types_of(case) for case_id, case in CASES.items() if case.twin == name}
            kept: set[tuple[str, ...]] = set()
            for types, _ in Counter(own.values()).most_common():
                if any(all(other[place] != kind for other in kept) for place, kind in enumerate(types)):
                    kept.add(types)
            chosen = {case_id: case for case_id, case in chosen.items() if own.get(case_id) in {None, *kept}}
    return chosen


def types_of(case: Case) -> tuple[str, ...]:
    """Types of a case's arguments that its twin's text depends on."""
    given = case.arguments()
    return tuple(str(given[argument].dtype) for _, (argument, _) in sorted(TWINS[case.twin].grid.types.items()))


ON_EMULATOR = covering() if module.sanitized() else CASES
# Sanitizers look at accesses, which do not depend on the order: one is enough there.
ORDERS = ("random",) if module.sanitized() else module.ORDERS


@pytest.mark.parametrize("case_id", ON_EMULATOR)
def test_body_on_the_emulator(case_id: str) -> None:
    if module.why_not():
        pytest.skip(module.why_not())
    given = CASES[case_id].arguments()
    with shim.installed():
        for order in ORDERS:
            try:
                _compare_on_the_emulator(case_id, order, given)
            except Exception as error:
                error.add_note(f"The order of threads was {order}.")
                raise


def _compare_on_the_emulator(case_id: str, order: str, given: Arguments) -> None:
    case, before = CASES[case_id], module.launches()
    with module.settings(order=order, seed=len(case_id)):
        found = run_body(case, shim.asarray, shim.asnumpy, given)
    BOOKS.raise_faults()
    if not module.sanitized():  # which is about accesses: results are compared without sanitizers
        compare(case, expected(case_id), found, given)
    assert module.launches() > before or not given["out"].size


@pytest.mark.gpu
@pytest.mark.parametrize("case_id", CASES if cuda_devices()[0] else ["no case: there is no device"])
def test_body_on_a_device(cupy: Any, case_id: str) -> None:
    given = CASES[case_id].arguments()
    found = run_body(CASES[case_id], cupy.asarray, cupy.asnumpy, given)
    compare(CASES[case_id], expected(case_id), found, given)


@pytest.fixture(scope="module")
def cupy() -> Any:
    """CuPy, where there is a device."""
    devices, reason = cuda_devices()
    if not devices:
        pytest.skip(f"no CUDA device: {reason}")
    return importlib.import_module("cupy")


@functools.cache
def expected(case_id: str) -> Arguments:
    """The arguments after the definition ran on them."""
    case = CASES[case_id]
    arguments = case.arguments()
    with np.errstate(all="ignore"):
        TWINS[case.twin].definition(**arguments)
    return arguments


def run_body(case: Case, to_device: Callable[[Any], Any], to_host: Callable[[Any], Any], given: Arguments) -> Arguments:
    """The arguments, in host memory, after the body ran on copies of those given."""
    on_device = mapped(to_device, given)
    TWINS[case.twin](**on_device)
    return mapped(to_host, on_device)


def test_sanitizers_have_each_type_of_each_body() -> None:
    asked, found = (
        {(case.twin, place, kind) for case in some for place, kind in enumerate(types_of(case))}
        for some in (CASES.values(), covering().values())
    )
    assert found == asked and len(covering()) < len(CASES)
