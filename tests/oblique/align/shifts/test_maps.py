"""Maps of a device are those of the host: shifts at which tiles hardly meet, gaps, bins, mirror images, parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.array import CPU, choose_device
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Spacing
from gpustitch.oblique.align.overlaps.ground import Ground
from gpustitch.oblique.align.points import Overlap
from gpustitch.oblique.align.shifts.maps import PartsCompared
from gpustitch.oblique.align.shifts.parts import Part
from tests.cuda_cpu import module, shim

pytestmark = pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator runs")

IMAGES = [(), (0,), (1,), (2,), (0, 1, 2)]
# Transforms in float32: of what hardly varies, next to what does, less is known.
TOLERANCE = 2e-4


def tiles(dtype="uint16", offset=(2, -3, 5)):
    """Two tiles with one texture, the moving one beyond the fixed one on some axes and short of it on others."""
    rng = np.random.default_rng(8)
    whole = ndimage.gaussian_filter(rng.normal(0, 1, (40, 44, 50)), 1.2)
    whole = 400 + 900 * whole + 20 * np.arange(50) + rng.normal(0, 9, whole.shape)
    fixed, moving = whole[4:36, 5:38, :36], whole[6:38, 2:37, 5:46]
    return Overlap(*(ArrayVolume(v.astype(dtype), Spacing(1, 1, 1)) for v in (fixed, moving)), offset)


def without(volume, gaps):
    """A volume that does not hold some frames."""
    there = dataclasses.replace(volume.coverage, absent=tuple(gaps))
    voxels = np.where(np.isin(np.arange(there.n_frames), gaps), 0, volume.read(Box.of_shape(there.shape)))
    made = ArrayVolume(voxels, volume.spacing)
    made.coverage = there
    return made


def maps_of(overlap, device, binning=(2, 2, 2), images=IMAGES, **how):
    compared = PartsCompared(overlap, binning, (1.0, 1.0, 1.3), images, device, **how)
    shapes = [v.coverage.shape for v in (overlap.fixed, overlap.moving)]
    parts = [Part(Box((0, 0, 0), shapes[0]), Box((0, 0, 0), shapes[1])),
             Part(Box((1, 2, 3), (20, 22, 31)), Box((0, 5, 0), (17, 30, 28)))]  # fmt: skip
    return [compared.add(part, (-5, -7, -9), (6, 5, 9)) for part in parts], compared.products


def check(overlap, memory=None, **how):
    expected, products = maps_of(overlap, CPU, **how)
    with shim.installed():
        device = dataclasses.replace(choose_device("cuda"), memory_bytes=memory)
        found, products_there = maps_of(overlap, device, **how)
    for ours, theirs in zip(found, expected, strict=True):
        for (r, n), (r_host, n_host) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(n, n_host)
            np.testing.assert_allclose(r, r_host, atol=TOLERANCE)
    np.testing.assert_allclose(products_there, products, rtol=1e-4, atol=1e-3 * abs(products[1]) ** 0.5)
    return expected


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16"])
def test_of_whole_boxes(dtype) -> None:
    for (correlation, _), *_ in check(tiles(dtype)):
        assert 0.2 < np.abs(correlation).max() <= 1


@pytest.mark.parametrize("binning", [(1, 1, 1), (3, 2, 4), (32, 1, 5)])
def test_in_bins(binning) -> None:
    check(tiles(), binning=binning, images=IMAGES[:2], counts_products=True)


def test_with_gaps_in_one_tile_or_both() -> None:
    overlap = tiles()
    one = dataclasses.replace(overlap, fixed=without(overlap.fixed, [7, 8, 20]))
    check(one)
    check(dataclasses.replace(one, moving=without(overlap.moving, [0, 11, 12, 13])), counts_products=True)


def test_with_weights_of_which_all_count() -> None:
    overlap = tiles()
    check(dataclasses.replace(overlap, fixed=without(overlap.fixed, [7])), binning=(2, 2, 4))


@pytest.mark.parametrize("is_one", [True, False])
def test_of_grounds(is_one) -> None:
    overlap = tiles()
    moving = overlap.moving if is_one else Ground(overlap.moving, (2, 2, 2))
    check(Overlap(Ground(overlap.fixed, (2, 2, 2)), moving, overlap.offset), images=IMAGES[:2])


def test_of_voxels_that_are_no_numbers() -> None:
    overlap = tiles("float32")
    holes = overlap.fixed.read(Box.of_shape(overlap.fixed.coverage.shape)).copy()
    holes[10:15, 3:9, 20:] = np.nan
    check(dataclasses.replace(overlap, fixed=ArrayVolume(holes, Spacing(1, 1, 1))))


def test_in_little_memory_images_follow_each_other() -> None:
    check(tiles(), memory=1 << 20)


def test_of_one_level_nothing_is_left() -> None:
    flat = ArrayVolume(np.full((32, 33, 36), 700, np.uint16), Spacing(1, 1, 1))
    for r, _ in check(dataclasses.replace(tiles(), fixed=flat))[0]:
        assert not r.any()
