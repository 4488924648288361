"""Section positions: time of an update as in Fiji's z-spacing, and time and error of the default solution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench.common import best_seconds, report
from gpustitch.model.arrays import Floats
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.band import band_of
from gpustitch.sections.positions.compat import compat_steps
from gpustitch.sections.positions.estimate import estimate_positions

# z-spacing (Java), one thread, ms per iteration with ten inner iterations, measured on a machine of the same kind.
JAVA_MS = {(400, 10): 8.8, (400, 50): 34.9, (2000, 10): 59.6, (2000, 50): 205.0}
# Updates of the plugin before the comparison.
LONG = {400: 3000, 2000: 1000}


def series(n: int, max_lag: int, pixels: int = 4000, seed: int = 0) -> tuple[Floats, Floats]:
    """Half strip of a series of sections with uneven spacing, and their true positions.

    Pixels are independent: noise and three parts, whose correlation decays over 3, 8 and 25 sections.
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
    strip = np.full((n, max_lag + 1), np.nan)
    for d in range(max_lag + 1):
        strip[: n - d, d] = np.einsum("ij,ij->i", planes[: n - d], planes[d:])
    return strip, truth


def error(positions: Floats, truth: Floats) -> float:
    """RMS distance to the truth after the best affine map, in sections."""
    slope, offset = np.polyfit(positions, truth, 1)
    return float(np.sqrt(np.mean((slope * positions + offset - truth) ** 2)))


def compat_ms(strip: Floats, max_lag: int) -> float:
    """Milliseconds of an update amid many updates."""
    n, options = len(strip), EstimateOptions(max_lag=max_lag, compat=True)
    steps = compat_steps(band_of(strip, max_lag), options, np.arange(n) * 1.0, np.ones(n), np.ones(n), None)
    return 1e3 * best_seconds(lambda: next(steps), repeats=10)[0]


def seconds_until(strip: Floats, truth: Floats, max_lag: int, wanted: float) -> tuple[int, float]:
    """Updates of the default until its error is at most ``wanted``, and the seconds that they take."""
    for updates in range(1, 101):
        options = EstimateOptions(max_lag=max_lag, outer_iterations=updates)
        if error(estimate_positions(strip, options).positions, truth) <= wanted:
            return updates, best_seconds(lambda o=options: estimate_positions(strip, o), repeats=5)[0]
    return 0, float("nan")


def measured(n: int, max_lag: int) -> dict[str, Any]:
    """A row of the table. Times of the default include the uncertainties."""
    strip, truth = series(n, max_lag)
    java = JAVA_MS[n, max_lag]
    update = compat_ms(strip, max_lag)
    options = EstimateOptions(max_lag=max_lag)
    plugin, long = (
        error(estimate_positions(strip, replace(options, compat=True, outer_iterations=number)).positions, truth)
        for number in (100, LONG[n])
    )
    ours = estimate_positions(strip, options)
    total = 1e3 * best_seconds(lambda: estimate_positions(strip, options), repeats=5)[0]
    updates, until = seconds_until(strip, truth, max_lag, long)
    return {
        "sections": n,
        "range": max_lag,
        "compat_ms_per_update": update,
        "java_over_compat": java / update,
        "default_ms": total,
        "updates": ours.iterations,
        "java_100_over_default": 100 * java / total,
        "plugin_long_updates": LONG[n],
        "default_ms_until_as_good": 1e3 * until,
        "updates_until_as_good": updates,
        "java_100_over_until": 100 * java / (1e3 * until),
        "rms_before": error(np.arange(n) * 1.0, truth),
        "rms_plugin_100": plugin,
        "rms_plugin_long": long,
        "rms_default": error(ours.positions, truth),
    }


def main() -> None:
    """Measure, print, store."""
    report("zspacing", [measured(n, max_lag) for n, max_lag in JAVA_MS])


if __name__ == "__main__":
    main()
