"""Operations on unsigned numbers, for signed ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

HostArray = npt.NDArray[Any]

_HALF = np.uint16(1 << 15)


def signed_too(op: Callable[[HostArray], HostArray]) -> Callable[[HostArray], HostArray]:
    """``op``, which takes unsigned voxels, for int16 too.

    They are shifted by 32768 before and back after it. That is exact for what keeps between the least and the greatest
    of its voxels and moves with them, such as their mean: 32768 is even, so that halves are rounded to the same side.
    """

    def either(voxels: HostArray) -> HostArray:
        if voxels.dtype != np.int16:
            return op(voxels)
        return (op(voxels.view(np.uint16) ^ _HALF) ^ _HALF).view(np.int16)

    return either
