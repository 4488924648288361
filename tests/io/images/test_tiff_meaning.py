"""TIFFs are read as they are shown: turned, with 0 as white, with tables of colors; by every reader alike."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.images.files import read_image
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.planes.opening import open_planes
from gpustitch.slices.images.pixels import ImageSlices
from gpustitch.slices.images.series import find_image_series
from tests.paths import temporary

GREY = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
FIRE = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype(np.uint16)
GREEN = GREY * np.array([[0], [1], [0]], np.uint16)
HOW = st.fixed_dictionaries(
    {
        "orientation": st.integers(1, 8),
        "white_is_zero": st.booleans(),
        "dtype": st.sampled_from(["uint8", "uint16"]),
        "tile": st.sampled_from([None, (16, 16)]),
        "compression": st.sampled_from([None, "zlib"]),
        "bigtiff": st.booleans(),
        "byteorder": st.sampled_from("<>"),
    }
)


def noise(n: int, dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (n, 5, 8)).astype(dtype)


def written(path, pages, orientation=1, white_is_zero=False, *, dtype=None, bigtiff=False, byteorder="<", **how):
    photometric = "miniswhite" if white_is_zero else "minisblack"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as tiff:
        for page in pages:
            tags = [(274, "H", 1, orientation, True)]
            tiff.write(page, photometric=photometric, metadata=None, extratags=tags, contiguous=False, **how)


def shown(stored: np.ndarray, orientation: int, white_is_zero: bool) -> np.ndarray:
    """A page as Pillow turns it, which knows the tag from pictures of phones."""
    image = Image.fromarray(stored.astype(np.int32), mode="I")
    image.getexif()[274] = orientation
    turned = np.asarray(ImageOps.exif_transpose(image)).astype(stored.dtype)
    return np.iinfo(stored.dtype).max - turned if white_is_zero else turned


@settings(max_examples=40, deadline=None)
@given(how=HOW, n=st.integers(1, 3))
def test_every_reader_gives_pages_as_they_are_shown(how, n):
    pages = noise(n, how["dtype"])
    expected = np.array([shown(page, how["orientation"], how["white_is_zero"]) for page in pages])
    with temporary() as folder:
        written(folder / "stack.tif", pages, **how)
        (folder / "files").mkdir()
        for k, page in enumerate(pages):
            written(folder / "files" / f"{k}.tif", [page], **how)
        for place in (folder / "stack.tif", folder / "files"):
            frames = open_frames(place)
            np.testing.assert_array_equal(frames.read(0, n), expected)
            np.testing.assert_array_equal(frames.read(n - 1, n, slice(1, 4), slice(2, 5)), expected[-1:, 1:4, 2:5])
            planes = open_planes(place)
            assert planes.shape == expected.shape
            np.testing.assert_array_equal(planes.read(0, n), expected)
        np.testing.assert_array_equal(read_image(folder / "files" / "0.tif"), expected[0])
        if n > 1:
            (series,) = find_image_series(sorted((folder / "files").iterdir()))
            slices = ImageSlices(series.headers, "slices")
            assert slices.shape == expected.shape == (n, *series.headers[0].shape)
            np.testing.assert_array_equal(slices.read(0, n), expected)


def test_planes_behind_one_page_are_turned_too(tmp_path):
    pages = noise(4, "uint16")
    buffer = io.BytesIO()
    tags = [(274, "H", 1, 6, True)]
    tifffile.imwrite(buffer, pages[0], description="ImageJ=1.53t\nimages=4\nslices=4\n", metadata=None, extratags=tags)
    (tmp_path / "a.tif").write_bytes(buffer.getvalue() + pages[1:].tobytes())
    np.testing.assert_array_equal(open_planes(tmp_path / "a.tif").read(0, 4), [shown(p, 6, False) for p in pages])


@pytest.mark.parametrize("bits", [1, 4, 12])
def test_white_is_the_most_that_so_many_bits_hold(tmp_path, bits):
    image = np.random.default_rng(0).integers(0, 1 << bits, (6, 16)).astype("uint16" if bits > 8 else "uint8")
    image = image.astype(bool) if bits == 1 else image
    options = {} if bits == 1 else {"bitspersample": bits}
    try:
        tifffile.imwrite(
            tmp_path / "a.tif", image, photometric="miniswhite", metadata=None, software="scanner", **options
        )
    except NotImplementedError:
        pytest.skip("older imagecodecs do not pack bits")
    expected = ~image if bits == 1 else (1 << bits) - 1 - image
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


def test_booleans_of_arrays_are_read_as_they_were_written(tmp_path):
    mask = np.random.default_rng(0).random((9, 13)) < 0.3
    tifffile.imwrite(tmp_path / "a.tif", mask)  # states 0 as white
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), mask)


@pytest.mark.parametrize("how", ["white", "palette"])
def test_imagej_keeps_its_numbers_and_says_how_they_are_colored(tmp_path, how):
    image = noise(1, "uint8")[0]
    options = {"photometric": "miniswhite"} if how == "white" else {"photometric": "palette", "colormap": FIRE}
    tifffile.imwrite(tmp_path / "a.tif", image, description="ImageJ=1.53t\n", metadata=None, **options)
    np.testing.assert_array_equal(open_frames(tmp_path / "a.tif").read(0, 1)[0], image)


@pytest.mark.parametrize("table", [GREY, GREEN])
def test_tables_that_only_color_brightness_are_read_through(tmp_path, table):
    image = noise(1, "uint8")[0]
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="palette", colormap=table, metadata=None)
    np.testing.assert_array_equal(open_planes(tmp_path / "a.tif").read(0, 1)[0], image)


@pytest.mark.parametrize(
    ("dtype", "options", "message"),
    [
        ("uint8", {"photometric": "palette", "colormap": FIRE}, "numbers of colors in a table"),
        ("uint8", {"photometric": "palette", "colormap": GREY[:, ::-1]}, "save it as a grey image"),
        ("int16", {"photometric": "miniswhite"}, "0 is white.*save it with 0 as black"),
        ("float32", {"photometric": "miniswhite"}, "0 is white.*save it with 0 as black"),
    ],
)
def test_numbers_that_are_no_brightness_are_refused(tmp_path, dtype, options, message):
    for name in ("a/0.tif", "a/1.tif"):
        (tmp_path / "a").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, noise(1, dtype)[0], metadata=None, **options)
    for place in ("a/0.tif", "a"):
        with pytest.raises(DamagedInputError, match=message):
            open_planes(tmp_path / place)
    (series,) = find_image_series(sorted((tmp_path / "a").iterdir()))
    with pytest.raises(DamagedInputError, match=message):
        ImageSlices(series.headers, "slices")


def test_pixels_of_two_sizes_are_turned_with_them(tmp_path):
    tags = [(274, "H", 1, 8, True)]
    image = noise(1, "uint8")[0]
    tifffile.imwrite(
        tmp_path / "a.tif", image, resolution=(100, 50), resolutionunit="centimeter", extratags=tags, metadata=None
    )
    stated = tiff_facts(tmp_path / "a.tif").resolution
    assert stated is not None and stated.spacing_mm == pytest.approx((0.1, 0.2))
