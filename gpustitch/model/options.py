"""Options, each declared once: a dataclass field that also holds what its command-line option needs.

A field made by :func:`option` carries help, unit, range, flag and environment variable as metadata. A field made by
:func:`nested` holds the options of another dataclass. ``gpustitch.cli.build`` makes a command of such a class, and
:func:`documented` writes its docstring.
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
    """What one field declares about its option.

    Attributes
    ----------
    help
        A sentence for people, with its unit.
    flag
        Names on the command line, separated by spaces; by default the field's own name.
    unit
        Unit of the number (``um``, ``mm``). The help shows it as the placeholder of the value.
    at_least, at_most
        Least and greatest allowed value, both included; None for no bound.
    panel
        Heading under which the help shows the option.
    env
        Environment variable that supplies the value when the flag is not given.
    env_means
        The value that a switched-on variable stands for, where the variable is only a switch.
    metavar
        Placeholder of the value in the help, where neither unit nor type gives it.
    text
        How a value is written as text: a name of ``gpustitch.cli.values``. None where the type decides.
    shown
        What the help calls the default, where the stage works out the default later.
    is_argument
        Whether the command line takes the value by position, without a flag.
    is_needed
        Whether the command line requires the option, although a program may give something else instead.
    is_hidden
        Whether the help leaves the option out.
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
    """What a field declares that holds the options of another dataclass.

    ``without`` names the options left out, ``changed`` holds by field what is declared differently here.
    ``required_kind`` is the other dataclass if some of its options have no default, else None.
    """

    without: frozenset[str]
    changed: Mapping[str, Mapping[str, Any]]
    required_kind: type | None = None


@dataclass(frozen=True)
class Leaf:
    """One option of a class or of a class nested in it; ``path`` holds the names of the fields that lead there."""

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
        """Whether the option must be given."""
        return self.default is MISSING or self.declared.is_needed

    def value_in(self, options: Any) -> Any:
        """The option's value in an object of the class."""
        return functools.reduce(getattr, self.path, options)

    @property
    def flags(self) -> tuple[str, ...]:
        """The option's names on a command line; messages use the first. Empty if it is taken by position."""
        if self.declared.is_argument:
            return ()
        return tuple((self.declared.flag or f"--{self.name.replace('_', '-')}").split())


def option(default: Any = MISSING, **declared: Any) -> Any:
    """Make a dataclass field that is an option; without a default the option must be given.

    Parameters
    ----------
    default
        Default of the option.
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
    """Make a dataclass field that holds the options of another dataclass.

    Parameters
    ----------
    factory
        Makes the object whose values are the defaults. If it is a dataclass with required options, the field is
        required too.
    without
        Fields of the other dataclass that are no options here, because the outer class fills them in.
    **changed
        By field, what is declared differently here, such as ``background={"flag": "--flat-background"}``.
    """
    if isinstance(factory, type) and any(leaf.default is MISSING for leaf in leaves(factory)):
        return dataclasses.field(metadata={_KEY: Nested(frozenset(without), changed, factory)})
    return dataclasses.field(default_factory=factory, metadata={_KEY: Nested(frozenset(without), changed)})


def leaves(kind: type, without: Iterable[str] = ()) -> list[Leaf]:
    """The options of a dataclass in the order of their declaration, nested options in place.

    Options named in ``without`` are left out.
    """
    return list(_leaves(kind, (), None, Nested(frozenset(without), {})))


def _leaves(kind: type, path: tuple[str, ...], base: Any, outer: Nested) -> Iterator[Leaf]:
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        found = field.metadata.get(_KEY)
        if found is None or field.name in outer.without:
            continue
        default = _default(field) if base is None else getattr(base, field.name)
        if isinstance(found, Nested):
            inner = Nested(found.without | outer.without, {**found.changed, **outer.changed})
            needed = found.required_kind
            yield from _leaves(needed or type(default), (*path, field.name), None if needed else default, inner)
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
        own[name] = (
            filled(found.required_kind, inner) if found.required_kind else with_values(_default(fields[name]), inner)
        )
    return kind(**own)


def with_values(base: T, values: Mapping[tuple[str, ...], Any]) -> T:
    """A copy of options with these values, by the path of their leaf."""
    own, parts = _split(values)
    own |= {name: with_values(getattr(base, name), inner) for name, inner in parts.items()}
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
    """Raise ParameterError for the first option outside its declared range; None is never outside."""
    for leaf in leaves(type(options)):
        value, declared = leaf.value_in(options), leaf.declared
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = declared.at_least, declared.at_most
        # Written so that NaN is outside every range.
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ParameterError(f"`{leaf.name}` is {value}, but it must be {declared.range_text}")


def documented(kind: type[T]) -> type[T]:
    """Add the options and their help to the docstring: a class decorator, applied after ``@dataclass``."""
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
