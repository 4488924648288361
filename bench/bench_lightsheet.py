"""Lightsheet destriping of one 2048 x 2048 frame on one core, against ClearMap's arithmetic, window by window.

Run with OMP_NUM_THREADS=1 for figures per core.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from bench.bench_wavelet import striped_frame
from bench.common import best_seconds, memcpy_bytes_per_s, report
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, background_estimate, centres, line_estimate


def reference_estimate(
    image: HostArray, size: tuple[int, int], spacing: tuple[int, int], step: int, dtype: Any
) -> HostArray:
    """The estimate with one call of numpy.percentile for every window, and scipy.ndimage.zoom."""
    rows, columns = (centres(n, s) for n, s in zip(image.shape, spacing, strict=True))
    values = np.zeros((len(rows), len(columns)), dtype)
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            top, left = r - size[0] // 2, c - size[1] // 2
            window = image[max(0, top) : top + size[0] : step, max(0, left) : left + size[1] : step]
            values[i, j] = np.percentile(window.flatten(), 25)
    zoom = tuple(n / m for n, m in zip(image.shape, values.shape, strict=True))
    return np.asarray(ndimage.zoom(values, zoom, order=1))


def reference(image: HostArray) -> HostArray:
    """Both estimates and the subtraction."""
    line = reference_estimate(image, (1, 150), (1, 150), 1, image.dtype)
    background = reference_estimate(image, (200, 200), (25, 25), 2, np.float32)
    return (image - np.minimum(image, np.minimum(line, 2.0 * background))).astype(np.uint16)


def main() -> None:
    """Measure the whole correction and its parts."""
    frame = striped_frame()
    options = LightsheetOptions()
    floor_s = 2 * frame.nbytes / memcpy_bytes_per_s()
    reference_s = best_seconds(lambda: reference(frame), repeats=2)[1]
    rows: list[dict[str, Any]] = []
    for case, function in (
        ("whole", lambda: Correction("lightsheet").apply(frame)),
        ("percentiles along the rows", lambda: line_estimate(frame[None], options)),
        ("percentiles of the background", lambda: background_estimate(frame[None], options)),
    ):
        ours_s = best_seconds(function, repeats=3)[1]
        rows.append(
            {
                "case": case,
                "ours_ms": ours_s * 1e3,
                "ns_per_pixel": ours_s / frame.size * 1e9,
                "times_the_floor": ours_s / floor_s,
            }
        )
    rows[0] |= {"reference_ms": reference_s * 1e3, "factor": reference_s * 1e3 / rows[0]["ours_ms"]}
    report("lightsheet", rows)


if __name__ == "__main__":
    main()
