"""Section positions: time of an update as in Fiji's z-spacing, and of the whole default solution with its error."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.common import best_seconds, report
from gpustitch.model.zspacing import ZSpacingOptions
from gpustitch.ops.zspacing import estimate_positions
from gpustitch.ops.zspacing_band import band_of
from gpustitch.ops.zspacing_compat import compat_steps

# z-spacing (Java), one thread, ms per iteration with ten inner ones, measured on a machine of the same kind.
JAVA_MS = {(400, 10): 8.8, (400, 50): 34.9, (2000, 10): 59.6, (2000, 50): 205.0}
Floats = npt.NDArray[np.float64]


def series(n: int, reach: int, pixels: int = 4000, seed: int = 0) -> tuple[Floats, Floats]:
    """Half strip of a series of sections with uneven spacing, and their true positions.

    Pixels are independent: noise and three parts, which are forgotten over 3, 8 and 25 sections.
    """
    rng = np.random.default_rng(seed)
    truth = np.cumsum(rng.uniform(0.4, 1.6, n))
    planes = np.sqrt(0.05) * rng.normal(size=(n, pixels))
    for length, share in ((3, 0.3), (8, 0.35), (25, 0.3)):
        part = rng.normal(size=pixels)
        for i in range(n):
            if i:
                kept = np.exp(-(truth[i] - truth[i - 1]) / length)
                part = kept * part + np.sqrt(1 - kept * kept) * rng.normal(size=pixels)
            planes[i] += np.sqrt(share) * part
    planes -= planes.mean(axis=1, keepdims=True)
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    strip = np.full((n, reach + 1), np.nan)
    for d in range(reach + 1):
        strip[: n - d, d] = np.einsum("ij,ij->i", planes[: n - d], planes[d:])
    return strip, truth


def error(positions: Floats, truth: Floats) -> float:
    """RMS distance to the truth after the best affine map, in sections."""
    slope, offset = np.polyfit(positions, truth, 1)
    return float(np.sqrt(np.mean((slope * positions + offset - truth) ** 2)))


def compat_ms(strip: Floats, reach: int) -> float:
    """Milliseconds of an update, in the middle of many."""
    n, options = len(strip), ZSpacingOptions(neighborhood_range=reach, compat=True)
    steps = compat_steps(band_of(strip, reach), options, np.arange(n) * 1.0, np.ones(n), np.ones(n), None)
    return 1e3 * best_seconds(lambda: next(steps), repeats=10)[0]


def measured(n: int, reach: int) -> dict[str, Any]:
    """A row of the table."""
    strip, truth = series(n, reach)
    java = JAVA_MS[n, reach]
    update = compat_ms(strip, reach)
    options = ZSpacingOptions(neighborhood_range=reach)
    plugin = estimate_positions(strip, ZSpacingOptions(neighborhood_range=reach, compat=True))
    few = ZSpacingOptions(neighborhood_range=reach, compat=True, outer_iterations=3000)
    long = error(estimate_positions(strip, few).positions, truth) if n == 400 and reach == 10 else float("nan")
    ours = estimate_positions(strip, options)
    total = 1e3 * best_seconds(lambda: estimate_positions(strip, options), repeats=3)[0]
    return {
        "sections": n,
        "range": reach,
        "compat_ms_per_update": update,
        "java_factor": java / update,
        "default_ms": total,
        "updates": ours.iterations,
        "java_100_over_default": 100 * java / total,
        "rms_before": error(np.arange(n) * 1.0, truth),
        "rms_plugin_100": error(plugin.positions, truth),
        "rms_plugin_3000": long,
        "rms_default": error(ours.positions, truth),
    }


def main() -> None:
    """Measure, print, store."""
    report("zspacing", [measured(n, reach) for n, reach in JAVA_MS])


if __name__ == "__main__":
    main()
