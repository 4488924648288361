"""A TIFF that ends early or is damaged between its pages is an error, never a shorter stack."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.frames.tiff import TiffFrames, TiffPages
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.images.tiff_open import opened_tiff
from gpustitch.io.planes.opening import open_planes

PLANES = np.random.default_rng(0).integers(0, 4096, (9, 40, 30)).astype(np.uint16)
WRITERS = {
    "contiguous": lambda path: tifffile.imwrite(path, PLANES, photometric="minisblack"),
    "compressed": lambda path: tifffile.imwrite(path, PLANES, photometric="minisblack", compression="zlib"),
    "imagej": lambda path: tifffile.imwrite(path, PLANES, imagej=True, metadata={"axes": "ZYX"}),
    "page by page": lambda path: write_pages(path, PLANES),
}


def write_pages(path, planes):
    with tifffile.TiffWriter(path) as tiff:
        for plane in planes:
            tiff.write(plane, contiguous=False, photometric="minisblack")


@pytest.mark.parametrize("kind", WRITERS)
def test_whole_files_are_read(tmp_path, kind):
    WRITERS[kind](tmp_path / "s.tif")
    np.testing.assert_array_equal(TiffPages(tmp_path / "s.tif").read(0, 9), PLANES)
    np.testing.assert_array_equal(open_planes(tmp_path / "s.tif").read(2, 7), PLANES[2:7])


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("kind", WRITERS)
def test_files_cut_in_the_middle_are_refused(tmp_path, kind, kept, capfd):
    path = tmp_path / "s.tif"
    WRITERS[kind](path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    for read in (TiffPages, tiff_facts, open_planes):
        with pytest.raises(DamagedInputError, match=r"s\.tif is cut short or damaged; at most \d+ of its pages"):
            read(path)
    assert capfd.readouterr().err == ""


def test_a_directory_overwritten_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "s.tif"
    WRITERS["compressed"](path)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[4].offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(DamagedInputError, match="damaged"):
        TiffPages(path)


def test_one_file_of_a_stack_cut_short_is_named(tmp_path):
    for number, plane in enumerate(PLANES):
        tifffile.imwrite(tmp_path / f"s_{number}.tif", plane)
    path = tmp_path / "s_5.tif"
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DamagedInputError, match=r"s_5\.tif is cut short"):
        TiffFrames(sorted(tmp_path.glob("*.tif")))


def test_pages_of_several_sizes_are_refused(tmp_path):
    write_pages(tmp_path / "s.tif", [*PLANES[:4], PLANES[4, :20]])
    with pytest.raises(DamagedInputError, match="5 pages of different sizes"):
        TiffPages(tmp_path / "s.tif")


def test_what_is_no_tiff(tmp_path):
    (tmp_path / "s.tif").write_bytes(b"no picture")
    with pytest.raises(DamagedInputError, match="not a TIFF"), opened_tiff(tmp_path / "s.tif"):
        pass
    with pytest.raises(InputMissingError, match="no file"), opened_tiff(tmp_path / "t.tif"):
        pass


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float64"])
def test_planes_of_all_numbers_are_opened_frames_are_not(tmp_path, dtype):
    planes = (PLANES.astype(np.int64) % 100 - (0 if dtype.startswith("u") else 50)).astype(dtype)
    tifffile.imwrite(tmp_path / "s.tif", planes, photometric="minisblack")
    np.testing.assert_array_equal(open_planes(tmp_path / "s.tif").read(0, 9), planes)
    with pytest.raises(DamagedInputError, match=f"{dtype} pixels"):
        TiffPages(tmp_path / "s.tif")
    (tmp_path / "stack").mkdir()
    for number, plane in enumerate(planes):
        tifffile.imwrite(tmp_path / "stack" / f"{number}.tif", plane)
    read = open_planes(tmp_path / "stack").read(0, 9)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, planes)
