"""Pictures as text in the page."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
import pytest

from gpustitch.oblique.report.draw import contrast, enlarged, grey, magenta_green


def decoded(address: str) -> np.ndarray:
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(imagecodecs.png_decode(base64.b64decode(data)))


@pytest.mark.parametrize("shape", [(1, 1), (30, 40), (1, 2000), (1900, 17)])
def test_a_picture_is_of_its_image_and_never_too_large(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 60000, shape).astype(np.uint16)
    picture = decoded(grey(image, 0, 60000))
    assert max(picture.shape) <= 900
    if max(shape) <= 900:
        assert picture.shape == shape
        order = np.argsort(image.ravel())
        assert (np.diff(picture.ravel()[order].astype(int)) >= 0).all()


def test_agreement_is_white_and_each_image_has_its_colour() -> None:
    a, b = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 1.0]])
    picture = decoded(magenta_green(a, b, (0.0, 1.0)))
    assert picture.tolist() == [[[255, 255, 255], [255, 0, 255], [0, 255, 0]]]


def test_contrast_leaves_out_what_is_empty() -> None:
    image = np.zeros((50, 50))
    assert contrast(image) == (0.0, 1.0)
    image[:10] = np.linspace(300, 500, 500).reshape(10, 50)
    low, high = contrast(image)
    assert 300 <= low < 310 and 490 < high <= 500
    low, high = contrast(np.full((4, 4), 7.0), np.full((2, 2), np.nan))
    assert low == 7 and high > low


def test_enlarging_keeps_every_pixel_at_its_place() -> None:
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(enlarged(image, (2.0, 1.0)), image.repeat(2, axis=0))
    assert enlarged(image, (1.0, 1.4)).shape == (3, 6)
