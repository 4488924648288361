"""Resampling along z: every type, signed too; planes at, between and beyond sections; NaN; odd sizes; views."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gpustitch.regrid.plan import node_centers, node_weights, sorted_series
from tests.kernels.case import Case

TYPES = ("uint8", "uint16", "float32")
SIGNED = (("uint8", False), ("uint16", False), ("uint8", True), ("uint16", True), ("float32", False))


def sections(n: int, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """Sections of the whole range of numbers, many saturated; of floats with NaN and infinity among them."""
    rng = np.random.default_rng(n + sum(shape))
    if dtype == "float32":
        stack = rng.normal(0, 1e4, (n, *shape)).astype(dtype)
        stack[rng.random(stack.shape) < 0.02] = np.nan
        stack[rng.random(stack.shape) < 0.01] = np.inf
    else:
        stack = rng.integers(0, np.iinfo(dtype).max, (n, *shape), dtype, endpoint=True)
        stack[rng.random(stack.shape) < 0.2] = np.iinfo(dtype).max
    return [np.ascontiguousarray(section) for section in stack]


def straight(n: int, n_pixels: int, n_planes: int, dtype: str, is_signed: bool, seed: int = 0) -> dict[str, Any]:
    """Planes between sections in ascending order, some of them at a section or without data."""
    rng = np.random.default_rng(seed)
    lower = np.sort(rng.integers(0, n, n_planes))
    upper = np.minimum(lower + 1, n - 1)
    weight = rng.random(n_planes).astype(np.float32)
    weight[rng.random(n_planes) < 0.3] = 0
    weight[rng.random(n_planes) < 0.2] = 0.5
    nothing = rng.random(n_planes) < 0.2
    lower[nothing] = upper[nothing] = -1
    return {
        "sections": sections(n, (n_pixels,), dtype),
        "lower": lower.astype(np.int64),
        "upper": upper.astype(np.int64),
        "weight": weight,
        "is_signed": is_signed,
        "out": np.full((n_planes, n_pixels), 77, dtype),
    }


def scattered(dtype: str) -> dict[str, Any]:
    """Planes between any two sections, in any order; weights of 1."""
    rng = np.random.default_rng(3)
    case = straight(9, 301, 40, dtype, False)
    case["lower"], case["upper"] = rng.integers(0, 9, (2, 40))
    case["weight"][::5] = 1
    return case


def shifted(dtype: str) -> dict[str, Any]:
    """Sections and planes that do not begin at a whole word."""
    case = straight(5, 2100, 20, dtype, False)
    stack = np.concatenate([np.zeros(3, dtype), *case["sections"]])[3:].reshape(5, 2100)
    case["sections"] = list(stack)
    case["out"] = np.full(20 * 2100 + 1, 77, dtype)[1:].reshape(20, 2100)
    return case


def local(
    n: int,
    shape: tuple[int, int, int],
    grid: tuple[int, int],
    dtype: str,
    *,
    is_signed: bool = False,
    nearest: bool = False,
    bend: float = 2.0,
    limit: float = np.inf,
    start: int = 0,
) -> dict[str, Any]:
    """Sections that are bent by up to ``bend`` of their distance, some of them touching; planes beyond them too."""
    rng = np.random.default_rng(n)
    wanted = np.cumsum(rng.uniform(0.2, 2, n))[:, None, None] + bend * rng.random((n, *grid))
    positions = np.maximum.accumulate(np.round(wanted, 1), axis=0)
    rows, columns = (node_weights(m, node_centers(m, g)) for m, g in zip(shape[1:], grid, strict=True))
    return {
        "sections": sections(n, shape[1:], dtype),
        "positions": positions,
        "limits": np.full(n - 1, limit),
        "row_node": rows[0],
        "row_weight": rows[1],
        "column_node": columns[0],
        "column_weight": columns[1],
        "first": -1.0,
        "step": 0.7,
        "start": start,
        "nearest": nearest,
        "is_signed": is_signed,
        "out": np.full(shape, 77, dtype),
    }


def flat_local(dtype: str) -> dict[str, Any]:
    """Positions that are the same everywhere, planes at the sections and in the middle between them."""
    case = local(8, (17, 5, 9), (2, 3), dtype)
    case["positions"][...] = np.arange(8.0)[:, None, None]
    case["first"], case["step"] = -0.5, 0.5
    return case


def crossed(dtype: str) -> dict[str, Any]:
    """Positions in no order at all nodes, as they are made to ascend."""
    case = local(13, (20, 6, 7), (3, 3), dtype)
    grids = np.random.default_rng(1).uniform(0, 12, (13, 3, 3))
    case["positions"] = sorted_series(grids).positions
    n = len(case["positions"])
    case["sections"], case["limits"] = sections(n, (6, 7), dtype), np.full(n - 1, 3.0)
    return case


CASES = [
    *(
        Case("resample_z", f"{name} {'signed ' * is_signed}{dtype}",
             partial(straight, n, pixels, planes, dtype, is_signed))
        for dtype, is_signed in SIGNED
        for name, n, pixels, planes in (
            ("one voxel", 1, 1, 1),
            ("one section", 1, 37, 5),
            ("more planes than sections", 6, 2048, 33),
            ("fewer planes than sections", 40, 4100, 17),
            ("odd end", 7, 2055, 16),
        )
    ),
    *(Case("resample_z", f"scattered {dtype}", partial(scattered, dtype)) for dtype in TYPES),
    *(Case("resample_z", f"shifted {dtype}", partial(shifted, dtype)) for dtype in TYPES),
    *(
        Case("resample_local", f"{name} {'signed ' * is_signed}{dtype}", partial(
            local, n, shape, grid, dtype, is_signed=is_signed, **options))
        for dtype, is_signed in SIGNED
        for name, n, shape, grid, options in (
            ("one voxel", 2, (1, 1, 1), (1, 1), {}),
            ("one node", 9, (30, 3, 5), (1, 1), {}),
            ("bent", 20, (37, 5, 70), (2, 3), {}),
            ("nearest", 12, (20, 7, 9), (4, 5), {"nearest": True}),
            ("gaps", 20, (33, 9, 11), (3, 2), {"limit": 1.5}),
            ("later planes", 10, (9, 5, 6), (2, 2), {"start": 9}),
            ("before all", 4, (3, 5, 6), (2, 2), {"start": -90}),
        )
    ),
    *(Case("resample_local", f"flat {dtype}", partial(flat_local, dtype)) for dtype in TYPES),
    *(Case("resample_local", f"crossed {dtype}", partial(crossed, dtype)) for dtype in TYPES),
]  # fmt: skip
