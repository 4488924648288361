"""Counting the pixels that a correction brought to the end of their type, on a device without waiting for it."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, kernel

# Each share is counted by itself: enough of them to keep a device busy.
N_SHARES = 1024
TYPES = ("uint8", "uint16")


@kernel("cut_off.cu", T="corrected: uint8 uint16", tile=(1,), threads=(256,))
def count_at_end(raw: Array, corrected: Array, out: Array) -> None:
    """Add to each of ``out`` how many pixels of a share are at the end of their type, and were not.

    Parameters
    ----------
    raw, corrected
        Frames (frames, rows, columns) of uint8 or uint16, both of one type.
    out
        uint32 (n,), added to. Share b of the n are the pixels from ``b * size // n`` to ``(b + 1) * size // n``.
    """
    before, after = raw.reshape(-1), corrected.reshape(-1)
    at_end = (after == np.iinfo(after.dtype).max) & (before != after)
    ends = np.arange(len(out) + 1) * after.size // len(out)
    for share in np.flatnonzero(np.diff(ends)).tolist():
        out[share] += np.count_nonzero(at_end[ends[share] : ends[share + 1]])
