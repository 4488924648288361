"""Sums of what arrays share: shifts at which they do not meet, mirror images along each axis, masks."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from gpustitch.oblique.align.shifts.shared_sums import MASKED_PAIRS, PAIRS
from tests.kernels.case import Case

FIXED, MOVING, LOW, COUNTS = (5, 4, 7), (6, 3, 5), (-7, -1, 2), (13, 4, 3)
PADDED = (14, 6, 12)
MIRRORS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))


def ranges(dtype: str, axis: int) -> dict[str, Any]:
    """The pass along an axis; the first one, of float32, also makes squares."""
    rng, n_values = np.random.default_rng(axis), 4 if dtype == "float64" else 2
    shapes = []
    for i in range(4):
        own, times = (FIXED, 2) if i % 2 == 0 else (MOVING, 1)
        shapes.append([times * n if done < axis else m for done, n, m in zip(range(3), COUNTS, own, strict=True)])
    room = max(int(np.prod(shape)) for shape in shapes)
    values = rng.normal(0, 9, (n_values, room)).astype(dtype)
    n = COUNTS[axis]
    out = np.full((4, max(int(np.prod(s)) // s[axis] * 2 * n for s in shapes) + 1), 7.0)
    numbers = {"axis": axis, "n_fixed": FIXED[axis], "n_moving": MOVING[axis], "low": LOW[axis], "n_shifts": n}
    return {"values": values, "shapes": np.array(shapes), **numbers, "out": out}


def multiplied(pairs: Any) -> dict[str, Any]:
    """Spectra of an odd and an even length."""
    rng, n = np.random.default_rng(4), max(itertools.chain.from_iterable(pairs)) + 1
    fixed, moving = (rng.normal(0, 1, (n, 3, 4, 2 * 5)).astype(np.float32) for _ in range(2))
    out = np.full((len(MIRRORS) * len(pairs), *fixed.shape[1:]), 7, np.float32)
    return {"fixed": fixed, "moving": moving, "pairs": np.array(pairs), "mirrors": np.array(MIRRORS), "out": out}


def shared(is_masked: bool) -> dict[str, Any]:
    """Correlations that go round, with sums over ranges or in their place."""
    rng, n_pairs = np.random.default_rng(5), len(MASKED_PAIRS if is_masked else PAIRS)
    products = rng.uniform(-1, 30, (len(MIRRORS) * n_pairs, *PADDED)).astype(np.float32)
    sums = rng.uniform(1, 90, (4 * (not is_masked), 8 * int(np.prod(COUNTS)) + 2))
    reach = np.array([FIXED, MOVING, LOW]).T.copy()
    out = np.full((len(MIRRORS), 6, *COUNTS), 7.0)
    return {"products": products, "sums": sums, "reach": reach, "mirrors": np.array(MIRRORS), "out": out}


def added() -> dict[str, Any]:
    """Counts of 0 and 1, and variances about the rounding."""
    rng = np.random.default_rng(6)
    sums = rng.uniform(0, 2, (3, 6, 300))
    sums[:, 0] = rng.integers(0, 4, (3, 300))
    return {"sums": sums, "most": rng.uniform(5, 9, (3, 2)), "rounding": 0.1, "out": rng.uniform(0, 1, (3, 4, 300))}


def correlated() -> dict[str, Any]:
    """Covariances beyond the variances too; one image has no variance at all."""
    rng = np.random.default_rng(7)
    sums = rng.uniform(-0.1, 1, (3, 4, 300))
    sums[:, 1] -= 0.5
    sums[2, 2:] = 0
    return {"sums": sums, "most": sums[:, 2:].max(axis=2), "faint": 0.01, "out": np.full((3, 2, 300), 7.0)}


CASES = [
    *(Case("range_sums", f"{dtype} axis {axis}", partial(ranges, dtype, axis), rtol=1e-12, atol=1e-11)
      for dtype, axis in (("float32", 0), ("float64", 1), ("float64", 2))),
    *(Case("mirrored_products", f"{len(pairs)} pairs", partial(multiplied, pairs), rtol=1e-6, atol=1e-6)
      for pairs in (PAIRS, MASKED_PAIRS)),
    *(Case("shared_sums", f"masked {is_masked}", partial(shared, is_masked), rtol=1e-12, atol=1e-10)
      for is_masked in (False, True)),
    Case("add_shared", "three images", added, rtol=1e-15),
    Case("correlations", "three images", correlated, rtol=1e-14),
]  # fmt: skip
