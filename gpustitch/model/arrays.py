"""Names of the types of host arrays and of triples along z, y, x. Each name is defined here, once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HostArray = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Integers32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

# (z, y, x) in voxels, not rounded.
PxZYX = tuple[float, float, float]
# (z, y, x); None where a length is not known.
LengthsZYX = tuple[float | None, float | None, float | None]
