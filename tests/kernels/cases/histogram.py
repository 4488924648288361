"""Arguments of the bodies in histogram.cu; all results are equal to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.oblique.flat.histogram import count_between as definition_of_count
from tests.kernels.case import Case

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
# dtype, frames, bins, values per bin, background
Kind = tuple[str, Shape, int, int, int]

KINDS: dict[str, Kind] = {
    "usual": ("uint16", (40, 2, 37), 1024, 4, 150),
    "all-values": ("uint16", (33, 1, 5), 65536, 1, 0),
    "odd-width": ("uint16", (70, 3, 16), 1500, 7, 3),
    "one-bin": ("uint16", (9, 2, 3), 1, 65536, 0),
    "wide-bins": ("uint16", (17, 1, 17), 3, 30000, 1),
    "beyond-the-type": ("uint16", (20, 1, 4), 70000, 70000, 0),
    "bytes": ("uint8", (50, 2, 19), 64, 3, 10),
    "every-byte": ("uint8", (300, 1, 7), 256, 1, 0),
    "long": ("uint32", (40, 2, 18), 200, 1000, 150),
    "long-bins": ("uint32", (25, 1, 3), 1200, 3_600_000, 0),
    "one-frame": ("uint16", (1, 3, 1), 100, 10, 5),
    "many-frames": ("uint16", (2100, 1, 3), 40, 11, 2),
}


def frames_of(kind: Kind) -> Array:
    """Noise around a tenth of the range, some values at both ends of the type, some pixels without counts."""
    dtype, shape, n_bins, width, background = kind
    rng = np.random.default_rng(1)
    most = np.iinfo(dtype).max
    bright = min(n_bins * width, most)
    frames = np.minimum(rng.exponential(bright / 10, shape) + background * rng.uniform(0.5, 1.5, shape), most)
    frames = frames.astype(dtype)
    frames[rng.random(shape) < 0.05] = most
    frames[rng.random(shape) < 0.05] = min(n_bins * width, most)
    frames[rng.random(shape) < 0.05] = min(n_bins * width - 1, most)
    frames[:, :, ::5] = frames[:1, :, ::5]
    frames[:, -1, -1] = 0 if background else most
    return frames


def histogram(kind: Kind, counts: str) -> Callable[[], dict[str, Any]]:
    """Histograms that already hold something are added to."""
    _, shape, n_bins, width, background = kind

    def arguments() -> dict[str, Any]:
        out = np.random.default_rng(2).integers(0, 9, (*shape[1:], n_bins)).astype(counts)
        return {"frames": frames_of(kind), "out": out, "background": background, "values_per_bin": width}

    return arguments


def full_counters() -> dict[str, Any]:
    """More frames than 16 bits count, in both halves of a word: neither runs over into the other."""
    frames = np.full((66_000, 1, 2), 5, np.uint16)
    frames[:, :, 1] = 517
    frames[::3] = 517
    return {"frames": frames, "out": np.zeros((1, 2, 1030), np.int32), "background": 0, "values_per_bin": 1}


def count_between(kind: Kind, first: int, stop: int) -> Callable[[], dict[str, Any]]:
    """A range of values, maybe empty, maybe beyond the type."""
    return lambda: {
        "frames": frames_of(kind), "out": np.full(kind[1][1:], -1, np.int32), "first": first, "stop": stop,
    }  # fmt: skip


def percentile_bin(kind: Kind, percentile: float) -> Callable[[], dict[str, Any]]:
    """The count is that of the definition."""
    _, shape, n_bins, width, background = kind

    def arguments() -> dict[str, Any]:
        frames, count = frames_of(kind), np.empty(shape[1:], np.int32)
        definition_of_count.definition(frames, count, background, n_bins * width)
        return {
            "frames": frames,
            "count": count,
            "out": np.full(shape[1:], -1, np.int32),
            "percentile": percentile,
            "n_bins": n_bins,
            "values_per_bin": width,
            "background": background,
        }

    return arguments


def few_values(percentile: float) -> Callable[[], dict[str, Any]]:
    """Ties: two bins as near to the target, empty bins between them, and the lower reached in an earlier digit."""
    values = np.array([[5, 5, 900, 900], [0, 300, 300, 301], [700, 700, 700, 700], [1, 2, 3, 4000]], np.uint16)
    return lambda: {
        "frames": np.ascontiguousarray(values.T[:, None, :]),
        "count": np.full((1, 4), 4, np.int32),
        "out": np.full((1, 4), -1, np.int32),
        "percentile": percentile,
        "n_bins": 4096,
        "values_per_bin": 1,
        "background": 0,
    }


def histogram_percentile(shape: Shape, dtype: str, percentile: float) -> Callable[[], dict[str, Any]]:
    """Histograms that are mostly empty, one wholly, one with a single bin, one with bins far apart."""

    def arguments() -> dict[str, Any]:
        rng = np.random.default_rng(4)
        counts = rng.poisson(1, shape) * (rng.random(shape) < 0.2)
        counts[0, 0] = 0
        counts[-1, -1] = 0
        counts[-1, -1, shape[2] // 2] = 40_000
        if shape[1] > 3:
            counts[0, 1] = 0
            counts[0, 1, [0, -1]] = 2
            counts[0, 2] = 0
            counts[0, 2, 3 * shape[2] // 4 :] = 1
        if dtype != "uint16":
            counts[-1, 0] += 2**31 // 8
        return {"counts": counts.astype(dtype), "out": np.full(shape[:2], -1, np.int32), "percentile": percentile}

    return arguments


PERCENTILES = (0.0, 37.5, 50.0, 95.0, 100.0)

CASES = [
    *(Case("histogram", name, histogram(kind, "uint32")) for name, kind in KINDS.items() if kind[2] < 60_000),
    *(Case("histogram", f"usual-{counts}", histogram(KINDS["usual"], counts)) for counts in ("uint16", "int32")),
    Case("histogram", "full-counters", full_counters),
    *(
        Case("count_between", f"{name}-{first}-{stop}", count_between(KINDS[name], first, stop))
        for name, first, stop in (
            ("usual", 150, 4096), ("usual", 200, 200), ("all-values", 0, 65536), ("all-values", 65535, 1 << 40),
            ("bytes", 10, 192), ("every-byte", 255, 256), ("long", 150, 200_000), ("long-bins", 0, 1 << 32),
            ("long-bins", (1 << 32) - 1, 1 << 32), ("one-frame", 5, 1000), ("many-frames", 2, 440),
        )
    ),
    *(
        Case("percentile_bin", f"{name}-{percentile:g}", percentile_bin(kind, percentile))
        for name, kind in KINDS.items()
        for percentile in (50.0, 95.0)
    ),
    *(
        Case("percentile_bin", f"usual-{percentile:g}", percentile_bin(KINDS["usual"], percentile))
        for percentile in (0.0, 37.5, 100.0)
    ),
    *(Case("percentile_bin", f"few-values-{percentile:g}", few_values(percentile)) for percentile in PERCENTILES),
    Case("percentile_bin", "no-frames", percentile_bin(("uint16", (0, 2, 3), 1024, 4, 150), 95.0)),
    *(
        Case("histogram_percentile", f"{dtype}-{percentile:g}", histogram_percentile((3, 5, 1024), dtype, percentile))
        for dtype in ("uint16", "int32", "uint32")
        for percentile in PERCENTILES
    ),
    *(
        Case("histogram_percentile", f"{'x'.join(map(str, shape))}", histogram_percentile(shape, "uint32", 50.0))
        for shape in ((1, 1, 1), (2, 9, 130), (1, 4, 31))
    ),
]  # fmt: skip
