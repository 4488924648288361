"""Objects, and what lies between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Spacing
from gpustitch.oblique.align.overlaps.ground import Ground, GroundFound, objects
from gpustitch.oblique.align.overlaps.peaks import Peak
from gpustitch.oblique.align.points import Overlap

SPACING = Spacing(1.3, 1.8, 1.3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), level=st.floats(0, 3e4), slope=st.floats(-20, 20), peak=st.floats(30, 1e4))
def test_what_stands_out_is_found_on_any_level_and_noise_is_not(seed, level, slope, peak) -> None:
    rng = np.random.default_rng(seed)
    bins = (level + slope * np.arange(50) + rng.standard_normal((20, 30, 50))).astype(np.float32)
    place = tuple(rng.integers(2, n - 2) for n in bins.shape)
    bins[place] += peak * rng.choice([-1, 1])
    found = objects(bins)
    around = tuple(slice(p - 1, p + 2) for p in place)
    assert found[around].all()
    assert found.mean() < 0.2


def test_nothing_stands_out_where_all_is_alike() -> None:
    assert not objects(np.full((9, 10, 11), 300, np.float32)).any()


@pytest.mark.parametrize("binning", [(1, 1, 1), (2, 1, 2), (4, 2, 4)])
def test_a_ground_is_the_volume_less_its_objects(binning: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    voxels = np.zeros((40, 48, 60), np.float32)
    voxels[20, 24, 30] = 4e5
    voxels = rng.poisson(300 + ndimage.gaussian_filter(voxels, 2)).astype(np.uint16)
    volume = ArrayVolume(voxels, SPACING)
    means = Ground(volume, (2, 1, 2)).read_means(Box.of_shape(voxels.shape), binning)
    plain = voxels.reshape([m for n, b in zip(voxels.shape, binning, strict=True) for m in (n // b, b)])
    kept = np.isfinite(means)
    np.testing.assert_allclose(means[kept], plain.mean(axis=(1, 3, 5))[kept], rtol=1e-5)
    assert not kept[20 // binning[0], 24 // binning[1], 30 // binning[2]] and kept.mean() > 0.7
    # No more than noise is left of the object.
    assert means[kept].max() < 300 + 6 * np.sqrt(300 / np.prod(binning)) + 3


def test_voxels_that_are_not_finite_are_no_ground() -> None:
    voxels = np.random.default_rng(0).normal(300, 10, (16, 16, 16)).astype(np.float32)
    voxels[3, 4, 5] = np.inf
    voxels[8] = np.nan
    means = Ground(ArrayVolume(voxels, SPACING), (2, 1, 2)).read(Box.of_shape(voxels.shape))
    assert not np.isfinite(means[3, 4, 5]) and not np.isfinite(means[8]).any()
    assert np.isfinite(means).mean() > 0.7
    assert not np.isfinite(
        Ground(ArrayVolume(np.full_like(voxels, np.nan), SPACING), (2, 1, 2)).read(Box.of_shape(voxels.shape))
    ).any()


@pytest.mark.parametrize(
    ("off", "height", "is_elsewhere"),
    [((0, 0, 0), 15.0, "no"), ((1, 0, 0), 15.0, "no"), ((1.5, 0, 0), 15.0, "perhaps"), ((3, 0, 0), 15.0, "perhaps"),
     ((6, 0, 0), 15.0, "yes"), ((6, 0, 0), 4.0, "perhaps"), ((0, 5, -9), 15.0, "yes")],
)  # fmt: skip
def test_a_ground_is_elsewhere_if_it_is_far_and_fits_far_better(off, height: float, is_elsewhere: str) -> None:
    spread = tuple(tuple(row) for row in (np.eye(3) * 25).tolist())
    peak = Peak((1.0, 2.0, 3.0), spread, 0.9, height, False, 0.99)
    volume = ArrayVolume(np.zeros((4, 4, 4), np.uint16), SPACING)
    found = GroundFound(Overlap(volume, volume, (0, 0, 0)), (2, 1, 2), (4, 2, 4), peak)
    z, y, x = np.add(peak.offset_px, off).tolist()
    assert found.is_elsewhere((z, y, x)) == is_elsewhere
