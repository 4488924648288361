"""Frames with and without a full scale: full types, numbers of bits, plateaus, rows of one value, none of these."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.kernels.case import Case

Shape = tuple[int, int, int]
DTYPES = ("uint8", "uint16", "uint32", "float32")
MOST = {"uint8": 255, "uint16": 65535, "uint32": 2**32 - 1, "float32": 4095.5}
KINDS = ("noise", "full", "bits", "few", "plateau", "next", "rows", "even", "dark", "black", "negative")


def frames_of(kind: str, shape: Shape, dtype: str, seed: int = 0) -> npt.NDArray[Any]:
    """Noise, with what the kind says at its bright end."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(20, 200 if dtype == "uint8" else 3000, shape).astype(np.float64)
    frames += rng.random(shape) / 4 if dtype == "float32" else 0
    plateau = 230 if dtype == "uint8" else 3333
    places = rng.random(shape) < 0.2
    if kind == "full":
        frames[places] = MOST[dtype]
    elif kind in ("bits", "few"):
        frames[places if kind == "bits" else (0, 0, 0)] = 255 if dtype == "uint8" else 4095
    elif kind == "plateau":
        frames[places] = plateau
    elif kind == "next":
        frames[places] = plateau
        frames[rng.random(shape) < 0.1] = plateau - 1
    elif kind == "rows":
        frames[:, :: 3 if shape[1] > 3 else 1] = plateau
    elif kind == "even":
        frames[...] = plateau
    elif kind == "dark":
        frames = np.minimum(frames, 40)
    elif kind == "black":
        frames[...] = 0
    elif kind == "negative" and dtype == "float32":
        frames -= 1e4
    frames[rng.random(shape) < 0.05] *= 0 if kind != "even" else 1
    return frames.astype(dtype)


def scales(kind: str, shape: Shape, dtype: str, of: str) -> dict[str, Any]:
    """Room for the full scales holds other values."""
    return {"frames": frames_of(kind, shape, dtype), "out": np.full(shape[0], 7, of)}


def ends(shape: Shape, dtype: str, *scale: float) -> dict[str, Any]:
    """Destriped frames around the raw ones, some of them above the scale."""
    frames = frames_of("plateau", shape, dtype)
    rng = np.random.default_rng(1)
    out = (frames * rng.uniform(0.5, 1.5, shape)).astype(np.float32)
    return {"frames": frames, "full_scale": np.array(scale, np.float64), "out": out}


SHAPES: tuple[Shape, ...] = ((2, 37, 45), (1, 40, 300), (3, 1, 1), (1, 3, 33), (1, 70, 8))
CASES = [
    *(
        Case("full_scales", f"{kind} {dtype} {'x'.join(map(str, shape))}", partial(scales, kind, shape, dtype, of))
        for kind in KINDS
        for dtype in DTYPES
        for shape, of in zip(SHAPES, ("float32", "float64", "float32", "float32", "float64"), strict=True)
    ),
    *(
        Case("put_ends_back", f"{dtype} {'x'.join(map(str, shape))}", partial(ends, shape, dtype, *scale))
        for dtype in DTYPES
        for shape, scale in (
            ((2, 9, 31), (230 if dtype == "uint8" else 3333, np.inf)),
            ((1, 1, 1), (np.inf,)),
            ((2, 4, 70), (MOST[dtype], 100)),
        )
    ),
]
