"""Options of dataclasses: what is declared, what is filled in, what is out of range."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, dataclass

import pytest

from gpustitch.errors import ParameterError
from gpustitch.model.options import check_ranges, filled, leaves, nested, option, with_values


@dataclass(frozen=True)
class Inner:
    """Options that have defaults."""

    weight: float = option(0.5, at_least=0, at_most=1, help="Weight.")
    name: str = option("a", help="Name.")


@dataclass(frozen=True)
class Source:
    """Options of which one must be given."""

    path: str = option(help="Path.")
    depth: int = option(3, at_least=1, help="Depth.")


@dataclass(frozen=True)
class Outer:
    """Options that hold others."""

    source: Source = nested(Source)
    inner: Inner = nested(lambda: Inner(0.25), weight={"at_most": 0.5})
    other: int | None = None


def test_leaves_are_those_of_nested_options_with_their_defaults():
    found = {leaf.path: leaf for leaf in leaves(Outer)}
    assert list(found) == [("source", "path"), ("source", "depth"), ("inner", "weight"), ("inner", "name")]
    assert [leaf.is_required for leaf in found.values()] == [True, False, False, False]
    assert (found["inner", "weight"].default, found["inner", "weight"].declared.at_most) == (0.25, 0.5)
    assert [leaf.name for leaf in leaves(Outer, without=("inner", "depth"))] == ["path"]


def test_what_is_not_given_keeps_its_default():
    made = filled(Outer, {("source", "path"): "p", ("inner", "name"): "b"})
    assert made == Outer(Source("p"), Inner(0.25, "b"))
    assert with_values(made, {("source", "depth"): 5, ("other",): 1}) == Outer(Source("p", 5), Inner(0.25, "b"), 1)
    with pytest.raises(TypeError):
        filled(Outer, {})
    with pytest.raises(FrozenInstanceError):
        made.other = 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Outer(Source("p"), Inner(0.6)), "`weight` is 0.6, but it must be from 0 to 0.5"),
        (Outer(Source("p", 0)), "`depth` is 0, but it must be at least 1"),
        (Outer(Source("p"), Inner(math.nan)), "`weight` is nan"),
        (Outer(Source("p"), Inner(-math.inf)), "`weight` is -inf"),
        (Outer(Source("p"), Inner(0.5)), None),
    ],
)
def test_ranges_are_those_declared_where_the_options_are_held(options, said):
    if said is None:
        check_ranges(options)
    else:
        with pytest.raises(ParameterError) as refused:
            check_ranges(options)
        assert str(refused.value).startswith(said)
        assert refused.value.parameter in ("weight", "depth")
