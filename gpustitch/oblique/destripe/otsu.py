"""Otsu's threshold of frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace, skimage_of, to_host

# Values of a uint16, and the room for those of a uint8.
_VALUES = 1 << 16
# Pixels counted at a time on the host: their copy as integers for bincount stays in a core's cache.
_CHUNK = 1 << 17


def otsu(image: Array) -> float:
    """Otsu's threshold of an image (rows, columns); of an image with one value, that value.

    The threshold separates single counts of uint8 and uint16 images, and 256 bins of other images.
    """
    return float(otsu_of_frames(image[None])[0])


def otsu_of_frames(frames: Array) -> npt.NDArray[np.float64]:
    """Otsu's threshold of each frame of (frames, rows, columns), float64 (frames,), as in `otsu`."""
    if frames.dtype not in (np.uint8, np.uint16):
        threshold_otsu = skimage_of(frames).filters.threshold_otsu
        return np.array([float(threshold_otsu(frame.astype(np.float32, copy=False))) for frame in frames])
    counts = namespace(frames).zeros((len(frames), _VALUES), np.uint32)
    count_values_of_frames(frames, counts)
    return np.array([_otsu_of_counts(row) for row in to_host(counts)])


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


def _otsu_of_counts(counts: npt.NDArray[np.uint32]) -> float:
    # A value that no pixel has changes no class: scikit-image gets only values that occur.
    values = np.flatnonzero(counts)
    if len(values) == 1:
        return float(values[0])
    return float(skimage_of(counts).filters.threshold_otsu(hist=(counts[values], values)))
