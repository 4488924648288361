"""Registries of file formats: in the order in which they are asked, each name once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from gpustitch.errors import ParameterError


class Format(Protocol):
    """What all formats have."""

    @property
    def name(self) -> str:
        """How people call it."""


F = TypeVar("F", bound=Format)


class Registry(Generic[F]):
    """The formats of one kind; iterating gives them in the order in which they are asked.

    Formats of other packages come after the built-in ones: by :meth:`register`, or from entry points, which name a
    format or its class and are loaded when formats are first asked for.

    Parameters
    ----------
    what
        What they are formats of, in the plural.
    group
        Group of entry points, such as ``gpustitch.frames``.
    built_in
        Those that are always there.
    """

    def __init__(self, what: str, group: str, built_in: Iterable[F] = ()) -> None:
        self.what = what
        self.group = group
        self._formats: dict[str, F] = {}
        self._is_loaded = False
        for format in built_in:
            self.register(format)

    def register(self, format: F) -> None:
        """Add a format after those that are there; ParameterError if its name is taken."""
        if format.name in self._formats:
            raise ParameterError(
                f"there is a format {format.name} of {self.what} already; give the new one another name"
            )
        self._formats[format.name] = format

    def unregister(self, name: str) -> None:
        """Take a format out; ParameterError if there is none of that name."""
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

    def get(self, name: str) -> F:
        """The format of that name; ParameterError names those that there are."""
        self._load()
        if name not in self._formats:
            raise ParameterError(f"`format` must be one of {', '.join(self.names)} for {self.what}, not {name}")
        return self._formats[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The names in order."""
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
