"""Step: cuCIM against scikit-image, and its time beside that of gpustitch's own code, or CuPy's, for the same.

What is used where is decided by such figures: own code stays where it is faster.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from bench.gpu_check.step import Asked, device_of
from bench.gpu_check.transfers import best_seconds
from gpustitch.array import namespace, scipy_of, to_device, to_host
from gpustitch.oblique.align.blobs import MARGIN_PX, local_maxima
from gpustitch.ops.smooth import gaussian, smooth
from gpustitch.sections.similarity.laid import peak

PLANE, SMALL_PLANE = (2048, 2048), (60, 70)
WINDOW, SMALL_WINDOW = (96, 96, 96), (14, 15, 16)
RADIUS_PX = (1.6, 1.1, 1.6)
REACH_PX = 20


@dataclass(frozen=True)
class Row:
    """A function of scikit-image and cuCIM, and what else does it on a device.

    ``function`` and ``other`` take the same arrays. Results may be ``allowed`` apart.
    """

    what: str
    arrays: tuple[Any, ...]
    function: Callable[..., Any]
    other: Callable[..., Any] | None = None
    allowed: float = 0.0


def cucim(asked: Asked) -> None:
    """A row for each function: how far cuCIM is from scikit-image, and what it and the other one take."""
    cupy, device = device_of()
    wrong = []
    for row in rows(is_small=asked.is_small):
        try:
            there = [to_device(array, device) for array in row.arrays]
            apart = _apart(row.function(*row.arrays), row.function(*there))
            figures = {"cuCIM_ms": _ms(cupy, row.function, there)}
            if row.other is not None:
                figures["other_ms"] = _ms(cupy, row.other, there)
        except ImportError:
            raise
        except Exception as error:
            asked.add(row.what, error=f"{type(error).__name__}: {error}")
            apart = float("nan")
        else:
            asked.add(row.what, figures, most_apart=apart, allowed=row.allowed)
        if not apart <= row.allowed:
            wrong.append(row.what)
    if wrong:
        raise AssertionError(f"cuCIM fails, or differs from scikit-image: {'; '.join(wrong)}")


def rows(*, is_small: bool) -> Iterator[Row]:
    """What gpustitch uses of cuCIM, or could use instead of its own code."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=SMALL_PLANE if is_small else PLANE).astype(np.float32)
    window = rng.normal(100, 20, SMALL_WINDOW if is_small else WINDOW).astype(np.float32)
    for sigma in (1.5, 8.0, 32.0):
        yield Row(
            f"filters.gaussian, {sigma} px, beside CuPy's",
            (plane,),
            lambda array, sigma=sigma: gaussian(array, sigma),
            lambda array, sigma=sigma: scipy_of(array).ndimage.gaussian_filter(array, sigma),
            1e-5,
        )
    yield Row("filters.gaussian of a window, beside smooth", (window,), _smoothed, lambda a: smooth(a, RADIUS_PX), 1e-3)
    yield Row("filters.threshold_otsu", (plane,), _otsu, allowed=0.05)
    spots = ndimage.gaussian_filter(plane, 3) > 0.02
    yield Row("measure.label, beside CuPy's", (spots,), _label_sizes, lambda a: scipy_of(a).ndimage.label(a))
    contrast = ndimage.gaussian_filter(window, RADIUS_PX) - ndimage.gaussian_filter(window, [3 * r for r in RADIUS_PX])
    yield Row("feature.peak_local_max, beside local_maxima", (contrast,), maxima, _own_maxima)
    moved = np.roll(plane, (5, -7), axis=(0, 1))
    yield Row("registration.phase_cross_correlation, beside peak", (plane, moved), _shift, _own_shift)


def _of(array: Any, name: str) -> Any:
    """The module of scikit-image, or of cuCIM, that works on an array."""
    return importlib.import_module(f"{'skimage' if namespace(array) is np else 'cucim.skimage'}.{name}")


def _smoothed(array: Any) -> Any:
    return _of(array, "filters").gaussian(array, RADIUS_PX, mode="reflect", preserve_range=True, channel_axis=None)


def _otsu(array: Any) -> Any:
    return namespace(array).asarray(float(_of(array, "filters").threshold_otsu(array)))


def _label_sizes(array: Any) -> Any:
    """Sizes of the areas, sorted: the two may number them in different orders."""
    xp = namespace(array)
    return xp.sort(xp.bincount(_of(array, "measure").label(array, connectivity=1).ravel()))


def maxima(contrast: Any) -> Any:
    """Numbers of the voxels, sorted."""
    xp = namespace(contrast)
    peaks = _of(contrast, "feature").peak_local_max
    found = peaks(contrast, min_distance=1, threshold_abs=0.0, exclude_border=MARGIN_PX)
    _, height, width = contrast.shape
    return xp.sort(found[:, 0] * (height * width) + found[:, 1] * width + found[:, 2])


def _own_maxima(contrast: Any) -> Any:
    return local_maxima(contrast, namespace(contrast).zeros_like(contrast), RADIUS_PX)


def _shift(fixed: Any, moving: Any) -> Any:
    found = _of(fixed, "registration").phase_cross_correlation(fixed, moving, normalization=None)[0]
    return namespace(fixed).asarray(found)


def _own_shift(fixed: Any, moving: Any) -> Any:
    return peak(fixed, moving, REACH_PX)


def _apart(host: Any, device: Any) -> float:
    """Largest difference; infinite if shapes differ."""
    found = to_host(device)
    if np.shape(host) != np.shape(found):
        return float("inf")
    return float(np.abs(np.asarray(host, np.float64) - found).max()) if np.size(host) else 0.0


def _ms(cupy: Any, function: Callable[..., Any], arrays: list[Any]) -> float:
    return 1e3 * best_seconds(cupy, lambda: function(*arrays))
