"""Lightsheet destriping against its definition, pystripe's results, and laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import (
    LightsheetOptions,
    background_estimate,
    centres,
    destripe_lightsheet,
    line_estimate,
)
from tests.oblique.destripe.test_percentile import bilinear, picture
from tests.paths import DATA


def local_percentile(image, size, spacing, step, fraction):
    """Window by window, as it is written down."""
    at = []
    for n, s in zip(image.shape, spacing, strict=True):
        count = max(1, n // s)
        at.append([(n - (count - 1) * s) // 2 + k * s for k in range(count)])
    values = np.empty([len(a) for a in at])
    for i, r in enumerate(at[0]):
        for j, c in enumerate(at[1]):
            rows = slice(max(0, r - size[0] // 2), r - size[0] // 2 + size[0], step)
            columns = slice(max(0, c - size[1] // 2), c - size[1] // 2 + size[1], step)
            values[i, j] = np.percentile(image[rows, columns], 100 * fraction)
    return values


def definition(image, options):
    length, size = options.artifact_length, options.background_window_size
    line = local_percentile(image, (1, length), (1, length), 1, options.percentile)
    background = local_percentile(image, (size, size), (25, 25), 2, options.percentile)
    stripe = np.minimum(
        bilinear(line, image.shape), options.lightsheet_vs_background * bilinear(background, image.shape)
    )
    return image - np.minimum(image, stripe)


def test_counts_and_estimates_of_pystripe():
    data = np.load(DATA / "correct_lightsheet_300x260.npz")
    image, options = data["img"], LightsheetOptions()
    line = np.rint(bilinear(line_estimate(image[None], options)[0], image.shape))
    assert np.abs(line - data["lightsheet"]).max() <= 1  # pystripe truncates each window's value
    background = bilinear(background_estimate(image[None], options)[0], image.shape)
    # Its zoom falls off the last row, where the background is 0 and nothing is subtracted; here it goes on.
    np.testing.assert_allclose(background[:-1], data["background"][:-1], atol=1e-3)
    assert (data["background"][-1] == 0).all()
    assert (background[-1] > 100).all()
    difference = np.abs(Correction("lightsheet", lightsheet=options).apply(image).astype(int) - data["out_uint16"])
    assert difference[:-1].max() <= 1


SHAPES = [(300, 260), (47, 301), (1, 1), (1, 400), (400, 1), (24, 149), (3, 5), (201, 200)]


@pytest.mark.parametrize("shape", SHAPES)
def test_follows_its_definition_also_on_images_smaller_than_a_window(shape):
    """pystripe divides by zero there."""
    image = picture(*shape)
    for options in (LightsheetOptions(), LightsheetOptions(31, 41, 0.4, 1.2)):
        result = destripe_lightsheet(image, options)
        assert result.dtype == np.float32
        assert result.shape == shape
        np.testing.assert_allclose(result, definition(image, options), atol=0.01)


def test_frames_are_destriped_one_by_one():
    frames = np.stack([picture(60, 170, seed) for seed in range(3)])
    options = LightsheetOptions(31, 41)
    result = destripe_lightsheet(frames, options)
    for frame, destriped in zip(frames, result, strict=True):
        np.testing.assert_array_equal(destripe_lightsheet(frame, options), destriped)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 80), st.integers(1, 80)), st.integers(1, 90), st.integers(1, 90),
    st.floats(0, 1), st.floats(0, 3),
)  # fmt: skip
def test_follows_its_definition_for_any_window(shape, length, size, fraction, weight):
    image, options = picture(*shape), LightsheetOptions(length, size, fraction, weight)
    np.testing.assert_allclose(destripe_lightsheet(image, options), definition(image, options), atol=0.01)


def test_centres_are_in_the_middle():
    assert list(centres(10, 25)) == [5]
    assert list(centres(100, 25)) == [12, 37, 62, 87]
    assert list(centres(3, 1)) == [0, 1, 2]


def test_constant_and_saturated_images_vanish_as_stripes_do():
    for value in (0, 7, 65535):
        image = np.full((60, 170), value, np.uint16)
        np.testing.assert_allclose(destripe_lightsheet(image, LightsheetOptions()), 0, atol=0.01)
    image = np.full((60, 170), 1000, np.uint16)
    kept = destripe_lightsheet(image, LightsheetOptions(lightsheet_vs_background=0.4))
    np.testing.assert_allclose(kept, 600, atol=0.01)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int32, np.float32, np.float64, ">u2"])
def test_takes_any_real_type_and_any_layout(dtype):
    image = np.minimum(picture(90, 160), 255).astype(dtype)
    image.flags.writeable = False
    options = LightsheetOptions(20, 30)
    for view in (image, image.T, image[::-1, ::2], np.rot90(image)):
        np.testing.assert_allclose(destripe_lightsheet(view, options), definition(view, options), atol=0.01)


def test_bad_images_are_refused():
    for image in (np.zeros(4), np.zeros((1, 2, 3, 4)), np.zeros((0, 4)), np.zeros((4, 4), complex)):
        with pytest.raises(ParameterError, match="rows, columns"):
            destripe_lightsheet(image, LightsheetOptions())
    image = np.ones((9, 9), np.float32)
    image[2, 2] = np.nan
    with pytest.raises(DamagedInputError, match="NaN"):
        destripe_lightsheet(image, LightsheetOptions())


@pytest.mark.parametrize(
    "bad",
    [
        {"artifact_length": 0}, {"background_window_size": -3}, {"percentile": 1.5}, {"percentile": np.nan},
        {"lightsheet_vs_background": -1.0}, {"lightsheet_vs_background": np.inf},
    ],
)  # fmt: skip
def test_bad_options_are_refused_by_name(bad):
    with pytest.raises(ParameterError, match=f"`{next(iter(bad))}`"):
        LightsheetOptions(**bad)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_line_alone_leaves_what_an_endless_background_would(dtype: type) -> None:
    image = np.random.default_rng(3).poisson(90, (2, 40, 70)).astype(dtype)
    options = LightsheetOptions(9, 12)
    found = destripe_lightsheet(image, replace(options, is_line_alone=True))
    np.testing.assert_array_equal(found, destripe_lightsheet(image, replace(options, lightsheet_vs_background=1e30)))
    assert (found <= destripe_lightsheet(image, options)).all() and found.any()
