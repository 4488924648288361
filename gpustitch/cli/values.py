"""Values that a command line writes as text, and back: ``x,y,z`` for shapes, ``20G`` for bytes, and the like."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpustitch.errors import ParameterError
from gpustitch.model import Spacing

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True)
class Text:
    """The text form of one kind of value: ``parse`` reads a text, ``show`` writes one, ``metavar`` names the form.

    ``expected`` completes "`name` takes ...".
    """

    parse: Callable[[str], Any]
    show: Callable[[Any], str]
    metavar: str
    expected: str


def parsed(kind: str, text: str, name: str) -> Any:
    """The value of option ``name`` that a text of this kind stands for; ParameterError if the text is not valid."""
    form = TEXTS[kind]
    try:
        return form.parse(text)
    except ValueError:
        raise ParameterError(f"`{name}` takes {form.expected}, not {text!r}", parameter=name) from None


def parsed_bytes(text: str) -> int:
    """A number of bytes from digits, perhaps followed by K, M, G or T (powers of 1024); ValueError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(text)
    return int(float(match[1]) * (1 << _UNITS[match[2].upper()]))


def bytes_text(number: int) -> str:
    """A number of bytes in the largest unit that divides it."""
    for unit, bits in reversed(_UNITS.items()):
        if number % (1 << bits) == 0:
            return f"{number >> bits}{unit}"
    return str(number)


def _numbers(convert: Callable[[str], Any], count: int, *, one_for_all: bool = False) -> Callable[[str], Any]:
    """Parses ``count`` numbers, written x first, into array order."""

    def parse(text: str) -> tuple[Any, ...]:
        values = [convert(part) for part in text.split(",")]
        if one_for_all and len(values) == 1:
            values *= count
        if len(values) != count:
            raise ValueError(text)
        return tuple(reversed(values))

    return parse


def _joined(values: Any) -> str:
    return ",".join(f"{value:g}" for value in reversed(values))


def _at_least_one(values: tuple[int, ...]) -> tuple[int, ...]:
    if min(values) < 1:
        raise ValueError(values)
    return values


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(0 < value < math.inf for value in values):
        raise ValueError(values)
    return values


def _one_or_two(values: Any) -> str:
    return f"{values[0]:g}" if values[0] == values[1] else _joined(values)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().replace(" ", "-") for name in text.split(",") if name.strip())


def _auto_or_number(text: str) -> str | float:
    word = text.strip().lower()
    if word in ("auto", "off"):
        return word
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _text_or_number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


TEXTS: Mapping[str, Text] = {
    "bytes": Text(parsed_bytes, bytes_text, "BYTES", "a number of bytes such as 20G or 512M"),
    "xyz": Text(_numbers(int, 3), _joined, "X,Y,Z", "3 whole numbers separated by commas"),
    "spacing": Text(
        lambda text: Spacing(*_numbers(float, 3)(text)),
        lambda spacing: _joined(spacing.zyx_um),
        "X,Y,Z",
        "3 positive numbers of um separated by commas",
    ),
    "positive xy": Text(
        lambda text: _positive(_numbers(float, 2)(text)), _joined, "X,Y", "2 positive numbers separated by a comma"
    ),
    "scale": Text(_numbers(float, 2, one_for_all=True), _one_or_two, "SCALE", "a number such as 0.5, or two as x,y"),
    "counts xy": Text(
        lambda text: _at_least_one(_numbers(int, 2, one_for_all=True)(text)),
        _one_or_two,
        "X,Y",
        "a whole number of at least 1, or two as x,y",
    ),
    "rising": Text(
        lambda text: tuple(float(part) for part in text.split(",")),
        lambda values: ",".join(f"{value:g}" for value in values),
        "N,N",
        "numbers separated by commas",
    ),
    "auto or number": Text(
        _auto_or_number,
        _text_or_number,
        "auto|off|NUMBER",
        "auto, off or a number",
    ),
    "names": Text(_names, ",".join, "NAMES", "names separated by commas"),
}
