"""Arguments of the body in robust_rows.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpustitch.oblique.destripe.guarded_notch.robust_rows import low_pass_matrix
from gpustitch.oblique.destripe.guarded_notch.window_grid import MOST_WINDOWS
from tests.kernels.case import Case

# Means of numbers of up to about 10, from sums in another order; and what this does to the weights of the next mean.
TOLERANCE = 2e-5


def rows_of(
    frames: int, rows: int, windows: int, sigma: float, strength: float, least: float = 0.1, value: float | None = None
) -> Callable[[], dict[str, Any]]:
    """Rows of noise about means of their own, with outliers; weights from ``least`` to 1; or one ``value``.

    Every third row has another strength.
    """

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        values = rng.normal(0, 0.1, (frames, rows, windows)) + rng.normal(0, 1, (frames, rows, 1))
        values[rng.random(values.shape) < 0.1] += 8
        if value is not None:
            values[...] = value
        return {
            "values": values.astype(np.float32),
            "weights": np.maximum(rng.random(values.shape), least).astype(np.float32),
            "matrix": low_pass_matrix(windows, sigma).copy(),
            "strengths": np.where(np.arange(rows) % 3 == 1, 0.7 - 0.7 * strength, strength).astype(np.float32),
            "out": np.full(values.shape, np.nan, np.float32),
        }

    return arguments


CASES = [
    Case("robust_low_pass", f"{n}", rows_of(*n), atol=TOLERANCE)
    for n in (
        (2, 5, 64, 2.0, 1.0), (1, 3, 1, 1.0, 1.0), (1, 1, 33, 0.0, 0.5), (2, 4, 65, 9.0, 0.0), (1, 2, 7, 40.0, 1.0),
        (1, 1, 130, 3.0, 1.0, 1e-6), (1, 1, MOST_WINDOWS, 20.0, 1.0), (1, 2, 40, 3.0, 1.0, 0.1, 0.0),
        (1, 2, 40, 3.0, 1.0, 0.1, 4.3),
    )
]  # fmt: skip
