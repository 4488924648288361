"""Device memory of making planes between sections: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpustitch.array.stated import Shaped, states
from gpustitch.regrid.zresample import planes_between


@states(planes_between)
def planes_between_bytes(
    sections: Sequence[Shaped], lower: npt.ArrayLike, upper: npt.ArrayLike, weight: npt.ArrayLike
) -> int:
    """The planes, and for each of them three numbers, for each section its place in memory and its length."""
    n = len(np.asarray(lower))
    return n * sections[0].nbytes + 20 * n + 16 * len(sections)
