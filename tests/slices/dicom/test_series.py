from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import ParameterError
from gpustitch.slices.dicom.series import find_dicom_series
from gpustitch.slices.model import Code
from tests.slices.dicom.scenarios import EXPECTED, scenario

WHEEL = Path(get_testdata_file("CT_small.dcm", download=False)).parent
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def _codes(series):
    return [note.code for note in series.notes]


def _turned(angle):
    return ((float(np.cos(angle)), float(np.sin(angle)), 0.0), (float(-np.sin(angle)), float(np.cos(angle)), 0.0))


@pytest.mark.parametrize("number", EXPECTED)
def test_each_scenario_is_one_series(tmp_path, number):
    written = scenario(number, tmp_path)
    (series,), notes = find_dicom_series(tmp_path.iterdir())
    assert notes == [] and series.notes == () and series.source_format == "dicom" and series.spacing_mm is None
    assert {header.path for header in series.headers} == set(written)
    assert series.name == f"scenario {number} (series 1)"
    by_path = {header.path: header for header in series.headers}
    if number == 8:
        assert all(header.position_mm is None and header.row_direction is None for header in series.headers)
        assert {header.thickness_mm for header in series.headers} == {5.0}
        return
    normal = np.cross(series.headers[0].row_direction, series.headers[0].column_direction)
    t = [by_path[path].position_mm @ normal for path in written[:20]]
    assert (np.diff(t) > -1e-9).all()


def test_headers_come_in_natural_order_of_folders_and_names(tmp_path):
    names = ["im10.dcm", "im9.dcm", "im2.dcm"]
    for folder in ("part 10", "part 9"):
        write_series(tmp_path / folder, [0, 1, 2], names=names)
    files = sorted(tmp_path.rglob("*.dcm"))
    (series,), _ = find_dicom_series([*files, files[0], str(files[1])])
    assert [header.path.relative_to(tmp_path).as_posix() for header in series.headers] == [
        f"part {part}/im{number}.dcm" for part in (9, 10) for number in (2, 9, 10)
    ]


def test_the_first_scenario_keeps_its_wrong_order_and_its_decimals(tmp_path):
    scenario(1, tmp_path)
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    numbers = [header.number for header in series.headers]
    assert numbers == [*range(107, 207), *range(1, 7), *range(207, 307), *range(7, 107)]
    assert {header.quantum_mm for header in series.headers} == {(0.1, 0.1, 0.1)}


def test_series_of_one_folder_are_told_apart_without_a_warning(tmp_path):
    write_series(tmp_path, [0, 1], names=["a1.dcm", "a2.dcm"], series="one")
    write_series(tmp_path, [0, 1, 2], names=["b1.dcm", "b2.dcm", "a0.dcm"], series="two")
    series, _ = find_dicom_series(tmp_path.iterdir())
    assert [one.name for one in series] == ["two (series 1)", "one (series 1)"]
    assert [len(one.headers) for one in series] == [3, 2] and all(one.notes == () for one in series)


@pytest.mark.parametrize(
    ("change", "tag", "is_split"),
    [
        ({"shape": (6, 7)}, "size", True),
        ({"pixel_spacing_mm": (0.75, 0.5002)}, "PixelSpacing", True),
        ({"pixel_spacing_mm": (0.75, 0.50003)}, "PixelSpacing", False),
        ({"row_and_column": CORONAL}, "ImageOrientationPatient", True),
        ({"row_and_column": _turned(2e-3)}, "ImageOrientationPatient", True),
        ({"row_and_column": _turned(8e-4)}, "ImageOrientationPatient", False),
        ({"row_and_column": None}, "ImageOrientationPatient", True),
    ],
)
def test_slices_that_do_not_belong_together_are_judged_apart(tmp_path, change, tag, is_split):
    write_series(tmp_path, [0, 1, 2], names=["a1.dcm", "a2.dcm", "a3.dcm"])
    write_series(tmp_path, [3, 4], names=["b1.dcm", "b2.dcm"], edit=_number_from(4), **change)
    series, _ = find_dicom_series(tmp_path.iterdir())
    assert [len(one.headers) for one in series] == ([3, 2] if is_split else [5])
    assert [_codes(one) for one in series] == ([[Code.SERIES_SPLIT]] * 2 if is_split else [[]])
    if is_split:
        assert [one.name for one in series] == [f"phantom (series 1), part {k} of 2" for k in (1, 2)]
        assert f"differ in {tag}; judged apart: 3 + 2 slices" in series[0].notes[0].text
        assert series[0].key["SeriesInstanceUID"] in series[0].notes[0].text


def _number_from(first):
    def edit(data, k):
        data.SOPInstanceUID = f"1.2.3.{first + k}"

    return edit


def test_localizers_are_a_group_of_their_own(tmp_path):
    def localizer(data, k):
        if k == 1:
            data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(tmp_path, [0, 1, 2, 3], edit=localizer)
    series, _ = find_dicom_series(tmp_path.iterdir())
    assert [[header.number for header in one.headers] for one in series] == [[1, 3, 4], [2]]
    assert "LOCALIZER" in series[0].notes[0].text


@pytest.mark.parametrize(
    ("split", "keyword", "values"),
    [
        ("acquisition", "AcquisitionNumber", [1, 2]),
        ("image type", "ImageType", [["ORIGINAL", "M"], ["ORIGINAL", "P"]]),
        ("echo", "EchoNumbers", [1, 2]),
        ("echo", "EchoTime", ["2.5", "4.9"]),
        ("b-value", "DiffusionBValue", [0.0, 1000.0]),
        ("time", "TemporalPositionIdentifier", [1, 2]),
        ("time", "TriggerTime", ["0", "33.5"]),
        ("kvp", "KVP", ["80", "140"]),
        ("kernel", "ConvolutionKernel", ["B30f", "B70f"]),
        ("inversion", "InversionTime", ["200", "900"]),
        ("flip angle", "FlipAngle", ["3", "17"]),
        ("contrast", "ContrastBolusAgent", ["none", "yes"]),
        ("thickness", "SliceThickness", ["1", "5"]),
        ("acquisition time", "AcquisitionTime", ["101500.5", "101530.25"]),
        ("cardiac phase", "NominalPercentageOfCardiacPhase", [35.0, 75.0]),
    ],
)
def test_series_are_split_by_what_is_asked_for(tmp_path, split, keyword, values):
    def edit(data, k):
        setattr(data, keyword, values[k % 2])

    write_series(tmp_path, [0, 0, 1, 1], edit=edit)
    assert [len(one.headers) for one in find_dicom_series(tmp_path.iterdir())[0]] == [4]
    series, _ = find_dicom_series(tmp_path.iterdir(), [split])
    assert [[header.number for header in one.headers] for one in series] == [[1, 3], [2, 4]]
    assert all(one.notes == () for one in series)
    texts = [
        value if isinstance(value, list) else [f"{value:g}" if not isinstance(value, str) else value]
        for value in values
    ]
    assert [one.key[split] for one in series] == ["\\".join(text) for text in texts]
    assert [one.name for one in series] == [
        f"phantom (series 1), part {k} of 2 ({split} {one.key[split]})" for k, one in enumerate(series, 1)
    ]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("split", "elements", "values"),
    [
        ("b-value", {0x0019100C: "IS"}, ["0", "1000"]),
        ("b-value", {0x00431039: "IS"}, [["0", "8", "0"], ["1000", "8", "0"]]),
        ("b-value", {0x20011003: "FL"}, [0.0, 1000.0]),
        ("gradient", {0x0019100E: "FD"}, [[0.6, 0.8, 0.0], [0.6, 0.0, 0.8]]),
        # Directions of one x: all three elements count.
        (
            "gradient",
            {0x001910BB: "DS", 0x001910BC: "DS", 0x001910BD: "DS"},
            [("0.6", "0.8", "0"), ("0.6", "0", "0.8")],
        ),
        ("gradient", {0x200510B0: "FL", 0x200510B1: "FL", 0x200510B2: "FL"}, [(0.6, 0.8, 0.0), (0.6, 0.0, 0.8)]),
    ],
)
def test_series_are_split_by_the_diffusion_tags_of_makers(tmp_path, split, elements, values, syntax):
    def edit(data, k):
        value = values[k % 2]
        for i, (tag, vr) in enumerate(elements.items()):
            data.add_new(tag, vr, value[i] if isinstance(value, tuple) else value)

    write_series(tmp_path, [0, 0, 1, 1], edit=edit, transfer_syntax=syntax)
    series, _ = find_dicom_series(tmp_path.iterdir(), [split])
    assert [[header.number for header in one.headers] for one in series] == [[1, 3], [2, 4]]


def test_what_slices_state_that_differs_is_kept_with_them(tmp_path):
    def edit(data, k):
        data.FlipAngle, data.KVP = "3", str(80 + k % 2)
        data.AcquisitionTime = f"1015{k:02d}"

    write_series(tmp_path, [0, 0, 1, 1], edit=edit)
    ((series,), _) = find_dicom_series(tmp_path.iterdir())
    assert series.tags == {
        "kvp": ("80", "81", "80", "81"),
        "acquisition-time": ("101500", "101501", "101502", "101503"),
    }


def test_unknown_splits_are_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"'colour'.*acquisition"):
        find_dicom_series([], ["colour"])
    assert find_dicom_series([]) == ([], [])


def test_bad_files_are_named_and_the_rest_is_still_read(tmp_path):
    paths = write_series(tmp_path, np.arange(6.0))
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[3].write_text("no DICOM")
    paths[4].write_bytes(paths[4].read_bytes()[:-8])
    shutil.copy(WHEEL / "dicomdirtests" / "DICOMDIR", tmp_path)
    (series,), notes = find_dicom_series([*tmp_path.iterdir(), tmp_path / "lost.dcm"])
    assert [header.number for header in series.headers] == [1, 3, 5, 6]
    found = {
        (note.code, name) for note in notes for name in ("DICOMDIR", "IM0002", "IM0004", "lost") if name in note.text
    }
    assert found == {
        (Code.NOT_AN_IMAGE, "DICOMDIR"),
        (Code.UNREADABLE_FILE, "IM0002"),
        (Code.UNREADABLE_FILE, "IM0004"),
        (Code.UNREADABLE_FILE, "lost"),
    }
    (note,) = series.notes
    assert note.code is Code.UNREADABLE_PIXELS and "IM0005" in note.text and "52 of 60 bytes" in note.text


def test_one_note_says_what_is_wrong_with_many_files(tmp_path):
    write_series(tmp_path, np.arange(7.0), pixel_spacing_mm=None)
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    (note,) = series.notes
    assert note.code is Code.NO_PIXEL_SPACING
    assert "IM0001.dcm" in note.text and "PixelSpacing (0028,0030)" in note.text and "6 more" in note.text


def _at_zero(*which):
    def edit(data, k):
        if k in which:
            data.ImagePositionPatient = ["0", "0", "0"]

    return edit


@pytest.mark.parametrize("which", [(0, 1, 2, 3, 4), (3,)])
def test_zero_positions_that_cannot_be_are_taken_as_missing(tmp_path, which):
    write_series(tmp_path, np.arange(5.0), edit=_at_zero(*which))
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    assert [k for k, header in enumerate(series.headers) if header.position_mm is None] == list(which)
    (note,) = series.notes
    assert note.code is Code.POSITION_BAD and f"IM000{which[0] + 1}.dcm" in note.text


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (0.0, 0.0, -2.0), (0.5, -0.5, -1.0)])
def test_slices_that_pass_through_the_origin_keep_their_positions(tmp_path, origin):
    write_series(tmp_path, np.arange(5.0), origin_mm=origin)
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    assert all(header.position_mm is not None for header in series.headers) and series.notes == ()


def test_a_single_slice_at_the_origin_is_one(tmp_path):
    write_series(tmp_path, [0.0], origin_mm=(0.0, 0.0, 0.0))
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    assert series.headers[0].position_mm == (0, 0, 0) and series.notes == ()


def test_files_without_a_series_are_of_one_if_they_lie_together(tmp_path):
    def edit(data, _):
        del data.SeriesInstanceUID

    for folder, count in (("a", 2), ("b", 3)):
        write_series(tmp_path / folder, np.arange(count), edit=edit)
    series, _ = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert [len(one.headers) for one in series] == [2, 3]


def test_scales_and_inverted_grey_are_noted(tmp_path):
    def edit(data, _):
        data.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path, [0, 1], slope=[1, 2], edit=edit)
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    assert _codes(series) == [Code.RESCALE_VARIES, Code.INVERTED_GREY]
    assert "1 x stored + 0 to 2 x stored + 0" in series.notes[0].text


def test_threads_change_nothing_and_progress_is_told(tmp_path):
    scenario(3, tmp_path)
    files = list(tmp_path.iterdir())
    told = []
    one = find_dicom_series(files, progress=told.append)
    assert told == list(range(1, len(files) + 1))
    assert find_dicom_series(files, threads=3) == one


def test_pydicom_is_kept_from_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series, notes = find_dicom_series(path for path in WHEEL.glob("*") if path.is_file())
    assert series and notes


def test_real_series_of_the_wheel():
    folder = WHEEL / "dicomdirtests"
    (chest,), _ = find_dicom_series((folder / "98892001" / "CT5N").iterdir())
    assert sorted(header.position_mm[2] for header in chest.headers) == [-1.2375, 1.2625, 3.7625, 6.2625, 8.7625]
    (brain,), _ = find_dicom_series((folder / "77654033" / "CT2").iterdir())
    z = sorted(header.position_mm[2] for header in brain.headers)
    assert np.diff(z) == pytest.approx([202.5, 1.25, 1.25])
    pilot, _ = find_dicom_series((folder / "98892003" / "MR2").iterdir())
    assert all(len(one.headers) == 1 for one in pilot)


def test_studies_that_share_the_uid_of_a_series_are_apart(tmp_path):
    for name in ("1.2", "1.3"):
        write_series(
            tmp_path / name, np.arange(4.0), edit=lambda data, _, name=name: setattr(data, "StudyInstanceUID", name)
        )
    series, notes = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert [one.key["StudyInstanceUID"] for one in series] == ["1.2", "1.3"] and not notes
    assert [len(one.headers) for one in series] == [4, 4]


@pytest.mark.parametrize("frames", [("1.2", "1.3"), ("1.2", "1.3", "1.4"), ("1.2", ""), ("1.2",)])
def test_several_frames_of_reference_in_one_series_are_told(tmp_path, frames):
    for k, path in enumerate(write_series(tmp_path, np.arange(9) * 2.5)):
        data = dcmread(path)
        data.FrameOfReferenceUID = frames[k % len(frames)]
        data.save_as(path)
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    assert len(series.headers) == 9
    assert (Code.FRAMES_OF_REFERENCE in _codes(series)) == (len(set(frames) - {""}) > 1)
