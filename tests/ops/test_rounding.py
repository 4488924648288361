"""Constants are nothing, whatever their level: no operation takes the rounding of its own sums for a signal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import AlignmentError
from gpustitch.model import Spacing
from gpustitch.oblique.align.ascend import ascend, peak
from gpustitch.oblique.align.blobs import find_blobs
from gpustitch.oblique.align.search import correlate_all_shifts
from gpustitch.oblique.destripe.otsu import otsu
from gpustitch.oblique.fuse.intensity import patch_last_to_first
from gpustitch.ops.smooth import smooth, smoothing_error
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.binning import bin_planes

SPACING = Spacing(1.8 / np.sqrt(2), 1.8, 1.8 / np.sqrt(2))
EPSILON = float(np.finfo(np.float32).eps)
HARD = [1, 100, 500, 1000, 3000, 50000, 0.1, 1e4 + 0.1, 1e9 + 7, -500.3]
LEVELS = st.one_of(st.sampled_from(HARD), st.floats(1e-3, 1e9), st.integers(1, 65535))
SHAPES = st.tuples(*[st.integers(7, 33)] * 3)


def constant(shape, level, seed=None, dtype=np.float32):
    """One level; with a seed each voxel may be an epsilon off it."""
    volume = np.full(shape, level, dtype)
    if seed is not None:
        volume *= (1 + EPSILON * np.random.default_rng(seed).integers(-1, 2, shape)).astype(dtype)
    return volume


@settings(max_examples=30)
@given(LEVELS, SHAPES, st.sampled_from([1.0, 2.0, 4.0]), st.sampled_from([None, 0]))
def test_constants_hold_no_blobs(level, shape, radius_um, seed):
    assert len(find_blobs(constant(shape, level, seed), SPACING, radius_um=radius_um)[0]) == 0


@pytest.mark.parametrize("shape", [(9, 9, 9), (20, 20, 20), (31, 31, 31), (24, 21, 26)])
@pytest.mark.parametrize("level", [1, 100, 500, 1000, 3000, 50000])
def test_constant_counts_hold_no_blobs(level, shape):
    assert len(find_blobs(np.full(shape, level, np.uint16), SPACING)[0]) == 0


@settings(max_examples=20)
@given(LEVELS, SHAPES, st.sampled_from([(0, 0, 0), (1.57, 1.11, 1.57), (4.7, 3.3, 4.7), (0, 9, 2)]))
def test_smoothing_keeps_a_level_to_its_error(level, shape, sigma_px):
    level = np.float32(level)
    away = np.abs(smooth(constant(shape, level), sigma_px).astype(np.float64) - level)
    assert away.max() <= smoothing_error(sigma_px) * abs(level)


@settings(max_examples=20)
@given(LEVELS, st.sampled_from(HARD), st.integers(0, 2**32 - 1))
def test_a_faint_blob_far_above_rounding_is_found_beside_any_level(level, around, seed):
    # The level of one half of the volume hides nothing in the other.
    volume = constant((31, 31, 61), abs(level), seed)
    volume[:, :, 30:] = abs(around)
    volume[15, 15, 50] = abs(around) * 1.01
    assert [15, 15, 50] in find_blobs(volume, SPACING)[0].tolist()


@settings(max_examples=20)
@given(LEVELS, st.integers(0, 2**32 - 1), st.sampled_from([None, 0]))
def test_nothing_correlates_with_a_constant(level, seed, off):
    texture = smooth(np.random.default_rng(seed).uniform(0, 5000, (9, 9, 9)), (1, 1, 1))
    around = [constant((15, 15, 15), level, off), smooth(constant((15, 15, 15), level, off), (2, 2, 2))]
    for moving in around:
        assert not correlate_all_shifts(texture, moving).any()
        assert not correlate_all_shifts(moving[:9, :9, :9], smooth(np.float32(seed % 97) * texture, (1, 1, 1))).any()
        (summit,) = ascend([texture], [moving], [(2, 2, 2)])
        assert (summit.position, summit.correlation, summit.settled) == ((2, 2, 2), 0, True)


@settings(max_examples=50)
@given(st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_equal_correlations_have_no_peak(value, seed):
    around = value * (1 + EPSILON * np.random.default_rng(seed).integers(-1, 2, 27))
    assert peak(np.full(27, value)) == peak(around) == (0, 0, 0)


@settings(max_examples=30)
@given(LEVELS, LEVELS, st.sampled_from([np.float32, np.float64]), st.sampled_from([None, 0]))
def test_constant_patches_say_nothing_of_brightness(before, after, dtype, seed):
    patches = [constant((8, 12, 20), abs(level), seed, dtype) for level in (before, after)]
    rows = np.linspace(0.8, 1, 12), np.linspace(0, 0.2, 12)
    assert patch_last_to_first(*patches, *rows, min_mean=0, min_correlation=0.5) is None


@settings(max_examples=30)
@given(LEVELS, st.sampled_from([(1, 1), (2, 2), (3, 4)]), st.integers(0, 2**32 - 1))
def test_constant_planes_have_no_similarity(level, factors, seed):
    mask = (np.random.default_rng(seed).random((12, 12)) < 0.7).astype(np.uint8)
    planes = np.stack([constant((12, 12), level * factor) for factor in (1, 2, 3, 1.5)])
    for used in (None, mask):
        assert np.isnan(banded_correlation(bin_planes(planes, factors, used), 2)).all()
        assert np.isnan(banded_correlation(planes, 2, used)).all()


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.sampled_from([0, 1]))
def test_sections_that_are_all_alike_have_no_positions(seed, n, off):
    rng = np.random.default_rng(seed)
    planes = np.repeat(rng.uniform(100, 4000, (1, 32, 32)), n, axis=0)
    planes *= 1 + off * EPSILON * rng.integers(-1, 2, planes.shape)
    similarity = banded_correlation(planes.astype(np.float32), 2)
    with pytest.raises(AlignmentError, match="all sections are alike"):
        estimate_positions(similarity, EstimateOptions(max_lag=2))


@settings(max_examples=30)
@given(LEVELS)
def test_otsu_of_a_constant_is_its_level(level):
    assert otsu(constant((12, 12), level)) == np.float32(level)
