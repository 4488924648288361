"""Many windows at once on a device: one copy to it, four launches, and one wait for what comes back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, fetched, host_room, on, sent
from gpustitch.model import ZYX
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.align.ascend import Summit
from gpustitch.oblique.align.overlaps.climb import COLUMNS, smooth_and_climb
from gpustitch.ops.smooth import gaussian_weights

# What voxels go up as; others are float32 from here on.
_SMALL = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class Placed:
    """Voxels (z, y, x) of the host, and the first voxel (z, y, x) of a window in them."""

    voxels: HostArray
    start: ZYX


def walked_together(
    fixed: Sequence[Placed], moving: Sequence[Placed], sigma_px: Sequence[float], shape: ZYX, device: Device
) -> list[Summit]:
    """Where the windows of ``fixed`` end that walk uphill from those of ``moving``, all smoothed alike, on ``device``.

    ``shape`` (z, y, x) is that of all windows, ``sigma_px`` (z, y, x) the smoothing in voxels.
    """
    packed = _Packed([*fixed, *moving], [gaussian_weights(s) for s in sigma_px])
    with on(device):
        there = sent(packed.host, device)
        found = fetched(smooth_and_climb(*packed.parts(there), shape))
    return [_summit(row) for row in found]


def sent_type(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The type in which voxels of these types go up together."""
    names = {dtype.name for dtype in dtypes}
    return np.dtype(names.pop() if len(names) == 1 and names <= {*_SMALL} else "float32")


class _Packed:
    """Shapes and starts of arrays, weights, and voxels in one piece of pinned memory, to be sent at once."""

    def __init__(self, arrays: Sequence[Placed], weights: Sequence[npt.NDArray[np.float32]]) -> None:
        self._dtype = sent_type([a.voxels.dtype for a in arrays])
        self._shape = len(arrays), max(a.voxels.size for a in arrays)
        self._weights = [w.size for w in weights]
        n_bytes = sum(self._sizes())
        # Of few sizes, as memory that was pinned once is kept for its size.
        self.host = host_room((1 << (n_bytes - 1).bit_length(),), np.uint8)[:n_bytes]
        voxels, places, along = self.parts(self.host)
        for row, array in zip(voxels, arrays, strict=True):
            row[: array.voxels.size].reshape(array.voxels.shape)[...] = array.voxels
        places[:] = [[*a.voxels.shape, *a.start] for a in arrays]
        for there, here in zip(along, weights, strict=True):
            there[:] = here

    def parts(self, memory: Any) -> tuple[Array, Array, list[Array]]:
        """Voxels, places and weights within this memory of the host or of a device."""
        places, weights, _ = self._sizes()
        along = memory[places : places + weights].view(np.float32)
        ends = np.cumsum([0, *self._weights]).tolist()
        return (
            memory[places + weights :].view(self._dtype).reshape(self._shape),
            memory[:places].view(np.int64).reshape(-1, COLUMNS),
            [along[a:b] for a, b in itertools.pairwise(ends)],
        )

    def _sizes(self) -> tuple[int, int, int]:
        """Bytes of the places, of the weights, and of the voxels."""
        return 8 * COLUMNS * self._shape[0], 4 * sum(self._weights), self._dtype.itemsize * math.prod(self._shape)


def _summit(row: npt.NDArray[np.float64]) -> Summit:
    z, y, x = (int(v) for v in row[27:30])
    return Summit((z, y, x), row[:27].reshape(3, 3, 3).copy(), bool(row[30]))
