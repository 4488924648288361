"""What the levels of a volume should hold: each is halved from the one before, along the axes that are due."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from gpustitch.model import ZYX, Spacing, level_factors
from gpustitch.ops.pyramid import downsample


def levels_of(voxels: Any, spacing: Spacing, n: int, halve: Callable[..., Any] = downsample) -> Iterator[Any]:
    """The voxels of ``n`` levels, fine to coarse."""
    yield voxels
    for fine, coarse in itertools.pairwise(level_factors(spacing, n)):
        factors: ZYX = tuple(b // a for a, b in zip(fine, coarse, strict=True))  # type: ignore[assignment]
        voxels = halve(voxels, factors=factors)
        yield voxels
