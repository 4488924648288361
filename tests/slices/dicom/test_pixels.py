from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from gpustitch.demo.series.dicom import Gradient, set_pixels, write_series
from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.planes.format import Planes
from gpustitch.model import Spacing
from gpustitch.slices.dicom.pixels import DicomPlanes, pixels_equal
from gpustitch.slices.dicom.series import find_dicom_series
from tests.slices.dicom.dicom_multiframe import write_plain

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless]
COARSE = Gradient((2.0, 4.0, 1.0), 120.0)


def _series(tmp_path, *args, **options):
    write_series(tmp_path, *args, **options)
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    return series


def _expected(series, order, function):
    """The function at the places that the headers state."""
    planes = []
    for i in order:
        header = series.headers[i]
        y, x = np.indices(header.shape) * np.array(header.pixel_spacing_mm)[:, None, None]
        place = np.array(header.position_mm)[:, None, None]
        row, column = np.array(header.row_direction), np.array(header.column_direction)
        planes.append(function(*(place + row[:, None, None] * x + column[:, None, None] * y)))
    return np.array(planes)


def _stored_as(values, bits=None, high=None):
    """An edit that stores the values given, with unused bits as they are."""

    def edit(data, _):
        set_pixels(data, values)
        if bits is not None:
            data.BitsStored, data.HighBit = bits, bits - 1 if high is None else high

    return edit


@pytest.mark.parametrize("syntax", [*SYNTAXES, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_slices_come_in_the_order_asked_for(tmp_path, syntax, dtype):
    series = _series(tmp_path, [0.0, 1, 2, 3, 4], pixels=COARSE, dtype=dtype, transfer_syntax=syntax)
    order = [4, 0, 2]
    planes: Planes = DicomPlanes(series, np.array(order))
    expected = _expected(series, order, COARSE)
    assert planes.shape == (3, 6, 5) and planes.dtype == dtype and planes.dtype.isnative
    assert planes.name == series.name and planes.depth == 1 and planes.spacing is None
    assert np.abs(planes.read(0, 3) - expected).max() <= 0.5
    whole = planes.read(0, 3)
    for rows, columns in [
        (slice(2, 4), slice(1, 3)),
        (slice(None, None, 2), slice(None, None, -1)),
        (slice(4, 1, -2), slice(-2, None)),
        (slice(3, 3), slice(None)),
        (slice(None), slice(2, 2)),
    ]:
        part = planes.read(1, 3, rows, columns)
        assert part.dtype == dtype and np.array_equal(part, whole[1:3, rows, columns])
    assert planes.read(2, 2).shape == (0, 6, 5)


def test_planes_are_checked_and_state_the_spacing_given(tmp_path):
    series = _series(tmp_path, [0.0, 1])
    planes = DicomPlanes(series, [0, 1], Spacing(1000.0, 750.0, 500.0))
    assert planes.spacing == Spacing(1000.0, 750.0, 500.0)
    with pytest.raises(ParameterError, match="planes 0 to 1"):
        planes.read(1, 3)
    with pytest.raises(ParameterError, match="no slice"):
        DicomPlanes(series, [])


@pytest.mark.parametrize(
    ("dtype", "bits", "intercepts", "expected"),
    [
        ("uint8", 8, [0, 0], "uint8"),
        ("uint8", 8, [0, 1], "uint16"),
        ("uint8", 7, [0, 100], "uint8"),
        ("uint8", 8, [-128, 0], "int16"),
        ("uint16", 8, [0, 0], "uint8"),
        ("uint16", 12, [0, 0], "uint16"),
        ("uint16", 12, [-1024, -1024], "int16"),
        ("uint16", 16, [0, 0], "uint16"),
        ("uint16", 16, [-1, 0], "float32"),
        ("uint16", 16, [1, 0], "float32"),
        ("uint16", 12, [0.5, 0], "float32"),
        ("int16", 16, [0, 0], "int16"),
        ("int16", 16, [-1024, -1024], "float32"),
        ("int16", 12, [-1024, -1024], "int16"),
        ("int16", 12, [2048, 2048], "uint16"),
        ("int16", 16, [32768, 32768], "uint16"),
    ],
)
def test_whole_values_stay_whole_in_the_smallest_type_that_holds_them(tmp_path, dtype, bits, intercepts, expected):
    least = -(1 << bits - 1) if dtype == "int16" else 0
    values = np.linspace(least, least + (1 << bits) - 1, 30).astype(dtype).reshape(6, 5)
    series = _series(
        tmp_path,
        [0.0, 1],
        intercept=intercepts,
        pixels=lambda x, y, z: 0 * x,
        dtype="int16",
        edit=_stored_as(values, bits),
    )
    read = DicomPlanes(series, [0, 1]).read(0, 2)
    assert read.dtype == expected
    assert np.array_equal(read, values.astype(float) + np.array(intercepts)[:, None, None])


def test_ct_of_16_signed_bits_is_whole_where_asked_and_never_clipped(tmp_path):
    values = np.linspace(-1000, 4000, 30).astype("int16").reshape(6, 5)
    series = _series(tmp_path, [0.0, 1], intercept=-1024, pixels=lambda x, y, z: 0 * x, edit=_stored_as(values))
    planes = DicomPlanes(series, [0, 1])
    assert planes.dtype == np.float32 and np.array_equal(planes.read(0, 1)[0], values.astype(int) - 1024)
    planes = DicomPlanes(series, [0, 1], dtype="int16")
    assert planes.dtype == np.int16 and planes.read(0, 2).dtype == np.int16
    assert np.array_equal(planes.read(0, 1)[0], values.astype(int) - 1024)

    values[4, 2] = -32000
    path = series.headers[1].path
    raw = bytearray(path.read_bytes())
    raw[-60:] = values.astype("<i2").tobytes()
    path.write_bytes(raw)
    planes.read(0, 1)
    assert planes.read(1, 2, slice(0, 4)).dtype == np.int16
    text = r"IM0002\.dcm: slice 0 holds values from -33024 to 2976, which int16 does not.*float32"
    for rows, columns in [(slice(None), slice(None)), (slice(4, 5), slice(2, 3))]:
        with pytest.raises(ParameterError, match=text if rows.start is None else "from -33024 to -33024"):
            planes.read(1, 2, rows, columns)
    assert DicomPlanes(series, [1]).read(0, 1)[0, 4, 2] == -33024


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(0.5, 0, "int16"), (1, 0.5, "uint8"), (1, 0, "int32"), (1, 0, "float64")]
)
def test_types_that_cannot_hold_slices_are_refused(tmp_path, slope, intercept, dtype):
    series = _series(tmp_path, [0.0], slope=slope, intercept=intercept)
    with pytest.raises(ParameterError, match=dtype):
        DicomPlanes(series, [0], dtype=dtype)
    assert DicomPlanes(series, [0], dtype=np.float32).read(0, 1).dtype == np.float32


def test_a_wider_type_may_be_asked_for(tmp_path):
    series = _series(tmp_path, [0.0], pixels=COARSE, dtype="uint8")
    plain, wide = DicomPlanes(series, [0]), DicomPlanes(series, [0], dtype="int16")
    assert (plain.dtype, wide.dtype) == (np.uint8, np.int16) and np.array_equal(plain.read(0, 1), wide.read(0, 1))


def test_each_slice_is_rescaled_with_its_own_numbers(tmp_path):
    slopes, intercepts = [0.5, 0.125, 1.0], [-3.25, 7.0, 0.0]
    series = _series(tmp_path, [0.0, 1, 2], pixels=COARSE, slope=slopes, intercept=intercepts)
    read = DicomPlanes(series, [2, 1, 0]).read(0, 3)
    assert read.dtype == np.float32
    expected = _expected(series, [2, 1, 0], COARSE)
    for plane, truth, slope in zip(read, expected, slopes[::-1], strict=True):
        assert np.abs(plane - truth).max() <= slope / 2 + 1e-5


def test_rescaling_rounds_once(tmp_path):
    values = np.arange(30, dtype="uint16").reshape(6, 5) * 2184
    series = _series(
        tmp_path, [0.0], slope=0.1, intercept=1e6, pixels=lambda x, y, z: 0 * x + 1e6, edit=_stored_as(values)
    )
    assert np.array_equal(DicomPlanes(series, [0]).read(0, 1)[0], (values * 0.1 + 1e6).astype(np.float32))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_bits_that_are_not_stored_do_not_count(tmp_path, syntax):
    signed = np.arange(-15, 15, dtype="int16").reshape(6, 5) * 100
    dirty = (signed & 0x0FFF) | 0x5000  # sign not extended, something else above
    cases = [
        ("signed", dirty.astype("int16"), 12, 11, signed),
        ("unsigned", (dirty & 0x7FFF).astype("uint16"), 12, 11, signed & 0x0FFF),
        ("high", (signed << 4).astype("int16"), 12, 15, signed),
    ]
    for name, values, bits, high, expected in cases:
        series = _series(tmp_path / name, [0.0], edit=_stored_as(values, bits, high), transfer_syntax=syntax)
        assert np.array_equal(DicomPlanes(series, [0]).read(0, 1)[0], expected), name


def test_bytes_of_big_endian_words_are_put_in_order(tmp_path):
    values = np.arange(30, dtype="uint8").reshape(6, 5)

    def edit(data, _):
        set_pixels(data, values)
        data.PixelData = values.reshape(-1, 2)[:, ::-1].tobytes()
        data["PixelData"].VR = "OW"

    series = _series(tmp_path, [0.0], edit=edit, transfer_syntax=ExplicitVRBigEndian)
    assert np.array_equal(DicomPlanes(series, [0]).read(0, 1)[0], values)


def test_pixels_of_32_bits_and_real_numbers_become_float32(tmp_path):
    values = np.arange(30, dtype="uint32").reshape(6, 5) * 100_000
    series = _series(tmp_path / "u4", [0.0], edit=_stored_as(values))
    read = DicomPlanes(series, [0]).read(0, 1)
    assert read.dtype == np.float32 and np.array_equal(read[0], values)

    def real(data, _):
        del data.PixelData, data.PixelRepresentation, data.BitsStored, data.HighBit
        data.BitsAllocated = 32
        data.FloatPixelData = np.linspace(-1, 1, 30, dtype="<f4").tobytes()

    series = _series(tmp_path / "f4", [0.0], edit=real)
    assert np.array_equal(DicomPlanes(series, [0]).read(0, 1).ravel(), np.linspace(-1, 1, 30, dtype="f4"))


def test_inverted_grey_is_left_as_stored(tmp_path):
    def edit(data, _):
        data.PhotometricInterpretation = "MONOCHROME1"

    series = _series(tmp_path, [0.0], pixels=COARSE, edit=edit)
    assert np.abs(DicomPlanes(series, [0]).read(0, 1) - _expected(series, [0], COARSE)).max() <= 0.5


def test_a_palette_is_refused_by_name(tmp_path):
    def edit(data, _):
        data.PhotometricInterpretation = "PALETTE COLOR"

    series = _series(tmp_path, [0.0], edit=edit)
    with pytest.raises(ParameterError, match=r"IM0001\.dcm: PhotometricInterpretation \(0028,0004\) is PALETTE COLOR"):
        DicomPlanes(series, [0])


def test_slices_of_several_sizes_are_refused(tmp_path):
    one, other = _series(tmp_path / "a", [0.0]), _series(tmp_path / "b", [0.0], shape=(4, 5))
    mixed = dataclasses.replace(one, headers=(*one.headers, *other.headers))
    with pytest.raises(ParameterError, match=r"\(4, 5\), \(6, 5\)"):
        DicomPlanes(mixed, [0, 1])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_truncated_pixels_are_named(tmp_path, syntax):
    series = _series(tmp_path, [0.0, 1], transfer_syntax=syntax, shape=(40, 40))
    path = series.headers[1].path
    path.write_bytes(path.read_bytes()[:-60])
    (series,), _ = find_dicom_series(tmp_path.iterdir())
    planes = DicomPlanes(series, [0, 1])
    planes.read(0, 1)
    with pytest.raises(DamagedInputError, match=r"IM0002\.dcm"):
        planes.read(0, 2)
    path.unlink()
    with pytest.raises(InputMissingError, match=r"IM0002\.dcm"):
        planes.read(1, 2)


def test_pixels_that_are_there_are_read_from_a_truncated_file(tmp_path):
    series = _series(tmp_path, [0.0], pixels=COARSE)
    whole = DicomPlanes(series, [0]).read(0, 1)
    path = series.headers[0].path
    path.write_bytes(path.read_bytes()[:-10])
    planes = DicomPlanes(series, [0])
    assert np.array_equal(planes.read(0, 1, slice(0, 5)), whole[:, :5])
    with pytest.raises(DamagedInputError, match=r"7fe0,0010.* rows 5 to 5 of slice 0"):
        planes.read(0, 1, slice(5, 6))


def test_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
    series = _series(tmp_path, [0.0, 1])
    planes = DicomPlanes(series, [0, 1])
    counts = []
    fromfile = np.fromfile
    monkeypatch.setattr(
        np,
        "fromfile",
        lambda path, dtype, count, offset: counts.append(count) or fromfile(path, dtype, count, offset=offset),
    )
    planes.read(0, 2, slice(2, 4), slice(0, 1))
    assert counts == [10, 10]


def test_tables_of_values_are_refused_by_name(tmp_path):
    def edit(data, _):
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "HU", [1, 2]
        table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
        data.ModalityLUTSequence = [table]

    series = _series(tmp_path / "a", [0.0], edit=edit)
    with pytest.raises(ParameterError, match=r"IM0001\.dcm: ModalityLUTSequence \(0028,3000\)"):
        DicomPlanes(series, [0])

    def empty(data, _):
        data.ModalityLUTSequence = []

    DicomPlanes(_series(tmp_path / "b", [0.0], edit=empty), [0]).read(0, 1)


def test_unknown_encodings_are_named(tmp_path):
    series = _series(tmp_path, [0.0], transfer_syntax=RLELossless)
    (header,) = series.headers
    pixels = dataclasses.replace(header.pixels, syntax="1.2.840.10008.1.2.4.102")
    video = dataclasses.replace(series, headers=(dataclasses.replace(header, pixels=pixels),))
    with pytest.raises(ParameterError, match=r"TransferSyntaxUID \(0002,0010\) is MPEG-4"):
        DicomPlanes(video, [0])


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm",
        "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm", "JPEG2000.dcm", "image_dfl.dcm", "rtdose.dcm", "rtdose_expb.dcm",
        "rtdose_rle.dcm", "liver_1frame.dcm", "examples_overlay.dcm", "JPEGLSNearLossless_16.dcm",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_files_of_the_wheel_are_what_pydicom_reads(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom brings no {name}")
    (series,), _ = find_dicom_series([path])
    data = pydicom.dcmread(path)
    stored = data.pixel_array.reshape(-1, data.Rows, data.Columns).astype(np.float64)
    slope = float(data.get("RescaleSlope", data.get("DoseGridScaling", 1)))
    expected = stored * slope + float(data.get("RescaleIntercept", 0))
    read = DicomPlanes(series, range(len(series.headers))).read(0, len(series.headers))
    assert np.array_equal(read, expected.astype(read.dtype))
    assert read.dtype == np.float32 or np.array_equal(read, expected)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_planes_may_be_read_from_several_threads(tmp_path, syntax):
    series = _series(tmp_path, np.arange(20.0), pixels=COARSE, transfer_syntax=syntax)
    planes = DicomPlanes(series, range(20))
    whole = planes.read(0, 20)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda k: planes.read(k, k + 1), [*range(20)] * 3))
    assert np.array_equal(np.concatenate(parts), np.concatenate([whole] * 3))


def test_equal_pixels_are_told_from_different_ones(tmp_path):
    values = np.arange(30, dtype="int16").reshape(6, 5)
    other = values.copy()
    other[5, 4] += 1

    def header(name, stored, **options):
        (one,) = _series(
            tmp_path / name, [0.0], pixels=lambda x, y, z: 0 * x, edit=_stored_as(stored), **options
        ).headers
        return one

    same = header("a", values)
    assert pixels_equal(same, header("b", values))
    assert pixels_equal(same, header("c", values, transfer_syntax=RLELossless))
    assert pixels_equal(same, header("d", values * 2, slope=0.5))
    assert not pixels_equal(same, header("e", other))
    assert not pixels_equal(same, header("f", values, intercept=1))
    assert not pixels_equal(same, header("g", values[:5]))
    cut = header("h", values)
    cut.path.write_bytes(cut.path.read_bytes()[:-2])
    with pytest.raises(DamagedInputError, match="h"):
        pixels_equal(same, cut)


def test_frames_of_one_file_are_told_apart(tmp_path):
    pixels = write_plain(tmp_path / "a.dcm", 4)
    pixels[3] = pixels[1]

    def edit(data):
        set_pixels(data, pixels)

    write_plain(tmp_path / "a.dcm", 4, edit=edit)
    (series,), _ = find_dicom_series([Path(tmp_path / "a.dcm")])
    first, second, third, last = series.headers
    assert pixels_equal(second, last) and not pixels_equal(first, third)
