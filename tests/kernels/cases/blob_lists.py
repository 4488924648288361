"""Local maxima of arrays of several shapes: with voxels of one value, too thin ones, balls of several sizes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gpustitch.oblique.align.blobs import ball
from tests.kernels.case import Case

SHAPES = ((9, 12, 40), (7, 7, 7), (6, 30, 30), (12, 9, 11), (1, 1, 1))
ROOM = max(int(np.prod(shape)) for shape in SHAPES)
# So many arrays as this are longer than one turn of a block.
LONG = (20, 21, 22)


def rows(values: Any, shapes: Any = SHAPES) -> Any:
    """Arrays at the beginnings of rows; what lies behind each is nothing to be read."""
    room = max(int(np.prod(shape)) for shape in shapes)
    made = np.full((len(shapes), room), np.nan, np.float32)
    for row, shape in zip(made, shapes, strict=True):
        row[: int(np.prod(shape))] = values(shape).ravel()
    return made


def marked(radius: float, distinct: int, part_nan: float) -> dict[str, Any]:
    """Values of which many touch their equals, where ``distinct`` are few."""
    rng = np.random.default_rng(int(radius * 10))

    def values(shape: tuple[int, ...]) -> Any:
        made = rng.integers(-2, distinct, shape).astype(np.float32)
        made[rng.random(shape) < part_nan] = np.nan
        return made

    contrast, level = rows(values), rows(lambda shape: rng.uniform(0, 4, shape))
    offsets = np.array(ball([radius, 1.2 * radius, radius]), np.int64).reshape(-1, 3)
    places = np.array([[*shape, 9, 9, 9] for shape in SHAPES])
    out = np.full(contrast.shape, 7, np.float32)
    arrays = {"contrast": contrast, "level": level, "places": places, "offsets": offsets}
    return {**arrays, "rounding": 0.4, "out": out}


def listed(part: float, most: int) -> dict[str, Any]:
    """A part of voxels is marked; of more than ``most`` only the number is told."""
    rng, shapes = np.random.default_rng(5), (*SHAPES, LONG)
    found = rows(lambda shape: rng.uniform(1, 9, shape) * (rng.random(shape) < part), shapes)
    out = np.full((len(shapes), 1 + 2 * most), 7.0)
    return {"marked": found, "places": np.array([[*shape] for shape in shapes]), "out": out}


CASES = [
    *(
        Case("mark_blobs", f"radius {radius:g}, {distinct} values{', some NaN' if nan else ''}",
             partial(marked, radius, distinct, nan))
        for radius, distinct, nan in ((1.0, 3, 0.0), (2.0, 1000, 0.0), (2.0, 5, 0.02), (0.5, 3, 0.0), (0.9, 4, 0.1))
    ),
    *(Case("list_blobs", f"{part:g} of them, {most} listed", partial(listed, part, most))
      for part, most in ((0.0, 4), (0.02, 400), (0.5, 30), (1.0, 9240))),
]  # fmt: skip
