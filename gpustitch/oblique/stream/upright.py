"""Frames of the sheet put upright: planes of the mosaic."""

from __future__ import annotations

from collections.abc import Sequence

from gpustitch.array import Array, kernel


@kernel("upright.cu", T="out: uint8 uint16 float32", tile=(1, 64, 1, 64), threads=(256,))
def upright(
    frames: Sequence[Array],
    drift: Array,
    places: Array,
    out: Array,
    begin: int,
    stop: int,
    first_row: int,
) -> None:
    """Put boxes of frames of the sheet upright.

    Parameters
    ----------
    frames
        Pieces (frame, row, plane) of as many frames each, in turn: with n frames in each of m pieces, frame f is number
        ``f % n`` of piece ``f // n % m``.
    drift
        By how many columns each plane is displaced, int64 (planes,).
    places
        For each box the plane at which it begins, and the frame of its column 0 where the drift is 0: int64 (n, 2).
    out
        Shape (n, z, y, x), dtype of the frames; written whole. Of a box at ``(first_plane, first)``, column x of plane
        z is frame ``x + first - drift[first_plane + z]``, at row ``first_row + y`` and plane ``first_plane + z``.
    begin, stop
        Half-open range of the frames that are there, 0 or more; voxels of others are 0.
    first_row
        The row at which the boxes begin.
    """
    for box, (first_plane, first) in zip(out, places.tolist(), strict=True):
        starts = first - drift[first_plane : first_plane + len(box)]
        _put_upright(frames, starts, box, (begin, stop), (first_plane, first_row))


def _put_upright(
    frames: Sequence[Array], starts: Array, out: Array, there: tuple[int, int], corner: tuple[int, int]
) -> None:
    """One box (z, y, x): plane z begins at frame ``starts[z]``, the box at a plane and a row."""
    (first_plane, first_row), (begin, stop) = corner, there
    (_, n_rows, n), piece = out.shape, len(frames[0])
    rows = slice(first_row, first_row + n_rows)
    for plane, (target, start) in enumerate(zip(out, starts.tolist(), strict=True), first_plane):
        low, high = (min(max(end, start), start + n) for end in (begin, stop))
        if low > start:
            target[:, : low - start] = 0
        if high < start + n:
            target[:, max(low, high) - start :] = 0
        while low < high:
            number, at = divmod(low, piece)
            end = min(high, low + piece - at)
            target[:, low - start : end - start] = frames[number % len(frames)][at : at + end - low, rows, plane].T
            low = end
