"""Dark offset and flat field of a camera, and counts as 16-bit integers."""

from __future__ import annotations

import numpy as np

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError

UINT16_MAX = 65535
# Pixels of a band of rows worked on at once: a band stays in a core's cache.
_BAND_PIXELS = 1 << 16


def normalized_flat(flat: Array) -> Array:
    """Scale a measured or fitted illumination image to maximum 1.

    Parameters
    ----------
    flat
        Image (rows, columns) of any real dtype, in any unit.

    Returns
    -------
    float32 image of the same shape, 0 where no light falls.

    Raises
    ------
    ParameterError
        If ``flat`` is not a 2-D image, holds NaN, infinity or a negative value, or is 0 everywhere.
    """
    xp = namespace(flat)
    _check_flat(flat)
    largest = float(flat.max())
    if largest <= 0:
        raise ParameterError("the flat field holds no value above zero; estimate it again from frames with tissue")
    scaled: Array = xp.asarray(flat, dtype=np.float64) / largest
    return scaled.astype(np.float32)


def check_scaled_flat(flat: Array) -> None:
    """Raise ParameterError unless ``flat`` is a 2-D image of finite values from 0 to 1."""
    _check_flat(flat)
    if float(flat.max()) > 1 + 1e-6:
        raise ParameterError(
            f"the flat field must be scaled to maximum 1 (see normalized_flat), but its maximum is {float(flat.max())}"
        )


@kernel("flatfield.cu", tile=(None, 1, 1024))
def flat_counts(images: Array, gain: Array, out: Array, dark: float, truncate: bool) -> None:
    """``out = (images - dark) * gain``, rounded half to even (or truncated) and clipped to 0..65535; NaN gives 0.

    Parameters
    ----------
    images
        Counts, float32 (frames, rows, columns).
    gain
        Factor of each pixel, float32 (rows, columns), or (1, 1) for one factor everywhere.
    out
        Shape of ``images``, uint16; written.
    dark
        Counts to subtract.
    truncate
        Truncate instead of rounding.
    """
    to_integer = np.trunc if truncate else np.rint
    _, rows, columns = images.shape
    height = max(1, _BAND_PIXELS // max(1, columns))
    room = np.empty((min(height, rows), columns), np.float32)
    for image, counts in zip(images, out, strict=True):
        for start in range(0, rows, height):
            band = slice(start, min(start + height, rows))
            values = room[: band.stop - start]
            np.subtract(image[band], np.float32(dark), out=values)
            np.multiply(values, gain if gain.shape[0] == 1 else gain[band], out=values)
            to_integer(values, out=values)
            # fmax turns NaN into 0; a cast would make it an arbitrary integer.
            np.fmax(values, 0, out=values)
            np.fmin(values, UINT16_MAX, out=values)
            np.copyto(counts[band], values, casting="unsafe")


def inverse_flat(flat: Array) -> Array:
    """1 / flat as float32, 0 where the flat is 0."""
    xp = namespace(flat)
    lit = flat > 0
    return xp.where(lit, 1 / xp.where(lit, flat, 1), 0).astype(np.float32)  # type: ignore[no-any-return]


def to_uint16(image: Array) -> Array:
    """Round an image to the nearest integer (half to even) and clip it to 0..65535; NaN becomes 0.

    Integer images are only clipped. The result is always a new array.
    """
    xp = namespace(image)
    if image.dtype == np.uint16:
        return image.copy()
    if image.dtype.kind in "iub":
        return xp.clip(image, 0, UINT16_MAX).astype(np.uint16)  # type: ignore[no-any-return]
    out = xp.empty(image.shape, np.uint16)
    frame = (1, -1, image.shape[-1] if image.ndim else 1)
    if image.size:
        one = xp.ones((1, 1), np.float32)
        flat_counts(image.reshape(frame).astype(np.float32, copy=False), one, out.reshape(frame), 0.0, False)
    return out  # type: ignore[no-any-return]


def _check_flat(flat: Array) -> None:
    xp = namespace(flat)
    if flat.ndim != 2 or flat.size == 0:
        raise ParameterError(f"the flat field must be one 2-D image, not an array of shape {tuple(flat.shape)}")
    if not bool(xp.isfinite(flat).all()):
        raise ParameterError("the flat field holds NaN or infinity; estimate it again or mask those pixels to 0")
    if float(flat.min()) < 0:
        raise ParameterError(
            f"the flat field holds negative values (least {float(flat.min())}), but it must be 0 or more everywhere"
        )
