"""Steps on sections give what the stages give, for arrays of any library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import gpustitch as gs
from gpustitch.errors import GpustitchWarning, ParameterError
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.banded import banded_correlation
from tests.verbs.libraries import LIBRARIES, in_library, on_host, texture

pytestmark = pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")


def series(seed=0, n=24, shape=(48, 56)):
    """Planes of a texture, one or two pixels apart."""
    steps = np.random.default_rng(seed).integers(1, 3, n)
    fine = texture((2 * n + 2, *shape), seed)
    return np.ascontiguousarray(fine[np.cumsum(steps)])


@pytest.mark.parametrize("library", LIBRARIES)
def test_similarity_is_the_banded_correlation(library):
    planes = series()
    with in_library(library, planes) as (there,):
        found = gs.similarity(there, 6, register="off", no_data="off", high_pass="off")
    np.testing.assert_allclose(found.half_strip, banded_correlation(planes, 6), atol=1e-6)
    matrix = found.matrix()
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix[3, 8] == found.half_strip[3, 5]
    assert np.isnan(matrix[0, 7])
    assert found.max_lag == 6
    assert np.asarray(found).shape == (24, 7)


@pytest.mark.parametrize("library", LIBRARIES)
def test_z_positions_of_planes_are_those_of_their_similarity(library):
    # Of small planes similarities contradict each other (a misfit of 0.05): then there are several solutions, an error
    # apart, and rounding by 2e-7 decides between them. Here it moves positions by 1e-5.
    planes = series(3, shape=(128, 136))
    with in_library(library, planes) as (there,):
        found = gs.z_positions(there, 5, register="off", no_data="off", high_pass="off")
    alike = gs.similarity(planes, 5, register="off", no_data="off", high_pass="off")
    again = gs.z_positions(alike)
    np.testing.assert_allclose(found.positions, again.positions, atol=1e-3)
    np.testing.assert_array_equal(again.positions, gs.z_positions(alike, 5).positions)
    assert gs.find_faults(alike, again) == gs.find_faults(alike, again.positions)
    direct = estimate_positions(alike.half_strip[:, :4], EstimateOptions(max_lag=3))
    np.testing.assert_array_equal(gs.z_positions(alike, 3).positions, direct.positions)


def test_similarities_keep_what_planes_tell_of_their_structures():
    blurred = np.stack([gaussian_filter(np.float32(plane), 2 * n / 50) for n, plane in enumerate(series(4, 50))])
    found, alike = gs.z_positions(blurred, 5, register="off"), gs.similarity(blurred, 5, register="off")
    assert alike.in_plane_px.shape == (50,) and found.texture_ratio > 1.25
    again = gs.z_positions(alike)
    assert again.texture_ratio == found.texture_ratio and again.assumed == found.assumed
    assert alike.patches.values.shape == (50, 8, 8, 4)
    np.testing.assert_allclose(again.positions, found.positions, atol=1e-6)


def test_z_positions_takes_options_of_both_kinds(tmp_path):
    planes = series(2)
    np.save(tmp_path / "planes.npy", planes)
    options = {"register": "off", "compat": True, "outer_iterations": 5}
    found = gs.z_positions(planes, 4, **options)
    assert found.iterations == 5
    np.testing.assert_array_equal(gs.z_positions(tmp_path / "planes.npy", 4, **options).positions, found.positions)
    with pytest.raises(ParameterError, match="register"):
        gs.z_positions(gs.similarity(planes, 4), register="off")
    with pytest.raises(TypeError):
        gs.z_positions(planes, bandwidth=3)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_render_interpolates_between_sections(library, dtype):
    planes = (texture((5, 6, 7)) // 20).astype(dtype)
    at = np.array([0.0, 1.5, 1.0, 3.0, 4.0])
    with in_library(library, planes) as (there,):
        found = on_host(gs.render(there, at, z_spacing=0.5), library)
    order = np.argsort(at)
    grid = np.arange(9) * 0.5
    flat = planes[order].reshape(5, -1).astype(np.float64)
    expected = np.stack([np.interp(grid, at[order], pixel) for pixel in flat.T], axis=1).reshape(9, 6, 7)
    assert found.dtype == planes.dtype
    np.testing.assert_allclose(found, expected, atol=1e-3 if dtype == "float32" else 0.51)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_render_takes_any_order_of_memory(dtype):
    planes = texture((4, 5, 6)).astype(dtype)
    expected = gs.render(planes, np.arange(4), 0.5)
    np.testing.assert_array_equal(gs.render(np.asfortranarray(planes), np.arange(4), 0.5), expected)


def test_render_warns_of_gaps():
    planes = texture((4, 5, 6))
    with pytest.warns(GpustitchWarning, match="are 0"):
        found = gs.render(planes, [0, 1, 9, 10])
    assert not found[2:9].any()
    with pytest.warns(GpustitchWarning, match="interpolated across"):
        assert gs.render(planes, [0, 1, 9, 10], fill_gaps=True)[2:9].any()


def test_render_refuses_positions_of_other_sections():
    planes = texture((4, 5, 6))
    for at, step in (([0, 1, 2], 1.0), ([0, 1, 2, 3], 0.0), ([0, 1, 2, 3], np.nan)):
        with pytest.raises(ParameterError):
            gs.render(planes, at, step)


def test_a_similarity_is_an_array_and_copied_only_as_asked():
    found = gs.similarity(np.random.default_rng(0).random((8, 16, 16)), max_lag=3)
    assert np.shares_memory(np.asarray(found), found.half_strip)
    assert not np.shares_memory(np.array(found), found.half_strip)
    halves = np.asarray(found, np.float16)
    assert halves.dtype == np.float16
    np.testing.assert_allclose(halves, found.half_strip, rtol=1e-3)
    with pytest.raises(ValueError, match="only in a copy"):
        found.__array__(np.float16, copy=False)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("seed", range(3))
def test_infinite_pixels_are_used_as_little_as_nan(seed):
    rng = np.random.default_rng(seed)
    planes = series(seed, 12).astype(np.float32)
    at = tuple(rng.integers(0, n, 4) for n in planes.shape)
    lost, infinite = planes.copy(), planes.copy()
    lost[at], infinite[at] = np.nan, rng.choice([-np.inf, np.inf], 4)
    expected, found = (gs.similarity(p, 4).half_strip for p in (lost, infinite))
    assert not np.array_equal(expected, gs.similarity(planes, 4).half_strip, equal_nan=True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("far", [1e4, 1e9, 1e30, 1e300, 10**30])
@pytest.mark.parametrize("name", ["high_pass", "register", "no_data"])
def test_more_pixels_than_planes_have_are_all_of_them(name, far):
    planes = series(1, 8)
    least = {"high_pass": 2000, "register": 56, "no_data": "off"}[name]
    expected, found = (gs.similarity(planes, 4, **{name: value}).half_strip for value in (least, far))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["high_pass", "register"])
@pytest.mark.parametrize("wrong", [np.inf, np.nan, 0, -1, 10**400])
def test_distances_that_are_none_are_refused_by_name(name, wrong):
    with pytest.raises(ParameterError, match=f"`{name}`"):
        gs.similarity(series(1, 8), 4, **{name: wrong})
