"""Dark offset and flat field of a camera, and values as another type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpustitch.array import Array, kernel, namespace, resident
from gpustitch.array.namespace import is_array
from gpustitch.errors import ParameterError

_WRITTEN = ("uint8", "uint16", "float32")
# Pixels of a band of rows worked on at once: a band stays in a core's cache.
_BAND_PIXELS = 1 << 16
# Pixels at the end of their type, one of these, are counted in so many shares: enough to keep a device busy.
N_SHARES = 1024
COUNTED = ("uint8", "uint16")


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
    """Raise ParameterError unless ``flat`` is a 2-D image of finite values from 0 to 1, and not 0 everywhere."""
    _check_flat(flat)
    if float(flat.max()) <= 0:
        raise ParameterError("the flat field is 0 everywhere: nothing would be left of the frames")
    if float(flat.max()) > 1 + 1e-6:
        raise ParameterError(
            f"the flat field must be scaled to maximum 1 (see normalized_flat), but its maximum is {float(flat.max())}"
        )


@kernel("flatfield.cu", T="out: uint8 uint16 float32", RAW="images: uint8 uint16 float32", tile=(None, 1, 1024))
def flat_counts(images: Array, gain: Array, out: Array, dark: float, truncate: bool) -> None:
    """``out = (images - dark) * gain``.

    Whole numbers are rounded half to even (or truncated) and clipped to the range of their type; NaN gives 0.

    Parameters
    ----------
    images
        Counts, uint8, uint16 or float32 (frames, rows, columns).
    gain
        Factor of each pixel, float32 (rows, columns), or (1, 1) for one factor everywhere.
    out
        Shape of ``images``, uint8, uint16 or float32; written.
    dark
        Counts to subtract.
    truncate
        Truncate whole numbers instead of rounding them.
    """
    _, rows, columns = images.shape
    height = max(1, _BAND_PIXELS // max(1, columns))
    room = np.empty((min(height, rows), columns), np.float32)
    for image, counts in zip(images, out, strict=True):
        for start in range(0, rows, height):
            band = slice(start, min(start + height, rows))
            put_counts(image[band], gain, counts, start, dark, truncate, room[: band.stop - start])


def put_counts(
    light: Array, gain: Array, counts: Array, start: int, dark: float, truncate: bool, values: Array
) -> None:
    """Do as `flat_counts` does with the rows of one image from ``start``, on the host.

    Parameters
    ----------
    light
        These rows, uint8, uint16 or float32 (n, columns).
    gain
        Factor of each pixel of the image, float32 (rows, columns), or (1, 1).
    counts
        The whole result, (rows, columns); its rows from ``start`` are written.
    dark, truncate
        As of `flat_counts`.
    values
        Room for the computation, float32 (n, columns), or ``light`` itself.
    """
    band, is_whole = slice(start, start + len(light)), counts.dtype.kind == "u"
    less = light if dark == 0 else np.subtract(light, np.float32(dark), out=values)
    np.multiply(less, gain if gain.shape[0] == 1 else gain[band], out=values)
    if is_whole:
        (np.trunc if truncate else np.rint)(values, out=values)
        np.fmax(values, np.float32(0), out=values)  # of 0 and NaN it is 0; a cast would be arbitrary
        np.minimum(values, np.float32(np.iinfo(counts.dtype).max), out=values)
    np.copyto(counts[band], values, casting="unsafe")


@kernel("flatfield.cu", T="corrected: uint8 uint16", tile=(1,), threads=(256,))
def count_at_end(raw: Array, corrected: Array, out: Array) -> None:
    """Add to each of ``out`` how many pixels of a share are at the end of their type, and were not.

    Parameters
    ----------
    raw, corrected
        Frames (frames, rows, columns) of uint8 or uint16, both of one type.
    out
        uint32 (n,), added to. Share b of the n are the pixels from ``b * size // n`` to ``(b + 1) * size // n``.
    """
    before, after = raw.reshape(-1), corrected.reshape(-1)
    at_end = (after == np.iinfo(after.dtype).max) & (before != after)
    ends = np.arange(len(out) + 1) * after.size // len(out)
    for share in np.flatnonzero(np.diff(ends)).tolist():
        out[share] += np.count_nonzero(at_end[ends[share] : ends[share + 1]])


def inverse_flat(flat: Array) -> Array:
    """1 / flat as float32, 0 where the flat is 0."""
    xp = namespace(flat)
    lit = flat > 0
    return xp.where(lit, 1 / xp.where(lit, flat, 1), 0).astype(np.float32)  # type: ignore[no-any-return]


def flattened(
    images: Array,
    gain: Array,
    dtype: np.dtype[Any],
    dark: float,
    *,
    truncate: bool = False,
    room: Array | None = None,
) -> Array:
    """``(images - dark) * gain`` as an array of any real dtype, as `flat_counts` has it.

    ``images`` and ``gain`` are as there. What has no negative values in ``dtype`` is clipped at 0. The array is new, or
    is ``room`` if that has the dtype and `flat_counts` writes such.
    """
    counts = Counts.of(images, gain, dtype, dark, truncate=truncate, room=room)
    flat_counts(images, gain, counts.out, dark, truncate)
    return counts.as_type(dtype)


_NO_GAIN = np.ones((1, 1), np.float32)


@dataclass(frozen=True)
class Counts:
    """Where counts go that a body makes of light as `flat_counts` would, so that no light is written and read again.

    Attributes
    ----------
    out
        uint8, uint16 or float32 (frames, rows, columns); to be written.
    gain, dark, truncate
        As of `flat_counts`.
    """

    out: Array
    gain: Array
    dark: float = 0.0
    truncate: bool = False

    @classmethod
    def of(
        cls,
        images: Array,
        gain: Array,
        dtype: np.dtype[Any],
        dark: float,
        *,
        truncate: bool = False,
        room: Array | None = None,
    ) -> Counts:
        """Counts of ``dtype`` for images of a shape, in ``room`` if that serves; of types of no body as float32."""
        if room is None or room.dtype != dtype or dtype.name not in _WRITTEN:
            room = namespace(images).empty(images.shape, dtype if dtype.name in _WRITTEN else np.float32)
        return cls(room, gain, dark, truncate)

    @classmethod
    def of_light(cls, images: Array) -> Counts:
        """The light as it is, float32, for images of a shape."""
        return cls(namespace(images).empty(images.shape, np.float32), resident(_NO_GAIN, images))

    def as_type(self, dtype: np.dtype[Any]) -> Array:
        """What was written, as another type; whole numbers are cut off at its ends."""
        if dtype.kind == "f" or self.out.dtype == dtype:
            return self.out.astype(dtype, copy=False)
        xp, limits = namespace(self.out), np.iinfo(dtype)
        # In float64, in which the limits of 32 bits are whole numbers.
        values = (xp.trunc if self.truncate else xp.rint)(self.out.astype(np.float64))
        return xp.clip(values, limits.min, limits.max).astype(dtype)  # type: ignore[no-any-return]


def _check_flat(flat: Array) -> None:
    if not is_array(flat):
        raise ParameterError(f"the flat field must be one 2-D image as an array, not {flat!r:.60}", parameter="flat")
    xp = namespace(flat)
    if flat.dtype.kind not in "uif":
        raise ParameterError(f"the flat field holds {flat.dtype}; whole or real numbers were expected")
    if flat.ndim != 2 or flat.size == 0:
        raise ParameterError(f"the flat field must be one 2-D image, not an array of shape {tuple(flat.shape)}")
    if not bool(xp.isfinite(flat).all()):
        raise ParameterError("the flat field holds NaN or infinity; estimate it again or mask those pixels to 0")
    if float(flat.min()) < 0:
        raise ParameterError(
            f"the flat field holds negative values (least {float(flat.min())}), but it must be 0 or more everywhere"
        )
