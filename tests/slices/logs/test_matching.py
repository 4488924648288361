"""Which scanner log is of which stack of images."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from gpustitch.errors import DamagedInputError
from gpustitch.slices.found import slice_files
from gpustitch.slices.images.series import find_image_series
from gpustitch.slices.logs.matching import logs_for, series_with_log, with_logs
from gpustitch.slices.logs.scanners import read_scanner_log
from gpustitch.slices.model import Code, SliceHeader, SliceSeries
from gpustitch.slices.verdict.judge import judge_series
from gpustitch.slices.verdict.stage import judge

N, ROWS, COLUMNS = 12, 6, 8


def bmps(folder, numbers=range(100, 100 + N), name="a_rec{:04}.bmp", shape=(ROWS, COLUMNS)):
    folder.mkdir(exist_ok=True, parents=True)
    for number in numbers:
        Image.fromarray(np.zeros(shape, np.uint8)).save(folder / name.format(number))
    return folder


def skyscan(path, um=7.0, step=1, n=N, first=100, shape=(ROWS, COLUMNS), prefix="a_rec", acquired=(601, 50, 60)):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(
        f"[Acquisition]\nNumber Of Files={acquired[0]}\nNumber Of Rows={acquired[1]}\nNumber Of Columns={acquired[2]}\n"
        f"Image Pixel Size (um)=3\n[Reconstruction]\nFirst Section={first}\nLast Section={first + (n - 1) * step}\n"
        f"Section to Section Step={step}\nSections Count={n}\nResult Image Height (pixels)={shape[0]}\n"
        f"Result Image Width (pixels)={shape[1]}\nPixel Size (um)={um}\n[File name convention]\n"
        f"Filename Prefix={prefix}\n"
    )
    return path


def pca(path, mm=0.03, projections=(1000, 60, 70)):
    n, rows, columns = projections
    path.write_text(
        f"[Geometry]\nVoxelSizeX={mm}\nVoxelSizeY={mm}\n[CT]\nNumberImages={n}\n[Image]\nDimX={columns}\nDimY={rows}\n"
    )
    return path


def pcr(path, mm=0.04, shape=(N, ROWS, COLUMNS)):
    z, y, x = shape
    path.write_text(f"[VolumeData]\nVolume_SizeX={x}\nVolume_SizeY={y}\nVolume_SizeZ={z}\nVoxelSizeRec={mm}\n")
    return path


def found(folder, **options):
    files = slice_files([folder])
    return with_logs(find_image_series(files.images, **options), files.logs)


def one(folder, **options):
    (series,) = found(folder, **options)
    return series


def text(series, code):
    return " ".join(note.text for note in series.notes if note.code is code)


def codes(series):
    return {note.code for note in series.notes}


def test_a_stack_gets_the_spacing_of_the_log_beside_it(tmp_path):
    bmps(tmp_path)
    log = skyscan(tmp_path / "a_rec.log", um=7.5, step=2, n=N)
    series = one(tmp_path)
    assert series.spacing_mm == pytest.approx((0.015, 0.0075, 0.0075)) and series.source_format == "scanner log"
    assert all(header.pixel_spacing_mm == series.spacing_mm[1:] for header in series.headers)
    assert codes(series) == {Code.SCANNER_LOG_USED}
    said = text(series, Code.SCANNER_LOG_USED)
    assert str(log) in said and "Pixel Size (um)=7.5" in said and f"{N} x {ROWS} x {COLUMNS}, is that of" in said


def test_a_log_is_looked_for_in_the_folder_and_the_one_above(tmp_path):
    bmps(tmp_path / "slices")
    skyscan(tmp_path / "a_rec.log")
    (series,) = find_image_series(slice_files([tmp_path / "slices"]).images)
    assert logs_for(series) == [tmp_path / "a_rec.log"]
    assert with_logs([series])[0].spacing_mm == pytest.approx((0.007,) * 3)
    assert one(tmp_path).spacing_mm == pytest.approx((0.007,) * 3)
    assert with_logs([series], [])[0] == series
    bmps(tmp_path / "other" / "deep" / "slices")
    deep = [s for s in found(tmp_path) if "deep" in s.name]
    assert deep[0].spacing_mm == (None, None, None)


@pytest.mark.parametrize(
    ("shape", "n", "match"),
    [
        ((ROWS, COLUMNS + 1), N, f"the images are {ROWS} x {COLUMNS}, its reconstruction {ROWS} x {COLUMNS + 1}"),
        ((ROWS, COLUMNS), N + 3, f"there are {N} images, its reconstruction has {N + 3}"),
        ((ROWS, COLUMNS), N - 1, f"there are {N} images, its reconstruction has {N - 1}"),
    ],
)
def test_a_log_of_another_size_is_named_and_not_used(tmp_path, shape, n, match):
    bmps(tmp_path, range(N))  # numbers that are none of the log's sections
    skyscan(tmp_path / "a_rec.log", shape=shape, n=n)
    series = one(tmp_path)
    assert series.spacing_mm == (None, None, None) and series.source_format == "image"
    assert match in text(series, Code.SCANNER_LOG_MISMATCH) and "a_rec.log is not used" in str(series.notes)
    direct = series_with_log(
        find_image_series(slice_files([tmp_path]).images)[0], read_scanner_log(tmp_path / "a_rec.log")
    )
    assert direct.spacing_mm == (None, None, None) and match in text(direct, Code.SCANNER_LOG_MISMATCH)


def test_some_of_the_sections_are_known_by_their_numbers(tmp_path):
    bmps(tmp_path, range(110, 110 + N))
    skyscan(tmp_path / "a_rec.log", n=300)
    series = one(tmp_path)
    assert series.spacing_mm == pytest.approx((0.007,) * 3)
    assert f"{N} of its 300 sections are here" in text(series, Code.SCANNER_LOG_USED)


def test_every_second_of_the_sections_is_no_stack_of_the_log(tmp_path):
    bmps(tmp_path, range(100, 100 + 2 * N, 2))
    skyscan(tmp_path / "a_rec.log", n=2 * N)
    assert one(tmp_path).spacing_mm == (None, None, None)
    skyscan(tmp_path / "a_rec.log", n=2 * N, step=2)  # as NRecon numbers them
    assert one(tmp_path).spacing_mm == pytest.approx((0.014, 0.007, 0.007))


def test_a_lost_section_does_not_part_a_stack_from_its_log(tmp_path):
    bmps(tmp_path, [n for n in range(100, 100 + N) if n != 105])
    skyscan(tmp_path / "a_rec.log")
    series = one(tmp_path)
    assert series.spacing_mm == pytest.approx((0.007,) * 3)
    assert codes(series) == {Code.FILES_LOST, Code.SCANNER_LOG_USED}


def test_projections_are_no_slices(tmp_path):
    bmps(tmp_path / "sky", range(20), "a{:04}.bmp", (50, 60))
    skyscan(tmp_path / "sky" / "a_rec.log", acquired=(19, 50, 60))  # one more was taken at the end
    bmps(tmp_path / "ge", range(20), "a{:04}.bmp", (50, 60))
    pca(tmp_path / "ge" / "a.pca", projections=(20, 50, 60))
    bmps(tmp_path / "raw", range(20), "a{:04}.bmp", (50, 60))
    text_of_projections = skyscan(tmp_path / "raw" / "a.log", acquired=(20, 50, 60)).read_text()
    (tmp_path / "raw" / "a.log").write_text(text_of_projections[: text_of_projections.index("[Reconstruction]")])
    for series in found(tmp_path):
        assert series.spacing_mm == (None, None, None)
        assert "projections, which are no slices" in text(series, Code.SCANNER_LOG_MISMATCH)


def test_slices_may_be_as_many_and_as_large_as_the_projections(tmp_path):
    bmps(tmp_path)
    skyscan(tmp_path / "a_rec.log", acquired=(N, ROWS, COLUMNS))
    assert one(tmp_path).spacing_mm == pytest.approx((0.007,) * 3)


def test_the_log_of_projections_beside_slices_says_what_to_look_for(tmp_path):
    bmps(tmp_path)
    written = skyscan(tmp_path / "a.log").read_text()
    (tmp_path / "a.log").write_text(written[: written.index("[Reconstruction]")])
    series = one(tmp_path)
    assert series.spacing_mm == (None, None, None) and "_rec.log" in text(series, Code.SCANNER_LOG_MISMATCH)


def test_a_log_without_size_is_used_beside_the_images_or_by_its_name(tmp_path):
    bmps(tmp_path / "here")
    pca(tmp_path / "here" / "scan.pca")
    series = one(tmp_path / "here")
    assert series.spacing_mm == (0.03,) * 3 and "no size that could be compared" in text(series, Code.SCANNER_LOG_USED)
    bmps(tmp_path / "b" / "photos")
    pca(tmp_path / "b" / "scan.pca")
    series = one(tmp_path / "b")
    assert series.spacing_mm == (None, None, None)
    assert "neither its name nor its folder" in text(series, Code.SCANNER_LOG_MISMATCH)
    bmps(tmp_path / "c" / "scan_slices")
    pca(tmp_path / "c" / "scan.pca")
    assert one(tmp_path / "c").spacing_mm == (0.03,) * 3


def test_the_log_of_the_reconstruction_counts_for_more_than_that_of_the_acquisition(tmp_path):
    bmps(tmp_path)
    pca(tmp_path / "a.pca", mm=0.03)
    pcr(tmp_path / "a.pcr", mm=0.06)
    series = one(tmp_path)
    assert series.spacing_mm == (0.06,) * 3
    assert "a.pca states other voxels than" in text(series, Code.SCANNER_LOG_MISMATCH)
    pcr(tmp_path / "a.pcr", mm=0.03)
    assert codes(one(tmp_path)) == {Code.SCANNER_LOG_USED}


def test_logs_of_several_stacks_in_a_folder_are_told_apart(tmp_path):
    for name, um in (("a", 7.0), ("b", 9.0)):
        bmps(tmp_path, range(100, 100 + N), name + "_rec{:04}.bmp")
        skyscan(tmp_path / f"{name}_rec.log", um=um, prefix=f"{name}_rec")
    assert [series.spacing_mm[0] for series in found(tmp_path)] == pytest.approx([0.007, 0.009])


def test_logs_that_could_both_be_meant_are_named_and_none_is_used(tmp_path):
    bmps(tmp_path)
    skyscan(tmp_path / "x.log", um=7.0, prefix="x")
    skyscan(tmp_path / "y.log", um=9.0, prefix="y")
    series = one(tmp_path)
    assert series.spacing_mm == (None, None, None)
    assert "x.log and " in text(series, Code.SCANNER_LOG_MISMATCH) and "y.log could all be" in str(series.notes)
    skyscan(tmp_path / "y.log", um=7.0, prefix="y")  # if they state the same it does not matter
    assert one(tmp_path).spacing_mm == pytest.approx((0.007,) * 3)


def test_slices_across_another_axis_are_taken_if_voxels_are_cubes(tmp_path):
    bmps(tmp_path)
    pcr(tmp_path / "a.pcr", shape=(ROWS, N, COLUMNS))
    series = one(tmp_path)
    assert series.spacing_mm == (0.04,) * 3 and "order of axes" in text(series, Code.SCANNER_LOG_USED)
    counts = {"X": COLUMNS, "Y": N, "Z": ROWS}
    sizes = "".join(f"Voxels{axis}={n}\nVoxelSize{axis}=0.0{n}\n" for axis, n in counts.items())
    (tmp_path / "a.pcr").unlink()
    (tmp_path / "a.xtekct").write_text(f"[XTekCT]\n{sizes}")
    assert one(tmp_path).spacing_mm == (None, None, None)


def test_a_log_that_cannot_be_read_is_named_and_the_next_one_used(tmp_path):
    bmps(tmp_path)
    (tmp_path / "a.pcr").write_text("[VolumeData]\nVoxelSizeRec=0\n")
    series = one(tmp_path)
    assert series.spacing_mm == (None, None, None) and "a.pcr: " in text(series, Code.UNREADABLE_FILE)
    skyscan(tmp_path / "a_rec.log")
    series = one(tmp_path)
    assert series.spacing_mm == pytest.approx((0.007,) * 3) and "a.pcr: " in text(series, Code.UNREADABLE_FILE)


def tiff(path, description="", **options):
    voxels = np.zeros((N, ROWS, COLUMNS), np.uint8)
    tifffile.imwrite(path, voxels, description=description, metadata=None, photometric="minisblack", **options)


def test_what_the_images_state_themselves_counts_and_a_difference_is_named(tmp_path):
    tiff(tmp_path / "a.tif", f"ImageJ=1.54f\nimages={N}\nslices={N}\nunit=mm\nspacing=0.5\n", resolution=(4, 4))
    pcr(tmp_path / "a.pcr", mm=0.25)
    series = one(tmp_path)
    assert series.spacing_mm == (0.5, 0.25, 0.25) and series.source_format == "tiff"
    assert "0.5 mm along z" in text(series, Code.SPACING_TAG_MISMATCH) and Code.SCANNER_LOG_USED not in codes(series)
    tiff(tmp_path / "a.tif", f"ImageJ=1.54f\nimages={N}\nslices={N}\nunit=mm\nspacing=0.2501\n", resolution=(4, 4))
    assert one(tmp_path).notes == ()


def test_a_distance_that_images_only_imply_gives_way_to_the_log(tmp_path):
    tiff(tmp_path / "a.tif", f"ImageJ=1.54f\nimages={N}\nslices={N}\nunit=um\n", resolution=(4, 4))
    pcr(tmp_path / "a.pcr", mm=0.25)
    series = one(tmp_path)
    assert series.spacing_mm == (0.25,) * 3 and codes(series) == {Code.SCANNER_LOG_USED}


def test_resolutions_written_unasked_give_way_to_the_log_and_others_trusted_do_not(tmp_path):
    bmps(tmp_path)  # Pillow writes 96 dpi
    skyscan(tmp_path / "a_rec.log")
    assert one(tmp_path, trust_resolution=True).spacing_mm == pytest.approx((0.007,) * 3)
    tiff(tmp_path / "b.tif", resolution=(100, 100), resolutionunit="centimeter")
    pcr(tmp_path / "b.pcr", mm=0.2)
    series = next(s for s in found(tmp_path, trust_resolution=True) if s.name.endswith("b.tif"))
    assert series.spacing_mm == pytest.approx((0.2, 0.1, 0.1)) and "along y" in text(series, Code.SPACING_TAG_MISMATCH)


def test_problems_of_a_log_that_is_used_are_noted(tmp_path):
    bmps(tmp_path)
    log = skyscan(tmp_path / "a_rec.log")
    log.write_text(log.read_text().replace(f"Sections Count={N}", "Sections Count=99"))
    series = one(tmp_path)
    assert series.spacing_mm == pytest.approx((0.007,) * 3)
    assert "Sections Count=99" in text(series, Code.SCANNER_LOG_MISMATCH)


def test_dicom_and_series_without_slices_are_left_as_they_are(tmp_path):
    skyscan(tmp_path / "a_rec.log")
    header = SliceHeader(tmp_path / "1.dcm", 0, (ROWS, COLUMNS))
    series = [SliceSeries("CT", "dicom", (header,) * N), SliceSeries("gone", "image", ())]
    assert with_logs(series) == series


@pytest.mark.parametrize("um", [0.8, 7.0, 12.34, 35.0, 101.5])
def test_a_log_without_a_step_is_quoted_where_the_distance_is_asked_for(tmp_path, um):
    path = skyscan(bmps(tmp_path / "a") / "a_rec.log", um=um)
    path.write_text(path.read_text().replace("Section to Section Step=1\n", ""))
    stack = judge_series(one(tmp_path / "a"))
    assert not stack.is_usable and stack.spacing_mm[0] is None
    assert f"pixels of {um / 1e3:g} mm" in stack.advice and "`slice_spacing_mm`" in stack.advice


def test_a_log_alone_says_what_it_does_not_state(tmp_path):
    path = skyscan(tmp_path / "a_rec.log")
    path.write_text(path.read_text().replace("Section to Section Step=1\n", ""))
    with pytest.raises(DamagedInputError, match="but not how far apart slices are"):
        judge([path])
