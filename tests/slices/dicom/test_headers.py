from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.slices.dicom.headers import read_dicom
from gpustitch.slices.model import Code

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
SYNTAXES = [None, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def _write(tmp_path, edit=None, **options):
    change = None if edit is None else (lambda data, _: edit(data))
    return write_series(tmp_path, [0.0], edit=change, **options)[0]


def _read(tmp_path, edit=None, **options):
    """Header of the only slice, and problems."""
    file = read_dicom(_write(tmp_path, edit, **options))
    (one,) = file.slices
    return one.header, file.problems


def _raw(tag, vr, value):
    """An edit that writes bytes as they are, however wrong."""

    def edit(data):
        data[tag] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True)

    return edit


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_tag_of_the_geometry_is_read(tmp_path, syntax):
    def edit(data):
        data.SliceLocation, data.GantryDetectorTilt = "-12.5", "15"
        data.ImagePositionPatient = ["1.5", "-2.25", "3e1"]

    options = {} if syntax is None else {"transfer_syntax": syntax}
    header, problems = _read(tmp_path, edit, thickness=2.0, spacing_between=1.5, numbers=[7], **options)
    assert problems == ()
    assert header.position_mm == (1.5, -2.25, 30.0)
    assert header.quantum_mm == pytest.approx((0.1, 0.01, 10.0))
    assert (header.row_direction, header.column_direction) == ((1, 0, 0), (0, 1, 0))
    assert header.pixel_spacing_mm == (0.75, 0.5) and header.shape == (6, 5)
    assert (header.number, header.frame) == (7, 0)
    assert (header.slice_location_mm, header.tilt_deg) == (-12.5, 15.0)
    assert (header.thickness_mm, header.spacing_between_mm) == (2.0, 1.5)
    assert header.instance == pydicom.dcmread(header.path).SOPInstanceUID


@pytest.mark.parametrize(
    ("text", "quantum"),
    [
        ("1", 1),
        ("1.", 1),
        ("1.0", 0.1),
        ("-1.250", 0.001),
        (".5", 0.1),
        ("1.5E-2", 1e-3),
        ("+2e+01", 10),
        (" 3.10 ", 0.01),
    ],
)
def test_decimals_are_those_that_were_written(tmp_path, text, quantum):
    def edit(data):
        data.ImagePositionPatient = [text, "0.123", "4"]

    header, _ = _read(tmp_path, edit)
    assert header.position_mm == pytest.approx((float(text), 0.123, 4.0))
    assert header.quantum_mm == pytest.approx((quantum, 0.001, 1.0))


@pytest.mark.parametrize("syntax", ["<", ">"])
def test_binary_positions_are_not_rounded(tmp_path, syntax):
    values = (0.1, -1 / 3, 1e-7)

    def edit(data):
        data[0x00200032] = DataElement(0x00200032, "FD", list(values))

    options = {"transfer_syntax": ExplicitVRBigEndian} if syntax == ">" else {}
    header, problems = _read(tmp_path, edit, **options)
    assert header.position_mm == values and header.quantum_mm == (0, 0, 0) and problems == ()


@pytest.mark.parametrize(
    "value",
    [
        b"1\\2 ",
        b"1\\2\\3\\4 ",
        b"1\\nan\\3 ",
        b"1\\inf\\3 ",
        b"1\\two\\3 ",
        b"1,5,2\\2\\3 ",
        b"1\\1e999\\3 ",
        b"1\\1_0\\3",
    ],
)
def test_malformed_positions_are_named(tmp_path, value):
    header, (problem,) = _read(tmp_path, _raw(0x00200032, "DS", value))
    assert header.position_mm is None and header.row_direction is not None
    note = problem.note(header.path)
    assert note.code is Code.POSITION_BAD
    assert str(header.path) in note.text and "ImagePositionPatient (0020,0032)" in note.text


def test_binary_positions_that_are_no_numbers_are_named(tmp_path):
    def edit(data):
        data[0x00200032] = DataElement(0x00200032, "FD", [math.nan, 0.0, 0.0])

    header, (problem,) = _read(tmp_path, edit)
    assert header.position_mm is None and problem.code is Code.POSITION_BAD


@pytest.mark.parametrize("empty", [True, False])
def test_missing_and_empty_positions_are_no_problem_of_the_file(tmp_path, empty):
    def edit(data):
        if empty:
            data.ImagePositionPatient = None
        else:
            del data.ImagePositionPatient

    header, problems = _read(tmp_path, edit)
    assert header.position_mm is None and problems == ()


@pytest.mark.parametrize(
    "cosines",
    [
        (1, 0, 0, 1, 0, 0),
        (0, 0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0.9, 0),
        (1, 0, 0, 0.02, 1, 0),
        (1, 0, 0),
    ],
)
def test_contradictory_orientations_are_named(tmp_path, cosines):
    def edit(data):
        data.ImageOrientationPatient = [str(v) for v in cosines]

    header, (problem,) = _read(tmp_path, edit)
    assert header.row_direction is None and header.column_direction is None
    assert problem.code is Code.ORIENTATION_BAD and problem.tag == "ImageOrientationPatient"


def test_rounded_cosines_are_made_unit_vectors(tmp_path):
    def edit(data):
        data.ImageOrientationPatient = ["0.707", "0.707", "0", "0", "0", "-1"]

    header, problems = _read(tmp_path, edit)
    assert problems == ()
    assert header.row_direction == pytest.approx((math.sqrt(0.5), math.sqrt(0.5), 0))


def test_pixel_spacing_at_the_detector_is_taken_with_a_warning(tmp_path):
    def edit(data):
        data.ImagerPixelSpacing = ["0.2", "0.1"]

    header, (problem,) = _read(tmp_path, edit, pixel_spacing_mm=None)
    assert header.pixel_spacing_mm == (0.2, 0.1) and problem.code is Code.DETECTOR_SPACING
    header, problems = _read(tmp_path, edit)
    assert header.pixel_spacing_mm == (0.75, 0.5) and problems == ()


@pytest.mark.parametrize("value", [None, b"0\\0 ", b"0.5\\0.5\\1 ", b"-1\\1"])
def test_missing_and_impossible_pixel_spacing_is_named(tmp_path, value):
    edit = None if value is None else _raw(0x00280030, "DS", value)
    header, (problem,) = _read(tmp_path, edit, pixel_spacing_mm=None)
    assert header.pixel_spacing_mm is None and problem.code is Code.NO_PIXEL_SPACING
    assert "PixelSpacing (0028,0030)" in problem.note(header.path).text


@pytest.mark.parametrize(
    ("tag", "name", "value"),
    [
        (0x00180050, "SliceThickness", b"1\\2 "),
        (0x00180088, "SpacingBetweenSlices", b"n/a "),
        (0x00200013, "InstanceNumber", b"1.5 "),
    ],
)
def test_junk_in_other_tags_is_named_and_taken_as_missing(tmp_path, tag, name, value):
    header, (problem,) = _read(tmp_path, _raw(tag, "DS", value))
    assert (problem.code, problem.tag) == (Code.TAG_BAD, name)
    assert (header.thickness_mm, header.spacing_between_mm) == (None, None)
    assert header.number == (None if name == "InstanceNumber" else 1)


def test_a_file_without_preamble_is_read(tmp_path):
    path = _write(tmp_path)
    path.write_bytes(path.read_bytes()[132:])
    (one,) = read_dicom(path).slices
    assert one.header.position_mm is not None
    data = path.read_bytes()
    meta = int.from_bytes(data[8:12], "little") + 12
    path.write_bytes(data[meta:])
    (bare,) = read_dicom(path).slices
    assert bare.header.position_mm == one.header.position_mm
    assert bare.header.pixels.offset == one.header.pixels.offset - meta
    assert bare.header.pixels.stored_as == "<i2"


@pytest.mark.parametrize(
    "content", [b"", b"no DICOM at all" * 20, b"\x08\0\x08\0" + b"\xff" * 300, b"II*\0" + bytes(200)]
)
def test_what_is_not_dicom_is_named(tmp_path, content):
    path = tmp_path / "junk.dcm"
    path.write_bytes(content)
    with pytest.raises(DamagedInputError, match=r"junk\.dcm .*not DICOM"):
        read_dicom(path)
    with pytest.raises(InputMissingError, match="nothing"):
        read_dicom(tmp_path / "nothing.dcm")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_file_cut_anywhere_is_named_or_read_without_its_pixels(tmp_path, syntax):
    options = {} if syntax is None else {"transfer_syntax": syntax}
    path = _write(tmp_path, **options)
    data = path.read_bytes()
    (one,) = read_dicom(path).slices
    begin = one.header.pixels.offset
    for length in (*range(0, len(data), 7), len(data) - 1):
        path.write_bytes(data[:length])
        if length < begin:
            with pytest.raises(DamagedInputError, match=r"IM0001\.dcm"):
                read_dicom(path)
        else:
            file = read_dicom(path)
            cut = dataclasses.replace(one.header.pixels, is_whole=False)
            assert file.slices[0].header == dataclasses.replace(one.header, pixels=cut)
            (problem,) = file.problems
            assert problem.code is Code.UNREADABLE_PIXELS
            assert f"has {length - begin} of 60 bytes" in problem.text


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("DICOMDIR", "a DICOMDIR"),
        ("DICOMDIR-bigEnd", "a DICOMDIR"),
        ("test-SR.dcm", "Comprehensive SR"),
        ("rtplan.dcm", "RT Plan"),
        ("rtstruct.dcm", "RT Structure Set"),
        ("waveform_ecg.dcm", "ECG"),
    ],
)
def test_dicom_without_pixels_is_told_apart(name, what):
    file = read_dicom(Path(get_testdata_file(name, download=False)))
    (problem,) = file.problems
    assert file.slices == () and problem.code is Code.NOT_AN_IMAGE
    assert what in problem.note(file.path).text and "no pixels" in problem.text


def test_images_without_pixels_or_size_are_damaged(tmp_path):
    def no_pixels(data):
        del data.PixelData

    def no_rows(data):
        del data.Rows

    with pytest.raises(DamagedInputError, match=r"7fe0,0010.*truncated, or its pixels were removed"):
        _read(tmp_path, no_pixels)
    with pytest.raises(DamagedInputError, match=r"Rows \(0028,0010\)"):
        _read(tmp_path, no_rows)


def test_bits_that_contradict_each_other_are_named(tmp_path):
    def stored(data):
        data.BitsStored = 20

    def high(data):
        data.BitsStored, data.HighBit = 12, 3

    header, (problem,) = _read(tmp_path, stored)
    assert (header.pixels.bits_stored, header.pixels.high_bit, problem.tag) == (16, 15, "BitsStored")
    header, (problem,) = _read(tmp_path, high)
    assert (header.pixels.bits_stored, header.pixels.high_bit, problem.tag) == (12, 11, "HighBit")


def test_wrong_bytes_raise_nothing_but_what_names_the_file(tmp_path):
    path = _write(tmp_path, thickness=1.0)
    data, random = path.read_bytes(), np.random.default_rng(8)
    outcomes = set()
    for _ in range(300):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[random.integers(132, len(data), 4)] = random.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        try:
            outcomes.add(len(read_dicom(path).slices))
        except DamagedInputError as error:
            assert "IM0001.dcm" in str(error)
            outcomes.add("damaged")
    assert {1, "damaged"} <= outcomes


@pytest.mark.parametrize("count", [b"0 ", b"-1", b"2000000000", b"1A"])
def test_impossible_numbers_of_frames_are_taken_as_one(tmp_path, count):
    _, (problem,) = _read(tmp_path, _raw(0x00280008, "IS", count))
    assert (problem.code, problem.tag) == (Code.TAG_BAD, "NumberOfFrames")


@pytest.mark.parametrize("n_bytes", [58, 60, 61, 119, 120, 600])
@pytest.mark.parametrize("frames", [None, 1, 2])
def test_pixels_of_more_slices_than_the_tags_describe_are_told(tmp_path, n_bytes, frames):
    def edit(data):
        data.PixelData = bytes(n_bytes * (frames or 1) + n_bytes % 2)
        if frames is not None:
            data.NumberOfFrames = frames

    file = read_dicom(_write(tmp_path, edit))
    told = [problem for problem in file.problems if "the rest is not read" in problem.text]
    # A slice of 6 x 5 pixels has 60 bytes.
    assert bool(told) == (n_bytes * (frames or 1) + n_bytes % 2 >= 60 * ((frames or 1) + 1))


@pytest.mark.parametrize("text", [b"0 ", b"0.0 ", b"nan ", b"1e999 ", b"x "])
def test_a_slope_that_is_none_is_said_to_be_1(tmp_path, text):
    header, problems = _read(tmp_path, _raw(0x00281053, "DS", text))
    assert header.pixels.slope == 1 and {problem.tag for problem in problems} == {"RescaleSlope"}
    assert problems[-1].text.endswith("1 is taken for it")


@pytest.mark.parametrize("text", [b"nan ", b"1e999 ", b"x "])
def test_an_intercept_that_is_none_is_said_to_be_0(tmp_path, text):
    header, problems = _read(tmp_path, _raw(0x00281052, "DS", text))
    assert header.pixels.intercept == 0 and problems[-1].text.endswith("0 is taken for it")


def test_text_is_decoded_and_nonsense_in_it_does_no_harm(tmp_path):
    def latin(data):
        data.SpecificCharacterSet = "ISO_IR 100"
        data.SeriesDescription = "Schädel"

    def utf8(data):
        data.SpecificCharacterSet = "ISO_IR 192"
        data.SeriesDescription = "Tête 頭"

    assert read_dicom(_write(tmp_path, latin)).series["SeriesDescription"] == "Schädel"
    assert read_dicom(_write(tmp_path, utf8)).series["SeriesDescription"] == "Tête 頭"
    colored = read_dicom(_write(tmp_path, _raw(0x0008103E, "LO", b"a\x1b[31mb\nc ")))
    assert colored.series["SeriesDescription"] == "a [31mb c"
    wrong = read_dicom(_write(tmp_path, _raw(0x0008103E, "LO", b"Sch\xe4del ")))
    assert wrong.series["SeriesDescription"].startswith("Sch")


def test_offsets_point_at_the_pixels(tmp_path):
    for syntax in SYNTAXES:
        options = {} if syntax is None else {"transfer_syntax": syntax}
        header, _ = _read(tmp_path / str(syntax), **options)
        pixels = header.pixels
        found = np.fromfile(header.path, pixels.stored_as, 30, offset=pixels.offset)
        assert np.array_equal(found.reshape(6, 5), pydicom.dcmread(header.path).pixel_array)
