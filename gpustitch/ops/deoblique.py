"""De-obliquing: resampling tilted camera frames onto an upright grid.

Voxel (z, y, x) of the grid lies between the frames at ``f = x - shear * z``, on camera row y and column z
(:mod:`gpustitch.model.geometry`). Only the stage's direction is interpolated, and the weight of the two frames
is the same on a whole plane z, so this is one linear interpolation of two columns of frames per plane; with a whole
shear it is a copy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError
from gpustitch.model import Box

_TYPES = ("uint8", "uint16", "float32")
# A frame position this close to a whole frame is that frame (as in model.Coverage).
_WHOLE_FRAME = 1e-9


def plane_offsets(shear: float, z_start: int, n_planes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Where the planes ``z_start, z_start + 1, ...`` find their frames.

    Parameters
    ----------
    shear
        Grid columns by which each further plane is displaced along x.
    z_start, n_planes
        The planes.

    Returns
    -------
    offset : int64, (n_planes,)
        Column x of a plane is interpolated between the frames ``x + offset`` and ``x + offset + 1``.
    weight : float32, (n_planes,)
        Weight of the second frame, 0 <= weight <= 1; 0 where the first is met exactly.

    Computed in double precision from the plane's absolute number, so blocks of a volume agree with the whole.
    """
    displacement = shear * np.arange(z_start, z_start + n_planes, dtype=np.float64)
    whole = np.ceil(displacement - _WHOLE_FRAME)
    weight = whole - displacement
    weight[np.abs(weight) <= _WHOLE_FRAME] = 0
    return -whole.astype(np.int64), weight.astype(np.float32)


@kernel("deoblique.cu")
def shear_lerp(frames: Array, out: Array, offset: Array, weight: Array) -> None:
    """Interpolate a stack of frames onto a block of the upright grid.

    With ``i = x + offset[z]`` and ``w = weight[z]``::

        out[z, y, x] = frames[i, y, z]                                            where w = 0
        out[z, y, x] = frames[i, y, z] + w * (frames[i + 1, y, z] - frames[i, y, z])  elsewhere

    and 0 where a frame it needs is not in the stack.

    Parameters
    ----------
    frames
        (frame, row, column): the rows and columns of the block, and the frames that it needs.
    out
        (z, y, x) with as many planes as ``frames`` has columns and as many rows; of the same dtype. Written whole.
    offset, weight
        int64 and float32, one of each per plane: :func:`plane_offsets`, with ``x_start - first_frame`` added to the
        offsets.

    Notes
    -----
    Arithmetic is in float32. Integers up to 16 bits are rounded to nearest (halves up): differences of such integers
    are exact in float32 and the result is off by less than 0.004 before it is rounded. A NaN reaches only the
    voxels that are interpolated from it with a weight above 0.
    """
    out[...] = 0
    n_frames, width = frames.shape[0], out.shape[2]
    half = np.float32(0.5 if out.dtype.kind == "u" else 0)
    for z in range(out.shape[0]):
        shift, w = int(offset[z]), weight[z]
        first, last = max(0, -shift), min(width, n_frames - shift - (1 if w else 0))
        if last <= first:
            continue
        near = frames[first + shift : last + shift, :, z].T
        if not w:
            out[z, :, first:last] = near
            continue
        far = frames[first + shift + 1 : last + shift + 1, :, z].T
        near = near.astype(np.float32)
        lerp = far - near
        lerp *= w
        lerp += near
        lerp += half
        out[z, :, first:last] = lerp


def deoblique(frames: Array, box: Box, shear: float, *, first_frame: int = 0) -> Array:
    """The voxels of ``box`` from the frames that it needs.

    Parameters
    ----------
    frames
        (frame, row, column) of uint8, uint16 or float32: rows ``box.start[1]`` to ``box.stop[1]`` and columns
        ``box.start[0]`` to ``box.stop[0]`` of the frames from ``first_frame`` on.
    box
        Voxels (z, y, x) of the de-obliqued grid.
    shear
        Grid columns by which each further plane z is displaced along x.
    first_frame
        Number of ``frames[0]`` in the scan.

    Returns
    -------
    Array of shape ``box.shape`` and the dtype of ``frames``; 0 where the frames do not reach. Frames before or after
    those of :meth:`gpustitch.model.ObliqueScan.frames_of` are not needed.

    Raises
    ------
    ParameterError
        If the rows or columns of ``frames`` are not those of ``box``, or the dtype is another.
    """
    xp = namespace(frames)
    n_planes, n_rows, _ = box.shape
    if frames.ndim != 3 or frames.shape[1:] != (n_rows, n_planes):
        raise ParameterError(
            f"a block of shape {box.shape} (z, y, x) needs frames of {n_rows} rows and {n_planes} columns, "
            f"not frames of shape {frames.shape}"
        )
    if frames.dtype.name not in _TYPES:
        raise ParameterError(f"frames hold one of {', '.join(_TYPES)}, not {frames.dtype}")
    offset, weight = plane_offsets(shear, box.start[0], n_planes)
    offset += box.start[2] - first_frame
    out: Array = xp.empty(box.shape, frames.dtype)
    shear_lerp(frames, out, xp.asarray(offset), xp.asarray(weight))
    return out
