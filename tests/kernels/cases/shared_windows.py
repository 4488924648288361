"""Arguments of the bodies in shared_windows.cu: cells of one sample, of one run and of many; every phase of a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.oblique.destripe.shared_windows import RUN, Cells, cells_of, sort_runs
from tests.kernels.case import Case
from tests.kernels.cases.percentile import LEAST_NORMAL, images_of

Size = tuple[int, int]


def cells(length: int, spacing: int, size: int, step: int) -> Cells:
    """Windows of a size at a spacing, cut off at the ends."""
    centres = np.arange(spacing // 2, max(spacing // 2 + 1, length), spacing)
    starts = np.clip(centres - size // 2, 0, length - 1)
    return cells_of(starts, np.clip(centres - size // 2 + size, starts + 1, length), step)


def sorting(
    shape: tuple[int, int, int], dtype: str, spacing: int, size: Size, step: int, value: float | None = None
) -> Callable[[], dict[str, Any]]:
    """Images and cells; ``value`` fills a part of the images. What no cell holds stays as it is."""

    def arguments() -> dict[str, Any]:
        images = images_of(shape, dtype, 700.0)
        if value is not None:
            images[..., : shape[2] // 2] = value
        down, across = (cells(n, spacing, long, step) for n, long in zip(shape[1:], size, strict=True))
        return {
            "images": images, "row_cells": down.spans, "column_cells": across.spans,
            "out": np.ones(shape, dtype), "step": step,
        }  # fmt: skip

    return arguments


def selecting(
    shape: tuple[int, int, int], dtype: str, spacing: int, size: Size, step: int, fraction: float,
    value: float | None = None, bright: float = 700.0,
) -> Callable[[], dict[str, Any]]:  # fmt: skip
    """Images whose cells are in order."""

    def arguments() -> dict[str, Any]:
        images: npt.NDArray[Any] = images_of(shape, dtype, bright)
        if value is not None:
            images[..., : shape[2] // 2] = value
        down, across = (cells(n, spacing, long, step) for n, long in zip(shape[1:], size, strict=True))
        runs = np.ones(shape, dtype)
        sort_runs.definition(images, down.spans, across.spans, runs, step)
        return {
            "runs": runs, "row_cells": down.spans, "column_cells": across.spans, "row_ranges": down.ranges,
            "column_ranges": across.ranges, "out": np.full((shape[0], len(down.ranges), len(across.ranges)), -1.0, "f"),
            "step": step, "n_runs": -(-down.longest * across.longest // RUN), "fraction": fraction,
        }  # fmt: skip

    return arguments


DTYPES = ("uint8", "uint16", "uint32", "float32")
SIZES = (
    ((2, 61, 70), 9, (24, 30), 2, 0.25),
    ((1, 90, 83), 25, (60, 70), 1, 0.4),
    ((1, 40, 53), 7, (40, 50), 3, 0.9),
    ((2, 1, 1), 3, (3, 3), 2, 0.5),
    ((1, 1, 300), 25, (1, 300), 1, 0.0),
    ((1, 130, 2), 11, (30, 9), 2, 1.0),
    ((1, 30, 26), 5, (2, 3), 1, 0.3),
)
# More runs in a window than lanes remember, and cells of many runs.
MANY = ((1, 120, 150), 60, (119, 149), 1, 0.25)

CASES = [
    *(
        Case("sort_runs", f"{dtype}-{'x'.join(map(str, shape))}-{step}", sorting(shape, dtype, spacing, size, step))
        for dtype in DTYPES
        for shape, spacing, size, step, _ in SIZES
    ),
    Case("sort_runs", "full", sorting((1, 20, 30), "uint32", 9, (18, 18), 2, value=2**32 - 1)),
    Case("sort_runs", "nan", sorting((1, 20, 30), "float32", 9, (18, 18), 2, value=np.nan)),
    *(
        Case(
            "percentiles_of_runs", f"{dtype}-{'x'.join(map(str, shape))}-{step}-{fraction}",
            selecting(shape, dtype, spacing, size, step, fraction),
        )
        for dtype in DTYPES
        for shape, spacing, size, step, fraction in (*SIZES, MANY)
    ),
    Case("percentiles_of_runs", "full", selecting((1, 20, 30), "uint32", 9, (18, 18), 2, 0.3, value=2**32 - 1)),
    Case("percentiles_of_runs", "wide", selecting((1, 20, 30), "uint32", 9, (18, 18), 2, 0.4, bright=1e9)),
    Case("percentiles_of_runs", "infinity", selecting((1, 20, 30), "float32", 9, (18, 18), 2, 0.2, value=-np.inf)),
    Case(
        "percentiles_of_runs", "tiny", selecting((1, 20, 30), "float32", 9, (18, 18), 2, 0.4, bright=1e-36),
        atol=LEAST_NORMAL,
    ),
]  # fmt: skip
