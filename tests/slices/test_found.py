"""Telling apart the files at paths where slices are looked for."""

from __future__ import annotations

import os
import struct

import pytest

from gpustitch.errors import InputMissingError
from gpustitch.slices.found import SliceFiles, slice_files
from gpustitch.slices.model import Code

DICOM = bytes(128) + b"DICM" + b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", 0)
TIFF = b"II*\0" + bytes(8)


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def names(files, folder):
    return [str(file.relative_to(folder)) for file in files]


def test_folders_are_walked_in_natural_order_and_files_told_by_kind(tmp_path):
    put(
        tmp_path,
        {
            "scan_10/IM1": DICOM, "scan_2/IM10": DICOM, "scan_2/IM9": DICOM, "scan_2/notes.txt": b"seen",
            "a/s_2.tif": TIFF, "a/s_10.TIFF": TIFF, "a/s.png": b"png", "a/s.jpg": b"", "a/s.JPEG": b"", "a/s.bmp": b"",
            "a/s_rec.log": b"[System]\r\n[Reconstruction]\r\n", "a/s.pca": b"", "a/s.pcr": b"", "a/s.xtekct": b"",
            "a/s.txm": b"", "a/s.txrm": b"", "a/install.log": b"all went well [Reconstruction] or so",
        },
    )  # fmt: skip
    found = slice_files([tmp_path])
    assert names(found.dicom, tmp_path) == ["scan_2/IM9", "scan_2/IM10", "scan_10/IM1"]
    images = ["a/s.JPEG", "a/s.bmp", "a/s.jpg", "a/s.png", "a/s_2.tif", "a/s_10.TIFF"]
    assert sorted(names(found.images, tmp_path)) == sorted(images)
    assert names(found.images, tmp_path)[-2:] == images[-2:]
    logs = ["a/s.pca", "a/s.pcr", "a/s.txm", "a/s.txrm", "a/s.xtekct", "a/s_rec.log"]
    assert names(found.logs, tmp_path) == logs
    assert sorted(names(found.others, tmp_path)) == ["a/install.log", "scan_2/notes.txt"]
    assert found.notes == ()


def test_files_folders_and_globs_are_one_list_without_repeats(tmp_path):
    put(tmp_path, {"a [1]/1.dcm": DICOM, "a [1]/2.dcm": DICOM, "b/1.dcm": DICOM, "b/c/d/2.dcm": DICOM})
    given = [tmp_path / "b", tmp_path / "a [1]" / "*.dcm", f"{tmp_path}/b/1.dcm", tmp_path / "b" / ".." / "b" / "1.dcm"]
    assert [os.path.realpath(file) for file in slice_files(given).dicom] == [
        str(tmp_path / name) for name in ("a [1]/1.dcm", "a [1]/2.dcm", "b/1.dcm", "b/c/d/2.dcm")
    ]
    assert names(slice_files([f"{tmp_path}/**/2.dcm"]).dicom, tmp_path) == ["a [1]/2.dcm", "b/c/d/2.dcm"]
    assert names(slice_files([f"{tmp_path}/[ab]"]).dicom, tmp_path) == ["b/1.dcm", "b/c/d/2.dcm"]  # folders of a glob


@pytest.mark.parametrize("path", ["nothing", "*.dcm", "no/folder"])
def test_a_path_where_nothing_is_is_named(tmp_path, path):
    put(tmp_path, {"a.txt": b""})
    with pytest.raises(InputMissingError, match="there is no file or folder .*" + path.replace("*", r"\*")):
        slice_files([tmp_path, tmp_path / path])
    assert slice_files([]) == SliceFiles()


@pytest.mark.parametrize(
    "content",
    [
        b"\x02\x00\x00\x00UL\x04\x00" + bytes(12),  # file meta without its preamble
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(8),
        b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100" + bytes(8),  # big endian
        struct.pack("<HHI", 8, 5, 10) + b"ISO_IR 100" + struct.pack("<HHI", 8, 8, 0),  # implicit VR
        struct.pack("<HHI", 8, 1, 4) + bytes(4) + struct.pack("<HHI", 0x10, 0x10, 0),
    ],
)
def test_dicom_without_a_preamble(tmp_path, content):
    put(tmp_path, {"IM0001": content, "IM0002.img": content})
    assert len(slice_files([tmp_path]).dicom) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x08\x00", b"DICM" * 4, bytes(200), b"text of some length, DICM at the wrong place",
        struct.pack("<HHI", 8, 5, 1 << 30) + bytes(100),  # longer than the file
        struct.pack("<HHI", 8, 5, 7) + bytes(100),  # values have even lengths
        struct.pack("<HHI", 8, 5, 7) + b"ISO_IR " + struct.pack("<HHI", 8, 8, 0) + bytes(9),
        struct.pack("<HHI", 8, 0x4000, 2) + b"ab" + struct.pack("<HHI", 0x10, 0x10, 0) + bytes(9),
        struct.pack("<HHI", 8, 5, 10) + bytes(100),  # nothing sensible after the first value
        struct.pack("<HHI", 8, 0x4000, 10) + bytes(100), struct.pack("<HHI", 9, 5, 2) + bytes(100),
    ],
)  # fmt: skip
def test_what_only_looks_like_dicom_is_not(tmp_path, content):
    put(tmp_path, {"IM0001": content})
    assert slice_files([tmp_path]).others == (tmp_path / "IM0001",)


def test_files_named_as_dicom_go_to_its_reader_whatever_they_hold(tmp_path):
    put(tmp_path, {"1.dcm": b"", "2.IMA": b"cut", "3.dicom": DICOM[:100]})
    assert len(slice_files([tmp_path]).dicom) == 3


def test_a_tiff_that_is_dicom_too_is_an_image_and_dicom_named_tif_is_dicom(tmp_path):
    both = TIFF + DICOM[len(TIFF) :]
    put(tmp_path, {"both.tif": both, "dicom.tif": DICOM, "both.dcm": both, "dicom.png": DICOM})
    found = slice_files([tmp_path])
    assert names(found.images, tmp_path) == ["both.tif"]
    assert names(found.dicom, tmp_path) == ["both.dcm", "dicom.png", "dicom.tif"]


def test_hidden_files_are_left_out_unless_named(tmp_path):
    hidden = ("._1.dcm", ".DS_Store", ".git/1.dcm", "__MACOSX/1.dcm")
    put(tmp_path, {"1.dcm": DICOM} | dict.fromkeys(hidden, DICOM))
    found = slice_files([tmp_path])
    assert names(found.dicom, tmp_path) == ["1.dcm"] and found.others == ()
    assert names(slice_files([tmp_path / "._1.dcm"]).dicom, tmp_path) == ["._1.dcm"]


def test_indexes_and_litter_are_no_slices(tmp_path):
    put(tmp_path, {"DICOMDIR": DICOM, "Thumbs.db": b"\xd0\xcf", "desktop.ini": b""})
    assert names(slice_files([tmp_path]).others, tmp_path) == ["DICOMDIR", "Thumbs.db", "desktop.ini"]


def test_skyscan_s_preview_is_left_out_only_beside_its_sections(tmp_path):
    put(tmp_path, {"rec/a__rec0001.bmp": b"", "rec/A__rec_spr.bmp": b"", "rec/b_spr.bmp": b"", "own/a_spr.bmp": b""})
    put(tmp_path, {"rec/a__rec_spr.txt": b"", "spr/_spr.tif": TIFF})
    found = slice_files([tmp_path])
    assert names(found.images, tmp_path) == ["own/a_spr.bmp", "rec/a__rec0001.bmp", "rec/b_spr.bmp", "spr/_spr.tif"]
    assert sorted(names(found.others, tmp_path)) == ["rec/A__rec_spr.bmp", "rec/a__rec_spr.txt"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("section", ["[Acquisition]", "[Reconstruction]"])
def test_skyscan_logs_are_told_from_other_logs_in_any_encoding(tmp_path, encoding, section):
    put(tmp_path, {"s.log": f"[System]\r\nScanner=é\r\n{section}\r\nx=1\r\n".encode(encoding), "t.log": b"started\n"})
    found = slice_files([tmp_path])
    assert names(found.logs, tmp_path) == ["s.log"] and names(found.others, tmp_path) == ["t.log"]


def test_what_cannot_be_opened_is_noted_and_the_rest_is_told(tmp_path, monkeypatch):
    put(tmp_path, {"1.dcm": DICOM, "2.dcm": DICOM, "a/3.dcm": DICOM})
    real = type(tmp_path).open

    def opened(path, *args, **kwargs):
        if path.name == "2.dcm":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(type(tmp_path), "open", opened)
    listed = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed(refused(path)))
    found = slice_files([tmp_path])
    assert names(found.dicom, tmp_path) == ["1.dcm"]
    assert [note.code for note in found.notes] == [Code.UNREADABLE_FILE] * 2
    assert "/a cannot be opened" in found.notes[0].text and "2.dcm cannot be opened" in found.notes[1].text


def refused(path):
    if str(path).endswith("/a"):
        raise PermissionError(13, "Permission denied", str(path))
    return path


@pytest.mark.posix
def test_broken_links_and_devices_do_no_harm(tmp_path):
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.dcm")
    put(tmp_path, {"1.dcm": DICOM})
    (tmp_path / "loop").symlink_to(tmp_path)
    found = slice_files([tmp_path])
    assert names(found.dicom, tmp_path) == ["1.dcm"]
    assert sorted(names(found.others, tmp_path)) == ["gone.dcm", "pipe.dcm"]


@pytest.mark.posix
def test_a_path_that_cannot_be_looked_at_is_named(tmp_path):
    with pytest.raises(InputMissingError, match="cannot be opened: File name too long"):
        slice_files([tmp_path / ("a" * 300)])
