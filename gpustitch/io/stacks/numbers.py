"""Numbers in the names of files: with signs, decimals and exponents where all names of a stack make sense that way."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

Number = int | Fraction

_MINUS = str.maketrans("\N{MINUS SIGN}", "-")
# Names that are alike but for what may be numbers; they are read in one way.
_LOOSE = re.compile(r"[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?")
_NO_SIGN, _CLEAR_SIGN, _ANY_SIGN = "", r"(?:(?<![^_=(\[;,])[+-])?", r"(?:(?<!\d)[+-])?"
_WHOLE, _DECIMAL = r"\d+", r"(?:(?<!\d[.,])\d+[.,]\d+(?![.,]?\d)|\d+)"
_EXPONENT = r"(?:[eE][+-]?\d{1,2}(?!\d))?"
_CLEAR_EXPONENT, _EXPONENT_LIKE = re.compile(r"\d[eE][+-]\d{1,2}(?!\d)"), re.compile(r"\d[eE]\d")
_NEGATIVE_ZERO = re.compile(r"-0+")
_INTEGER = re.compile(r"[+-]?\d+")
_FRACTION = re.compile(r"[.,](\d+)")


@dataclass(frozen=True)
class ReadName:
    """A name taken apart: ``texts`` lie around and between the numbers, ``written`` is how these are written."""

    texts: tuple[str, ...]
    written: tuple[str, ...]

    @functools.cached_property
    def pattern(self) -> tuple[str, ...]:
        """The texts without regard to case and spaces; names of one pattern differ in numbers alone."""
        return tuple(" ".join(text.split()).casefold() for text in self.texts)

    @functools.cached_property
    def numbers(self) -> tuple[Number, ...]:
        """The numbers."""
        return tuple(
            int(text) if _INTEGER.fullmatch(text) else Fraction(text.replace(",", ".")) for text in self.written
        )


# How regular the numbers of names of one pattern are; the least is the best.
Regular = Callable[[Sequence[ReadName]], tuple[int, ...]]


def read_names(names: Sequence[str], regular: Regular) -> list[ReadName]:
    """Each name taken apart; names that are alike are read in the same way.

    A ``-`` is a sign, and a ``.`` or ``,`` a decimal point, where this makes one pattern of the names, or makes their
    numbers more regular. ``scan-001-002``, ``2024-01-02`` and ``v1.2.10`` hold whole numbers.

    Parameters
    ----------
    names
        Names without suffixes.
    regular
        Judges a reading of names.
    """
    alike: dict[str, list[int]] = {}
    plain = [name.translate(_MINUS) for name in names]
    for index, name in enumerate(plain):
        alike.setdefault(" ".join(_LOOSE.sub("#", name).split()).casefold(), []).append(index)
    found: list[ReadName] = [ReadName((name,), ()) for name in plain]
    for indices in alike.values():
        for index, read in zip(indices, _best([plain[index] for index in indices], regular), strict=True):
            found[index] = read
    return found


def _best(names: Sequence[str], regular: Callable[[Sequence[ReadName]], tuple[int, ...]]) -> list[ReadName]:
    readings = []
    for order, reader in enumerate(_readers("".join(names))):
        read = [_apart(name, reader) for name in names]
        if not _makes_sense(read):
            continue
        patterns = len({one.pattern for one in read})
        how = regular(read) if patterns == 1 else ()
        readings.append(((patterns, *how, order), read))
    return min(readings, key=lambda one: one[0])[1]


def _readers(text: str) -> Iterator[re.Pattern[str]]:
    """Ways to read numbers, the likeliest first; none that the characters of the names rule out."""
    signs = (_CLEAR_SIGN, _ANY_SIGN, _NO_SIGN) if "-" in text or "+" in text else (_NO_SIGN,)
    values = (_DECIMAL, _WHOLE) if "." in text or "," in text else (_WHOLE,)
    exponents = ("", _EXPONENT) if _EXPONENT_LIKE.search(text) else ("",)
    if _CLEAR_EXPONENT.search(text):
        values, exponents = values[:1], (_EXPONENT,)
    for exponent, value, sign in itertools.product(exponents, values, signs):
        yield re.compile(f"({sign}{value}{exponent})")


def _apart(name: str, reader: re.Pattern[str]) -> ReadName:
    parts = reader.split(name)
    return ReadName(tuple(parts[::2]), tuple(parts[1::2]))


def _makes_sense(read: Sequence[ReadName]) -> bool:
    """No one writes -0; and who writes decimals of several lengths writes no zeros at their ends."""
    written = [text for one in read for text in one.written]
    if any(_NEGATIVE_ZERO.fullmatch(text) for text in written):
        return False
    for column in itertools.zip_longest(*(one.written for one in read), fillvalue=""):
        ends = [match[1] for text in column if (match := _FRACTION.search(text))]
        if len({len(end) for end in ends}) > 1 and any(end.endswith("0") and end != "0" for end in ends):
            return False
    return True
