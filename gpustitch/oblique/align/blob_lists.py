"""Blobs of many boxes at once on a device: one copy to it, ten launches or so, and one wait for what comes back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from gpustitch.array import Array, Device, fetched, kernel, namespace, on, sent
from gpustitch.array.packed import Packed, sent_type
from gpustitch.array.stated import Shaped
from gpustitch.model import Spacing
from gpustitch.model.arrays import Floats32, HostArray, Integers
from gpustitch.oblique.align.blobs import ball, highest_among, sizes_px
from gpustitch.ops.smooth import gaussian_weights, smooth_all_axes, smoothing_error

# Of each box so many blobs come back at first; where there are more, all are sought once more.
_MOST = 1024
# Most bytes of the device that boxes take which are searched at once.
_BATCH_BYTES = 2**30

Blobs = tuple[Integers, Floats32]


@kernel("blob_lists.cu")
def mark_blobs(contrast: Array, level: Array, places: Array, offsets: Array, rounding: float, out: Array) -> None:
    """Keep the contrast of local maxima, as :func:`~gpustitch.oblique.align.blobs.highest_among` finds them.

    Parameters
    ----------
    contrast, level
        An array (z, y, x) at the beginning of each row, shape (arrays, room), float32.
    places
        Their shapes in the first three columns, shape (arrays, columns), int64.
    offsets
        Neighbours that a maximum is compared with, shape (n, 3), int64.
    rounding
        Of the level: a contrast of no more is none.
    out
        The contrast of maxima, else 0, shape of ``contrast``, float32; written where there are voxels.
    """
    around = [tuple(offset) for offset in offsets.tolist()]
    for row, about, place, marked in zip(contrast, level, places, out, strict=True):
        n = math.prod(place[:3].tolist())
        volume = row[:n].reshape(place[:3])
        at = tuple(highest_among(volume, about[:n].reshape(place[:3]) * np.float32(rounding), around).T)
        kept = np.zeros_like(volume)
        kept[at] = volume[at]
        marked[:n] = kept.ravel()


@kernel("blob_lists.cu", tile=(1, None))
def list_blobs(marked: Array, places: Array, out: Array) -> None:
    """List what is not 0, in the order of each array.

    Parameters
    ----------
    marked
        An array (z, y, x) at the beginning of each row, shape (arrays, room), float32.
    places
        Their shapes in the first three columns, shape (arrays, columns), int64.
    out
        Shape (arrays, 1 + 2 most), float64. Written: how many there are, and of the first ``most`` in turn the place in
        the row and the value.
    """
    for row, place, listed in zip(marked, places, out, strict=True):
        at = np.flatnonzero(row[: math.prod(place[:3].tolist())])
        listed[0] = at.size
        kept = at[: listed.size // 2]
        listed[1 : 1 + 2 * kept.size : 2], listed[2 : 2 + 2 * kept.size : 2] = kept, row[kept]


def listed_blobs(
    voxels: Array,
    places: Array,
    offsets: Array,
    narrow: Sequence[Array],
    wide: Sequence[Array],
    rounding: float,
    most: int,
    has_negative: bool,
) -> Array:
    """What :func:`list_blobs` writes of arrays that are smoothed by weights, two for each axis.

    Parameters
    ----------
    voxels
        An array (z, y, x) at the beginning of each row, shape (arrays, room), uint8, uint16 or float32.
    places
        Their shapes, shape (arrays, 3), int64.
    offsets, rounding
        As in :func:`mark_blobs`.
    narrow, wide
        Weights along z, y and x of the two Gaussians, float32.
    most
        How many blobs of each array are listed.
    has_negative
        Whether there are values below 0: levels are then those of magnitudes.
    """
    xp = namespace(voxels)
    contrast, level, room = (xp.empty(voxels.shape, xp.float32) for _ in range(3))
    smooth_all_axes(voxels, places, narrow, contrast, room)
    smooth_all_axes(voxels, places, wide, level, room)
    contrast -= level
    if has_negative:
        smooth_all_axes(abs(voxels), places, wide, level, room)
    mark_blobs(contrast, level, places, offsets, rounding, room)
    out: Array = xp.empty((len(voxels), 1 + 2 * most), xp.float64)
    list_blobs(room, places, out)
    return out


def blobs_of_boxes(
    boxes: Sequence[HostArray], spacing: Spacing, device: Device, *, radius_um: float = 2.0, surround: float = 3.0
) -> Iterator[Blobs]:
    """What :func:`~gpustitch.oblique.align.blobs.find_blobs` finds in each of many boxes, in host memory.

    Parameters
    ----------
    boxes
        Arrays (z, y, x) of the host, of any shapes and one real dtype.
    spacing, radius_um, surround
        As there.
    device
        Where it is computed. As many boxes as its memory allows are searched at once.
    """
    room = max((box.size for box in boxes), default=0)
    one = Shaped((1, room), sent_type([box.dtype for box in boxes] or [np.dtype(np.uint8)]))
    memory = _BATCH_BYTES if device.memory_bytes is None else min(_BATCH_BYTES, device.memory_bytes // 2)
    # Voxels, and of each four numbers at most.
    size = max(1, memory // max(1, one.nbytes + 16 * one.size))
    sizes = sizes_px(spacing, radius_um, surround)
    for first in range(0, len(boxes), size):
        yield from _searched(boxes[first : first + size], sizes, device)


def _searched(
    boxes: Sequence[HostArray], sizes: tuple[Sequence[float], Sequence[float]], device: Device
) -> Iterator[Blobs]:
    narrow, wide = sizes
    has_negative = boxes[0].dtype.kind != "u" and any(bool((box < 0).any()) for box in boxes)
    places = np.array([box.shape for box in boxes], np.int64)
    offsets = np.array(ball(narrow), np.int64).reshape(-1, 3)
    packed = Packed(boxes, [places, offsets, *(gaussian_weights(s) for s in (*narrow, *wide))])
    rounding, most = smoothing_error(narrow) + smoothing_error(wide), _MOST
    while True:
        with on(device):
            voxels, there, around, *weights = packed.parts(sent(packed.host, device))
            found = fetched(listed_blobs(voxels, there, around, weights[:3], weights[3:], rounding, most, has_negative))
        if (most := int(found[:, 0].max())) <= found.shape[1] // 2:
            break
    for box, row in zip(boxes, found, strict=True):
        n = int(row[0])
        at = np.unravel_index(row[1 : 1 + 2 * n : 2].astype(np.int64), box.shape)
        yield np.stack(at, axis=1).astype(np.int64), row[2 : 2 + 2 * n : 2].astype(np.float32)
