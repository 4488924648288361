"""The short way to a header finds what pydicom finds, in ordinary files and in damaged ones."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import GpustitchError
from gpustitch.slices.dicom import headers
from gpustitch.slices.dicom.frames import SPLIT_TAGS
from gpustitch.slices.dicom.headers import read_dicom
from gpustitch.slices.dicom.scan import scanned

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
REAL = sorted((Path(pydicom.__file__).parent / "data/test_files").rglob("*"))
REAL = [path for path in REAL if path.is_file() and path.suffix != ".py" and path.stat().st_size < 1 << 21]
VALUES = {"LO": "words", "SH": "word", "DS": "1.25", "IS": "3", "DA": "20200101", "TM": "101010", "CS": "YES", "US": 7}
TAGS = [tag for tag, (vr, vm, _, retired, _) in DicomDictionary.items() if vr in VALUES and vm == "1" and not retired]


def found(path, *, is_short, monkeypatch):
    """What is read of a file, or the error."""
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not is_short:
            patch.setattr(headers, "scanned", lambda *_: None)
        try:
            return read_dicom(path, tuple(SPLIT_TAGS))
        except GpustitchError as error:
            return str(error)


def is_ordinary(path):
    return scanned(io.BytesIO(path.read_bytes()), headers._TAGS, headers._SEQUENCES) is not None


def filled(rng):
    """An edit that adds random tags, and sequences with and without a length, nested."""

    def edit(data, _):
        for tag in rng.choice(TAGS, 60, replace=False).tolist():
            if tag not in data and 0x0008 <= tag >> 16 < 0x0070 and tag >> 16 != 0x0028:
                data.add_new(tag, DicomDictionary[tag][0], VALUES[DicomDictionary[tag][0]])
        for keyword in ("ReferencedImageSequence", "SourceImageSequence"):
            inner, item = Dataset(), Dataset()
            inner.CodeValue = item.ReferencedSOPInstanceUID = "1.2.3"
            item.PurposeOfReferenceCodeSequence = [inner]
            item["PurposeOfReferenceCodeSequence"].is_undefined_length = bool(rng.integers(2))
            item.is_undefined_length_sequence_item = bool(rng.integers(2))
            setattr(data, keyword, [item] * int(rng.integers(3)))
            data[keyword].is_undefined_length = bool(rng.integers(2))
        data.add_new(0x00091010, "UN", bytes(rng.integers(0, 255, 2 * int(rng.integers(0, 20000)), np.uint8)))

    return edit


SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("seed", range(5))
def test_random_headers_are_read_as_by_pydicom(tmp_path, monkeypatch, syntax, seed):
    rng = np.random.default_rng(seed)
    for path in write_series(tmp_path, [0.0, 1.5], edit=filled(rng), transfer_syntax=syntax, shape=(16, 16)):
        assert is_ordinary(path)
        short = found(path, is_short=True, monkeypatch=monkeypatch)
        assert short == found(path, is_short=False, monkeypatch=monkeypatch) and len(short.slices) == 1


@pytest.mark.parametrize("seed", range(8))
def test_damaged_headers_are_read_as_by_pydicom(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    (path,) = write_series(tmp_path, [0.0], edit=filled(rng), transfer_syntax=SYNTAXES[seed % 2])
    data = path.read_bytes()
    for _ in range(25):
        spoiled = bytearray(data[: rng.integers(140, len(data) + 1)] if rng.integers(2) else data)
        for at in rng.integers(132, min(len(spoiled), 2000), rng.integers(0, 3)).tolist():
            spoiled[at] = rng.integers(256)
        path.write_bytes(spoiled)
        short = found(path, is_short=True, monkeypatch=monkeypatch)
        assert short == found(path, is_short=False, monkeypatch=monkeypatch)


def test_real_files_are_read_as_by_pydicom(monkeypatch):
    ordinary = 0
    for path in REAL:
        short = found(path, is_short=True, monkeypatch=monkeypatch)
        assert short == found(path, is_short=False, monkeypatch=monkeypatch), path.name
        ordinary += is_ordinary(path)
    assert ordinary > 60


def test_headers_longer_than_the_first_bytes(tmp_path, monkeypatch):
    for n_bytes in (1 << 14, 1 << 17, 3 << 19):

        def edit(data, _, n_bytes=n_bytes):
            data.add_new(0x00091010, "UN", bytes(n_bytes))

        (path,) = write_series(tmp_path, [0.0], edit=edit)
        assert is_ordinary(path) == (n_bytes < 1 << 20)
        short = found(path, is_short=True, monkeypatch=monkeypatch)
        assert short == found(path, is_short=False, monkeypatch=monkeypatch) and len(short.slices) == 1
