"""Fusion against pairs of tiles that spimstitch fused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Coverage, PlacedVolume
from gpustitch.oblique.fuse.blend import Footprint
from tests.oblique.fuse.fuse_tiles import SPACING, fused
from tests.paths import DATA


def upright(frames: npt.NDArray[np.uint16], more_frames: int = 0, more_rows: int = 0) -> ArrayVolume:
    """Isotropic frames (f, y, z) in their upright grid; empty frames and rows may follow."""
    frames = np.pad(frames, ((0, more_frames), (0, more_rows), (0, 0)))
    n, rows, depth = frames.shape
    volume = np.zeros((depth, rows, n + depth - 1), np.uint16)
    for z in range(depth):
        volume[z, :, z : z + n] = frames[:, :, z].T
    return ArrayVolume(volume, SPACING, Coverage(n, rows, depth, 1.0))


def test_golden_pair_along_y() -> None:
    """spimstitch measures to one row past the last, so its tiles are given one row more.

    It truncates after dividing by a sum of weights that is a little above 1, and so loses up to 1 count.
    """
    golden = np.load(DATA / "blend_2vol_y.npz")
    tiles = [
        PlacedVolume("a", upright(golden["frames_a"], more_rows=1), (0, 0, 0)),
        PlacedVolume("b", upright(golden["frames_b"], more_rows=1), (0, 50, 0)),
    ]
    reference = golden["out"].astype(int)
    difference = fused(tiles, Box.of_shape(reference.shape)) - reference
    assert set(np.unique(difference[reference > 0])) == {0, 1}


def test_golden_pair_along_x() -> None:
    """spimstitch measures to the trailing edge with its block's size for the tile's depth: 6 frames too far."""
    golden = np.load(DATA / "blend_2vol_x.npz")
    tiles = [
        PlacedVolume("a", upright(golden["frames_a"], more_frames=6), (0, 0, 0)),
        PlacedVolume("b", upright(golden["frames_b"], more_frames=6), (0, 0, 44)),
    ]
    reference = golden["out"].astype(int)
    difference = fused(tiles, Box.of_shape(reference.shape)) - reference
    z, _, x = np.indices(reference.shape)
    # The six frames that were added are empty, so where they lie nothing can be compared.
    compared = (x - z >= 0) & ~((x - z >= 88) & (x - z < 94)) & (x - z < 132)
    assert np.abs(difference[compared]).max() <= 2
    assert (np.abs(difference[compared]) <= 1).mean() > 0.999


def test_the_trailing_corner_is_not_lost() -> None:
    """spimstitch leaves out the trailing block of planes from 64 and columns from 192, where the second tile ends."""
    golden = np.load(DATA / "blend_2vol_x_corner.npz")
    frames = np.zeros((88, 72, 70), np.uint16)
    frames[70:, :, 64:] = golden["frames_b"]
    tiles = [
        PlacedVolume("a", upright(np.zeros((88, 72, 70), np.uint16)), (0, 0, 0)),
        PlacedVolume("b", upright(frames), (0, 0, 44)),
    ]
    assert not golden["out"][:, :, 192 - 180 :].any()
    ours = fused(tiles, Box((64, 0, 192), (70, 72, 202)))
    for z in range(64, 70):
        # Frame f of the second tile lies at x = 44 + z + f; the first tile ends further left.
        expected = frames[192 - 44 - z :, :, z].T
        assert expected.all() and expected.shape[1] == z - 60
        np.testing.assert_array_equal(ours[z - 64, :, : z - 60], expected)
        assert not ours[z - 64, :, z - 60 :].any()


def test_distances_are_those_of_the_reference() -> None:
    golden = np.load(DATA / "distance_mask.npz")
    # Again one row and plane past the last, and a trailing edge 6 frames too far (94 for 88).
    volume = ArrayVolume(np.zeros((71, 73, 165), np.uint8), SPACING, Coverage(95, 73, 71, 1.0))
    footprint = Footprint.of(PlacedVolume("a", volume, (0, 0, 0)), 0, 64)
    index = np.indices((64, 64, 64))
    covered = golden["mask"]
    columns = footprint.columns[index[0]]
    np.testing.assert_array_equal((index[2] >= columns[..., 0]) & (index[2] < columns[..., 1]), covered)
    along_y = np.minimum(index[1] - footprint.y_edges[0], footprint.y_edges[1] - index[1])
    along_z = np.minimum(index[0] - footprint.z_edges[0], footprint.z_edges[1] - index[0])
    along_x = np.minimum(index[2] - footprint.first_x[index[0]], footprint.last_x[index[0]] - index[2])
    np.testing.assert_array_equal(along_y[covered], golden["dist_y"][covered])
    np.testing.assert_array_equal(along_z[covered], golden["dist_z"][covered])
    np.testing.assert_allclose(along_x[covered], golden["dist_x"][covered], atol=1e-12)
