"""Options declared once: fields of dataclasses that also say what a command line needs to know of them.

A field made by :func:`option` carries help, unit, range, flag and environment variable as metadata; :func:`nested`
takes in the options of another dataclass. ``gpustitch.cli.build`` makes a command of such a class, :func:`documented`
its docstring.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar

from gpustitch.errors import ParameterError

T = TypeVar("T")

_KEY = "gpustitch"


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What one field says of itself.

    Attributes
    ----------
    help
        A sentence for people, with its unit.
    flag
        Names on the command line, separated by spaces; by default the field's own name.
    unit
        Unit of the number (``um``, ``mm``); shown as what is to be typed.
    at_least, at_most
        The values that are allowed, both ends included; None for no bound.
    panel
        Heading under which the help shows it.
    env
        Environment variable that is taken when the flag is not given.
    env_means
        What a variable that is switched on stands for, where it holds no value itself.
    metavar
        What is to be typed, where the unit or the type does not say it.
    text
        How a value is written as text, a name of ``gpustitch.cli.values``; None where the type says it.
    shown
        What the help calls the default, where that is worked out later.
    is_argument
        Whether the command line takes it by its place.
    is_needed
        Whether the command line must have it, although a program may give something else instead.
    is_hidden
        Whether the help leaves it out.
    """

    help: str
    flag: str | None = None
    unit: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    panel: str | None = None
    env: str | None = None
    env_means: Any = None
    metavar: str | None = None
    text: str | None = None
    shown: str | None = None
    is_argument: bool = False
    is_needed: bool = False
    is_hidden: bool = False

    @property
    def range_text(self) -> str:
        """The allowed values in words; empty if there is no bound."""
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            return ""
        if high is None:
            return f"at least {low:g}"
        return f"at most {high:g}" if low is None else f"from {low:g} to {high:g}"


@dataclass(frozen=True)
class Nested:
    """What a field says that holds other options.

    ``without`` are those left out, ``changed`` what is declared otherwise here. ``kind`` is the class of those that
    must be given, as it has options without a default; None for those that have a default.
    """

    without: frozenset[str]
    changed: Mapping[str, Mapping[str, Any]]
    kind: type | None = None


@dataclass(frozen=True)
class Leaf:
    """One option of a class or of those nested in it: ``path`` are the names of the fields that lead to it."""

    path: tuple[str, ...]
    type: Any
    default: Any
    declared: Declared

    @property
    def name(self) -> str:
        """Name of the field."""
        return self.path[-1]

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING or self.declared.is_needed

    def value_in(self, options: Any) -> Any:
        """Its value in an object of the class."""
        return functools.reduce(getattr, self.path, options)

    @property
    def flags(self) -> tuple[str, ...]:
        """Its names on a command line, the first one the one that messages use; none if it is taken by its place."""
        if self.declared.is_argument:
            return ()
        return tuple((self.declared.flag or f"--{self.name.replace('_', '-')}").split())


def option(default: Any = MISSING, **declared: Any) -> Any:
    """A field of a dataclass, which must be given if it has no default.

    Parameters
    ----------
    default
        Its default.
    **declared
        Fields of :class:`Declared`.
    """
    return dataclasses.field(default=default, metadata={_KEY: Declared(**declared)})


def nested(
    factory: Callable[[], Any],
    *,
    without: tuple[str, ...] = (),
    **changed: Mapping[str, Any],
) -> Any:
    """A field that holds other options, whose defaults are those of what ``factory`` makes.

    Parameters
    ----------
    factory
        Makes the default. A dataclass with fields that must be given makes a field that must be given.
    without
        Fields of it that are no options here: those filled in by the class that holds them.
    **changed
        By field, what is declared otherwise here, such as ``background={"flag": "--flat-background"}``.
    """
    if isinstance(factory, type) and any(leaf.default is MISSING for leaf in leaves(factory)):
        return dataclasses.field(metadata={_KEY: Nested(frozenset(without), changed, factory)})
    return dataclasses.field(default_factory=factory, metadata={_KEY: Nested(frozenset(without), changed)})


def leaves(kind: type, without: Iterable[str] = ()) -> list[Leaf]:
    """The options of a dataclass, those of nested ones in place, in the order in which they are declared.

    Those in ``without`` are left out.
    """
    return list(_leaves(kind, (), None, Nested(frozenset(without), {})))


def _leaves(kind: type, path: tuple[str, ...], base: Any, outer: Nested) -> Iterator[Leaf]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        found = field.metadata.get(_KEY)
        if found is None or field.name in outer.without:
            continue
        default = _default(field) if base is None or base is MISSING else getattr(base, field.name)
        if isinstance(found, Nested):
            inner = Nested(found.without | outer.without, {**found.changed, **outer.changed})
            yield from _leaves(found.kind or type(default), (*path, field.name), default, inner)
        else:
            declared = dataclasses.replace(found, **outer.changed.get(field.name, {}))
            yield Leaf((*path, field.name), hints[field.name], default, declared)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def filled(kind: type[T], values: Mapping[tuple[str, ...], Any]) -> T:
    """An object of a dataclass with these values, by the path of their leaf. The others keep their defaults."""
    own, parts = _split(values)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, inner in parts.items():
        found = fields[name].metadata[_KEY]
        own[name] = filled(found.kind, inner) if found.kind else changed(_default(fields[name]), inner)
    return kind(**own)


def changed(base: T, values: Mapping[tuple[str, ...], Any]) -> T:
    """A copy of options with these values, by the path of their leaf."""
    own, parts = _split(values)
    own |= {name: changed(getattr(base, name), inner) for name, inner in parts.items()}
    return dataclasses.replace(base, **own)  # type: ignore[type-var]


def _split(values: Mapping[tuple[str, ...], Any]) -> tuple[dict[str, Any], dict[str, dict[tuple[str, ...], Any]]]:
    """Values of a dataclass's own fields by name, and of those nested in each field by the rest of their path."""
    own: dict[str, Any] = {}
    parts: dict[str, dict[tuple[str, ...], Any]] = {}
    for path, value in values.items():
        if len(path) == 1:
            own[path[0]] = value
        else:
            parts.setdefault(path[0], {})[path[1:]] = value
    return own, parts


def check_ranges(options: Any) -> None:
    """Raise ParameterError for the first option outside of its declared range; None is never outside."""
    for leaf in leaves(type(options)):
        value, declared = leaf.value_in(options), leaf.declared
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = declared.at_least, declared.at_most
        # Written so that NaN is outside of every range.
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ParameterError(f"`{leaf.name}` is {value}, but it must be {declared.range_text}")


def documented(kind: type[T]) -> type[T]:
    """Class decorator, outside of ``@dataclass``: adds the options and their help to the docstring."""
    lines = ["", "", "Parameters", "----------"]
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        found = field.metadata.get(_KEY)
        if isinstance(found, Declared):
            default = "" if field.default is MISSING else f", default {field.default!r}"
            text = found.help + (f" It is {found.range_text}." if found.range_text else "")
            lines += [f"{field.name} : {field.type}{default}", f"    {text}"]
        elif isinstance(found, Nested):
            lines += [f"{field.name} : {field.type}", "    Options of their own."]
    kind.__doc__ = (kind.__doc__ or "").rstrip() + "\n".join(lines)
    return kind
