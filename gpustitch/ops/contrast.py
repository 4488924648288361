"""Between which values a volume is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_PERCENTILES = (1.0, 99.0)


def shown_range(voxels: npt.NDArray[Any]) -> tuple[float, float]:
    """The 1st and 99th percentile of voxels that are finite and not 0, as values of their type.

    (0, 1) if there are none. The second value is greater than the first.
    """
    lit = voxels[np.isfinite(voxels) & (voxels != 0)]
    if lit.size == 0:
        return 0, 1
    low, high = (v.item() for v in np.percentile(lit, _PERCENTILES).astype(voxels.dtype))
    return low, high if high > low else low + 1
