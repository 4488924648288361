from __future__ import annotations

import threading

import imagecodecs
import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.frames.jp2 import Jp2Frames
from gpustitch.io.frames.opening import Oriented, Slice, open_frames
from gpustitch.io.frames.tiff import TiffFrames, TiffPages
from gpustitch.io.images.files import write_tiff
from gpustitch.io.images.jp2 import encode_jp2

RNG = np.random.default_rng(6)


@pytest.fixture(params=["uint8", "uint16", "float32"])
def frames(request):
    return (RNG.random((12, 7, 5)) * 255).astype(request.param)


def _folder(tmp_path, frames, **options):
    for i, frame in enumerate(frames):
        write_tiff(tmp_path / f"img_{i}.tif", frame, **options)
    return tmp_path


@pytest.mark.parametrize("compression", [0, 3])
def test_folders_globs_and_lists_are_sorted_naturally(tmp_path, frames, compression):
    folder = _folder(tmp_path / "s", frames, compression=compression)
    (folder / "notes.txt").write_text("no frame")
    (folder / "._img_0.tif").write_text("what macOS leaves")
    paths = [folder / f"img_{i}.tif" for i in range(12)]
    for opened in (open_frames(folder), open_frames(f"{folder}/img_*.tif"), TiffFrames(paths)):
        assert opened.shape == frames.shape and opened.dtype == frames.dtype
        assert np.array_equal(opened.read(0, 12), frames)
        part = opened.read(3, 11, slice(2, 5), slice(None, None, 2))
        assert np.array_equal(part, frames[3:11, 2:5, ::2])


def test_a_folder_with_brackets_in_its_name_is_meant_as_it_is(tmp_path, frames):
    for folder, number in (("brain [3]", 1), ("brain 3", 0)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "img_0.tif", frames[number])
    assert np.array_equal(open_frames(tmp_path / "brain [3]" / "img_*.tif").read(0, 1)[0], frames[1])
    assert np.array_equal(open_frames(tmp_path / "brain [3-4]" / "img_*.tif").read(0, 1)[0], frames[0])


@pytest.mark.parametrize("kind", ["plain", "deflate", "imagej", "big endian", "ome", "tiled"])
def test_pages_of_one_tiff(tmp_path, frames, kind):
    path = tmp_path / "a.tif"
    options = {
        "plain": {}, "deflate": {"compression": "zlib"}, "imagej": {"imagej": True}, "big endian": {"byteorder": ">"},
        "ome": {"ome": True}, "tiled": {"tile": (16, 16)},
    }[kind]  # fmt: skip
    tifffile.imwrite(path, frames, photometric="minisblack", **options)
    opened = open_frames(path)
    assert opened.shape == frames.shape and opened.dtype == frames.dtype and opened.dtype.isnative
    assert np.array_equal(opened.read(0, 12), frames)
    assert np.array_equal(opened.read(5, 6, slice(1, 2)), frames[5:6, 1:2])


def test_one_page_is_one_frame_even_of_one_row(tmp_path):
    for name, shape in (("a", (6, 5)), ("b", (1, 5)), ("c", (1, 1))):
        image = RNG.integers(0, 9999, shape, dtype=np.uint16)
        write_tiff(tmp_path / f"{name}.tif", image)
        opened = open_frames(tmp_path / f"{name}.tif")
        assert opened.shape == (1, *shape) and np.array_equal(opened.read(0, 1)[0], image)


def test_pages_of_different_sizes_and_colours_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(np.zeros((4, 5), np.uint8))
        writer.write(np.zeros((4, 6), np.uint8))
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "double.tif", np.zeros((4, 5)))
    for name in ("mixed", "rgb", "double"):
        with pytest.raises(DamagedInputError, match=rf"{name}\.tif"):
            TiffPages(tmp_path / f"{name}.tif")
        with pytest.raises(DamagedInputError, match=rf"{name}\.tif"):
            TiffFrames([tmp_path / f"{name}.tif"])


@pytest.mark.parametrize(
    "odd", [np.zeros((7, 6), np.uint16), np.zeros((7, 5), np.uint8), np.zeros((2, 7, 5), np.uint16)]
)
def test_a_file_unlike_the_others_is_named(tmp_path, odd):
    _folder(tmp_path, RNG.integers(0, 99, (4, 7, 5), dtype=np.uint16))
    write_tiff(tmp_path / "img_2.tif", odd, overwrite=True)
    with pytest.raises(DamagedInputError, match=r"img_2\.tif"):
        open_frames(tmp_path)


def test_a_file_that_changed_or_broke_since_is_named(tmp_path):
    _folder(tmp_path, RNG.integers(0, 99, (4, 7, 5), dtype=np.uint16))
    opened = open_frames(tmp_path)
    write_tiff(tmp_path / "img_1.tif", np.zeros((3, 3), np.uint16), overwrite=True)
    (tmp_path / "img_2.tif").write_bytes((tmp_path / "img_2.tif").read_bytes()[:-20])
    (tmp_path / "img_3.tif").unlink()
    for index, error in ((1, DamagedInputError), (2, DamagedInputError), (3, InputMissingError)):
        with pytest.raises(error, match=rf"img_{index}\.tif"):
            opened.read(index, index + 1)


def test_a_truncated_tiff_of_many_pages_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 99, (9, 70, 50), dtype=np.uint16))
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:9000])
    with pytest.raises(DamagedInputError, match=r"a\.tif"):
        open_frames(tmp_path / "a.tif").read(0, 9)


def test_jpeg_2000_stacks(tmp_path):
    frames = RNG.integers(0, 65536, (11, 8, 6), dtype=np.uint16)
    for i, frame in enumerate(frames):
        (tmp_path / f"{i}.jp2").write_bytes(encode_jp2(frame, (0,)))
    for opened in (open_frames(tmp_path), Jp2Frames([tmp_path / f"{i}.jp2" for i in range(11)])):
        assert np.array_equal(opened.read(0, 11), frames)
    (tmp_path / "4.jp2").write_bytes(encode_jp2(frames[0, :5], (0,)))
    with pytest.raises(DamagedInputError, match=r"4\.jp2"):
        open_frames(tmp_path)


def test_threads_may_read_a_compressed_tiff_at_once(tmp_path):
    frames = RNG.integers(0, 999, (20, 64, 48), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", frames, compression="zlib")
    opened = TiffPages(tmp_path / "a.tif")
    wrong = []

    def work(first):
        for i in range(40):
            index = (first + 7 * i) % 20
            if not np.array_equal(opened.read(index, index + 1)[0], frames[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_not_there_or_mixed_is_refused(tmp_path):
    with pytest.raises(InputMissingError, match="none"):
        open_frames(tmp_path / "none")
    with pytest.raises(InputMissingError, match="file there"):
        open_frames(tmp_path)
    with pytest.raises(InputMissingError):
        open_frames(f"{tmp_path}/*.tif")
    with pytest.raises(InputMissingError):
        TiffFrames([])
    frame = np.zeros((3, 3), np.uint8)
    write_dcimg(tmp_path / "a.dcimg", [frame], 1, (3, 3))
    assert open_frames(tmp_path).shape == (1, 3, 3)
    write_dcimg(tmp_path / "b.dcimg", [frame], 1, (3, 3))
    with pytest.raises(ParameterError, match="2 DCIMG files"):
        open_frames(tmp_path)
    write_tiff(tmp_path / "c.tif", frame)
    with pytest.raises(ParameterError, match="several kinds"):
        open_frames(tmp_path)
    (tmp_path / "d.txt").write_text("text")
    with pytest.raises(DamagedInputError, match=r"d\.txt"):
        open_frames(tmp_path / "d.txt")


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 13), (3, 2)])
def test_frames_that_are_not_there_are_refused(tmp_path, frames, start, stop):
    for opened in (open_frames(_folder(tmp_path, frames)), Slice(open_frames(tmp_path), 0, 12)):
        with pytest.raises(ParameterError):
            opened.read(start, stop)


class _Recorded:
    """Frames that remember what was asked of them."""

    absent = frozenset()

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.asked = array, array.shape, array.dtype, []

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        part = self.array[start:stop, rows, columns]
        self.asked.append(part.shape)
        return part.copy()


@pytest.mark.parametrize("rotate_90", range(-2, 6))
@pytest.mark.parametrize("flip_ud", [False, True])
@pytest.mark.parametrize(
    "window",
    [(slice(None), slice(None)), (slice(2, 9), slice(3, 4)), (slice(1, None, 3), slice(None, None, -1)),
     (slice(-3, None), slice(0, 17, 2)), (slice(5, 2), slice(None)), (slice(8, 1, -2), slice(-2, 2, -3))],
)  # fmt: skip
def test_turned_frames_are_rot90_then_flipud_in_every_window(rotate_90, flip_ud, window):
    raw = RNG.integers(0, 999, (4, 17, 11), dtype=np.uint16)
    expected = np.rot90(raw, rotate_90, (1, 2))
    expected = expected[:, ::-1] if flip_ud else expected
    source = _Recorded(raw)
    turned = Oriented(source, rotate_90, flip_ud)
    assert turned.shape == expected.shape
    read = turned.read(1, 3, *window)
    assert np.array_equal(read, expected[1:3, *window])


def test_a_window_of_turned_frames_reads_no_more_than_it_needs():
    source = _Recorded(np.zeros((4, 17, 11), np.uint8))
    Oriented(source, 3, True).read(0, 2, slice(2, 5), slice(0, 7))
    assert source.asked == [(2, 7, 3)]


def test_a_range_of_frames_counts_from_its_start():
    raw = RNG.integers(0, 999, (9, 4, 5), dtype=np.uint16)
    part = Slice(_Recorded(raw), 2, 7)
    assert part.shape == (5, 4, 5)
    assert np.array_equal(part.read(1, 3, slice(1, 2)), raw[3:5, 1:2])
    for start, stop in ((-1, 3), (4, 4), (0, 10), (9, None)):
        with pytest.raises(ParameterError, match="`start`"):
            Slice(_Recorded(raw), start, stop)


def test_png_files_are_a_stack(tmp_path):
    frames = RNG.integers(0, 65536, (11, 8, 6), dtype=np.uint16)
    for i, frame in enumerate(frames):
        (tmp_path / f"{i}.png").write_bytes(imagecodecs.png_encode(frame))
    opened = open_frames(tmp_path)
    assert opened.dtype == np.uint16 and np.array_equal(opened.read(0, 11), frames)
    assert np.array_equal(open_frames(tmp_path / "1?.png").read(0, 1)[0], frames[10])
    (tmp_path / "3.png").write_bytes(imagecodecs.png_encode(np.zeros((8, 6, 3), np.uint8)))
    with pytest.raises(DamagedInputError, match=r"3\.png is a PNG of colour type 2 and 8 bits; frames are grey"):
        open_frames(tmp_path)


def test_a_dcimg_file_of_another_name_is_known_by_how_it_begins(tmp_path):
    frame = RNG.integers(0, 99, (3, 4), dtype=np.uint16)
    write_dcimg(tmp_path / "raw.bin", [frame], 1, (3, 4))
    assert np.array_equal(open_frames(tmp_path / "raw.bin").read(0, 1)[0], frame)


def test_types_that_the_caller_does_not_take_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.int16))
    with pytest.raises(DamagedInputError, match="int16"):
        open_frames(tmp_path / "a.tif")
    assert open_frames(tmp_path / "a.tif", types=("int16",)).dtype == np.int16
    write_dcimg(tmp_path / "b.dcimg", [np.zeros((3, 4), np.uint8)], 1, (3, 4))
    with pytest.raises(DamagedInputError, match="holds uint8 pixels; frames are uint16"):
        open_frames(tmp_path / "b.dcimg", types=("uint16",))
