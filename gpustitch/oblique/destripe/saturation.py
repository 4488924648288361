"""The ends of a sensor's range, which no filter may move: no light, and the count at which pixels are saturated."""

from __future__ import annotations

import math

import numpy as np

from gpustitch.array import Array, kernel, namespace, to_host

# No sensor has fewer bits.
_LEAST_BITS = 8
# Pixels that hold the greatest count: so many where it is that of a number of bits, or of a plateau.
_FEW, _MANY = 2, 16
# A plateau holds so many times the pixels that the next count below it holds.
_ABOVE_NEXT = 4
# Types that the kernels read; frames of other types are looked at one by one.
_READ_AS_THEY_ARE = ("uint8", "uint16", "uint32", "float32")


def full_scale(frames: Array) -> Array:
    """The count at which each of the frames (frames, rows, columns) is saturated; infinity where none is.

    It is the greatest count of a frame if nothing greater could be told. That is the maximum of an integer type, or
    ``2**k - 1`` with k of 8 or more that several pixels hold. It is also a plateau: a greatest count that many pixels
    hold, and far more than the next count below it; rows of nothing else, which a stripe without noise makes, do not
    count. Whole numbers below 255 are no plateau.

    Returns
    -------
    float32 (frames,), where the frames are.
    """
    xp = namespace(frames)
    if frames.dtype.name not in _READ_AS_THEY_ARE or not frames.size:
        return xp.asarray(np.array(_full_scales(frames), np.float32))  # type: ignore[no-any-return]
    out: Array = xp.empty(len(frames), np.float32)
    full_scales(frames, out)
    return out


@kernel("saturation.cu", T="frames: uint8 uint16 uint32 float32", S="out: float32 float64", tile=(1,), threads=(1024,))
def full_scales(frames: Array, out: Array) -> None:
    """The count at which each frame is saturated, as `full_scale` has it.

    Parameters
    ----------
    frames
        Counts (frames, rows, columns), none of which is empty; finite.
    out
        float32 or float64 (frames,); written. Only float64 holds all of a uint32.
    """
    out[...] = _full_scales(frames)


@kernel("saturation.cu", T="frames: uint8 uint16 uint32 float32", S="full_scale: float64")
def put_ends_back(frames: Array, full_scale: Array, out: Array) -> None:
    """Make ``out`` 0 where the frames are 0 or less, no greater than their full scale, and that where they are at it.

    Parameters
    ----------
    frames
        Counts (frames, rows, columns), finite.
    full_scale
        float64 (frames,), infinite where a frame has none.
    out
        Destriped frames, float32 of the shape of ``frames``; changed in place.
    """
    if float(frames.min()) <= 0:
        out[frames <= 0] = 0
    for frame, result, scale in zip(frames, out, full_scale.tolist(), strict=True):
        if math.isfinite(scale):
            np.minimum(result, np.float32(scale), out=result)
            result[frame == scale] = scale


def keep_ends(frames: Array, destriped: Array) -> None:
    """Put the ends of the range back into destriped frames, float32, in place.

    What was 0 stays 0, what was saturated in ``frames`` stays so, and nothing exceeds the full scale.
    """
    xp = namespace(frames, destriped)
    if frames.dtype.name in _READ_AS_THEY_ARE and frames.size:
        scales = xp.empty(len(frames), np.float64)
        full_scales(frames, scales)
        put_ends_back(frames, scales, destriped)
        return
    if float(frames.min()) <= 0:
        destriped[frames <= 0] = 0
    for frame, result, scale in zip(frames, destriped, _full_scales(frames), strict=True):
        if math.isfinite(scale):
            xp.minimum(result, np.float32(scale), out=result)
            result[frame == scale] = scale


def _full_scales(frames: Array) -> list[float]:
    """The full scales as numbers of the frames' own type, which float32 may not hold."""
    if not frames.size:
        return [math.inf] * len(frames)
    greatest = to_host(frames.max(axis=(1, 2))).tolist()
    return [_full_scale(frame, most) for frame, most in zip(frames, greatest, strict=True)]


def _full_scale(frame: Array, most: float) -> float:
    """Full scale of one frame whose greatest count is ``most``."""
    xp, is_whole = namespace(frame), frame.dtype.kind != "f"
    if is_whole and most == np.iinfo(frame.dtype).max:
        return most
    if most <= 0 or (is_whole and most < 2**_LEAST_BITS - 1):
        return math.inf
    is_most = frame == most
    held = int(xp.count_nonzero(is_most))
    if held >= _FEW and most >= 2**_LEAST_BITS - 1 and math.log2(most + 1).is_integer():
        return most
    # A row of nothing else is a stripe without noise.
    held -= frame.shape[1] * int(is_most.all(axis=1).sum())
    if held < _MANY:
        return math.inf
    following = xp.where(is_most, frame.min(), frame).max()
    return most if held > _ABOVE_NEXT * int(xp.count_nonzero(frame == following)) else math.inf
