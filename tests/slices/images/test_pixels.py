"""Pixels of slices that are images."""

from __future__ import annotations

import concurrent.futures

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.slices.images.pixels import ImageSlices
from gpustitch.slices.images.series import find_image_series
from gpustitch.slices.model import SliceHeader


def noise(shape=(6, 20, 30), dtype="uint16"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def headers(paths, frames=None):
    return [SliceHeader(path, frame, (20, 30)) for path, frame in zip(paths, frames or [0] * len(paths), strict=True)]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("how", ["pages", "imagej", "contiguous", "files", "compressed", "big-endian"])
def test_pages_come_in_the_order_asked_for(tmp_path, dtype, how):
    planes = noise(dtype=dtype)
    order = [3, 0, 5, 1, 4, 2]
    one = tmp_path / "v.tif"
    if how == "files":
        paths = [tmp_path / f"{k}.tif" for k in range(6)]
        for path, plane in zip(paths, planes, strict=True):
            tifffile.imwrite(path, plane)
        given = headers([paths[k] for k in order])
    else:
        if how == "imagej" and dtype == "int16":
            pytest.skip("ImageJ has no int16")
        options = {
            "pages": {"photometric": "minisblack"},
            "imagej": {"imagej": True},
            "compressed": {"compression": "zlib", "photometric": "minisblack"},
            "big-endian": {"byteorder": ">", "photometric": "minisblack"},
        }.get(how, {})
        if how == "contiguous":
            tifffile.imwrite(one, planes[0], byteorder=">")
            with one.open("ab") as file:
                with tifffile.TiffFile(one) as tiff:
                    assert tiff.pages.first.dataoffsets[0] + planes[0].nbytes == one.stat().st_size
                file.write(planes[1:].astype(planes.dtype.newbyteorder(">")).tobytes())
        else:
            tifffile.imwrite(one, planes, **options)
        given = headers([one] * 6, order)
    found = ImageSlices(given, "images")
    assert found.shape == (6, 20, 30) and found.dtype == dtype and found.dtype.isnative
    np.testing.assert_array_equal(found.read(0, 6), planes[order])
    np.testing.assert_array_equal(found.read(2, 4, slice(3, 9), slice(5, None)), planes[order][2:4, 3:9, 5:])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda k: found.read(k % 6, k % 6 + 1)[0], range(60)))
    np.testing.assert_array_equal(parts, planes[order * 10])


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_grey_images_in_colours(tmp_path, kind):
    planes = noise(dtype="uint8")
    encode = {"png": imagecodecs.png_encode, "bmp": imagecodecs.bmp_encode}[kind]
    paths = [tmp_path / f"{k}.{kind}" for k in range(6)]
    for path, plane in zip(paths, planes, strict=True):
        path.write_bytes(encode(np.repeat(plane[..., None], 3, 2)))
    np.testing.assert_array_equal(ImageSlices(headers(paths), "images").read(0, 6), planes)
    colors = np.stack([planes[0], planes[1], planes[2]], 2)
    grey = ImageSlices(headers(paths), "images")
    paths[3].write_bytes(encode(colors))
    with pytest.raises(DamagedInputError, match=r"3\..* has colors"):
        grey.read(0, 6)
    found = ImageSlices(headers(paths), "images")
    assert (found.samples, found.shape) == (3, (6, planes.shape[1], 3 * planes.shape[2]))
    read = found.read(0, 6).reshape(*planes.shape, 3)
    np.testing.assert_array_equal(read[3], colors)
    np.testing.assert_array_equal(read[[0, 5]], np.repeat(planes[[0, 5], ..., None], 3, 3))


def test_damaged_files_are_named(tmp_path):
    planes = noise()
    paths = [tmp_path / f"{k}.tif" for k in range(6)]
    for path, plane in zip(paths, planes, strict=True):
        tifffile.imwrite(path, plane)
    found = ImageSlices(headers(paths), "images")
    with pytest.raises(ParameterError, match="not all there"):
        found.read(4, 7)
    tifffile.imwrite(paths[2], planes[2, :5])
    paths[3].write_bytes(b"no image")
    tifffile.imwrite(paths[4], planes[4].astype(np.float32))
    paths[5].unlink()
    for k, error in ((2, DamagedInputError), (3, DamagedInputError), (4, DamagedInputError), (5, InputMissingError)):
        with pytest.raises(error, match=rf"{k}\.tif"):
            found.read(k, k + 1)
    with pytest.raises(InputMissingError, match="no slices"):
        ImageSlices([], "images")
    tifffile.imwrite(paths[0], planes[0].astype(np.complex64))
    with pytest.raises(DamagedInputError, match="complex64"):
        ImageSlices(headers(paths), "images")


def series_of(folder):
    (series,) = find_image_series(sorted(folder.iterdir()))
    return ImageSlices(series.headers, "colors")


@pytest.mark.parametrize(
    ("photometric", "samples"), [("separated", 4), ("cielab", 3), ("icclab", 3), ("itulab", 3), ("ycbcr", 3)]
)
def test_colors_that_are_no_red_green_and_blue_are_refused(tmp_path, photometric, samples):
    for k, image in enumerate(noise((2, 20, 30, samples), "uint8")):
        tifffile.imwrite(tmp_path / f"{k}.tif", image, photometric=photometric, planarconfig="contig")
    with pytest.raises(DamagedInputError, match="holds colors as"):
        series_of(tmp_path)


def test_inks_in_jpeg_are_refused(tmp_path):
    for k, image in enumerate(noise((2, 20, 30, 4), "uint8")):
        Image.fromarray(image, "CMYK").save(tmp_path / f"{k}.jpg")
    with pytest.raises(DamagedInputError, match="inks"):
        series_of(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_colors_plane_by_plane_are_those_of_each_pixel(tmp_path, orientation, tile):
    planes = noise((2, 20, 30, 3), "uint8")
    for k, image in enumerate(planes):
        turned = [(274, "H", 1, orientation, True)]
        for name, config in (("a", "contig"), ("b", "separate")):
            (tmp_path / name).mkdir(exist_ok=True)
            stored = image if config == "contig" else np.moveaxis(image, -1, 0)
            where = tmp_path / name / f"{k}.tif"
            tifffile.imwrite(where, stored, photometric="rgb", planarconfig=config, tile=tile, extratags=turned)
    one, other = series_of(tmp_path / "a"), series_of(tmp_path / "b")
    assert one.samples == other.samples == 3
    np.testing.assert_array_equal(one.read(0, 2), other.read(0, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_read_as_it_is_shown(tmp_path, orientation, mode):
    shape = (2, 20, 30) if mode == "L" else (2, 20, 30, 3)
    shown = []
    for k, image in enumerate(noise(shape, "uint8")):
        path = tmp_path / f"{k}.jpg"
        exif = Image.Exif()
        exif[274], exif[282], exif[283], exif[296] = orientation, 254.0, 127.0, 2
        Image.fromarray(image, mode).save(path, exif=exif)
        shown.append(np.asarray(ImageOps.exif_transpose(Image.open(path))))
    (series,) = find_image_series(sorted(tmp_path.iterdir()), trust_resolution=True)
    assert series.headers[0].shape == shown[0].shape[:2]
    assert series.headers[0].pixel_spacing_mm == pytest.approx((0.2, 0.1) if orientation < 5 else (0.1, 0.2))
    read = ImageSlices(series.headers, "jpeg").read(0, 2)
    due = np.stack(shown).reshape(2, len(shown[0]), -1)
    assert np.abs(read.astype(int) - due).max() <= 2


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_exif_is_passed_over(tmp_path, seed):
    rng = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[274] = 3
    blob = bytearray(exif.tobytes())
    n_whole = int(rng.integers(6, 20))  # its only entry begins at byte 16
    blob = blob[:n_whole] if seed % 2 else blob[:6] + bytes(rng.integers(0, 256, len(blob) - 6, dtype=np.uint8))
    image = noise((1, 20, 30), "uint8")[0]
    Image.fromarray(image).save(tmp_path / "0.jpg", exif=bytes(blob), dpi=(100, 100))
    Image.fromarray(image).save(tmp_path / "1.jpg", dpi=(100, 100))
    (series,) = find_image_series(sorted(tmp_path.iterdir()))
    read = ImageSlices(series.headers, "jpeg").read(0, 2)
    assert read.shape == (2, 20, 30) and np.array_equal(read[0], read[1])
