"""Types of arrays of the host, and of triples along z, y, x: each has its name here, once."""

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

# (z, y, x) in voxels, to a fraction of one.
PxZYX = tuple[float, float, float]
# (z, y, x); None for each that is not known.
LengthsZYX = tuple[float | None, float | None, float | None]
