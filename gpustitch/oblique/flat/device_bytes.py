"""Device memory of applying a flat field: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpustitch.array.stated import Shaped, states
from gpustitch.oblique.flat.flatfield import flattened, inverse_flat, normalized_flat

_WRITTEN = ("uint8", "uint16", "float32")


@states(normalized_flat)
def normalized_flat_bytes(flat: Shaped) -> int:
    """The image in float64, and its quotient."""
    return 16 * flat.size


@states(inverse_flat)
def inverse_flat_bytes(flat: Shaped) -> int:
    """Where it is lit, its values there, and their inverse."""
    return flat.size * (1 + 2 * max(4, flat.dtype.itemsize) + 4)


@states(flattened)
def flattened_bytes(
    images: Shaped,
    gain: Shaped,
    dtype: np.dtype[Any],
    dark: float,
    *,
    truncate: bool = False,
    room: Shaped | None = None,
) -> int:
    """The result; for types that no body writes also float32, and for whole numbers of these two of float64."""
    if dtype.name in _WRITTEN:
        return 0 if room is not None and room.dtype == dtype else images.size * dtype.itemsize
    return images.size * (4 + dtype.itemsize + (0 if dtype.kind == "f" else 16))
