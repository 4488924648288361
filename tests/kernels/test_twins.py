"""Rules that every kernel twin follows, so that a CUDA body can stand in for its definition."""

from __future__ import annotations

import inspect

import pytest

from bench.variants import twins

TWINS = twins()


def test_the_hot_loops_are_twins():
    assert {"shear_lerp", "climb", "halve", "fuse_tiles", "flat_counts"} <= TWINS.keys()


@pytest.mark.parametrize("name", sorted(TWINS))
def test_source_is_called_after_the_module(name):
    module = TWINS[name].definition.__module__.rpartition(".")[2]
    assert TWINS[name].source == f"{module}.cu"


@pytest.mark.parametrize("name", sorted(TWINS))
def test_arguments_are_arrays_and_numbers_and_one_is_written(name):
    signature = inspect.signature(TWINS[name].definition, eval_str=False)
    kinds = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    assert kinds["out"] == "Array"
    assert set(kinds.values()) <= {"Array", "Sequence[Array]", "int", "float", "bool"}
    assert signature.return_annotation == "None"
    assert all(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in signature.parameters.values())
    assert TWINS[name].__doc__
