"""Device memory of de-obliquing: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from gpustitch.array.stated import Shaped, states
from gpustitch.model import Box
from gpustitch.oblique.deskew.deoblique import deoblique


@states(deoblique)
def deoblique_bytes(frames: Shaped, box: Box, shear: float, *, first_frame: int = 0, out: Shaped | None = None) -> int:
    """The voxels, unless there is room for them, and two numbers for each plane."""
    return (0 if out is not None else box.size * frames.dtype.itemsize) + 12 * box.shape[0]
