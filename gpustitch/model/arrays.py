"""Types of arrays of the host."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# (z, y, x); None for each that is not known.
LengthsZYX = tuple[float | None, float | None, float | None]
