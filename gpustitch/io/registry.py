"""Registries of file formats: each name once, in the order in which formats are tried."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from gpustitch.errors import ParameterError


class Format(Protocol):
    """The members that all formats share."""

    @property
    def name(self) -> str:
        """The format's name in messages."""


F = TypeVar("F", bound=Format)


class Registry(Generic[F]):
    """The formats of one kind; iterating gives them in the order in which they are tried.

    Formats of other packages follow the built-in ones. They come from :meth:`register` or from entry points.
    An entry point names a format or its class. The first use of the registry loads the entry points.

    Parameters
    ----------
    what
        The things that the formats hold, in the plural, such as ``frames``.
    group
        Group of entry points, such as ``gpustitch.frames``.
    built_in
        The formats that are always registered.
    """

    def __init__(self, what: str, group: str, built_in: Iterable[F] = ()) -> None:
        self.what = what
        self.group = group
        self._formats: dict[str, F] = {}
        self._is_loaded = False
        for format in built_in:
            self.register(format)

    def register(self, format: F) -> None:
        """Add a format after the registered ones; ParameterError if its name is taken."""
        if format.name in self._formats:
            raise ParameterError(
                f"there is a format {format.name} of {self.what} already; give the new one another name"
            )
        self._formats[format.name] = format

    def unregister(self, name: str) -> None:
        """Remove a format; ParameterError if no format has that name."""
        self.get(name)
        del self._formats[name]

    @contextlib.contextmanager
    def registered(self, format: F) -> Iterator[F]:
        """A format that is registered within the ``with`` block."""
        self.register(format)
        try:
            yield format
        finally:
            self.unregister(format.name)

    def get(self, name: str, parameter: str = "format") -> F:
        """The format of that name; ParameterError, with all names and the ``parameter`` it was, if there is none."""
        self._load()
        if name not in self._formats:
            raise ParameterError(f"`{parameter}` must be one of {', '.join(self.names)} for {self.what}, not {name}")
        return self._formats[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all formats, in order."""
        return tuple(format.name for format in self)

    def __iter__(self) -> Iterator[F]:
        self._load()
        return iter(tuple(self._formats.values()))

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        for entry in entry_points(group=self.group):
            try:
                format = entry.load()
                self.register(format() if isinstance(format, type) else format)
            except Exception as error:
                warnings.warn(f"the format {entry.name} ({entry.value}) cannot be used: {error}", stacklevel=3)


def either(words: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``; ``none`` of no words."""
    *first, last = list(words) or ["none"]
    return f"{', '.join(first)} or {last}" if first else last
