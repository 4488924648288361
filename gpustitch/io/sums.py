"""Checksums of files: CRC-32, as fast as memory."""

from __future__ import annotations

from pathlib import Path

import imagecodecs

_PIECE_BYTES = 1 << 18  # which stays in the cache


def crc32_of(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """The CRC-32 of some bytes; ``before`` is that of the bytes before them."""
    return int(imagecodecs.deflate_crc32(data, before))  # type: ignore[arg-type]  # takes any bytes


def summed(path: Path) -> tuple[int, int]:
    """Size in bytes and CRC-32 of a file; OSError if it cannot be read."""
    n_bytes = crc32 = 0
    piece = bytearray(_PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        while n_read := file.readinto(piece):
            n_bytes += n_read
            crc32 = crc32_of(piece if n_read == len(piece) else piece[:n_read], crc32)
    return n_bytes, crc32
