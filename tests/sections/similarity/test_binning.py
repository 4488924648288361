"""Means of blocks of pixels, against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.sections.similarity.binning import bin_planes
from tests.cuda_cpu import shim


def definition(planes, factors, mask=None):
    """Block by block in float64."""
    down, across = factors
    n, rows, columns = planes.shape
    out = np.full((n, rows // down, columns // across), np.nan)
    used = np.isfinite(planes) & (True if mask is None else mask != 0)
    for z, r, c in np.ndindex(*out.shape):
        part = np.s_[z, r * down : (r + 1) * down, c * across : (c + 1) * across]
        values = planes[part][used[part]].astype(np.float64)
        if values.size:
            out[z, r, c] = values.mean()
    return out.astype(np.float32)


def planes_of(dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        planes = rng.normal(100, 30, (3, 11, 14)).astype(dtype)
        planes[0, :4, :4] = np.nan
        planes[1, 5, 7] = np.inf
        return planes
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (3, 11, 14), dtype, endpoint=True)


@pytest.mark.parametrize("factors", [(1, 1), (2, 2), (3, 4), (4, 1), (11, 14)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("is_masked", [False, True])
def test_follows_its_definition(dtype, factors, is_masked):
    planes = planes_of(dtype)
    mask = np.random.default_rng(1).integers(0, 2, planes.shape[1:], np.uint8) if is_masked else None
    found = bin_planes(planes, factors, mask)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, definition(planes, factors, mask), rtol=1e-6)


def test_large_blocks_of_the_brightest_pixels_do_not_overflow():
    planes = np.full((1, 300, 300), 65535, np.uint16)
    assert bin_planes(planes, (300, 300)).tolist() == [[[65535]]]


def test_runs_where_the_array_is():
    planes = planes_of("float32")
    with shim.installed():
        found = shim.asnumpy(bin_planes(shim.asarray(planes), (2, 3)))
    np.testing.assert_array_equal(found, bin_planes(planes, (2, 3)))


@pytest.mark.parametrize("factors", [(0, 1), (12, 1), (1, 15)])
def test_blocks_that_do_not_fit_are_refused(factors):
    with pytest.raises(ParameterError, match="do not fit"):
        bin_planes(planes_of("uint8"), factors)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ParameterError, match="mask"):
        bin_planes(planes_of("uint8"), (2, 2), np.ones((3, 3), bool))
