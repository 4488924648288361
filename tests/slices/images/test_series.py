"""Series of slices in image files, and the spacing that these state."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from gpustitch.slices.found import slice_files
from gpustitch.slices.images.series import find_image_series
from gpustitch.slices.model import Code
from gpustitch.slices.verdict.judge import JudgeOptions, judge_series

SHAPE = (8, 9)
PLAIN = {"metadata": None, "photometric": "minisblack"}


def plane(dtype=np.uint16, shape=SHAPE):
    return np.zeros(shape, dtype)


def tiffs(folder, n=4, name="s_{:03}.tif", **options):
    folder.mkdir(exist_ok=True)
    for index in range(n):
        tifffile.imwrite(folder / name.format(index), plane(), **PLAIN | options)
    return folder


def series(*paths, **options):
    return find_image_series(slice_files(paths).images, **options)


def one(*paths, **options):
    (found,) = series(*paths, **options)
    return found


def codes(found):
    return {note.code for note in found.notes}


def text(found, code):
    return " ".join(note.text for note in found.notes if note.code == code)


def imagej(path, n=4, unit="unit=um\n", spacing="spacing=3\n", resolution=(4, 2), **options):
    description = f"ImageJ=1.54f\nimages={n}\nslices={n}\n{unit}{spacing}".encode("latin-1")
    voxels = np.zeros((n, *SHAPE), np.uint16) if n > 1 else plane()
    tifffile.imwrite(path, voxels, description=description, resolution=resolution, **PLAIN | options)
    return path


def test_files_of_a_name_are_a_stack_in_natural_order(tmp_path):
    found = one(tiffs(tmp_path / "a", 12, "s_{}.tif"))
    assert [header.path.name for header in found.headers] == [f"s_{n}.tif" for n in range(12)]
    assert [header.number for header in found.headers] == list(range(12))
    assert {(header.frame, header.shape, header.pixel_spacing_mm) for header in found.headers} == {(0, SHAPE, None)}
    assert found.source_format == "tiff" and found.spacing_mm == (None, None, None)
    assert found.name == f"{tmp_path}/a/s_0.tif ... s_11.tif (12 files)"


def test_folders_names_sizes_and_types_make_series(tmp_path):
    tiffs(tmp_path / "a", 4)
    tiffs(tmp_path / "b", 3)
    tiffs(tmp_path / "a", 2, "other_{}.tif")
    for number in (1, 2):
        Image.fromarray(plane(np.uint8)).save(tmp_path / "a" / f"s_{number}.png")
    assert sorted((len(s.headers), s.source_format) for s in series(tmp_path)) == [
        (2, "image"), (2, "tiff"), (3, "tiff"), (4, "tiff"),
    ]  # fmt: skip


def test_images_that_differ_in_size_or_type_are_told_apart_and_named(tmp_path):
    tiffs(tmp_path, 16)
    tifffile.imwrite(tmp_path / "s_002.tif", plane(shape=(8, 10)), **PLAIN)
    tifffile.imwrite(tmp_path / "s_004.tif", plane(np.uint8), **PLAIN)
    found = series(tmp_path)
    assert sorted(len(s.headers) for s in found) == [1, 1, 14]
    for part in found:
        assert "8 x 10 uint16: " in text(part, Code.SERIES_SPLIT) and "s_002.tif" in text(part, Code.SERIES_SPLIT)
    most = max(found, key=lambda s: len(s.headers))
    assert "2, 4 are missing" in text(most, Code.FILES_LOST)


def test_a_file_missing_from_a_stack_is_named(tmp_path):
    tiffs(tmp_path, 8)
    (tmp_path / "s_003.tif").unlink()
    found = one(tmp_path)
    assert "number 3 is missing" in text(found, Code.FILES_LOST)
    assert [header.number for header in found.headers] == [0, 1, 2, 4, 5, 6, 7]


def test_names_of_two_orders_make_no_volume(tmp_path):
    for k, other in enumerate([37, 36, 38, 35, 39]):
        tifffile.imwrite(tmp_path / f"img{k}_{other}C.tif", plane() + k, **PLAIN)
    found = one(tmp_path)
    assert "different orders" in text(found, Code.NAMES_CONTRADICT)
    stack = judge_series(found, JudgeOptions(slice_spacing_mm=1.0))
    assert not stack.is_usable and "Rename the files" in stack.advice


def test_names_with_two_numbers_that_run_against_each_other_are_told(tmp_path):
    for k in range(5):
        tifffile.imwrite(tmp_path / f"img{k}_{9 - k}.tif", plane() + k, **PLAIN)
    found = one(tmp_path)
    assert "opposite directions" in text(found, Code.FILE_ORDER) and Code.NAMES_CONTRADICT not in codes(found)
    assert judge_series(found, JudgeOptions(slice_spacing_mm=1.0)).is_usable


@pytest.mark.parametrize("other", ["s_002.tiff", "s_2.tif", "S_0002.TIF", "s_ 002.btf"])
def test_files_of_one_number_are_no_stack(tmp_path, other):
    folder = tiffs(tmp_path / "a", 4)
    tifffile.imwrite(folder / other, plane() + 1, **PLAIN)
    found = one(folder)
    assert "1 file has the same number as another: " in text(found, Code.SLICES_CONFLICT)
    assert other in text(found, Code.SLICES_CONFLICT) and "s_002.tif" in text(found, Code.SLICES_CONFLICT)
    stack = judge_series(found, JudgeOptions(slice_spacing_mm=1.0))
    assert not stack.is_usable


def test_pages_of_a_tiff_are_a_series(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, *SHAPE), np.uint16), **PLAIN)
    found = one(tmp_path / "a.tif")
    assert [(h.frame, h.number, h.shape) for h in found.headers] == [(n, n + 1, SHAPE) for n in range(5)]
    assert found.name == str(tmp_path / "a.tif")
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        for _ in range(3):
            writer.write(plane(), contiguous=False)
    assert [h.frame for h in one(tmp_path / "b.tif").headers] == [0, 1, 2]
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((5, *SHAPE), np.uint16), truncate=True, photometric="minisblack")
    assert [h.frame for h in one(tmp_path / "c.tif").headers] == [0, 1, 2, 3, 4]  # behind a single page


def test_pages_of_different_sizes_are_series_of_their_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for shape in (SHAPE, (4, 5), SHAPE, SHAPE):
            writer.write(plane(shape=shape), contiguous=False, **PLAIN)
    found = series(tmp_path)
    assert sorted([h.frame for h in s.headers] for s in found) == [[0, 2, 3], [1]]
    assert all(Code.SERIES_SPLIT in codes(s) for s in found)


def test_a_pyramid_is_its_full_size(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((3, 32, 32), np.uint16), subifds=1, photometric="minisblack", tile=(16, 16))
        writer.write(np.zeros((3, 16, 16), np.uint16), subfiletype=1, photometric="minisblack", tile=(16, 16))
    found = one(tmp_path)
    assert [(h.frame, h.shape) for h in found.headers] == [(n, (32, 32)) for n in range(3)]


@pytest.mark.parametrize(
    ("unit", "mm"),
    [("um", 1e-3), ("micron", 1e-3), ("µm", 1e-3), ("\\u00B5m", 1e-3), ("mm", 1), ("cm", 10), ("nm", 1e-6)],
)
def test_imagej_s_spacing_and_inverted_resolution(tmp_path, unit, mm):
    path = imagej(tmp_path / "a.tif", unit=f"unit={unit}\n")
    found = one(path)
    assert found.spacing_mm == pytest.approx((3 * mm, mm / 2, mm / 4))
    assert found.headers[0].pixel_spacing_mm == pytest.approx((mm / 2, mm / 4))
    assert found.notes == ()


def test_imagej_s_inch_is_a_length_but_dots_per_inch_are_noted(tmp_path):
    found = one(imagej(tmp_path / "a.tif", unit="unit=inch\n", resolution=(100, 100)))
    assert found.spacing_mm == pytest.approx((76.2, 0.254, 0.254)) and found.notes == ()
    options = {"unit": "unit=inch\n", "spacing": "", "resolution": (72, 72), "resolutionunit": "inch"}
    found = one(imagej(tmp_path / "b.tif", **options))
    assert found.spacing_mm == pytest.approx((None, 25.4 / 72, 25.4 / 72))
    assert "72 dpi" in text(found, Code.RESOLUTION_IS_DEFAULT)


@pytest.mark.parametrize("unit", ["unit=pixel\n", ""])
def test_imagej_s_pixels_are_no_length(tmp_path, unit):
    found = one(imagej(tmp_path / "a.tif", unit=unit))
    assert found.spacing_mm == (None, None, None) and "ImageJ" in text(found, Code.NO_PIXEL_SPACING)


def test_imagej_s_implied_distance_is_noted(tmp_path):
    found = one(imagej(tmp_path / "a.tif", spacing=""))
    assert found.spacing_mm == pytest.approx((1e-3, 5e-4, 2.5e-4))
    assert "never set" in text(found, Code.RESOLUTION_IS_DEFAULT)


def test_channels_and_times_are_series_of_their_own(tmp_path):
    stack = np.zeros((2, 5, 3, *SHAPE), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TZCYX", "spacing": 2, "unit": "um"})
    found = series(tmp_path)
    assert [dict(s.key) for s in found] == [{"time": str(t), "channel": str(c)} for t in (1, 2) for c in (1, 2, 3)]
    assert [h.frame for h in found[1].headers] == [1, 4, 7, 10, 13]
    assert [h.frame for h in found[3].headers] == [15, 18, 21, 24, 27]
    assert found[1].name == f"{tmp_path}/a.tif, time 1, channel 2"
    assert {s.spacing_mm[0] for s in found} == {2e-3}


def test_times_alone_are_planes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, *SHAPE), np.uint16), imagej=True, metadata={"axes": "TYX"})
    assert len(one(tmp_path).headers) == 5
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 2, *SHAPE), np.uint16), imagej=True, metadata={"axes": "TCYX"})
    assert [len(s.headers) for s in series(tmp_path)] == [5, 5]


@pytest.mark.parametrize(("unit", "mm"), [(None, 1e-3), ("nm", 1e-6), ("mm", 1), ("µm", 1e-3), ("inch", 25.4)])
def test_ome_s_physical_sizes(tmp_path, unit, mm):
    sizes = {"PhysicalSizeZ": 3.0, "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}
    units = {} if unit is None else {f"{name}Unit": unit for name in sizes}
    stack = np.zeros((4, 2, *SHAPE), np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZCYX", **sizes, **units})
    found = series(tmp_path)
    assert [dict(s.key) for s in found] == [{"channel": "1"}, {"channel": "2"}]
    for channel, part in enumerate(found):
        assert part.spacing_mm == pytest.approx((3 * mm, mm / 2, mm / 4)) and part.notes == ()
        assert [h.frame for h in part.headers] == [channel, 2 + channel, 4 + channel, 6 + channel]


def ome_files(folder, n=4, more='PhysicalSizeZ="3" PhysicalSizeY="0.5" PhysicalSizeX="0.25"', pages=1):
    """A multi-file OME-TIFF: each file has the description of all, and is known by its UUID."""
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z % pages}" PlaneCount="1"><UUID FileName="p{z // pages}.ome.tif">urn:uuid:'
        f"{z // pages}</UUID></TiffData>"
        for z in range(n * pages)
    )
    for number in range(n):
        pixels = f'DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="8" SizeZ="{n * pages}" SizeC="1" SizeT="1"'
        xml = f'<OME xmlns="x" UUID="urn:uuid:{number}"><Image><Pixels {pixels} {more}>{data}</Pixels></Image></OME>'
        voxels = np.zeros((pages, *SHAPE) if pages > 1 else SHAPE, np.uint16)
        tifffile.imwrite(folder / f"p{number}.ome.tif", voxels, description=f'<?xml version="1.0"?>{xml}', **PLAIN)


@pytest.mark.parametrize("pages", [1, 3])
def test_the_files_of_a_multi_file_ome_tiff_are_one_series(tmp_path, pages):
    ome_files(tmp_path, pages=pages)
    found = one(tmp_path)
    assert [(h.path.name, h.frame, h.number) for h in found.headers] == [
        (f"p{z // pages}.ome.tif", z % pages, z + 1) for z in range(4 * pages)
    ]
    assert found.spacing_mm == pytest.approx((3e-3, 5e-4, 2.5e-4)) and found.notes == ()


def test_a_file_of_an_ome_tiff_that_is_missing_or_damaged_is_named(tmp_path):
    ome_files(tmp_path, 6)
    (tmp_path / "p2.ome.tif").unlink()
    (tmp_path / "p4.ome.tif").write_bytes(b"II*\0")
    tifffile.imwrite(tmp_path / "p5.ome.tif", plane(shape=(4, 4)), **PLAIN)
    found = max(series(tmp_path), key=lambda s: len(s.headers))
    assert [h.number for h in found.headers] == [1, 2, 4]
    lost = text(found, Code.FILES_LOST)
    assert "p2.ome.tif" in lost and "p4.ome.tif" in lost and "p5.ome.tif is 4 x 4, not 8 x 9" in lost


def test_files_of_an_ome_tiff_with_less_in_them_than_described_are_named(tmp_path):
    ome_files(tmp_path, 6, pages=3)
    tifffile.imwrite(tmp_path / "p2.ome.tif", np.zeros((2, *SHAPE), np.uint16), **PLAIN)
    data = (tmp_path / "p4.ome.tif").read_bytes()
    (tmp_path / "p4.ome.tif").write_bytes(data[:-300])
    found = max(series(tmp_path), key=lambda s: len(s.headers))
    assert [h.number for h in found.headers] == [1, 2, 3, 4, 5, 6, 10, 11, 12, 16, 17, 18]
    lost = text(found, Code.FILES_LOST)
    assert "p2.ome.tif has 2 pages, not the 3" in lost and "p4.ome.tif cannot be read" in lost


def test_a_file_of_an_ome_tiff_whose_pixels_are_cut_short_is_named(tmp_path):
    ome_files(tmp_path)
    data = (tmp_path / "p2.ome.tif").read_bytes()
    (tmp_path / "p2.ome.tif").write_bytes(data[:-20])
    found = max(series(tmp_path), key=lambda s: len(s.headers))
    assert [h.number for h in found.headers] == [1, 2, 4]
    assert "p2.ome.tif is cut short" in text(found, Code.FILES_LOST)


def test_a_channel_of_which_no_file_is_there_is_named(tmp_path):
    data = "".join(
        f'<TiffData FirstC="{c}" FirstZ="{z}" IFD="{z}"><UUID FileName="c{c}.ome.tif">urn:uuid:{c}</UUID></TiffData>'
        for c in (0, 1) for z in range(3)
    )  # fmt: skip
    sizes = 'DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="8" SizeZ="3" SizeC="2" SizeT="1"'
    xml = f'<OME xmlns="x" UUID="urn:uuid:0"><Image><Pixels {sizes}>{data}</Pixels></Image></OME>'
    tifffile.imwrite(tmp_path / "c0.ome.tif", np.zeros((3, *SHAPE), np.uint16), description=xml, **PLAIN)
    found = one(tmp_path)
    assert len(found.headers) == 3 and dict(found.key) == {"channel": "1"}
    assert "no file of channel 2 can be used" in text(found, Code.FILES_LOST)


@pytest.mark.parametrize(("said", "code"), [(5, Code.FILES_LOST), (2, Code.SERIES_SPLIT)])
def test_a_description_of_more_or_fewer_planes_than_there_are_is_noted(tmp_path, said, code):
    description = f"ImageJ=1.54f\nimages={said}\nslices={said}\nunit=um\nspacing=3\n"
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, *SHAPE), np.uint16), description=description, **PLAIN)
    found = one(tmp_path)
    assert [h.frame for h in found.headers] == list(range(min(said, 3)))
    assert f"holds 3 pages, but its description counts {said} planes" in text(found, code)


def test_files_of_an_ome_tiff_that_were_renamed_stand_by_their_names(tmp_path):
    ome_files(tmp_path)
    for number in range(4):
        (tmp_path / f"p{number}.ome.tif").rename(tmp_path / f"new{number}.tif")
    found = one(tmp_path)
    assert [h.path.name for h in found.headers] == [f"new{n}.tif" for n in range(4)]
    assert found.notes == ()
    assert found.spacing_mm == pytest.approx((3e-3, 5e-4, 2.5e-4))


def test_files_that_name_where_their_metadata_is(tmp_path):
    ome_files(tmp_path)
    xml = '<?xml version="1.0"?><OME xmlns="x"><BinaryOnly MetadataFile="p3.ome.tif" UUID="urn:uuid:0"/></OME>'
    for number in (0, 1, 2):
        tifffile.imwrite(tmp_path / f"p{number}.ome.tif", plane(), description=xml, **PLAIN)
    found = one(tmp_path)
    assert [h.path.name for h in found.headers] == [f"p{n}.ome.tif" for n in range(4)]
    assert found.spacing_mm[0] == pytest.approx(3e-3)
    (tmp_path / "p3.ome.tif").unlink()
    found = one(tmp_path)
    assert len(found.headers) == 3 and "p3.ome.tif, which is not there" in text(found, Code.UNREADABLE_FILE)


def test_an_ome_description_that_cannot_be_used_leaves_the_pages(tmp_path):
    for number, inside in enumerate(("<Image", "<Image><Pixels/></Image>", "")):
        path = tmp_path / f"{number}" / "a.tif"
        path.parent.mkdir()
        description = f'<?xml version="1.0"?><OME>{inside}</OME>'
        tifffile.imwrite(path, np.zeros((4, *SHAPE), np.uint16), description=description, **PLAIN)
        found = one(path)
        assert len(found.headers) == 4 and found.spacing_mm == (None, None, None)
        assert "OME description" in text(found, Code.UNREADABLE_FILE)


def test_a_plain_tiff_s_resolution_is_taken_only_when_trusted_and_never_along_z(tmp_path):
    tiffs(tmp_path, resolution=(1000, 500), resolutionunit="centimeter")
    found = one(tmp_path)
    assert found.spacing_mm == (None, None, None)
    assert "1000 x 500 pixels/cm" in text(found, Code.NO_PIXEL_SPACING)
    found = one(tmp_path, trust_resolution=True)
    assert found.spacing_mm == pytest.approx((None, 0.02, 0.01)) and found.notes == ()
    assert found.headers[2].pixel_spacing_mm == pytest.approx((0.02, 0.01))


def test_tifffile_s_1_by_1_is_no_resolution(tmp_path):
    tiffs(tmp_path)
    for trust in (False, True):
        found = one(tmp_path, trust_resolution=trust)
        assert found.spacing_mm == (None, None, None)
        assert codes(found) == {Code.RESOLUTION_IS_DEFAULT, Code.NO_PIXEL_SPACING}


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_plain_images_state_distances_in_plane_at_most(tmp_path, suffix):
    for number in range(3):
        Image.fromarray(plane(np.uint8)).save(tmp_path / f"s{number}.{suffix}", dpi=(300, 300))
    found = one(tmp_path)
    assert found.source_format == "image" and found.spacing_mm == (None, None, None) and len(found.headers) == 3
    assert codes(found) == {Code.NO_PIXEL_SPACING}
    found = one(tmp_path, trust_resolution=True)
    assert found.notes == () and found.spacing_mm[0] is None
    assert found.spacing_mm[1:] == pytest.approx((25.4 / 300, 25.4 / 300), rel=1e-3)


@pytest.mark.parametrize(("suffix", "options"), [("bmp", {}), ("jpg", {"dpi": (72, 72)}), ("png", {"dpi": (96, 96)})])
def test_resolutions_nobody_meant_are_noted_even_when_trusted(tmp_path, suffix, options):
    Image.fromarray(plane(np.uint8)).save(tmp_path / f"s.{suffix}", **options)
    assert codes(one(tmp_path)) == {Code.RESOLUTION_IS_DEFAULT, Code.NO_PIXEL_SPACING}
    found = one(tmp_path, trust_resolution=True)
    assert codes(found) == {Code.RESOLUTION_IS_DEFAULT} and found.spacing_mm[1] > 0.2


def test_a_file_that_states_another_spacing_than_the_rest_is_named(tmp_path):
    tiffs(tmp_path, 5, resolution=(100, 100), resolutionunit="centimeter")
    tifffile.imwrite(tmp_path / "s_000.tif", plane(), resolution=(50, 50), resolutionunit="centimeter", **PLAIN)
    found = one(tmp_path, trust_resolution=True)
    assert found.spacing_mm == pytest.approx((None, 0.1, 0.1))
    assert "1 of 5 files" in text(found, Code.SPACING_TAG_MISMATCH)
    assert "s_000.tif" in text(found, Code.SPACING_TAG_MISMATCH)


def test_damaged_files_are_named_and_the_rest_is_a_series(tmp_path):
    tiffs(tmp_path, 6)
    data = (tmp_path / "s_002.tif").read_bytes()
    (tmp_path / "s_002.tif").write_bytes(data[: len(data) - 20])
    (tmp_path / "s_004.tif").write_bytes(b"")
    (tmp_path / "alone.png").write_bytes(b"\x89PNG")
    found = series(tmp_path)
    assert [len(s.headers) for s in found] == [0, 4]
    assert "alone.png" in text(found[0], Code.UNREADABLE_FILE) and found[0].name.endswith("alone.png")
    unread = text(found[1], Code.UNREADABLE_FILE)
    assert "s_002.tif" in unread and "s_004.tif" in unread
    assert [h.number for h in found[1].headers] == [0, 1, 3, 5]


def test_colours_are_a_type(tmp_path):
    for number, mode in enumerate(["L", "L", "RGB", "RGB"]):
        Image.new(mode, (9, 8)).save(tmp_path / f"s{number}.png")
    assert [len(s.headers) for s in series(tmp_path)] == [2, 2]


def test_no_files_are_no_series():
    assert find_image_series([]) == []
