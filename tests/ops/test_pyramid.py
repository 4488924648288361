"""Downsampling by two, along all axes or some."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.ops.pyramid import downsample, signed_too
from tests.cuda_cpu import module, shim
from tests.paths import DATA

SOME_AXES = [factors for factors in itertools.product((1, 2), repeat=3) if factors != (2, 2, 2)]


def cells(volume, factors):
    """Place and voxels of each cell."""
    for place in np.ndindex(*(-(-n // f) for n, f in zip(volume.shape, factors, strict=True))):
        yield place, volume[tuple(slice(at * f, at * f + f) for at, f in zip(place, factors, strict=True))].ravel()


def naive(volume, factors=(2, 2, 2)):
    """Mean of the voxels that exist, in exact arithmetic; Python rounds halves to even."""
    out = np.empty([-(-n // f) for n, f in zip(volume.shape, factors, strict=True)], volume.dtype)
    for (z, y, x), cell in cells(volume, factors):
        if volume.dtype.kind == "f":
            out[z, y, x] = cell.astype(np.float64).mean()
        else:
            out[z, y, x] = round(Fraction(int(cell.astype(np.uint64).sum()), len(cell)))
    return out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (3, 5, 7), (1, 6, 1), (19, 7, 5), (4, 67, 2)])
def test_integers_are_the_rounded_mean(dtype, shape):
    volume = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    result = downsample(volume)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, naive(volume))


@pytest.mark.parametrize("factors", SOME_AXES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 6, 7), (37, 2, 3), (2, 133, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_some_axes_alone(dtype, shape, factors):
    volume = (np.random.default_rng(sum(shape)).integers(0, 6, shape) * (41 if dtype == "uint8" else 9001)).astype(
        dtype
    )
    np.testing.assert_allclose(downsample(volume, factors=factors), naive(volume, factors), rtol=1e-6)
    np.testing.assert_array_equal(downsample(volume, "max", factors), naive_of(volume, max, factors))
    z, y, x = factors
    np.testing.assert_array_equal(downsample(volume, "stride", factors), volume[::z, ::y, ::x])
    if dtype != "float32":
        np.testing.assert_array_equal(downsample(volume, factors=factors), naive(volume, factors))
        np.testing.assert_array_equal(downsample(volume, "mode", factors), naive_of(volume, most_frequent, factors))


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_halves_go_to_even(values):
    cell = np.array(values, np.uint16).reshape(2, 2, 2)
    assert downsample(cell)[0, 0, 0] == round(Fraction(sum(values), 8))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_the_mean(dtype):
    volume = np.random.default_rng(2).random((9, 11, 6)).astype(dtype)
    result = downsample(volume)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, naive(volume), rtol=1e-6)


def test_a_nan_stays_in_its_cell():
    volume = np.ones((4, 4, 4), np.float32)
    volume[1, 1, 1] = np.nan
    result = downsample(volume)
    assert np.isnan(result[0, 0, 0])
    assert np.isnan(result).sum() == 1


def test_saturated_volume_stays_saturated():
    volume = np.full((5, 6, 7), 65535, np.uint16)
    assert (downsample(volume) == 65535).all()


def test_levels_do_not_drift():
    volume = np.random.default_rng(3).integers(0, 1000, (128, 64, 64), np.uint16)
    coarse = downsample(downsample(downsample(volume)))
    assert abs(coarse.mean() - volume.mean()) < 0.02  # rounding halves up adds 0.19


def test_views_and_blocks_agree_with_the_whole():
    volume = np.random.default_rng(4).integers(0, 65536, (40, 20, 30), np.uint16)
    view = volume.transpose(2, 0, 1)[::2, :, 1:]
    np.testing.assert_array_equal(downsample(view), downsample(view.copy()))
    whole = downsample(volume)
    np.testing.assert_array_equal(downsample(volume[16:32, 4:10, 6:]), whole[8:16, 2:5, 3:])


def test_the_pyramid_is_that_of_the_reference():
    # The reference drops fractions, ours rounds them; it also loses the last block of an odd x (129 -> 65
    # keeps no voxel of plane 64 there), which ours keeps: the mean of the one plane that is left.
    data = np.load(DATA / "pyramid_70x133x129.npz")
    for fine, coarse in (("level1", "level2"), ("level2", "level3")):
        ours, theirs = downsample(data[fine]), data[coarse]
        difference = ours.astype(int) - theirs
        assert ours.shape == theirs.shape
        assert difference[:, :, :-1].min() >= 0 and difference[:, :, :-1].max() <= 1
    assert (data["level2"][:, :, -1] == 0).all()
    np.testing.assert_array_equal(downsample(data["level1"])[:, :, -1:], naive(data["level1"][:, :, 128:]))


def naive_of(volume, choose, factors=(2, 2, 2)):
    """``choose`` of the values of each cell that exist."""
    out = np.empty([-(-n // f) for n, f in zip(volume.shape, factors, strict=True)], volume.dtype)
    for place, cell in cells(volume, factors):
        out[place] = choose(cell.tolist())
    return out


def most_frequent(values):
    return min(values, key=lambda value: (-values.count(value), value))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (1, 6, 1), (19, 7, 5), (4, 67, 2)])
def test_maximum_of_each_cell(dtype, shape):
    volume = (np.random.default_rng(5).random(shape) * 250).astype(dtype)
    result = downsample(volume, "max")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, naive_of(volume, max))


def test_a_nan_is_the_maximum_of_its_cell():
    volume = np.ones((2, 2, 4), np.float32)
    volume[1, 0, 1] = np.nan
    np.testing.assert_array_equal(downsample(volume, "max"), [[[np.nan, 1]]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (1, 6, 1), (19, 7, 5), (4, 67, 2)])
@pytest.mark.parametrize("n_labels", [2, 4, 200])
def test_mode_of_each_cell(dtype, shape, n_labels):
    volume = np.random.default_rng(6).integers(0, n_labels, shape).astype(dtype)
    volume[volume == n_labels - 1] = np.iinfo(dtype).max
    result = downsample(volume, "mode")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, naive_of(volume, most_frequent))


@given(st.lists(st.integers(0, 3), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_mode_of_equally_frequent_labels_is_the_least(values):
    assert downsample(np.array(values, np.uint32).reshape(2, 2, 2), "mode")[0, 0, 0] == most_frequent(values)


def test_every_order_of_a_cell_is_sorted():
    cells = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    volume = cells.reshape(256, 1, 1, 2, 2, 2).transpose(1, 3, 2, 4, 0, 5).reshape(2, 2, 512)
    np.testing.assert_array_equal(downsample(volume, "mode")[0, 0], cells.sum(1) > 4)


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator runs")
@pytest.mark.parametrize("method", ["mean", "max", "mode", "stride"])
@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (2, 2, 1), (1, 1, 1)])
def test_on_a_device_a_volume_is_the_same(method, factors):
    volume = np.random.default_rng(8).integers(0, 4, (9, 18, 71), np.uint16)
    for part in (volume, volume.transpose(1, 0, 2)[1:, :, 3:]):
        with shim.installed():
            result = shim.asnumpy(downsample(shim.asarray(part), method, factors))
        np.testing.assert_array_equal(result, downsample(part, method, factors))


def test_stride_keeps_the_first_voxel_of_each_cell():
    volume = np.random.default_rng(7).integers(0, 65536, (5, 6, 7), np.uint16)
    result = downsample(volume, "stride")
    np.testing.assert_array_equal(result, volume[::2, ::2, ::2])
    assert result.flags.c_contiguous and not np.shares_memory(result, volume)


def test_refuses_other_methods_and_modes_of_floats():
    with pytest.raises(ParameterError, match="not 'median'"):
        downsample(np.zeros((2, 2, 2), np.uint16), "median")
    with pytest.raises(ParameterError, match=r"mode .* not float32"):
        downsample(np.zeros((2, 2, 2), np.float32), "mode")


@pytest.mark.parametrize("factors", [(2, 2), (2, 2, 4), (0, 2, 2), 2])
def test_refuses_other_factors(factors):
    with pytest.raises(ParameterError, match="`factors`"):
        downsample(np.zeros((2, 2, 2), np.uint16), factors=factors)


@pytest.mark.parametrize("volume", [np.zeros((2, 2), np.uint16), np.zeros((0, 2, 2), np.uint16)])
def test_refuses_what_is_no_volume(volume):
    with pytest.raises(ParameterError, match="volume"):
        downsample(volume)


def test_refuses_other_types():
    with pytest.raises(ParameterError, match="int16"):
        downsample(np.zeros((2, 2, 2), np.int16))


@pytest.mark.parametrize("shape", [(8, 6, 4), (7, 5, 3), (1, 1, 1)])
def test_means_of_int16_are_rounded_as_those_of_whole_numbers(shape):
    voxels = np.random.default_rng(0).integers(-32768, 32768, shape).astype(np.int16)
    voxels.flat[:3] = (-32768, 32767, 0)[: voxels.size]
    even = np.pad(voxels.astype(np.float64), [(0, n % 2) for n in shape], mode="edge")
    cells = even.reshape([m for n in even.shape for m in (n // 2, 2)]).mean((1, 3, 5))
    made = signed_too(downsample)(voxels)
    assert made.dtype == np.int16
    np.testing.assert_array_equal(made, np.rint(cells))


def test_small_means_around_zero():
    voxels = np.zeros((2, 2, 2 * 17), np.int16)
    for cell in range(17):
        voxels[0, 0, 2 * cell] = cell - 8
    np.testing.assert_array_equal(signed_too(downsample)(voxels)[0, 0], np.rint((np.arange(17) - 8) / 8))


def test_other_types_are_passed_on():
    voxels = np.random.default_rng(0).integers(0, 65536, (4, 4, 4)).astype(np.uint16)
    np.testing.assert_array_equal(signed_too(downsample)(voxels), downsample(voxels))
