"""The wanted tags of an ordinary DICOM file, found in its first bytes; several times as fast as reading all of them.

Ordinary is: with a preamble, little endian, elements of known encodings one after another up to the pixels, and none of
the sequences that are wanted. Every other file is left to pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, ItemsView
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

_FIRST_BYTES = (1 << 14, 1 << 17, 1 << 20)
_PREAMBLE = 132
_META = 0x0002
_SYNTAX = 0x00020010
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _ITEMS_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
# JPEG of all kinds, and RLE.
_ENCAPSULATED = ("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5")
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
# Those of which the length has four bytes; SQ may have none.
_LONG = frozenset(b"OB OD OF OL OV OW SV UC UN UR UT UV SQ".split())
_HEAD, _TAG, _LENGTH = struct.Struct("<HH2sH"), struct.Struct("<HH"), struct.Struct("<I")
_IMPLICIT_HEAD = struct.Struct("<HHI")


class _Odd(Exception):
    """The file is none of the ordinary ones."""


class ScannedElement(NamedTuple):
    """Bytes of an element, and its encoding; None where the file does not state it."""

    value: bytes
    VR: str | None
    is_little_endian: bool = True


@dataclass(frozen=True)
class ScannedSet:
    """Elements by tag, as far as :class:`gpustitch.slices.dicom.values.Values` asks a data set of pydicom for them.

    ``original_encoding`` says whether encodings are left out, and whether the file is little endian.
    """

    elements: dict[int, ScannedElement] = field(default_factory=dict)
    original_encoding: tuple[bool, bool] = (False, True)
    meta: dict[int, ScannedElement] = field(default_factory=dict)

    @property
    def file_meta(self) -> ScannedSet:
        """The elements of group 2."""
        return ScannedSet(self.meta)

    def items(self) -> ItemsView[int, ScannedElement]:
        """All elements."""
        return self.elements.items()


def scanned(file: BinaryIO, wanted: Collection[int], sequences: Collection[int]) -> ScannedSet | None:
    """The wanted elements before the pixels; the file is left at the pixels, or, if it is not ordinary, anywhere.

    Parameters
    ----------
    file
        Opened, at its beginning.
    wanted
        Tags of which the values are kept.
    sequences
        Tags that make a file one for pydicom.

    Returns
    -------
    None if the file is not ordinary.
    """
    head = b""
    for n_bytes in _FIRST_BYTES:
        head += file.read(n_bytes - len(head))
        if len(head) < _PREAMBLE or head[128:132] != b"DICM":
            return None
        try:
            found, end = _elements(head, wanted, sequences)
        except _Odd:
            return None
        except (struct.error, IndexError):
            if len(head) < n_bytes:
                return None
            continue
        file.seek(end)
        return found
    return None


def _elements(head: bytes, wanted: Collection[int], sequences: Collection[int]) -> tuple[ScannedSet, int]:
    """What is wanted, and where the pixels begin; struct.error where the bytes end before."""
    meta: dict[int, ScannedElement] = {}
    at = _PREAMBLE
    while _TAG.unpack_from(head, at)[0] == _META:
        tag, vr, start, length = _explicit(head, at)
        at = start + length
        if length == _UNDEFINED:
            raise _Odd
        meta[tag] = _element(head, start, length, vr)
    if _SYNTAX not in meta:
        raise _Odd
    syntax = meta[_SYNTAX].value.decode("latin-1").rstrip(" \0")
    is_implicit = syntax == _IMPLICIT
    if not is_implicit and syntax != _EXPLICIT and not syntax.startswith(_ENCAPSULATED):
        raise _Odd
    if is_implicit and head[at + 4 : at + 6].isalpha() and head[at + 4 : at + 6].isupper():
        raise _Odd  # encodings are there all the same
    found: dict[int, ScannedElement] = {}
    read = _implicit if is_implicit else _explicit
    while True:
        tag, vr, start, length = read(head, at)
        if tag in _PIXELS:
            return ScannedSet(found, (is_implicit, True), meta), at
        if tag in sequences or tag >> 16 <= _META or tag >> 16 == _ITEM >> 16:
            raise _Odd
        if length == _UNDEFINED:
            at = _after_items(head, start, is_implicit, vr)
            continue
        at = start + length
        if tag in wanted:
            found[tag] = _element(head, start, length, vr)


def _element(head: bytes, start: int, length: int, vr: bytes) -> ScannedElement:
    value = head[start : start + length]
    if len(value) < length:
        raise IndexError
    return ScannedElement(value, vr.decode() if vr else None)


def _explicit(head: bytes, at: int) -> tuple[int, bytes, int, int]:
    """Tag, encoding, first byte and length of the element at ``at``."""
    group, number, vr, length = _HEAD.unpack_from(head, at)
    if vr in _SHORT:
        return group << 16 | number, vr, at + 8, length
    if vr not in _LONG:
        raise _Odd
    return group << 16 | number, vr, at + 12, _LENGTH.unpack_from(head, at + 8)[0]


def _implicit(head: bytes, at: int) -> tuple[int, bytes, int, int]:
    group, number, length = _IMPLICIT_HEAD.unpack_from(head, at)
    return group << 16 | number, b"", at + 8, length


def _after_items(head: bytes, at: int, is_implicit: bool, vr: bytes) -> int:
    """Where the items of a sequence of no stated length end."""
    if vr not in (b"SQ", b""):
        raise _Odd
    while True:
        tag, _, start, length = _implicit(head, at)
        if tag == _ITEMS_END:
            return start
        if tag != _ITEM:
            raise _Odd
        at = _after_item(head, start, is_implicit, None if length == _UNDEFINED else start + length)


def _after_item(head: bytes, at: int, is_implicit: bool, end: int | None) -> int:
    """Where an item ends: at ``end``, or after a delimiter if that is None."""
    read = _implicit if is_implicit else _explicit
    while at != end:
        if end is None and _TAG.unpack_from(head, at) == (_ITEM_END >> 16, _ITEM_END & 0xFFFF):
            return at + 8
        tag, vr, start, length = read(head, at)
        if tag >> 16 == _ITEM >> 16:
            raise _Odd
        at = _after_items(head, start, is_implicit, vr) if length == _UNDEFINED else start + length
        if end is not None and at > end:
            raise _Odd
    return at
