"""Refuses what is no number where a number is asked for, by the name of the parameter, before anything is read."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.model.numbers import is_number

P = ParamSpec("P")
R = TypeVar("R")
_NUMBERS = {int, float, bool}
_TEXTS = (str, Path)


def as_numpy_does() -> np.errstate:
    """A context in which NumPy says what it says by itself, whatever the caller set: ``numpy.seterr(all="raise")``.

    Numbers too small for their type become 0, as everybody expects; they end no call.
    """
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def typed(*options: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A call whose numbers, and those of the ``options`` that it takes as ``**how``, are numbers.

    Python does not look at annotations: ``"1.8"`` would fail somewhere below, and ``"no"`` be true.

    Parameters
    ----------
    options
        Dataclasses, or functions, by whose annotations the options are looked at.
    """

    def checking(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind_partial(*args, **kwargs).arguments
            asked, rest = hints_of(verb), given.pop("how", {})
            for name, value in given.items():
                check_value(name, value, asked.get(name, Any))
            if rest:
                of_options = {name: hint for place in options for name, hint in fields_of(place)}
                for name, value in rest.items():
                    check_value(name, value, of_options.get(name, Any))
            with as_numpy_does():
                return verb(*args, **kwargs)

        return checked

    return checking


@functools.cache
def hints_of(verb: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a function's parameters, or of a dataclass's fields."""
    return get_type_hints(verb)


def fields_of(place: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Names and annotations of a dataclass, and of those in it; or of a function's parameters."""
    for name, hint in hints_of(place).items():
        if dataclasses.is_dataclass(hint):
            yield from fields_of(hint)  # type: ignore[arg-type]
        yield name, hint


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise ParameterError if the annotation asks for numbers, or yes or no, and the value is something else."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    numbers = _NUMBERS.intersection(kinds)
    if Any in kinds or (value is None and (type(None) in kinds or not numbers)):
        return
    others = [kind for kind in kinds if kind is not type(None) and kind not in _NUMBERS]
    if not numbers:
        if others and all(get_origin(kind) is tuple for kind in others):
            _check_several(name, value, get_args(others[0]))
        return
    words = [word for kind in others if get_origin(kind) is Literal for word in get_args(kind)]
    if isinstance(value, str) and (words or set(_TEXTS).intersection(kinds)):
        return  # whoever takes the text checks it
    if not isinstance(value, str | bytes) and any(get_origin(kind) is not Literal for kind in others):
        return  # it may be one of the others, such as a tuple
    is_switch = numbers == {bool}
    if not (_is_yes_or_no(value) if is_switch else is_number(value)):
        wanted = "True or False" if is_switch else "a number"
        either = "".join(f", or {word!r}" for word in words)
        raise ParameterError(f"`{name}` must be {wanted}{either}, not {value!r:.60}")


def _check_several(name: str, value: Any, kinds: tuple[Any, ...]) -> None:
    """Raise ParameterError where numbers are asked for and there is a text, no list, or one with a text in it.

    A text in place of several texts is refused, too.
    """
    if not {*kinds} <= {int, float, Ellipsis}:
        if str in kinds and isinstance(value, str | bytes):  # its letters would be taken for texts
            raise ParameterError(
                f"`{name}` must be a list or tuple of texts, such as [{value!r:.60}], not {value!r:.60}"
            )
        return
    parts = None if isinstance(value, str | bytes | dict) or not hasattr(value, "__iter__") else list(value)
    if parts is None or not all(map(is_number, parts)) or (Ellipsis not in kinds and len(parts) != len(kinds)):
        n = "" if Ellipsis in kinds else f"{len(kinds)} "
        raise ParameterError(f"`{name}` must be {n}numbers, not {value!r:.60}")


def _is_yes_or_no(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1))
