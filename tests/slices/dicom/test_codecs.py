from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from gpustitch.demo.series.dicom import data_set, save, set_pixels
from gpustitch.errors import DamagedInputError, MissingExtraError, ParameterError
from gpustitch.slices.dicom import codecs as dicom_codecs
from gpustitch.slices.dicom.headers import read_dicom
from gpustitch.slices.dicom.pixels import DicomPlanes
from gpustitch.slices.dicom.series import find_dicom_series

WHEEL = Path(get_testdata_file("CT_small.dcm", download=False)).parent
LOSSLESS = [
    JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless,
]  # fmt: skip
NOT_INSTALLED = type("Decoder", (), {"is_available": False, "available_plugins": ()})


def _write(path, pixels, syntax, bits=None, high=None, has_bot=True):
    if syntax == HTJ2KLossless and not hasattr(imagecodecs, "htj2k_encode"):
        pytest.skip("this imagecodecs writes no HTJ2K")
    data = data_set("codecs", path.stem, syntax)
    set_pixels(data, pixels)
    if bits is None:
        return save(data, path, has_bot)
    if syntax == RLELossless:
        # pydicom packs 8 bits of 16 into a byte; they are to stay words.
        data = pydicom.dcmread(save(data, path, has_bot))
    data.BitsStored, data.HighBit = bits, bits - 1 if high is None else high
    if syntax == RLELossless:
        data.save_as(path)
        return path
    return save(data, path, has_bot)


def _read(path):
    (series,), _ = find_dicom_series([path])
    planes = DicomPlanes(series, range(len(series.headers)))
    return planes.read(0, len(series.headers))


def _ramp(dtype, bits, shape=(2, 24, 20)):
    """Smooth, so that lossy streams are near it, and of all signs."""
    least = -(1 << bits - 1) if dtype.startswith("int") else 0
    z, y, x = np.indices(shape)
    values = (x * 5 + y * 4 + z * 7) / (5 * 19 + 4 * 23 + 7)
    return (least + np.rint(values * ((1 << bits) - 1))).astype(dtype)


@pytest.fixture
def alone(monkeypatch):
    """Nothing that pydicom could decode with."""
    monkeypatch.setattr(dicom_codecs, "get_decoder", lambda uid: NOT_INSTALLED())
    monkeypatch.setattr(dicom_codecs, "pixel_array", None)


@pytest.mark.parametrize("has_bot", [True, False])
@pytest.mark.parametrize(
    ("dtype", "bits"), [("uint8", 8), ("uint16", 16), ("uint16", 12), ("uint16", 8), ("int16", 16), ("int16", 12)]
)
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_frames_are_read_without_any_extra(tmp_path, alone, syntax, dtype, bits, has_bot):
    pixels = _ramp(dtype, bits)
    path = _write(tmp_path / "a.dcm", pixels, syntax, bits, has_bot=has_bot)
    assert np.array_equal(_read(path), pixels)


@pytest.mark.parametrize(
    ("syntax", "dtype", "bits"),
    [(JPEGBaseline8Bit, "uint8", 8), (JPEGExtended12Bit, "uint16", 12), (JPEGExtended12Bit, "uint8", 8)],
)
def test_lossy_jpeg_is_read_without_any_extra(tmp_path, alone, syntax, dtype, bits):
    pixels = _ramp(dtype, bits)
    read = _read(_write(tmp_path / "a.dcm", pixels, syntax, bits))
    assert read.dtype == dtype and np.abs(read.astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_lossy_values_that_overshoot_the_stored_bits_are_cut_not_wrapped(tmp_path, alone, dtype):
    # Edges between the extremes of 12 bits, in a stream of 16: neither lossy side may become the other.
    low, high = (0, 4095) if dtype == "uint16" else (-2048, 2047)
    pixels = np.where(np.indices((32, 32)).sum(0) // 5 % 2, high, low).astype(dtype)
    path = tmp_path / "a.dcm"
    data = data_set("codecs", "a", JPEG2000)
    set_pixels(data, pixels)
    data.BitsStored, data.HighBit = 12, 11
    stream = imagecodecs.jpeg2k_encode(pixels, level=40, codecformat="j2k")
    raw = imagecodecs.jpeg2k_decode(stream).astype(int)
    assert raw.min() < low or raw.max() > high
    data.PixelData = encapsulate([stream])
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, "1.2.3"
    data.save_as(path, enforce_file_format=True)
    assert np.array_equal(_read(path)[0], raw.clip(low, high))


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_bits_above_those_stored_are_not_values(tmp_path, alone, syntax):
    values = _ramp("int16", 12)
    path = _write(tmp_path / "a.dcm", (values & 0x0FFF) | 0x5000, syntax, 12)
    assert np.array_equal(_read(path), values)
    path = _write(tmp_path / "b.dcm", values << 4, syntax, 12, high=15)
    assert np.array_equal(_read(path), values)


def _compressed_grey_files():
    found = []
    for path in sorted(WHEEL.rglob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        syntax = data.file_meta.get("TransferSyntaxUID", UID("")) if hasattr(data, "file_meta") else UID("")
        if syntax in dicom_codecs._DECODERS and data.get("SamplesPerPixel") == 1:
            found.append(path.name)
    return found


# Its stream is cut by a delimiter inside; no decoder reads it.
BROKEN = "JPEG2000-embedded-sequence-delimiter.dcm"
# No decoder of the extra reads 12 bits.
TWELVE_BITS = ("JPEG-lossy.dcm", "JPGExtended.dcm")


def test_the_wheel_has_the_files_that_are_compared():
    assert len(_compressed_grey_files()) >= 12 and {BROKEN, *TWELVE_BITS} <= set(_compressed_grey_files())


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("name", [name for name in _compressed_grey_files() if name not in (BROKEN, *TWELVE_BITS)])
def test_every_decoder_of_pydicom_reads_the_same(name, request):
    path = get_testdata_file(name, download=False)
    data = pydicom.dcmread(path)
    decoder = get_decoder(data.file_meta.TransferSyntaxUID)
    expected = {
        plugin: decoder.as_array(data, decoding_plugin=plugin)[0].reshape(-1, data.Rows, data.Columns)
        for plugin in decoder.available_plugins
        if not (plugin == "pillow" and data.BitsStored > 8)
    }
    request.getfixturevalue("alone")
    headers = [one.header for one in read_dicom(Path(path)).slices]
    read = np.array([dicom_codecs.decode_slice(header) for header in headers])
    assert expected
    for plugin, other in expected.items():
        assert np.array_equal(read, other), plugin


@pytest.mark.parametrize("name", TWELVE_BITS)
def test_jpeg_of_12_bits_reads_as_it_does_with_libjpeg(name, alone):
    # Two pixels that pydicom's own tests state, as read by pylibjpeg-libjpeg.
    (plane,) = _read(get_testdata_file(name, download=False))
    assert (plane[420, 140], plane[230, 120]) == (244, 95)


@pytest.mark.parametrize(
    ("syntax", "dtype", "bits", "largest"),
    [
        (JPEGBaseline8Bit, "uint8", 8, 1),
        (JPEGLosslessSV1, "uint16", 16, 0),
        (JPEGLossless, "int16", 16, 0),
        (JPEGLSLossless, "uint16", 16, 0),
        (JPEG2000Lossless, "int16", 16, 0),
    ],
)
def test_gdcm_reads_the_same_to_one_count_of_lossy_jpeg(tmp_path, syntax, dtype, bits, largest):
    pytest.importorskip("gdcm")
    rough = np.random.default_rng(1).normal(0, 0.04, (2, 24, 20)) * (1 << bits)
    limits = np.iinfo(dtype)
    pixels = (_ramp(dtype, bits) + rough).clip(limits.min, limits.max).astype(dtype)
    path = _write(tmp_path / "a.dcm", pixels, syntax, bits)
    other = get_decoder(syntax).as_array(pydicom.dcmread(path), decoding_plugin="gdcm", raw=True)[0]
    assert np.abs(_read(path).astype(int) - other.astype(int)).max() <= largest


def test_what_imagecodecs_cannot_is_left_to_pydicom(tmp_path, monkeypatch):
    pixels = _ramp("uint16", 16)
    path = _write(tmp_path / "a.dcm", pixels, JPEG2000Lossless)

    def fail(data):
        raise RuntimeError("no such stream")

    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", fail)
    assert np.array_equal(_read(path), pixels)
    monkeypatch.setattr(dicom_codecs, "get_decoder", lambda uid: NOT_INSTALLED())
    text = r"a\.dcm.*7fe0,0010.*slice 0.*JPEG 2000.*no such stream.*gpustitch\[dicom\].*none is installed"
    with pytest.raises(DamagedInputError, match=text):
        _read(path)


def test_missing_decoders_and_unknown_syntaxes_are_named(tmp_path, alone):
    with pytest.raises(
        MissingExtraError, match=r"a\.dcm is compressed \(1\.2\.840\.10008\.1\.2\.4\.110\).*gpustitch\[dicom\]"
    ):
        dicom_codecs.check_decodable(Path("a.dcm"), "1.2.840.10008.1.2.4.110")
    for syntax in LOSSLESS:
        dicom_codecs.check_decodable(Path("a.dcm"), syntax)


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEGBaseline8Bit])
@pytest.mark.parametrize("has_bot", [True, False])
def test_no_truncated_frame_passes_for_a_whole_one(tmp_path, syntax, has_bot):
    pixels = _ramp("uint8", 8)
    path = _write(tmp_path / "a.dcm", pixels, syntax, has_bot=has_bot)
    headers = [one.header for one in read_dicom(path).slices]
    first = dicom_codecs.decode_slice(headers[0])
    raw = path.read_bytes()
    items = headers[0].pixels.items
    for cut in range(items + 30, len(raw) - 12, 7):
        path.write_bytes(raw[:cut])
        with pytest.raises(DamagedInputError, match=r"a\.dcm"):
            dicom_codecs.decode_slice(headers[1])
    assert np.array_equal(dicom_codecs.decode_slice(headers[0]), first)


@pytest.mark.parametrize(
    ("syntax", "encode"), [(JPEGBaseline8Bit, imagecodecs.jpeg8_encode), (JPEGLSLossless, imagecodecs.jpegls_encode)]
)
def test_a_jpeg_that_was_cut_before_it_was_wrapped_is_damaged(tmp_path, syntax, encode):
    path = tmp_path / "a.dcm"
    data = data_set("codecs", "a", syntax)
    set_pixels(data, _ramp("uint8", 8)[0])
    stream = encode(_ramp("uint8", 8)[0])
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, "1.2.3"
    for size in (len(stream) // 2, len(stream) - 2):
        data.PixelData = encapsulate([stream[:size]])
        data.save_as(path, enforce_file_format=True)
        with pytest.raises(DamagedInputError, match=r"a\.dcm: .*slice 0, is truncated"):
            _read(path)


def test_frames_of_another_size_are_damage(tmp_path, alone):
    (one,) = read_dicom(_write(tmp_path / "a.dcm", _ramp("uint8", 8)[0], JPEGLSLossless)).slices
    with pytest.raises(DamagedInputError, match=r"a\.dcm: .* is a stream of \(24, 20\)"):
        dicom_codecs.decode_slice(dataclasses.replace(one.header, shape=(20, 24)))


@pytest.mark.parametrize(
    ("data", "bits", "is_signed"),
    [
        (imagecodecs.jpeg2k_encode(_ramp("int16", 16)[0], codecformat="j2k"), 16, True),
        (imagecodecs.jpeg2k_encode(_ramp("uint8", 8)[0], codecformat="jp2"), 8, False),
        (imagecodecs.jpeg8_encode(_ramp("uint16", 12)[0], bitspersample=12), 12, False),
        (imagecodecs.jpeg8_encode(_ramp("uint8", 8)[0]), 8, False),
        (imagecodecs.jpegls_encode(_ramp("uint16", 16)[0]), 16, False),
    ],
)
def test_streams_state_their_format(data, bits, is_signed):
    assert dicom_codecs.stream_format(data) == dicom_codecs.Stream(bits, is_signed, (24, 20))
    for cut in (0, 1, 3, 5, 10):
        with pytest.raises(ValueError, match="no frame header"):
            dicom_codecs.stream_format(data[:cut])


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEGBaseline8Bit])
def test_damaged_bytes_end_neither_the_process_nor_the_memory(tmp_path, syntax):
    path = _write(tmp_path / "a.dcm", _ramp("uint8", 8, (1, 64, 60))[0], syntax)
    (one,) = read_dicom(path).slices
    raw, rng, n_damaged = path.read_bytes(), np.random.default_rng(3), 0
    first = one.header.pixels.items + 16
    for _ in range(100):
        damaged = bytearray(raw)
        for at in rng.integers(first, min(len(raw) - 8, first + 200), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert dicom_codecs.decode_slice(one.header).shape == (64, 60)
        except DamagedInputError as error:
            n_damaged += 1
            assert "a.dcm" in str(error)
    assert n_damaged


def test_video_is_refused():
    with pytest.raises(ParameterError, match="MPEG"):
        dicom_codecs.check_decodable(Path("a.dcm"), "1.2.840.10008.1.2.4.102")
    assert JPEGLSNearLossless in dicom_codecs._DECODERS
