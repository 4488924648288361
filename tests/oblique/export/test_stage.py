"""``dcimg2tif`` and ``dcimg2jp2``: what both do, and each its own."""

from __future__ import annotations

from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, OutputError, OutputExistsError, ParameterError
from gpustitch.io.atomic import os_errors
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_tiff
from gpustitch.oblique.export import jp2 as dcimg2jp2
from gpustitch.oblique.export import stage as export_frames
from gpustitch.oblique.export import tiff as dcimg2tif
from gpustitch.oblique.export.jp2 import Jp2Options
from gpustitch.oblique.export.tiff import TifOptions
from gpustitch.running.progress import Silent
from tests.oblique.deskew.test_sweep import Holed


@pytest.fixture
def frames():
    return np.random.default_rng(11).integers(0, 65536, (5, 14, 9), dtype=np.uint16)


@pytest.fixture
def raw(tmp_path, frames):
    write_dcimg(tmp_path / "raw.dcimg", frames, len(frames), frames.shape[1:])
    return tmp_path / "raw.dcimg"


def tif(raw, **changed):
    options = {"input": raw, "output_pattern": str(raw.parent / "out" / "img_%03d.tiff"), "n_workers": 2} | changed
    return dcimg2tif.run(dcimg2tif.plan(TifOptions(**options)))


def jp2(raw, **changed):
    options = {"input": raw, "output_pattern": str(raw.parent / "out" / "img_%03d.jp2"), "n_workers": 1} | changed
    return dcimg2jp2.run(dcimg2jp2.plan(Jp2Options(**options)))


@pytest.mark.parametrize("compression", [0, 1, 3, 9])
def test_every_frame_becomes_a_tiff_that_any_reader_reads(raw, frames, compression):
    result = tif(raw, compression=compression)
    assert [path.name for path in result.paths] == [f"img_00{i}.tiff" for i in range(5)]
    assert result.output_bytes == sum(path.stat().st_size for path in result.paths)
    for path, frame in zip(result.paths, frames, strict=True):
        with tifffile.TiffFile(path) as file:
            assert np.array_equal(file.asarray(), frame)
            assert file.pages[0].compression == (8 if compression else 1) and file.pages[0].predictor == 1
        assert np.array_equal(imagecodecs.imread(path), frame)


@pytest.mark.parametrize("rotate_90", range(-1, 5))
@pytest.mark.parametrize("flip_ud", [False, True])
def test_frames_are_turned_then_flipped(raw, frames, rotate_90, flip_ud):
    """The reference loses half the pixels of frames that are not square."""
    for path, frame in zip(tif(raw, rotate_90=rotate_90, flip_ud=flip_ud).paths, frames, strict=True):
        turned = np.rot90(frame, rotate_90)
        assert np.array_equal(tifffile.imread(path), np.flipud(turned) if flip_ud else turned)


def test_a_range_keeps_the_numbers_of_its_frames(raw, frames):
    result = tif(raw, start=2, stop=4)
    assert [path.name for path in result.paths] == ["img_002.tiff", "img_003.tiff"]
    assert np.array_equal(tifffile.imread(result.paths[1]), frames[3])


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (3, 1), (0, 6), (5, None)])
def test_a_range_that_is_not_there_is_refused(raw, start, stop):
    with pytest.raises(ParameterError, match="`start`"):
        tif(raw, start=start, stop=stop)
    assert not (raw.parent / "out").exists()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("img.tiff", "frame number"), ("%s%s.tiff", "frame number"), ("img_%q.tiff", "frame number"),
        ("img_%.0s.tiff", "one name"), ("img_%d.png", "should end in"),
    ],
)  # fmt: skip
def test_a_pattern_that_names_no_frames_is_refused(raw, pattern, said):
    with pytest.raises(ParameterError, match=said):
        tif(raw, output_pattern=str(raw.parent / pattern))


@pytest.mark.parametrize("changed", [{"compression": 10}, {"compression": -1}, {"n_workers": 0}])
def test_options_out_of_range_are_refused(raw, changed):
    with pytest.raises(ParameterError):
        tif(raw, **changed)
    assert not (raw.parent / "out").exists()


def test_existing_files_are_kept_unless_told(raw, frames):
    kept = raw.parent / "out" / "img_003.tiff"
    kept.parent.mkdir()
    kept.write_bytes(b"kept")
    with pytest.raises(OutputExistsError, match=r"img_003\.tiff.*`overwrite`"):
        tif(raw)
    assert kept.read_bytes() == b"kept" and list(kept.parent.iterdir()) == [kept]
    assert np.array_equal(tifffile.imread(tif(raw, overwrite=True).paths[3]), frames[3])


def test_an_input_file_is_never_an_output(tmp_path, frames):
    for i, frame in enumerate(frames):
        write_tiff(tmp_path / f"img_{i}.tiff", frame)
    with pytest.raises(ParameterError, match="both input and output"):
        tif(tmp_path / "img_0.tiff", input=tmp_path, output_pattern=str(tmp_path / "img_%d.tiff"), overwrite=True)


def test_folders_globs_and_float_frames_are_taken_too(tmp_path, frames):
    for i, frame in enumerate(frames):
        write_tiff(tmp_path / f"img_{i}.tiff", frame.astype(np.float32))
    for n, source in enumerate([tmp_path, str(tmp_path / "*.tiff")]):
        result = tif(tmp_path / "x", input=source, output_pattern=str(tmp_path / f"out{n}" / "%d.tif"))
        assert np.array_equal(tifffile.imread(result.paths[4]), frames[4].astype(np.float32))


def test_a_missing_or_damaged_input_touches_no_output(raw):
    with pytest.raises(InputMissingError, match="nothing"):
        tif(raw, input=raw.parent / "nothing.dcimg")
    with raw.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DamagedInputError, match="truncated"):
        tif(raw)
    assert not (raw.parent / "out").exists()


def test_a_full_disk_is_refused_before_and_reported_during(raw, monkeypatch):
    def full(path, needed_bytes):
        raise OutputError(f"{path} needs {needed_bytes}")

    planned = dcimg2tif.plan(TifOptions(input=raw, output_pattern=str(raw.parent / "out" / "%d.tif")))
    monkeypatch.setattr(export_frames, "check_free_space", full)
    with pytest.raises(OutputError, match="needs"):
        tif(raw)
    notes = []

    class Progress:
        def start(self, *_): ...
        def advance(self, count=1): ...
        def finish(self): ...
        def note(self, message):
            notes.append(message)

    def failing(frame):
        with os_errors(raw.parent / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        export_frames.run_export(replace(planned, encode=failing), "Writing", Progress())
    assert notes == [f"stopped after 0 of 5 frames; {raw.parent / 'out'} is not complete"]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_frame_becomes_a_layered_jp2_within_80_db(raw, frames, n_workers):
    result = jp2(raw, n_workers=n_workers)
    assert [path.name for path in result.paths] == [f"img_00{i}.jp2" for i in range(5)]
    for path, frame in zip(result.paths, frames, strict=True):
        data = path.read_bytes()
        coding = data.index(b"\xff\x52")
        assert int.from_bytes(data[coding + 6 : coding + 8], "big") == 6
        error = imagecodecs.jpeg2k_decode(data).astype(float) - frame
        assert 0 < abs(error).max() <= 60 and np.sqrt((error**2).mean()) < 65535 / 10 ** (77 / 20)


def test_a_last_layer_of_0_is_lossless_and_turned(raw, frames):
    for psnr in [(0.0,), (40.0, 0.0)]:
        result = jp2(raw, psnr_db=psnr, overwrite=True, rotate_90=3, flip_ud=True)
        for path, frame in zip(result.paths, frames, strict=True):
            assert np.array_equal(imagecodecs.jpeg2k_decode(path.read_bytes()), np.flipud(np.rot90(frame, 3)))


@pytest.mark.parametrize("psnr", [(), (40, 30), (0, 40), (40, 40), (-3,), (float("nan"),), (float("inf"),)])
def test_layers_that_do_not_rise_are_refused(raw, psnr):
    with pytest.raises(ParameterError, match="`psnr_db`"):
        jp2(raw, psnr_db=psnr)


def test_frames_that_jpeg_2000_cannot_hold_are_refused(tmp_path, frames):
    write_tiff(tmp_path / "a.tif", frames.astype(np.float32))
    with pytest.raises(ParameterError, match="float32"):
        jp2(tmp_path / "a.tif")


@pytest.mark.parametrize("start", [0, 1])
def test_a_frame_that_is_absent_or_skipped_leaves_a_hole_in_the_numbers(monkeypatch, raw, frames, start):
    holed = Holed(frames, absent={2}, broken={3})
    monkeypatch.setattr(export_frames, "open_frames", lambda path, **_: holed)
    with pytest.raises(DamagedInputError, match="frame 3 is broken"):
        tif(raw, start=start, output_pattern=str(raw.parent / "stopped" / "img_%03d.tiff"))
    seen = Seen()
    options = TifOptions(
        input=raw, output_pattern=str(raw.parent / "out" / "img_%03d.tiff"), start=start, on_error="skip"
    )
    result = dcimg2tif.run(dcimg2tif.plan(options), seen)
    left = [number for number in (0, 1, 4) if number >= start]
    names = ["img_%03d.tiff.manifest.jsonl", *(f"img_00{number}.tiff" for number in left)]
    assert sorted(path.name for path in (raw.parent / "out").iterdir()) == names
    for number, path in zip(left, result.paths, strict=True):
        assert np.array_equal(tifffile.imread(path), frames[number])
    assert result.lost.missing == (2,) and set(result.lost.unreadable) == {3}
    assert seen.warnings == [
        "1 frame is absent (2): no file is written",
        "1 frame cannot be read (3): no file is written; frame 3 is broken",
    ]


@pytest.mark.parametrize("holed", [{"absent": {0, 1}}, {"broken": {0, 1}}])
def test_a_stack_that_would_begin_later_is_refused(monkeypatch, raw, frames, holed):
    monkeypatch.setattr(export_frames, "open_frames", lambda path, **_: Holed(frames, **holed))
    with pytest.raises(DamagedInputError, match="give `start` 2"):
        tif(raw, on_error="skip")
    assert tif(raw, on_error="skip", start=2, overwrite=True).paths


def test_nothing_left_is_an_error(monkeypatch, raw, frames):
    monkeypatch.setattr(export_frames, "open_frames", lambda path, **_: Holed(frames, range(5)))
    with pytest.raises(DamagedInputError, match="none of its 5 frames"):
        tif(raw, on_error="skip")


class Seen(Silent):
    """Progress that keeps warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)
