"""Random positions of slices along their normal, of each class of spacing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def positions_of(kind: str, spacing: float, n: int, rng: np.random.Generator) -> tuple[Floats, int | None]:
    """Ascending positions of some slices of a class, and how many planes are even over them if that is exact.

    ``n`` is the number of slices, but for runs and changing spacings, whose lengths are drawn.
    """
    every = spacing * np.arange(n)
    if kind == "UNIFORM":
        return every, n
    if kind == "MISSING":
        lost = rng.choice(np.arange(1, n - 1), int(rng.integers(1, max(2, n // 12))), replace=False)
        return np.delete(every, lost), n
    if kind == "RUNS_WITH_GAPS":
        parts, at = [], 0.0
        for _ in range(int(rng.integers(2, 5))):
            parts.append(at + spacing * np.arange(int(rng.integers(5, 60))))
            at = parts[-1][-1] + spacing * rng.uniform(6.2, 200)
        return np.concatenate(parts), None
    if kind == "VARIABLE":
        gaps: list[float] = []
        factor = 1.0
        for _ in range(int(rng.integers(2, 4))):
            factor = float(rng.choice([f for f in (1, 1.5, 2, 2.5, 3, 4) if f != factor]))
            gaps += [spacing * factor] * int(rng.integers(12, 40))
        return np.concatenate([[0], np.cumsum(gaps)]), None
    return np.cumsum(spacing * rng.uniform(0.4, 2.2, n)), None
