"""Otsu's threshold of frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace, skimage_of, to_host

# Values of a uint16, and the room for those of a uint8.
_VALUES = 1 << 16
# Pixels counted at a time on the host: their copy as integers for bincount stays in a core's cache.
_CHUNK = 1 << 17
# Types whose values are counted one by one.
_COUNTED = (np.uint8, np.uint16)


def otsu(image: Array) -> float:
    """Otsu's threshold of an image (rows, columns); of an image with one value, that value.

    The threshold separates single counts of uint8 and uint16 images, and 256 bins of other images.
    """
    return float(otsu_of_frames(image[None])[0])


def otsu_of_frames(frames: Array) -> npt.NDArray[np.float64]:
    """Otsu's threshold of each frame of (frames, rows, columns), float64 (frames,), as in `otsu`."""
    if frames.dtype in _COUNTED:
        return to_host(thresholds_of_frames(frames)).astype(np.float64)
    threshold_otsu = skimage_of(frames).filters.threshold_otsu
    return np.array([float(threshold_otsu(frame.astype(np.float32, copy=False))) for frame in frames])


def thresholds_of_frames(frames: Array) -> Array:
    """The same as float32 (frames,) where the frames are; uint8 and uint16 on a device are not waited for."""
    xp = namespace(frames)
    if frames.dtype not in _COUNTED:
        return xp.asarray(otsu_of_frames(frames).astype(np.float32))  # type: ignore[no-any-return]
    counts = xp.zeros((len(frames), _VALUES), np.uint32)
    count_values_of_frames(frames, counts)
    out: Array = xp.empty(len(frames), np.float32)
    otsu_thresholds(counts, out)
    return out


@kernel("otsu.cu", tile=(1, 512), threads=(256,), T="frames: uint8 uint16")
def count_values_of_frames(frames: Array, out: Array) -> None:
    """Add to ``out[f, v]`` the number of pixels of frame f with value v.

    Parameters
    ----------
    frames
        Counts (frames, rows, columns), uint8 or uint16.
    out
        uint32 (frames, 65536); added to.
    """
    for frame, counts in zip(frames, out, strict=True):
        flat = frame.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            part = np.bincount(flat[start : start + _CHUNK])
            counts[: part.size] += part.astype(np.uint32)


@kernel("otsu.cu", tile=(1,), threads=(1024,))
def otsu_thresholds(counts: Array, out: Array) -> None:
    """Otsu's threshold of each frame, from how often each value occurs.

    Frames of up to 2**24 pixels give the same on a device; scikit-image counts more of them in rounded numbers.

    Parameters
    ----------
    counts
        uint32 (frames, values); some are not 0.
    out
        float32 (frames,); written.
    """
    for number, row in enumerate(counts):
        out[number] = _otsu_of_counts(row)


def _otsu_of_counts(counts: npt.NDArray[np.uint32]) -> float:
    # A value that no pixel has changes no class: scikit-image gets only values that occur.
    values = np.flatnonzero(counts)
    if len(values) == 1:
        return float(values[0])
    return float(skimage_of(counts).filters.threshold_otsu(hist=(counts[values], values)))
