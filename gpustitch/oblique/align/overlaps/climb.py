"""Windows that walk uphill on a device, from start to end without a word to the host."""

from __future__ import annotations

from collections.abc import Sequence

from gpustitch.array import Array, kernel, namespace
from gpustitch.model import ZYX
from gpustitch.oblique.align.ascend import MAX_STEPS, ascend
from gpustitch.ops.smooth import smooth_all_axes

# Of each array its shape, and the first voxel of a window in it.
COLUMNS = 6
# Of each walk 27 correlations, where it ended, and whether it stayed there.
RESULTS = 31


@kernel("climb.cu", tile=(1, None))
def climb(windows: Array, places: Array, depth: int, height: int, width: int, out: Array, max_steps: int) -> None:
    """Walk windows uphill, each over an array of its own, as :func:`~gpustitch.oblique.align.ascend.ascend` does.

    Parameters
    ----------
    windows
        An array (z, y, x) at the beginning of each row: first those that hold the windows, then those that they walk
        over. Shape (2 P, room), float32.
    places
        Of each array its shape, and the first voxel of the window in it, shape (2 P, 6), int64.
    depth, height, width
        Size of all windows.
    out
        Shape (P, 31), float64; written: 27 correlations, the first voxel of the last window, and 1 if it stays there.
    max_steps
        Steps after which a walk gives up.
    """
    arrays = [row[: place[:3].prod()].reshape(place[:3]) for row, place in zip(windows, places, strict=True)]
    starts = [(int(z), int(y), int(x)) for z, y, x in places[:, 3:]]
    n, size = len(out), (depth, height, width)
    fixed = [
        array[tuple(slice(a, a + k) for a, k in zip(start, size, strict=True))]
        for array, start in zip(arrays[:n], starts[:n], strict=True)
    ]
    for row, summit in zip(out, ascend(fixed, arrays[n:], starts[n:], max_steps=max_steps), strict=True):
        row[:] = *summit.around.ravel(), *summit.position, summit.settled


def smooth_and_climb(
    voxels: Array, places: Array, weights: Sequence[Array], shape: ZYX, max_steps: int = MAX_STEPS
) -> Array:
    """Smooth arrays along z, y and x with ``weights``, and let windows of ``shape`` walk: what :func:`climb` writes.

    Parameters
    ----------
    voxels
        Arrays (z, y, x) as :func:`climb` takes them, shape (2 P, room), uint8, uint16 or float32.
    places
        As in :func:`climb`.
    weights
        Of each axis, shape (2 radius + 1,), float32.
    shape
        Size (z, y, x) of all windows.
    max_steps
        Steps after which a walk gives up.
    """
    xp = namespace(voxels)
    smoothed, room = (xp.empty(voxels.shape, xp.float32) for _ in range(2))
    smooth_all_axes(voxels, places, weights, smoothed, room)
    out: Array = xp.empty((len(places) // 2, RESULTS), xp.float64)
    climb(smoothed, places, *shape, out, max_steps)
    return out
