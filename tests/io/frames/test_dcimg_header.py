"""Fields that the dcimg package reads too: both readers agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from dcimg import DCIMGFile

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames import dcimg_header
from gpustitch.io.frames.dcimg import DcimgFrames
from gpustitch.io.frames.dcimg_writer import write_dcimg
from tests.io.frames.camera_files import camera_file, opened_by_the_package
from tests.paths import DATA


def _parsed(path):
    """The package's own reading of the headers, from a copy of their bytes."""
    file = DCIMGFile()
    file.mm = np.frombuffer(path.read_bytes(), np.uint8)
    file._parse_header()
    return file


def _check_headers(path, header):
    file = _parsed(path)
    assert header.n_frames == file.nfrms and header.pixel_bytes == file.byte_depth
    assert (header.n_rows, header.n_columns) == (file.ysize, file.xsize)
    assert (header.row_bytes, header.image_bytes) == (file.bytes_per_row, file.bytes_per_img)
    assert header.data_offset == file._header_size + file._sess_header["offset_to_data"][0]
    file.compute_target_line() if header.version else None
    if header.version and header.stamp_row is not None:
        assert header.stamp_row == np.asarray(file._target_line).item()


@pytest.mark.parametrize("name", ["tiny_cl32.dcimg", "tiny_usb16.dcimg"])
def test_the_package_reads_the_same_headers_of_golden_files(name):
    _check_headers(DATA / name, DcimgFrames(DATA / name).header)


@pytest.mark.parametrize(
    ("version", "footer", "dtype", "binning"),
    list(itertools.product([0, 1], [16, 32, 512], [np.uint8, np.uint16], [1, 2, 4])),
)
def test_the_package_reads_the_same_headers_of_any_file(tmp_path, version, footer, dtype, binning):
    frames = np.arange(1, 1 + 3 * 6 * 10).astype(dtype).reshape(3, 6, 10)
    path = tmp_path / "a.dcimg"
    path.write_bytes(camera_file(frames, version=version, footer=footer, binning=binning, y0=1015))
    _check_headers(path, DcimgFrames(path).header)


@pytest.mark.parametrize("version", [0, 1])
def test_the_package_reads_the_same_stamps_and_times(tmp_path, monkeypatch, version):
    frames = np.arange(1, 1 + 5 * 6 * 8, dtype=np.uint16).reshape(5, 6, 8)
    path = tmp_path / "a.dcimg"
    times = [1_583_288_320_999_000, 1_583_288_321_000_123, 1_583_288_321_010_000, 1_583_288_322_000_000, 2 * 10**15]
    path.write_bytes(camera_file(frames, [3, 4, 7, 8, 9], times, version=version, stamp_row=0, y0=1020))
    file, read = opened_by_the_package(monkeypatch, path), DcimgFrames(path, allow_missing=True)
    assert file.framestamps.tolist() == read.stamps.numbers.tolist() == [3, 4, 7, 8, 9]
    assert file.timestamps.astype(np.int64).tolist() == read.stamps.times_us.tolist() == times
    held = [frame for frame in range(7) if frame not in read.absent]
    assert np.array_equal(file[:, :, :], frames) and np.array_equal(read.read(0, 7)[held], frames)


def test_the_package_reads_what_the_writer_drops(tmp_path, monkeypatch):
    write_dcimg(tmp_path / "a.dcimg", np.ones((3, 4, 5), np.uint16), 3, (4, 5), dropped={1}, frame_s=0.25)
    file = opened_by_the_package(monkeypatch, tmp_path / "a.dcimg")
    assert file.framestamps.tolist() == [0, 2, 3]
    assert np.diff(file.timestamps).tolist() == [np.timedelta64(500, "ms"), np.timedelta64(250, "ms")]


def test_whatever_goes_wrong_in_the_layouts_is_a_damaged_file(tmp_path, monkeypatch):
    write_dcimg(tmp_path / "a.dcimg", np.ones((3, 4, 5), np.uint16), 3, (4, 5))

    def fail(*_):
        raise TypeError("only 0-dimensional arrays")

    monkeypatch.setattr(dcimg_header.np, "frombuffer", fail)
    with pytest.raises(DamagedInputError, match=r"a\.dcimg cannot be read as DCIMG: only 0-dim"):
        DcimgFrames(tmp_path / "a.dcimg")
