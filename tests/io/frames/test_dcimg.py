from __future__ import annotations

import os
import struct
import threading

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, InputMissingError, OutputExistsError, ParameterError
from gpustitch.io.frames.dcimg import DcimgFrames
from gpustitch.io.frames.dcimg_writer import write_dcimg
from tests.io.frames.camera_files import camera_file, opened_by_the_package
from tests.paths import DATA

SESSION = 112


@pytest.fixture
def frames():
    return np.random.default_rng(7).integers(0, 65536, (4, 1027, 9), dtype=np.uint16)


@pytest.fixture
def path(tmp_path, frames):
    write_dcimg(tmp_path / "a.dcimg", frames, *_told(frames))
    return tmp_path / "a.dcimg"


def _told(frames):
    return len(frames), frames.shape[1:]


def _patch(path, offset, layout, *values):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack(layout, *values))


def _read_by_the_layout(path):
    """The frames by the fields that spimstitch's parser reads, which knows no four-pixel correction."""
    data = path.read_bytes()
    assert data[:12] == b"DCIMG\0\0\0\0\0\0\1"
    words = np.frombuffer(data, "<u4", 182, 8 + 4 + 100)
    n_frames, pixel_bytes, n_channels, n_columns, n_rows, footer = (int(words[i]) for i in (15, 16, 17, 18, 19, 31))
    assert n_channels == 1
    first = 912 + 16 if footer == 16 else 840 + 32
    size = pixel_bytes * n_columns * n_rows
    starts = [first + i * (size + footer) for i in range(n_frames)]
    assert starts[-1] + size + footer == len(data)
    return np.stack([np.frombuffer(data[s : s + size], f"<u{pixel_bytes}").reshape(n_rows, n_columns) for s in starts])


@pytest.mark.parametrize("name", ["tiny_cl32.dcimg", "tiny_usb16.dcimg"])
def test_files_with_both_footers_are_read_exactly(name):
    read = DcimgFrames(DATA / name)
    truth = np.load(DATA / "tiny_dcimg_truth.npz")["frames"]
    assert read.shape == truth.shape == (3, 1030, 12) and read.dtype == truth.dtype
    np.testing.assert_array_equal(read.read(0, 3), truth)
    np.testing.assert_array_equal(_read_by_the_layout(DATA / name), truth)


def test_the_true_pixels_replace_the_stamp_of_the_camera(tmp_path):
    """Spimstitch returns the stamp; ours is right."""
    truth = DcimgFrames(DATA / "tiny_cl32.dcimg").read(0, 3)
    stamped = tmp_path / "stamped.dcimg"
    stamped.write_bytes((DATA / "tiny_cl32.dcimg").read_bytes())
    for frame in range(3):
        _patch(stamped, 872 + frame * (1030 * 24 + 32) + 1023 * 24, "<4H", 1, 2, 3, 4)
    assert not np.array_equal(_read_by_the_layout(stamped), truth)
    read = DcimgFrames(stamped)
    assert np.array_equal(read.read(0, 3), truth)
    for rows, columns in [
        (slice(1023, 1024), slice(0, 1)),
        (slice(1000, None), slice(2, 7)),
        (slice(None, None, 11), slice(None, None, 3)),
        (slice(None, None, -1), slice(None, None, -1)),
        (slice(1023, 1025), slice(None)),
    ]:
        assert np.array_equal(read.read(1, 3, rows, columns), truth[1:3, rows, columns])


def test_the_row_of_the_stamp_counts_from_the_crop_and_in_binned_rows(tmp_path):
    frames = np.random.default_rng(1).integers(1, 999, (2, 20, 6), dtype=np.uint16)
    path = tmp_path / "binned.dcimg"
    write_dcimg(path, frames, *_told(frames))
    _patch(path, SESSION + 712, "<4H", 0, 12, 1003, 40)  # binning 2, first row 1003: the stamp is in row 10
    for frame in range(2):
        _patch(path, 872 + frame * (240 + 32) + 240 + 12, "<4H", *(frames[frame, 10, :4] + 7))
    expected = frames.copy()
    expected[:, 10, :4] += 7
    assert np.array_equal(DcimgFrames(path).read(0, 2), expected)
    _patch(path, SESSION + 712, "<4H", 0, 12, 1500, 40)  # the crop begins below the stamp
    assert np.array_equal(DcimgFrames(path).read(0, 2), frames)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (3, 1024, 3), (2, 1025, 4)])
@pytest.mark.parametrize("footer", [16, 32])
def test_what_is_written_is_read_by_this_reader_and_by_the_layout(tmp_path, dtype, shape, footer):
    frames = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    write_dcimg(tmp_path / "a.dcimg", iter(frames), *_told(frames), footer_bytes=footer)
    read = DcimgFrames(tmp_path / "a.dcimg").read(0, len(frames))
    assert read.dtype == dtype and np.array_equal(read, frames)
    assert np.array_equal(_read_by_the_layout(tmp_path / "a.dcimg"), frames)


def test_the_dcimg_package_reads_what_is_written(monkeypatch, path, frames):
    other = opened_by_the_package(monkeypatch, path)
    assert np.array_equal(other[:, :, :], frames)
    assert [int(n) for n in other.framestamps] == [0, 1, 2, 3]
    seconds = (other.timestamps - other.timestamps[0]) / np.timedelta64(1, "s")
    assert np.allclose(seconds, [0, 0.01, 0.02, 0.03], atol=2e-6)


@pytest.mark.parametrize(
    "window",
    [
        (slice(None), slice(None)),
        (slice(2, 90), slice(None)),
        (slice(5, 3), slice(None)),
        (slice(-4, None), slice(1, 2)),
        (slice(0, 1027, 100), slice(8, None)),
    ],
)
def test_a_window_is_that_part_of_the_frames(path, frames, window):
    read = DcimgFrames(path)
    part = read.read(1, 3, *window)
    assert part.flags.writeable and np.array_equal(part, frames[1:3, *window])
    assert read.read(2, 2, *window).shape[0] == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 5), (3, 2), (5, 5)])
def test_frames_that_are_not_there_are_refused(path, start, stop):
    with pytest.raises(ParameterError, match=r"a\.dcimg"):
        DcimgFrames(path).read(start, stop)


def test_rows_may_be_padded(tmp_path, frames):
    path = tmp_path / "padded.dcimg"
    write_dcimg(path, np.pad(frames, ((0, 0), (0, 0), (0, 3))), len(frames), (1027, 12))
    _patch(path, SESSION + 72, "<I", 9)
    assert np.array_equal(DcimgFrames(path).read(0, 4), frames)


def test_offsets_beyond_4_gib_are_read(tmp_path):
    """A sparse file: 3 frames of 1.5 GiB with one pixel set in each."""
    path = tmp_path / "huge.dcimg"
    n_rows, n_columns = 24576, 32768
    image = n_rows * n_columns * 2
    write_dcimg(path, [np.zeros((1, 1), np.uint16)], 1, (1, 1), footer_bytes=16)
    _patch(path, 0x24, "<I", 3)
    _patch(path, SESSION + 60, "<7I", 3, 2, 1, n_columns, n_rows, n_columns * 2, image)
    for frame in range(3):
        _patch(path, 928 + frame * (image + 16) + image - 2, "<H", 40000 + frame)
    with path.open("r+b") as file:
        file.truncate(928 + 3 * (image + 16))
    read = DcimgFrames(path)
    assert read.read(2, 3, slice(-1, None), slice(-2, None)).tolist() == [[[0, 40002]]]
    assert read.read(2, 3, slice(-1, None))[0, 0, -1] == 40002


def test_threads_may_read_at_once(path, frames):
    read = DcimgFrames(path)
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(50):
            start = int(rng.integers(0, 4))
            rows = slice(int(rng.integers(0, 1000)), 1027)
            columns = slice(None) if rng.random() < 0.5 else slice(2, 7)
            if not np.array_equal(read.read(start, 4, rows, columns), frames[start:4, rows, columns]):
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(InputMissingError, match="nothing"):
        DcimgFrames(tmp_path / "nothing.dcimg")
    with pytest.raises(InputMissingError, match="directory"):
        DcimgFrames(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a DCIMG"),
        (b"II*\0" + bytes(900), "not a DCIMG"),
        (b"DCIMG\0\0\0\0\0\0\1", "truncated"),
        (b"DCIMG\0\0\0\0\0\0\3" + bytes(900), "version 0x3000000"),
    ],
)
def test_what_is_no_dcimg_is_named(tmp_path, content, said):
    (tmp_path / "a.dcimg").write_bytes(content)
    with pytest.raises(DamagedInputError, match=rf"a\.dcimg.*{said}"):
        DcimgFrames(tmp_path / "a.dcimg", allow_missing=True)


@pytest.mark.parametrize(("offset", "value", "said"), [
    (SESSION + 64, 4, "4 bytes per pixel"), (SESSION + 72, 0, "columns"), (SESSION + 76, 0, "rows"),
    (SESSION + 80, 17, "17 bytes per row"), (SESSION + 84, 5, "5 bytes per frame"), (SESSION + 60, 3, "counts 4.*3"),
    (0x24, 9, "counts 9.*4"), (SESSION + 124, 1 << 20, "footer"), (0x28, 1 << 31, "session header"),
    (SESSION + 100, 1, "truncated"),
])  # fmt: skip
def test_headers_that_contradict_themselves_are_refused(path, offset, value, said):
    _patch(path, offset, "<I", value)
    with pytest.raises(DamagedInputError, match=rf"a\.dcimg.*{said}"):
        DcimgFrames(path)


@pytest.mark.parametrize(("changes", "said"), [
    ({72: 4}, "18 bytes per row, but 4 pixels"), ({64: 1}, "18 bytes per row, but 9 pixels"),
    ({72: 8}, "frames of 1027 rows x 8 columns, of 1027 x 9 pixels"), ({124: 0}, "0 bytes of footer"),
    ({124: 8}, "8 bytes of footer"),
])  # fmt: skip
def test_headers_unlike_those_of_cameras_are_told(path, frames, changes, said):
    """Frames can be read by them, but may be others."""
    for offset, value in changes.items():
        _patch(path, SESSION + offset, "<I", value)
    read = DcimgFrames(path, allow_missing=True)
    assert not np.array_equal(read.read(0, 1), frames[:1]) or not np.array_equal(read.read(1, 2), frames[1:2])
    assert any(said in caution and "look at the frames" in caution for caution in read.cautions())


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.75])
def test_frames_that_begin_elsewhere_are_refused_or_told(tmp_path, version, share):
    path = tmp_path / "a.dcimg"
    frames = np.random.default_rng(1).integers(0, 200, (4, 7, 9), dtype=np.uint16)
    path.write_bytes(camera_file(frames, version=version))
    start, true = (232 + 68, 100) if version == 0 else (SESSION + 96, 760)
    assert not [*DcimgFrames(path).cautions()]
    _patch(path, start, "<I", int(share * true))
    try:
        read = DcimgFrames(path)
    except DamagedInputError as error:
        assert "a.dcimg" in str(error)
    else:
        assert any("look at the frames" in caution for caution in read.cautions())


@pytest.mark.parametrize("lost", [1, 32, 33, 1027 * 18 + 32, 3 * (1027 * 18 + 32)])
def test_a_truncated_file_says_how_many_frames_are_whole(path, frames, lost):
    """The reference hangs on such a file."""
    stride = 1027 * 18 + 32
    size = path.stat().st_size - lost
    with path.open("r+b") as file:
        file.truncate(size)
    whole = 4 - -(-lost // stride)
    with pytest.raises(DamagedInputError, match=rf"truncated.*4 frames.*{size}.*{whole} whole"):
        DcimgFrames(path)
    read = DcimgFrames(path, allow_missing=True)
    assert np.array_equal(read.read(0, whole), frames[:whole])
    assert read.shape == frames.shape and read.absent == set(range(whole, 4)) and not read.read(whole, 4).any()


def test_a_file_without_one_whole_frame_is_refused_in_any_case(path):
    with path.open("r+b") as file:
        file.truncate(900)
    for allow in (False, True):
        with pytest.raises(DamagedInputError, match="whole frame"):
            DcimgFrames(path, allow_missing=allow)


def test_a_recording_whose_count_was_never_written(path, frames):
    _patch(path, 0x24, "<I", 0)
    _patch(path, SESSION + 60, "<I", 0)
    with pytest.raises(DamagedInputError, match=r"0 frames.*enough for 4"):
        DcimgFrames(path)
    assert np.array_equal(DcimgFrames(path, allow_missing=True).read(0, 4), frames)


def test_a_file_longer_than_its_header_is_a_recording_that_may_still_run(path, frames):
    assert not [*DcimgFrames(path).cautions()]
    one = DcimgFrames(path).header.stride
    with path.open("ab") as stream:
        stream.write(bytes(one - 1))
        stream.flush()
        assert not [*DcimgFrames(path).cautions()]
        stream.write(bytes(1 + one))
    for allow_missing in (False, True):
        opened = DcimgFrames(path, allow_missing)
        said = f"{path} is longer than its header says: 2 frames beyond those that it counts are not read; is the acq"
        assert [line for line in opened.cautions() if line.startswith(said)]
        assert [line for line in opened.details() if line.startswith(said)]
        assert opened.shape[0] == len(frames)


def test_systems_without_positioned_reads(path, frames, monkeypatch):
    for name in ("pread", "preadv"):
        monkeypatch.delattr(os, name, raising=False)
    read = DcimgFrames(path)
    assert np.array_equal(read.read(0, 4), frames)
    assert np.array_equal(read.read(1, 3, slice(1000, 1025, 3), slice(2, 7)), frames[1:3, 1000:1025:3, 2:7])


@pytest.mark.parametrize("columns", [slice(None), slice(2, 4)])
def test_a_file_that_shrinks_while_it_is_read_is_an_error(path, columns):
    """Through a memory map it would be the end of the program (SIGBUS)."""
    read = DcimgFrames(path)
    with path.open("r+b") as file:
        file.truncate(30000)
    with pytest.raises(DamagedInputError, match="shorter"):
        read.read(3, 4, columns=columns)


@pytest.mark.parametrize("stamp_row", [0, 5])
def test_version_0_is_read_with_its_true_pixels(tmp_path, stamp_row, monkeypatch):
    frames = np.random.default_rng(2).integers(0, 65536, (3, 8, 7), dtype=np.uint16)
    path = tmp_path / "old.dcimg"
    path.write_bytes(camera_file(frames, version=0, stamp_row=stamp_row))
    read = DcimgFrames(path)
    assert np.array_equal(read.read(0, 3), frames)
    assert np.array_equal(read.read(1, 2, slice(4, 6), slice(3, 5)), frames[1:2, 4:6, 3:5])
    if stamp_row == 0:  # the package corrects the first row only
        assert np.array_equal(opened_by_the_package(monkeypatch, path)[:, :, :], frames)


def test_version_0_without_stamp_or_without_its_end(tmp_path):
    frames = np.random.default_rng(2).integers(0, 65536, (3, 8, 7), dtype=np.uint16)
    path = tmp_path / "old.dcimg"
    path.write_bytes(camera_file(frames, version=0))
    assert np.array_equal(DcimgFrames(path).read(0, 3), frames)
    with path.open("r+b") as file:
        file.truncate(332 + 2 * 112 + 5)
    with pytest.raises(DamagedInputError, match="2 whole"):
        DcimgFrames(path)
    read = DcimgFrames(path, allow_missing=True)
    assert np.array_equal(read.read(0, 2), frames[:2]) and read.shape[0] == 3 and read.absent == {2}


@pytest.mark.parametrize("count", [3, 5, 0])
def test_another_number_of_frames_than_announced_leaves_no_file(tmp_path, frames, count):
    with pytest.raises(ParameterError):
        write_dcimg(tmp_path / "b.dcimg", (frames[i % 4] for i in range(count)), 4, frames.shape[1:])
    assert not list(tmp_path.glob("*b.dcimg*"))


@pytest.mark.parametrize("bad", [np.zeros((1027, 8), np.uint16), np.zeros((1027, 9), np.uint8)])
def test_frames_of_another_shape_or_type_leave_no_file(tmp_path, frames, bad):
    with pytest.raises(ParameterError, match="frame 1"):
        write_dcimg(tmp_path / "b.dcimg", [frames[0], bad], 2, frames.shape[1:])
    assert not list(tmp_path.glob("*b.dcimg*"))


def test_a_writer_refuses_what_the_format_cannot_hold(tmp_path, frames):
    with pytest.raises(ParameterError, match="float32"):
        write_dcimg(tmp_path / "b.dcimg", frames.astype(np.float32), *_told(frames))
    with pytest.raises(ParameterError, match="footer"):
        write_dcimg(tmp_path / "b.dcimg", frames, *_told(frames), footer_bytes=20)
    with pytest.raises(ParameterError, match="needs frames"):
        write_dcimg(tmp_path / "b.dcimg", [], 0, (3, 3))


def test_an_existing_file_is_kept_unless_told(path, frames):
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        write_dcimg(path, frames[:1], *_told(frames[:1]))
    write_dcimg(path, frames[:1], *_told(frames[:1]), overwrite=True)
    assert DcimgFrames(path).shape == (1, 1027, 9)
