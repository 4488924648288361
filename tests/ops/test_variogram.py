"""Length of structures within planes: the definition, what must not matter, and blur that grows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.ops.variogram import LAGS_PX, lengths_px, variograms
from tests.sections.similarity.drawn_series import texture


def test_a_variogram_is_as_it_is_defined():
    planes = np.random.default_rng(0).uniform(0, 9, (3, 30, 41))
    found = variograms(planes)
    for plane, values in zip(planes, found, strict=True):
        for lag, value in zip(LAGS_PX, values, strict=True):
            pairs = [plane[lag:] - plane[:-lag], plane[:, lag:] - plane[:, :-lag]]
            assert value == pytest.approx(sum(np.mean(pair**2) for pair in pairs) / 2 / plane.var())


@pytest.mark.parametrize("shape", [(24, 24), (64, 63), (65, 200), (300, 129)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_planes_of_any_size_and_type(shape, dtype):
    planes = np.stack([100 + 20 * texture(seed, shape) for seed in range(3)]).astype(dtype)
    found = variograms(planes)
    assert found.shape == (3, len(LAGS_PX)) and (np.diff(found.mean(axis=0)[:4]) > 0).all()
    np.testing.assert_allclose(variograms(planes.astype(np.float64) * 7 + 3), found, rtol=1e-6)


@pytest.mark.parametrize("n", [1, 127, 129, 300, 2000])
def test_of_long_series_some_planes_are_taken_whatever_the_chunks(n):
    planes = np.broadcast_to(texture(0, (24, 24)), (n, 24, 24))
    whole = variograms(planes, 0, n)
    taken = np.flatnonzero(np.isfinite(whole[:, 0]))
    assert min(n, 64) <= len(taken) and np.diff(taken, append=n).max() <= 6
    parts = [variograms(planes[at : at + 7], at, n) for at in range(0, n, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_planes_take_turns_with_windows():
    plane = np.concatenate([np.concatenate([texture(4 * y + x, (64, 64)) for x in range(4)], 1) for y in range(4)])
    found = variograms(np.broadcast_to(plane, (8, 256, 256)))
    np.testing.assert_array_equal(found[:4], found[4:])
    of_all = np.stack(
        [variograms(plane[None, y : y + 64, x : x + 64])[0] for y in range(0, 256, 64) for x in range(0, 256, 64)]
    )
    np.testing.assert_allclose(found[:4].mean(axis=0), of_all.mean(axis=0), rtol=0.02)
    assert len(np.unique(found[:4, 0])) == 4


def test_planes_that_tell_nothing():
    planes = np.stack([texture(seed, (48, 48)) for seed in range(40)])
    planes[3], planes[7, 5, 5], planes[9], planes[11, 0, 0] = 1.0, np.nan, np.nan, np.inf
    found = variograms(planes)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3, 7, 9, 11]
    lengths = lengths_px(found)
    assert lengths is not None and np.isfinite(lengths).all() and np.ptp(lengths) < 0.2 * lengths.mean()
    assert np.isnan(variograms(planes[:, :20, :])).all() and lengths_px(variograms(planes[:, :20, :])) is None


def test_a_window_beside_what_is_left_out_is_used():
    planes = np.stack([texture(seed, (130, 130)) for seed in range(2)])
    planes[:, :30] = np.nan
    assert np.isfinite(variograms(planes)).all()


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0])
def test_lengths_are_those_of_the_texture(factor):
    fine, coarse = (np.stack([texture(seed, (128, 128), sigma) for seed in range(40)]) for sigma in (2.0, 2.0 * factor))
    first, second = (lengths_px(variograms(planes)) for planes in (fine, coarse))
    assert np.median(second) / np.median(first) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("spoil", ["noise", "contrast", "offset"])
def test_noise_contrast_and_offset_that_change_do_not_matter(spoil):
    planes = np.stack([texture(seed, (128, 128)) for seed in range(80)])
    change = np.linspace(0.3, 1.5, 80)[:, None, None]
    rng = np.random.default_rng(0)
    spoilt = {
        "noise": lambda: planes + change / 2 * rng.standard_normal(planes.shape),
        "contrast": lambda: planes * change,
        "offset": lambda: planes + 40 * change,
    }[spoil]()
    lengths = lengths_px(variograms(spoilt))
    assert lengths.max() / lengths.min() < 1.2


def test_blur_that_grows_is_seen():
    planes = np.stack([ndimage.gaussian_filter(texture(seed, (128, 128)), seed / 40) for seed in range(80)])
    lengths = lengths_px(variograms(planes))
    assert lengths[-1] / lengths[0] > 1.25
    assert (np.diff(lengths[::10]) > -0.1).all()


def test_windows_do_not_lie_over_each_other():
    plane = texture(5, (96, 96))
    middle = variograms(plane[None, 16:80, 16:80])
    np.testing.assert_allclose(variograms(plane[None]), middle, rtol=1e-5)


def test_planes_of_a_long_series_take_turns_with_windows_too():
    plane = np.concatenate([texture(seed, (64, 64), 1.5 + seed) for seed in range(4)], axis=1)
    found = variograms(np.broadcast_to(plane, (40, *plane.shape)), 0, 4 * 64)
    taken = found[np.isfinite(found[:, 0])]
    assert len(taken) == 20 and len(np.unique(taken[:, 0])) == 4
