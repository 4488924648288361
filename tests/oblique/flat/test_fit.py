"""The flat's fit: golden spread, exact surfaces, outliers, seeds, noise-only pixels, odd shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.oblique.flat.fit import FlatOptions, Grid, fit_flat
from tests.paths import DATA


def truth(rows, columns, level=600.0):
    y, x = np.mgrid[:rows, :columns]
    u, v = x / max(1, columns - 1), y / max(1, rows - 1)
    return level * (1 - 0.9 * (u - 0.4) ** 2 - 0.2 * v)


def as_bins(image, values_per_bin=4):
    return (image // values_per_bin).astype(np.int32)


def full(image):
    return np.full(image.shape, 100, np.int32)


def worst(fit, image, values_per_bin=4):
    # A bin stands for its least value; on average the value is half a bin above it.
    return np.abs(fit.counts / (image - values_per_bin / 2) - 1).max()


def test_golden_fit_lies_within_the_spread_of_the_reference_seeds():
    data = np.load(DATA / "illum_40x48.npz")
    images = np.stack([data[f"image_seed{k}"] for k in range(3)])
    fit = fit_flat(data["qbin"], data["counts"].sum(axis=2), FlatOptions(64, 16, 150))
    spread = max(np.abs(images[a] - images[b]).max() for a, b in ((0, 1), (0, 2), (1, 2)))
    assert np.abs(images - fit.counts).max() <= spread
    # The reference's seeds differ among themselves by more than ours from their mean.
    assert np.abs(images.mean(axis=0) - fit.counts).max() < spread / 2


def test_coefficients_are_those_of_the_pixels():
    image = truth(30, 40)
    fit = fit_flat(as_bins(image), full(image), FlatOptions())
    c = fit.coefficients
    y, x = np.mgrid[:30, :40]
    np.testing.assert_allclose(c["x^2"] * x**2 + c["x"] * x + c["y"] * y + c["1"], fit.counts, rtol=1e-5)


def test_another_seed_gives_the_same_flat():
    """spimstitch's RANSAC has no seed, and its flats of the same frames differ by up to 11 %."""
    rng = np.random.default_rng(5)
    image = truth(120, 90) * rng.normal(1, 0.08, (120, 90))
    image[:50, :40] *= 0.6
    flats = [fit_flat(as_bins(image), full(image), FlatOptions(seed=seed)).flat for seed in range(6)]
    assert max(np.abs(flat - flats[0]).max() for flat in flats) < 1e-3


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
def test_a_contradicting_part_of_the_frame_does_not_move_the_fit(share):
    rng = np.random.default_rng(1)
    clean = truth(100, 130)
    image = clean + rng.normal(0, 10, clean.shape)
    image[: int(100 * share)] = 200
    assert worst(fit_flat(as_bins(image), full(image), FlatOptions()), clean) < 0.03


@pytest.mark.parametrize("model", ["reference", "product"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.4])
def test_scattered_contradicting_pixels_do_not_move_the_fit(model, share):
    rng = np.random.default_rng(1)
    clean = truth(100, 130) if model == "reference" else 600 * np.exp(truth(100, 130, 1.0) - 1)
    image = clean + rng.normal(0, 10, clean.shape)
    image[rng.random(image.shape) < share] = 200
    assert worst(fit_flat(as_bins(image), full(image), FlatOptions(model=model)), clean) < 0.02


def test_least_squares_would_have_moved():
    clean = truth(100, 130)
    image = clean.copy()
    image[:40] = 200
    y, x = np.mgrid[:100, :130]
    design = np.stack([np.ones(x.size), x.ravel(), x.ravel() ** 2, y.ravel()], axis=1)
    plain = design @ np.linalg.lstsq(design, image.ravel(), rcond=None)[0]
    assert np.abs(plain / clean.ravel() - 1).max() > 0.1


def test_pixels_that_noise_alone_lifted_above_the_background_are_not_used():
    clean = truth(80, 80)
    bins, count = as_bins(clean), full(clean)
    outside = np.zeros(clean.shape, bool)
    outside[:, :60] = True
    bins[outside], count[outside] = 38, 2
    fit = fit_flat(bins, count, FlatOptions())
    assert fit.used_pixels == pytest.approx(0.25)
    assert worst(fit, clean) < 0.02


def test_saturated_and_dark_pixels_are_not_used():
    clean = truth(60, 60)
    bins = as_bins(clean)
    bins[:20], bins[20:30] = 1023, 36
    fit = fit_flat(bins, full(clean), FlatOptions())
    assert fit.used_pixels == pytest.approx(0.5)
    assert worst(fit, clean) < 0.01


def test_the_dark_offset_is_no_part_of_the_flat():
    light = truth(50, 60)
    fit = fit_flat(as_bins(light + 100), full(light), FlatOptions(dark=100))
    np.testing.assert_allclose(fit.flat, light / light.max(), atol=0.01)
    biased = fit_flat(as_bins(light + 100), full(light), FlatOptions())
    assert np.abs(biased.flat - light / light.max()).max() > 0.03


def test_product_model_follows_light_that_the_reference_model_cannot():
    y, x = np.mgrid[:120, :160]
    image = 900 * np.exp(-0.5 * ((x / 160 - 0.4) / 0.4) ** 2) * np.exp(-0.6 * y / 120)
    image = np.maximum(image, 160)
    options = FlatOptions(background=100)
    errors = [
        np.sqrt(np.mean((fit_flat(as_bins(image), full(image), o).counts / image - 1)[image > 170] ** 2))
        for o in (options, FlatOptions(background=100, model="product"))
    ]
    assert errors[1] < 0.01 < 0.02 < errors[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(200, 3000), st.sampled_from(["reference", "product"]))
def test_any_shape_keeps_a_constant(rows, columns, level, model):
    image = np.full((rows, columns), level)
    options = FlatOptions(model=model)
    if image.size < options.min_samples:
        with pytest.raises(ParameterError, match="`min_samples`"):
            fit_flat(as_bins(image), full(image), options)
        return
    fit = fit_flat(as_bins(image), full(image), options)
    np.testing.assert_allclose(fit.counts, level // 4 * 4, rtol=1e-4)
    assert fit.inlier_fraction == 1
    assert fit.counts.dtype == fit.flat.dtype == np.float32
    assert fit.flat.max() == 1


def test_brightness_scales_with_the_values_per_bin():
    image = truth(40, 40)
    narrow = fit_flat(as_bins(image), full(image), FlatOptions())
    wide = fit_flat(as_bins(image), full(image), FlatOptions(n_bins=512, values_per_bin=8, background=300))
    np.testing.assert_allclose(wide.counts, 2 * narrow.counts, rtol=1e-5)


def test_the_flat_is_never_below_the_background():
    image = truth(40, 40, level=260.0)
    image[image < 150] = 0
    fit = fit_flat(as_bins(image), full(image), FlatOptions())
    assert fit.counts.min() == 150


def test_without_foreground_the_error_says_to_lower_the_background():
    with pytest.raises(ParameterError, match="lower `background`"):
        fit_flat(np.full((30, 30), 20), np.zeros((30, 30), int), FlatOptions())


def test_with_everything_saturated_the_error_says_to_widen_the_bins():
    with pytest.raises(ParameterError, match="raise `values_per_bin`"):
        fit_flat(np.full((30, 30), 1023), np.full((30, 30), 50), FlatOptions())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "cubic"}, "`model`"),
        ({"min_samples": 3}, "`min_samples`"),
        ({"dark": 150.0}, "`dark`"),
        ({"dark": -1.0}, "`dark`"),
        ({"dark": float("nan")}, "`dark`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(ParameterError, match=says):
        FlatOptions(**options)


@pytest.mark.parametrize(("rows", "columns"), [((0, 2, 4), (1, 4)), ((1, 3, 5), (0,)), ((5,), (0, 3))])
def test_what_some_pixels_have_is_spread_to_those_around_them(rows, columns):
    grid = Grid((6, 5), np.array(rows), np.array(columns))
    spread = grid.spread(np.array([[10 * y + x for x in columns] for y in rows]))
    near = [[min(of, key=lambda k: abs(k - at)) for at in range(n)] for of, n in ((rows, 6), (columns, 5))]
    np.testing.assert_array_equal(spread, [[10 * y + x for x in near[1]] for y in near[0]])


@pytest.mark.parametrize("model", ["reference", "product", "smooth"])
def test_some_rows_and_columns_give_the_fit_of_all(model):
    image, options = truth(90, 130), FlatOptions(model=model)
    whole = fit_flat(as_bins(image), full(image), options)
    grid = Grid((90, 130), np.arange(1, 90, 3), np.arange(0, 130, 3))
    some = fit_flat(as_bins(image)[1::3, ::3], full(image)[1::3, ::3], options, grid)
    assert some.counts.shape == whole.counts.shape and np.abs(some.flat / whole.flat - 1).max() < 5e-3
