"""Small pictures of images, as PNG in text that a page holds."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np

from gpustitch.model.arrays import Floats32, HostArray

# Longest side of a picture in the page, pixels.
_LONGEST = 900


def contrast(*images: HostArray) -> tuple[float, float]:
    """Counts (low, high) between which what images show is seen: percentiles 1 and 99.7 of what is not 0."""
    values = np.concatenate([np.asarray(image, np.float32).ravel() for image in images])
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (1, 99.7)))
    return low, high if high > low else low + 1


def grey(image: HostArray, low: float, high: float) -> str:
    """An image (rows, columns) as a grey picture: the address that a page shows it by."""
    return _png(_levels(_smaller(image), low, high))


def magenta_green(first: HostArray, second: HostArray, limits: tuple[float, float]) -> str:
    """Two images of one shape: the first magenta, the second green, white where they agree."""
    a, b = _levels(first, *limits), _levels(second, *limits)
    return _png(np.stack([a, b, a], axis=2))


def enlarged(image: HostArray, times: tuple[float, float]) -> HostArray:
    """An image whose pixels (rows, columns) are repeated, to true proportions."""
    rows, columns = (
        np.minimum((np.arange(round(n * t)) / t).astype(int), n - 1) for n, t in zip(image.shape, times, strict=True)
    )
    out: HostArray = image[rows][:, columns]
    return out


def _smaller(image: HostArray) -> HostArray:
    """Means of blocks of pixels, so that no side is too long."""
    step = -(-max(image.shape) // _LONGEST)
    if step <= 1:
        return image
    rows, columns = (n // step * step for n in image.shape)
    if not rows or not columns:
        return image[::step, ::step]
    blocks = image[:rows, :columns].reshape(rows // step, step, columns // step, step)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _levels(image: HostArray, low: float, high: float) -> HostArray:
    part: Floats32 = np.clip((np.asarray(image, np.float32) - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(np.rint(255 * np.nan_to_num(part) ** 0.7), np.uint8)


def _png(picture: HostArray) -> str:
    data = imagecodecs.png_encode(np.ascontiguousarray(picture))
    return "data:image/png;base64," + base64.b64encode(data).decode()
