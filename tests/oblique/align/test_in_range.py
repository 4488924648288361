"""Floats of any size are compared alike."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.array import CPU
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Link, Spacing
from gpustitch.oblique.align.in_range import USUAL, in_range
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import Overlap
from gpustitch.running.threads import Workers

TRUE = (0, 30, 0)


def overlap_of(factors: tuple[float, float], dtype: str = "float32") -> Overlap:
    """Two parts of one texture, each times a factor."""
    scene = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 80, 40)), 2)
    scene -= scene.min()
    tiles = (
        (part * factor).astype(dtype) for part, factor in zip((scene[:, :56], scene[:, 30:]), factors, strict=True)
    )
    first, second = (ArrayVolume(tile, Spacing(1, 1, 1)) for tile in tiles)
    return Overlap(first, second, (0, 32, 0))


def link_of(overlap: Overlap) -> Link:
    options, rng = MatchOptions(search_px=(6, 6, 6)), np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return link_tiles(overlap, ("a", "b"), options, (6, 6, 6), rng, Workers(1, CPU))[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factors", [(1e30, 1e30), (2e37, 1), (1e-30, 1e-30), (1e-37, 1e30)])
def test_tiles_of_any_size_are_linked_without_a_warning(factors, dtype):
    usual, link = link_of(overlap_of((1, 1), dtype)), link_of(overlap_of(factors, dtype))
    assert not link.reason
    np.testing.assert_allclose(link.offset_px, TRUE, atol=0.01)
    np.testing.assert_allclose(link.sigma_px, usual.sigma_px, rtol=0.01)


def test_a_power_of_two_changes_no_digit():
    first, second = overlap_of((1, 1)), overlap_of((2.0**90, 2.0**-90))
    a, b = in_range(first), in_range(second)
    assert a.fixed is first.fixed and b.fixed is not second.fixed
    box = first.shared[0]
    scale = np.median(b.fixed.read(box) / a.fixed.read(box))
    assert np.log2(scale) == np.rint(np.log2(scale))
    np.testing.assert_array_equal(b.fixed.read(box), a.fixed.read(box) * scale)


@pytest.mark.parametrize("greatest", [USUAL[0], 1.0, USUAL[1]])
def test_tiles_of_a_usual_size_are_left_as_they_are(greatest):
    for volume in (np.full((4, 4, 4), greatest, np.float64), np.zeros((4, 4, 4)), np.full((4, 4, 4), 7, np.uint16)):
        same = ArrayVolume(volume, Spacing(1, 1, 1))
        found = in_range(Overlap(same, same, (0, 0, 0)))
        assert found.fixed is same and found.moving is same


def test_voxels_that_are_not_finite_say_nothing_of_the_size():
    volume = np.full((5, 6, 7), 1e-30, np.float32)
    volume[2, 3] = np.inf, np.nan, -np.inf, 0, 1e-31, -2e-30, 1e-30
    tile = ArrayVolume(volume, Spacing(1, 1, 1))
    scaled = in_range(Overlap(tile, tile, (0, 0, 0)))
    found = scaled.fixed.read(scaled.shared[0])
    assert 0.5 <= np.abs(found[np.isfinite(found)]).max() < 1.0 + 1e-6
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(volume))
