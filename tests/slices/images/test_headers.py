"""Size, type and resolution of PNG, JPEG and BMP files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.units import meter_resolution, resolution, tiff_resolution
from gpustitch.slices.images.headers import read_header

SHAPE = (20, 30)
MODES = {"L": "uint8", "RGB": "uint8 x 3", "RGBA": "uint8 x 4", "I;16": "uint16", "P": "palette", "LA": "uint8 x 2"}


def picture(mode="L", shape=SHAPE):
    if mode == "I;16":
        return Image.fromarray(np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape))
    return Image.fromarray(np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)).convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_png_tells_shape_and_pixels(tmp_path, mode):
    picture(mode).save(tmp_path / "a.png")
    header = read_header(tmp_path / "a.png")
    assert (header.shape, header.pixels, header.resolution) == (SHAPE, MODES[mode], None)


@pytest.mark.parametrize(("name", "modes"), [("a.jpg", ("L", "RGB")), ("a.bmp", ("L", "RGB", "RGBA", "P", "1"))])
def test_jpeg_and_bmp(tmp_path, name, modes):
    for mode in modes:
        picture(mode).save(tmp_path / name)
        header = read_header(tmp_path / name)
        kind = "uint8" if mode in ("P", "1") else MODES[mode]
        assert (header.shape, header.pixels) == (SHAPE, kind)


def test_every_jpeg_is_found_its_size(tmp_path):
    for options in ({"progressive": True}, {"quality": 3, "optimize": True}, {"comment": b"\xff\xd9 here"}):
        picture("RGB").save(tmp_path / "a.jpg", **options)
        assert read_header(tmp_path / "a.jpg").shape == SHAPE
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(data[:2] + b"\xff\xff\xff" + data[3:])  # fill bytes before a marker
    assert read_header(tmp_path / "b.jpg").shape == SHAPE


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_the_stated_resolution_is_read(tmp_path, name):
    picture().save(tmp_path / name, dpi=(300, 150))
    found = read_header(tmp_path / name).resolution
    assert found.spacing_mm == pytest.approx((25.4 / 150, 25.4 / 300), rel=1e-3) and not found.is_default


def test_a_bmp_of_pillow_states_96_dpi_unasked(tmp_path):
    picture().save(tmp_path / "a.bmp")
    assert read_header(tmp_path / "a.bmp").resolution.is_default
    data = bytearray((tmp_path / "a.bmp").read_bytes())
    data[38:46] = bytes(8)
    (tmp_path / "b.bmp").write_bytes(data)
    assert read_header(tmp_path / "b.bmp").resolution is None


def test_a_png_of_pixels_that_are_not_square_states_no_length(tmp_path):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    picture().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[:33] + chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)) + data[33:])
    found = read_header(tmp_path / "b.png").resolution
    assert found.spacing_mm is None and not found.is_default and found.text == "2 x 1 pixels/unit"


@pytest.mark.parametrize(("dpi", "is_default"), [(72, True), (300, False)])
def test_a_camera_s_jpeg_states_its_resolution_in_exif(tmp_path, dpi, is_default):
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = dpi, dpi, 2
    picture().save(tmp_path / "a.jpg", exif=exif)  # Pillow's JFIF segment has no unit
    found = read_header(tmp_path / "a.jpg").resolution
    assert found.spacing_mm == pytest.approx((25.4 / dpi, 25.4 / dpi)) and found.is_default == is_default
    picture().save(tmp_path / "b.jpg")
    assert read_header(tmp_path / "b.jpg").resolution.spacing_mm is None


@pytest.mark.parametrize(
    ("found", "spacing_mm", "is_default"),
    [
        (tiff_resolution((1, 1), (1, 1), 1), None, True),  # tifffile
        (tiff_resolution((1, 1), (1, 1), 2), (25.4, 25.4), True),
        (tiff_resolution((72, 1), (72, 1), 2), (25.4 / 72, 25.4 / 72), True),
        (tiff_resolution((96, 1), (96, 1), 2), (25.4 / 96, 25.4 / 96), True),
        (tiff_resolution((96, 1), (72, 1), 2), (25.4 / 96, 25.4 / 72), False),
        (tiff_resolution((300, 1), (300, 1), 2), (25.4 / 300, 25.4 / 300), False),
        (tiff_resolution((1000, 3), (2000, 3), 3), (0.03, 0.015), False),
        (tiff_resolution((5, 1), (5, 1), 1), None, False),
        (tiff_resolution((0, 1), (5, 1), 3), None, False),
        (tiff_resolution((5, 0), (5, 1), 3), None, False),
        (tiff_resolution((5, 1), (5, 1), 9), None, False),
        (meter_resolution(3780, 3780), (1 / 3.78, 1 / 3.78), True),
        (meter_resolution(2834, 2835), (1 / 2.834, 1 / 2.835), True),
        (meter_resolution(100_000, 50_000), (0.01, 0.02), False),
        (meter_resolution(-5, 5), None, False),
        (resolution(float("nan"), 1, 10.0, "cm"), None, False),
    ],
)
def test_what_is_stated_and_what_is_written_unasked(found, spacing_mm, is_default):
    assert found.spacing_mm == (None if spacing_mm is None else pytest.approx(spacing_mm))
    assert found.is_default == is_default


def test_the_text_is_as_the_file_has_it():
    assert tiff_resolution((300, 1), (150, 1), 2).text == "150 x 300 dpi"
    assert tiff_resolution((1, 1), (1, 1), 1).text == "1 pixels/unit"
    assert meter_resolution(3780, 3780).text == "3780 pixels/m"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_damaged_files_are_named(tmp_path, name):
    with pytest.raises(InputMissingError, match=name):
        read_header(tmp_path / name)
    picture(shape=(200, 300)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for size in (0, 1, 9, 20, 30, len(data) // 2, len(data) - (20 if name == "a.png" else 2)):
        (tmp_path / name).write_bytes(data[:size])
        with pytest.raises(DamagedInputError, match=name.replace(".", r"\.")):
            read_header(tmp_path / name)
    (tmp_path / name).write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(DamagedInputError, match="not a PNG, JPEG or BMP"):
        read_header(tmp_path / name)


def test_an_image_of_no_pixels_is_damaged(tmp_path):
    picture().save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:20] = bytes(4)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DamagedInputError, match="20 rows and 0 columns"):
        read_header(tmp_path / "a.png")


def test_content_tells_not_the_name(tmp_path):
    picture().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.bmp")
    assert read_header(tmp_path / "a.bmp").shape == SHAPE
