"""Arguments of the body in otsu.cu."""

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


CASES = [
    Case("count_values_of_frames", f"{shape}-{dtype}-{value}", frames_of(shape, dtype, value))
    for shape, dtype, value in [
        ((2, 61, 83), "uint16", None), ((2, 50, 43), "uint8", None), ((1, 1, 1), "uint16", None),
        ((1, 40, 70), "uint16", 0), ((1, 40, 70), "uint16", 65535), ((1, 40, 70), "uint8", 255),
    ]
]  # fmt: skip
