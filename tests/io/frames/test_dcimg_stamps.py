"""Frames that a camera dropped, that were never written or are cut off stay absent in their places, or are refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.frames.dcimg import DcimgFrames
from gpustitch.io.frames.dcimg_writer import write_dcimg
from tests.io.frames.camera_files import STAMP, camera_file, row_of_stamp

PERIOD_US = 10_000
BEGIN_US = 1_583_288_320_000_000


def _frames(n_frames, shape=(3, 5), dtype=np.uint16):
    """Frames in which no pixel is 0 and no two are alike."""
    count = n_frames * shape[0] * shape[1]
    return (np.arange(count) % 200 + 1).astype(dtype).reshape(n_frames, *shape)


def _file(tmp_path, frames, numbers, times_us=None, **other):
    if times_us is None:
        times_us = [BEGIN_US + PERIOD_US * (number - min(numbers)) for number in numbers]
    path = tmp_path / "a.dcimg"
    path.write_bytes(camera_file(frames, numbers, times_us, **other))
    return path


def _opened(path, allow_missing=True):
    return DcimgFrames(path, allow_missing=allow_missing)


def _check(read, frames, places, n_places):
    """All frames lie in their places, in windows too, and all else is absent and reads as zeros."""
    expected = np.zeros((n_places, *frames.shape[1:]), frames.dtype)
    held = [index for index, place in enumerate(places) if place is not None]
    for index in held:
        expected[places[index]] = frames[index]
    assert read.absent == set(range(n_places)) - {places[index] for index in held}
    assert read.shape == expected.shape
    assert np.array_equal(read.read(0, n_places), expected)
    rows, columns = slice(None, None, -2), slice(0, 2)
    assert np.array_equal(read.read(0, n_places, rows, columns), expected[:, rows, columns])
    assert np.array_equal(read.read(0, n_places, slice(1), slice(1, 3)), expected[:, :1, 1:3])


def test_dropped_frames_are_named_or_stay_absent(tmp_path):
    frames = _frames(7)
    path = _file(tmp_path, frames, [0, 1, 4, 5, 6, 8, 9])
    with pytest.raises(DamagedInputError, match=r"a\.dcimg: 3 of 10 frames are absent: 2 to 3, 7 \(3 dropped") as error:
        _opened(path, allow_missing=False)
    assert error.value.exit_code == 5 and "`allow_missing`" in str(error.value)
    read = _opened(path)
    _check(read, frames, [0, 1, 4, 5, 6, 8, 9], 10)
    assert next(iter(read.details())) == "DCIMG version 1, 100 Hz, 0.09 s from first to last frame, 3 dropped frames"
    assert ["2 to 3, 7" in caution for caution in read.cautions()] == [True]


@pytest.mark.parametrize(
    ("start", "bits"), [(0, 32), (7, 32), (65530, 16), (65530, 32), (2**31 - 3, 31), (2**32 - 3, 32)]
)
@pytest.mark.parametrize("version", [0, 1])
def test_counters_begin_anywhere_and_again(tmp_path, start, bits, version):
    frames = _frames(9)
    numbers = [(start + number) % (1 << bits) for number in (0, 1, 2, 3, 5, 6, 7, 8, 9)]
    times = [BEGIN_US + PERIOD_US * i for i in range(9)]
    _check(_opened(_file(tmp_path, frames, numbers, times, version=version)), frames, [0, 1, 2, 3, 5, 6, 7, 8, 9], 10)


@pytest.mark.parametrize("number", [0, 1, 77])
@pytest.mark.parametrize("has_times", [True, False])
def test_stamps_that_are_all_alike_say_nothing(tmp_path, number, has_times):
    frames = _frames(5)
    times = [(BEGIN_US + PERIOD_US * i) * has_times for i in range(5)]
    read = _opened(_file(tmp_path, frames, [number] * 5, times), allow_missing=False)
    _check(read, frames, range(5), 5)
    said = " ".join(read.details())
    assert "no frame stamps: dropped frames cannot be seen" in said
    assert ("no time stamps" in said) != has_times
    assert not list(read.cautions())


def test_footers_without_stamps_are_taken_as_they_are(tmp_path):
    frames = _frames(4)
    for footer in (0, 8):
        read = _opened(_file(tmp_path, frames, range(4), footer=footer), allow_missing=False)
        _check(read, frames, range(4), 4)
        assert "no time stamps, no frame stamps" in next(iter(read.details()))


@pytest.mark.parametrize("numbers", [[0, 1, 1, 2], [0, 2, 1, 3], [0, 1, 2, 0], [9, 8, 7, 6], [0, 1, 10**6, 10**6 + 1]])
@pytest.mark.parametrize("allow_missing", [True, False])
def test_stamps_that_repeat_run_back_or_jump_too_far_are_refused(tmp_path, numbers, allow_missing):
    path = _file(tmp_path, _frames(4), numbers, [BEGIN_US + PERIOD_US * i for i in range(4)])
    with pytest.raises(DamagedInputError, match=r"a\.dcimg: frame \d in the file has the frame stamp"):
        _opened(path, allow_missing)


@pytest.mark.parametrize("blank", [[8, 9], [3, 4], [0, 1], [4]])
def test_frames_that_were_never_written_are_absent(tmp_path, blank):
    """A copy that broke off into a file made before in its full size, or a hole in one."""
    frames = _frames(10)
    path = _file(tmp_path, frames, range(10))
    data = bytearray(path.read_bytes())
    stride = frames[0].nbytes + 32
    for frame in blank:
        data[872 + frame * stride : 872 + (frame + 1) * stride] = bytes(stride)
    path.write_bytes(data)
    with pytest.raises(DamagedInputError, match=f"{len(blank)} of 10 frames are absent.*never written"):
        _opened(path, allow_missing=False)
    _check(_opened(path), frames, [None if frame in blank else frame for frame in range(10)], 10)


def test_a_clock_and_a_counter_may_begin_at_zero(tmp_path):
    frames = _frames(3)
    _check(_opened(_file(tmp_path, frames, range(3), [0, 10, 20]), False), frames, range(3), 3)


def test_times_that_jump_where_stamps_do_not_are_told(tmp_path):
    times = [BEGIN_US + PERIOD_US * i + 25_000 * (i >= 6) for i in range(12)]
    (caution,) = _opened(_file(tmp_path, _frames(12), range(12), times), allow_missing=False).cautions()
    assert "time stamps, 10 ms a frame, jump at frames 6: a pause" in caution
    once_late = [BEGIN_US + PERIOD_US * i + 9_000 * (i == 6) for i in range(12)]
    assert not list(_opened(_file(tmp_path, _frames(12), range(12), once_late)).cautions())
    scattered = [BEGIN_US + PERIOD_US * i + (i * 7919) % 6000 for i in range(12)]
    assert not list(_opened(_file(tmp_path, _frames(12), range(12), scattered)).cautions())
    steady = [BEGIN_US + PERIOD_US * i for i in range(12)]
    said = " ".join(_opened(_file(tmp_path, _frames(12), [*range(6), *range(9, 15)], steady)).cautions())
    assert "6 to 8 (3 dropped" in said and "jump at frames 9:" in said  # stamps say 3 frames, times say none
    backward = [BEGIN_US, BEGIN_US - 5, *steady[2:]]
    said = " ".join(_opened(_file(tmp_path, _frames(12), range(12), backward)).details())
    assert "time stamps that do not run on, no dropped frames" in said
    coarse = [BEGIN_US + i // 4 * 1_000_000 for i in range(12)]
    read = _opened(_file(tmp_path, _frames(12), range(12), coarse))
    assert "version 1, 2 s from" in next(iter(read.details())) and not list(read.cautions())
    dropped = [i for i in range(12) if i != 5]
    (caution,) = _opened(_file(tmp_path, _frames(11), dropped)).cautions()
    assert "dropped by the camera" in caution


@pytest.mark.parametrize("counts", [(4, 9), (9, 4), (9, 9), (0, 9), (4, 2**32 - 1), (2**32 - 1, 4)])
def test_frames_that_a_header_promises_are_absent_at_the_end(tmp_path, counts):
    frames = _frames(4)
    path = _file(tmp_path, frames, range(4))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 0x24, counts[0])
    struct.pack_into("<I", data, 112 + 60, counts[1])
    path.write_bytes(data)
    with pytest.raises(DamagedInputError):
        _opened(path, allow_missing=False)
    _check(_opened(path), frames, range(4), 9 if 9 in counts else 4)


def test_a_count_that_no_file_can_hold_is_damage(tmp_path):
    path = _file(tmp_path, _frames(4), range(4))
    data = bytearray(path.read_bytes())
    for offset in (0x24, 112 + 60):
        struct.pack_into("<I", data, offset, 2**32 - 1)
    path.write_bytes(data)
    with pytest.raises(DamagedInputError, match="counts 4294967295 frames"):
        _opened(path)


def test_the_writer_drops_frames(tmp_path):
    frames = _frames(5)
    write_dcimg(tmp_path / "a.dcimg", frames, 5, frames.shape[1:], dropped=(1, 4))
    _check(_opened(tmp_path / "a.dcimg"), frames, [0, 2, 3, 5, 6], 7)


def test_the_end_of_version_0_is_not_lost_without_a_word(tmp_path):
    """It holds the pixels under the camera's stamp, and the frame stamps."""
    frames = _frames(3)
    path = _file(tmp_path, frames, range(3), version=0, stamp_row=0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedInputError, match="truncated: its end is not there"):
        _opened(path, allow_missing=False)
    assert "its end is not there" in " ".join(_opened(path).cautions())


def test_what_lies_behind_the_frames_of_version_0_is_no_frame(tmp_path):
    frames = _frames(3)
    path = _file(tmp_path, frames, range(3), version=0)
    data = bytearray(path.read_bytes())
    for offset in (0x24, 232 + 32):
        struct.pack_into("<I", data, offset, 0)
    path.write_bytes(data)
    read = _opened(path)
    _check(read, frames, range(3), 3)
    assert "its end is not there" in " ".join(read.cautions())


def test_what_was_never_tried_on_a_real_file_is_said(tmp_path):
    wide, narrow = _frames(2), _frames(2, (2, 12), np.uint8)
    for file in ({"version": 2, "footer": 512}, {"version": 2, "footer": 32}, {"version": 2, "footer": 16}):
        read = _opened(_file(tmp_path, wide, range(2), **file))
        assert np.array_equal(read.read(0, 2), wide)
        assert "version 0x2000000, not verified on a real file" in " ".join(read.cautions())
    read = _opened(_file(tmp_path, narrow, range(2), y0=1022))
    assert np.array_equal(read.read(0, 2), narrow)
    assert "8-bit pixels" in " ".join(read.cautions()) and "row 1" in " ".join(read.cautions())
    assert not list(_opened(_file(tmp_path, wide, range(2))).cautions())


@st.composite
def recordings(draw):
    """A file, where its frames belong by its stamps, and whether all of them are there."""
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    frames = _frames(draw(st.integers(1, 9)), (draw(st.integers(1, 4)), draw(st.integers(1, 11))), dtype)
    version, binning = draw(st.sampled_from([0, 1, 2])), draw(st.sampled_from([1, 2, 4]))
    how = {"version": version, "footer": draw(st.sampled_from([16, 32, 512])), "binning": binning}
    how["y0"] = draw(st.sampled_from([0, 1023, 1022, 1019]))
    if version == 0:
        how["stamp_row"] = draw(st.none() | st.integers(0, frames.shape[1] - 1))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 7]), min_size=len(frames) - 1, max_size=len(frames) - 1))
    counted = [0, *np.cumsum(steps).tolist()]
    bits, has_stamps = draw(st.sampled_from([16, 31, 32])), draw(st.booleans())
    start = draw(st.sampled_from([0, 1, 2**15, 2**bits - 4]))
    numbers = [(start + number) % 2**bits if has_stamps else 3 for number in counted]
    times = [BEGIN_US + PERIOD_US * number for number in counted]
    data = camera_file(frames, numbers, times, **how)
    cut = draw(st.just(0) | st.integers(0, len(data) - 1))
    places = counted if has_stamps else list(range(len(frames)))
    data = data[: len(data) - cut]
    start, stride = (332, frames[0].nbytes) if version == 0 else (872, frames[0].nbytes + how["footer"])
    held = max(0, min((len(data) - start) // stride, len(frames)))
    return frames, data, places, held, version == 0 and cut > 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("recordings") / "a.dcimg"


@settings(max_examples=120, deadline=None)
@given(recordings())
def test_no_recording_is_read_wrong(place, recording):
    """Frames of any file lie in their places, or the file is refused by name."""
    frames, data, places, held, lost_its_stamps = recording
    place.write_bytes(data)
    n_frames = len(frames)
    if held < n_frames or lost_its_stamps or places[-1] != n_frames - 1:
        with pytest.raises(DamagedInputError, match=r"a\.dcimg"):
            _opened(place, allow_missing=False)
    else:
        _check(_opened(place, allow_missing=False), frames, places, n_frames)
    if held == 0:
        with pytest.raises(DamagedInputError, match=r"a\.dcimg"):
            _opened(place)
        return
    read = _opened(place)
    if lost_its_stamps:
        assert read.absent == set(range(held, n_frames)) and "its end is not there" in " ".join(read.cautions())
    else:
        _check(read, frames, places[:held], places[held - 1] + 1 + n_frames - held)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=8).filter(lambda numbers: len(set(numbers)) > 1))
def test_any_stamps_place_frames_or_are_refused(place, numbers):
    frames = _frames(len(numbers))
    place.write_bytes(camera_file(frames, numbers, [BEGIN_US + i for i in range(len(numbers))]))
    if (np.diff(numbers) > 0).all():
        _check(_opened(place), frames, [number - numbers[0] for number in numbers], numbers[-1] - numbers[0] + 1)
    else:
        with pytest.raises(DamagedInputError, match="frame stamp"):
            _opened(place)


def test_the_stamp_is_where_it_is_said_to_be():
    """The files of these tests do hold a stamp: a reader that ignored it would be seen."""
    frames = _frames(2, (4, 9))
    data = camera_file(frames, y0=1021)
    row = row_of_stamp(1, 32, 1021, 1, 4)
    assert row == 2 and data[872 + row * 18 : 872 + row * 18 + 8] == bytes([STAMP]) * 8
