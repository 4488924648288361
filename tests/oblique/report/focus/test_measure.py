"""Blur between two boxes of one place is told from all else in which they differ."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model.arrays import Floats
from gpustitch.oblique.report.focus.judge import BLURRED_PX, SIGMAS
from gpustitch.oblique.report.focus.measure import Blur, blur_between

SHAPES = [(9, 27, 99), (7, 63, 23), (11, 89, 129)]


def place(seed: int) -> tuple[Floats, np.random.Generator]:
    """Tissue and cells (z, y, x), bright as of a dim or a bright sample; more rows than a box, for edges."""
    rng = np.random.default_rng(seed)
    z, y, x = SHAPES[seed % len(SHAPES)]
    shape = (z, y + 60, x)
    rough, fine = (scipy.ndimage.gaussian_filter(rng.standard_normal(shape), s) for s in (6.0, 2.0))
    cells = scipy.ndimage.gaussian_filter((rng.random(shape) < 6e-4).astype(float), rng.choice([1.4, 2.0]))
    tissue = np.exp(0.3 * rough / rough.std() + 0.2 * fine / fine.std()) + 6 * cells / cells.max()
    return rng.choice([150.0, 600.0]) * tissue, rng


def camera(
    tissue: Floats, rng: np.random.Generator, blur_px: float, stripes: float, *, is_noisy: bool = True
) -> Floats:
    """What a tile shows of the middle rows: blurred, under stripes and light that falls off, with noise and offset."""
    seen = scipy.ndimage.gaussian_filter1d(tissue, blur_px, axis=1) if blur_px else tissue
    seen = seen[:, 30:-30]
    n = seen.shape[1]
    gain = np.exp(rng.normal(0, stripes, n)) * np.linspace(*rng.uniform(0.6, 1.0, 2), n)
    seen = seen * gain[None, :, None] * rng.uniform(0.5, 2)
    noise = rng.poisson(seen * 0.6) / 0.6 - seen + rng.normal(0, 3, seen.shape) if is_noisy else 0.0
    hot = 500.0 * (rng.random(seen.shape[:2]) < 2e-3)[:, :, None]
    return np.asarray(np.rint(100 + hot + seen + noise))


def is_told(blur: Blur | None) -> bool:
    return blur is not None and abs(blur.px2) > max(BLURRED_PX**2, SIGMAS * blur.sigma_px2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.15]), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]))
def test_tiles_that_are_alike_sharp_are_not_told(seed: int, stripes: float, both: float) -> None:
    tissue, rng = place(seed)
    a, b = (camera(tissue, rng, both, stripes) for _ in "ab")
    assert not is_told(blur_between(a, b))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 5))
def test_blur_that_grows_with_depth_is_alike_in_both(seed: int, most: float) -> None:
    tissue, rng = place(seed)
    n = len(tissue)
    deep = np.stack([scipy.ndimage.gaussian_filter1d(p, most * k / n + 1e-3, axis=0) for k, p in enumerate(tissue)])
    a, b = (camera(deep, rng, 0.0, 0.08) for _ in "ab")
    assert not is_told(blur_between(a, b))


@pytest.mark.parametrize("px", [3.0, 4.0, 6.0])
@pytest.mark.parametrize("seed", range(2, 20, len(SHAPES)))
@pytest.mark.parametrize("stripes", [0.0, 0.08])
def test_a_blurred_tile_is_told_with_its_blur(px: float, seed: int, stripes: float) -> None:
    """Of boxes large enough; the blur is rather told too small, where noise and gains of rows hide what is left."""
    tissue, rng = place(seed)
    sharp = camera(tissue, rng, 0, stripes)
    soft = camera(tissue, rng, px, stripes, is_noisy=bool(seed % 2))
    found = blur_between(sharp, soft)
    assert found is not None and is_told(found) and found.px2 > 0
    assert 0.6 * px < np.sqrt(found.px2) < 1.1 * px
    back = blur_between(soft, sharp)
    assert back is not None
    assert (back.px2, back.sigma_px2) == pytest.approx((-found.px2, found.sigma_px2))


def test_what_shows_nothing_or_is_too_small_tells_nothing() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (2, 9, 60, 99))
    assert blur_between(noise[0], noise[1]) is None
    assert blur_between(noise[0], np.full_like(noise[1], 100)) is None
    assert blur_between(noise[0][:, :10], noise[1][:, :10]) is None
    assert blur_between(noise[0][:, :, :7], noise[1][:, :, :7]) is None
