"""Brightness along y: its correction and its estimate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Coverage, PlacedVolume, Spacing
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.intensity import overlap_patches, patch_last_to_first, row_gains

SPACING = Spacing(1.0, 1.0, 1.0)


def empty(
    origin: tuple[float, float, float],
    frames: int = 90,
    rows: int = 60,
    planes: int = 40,
    absent: tuple[int, ...] = (),
) -> PlacedVolume:
    coverage = Coverage(frames, rows, planes, 1.0, absent)
    return PlacedVolume(str(origin), ArrayVolume(np.zeros(coverage.shape, np.uint16), SPACING, coverage), origin)


def scene(shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).gamma(2.0, 400.0, shape)


def test_gains_undo_the_fall_off() -> None:
    gains = row_gains(101, 0.7)
    np.testing.assert_allclose(gains * (1 - 0.3 * np.arange(101) / 100), 1, rtol=1e-6)
    assert gains[0] == 1
    np.testing.assert_array_equal(row_gains(7, 1.0), 1)
    np.testing.assert_array_equal(row_gains(1, 0.5), 1)


@pytest.mark.parametrize("bad", [0.0, -0.5, float("nan"), float("inf")])
def test_impossible_brightness_is_refused(bad: float) -> None:
    with pytest.raises(ParameterError, match="positive"):
        row_gains(10, bad)


END, BEGIN = np.arange(80, 100) / 99, np.arange(20) / 99


@pytest.mark.parametrize("truth", [0.6, 0.9, 1.0, 1.3])
def test_estimate_from_a_patch(truth: float) -> None:
    """Rows 80 to 99 of the tile before are rows 0 to 19 of the one after, both equally noisy."""
    values = scene((16, 20, 16), 0)
    noise = np.random.default_rng(1).normal(0, 100, (2, *values.shape))
    before = values * (1 + (truth - 1) * END)[None, :, None] + noise[0]
    after = values * (1 + (truth - 1) * BEGIN)[None, :, None] + noise[1]
    found = patch_last_to_first(before, after, END, BEGIN, min_mean=100, min_correlation=0.8)
    assert found == pytest.approx(truth, abs=0.015)


@pytest.mark.parametrize("truth", [0.6, 1.3])
def test_estimate_is_exact_without_noise(truth: float) -> None:
    values = scene((4, 50, 4), 0)
    end, begin = np.arange(50, 100) / 99, np.arange(50) / 99
    before, after = (values * (1 + (truth - 1) * t)[None, :, None] for t in (end, begin))
    found = patch_last_to_first(before, after, end, begin, min_mean=100, min_correlation=0.8)
    assert found == pytest.approx(truth, abs=2e-3)


def test_patches_that_say_nothing() -> None:
    values = scene((6, 20, 6), 2)
    for before, after in (
        (values / 100, values / 100),
        (values, scene(values.shape, 3)),
        (np.full(values.shape, 500.0), np.full(values.shape, 500.0)),
        (values, 2000 - values),
    ):
        assert patch_last_to_first(before, after, END, BEGIN, min_mean=100, min_correlation=0.8) is None
    half_alike = values + scene(values.shape, 3)
    limits = {"min_mean": 100, "min_correlation": float(np.corrcoef(values.ravel(), half_alike.ravel())[0, 1])}
    assert 0.2 < limits["min_correlation"] < 0.9
    for change, is_estimate in ((-0.05, True), (0.05, False)):
        asked = limits | {"min_correlation": limits["min_correlation"] + change}
        assert (patch_last_to_first(values, half_alike / 2, END, BEGIN, **asked) is not None) == is_estimate


def test_patches_lie_where_both_tiles_are() -> None:
    tiles = [empty((0, 0, 0)), empty((0.4, 48.3, 1.2)), empty((0, 0, 70)), empty((0.2, 47.9, 70.6))]
    patches = overlap_patches(tiles, 40, seed=3)
    assert {patch[:2] for patch in patches} == {(0, 1), (2, 3)}
    for i, j, box in patches:
        for tile in (tiles[i], tiles[j]):
            cells = plan_block(box, [tile]).cells
            assert sum(cell.box.size for cell in cells) == box.size
            need = plan_block(box, [tile]).reads[0]
            assert tile.volume.coverage.mask(need.intersect(Box.of_shape(tile.volume.coverage.shape))).any()
    assert overlap_patches(tiles, 40, seed=3) == patches
    assert overlap_patches(tiles, 40, seed=4) != patches


def test_patches_lie_beside_holes() -> None:
    tiles = [empty((0, 0, 0), absent=(40, 41)), empty((0, 48, 2), absent=(20,))]
    patches = overlap_patches(tiles, 40, seed=3)
    assert len(patches) == 40
    for _, _, box in patches:
        for tile in tiles:
            assert tile.volume.coverage.mask(box.shift([-round(o) for o in tile.origin_px])).all()
    nothing = empty((0, 48, 2), absent=tuple(range(90)))
    assert overlap_patches([tiles[0], nothing], 4) == []


def test_no_overlap_no_patches() -> None:
    assert overlap_patches([empty((0, 0, 0))], 10) == []
    assert overlap_patches([empty((0, 0, 0)), empty((0, 0, 70))], 10) == []
    assert overlap_patches([empty((0, 0, 0)), empty((0, 59, 0))], 10) == []
    # 4 frames over 40 planes of slant 1: one plane at a time has columns in common.
    assert overlap_patches([empty((0, 0, 0), frames=4), empty((0, 50, 0), frames=4)], 3)


def test_fusion_applies_the_gains() -> None:
    values = np.full((4, 11, 6), 1000, np.uint16)
    dimmed = np.rint(values * (1 - 0.4 * np.arange(11) / 10)[None, :, None]).astype(np.uint16)
    tiles = [PlacedVolume(str(y), ArrayVolume(dimmed, SPACING), (0.0, y, 0.0)) for y in (0.0, 7.5)]
    plan = plan_block(Box((0, 0, 0), (4, 18, 6)), tiles)
    gains = {number: row_gains(11, 0.6) for number in (0, 1)}
    voxels = {number: tiles[number].volume.read(need) for number, need in plan.reads.items()}
    result = fuse_block(plan, voxels, gains).astype(int)
    assert np.abs(result - 1000).max() <= 3
    # A gain beyond the range of the voxels saturates, it does not wrap.
    bright = {number: np.full_like(array, 65535) for number, array in voxels.items()}
    assert (fuse_block(plan, bright, {n: row_gains(11, 0.6) for n in (0, 1)}) == 65535).all()
