"""Device memory of windows in overlaps: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from collections.abc import Sequence

from gpustitch.array.stated import Shaped, states
from gpustitch.model import ZYX
from gpustitch.oblique.align.ascend import MAX_STEPS
from gpustitch.oblique.align.overlaps.climb import RESULTS, smooth_and_climb


@states(smooth_and_climb)
def smooth_and_climb_bytes(
    voxels: Shaped, places: Shaped, weights: Sequence[Shaped], shape: ZYX, max_steps: int = MAX_STEPS
) -> int:
    """Two float32 arrays as large as the voxels, and the results of each walk."""
    return 8 * voxels.size + 8 * RESULTS * (places.shape[0] // 2)
