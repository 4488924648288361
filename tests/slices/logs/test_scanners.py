"""Voxel sizes in what micro-CT scanners write beside their images."""

from __future__ import annotations

import struct
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, InputMissingError, MissingExtraError, ParameterError
from gpustitch.slices.logs.scanners import find_logs, read_scanner_log
from tests.slices.logs.ole_file import write_ole

SKYSCAN = """[System]
Scanner=SkyScan1275
Camera Pixel Size (um)=75.0
[Acquisition]
Data Directory=D:\\Resultados\\Núria
Number Of Files=  601
Number Of Rows= 1536
Number Of Columns= 1944
Filename Index Length=8
Image Pixel Size (um)=11.5
Scaled Image Pixel Size (um)=11.5
Pixel Size (um)=99
[Reconstruction]
Program Version=Version: 1.7.1.2
First Section=421
Last Section=2050
Section to Section Step=1
Sections Count=1630
Result Image Width (pixels)=1108
Result Image Height (pixels)=876
Pixel Size (um)=7.00082
Undersampling factor=1
[File name convention]
Filename Index Length=8
Filename Prefix=embryo__rec
"""
PCA = """[General]
Version-pca=2
[Geometry]
FDD=802.77534791
FOD=131.47875000
Magnification=6.10574217
VoxelSizeX=0.03275605
VoxelSizeY=0.03275605
[CT]
NumberImages=1000
[Image]
DimX=2024
DimY=2014
[Detector]
PixelsizeX=0.20000000
"""
PCR = """[VolumeData]
Volume_SizeX=1800
Volume_SizeY=1700
Volume_SizeZ=1900
VoxelSizeRec=0.0321
Format=5
"""
XTEKCT = """[XTekCT]
Name=part
VoxelsX=1000
VoxelsY=1100
VoxelsZ=1200
VoxelSizeX=0.0125
VoxelSizeY=0.0126
VoxelSizeZ=0.025
DetectorPixelsX=2000
DetectorPixelsY=2001
DetectorPixelSizeX=0.2
Projections=1080
[CTPro]
Filter_ThicknessMM=
"""


def log(folder, text, name="a_rec.log", encoding="latin-1"):
    (folder / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    return read_scanner_log(folder / name)


def test_skyscan_states_its_voxels_in_the_reconstruction_alone(tmp_path):
    found = log(tmp_path, SKYSCAN)
    assert found.spacing_mm == pytest.approx((7.00082e-3,) * 3)
    assert found.shape == (1630, 876, 1108) and found.sections == (421, 2050, 1)
    assert found.projections == (601, 1536, 1944) and found.prefix == "embryo__rec"
    assert found.quotes == ("[Reconstruction] Pixel Size (um)=7.00082", "[Reconstruction] Section to Section Step=1")
    assert found.problems == () and found.is_reconstruction


def test_skyscan_s_slices_are_a_step_of_sections_apart(tmp_path):
    text = SKYSCAN.replace("Step=1", "Step=3").replace("Count=1630", "Count=544")
    found = log(tmp_path, text)
    assert found.spacing_mm == pytest.approx((3 * 7.00082e-3, 7.00082e-3, 7.00082e-3))
    assert found.shape[0] == 544 and found.sections == (421, 2050, 3) and found.problems == ()


def test_without_a_step_the_distance_of_slices_is_not_known(tmp_path):
    found = log(tmp_path, SKYSCAN.replace("Section to Section Step=1\n", ""))
    assert found.spacing_mm == (None, pytest.approx(7.00082e-3), pytest.approx(7.00082e-3))
    assert "has no Section to Section Step" in found.problems[0] and found.shape[0] == 1630


def test_the_log_of_skyscan_s_projections_states_no_voxel_size(tmp_path):
    found = log(tmp_path, SKYSCAN[: SKYSCAN.index("[Reconstruction]")], "a.log")
    assert found.spacing_mm == (None, None, None) and found.shape == (None, None, None)
    assert found.log_type == "SkyScan projections" and "_rec.log" in found.problems[0]
    assert found.projections == (601, 1536, 1944)


def test_a_count_that_contradicts_the_sections_is_named(tmp_path):
    found = log(tmp_path, SKYSCAN.replace("Count=1630", "Count=800"))
    assert found.shape == (None, 876, 1108)
    assert "Sections Count=800, but sections 421 to 2050 in steps of 1 are 1630" in found.problems[0]


def test_undersampling_that_the_pixel_size_leaves_out_is_named(tmp_path):
    text = SKYSCAN.replace("factor=1", "factor=2")
    assert log(tmp_path, text).problems == ()  # 7 um are not those of the projections, 11.5
    same = log(tmp_path, text.replace("=7.00082", "=11.50001"))
    assert "Undersampling factor=2" in same.problems[0] and "2 times as large" in same.problems[0]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(tmp_path, encoding, end):
    (tmp_path / "a.log").write_bytes(SKYSCAN.replace("\n", end).encode(encoding))
    assert read_scanner_log(tmp_path / "a.log").spacing_mm[0] == pytest.approx(7.00082e-3)


def test_names_keep_letters_of_the_computer_s_encoding(tmp_path):
    for encoding in ("latin-1", "utf-8", "utf-16"):
        assert log(tmp_path, SKYSCAN.replace("embryo__rec", "Núria_rec"), encoding=encoding).prefix == "Núria_rec"


def test_decimal_commas_and_spaces(tmp_path):
    found = log(tmp_path, SKYSCAN.replace("Pixel Size (um)=7.00082", "  PIXEL SIZE (um)  =  7,00082\t"))
    assert found.spacing_mm[1] == pytest.approx(7.00082e-3)
    assert log(tmp_path, PCA.replace("0.0327", "0,0327"), "a.pca").spacing_mm[1] == pytest.approx(0.03275605)


@pytest.mark.parametrize("value", ["0", "-7", "nan", "inf", "1e999", "1.234,5", "1,234.5", "seven", "7 um", "0x7"])
@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        (SKYSCAN, "a.log", "Pixel Size (um)=7.00082"), (PCA, "a.pca", "VoxelSizeX=0.03275605"),
        (PCR, "a.pcr", "VoxelSizeRec=0.0321"), (XTEKCT, "a.xtekct", "VoxelSizeZ=0.025"),
        (SKYSCAN, "a.log", "Section to Section Step=1"),
    ],
)  # fmt: skip
def test_a_size_that_is_none_is_an_error_that_names_file_and_key(tmp_path, text, name, key, value):
    with pytest.raises(DamagedInputError, match=name.replace(".", r"\.")) as caught:
        log(tmp_path, text.replace(key, f"{key.split('=')[0]}={value}"), name)
    assert key.split("=")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        (SKYSCAN, "a.log", "Pixel Size (um)=7.00082"), (PCA, "a.pca", "VoxelSizeY=0.03275605"),
        (PCR, "a.pcr", "VoxelSizeRec=0.0321"), (XTEKCT, "a.xtekct", "VoxelSizeX=0.0125"),
    ],
)  # fmt: skip
def test_a_size_that_is_missing_or_there_twice_is_named(tmp_path, text, name, key):
    for without in (text.replace(key + "\n", ""), text.replace(key, key.split("=")[0] + "=")):
        with pytest.raises(DamagedInputError, match=r"has no|there is no") as caught:
            log(tmp_path, without, name)
        assert key.split("=")[0] in str(caught.value) and name in str(caught.value)
    with pytest.raises(DamagedInputError, match="contradicts itself"):
        log(tmp_path, text.replace(key, f"{key}\n{key.split('=')[0]}=5"), name)
    assert log(tmp_path, text.replace(key, f"{key}\n{key}"), name).problems == ()  # the same twice


def test_a_log_without_sections_is_no_scanner_s(tmp_path):
    with pytest.raises(DamagedInputError, match="neither"):
        log(tmp_path, "installed\nPixel Size (um)=7\n", "setup.log")
    with pytest.raises(DamagedInputError, match=r"there is no \[Geometry\] with VoxelSizeX"):
        log(tmp_path, "[General]\n", "a.pca")


def test_ge_s_acquisition_states_x_and_y_and_z_follows_from_cubes(tmp_path):
    found = log(tmp_path, PCA, "a.pca")
    assert found.spacing_mm == (0.03275605,) * 3 and not found.is_reconstruction
    assert found.shape == (None, None, None) and found.projections == (1000, 2014, 2024)
    assert "[Geometry] VoxelSizeX=0.03275605" in found.quotes and "cubes" in found.quotes[-1]
    uneven = log(tmp_path, PCA.replace("SizeY=0.03275605", "SizeY=0.05"), "a.pca")
    assert uneven.spacing_mm == (None, 0.05, 0.03275605) and "differ" in uneven.problems[0]


def test_ge_s_reconstruction(tmp_path):
    found = log(tmp_path, PCR, "a.pcr")
    assert found.spacing_mm == (0.0321,) * 3 and found.shape == (1900, 1700, 1800)
    assert found.quotes[0].lower() == "[volumedata] voxelsizerec=0.0321"
    assert log(tmp_path, PCR.replace("[VolumeData]", "[Volume]"), "a.pcr").shape == (1900, 1700, 1800)


def test_a_log_of_nikon_is_read(tmp_path):
    found = log(tmp_path, XTEKCT, "a.XTEKCT")
    assert found.spacing_mm == (0.025, 0.0126, 0.0125) and found.shape == (1200, 1100, 1000)
    assert found.projections == (1080, 2001, 2000) and found.problems == ()
    assert found.quotes[0] == "[XTekCT] VoxelSizeX=0.0125"


def test_nikon_s_units_count_if_they_are_stated(tmp_path):
    assert log(tmp_path, XTEKCT.replace("Name=", "Units=mm\nName="), "a.xtekct").spacing_mm[0] == 0.025
    found = log(tmp_path, XTEKCT.replace("Name=", "Units=um\nName="), "a.xtekct")
    assert found.spacing_mm == pytest.approx((2.5e-5, 1.26e-5, 1.25e-5)) and "[XTekCT] Units=um" in found.quotes
    with pytest.raises(DamagedInputError, match="Units is 'voxels'"):
        log(tmp_path, XTEKCT.replace("Name=", "Units=voxels\nName="), "a.xtekct")
    found = log(tmp_path, XTEKCT.replace("VoxelSizeZ=0.025\n", ""), "a.xtekct")
    assert found.spacing_mm == (None, 0.0126, 0.0125) and "no VoxelSizeZ" in found.problems[0]


@pytest.mark.parametrize("value", ["-3", "1.5", "nan", "many"])
def test_counts_are_whole_numbers(tmp_path, value):
    with pytest.raises(DamagedInputError, match="VoxelsZ"):
        log(tmp_path, XTEKCT.replace("VoxelsZ=1200", f"VoxelsZ={value}"), "a.xtekct")


def zeiss(path, **values):
    layouts = {"PixelSize": "<f", "pixelsize": "<f"}
    streams = {
        name: value if isinstance(value, bytes) else struct.pack(layouts.get(name, "<I"), value)
        for name, value in values.items()
    }
    return write_ole(path, "ImageInfo", streams)


def test_zeiss_reconstruction_and_projections(tmp_path):
    pytest.importorskip("olefile")
    sizes = {"PixelSize": 2.5, "NoOfImages": 1000, "ImageHeight": 1014, "ImageWidth": 988}
    found = read_scanner_log(zeiss(tmp_path / "a.txm", **sizes))
    assert found.spacing_mm == (2.5e-3,) * 3 and found.shape == (1000, 1014, 988) and found.is_reconstruction
    assert found.quotes[0] == "ImageInfo/PixelSize=2.5 um"
    found = read_scanner_log(zeiss(tmp_path / "a.TXRM", **sizes))
    assert found.spacing_mm == (2.5e-3,) * 3 and found.shape == (None, None, None)
    assert found.projections == (1000, 1014, 988) and not found.is_reconstruction
    assert read_scanner_log(zeiss(tmp_path / "b.txm", pixelsize=0.75)).spacing_mm == (7.5e-4,) * 3


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), b"\0\0", None])
def test_zeiss_pixel_sizes_that_are_none(tmp_path, value):
    pytest.importorskip("olefile")
    values = {"ImageWidth": 9} | ({} if value is None else {"PixelSize": value})
    with pytest.raises(DamagedInputError, match=r"a\.txm: ImageInfo/PixelSize"):
        read_scanner_log(zeiss(tmp_path / "a.txm", **values))


def test_zeiss_files_that_are_damaged_or_cannot_be_read_here(tmp_path, monkeypatch):
    pytest.importorskip("olefile")
    path = zeiss(tmp_path / "a.txm", PixelSize=2.5)
    data = path.read_bytes()
    for size in (0, 100, 700):
        path.write_bytes(data[:size])
        with pytest.raises(DamagedInputError, match=r"a\.txm"):
            read_scanner_log(path)
    monkeypatch.setitem(sys.modules, "olefile", None)
    with pytest.raises(MissingExtraError, match=r"gpustitch\[zeiss\]"):
        read_scanner_log(path)


def test_files_that_are_no_logs(tmp_path):
    with pytest.raises(ParameterError, match=r"\.pca"):
        read_scanner_log(tmp_path / "a.txt")
    for name in ("a.log", "a.pca", "a.pcr", "a.xtekct"):
        with pytest.raises(InputMissingError, match=name):
            read_scanner_log(tmp_path / name)
        (tmp_path / name).write_bytes(bytes(range(256)) * 4)
        with pytest.raises(DamagedInputError, match=name):
            read_scanner_log(tmp_path / name)


def test_logs_of_a_folder_are_found_and_those_of_other_programs_left_out(tmp_path):
    for name in ("b_rec.log", "a10.pca", "a9.PCA", ".hidden.log", "a.txt", "c.txrm"):
        (tmp_path / name).write_bytes(b"[Acquisition]\n")
    (tmp_path / "install.log").write_bytes(b"all went well\n")
    (tmp_path / "folder.log").mkdir()
    assert [path.name for path in find_logs(tmp_path)] == ["a9.PCA", "a10.pca", "b_rec.log", "c.txrm"]
    with pytest.raises(InputMissingError, match="nowhere"):
        find_logs(tmp_path / "nowhere")


@settings(deadline=None)
@given(size=st.floats(1e-4, 1e4), step=st.integers(1, 20), first=st.integers(0, 3000), n=st.integers(1, 3000))
def test_any_size_and_step_come_back(tmp_path_factory, size, step, first, n):
    text = (
        f"[Reconstruction]\nPixel Size (um)={size!r}\nSection to Section Step={step}\nSections Count={n}\n"
        f"First Section={first}\nLast Section={first + (n - 1) * step}\n"
    )
    found = log(tmp_path_factory.mktemp("log"), text)
    assert found.spacing_mm == pytest.approx((size * step / 1e3, size / 1e3, size / 1e3)) and found.shape[0] == n
    assert found.problems == ()
