from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, OutputExistsError, ParameterError
from gpustitch.io.images.files import encode_tiff, read_image, write_png, write_tiff

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (700, 333), (3, 5, 4), (1, 4, 5)])
@pytest.mark.parametrize("compression", [0, 3])
def test_what_is_written_as_tiff_is_read(tmp_path, dtype, shape, compression):
    image = (RNG.random(shape) * 255).astype(dtype)
    write_tiff(tmp_path / "new" / "a.tif", image, compression=compression)
    assert np.array_equal(tifffile.imread(tmp_path / "new" / "a.tif").reshape(shape), image)
    read = read_image(tmp_path / "new" / "a.tif")
    assert read.dtype == dtype and np.array_equal(read.reshape(shape), image)
    assert encode_tiff(image, compression) == (tmp_path / "new" / "a.tif").read_bytes()


def test_views_that_are_not_contiguous_are_written_right(tmp_path):
    image = RNG.integers(0, 65536, (40, 30), dtype=np.uint16)
    for level in (0, 2):
        write_tiff(tmp_path / f"{level}.tif", image[::-1, ::2].T, compression=level)
        assert np.array_equal(read_image(tmp_path / f"{level}.tif"), image[::-1, ::2].T)


def test_a_picture_is_written_and_read(tmp_path):
    for name, shape in (("grey", (5, 7)), ("rgb", (5, 7, 3))):
        image = RNG.integers(0, 256, shape, dtype=np.uint8)
        write_png(tmp_path / f"{name}.png", image)
        assert np.array_equal(imagecodecs.imread(tmp_path / f"{name}.png"), image)
    assert read_image(tmp_path / "grey.png").shape == (5, 7)
    with pytest.raises(ParameterError, match="grey"):
        read_image(tmp_path / "rgb.png")


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 7, 3), {"photometric": "rgb"}),
        ((6, 7, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        ((3, 6, 7), {"photometric": "rgb", "planarconfig": "separate"}),
        ((5, 6, 7, 3), {"photometric": "rgb"}),
        ((6, 7, 2), {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}),
        ((6, 7, 4), {"photometric": "separated", "planarconfig": "contig"}),
    ],
)
def test_colours_are_never_pages(tmp_path, shape, options):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 256, shape, dtype=np.uint8), **options)
    with pytest.raises(ParameterError, match=r"a\.tif is a colour image"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(3, 6, 7), (6, 7, 3), (4, 6, 7), (6, 7, 4)])
def test_grey_pages_are_pages_whatever_their_number_and_width(tmp_path, shape):
    pages = RNG.integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "a.tif"), pages)


def test_pages_written_one_at_a_time_are_all_read(tmp_path):
    pages = RNG.integers(0, 256, (4, 6, 7), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, contiguous=False)
    assert np.array_equal(read_image(tmp_path / "a.tif"), pages)
    tifffile.imwrite(tmp_path / "a.tif", pages[0, :5], append=True)
    with pytest.raises(DamagedInputError, match=r"a\.tif has 5 pages of different sizes"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("image", [np.zeros((3, 3), np.uint16), np.zeros((3, 3, 2), np.uint8), np.zeros(3, np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path, image):
    with pytest.raises(ParameterError, match="PNG"):
        write_png(tmp_path / "a.png", image)


def test_16_bit_pictures_and_jpeg_2000_are_read(tmp_path):
    image = RNG.integers(0, 65536, (9, 6), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(image, reversible=True, codecformat="jp2"))
    for name in ("a.png", "a.jp2"):
        assert np.array_equal(read_image(tmp_path / name), image)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jp2"])
def test_damaged_and_missing_images_are_named(tmp_path, name):
    with pytest.raises(InputMissingError, match=name):
        read_image(tmp_path / name)
    (tmp_path / name).write_bytes(b"no image at all")
    with pytest.raises(DamagedInputError, match=name):
        read_image(tmp_path / name)


def test_other_formats_and_levels_are_refused(tmp_path):
    for name in ("a.bmp", "a", "1e9", "a.npy"):
        with pytest.raises(InputMissingError, match=f"no file .*{name}"):  # another suffix would not help
            read_image(tmp_path / name)
        (tmp_path / name).write_bytes(b"BM")
        with pytest.raises(ParameterError, match=f"{name}: images are read from"):
            read_image(tmp_path / name)
        (tmp_path / name).unlink()
    for level in (-1, 10):
        with pytest.raises(ParameterError, match="`compression`"):
            write_tiff(tmp_path / "a.tif", np.zeros((2, 2), np.uint8), compression=level)
    assert not list(tmp_path.iterdir())


def test_existing_images_are_kept_unless_told(tmp_path):
    image = np.ones((2, 2), np.uint8)
    for write, name in ((write_tiff, "a.tif"), (write_png, "a.png")):
        write(tmp_path / name, image)
        with pytest.raises(OutputExistsError):
            write(tmp_path / name, image + 1)
        write(tmp_path / name, image + 1, overwrite=True)
        assert np.array_equal(read_image(tmp_path / name), image + 1)
