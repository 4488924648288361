"""Verdicts on files and folders: the eight scenarios, series of scanners, images, what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.running.progress import Silent
from gpustitch.slices.dicom.series import find_dicom_series
from gpustitch.slices.verdict.stage import JudgeOptions, judge, judge_series
from tests.slices.dicom.dicom_multiframe import write_enhanced
from tests.slices.dicom.scenarios import EXPECTED, scenario
from tests.slices.slice_headers import codes, text

REAL = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests"


def write_images(folder, numbers):
    folder.mkdir()
    for number in numbers:
        tifffile.imwrite(folder / f"s_rec{number:04d}.tif", np.zeros((6, 5), np.uint8))
    log = "[Reconstruction]\nPixel Size (um)=8.5\nSection to Section Step=1\nFirst Section=0\nLast Section=29\n"
    (folder / "s_rec.log").write_text(
        f"{log}Result Image Width (pixels)=5\nResult Image Height (pixels)=6\nSections Count=30\n"
    )


@pytest.mark.parametrize("number", range(1, 9))
def test_the_eight_series(number, tmp_path):
    scenario(number, tmp_path)
    (stack,) = judge([tmp_path])
    right = EXPECTED[number]
    assert (stack.fit.spacing_class, stack.fit.n_output) == (right.kind, right.n_output)
    if right.spacing_mm is None:
        assert stack.spacing_mm[0] is None
    else:
        assert abs(stack.spacing_mm[0] - right.spacing_mm) <= stack.uncertainty_mm[0] + 1e-6
        assert stack.spacing_mm[0] == pytest.approx(right.spacing_mm, rel=2e-5)
    assert right.codes <= codes(stack) <= right.codes | {"NEVER_ACQUIRED"}
    assert stack.is_usable == (number != 8)


def test_the_tilted_gantry(tmp_path):
    scenario(4, tmp_path, spacing_between=5.0)
    (stack,) = judge([tmp_path])
    assert np.hypot(*stack.shear) == pytest.approx(0.36397, abs=1e-5)
    assert "1.7101 mm from slice to slice" in text(stack, "SHEARED")
    assert "SPACING_TAG_ALONG_BED" in codes(stack) and "SPACING_TAG_MISMATCH" not in codes(stack)


def test_series_of_real_scanners_are_judged_as_they_are():
    (head,) = judge(REAL / "98892001/CT5N")
    assert (head.fit.spacing_class, head.spacing_mm[0], head.notes) == ("UNIFORM", 2.5, ())
    (hole,) = judge([REAL / "77654033/CT2"])
    assert (hole.fit.spacing_class, hole.spacing_mm[0]) == ("RUNS_WITH_GAPS", 1.25)
    assert codes(hole) == {"GAPS", "FILES_LOST"} and "202.5 mm" in text(hole, "GAPS")


def test_several_series_in_a_folder_are_judged_apart(tmp_path):
    for number in (3, 5, 8):
        scenario(number, tmp_path / str(number))
    assert [stack.fit.spacing_class for stack in judge([tmp_path])] == ["MISSING", "VARIABLE", "UNKNOWN"]


def test_an_unreadable_file_is_named_and_the_rest_is_judged(tmp_path):
    files = scenario(6, tmp_path)
    files[3].write_bytes(files[3].read_bytes()[:400])
    (stack,) = judge([tmp_path])
    assert stack.fit.spacing_class == "MISSING"
    assert files[3].name in text(stack, "UNREADABLE_FILE")
    with pytest.raises(DamagedInputError, match=files[3].name):
        judge([tmp_path], JudgeOptions(keep_going=False))


class Heard(Silent):
    """Progress that keeps what it is told."""

    def __init__(self):
        self.warned = []

    def warn(self, message):
        self.warned.append(message)


def test_many_unreadable_files_are_no_wall_of_text(tmp_path):
    scenario(6, tmp_path)
    for k in range(30):
        (tmp_path / f"bad{k}.dcm").write_bytes(b"rubbish")
    heard = Heard()
    (stack,) = judge([tmp_path], progress=heard)
    assert "30 files beside these" in text(stack, "UNREADABLE_FILE")
    assert len(heard.warned) == 4
    assert "bad0.dcm" in heard.warned[0] and "27 more files" in heard.warned[-1]


def test_what_holds_no_slices_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    with pytest.raises(InputMissingError, match="no slices"):
        judge([tmp_path])
    (tmp_path / "a.dcm").write_text("nothing")
    with pytest.raises(DamagedInputError, match=r"a\.dcm"):
        judge([tmp_path])


def test_images_are_as_they_say(tmp_path):
    stack = np.zeros((7, 6, 5), np.uint16)
    path = tmp_path / "fiji.tif"
    tifffile.imwrite(
        path, stack, imagej=True, resolution=(2, 2), metadata={"spacing": 3.0, "unit": "mm", "axes": "ZYX"}
    )
    (judged,) = judge([path])
    assert (judged.fit.spacing_class, judged.spacing_mm) == ("UNIFORM", (3.0, 0.5, 0.5))
    assert (len(judged.order), judged.fit.n_output, judged.uncertainty_mm[0]) == (7, 7, None)
    for k in range(4):
        tifffile.imwrite(tmp_path / f"plain_{k}.tif", stack[0])
    (plain,) = judge([tmp_path / "plain_*.tif"])
    assert plain.fit.spacing_class == "UNKNOWN" and not plain.is_usable
    (given,) = judge([tmp_path / "plain_*.tif"], JudgeOptions(slice_spacing_mm=0.04))
    assert given.spacing_mm[0] == 0.04 and "USER_SPACING_USED" in codes(given)


def test_pixels_of_unknown_size_are_warned_of(tmp_path):
    write_series(tmp_path, np.arange(5.0), pixel_spacing_mm=None)
    (stack,) = judge([tmp_path])
    assert stack.spacing_mm == (1.0, None, None) and "NO_PIXEL_SPACING" in codes(stack)


def test_copies_in_files_are_told_by_their_pixels(tmp_path):
    files = write_series(tmp_path / "a", 2.5 * np.arange(9), duplicates=[4], same_instance=False)
    (stack,) = judge([tmp_path / "a"])
    assert len(files) == 10 and codes(stack) == {"SAME_SLICE"} and len(stack.order) == 9

    def blank(data, _):
        data.PixelData = bytes(len(data.PixelData))

    write_series(tmp_path / "b", 2.5 * np.arange(9), series="b")
    write_series(tmp_path / "b", [10.0], series="b", names=["other.dcm"], numbers=[77], edit=blank)
    (bad,) = judge([tmp_path / "b"])
    assert codes(bad) == {"SLICES_CONFLICT"} and not bad.is_usable


def test_frames_of_one_file(tmp_path):
    write_enhanced(tmp_path / "a.dcm", [5, 2.5, 0, 7.5, 10])
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, stack.spacing_mm[0], codes(stack)) == ("UNIFORM", 2.5, {"FILE_ORDER"})
    assert "frames" in text(stack, "FILE_ORDER") and not stack.others_mm
    assert stack.order.tolist() == [2, 1, 0, 3, 4]


def test_echoes_in_one_file_can_be_split(tmp_path):
    write_enhanced(tmp_path / "a.dcm", [0, 0, 2.5, 2.5, 5, 5], echoes=[10, 20] * 3)
    assert "MULTI_VOLUME" in codes(judge([tmp_path])[0])
    split = judge([tmp_path], JudgeOptions(split_by=("echo",)))
    assert [(len(stack.order), codes(stack)) for stack in split] == [(3, set()), (3, set())]


def test_a_series_is_split_where_asked(tmp_path):
    for number in (1, 2):
        write_series(
            tmp_path,
            2.5 * np.arange(6),
            names=[f"v{number}_{k}.dcm" for k in range(6)],
            edit=lambda data, k, number=number: (
                setattr(data, "AcquisitionNumber", number),
                setattr(data, "SOPInstanceUID", f"1.2.{number}.{k}"),
                setattr(data, "PixelData", bytes([number]) * len(data.PixelData)),
            ),
        )
    (both,) = judge([tmp_path])
    assert "MULTI_VOLUME" in codes(both)
    assert [codes(stack) for stack in judge([tmp_path], JudgeOptions(split_by=("acquisition",)))] == [set(), set()]


def test_files_found_once_are_judged_as_by_the_library(tmp_path):
    files = scenario(3, tmp_path)
    (series,), _ = find_dicom_series(files)
    assert judge_series(series).spacing_mm == judge([tmp_path])[0].spacing_mm


def test_sections_missing_from_a_stack_of_images_leave_holes(tmp_path):
    write_images(tmp_path / "lost", [k for k in range(30) if k not in (7, 20, 21)])
    write_images(tmp_path / "whole", range(30))
    lost, whole = judge([tmp_path])
    assert (lost.fit.spacing_class, len(lost.order), lost.fit.n_output) == ("MISSING", 27, 30)
    assert lost.fit.steps[[6, 7, -1]].tolist() == [6, 8, 29] and lost.positions_mm[-1] == pytest.approx(29 * 0.0085)
    assert "3 slices missing in 2 holes" in text(lost, "SLICES_MISSING") and "FILES_LOST" in codes(lost)
    assert (whole.fit.spacing_class, whole.fit.n_output) == ("UNIFORM", 30) and not whole.notes


def test_slices_of_another_size_are_not_called_lost(tmp_path):
    def edit(data, k):
        if k == 7:
            data.PixelSpacing = [0.8, 0.5]

    write_series(tmp_path, np.arange(20) * 2.0, edit=edit)
    stack, single = judge([tmp_path])
    assert codes(stack) == {"SLICES_MISSING", "SERIES_SPLIT"} and single.fit.spacing_class == "SINGLE"
    (tmp_path / "IM0012.dcm").unlink()
    assert "files were lost (12)" in text(judge([tmp_path])[0], "FILES_LOST")


def test_a_picture_beside_dicom_is_no_series(tmp_path):
    write_series(tmp_path, np.arange(5.0))
    tifffile.imwrite(tmp_path / "preview.tif", np.zeros((6, 5), np.uint8))
    assert [stack.series.source_format for stack in judge([tmp_path])] == ["dicom"]
    assert [stack.fit.spacing_class for stack in judge([tmp_path / "preview.tif"])] == ["SINGLE"]


def test_a_slice_beside_the_others_is_named(tmp_path):
    def edit(data, k):
        if k == 5:
            data.ImagePositionPatient = [30, -20, 30 + 2 * k]

    write_series(tmp_path, np.arange(20) * 2.0, edit=edit)
    (stack,) = judge([tmp_path])
    assert "(IM0006.dcm)" in text(stack, "POSITION_BAD")


def test_a_slice_far_from_its_series_does_not_make_the_others_one_place(tmp_path):
    def edit(data, k):
        if k == 5:
            data.ImagePositionPatient = [-12, -20, 99999]

    write_series(tmp_path, np.arange(20) * 2.0, edit=edit)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, stack.spacing_mm[0], len(stack.order)) == ("RUNS_WITH_GAPS", 2.0, 20)
    assert "99931 mm" in text(stack, "GAPS") and "FILES_LOST" not in codes(stack)


def test_files_that_are_all_unreadable_are_counted(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(DamagedInputError, match=r"a\.dcm is not DICOM: it is empty$"):
        judge([tmp_path])
    (tmp_path / "b.dcm").write_bytes(b"nonsense")
    with pytest.raises(DamagedInputError, match=r"it is empty \(and 1 more file\)$"):
        judge([tmp_path])
