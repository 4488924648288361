"""Frames of the sheet put upright: pieces in turn, drifts of any slope, ends where no frame is, parts of the frames."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gpustitch.oblique.stream.sheet import drift_of
from tests.kernels.case import Case


def box(
    shape: tuple[int, int, int],
    dtype: str,
    slope: float,
    *,
    piece: int = 16,
    n_pieces: int = 3,
    first: int = 40,
    there: tuple[int, int] = (0, 1 << 40),
    corner: tuple[int, int] = (0, 0),
    beyond: tuple[int, int] = (0, 0),
    others: tuple[tuple[int, int], ...] = (),
) -> dict[str, Any]:
    """``out`` of ``shape`` begins at ``corner`` (plane, row) of frames that reach ``beyond`` it.

    ``others`` are boxes beside it, so many planes and frames on.
    """
    rng = np.random.default_rng(5)
    planes, rows = (n + at + more for n, at, more in zip(shape[:2], corner, beyond, strict=True))
    most = 1 if dtype == "float32" else np.iinfo(dtype).max
    frames = [(rng.random((piece, rows, planes)) * most).astype(dtype) for _ in range(n_pieces)]
    place = corner[0], first - int(drift_of(slope, planes).min())
    return {
        "frames": frames,
        "drift": drift_of(slope, planes),
        "places": np.array([place, *((place[0] + z, place[1] + f) for z, f in others)], np.int64),
        "out": np.full((1 + len(others), *shape), 7, dtype),
        "begin": there[0],
        "stop": there[1],
        "first_row": corner[1],
    }


CASES = [
    Case("upright", f"{name} {dtype}", partial(box, shape, dtype, slope, **more))
    for dtype in ("uint8", "uint16", "float32")
    for name, shape, slope, more in (
        ("one voxel", (1, 1, 1), 1.0, {}),
        ("whole slope", (9, 4, 20), 1.0, {}),
        ("no slope", (5, 3, 33), 0.0, {}),
        ("back", (70, 2, 9), -0.7, {"piece": 32, "n_pieces": 4}),
        ("steep", (20, 2, 65), 3.3, {"piece": 32, "n_pieces": 5}),
        ("more than a block of threads", (67, 3, 70), 0.99, {"piece": 64, "n_pieces": 3}),
        ("one piece", (4, 3, 8), 0.5, {"piece": 64, "n_pieces": 1}),
        ("a part", (6, 5, 12), 1.4, {"corner": (3, 2), "beyond": (5, 1)}),
        ("boxes", (3, 4, 20), 1.0, {"beyond": (7, 0), "others": ((3, 2), (6, -5), (0, 9))}),
        ("boxes of many planes", (66, 2, 9), 0.5, {"beyond": (2, 0), "others": ((2, 7),), "n_pieces": 5}),
        ("ends", (8, 3, 24), 1.0, {"there": (38, 52)}),
        ("no frames there", (8, 3, 24), 1.0, {"there": (9, 9)}),
        ("all before", (8, 2, 24), 0.6, {"first": 0, "there": (30, 44)}),
    )
]
