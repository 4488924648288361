"""Arguments of the bodies in otsu.cu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.kernels.case import Case


def frames_of(shape: tuple[int, int, int], dtype: str, value: int | None = None) -> Callable[[], dict[str, Any]]:
    """Noise with values at both ends of the type, or one ``value`` everywhere; some counts are there already."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(0)
        most = np.iinfo(dtype).max
        frames = np.minimum(rng.gamma(2, most / 10, shape), most)
        frames[rng.random(shape) < 0.1] = most
        frames[rng.random(shape) < 0.1] = 8191 % (most + 1)
        if value is not None:
            frames[...] = value
        return {"frames": frames.astype(dtype), "out": np.arange(shape[0] << 16, dtype=np.uint32).reshape(shape[0], -1)}

    return arguments


def counts_of(n_values: int, *kinds: str) -> Callable[[], dict[str, Any]]:
    """How often values occur in frames: two humps, few values, one, two that occur as often, all as often."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(3)
        counts = np.zeros((len(kinds), n_values), np.uint32)
        for row, kind in zip(counts, kinds, strict=True):
            if kind == "humps":
                for centre, size in ((0.2, 40_000), (0.6, 9_000)):
                    values = rng.normal(centre, 0.08, size).clip(0, 0.999) * n_values
                    row += np.bincount(values.astype(int), minlength=n_values).astype(np.uint32)
            elif kind == "few":
                row[rng.integers(0, n_values, 5)] = rng.integers(1, 99, 5)
            elif kind == "one":
                row[n_values // 3] = 1 << 22
            elif kind == "two":
                row[[n_values // 5, n_values - 1]] = 77
            else:
                row[...] = 3
        return {"counts": counts, "out": np.full(len(kinds), np.nan, np.float32)}

    return arguments


CASES = [
    Case("count_values_of_frames", f"{shape}-{dtype}-{value}", frames_of(shape, dtype, value))
    for shape, dtype, value in [
        ((2, 61, 83), "uint16", None), ((2, 50, 43), "uint8", None), ((1, 1, 1), "uint16", None),
        ((1, 40, 70), "uint16", 0), ((1, 40, 70), "uint16", 65535), ((1, 40, 70), "uint8", 255),
    ]
] + [
    Case("otsu_thresholds", f"{n_values} {kinds}", counts_of(n_values, *kinds))
    for n_values, kinds in [
        (1 << 16, ("humps", "few", "one")), (256, ("humps", "two")), (1000, ("even", "few")), (3, ("even", "one")),
    ]
]  # fmt: skip
