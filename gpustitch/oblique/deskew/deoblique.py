"""De-obliquing: resampling tilted camera frames onto an upright grid.

Voxel (z, y, x) of the grid lies at the real-valued frame ``f = x - shear * z``, on camera row y and column z
(:mod:`gpustitch.model.geometry`). Interpolation runs along the stage's direction only. The weight of the two frames
around f is the same on a whole plane z. So each plane is one linear interpolation of two frame columns. A whole shear
makes it a copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace
from gpustitch.errors import ParameterError
from gpustitch.model import Box, Coverage
from gpustitch.model.geometry import plane_frames

_TYPES = ("uint8", "uint16", "float32")
# 32 columns of uint16 fill a cache line. 4 rows of 160 such frames fit the first-level cache for transposing.
# 64 rows fit the second-level cache for interpolating.
_TILE_PLANES, _TILE_ROWS, _GATHER_ROWS = 32, 64, 4


def plane_offsets(shear: float, z_start: int, n_planes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Frames and weights from which the planes ``z_start, z_start + 1, ...`` are interpolated.

    Parameters
    ----------
    shear
        Grid columns by which each further plane is displaced along x.
    z_start, n_planes
        First plane and number of planes.

    Returns
    -------
    offset : int64, (n_planes,)
        Column x of a plane is interpolated between the frames ``x + offset`` and ``x + offset + 1``.
    weight : float32, (n_planes,)
        Weight of the second frame, 0 <= weight <= 1; 0 where the plane meets the first frame exactly.

    Both are computed in double precision from the plane's absolute number, so blocks of a volume agree with the whole.
    """
    offset, weight = plane_frames(shear, np.arange(z_start, z_start + n_planes))
    return offset, weight.astype(np.float32)


@kernel("deoblique.cu", T="out: uint8 uint16 float32", tile=(32, 1, 128), threads=(256,))
def shear_lerp(frames: Array, out: Array, offset: Array, weight: Array) -> None:
    """Interpolate a stack of frames onto a block of the upright grid.

    With ``i = x + offset[z]`` and ``w = weight[z]``::

        out[z, y, x] = frames[i, y, z]                                            where w = 0
        out[z, y, x] = frames[i, y, z] + w * (frames[i + 1, y, z] - frames[i, y, z])  elsewhere

    A voxel is 0 where a frame that it needs is not in the stack.

    Parameters
    ----------
    frames
        (frame, row, column): the rows and columns of the block, and the frames that the block needs.
    out
        (z, y, x) of the dtype of ``frames``. Its planes are as many as the columns of ``frames``, its rows as many as
        the rows. Written whole.
    offset, weight
        int64 and float32, one of each per plane: :func:`plane_offsets`, with ``x_start - first_frame`` added to the
        offsets.

    Notes
    -----
    Arithmetic is in float32. Integers up to 16 bits are rounded to nearest (halves up). Differences of such integers
    are exact in float32, and the result is off by less than 0.004 before rounding. A NaN reaches only the voxels in
    which its frame has a weight above 0. An infinite pixel reaches no other voxels, as infinity or NaN.
    """
    n_frames, n_rows, width = frames.shape[0], out.shape[1], out.shape[2]
    for z in range(0, out.shape[0], _TILE_PLANES):
        planes = slice(z, z + _TILE_PLANES)
        # Only these frames reach the tile: the stack of a wide block spans many more.
        first = max(0, int(offset[planes].min()))
        stop = max(first, min(n_frames, int(offset[planes].max()) + width + 1))
        tile = _Tile(offset[planes] - first, weight[planes], stop - first, min(n_rows, _TILE_ROWS), out.dtype)
        for y in range(0, n_rows, _TILE_ROWS):
            rows = slice(y, y + _TILE_ROWS)
            tile.fill(frames[first:stop, rows, planes], out[planes, rows])


class _Tile:
    """:func:`shear_lerp` of a few planes and rows; its intermediate arrays fit the cache and are reused."""

    def __init__(self, offset: Array, weight: Array, n_frames: int, n_rows: int, dtype: np.dtype[Any]) -> None:
        self._offset = offset
        self._weight = weight
        self._copies = weight == 0
        self._rounding = np.float32(0.5 if dtype.kind == "u" else 0)
        work_type = dtype if self._copies.all() else np.dtype(np.float32)
        self._samples = np.empty((len(offset), n_rows, n_frames), work_type)
        self._lerp = self._samples if self._copies.all() else np.empty_like(self._samples)

    def fill(self, frames: Array, out: Array) -> None:
        """Interpolate all planes at once between the same frames, then shift each plane into its place."""
        self._gather(frames)
        lerp = self._lerp[:, : out.shape[1]]
        if not self._copies.all():
            self._interpolate(self._samples[:, : out.shape[1]], lerp)
        for z, (shift, is_copy) in enumerate(zip(self._offset.tolist(), self._copies.tolist(), strict=True)):
            first, stop = max(0, -shift), min(out.shape[2], lerp.shape[2] - shift - (not is_copy))
            if stop <= first:
                out[z] = 0
                continue
            if first > 0:
                out[z, :, :first] = 0
            if stop < out.shape[2]:
                out[z, :, stop:] = 0
            out[z, :, first:stop] = lerp[z, :, first + shift : stop + shift]

    def _gather(self, frames: Array) -> None:
        """Copy ``frames`` to samples (column, row, frame), as few rows at a time as fit the first-level cache."""
        for y in range(0, frames.shape[1], _GATHER_ROWS):
            rows = slice(y, min(y + _GATHER_ROWS, frames.shape[1]))
            self._samples[:, rows] = np.ascontiguousarray(frames[:, rows]).transpose(2, 1, 0)

    def _interpolate(self, samples: Array, lerp: Array) -> None:
        """Interpolate between each sample and the next; on planes of weight 0 copy the samples."""
        near, between = samples[..., :-1], lerp[..., :-1]
        with np.errstate(invalid="ignore"):  # infinity less infinity
            np.subtract(samples[..., 1:], near, out=between)
            between *= self._weight[:, None, None]
            between += near
        if self._rounding:
            between += self._rounding
        if self._copies.any():
            lerp[self._copies] = samples[self._copies]


def deoblique(frames: Array, box: Box, shear: float, *, first_frame: int = 0, out: Array | None = None) -> Array:
    """Interpolate the voxels of ``box`` from frames.

    Parameters
    ----------
    frames
        (frame, row, column) of uint8, uint16 or float32, the frames from ``first_frame`` on. They are cut to rows
        ``box.start[1]`` to ``box.stop[1]`` and columns ``box.start[0]`` to ``box.stop[0]``.
    box
        Voxels (z, y, x) of the de-obliqued grid.
    shear
        Grid columns by which each further plane z is displaced along x.
    first_frame
        Number of ``frames[0]`` in the scan.
    out
        Where to write the voxels; a new array if None.

    Returns
    -------
    ``out``, of shape ``box.shape`` and the dtype of ``frames``; 0 where the frames do not reach. No frames are needed
    but those of :meth:`gpustitch.model.ObliqueScan.frames_of`.

    Raises
    ------
    ParameterError
        If ``frames`` lacks the rows and columns of ``box`` or has another dtype, or ``out`` has another shape or dtype.
    """
    xp = namespace(frames)
    n_planes, n_rows, _ = box.shape
    if frames.ndim != 3 or frames.shape[1:] != (n_rows, n_planes):
        raise ParameterError(
            f"`frames` for a block of shape {box.shape} (z, y, x) need {n_rows} rows and {n_planes} columns, "
            f"not the shape {frames.shape}"
        )
    if frames.dtype.name not in _TYPES:
        raise ParameterError(f"`frames` must hold one of {', '.join(_TYPES)}, not {frames.dtype}")
    offset, weight = plane_offsets(shear, box.start[0], n_planes)
    offset += box.start[2] - first_frame
    if out is None:
        out = xp.empty(box.shape, frames.dtype)
    elif out.shape != box.shape or out.dtype != frames.dtype:
        raise ParameterError(f"`out` must be of shape {box.shape} and {frames.dtype}, not {out.shape} and {out.dtype}")
    shear_lerp(frames, out, xp.asarray(offset), xp.asarray(weight))
    return out


def clear_holes(voxels: npt.NDArray[Any], box: Box, coverage: Coverage) -> None:
    """Set the voxels of ``box`` that need an absent frame to 0, in place; a NumPy array of shape ``box.shape``."""
    if coverage.absent:
        voxels.swapaxes(1, 2)[coverage.holes(box)] = 0
