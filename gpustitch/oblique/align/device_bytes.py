"""Device memory of comparing windows: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from collections.abc import Sequence

import scipy

from gpustitch.array.stated import Shaped, states
from gpustitch.model import Spacing
from gpustitch.oblique.align.blob_lists import listed_blobs
from gpustitch.oblique.align.blobs import find_blobs
from gpustitch.oblique.align.search import correlate_all_shifts
from gpustitch.ops.device_bytes import smooth_bytes


@states(correlate_all_shifts)
def correlate_all_shifts_bytes(fixed: Shaped, moving: Shaped) -> int:
    """Both arrays about their means, three spectra, and the room of a transform, which is as large again."""
    z, y, x = (scipy.fft.next_fast_len(n, True) for n in moving.shape)
    spectrum = 8 * z * y * (x // 2 + 1)
    return 4 * (fixed.size + moving.size) + 5 * spectrum


@states(find_blobs)
def find_blobs_bytes(volume: Shaped, spacing: Spacing, *, radius_um: float = 2.0, surround: float = 3.0) -> int:
    """The contrast, and a Gaussian of the volume, or of its magnitudes, while it is made."""
    magnitudes = 0 if volume.dtype.kind == "u" else 9 * volume.size
    return 4 * volume.size + smooth_bytes(volume, (1, 1, 1)) + magnitudes


@states(listed_blobs)
def listed_blobs_bytes(
    voxels: Shaped,
    places: Shaped,
    offsets: Shaped,
    narrow: Sequence[Shaped],
    wide: Sequence[Shaped],
    rounding: float,
    most: int,
    has_negative: bool,
) -> int:
    """Three float32 arrays as large as the voxels, their magnitudes where some are negative, and the lists."""
    return 12 * voxels.size + has_negative * voxels.nbytes + 8 * voxels.shape[0] * (1 + 2 * most)
