"""Every twin has a body and every body a twin, and they agree; there are cases for each, and for each of its dtypes."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import pytest

from bench.variants import twins
from gpustitch.array.body import C_TYPES, FLOATING, INTEGER, Parameter, entry_points
from gpustitch.array.sources import own_sources
from tests.kernels.case import Case
from tests.kernels.cases import all_cases

TWINS = twins()
CASES = all_cases()
FILES = own_sources()
NUMBERS = {"int": INTEGER, "bool": INTEGER, "float": FLOATING}


def test_there_are_twins() -> None:
    assert len(TWINS) >= 10


@pytest.mark.parametrize("name", sorted(TWINS))
def test_twin_has_a_body(name: str) -> None:
    assert TWINS[name].has_cuda_body


@pytest.mark.parametrize("source", FILES)
def test_bodies_have_twins(source: str) -> None:
    assert set(entry_points(source)) == {name for name, twin in TWINS.items() if twin.source == source}


@pytest.mark.parametrize("source", FILES)
def test_file_has_cases_of_its_own_twins(source: str) -> None:
    cases = CASES[source.removesuffix(".cu")]
    assert {case.twin for case in cases} == set(entry_points(source))
    identities = [(case.twin, case.id) for case in cases]
    assert len(set(identities)) == len(identities)


@pytest.mark.parametrize("name", sorted(TWINS))
def test_body_takes_what_the_definition_takes(name: str) -> None:
    twin = TWINS[name]
    declared = list(entry_points(twin.source)[name])
    wanted = list(inspect.signature(twin.definition).parameters.values())
    for parameter, following in itertools.zip_longest(wanted, wanted[1:]):
        taken = _taken(declared, parameter.name, following.name if following else None)
        _check_kinds(twin, str(parameter.annotation), taken)
        declared = declared[len(taken) :]
    assert not declared


@pytest.mark.parametrize("name", sorted(TWINS))
def test_every_dtype_has_a_case(name: str) -> None:
    cases = _cases_of(name)
    assert cases
    for type_name, (argument, allowed) in TWINS[name].grid.types.items():
        found = {_dtype(case.arguments()[argument]) for case in cases}
        assert found == set(allowed), type_name


@pytest.mark.parametrize("name", sorted(TWINS))
def test_cases_fit_the_definition(name: str) -> None:
    parameters = list(inspect.signature(TWINS[name].definition).parameters)
    for case in _cases_of(name):
        once, again = case.arguments(), case.arguments()
        assert sorted(once) == sorted(parameters), case.id
        assert "out" in case.written, case.id
        assert set(case.written) <= set(parameters), case.id
        for key in once:
            for a, b in zip(_arrays(once[key]), _arrays(again[key]), strict=True):
                assert a.flags.c_contiguous and a is not b and a.dtype.isnative, (case.id, key)
                np.testing.assert_array_equal(a, b, err_msg=f"{case.id}: {key} differs from call to call")


def _taken(declared: list[Parameter], name: str, following: str | None) -> list[Parameter]:
    """The declared parameters that one argument becomes: from its own name up to that of the next."""
    assert declared, f"the body does not take {name}"
    assert declared[0].name == name
    rest = list(itertools.takewhile(lambda p: p.name != following, declared[1:]))
    return [declared[0], *rest]


def _check_kinds(twin: Any, annotation: str, taken: list[Parameter]) -> None:
    first, rest = taken[0], [(p.c_type, p.pointers) for p in taken[1:]]
    if annotation in NUMBERS:
        assert (first.c_type, first.pointers, rest) == (NUMBERS[annotation], 0, []), first.name
        return
    assert first.c_type in {*C_TYPES.values(), *twin.grid.types}, first.name
    if annotation == "Sequence[Array]":
        assert first.pointers == 2, first.name
        assert rest == [(INTEGER, 1), (INTEGER, 0)], first.name
    else:
        assert annotation == "Array", first.name
        assert first.pointers == 1, first.name
        ranks = {case.arguments()[first.name].ndim for case in _cases_of(twin.name)}
        assert rest == [(INTEGER, 0)] * len(rest), first.name
        assert ranks == {len(rest)}, first.name


def _cases_of(name: str) -> list[Case]:
    return [case for cases in CASES.values() for case in cases if case.twin == name]


def _arrays(value: Any) -> list[Any]:
    values = value if isinstance(value, list | tuple) else [value]
    return [v for v in values if isinstance(v, np.ndarray)]


def _dtype(value: Any) -> str:
    return str(_arrays(value)[0].dtype.name)
