"""Writes the smallest OLE compound files (version 3) that hold a folder of short streams, as Zeiss's do."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

SECTOR, MINI = 512, 64
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
STORAGE, STREAM, ROOT = 1, 2, 5


def write_ole(path: Path, folder: str, streams: Mapping[str, bytes]) -> Path:
    """One storage with streams of less than 4096 bytes each, all in the mini stream."""
    mini, mini_fat, starts = b"", [], []
    for data in streams.values():
        starts.append(len(mini_fat) if data else END)
        n = -(-len(data) // MINI)
        mini_fat += [*range(len(mini_fat) + 1, len(mini_fat) + n), END][:n]
        mini += data.ljust(n * MINI, b"\0")
    n_folders, n_mini = -(-(len(streams) + 2) // 4), -(-len(mini) // SECTOR)
    first_mini = 2 + n_folders
    entries = [_entry("Root Entry", ROOT, child=1, start=first_mini if n_mini else END, size=len(mini))]
    entries.append(_entry(folder, STORAGE, child=2 if streams else FREE))
    for number, (name, data) in enumerate(streams.items()):
        right = number + 3 if number + 1 < len(streams) else FREE
        entries.append(_entry(name, STREAM, right=right, start=starts[number], size=len(data)))
    fat = [FAT, END, *_chain(2, n_folders), *_chain(first_mini, n_mini)]
    sectors = [_table(fat), _table(mini_fat), b"".join(entries).ljust(n_folders * SECTOR, b"\0")]
    path.write_bytes(_header() + b"".join(sectors) + mini.ljust(n_mini * SECTOR, b"\0"))
    return path


def _header() -> bytes:
    start = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    start += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    start += struct.pack("<IIIIIIIIII", 0, 1, 2, 0, 4096, 1, 1, END, 0, 0)
    return start + struct.pack("<108I", *([FREE] * 108))


def _chain(first: int, n: int) -> list[int]:
    return [*range(first + 1, first + n), END][:n]


def _table(entries: list[int]) -> bytes:
    return struct.pack("<128I", *(entries + [FREE] * (128 - len(entries))))


def _entry(name: str, kind: int, *, right: int = FREE, child: int = FREE, start: int = 0, size: int = 0) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    entry = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, FREE, right, child)
    return entry + bytes(36) + struct.pack("<III", start, size, 0)
