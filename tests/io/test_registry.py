"""Registries of formats: order, names, formats of other packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from gpustitch.errors import ParameterError
from gpustitch.io import registry
from gpustitch.io.registry import Registry, either


@dataclass(frozen=True)
class Named:
    name: str = "late"


LATE = Named("later")


def test_formats_are_asked_in_the_order_in_which_they_came():
    known = Registry("things", "tests.none", (Named("b"), Named("a")))
    known.register(Named("c"))
    assert known.names == ("b", "a", "c") and known.get("a") == Named("a")
    known.unregister("a")
    assert known.names == ("b", "c")


def test_a_name_is_taken_once_and_missing_ones_are_said():
    known = Registry("things", "tests.none", (Named("a"), Named("b")))
    with pytest.raises(ParameterError, match="there is a format a of things already"):
        known.register(Named("a"))
    for use in (known.get, known.unregister):
        with pytest.raises(ParameterError, match="must be one of a, b for things, not c") as error:
            use("c")
        assert error.value.parameter == "format"


def test_a_format_may_be_registered_for_a_while():
    known = Registry("things", "tests.none", (Named("a"),))
    with pytest.raises(ZeroDivisionError), known.registered(Named("b")):
        assert known.names == ("a", "b")
        raise ZeroDivisionError
    assert known.names == ("a",)


def test_formats_of_other_packages_are_loaded_when_first_asked_for(monkeypatch):
    asked = []

    def points(group):
        asked.append(group)
        return [EntryPoint(name, f"{__name__}:{value}", group) for name, value in (("x", "Named"), ("y", "LATE"))]

    monkeypatch.setattr(registry, "entry_points", points)
    known = Registry("things", "tests.things", (Named("a"),))
    assert asked == []
    assert known.names == ("a", "late", "later") == known.names
    assert asked == ["tests.things"]


def test_a_format_that_cannot_be_loaded_is_warned_of(monkeypatch):
    broken = EntryPoint("x", f"{__name__}:Missing", "tests.things")
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    known = Registry("things", "tests.things", (Named("a"),))
    with pytest.warns(UserWarning, match="the format x .* cannot be used"):
        assert known.names == ("a",)


def test_lists_for_people():
    assert [either(words) for words in ("", "a", "ab", "abc")] == ["none", "a", "a or b", "a, b or c"]
