"""Many windows at once on a device: one copy to it, four launches, and one wait for what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Device, fetched, on, sent
from gpustitch.array.packed import Packed
from gpustitch.model import ZYX
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.align.ascend import Summit
from gpustitch.oblique.align.overlaps.climb import smooth_and_climb
from gpustitch.ops.smooth import gaussian_weights


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
    arrays = [*fixed, *moving]
    places = np.array([[*a.voxels.shape, *a.start] for a in arrays], np.int64)
    packed = Packed([a.voxels for a in arrays], [places, *(gaussian_weights(s) for s in sigma_px)])
    with on(device):
        voxels, there, *weights = packed.parts(sent(packed.host, device))
        found = fetched(smooth_and_climb(voxels, there, weights, shape))
    return [_summit(row) for row in found]


def _summit(row: npt.NDArray[np.float64]) -> Summit:
    z, y, x = (int(v) for v in row[27:30])
    return Summit((z, y, x), row[:27].reshape(3, 3, 3).copy(), bool(row[30]))
