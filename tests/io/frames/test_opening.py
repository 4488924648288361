"""Which frames are read where files or pages make stacks: real files, through the opener that all commands use."""

from __future__ import annotations

import itertools

import imagecodecs
import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.opening import Oriented, Slice, open_frames, stacks_at
from gpustitch.io.images.files import read_image, write_png, write_tiff
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.stacks.choice import StackChoice

FRAMES = np.random.default_rng(5).integers(1, 60000, (8, 6, 5), dtype=np.uint16)
PLAIN = {"metadata": None, "photometric": "minisblack"}


def folder_of(folder, names, frames=FRAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        write_tiff(folder / name, frame)
    return folder


def test_names_give_the_order_of_frames(tmp_path):
    for number, names in enumerate(
        (
            [f"z_{n}.tif" for n in range(-5, 3)],
            [f"z_{n / 4:g}.tif" for n in range(8)],
            [f"A ({n}).tif" for n in range(8)],
        )
    ):
        np.testing.assert_array_equal(open_frames(folder_of(tmp_path / f"{number}", names)).read(0, 8), FRAMES)


def test_a_lost_file_is_an_error_or_a_frame_of_zeros_in_its_place(tmp_path):
    folder = folder_of(tmp_path / "s", [f"img_{n:03}.tif" for n in range(8)])
    (folder / "img_003.tif").unlink()
    for opener in (open_frames, open_planes):
        with pytest.raises(DamagedInputError, match=r"number 3 is missing between img_000.tif and img_007.tif: 1 of 8"):
            opener(folder)
        frames = opener(folder, allow_missing=True)
        truth = FRAMES.copy()
        truth[3] = 0
        assert frames.absent == {3} and frames.shape == FRAMES.shape and frames.dtype == FRAMES.dtype
        for start, stop in itertools.combinations(range(9), 2):
            part = frames.read(start, stop, slice(1, 4), slice(None, None, 2))
            np.testing.assert_array_equal(part, truth[start:stop, 1:4, ::2])
        assert frames.read(3, 3).shape == (0, 6, 5)
        with pytest.raises(ParameterError):
            frames.read(0, 9)
    assert Slice(open_frames(folder, allow_missing=True), 2, 5).absent == {1}
    assert Oriented(open_frames(folder, allow_missing=True), 1).absent == {3}


def test_channels_in_one_folder_are_read_one_at_a_time(tmp_path):
    names = [f"i_Z{z}_C{c}.tif" for z in range(4) for c in (1, 2)]
    folder = folder_of(tmp_path / "s", names)
    for opener in (open_frames, open_planes):
        with pytest.raises(
            ParameterError, match=r"2 stacks; choose one by `stack_channel` or `stack_series`: 1: i_Z\*_C1"
        ):
            opener(folder)
        np.testing.assert_array_equal(opener(folder, choice=StackChoice(stack_channel="2")).read(0, 4), FRAMES[1::2])
    assert [stack.count_text for stack in stacks_at(folder)] == ["4 planes", "4 planes"]


def test_copies_of_other_formats_are_refused_too(tmp_path):
    for name in ("a1.png", "a2.png", "a2 (1).png"):
        write_png(tmp_path / name, np.zeros((3, 3), np.uint8))
    with pytest.raises(ParameterError, match=r"a2 \(1\)\.png \(of a2\.png\)"):
        open_frames(tmp_path)


HYPER = np.random.default_rng(6).integers(1, 60000, (2, 4, 3, 6, 5), dtype=np.uint16)  # time, z, channel, y, x


@pytest.mark.parametrize("kind", ["imagej", "imagej, one page", "ome", "ome, one page", "ome, compressed"])
def test_channels_and_times_in_one_file_are_chosen(tmp_path, kind):
    path = tmp_path / ("v.ome.tif" if kind.startswith("ome") else "v.tif")
    options = {"imagej": True} if kind.startswith("imagej") else {"photometric": "minisblack"}
    options |= {"truncate": True} if "one page" in kind else {}
    options |= {"compression": "zlib"} if "compressed" in kind else {}
    tifffile.imwrite(path, HYPER, metadata={"axes": "TZCYX"}, **options)
    with pytest.raises(
        ParameterError, match="6 stacks; choose one by `stack_channel` and `stack_time` or `stack_series`"
    ):
        open_frames(path)
    with pytest.raises(
        ParameterError, match=r"3 stacks; .* 4: v\.\S*tif \(channel 1, time 2, 4 planes\)|time 2, channel 1"
    ):
        open_frames(path, choice=StackChoice(stack_time="2"))
    for time, channel in itertools.product(range(2), range(3)):
        choice = StackChoice(stack_time=f"{time + 1}", stack_channel=f"{channel + 1}")
        np.testing.assert_array_equal(open_frames(path, choice=choice).read(0, 4), HYPER[time, :, channel])
        assert open_planes(path, choice=choice).shape == (4, 6, 5)
    with pytest.raises(ParameterError, match="no stack with `stack_channel` 7"):
        open_frames(path, choice=StackChoice(stack_channel="7"))


@pytest.mark.parametrize(("axes", "imagej"), [("T", True), ("C", True), ("T", False), ("C", False)])
def test_times_or_channels_alone_are_frames(tmp_path, axes, imagej):
    path = tmp_path / ("a.tif" if imagej else "a.ome.tif")
    options = {"imagej": True} if imagej else {"photometric": "minisblack"}
    tifffile.imwrite(path, FRAMES, metadata={"axes": f"{axes}YX"}, **options)
    np.testing.assert_array_equal(open_frames(path).read(0, 8), FRAMES)


def ome_files(folder, n_files=4, pages=2, order=None, channels=1):
    """A multi-file OME-TIFF; file k holds ``pages`` planes, and names of files run against the planes."""
    folder.mkdir(exist_ok=True)
    names = [f"p{n_files - 1 - number}.ome.tif" for number in range(n_files)]
    n_z = n_files * pages // channels
    data = "".join(
        f'<TiffData FirstZ="{z % n_z}" FirstC="{z // n_z}" IFD="{z % pages}" PlaneCount="1"><UUID '
        f'FileName="{names[z // pages]}">urn:uuid:{z // pages}</UUID></TiffData>'
        for z in range(n_files * pages)
    )
    sizes = f'DimensionOrder="XYZCT" Type="uint16" SizeX="5" SizeY="6" SizeZ="{n_z}" SizeC="{channels}" SizeT="1"'
    for number, name in enumerate(names):
        xml = f'<OME xmlns="x" UUID="urn:uuid:{number}"><Image><Pixels {sizes}>{data}</Pixels></Image></OME>'
        part = FRAMES[number * pages : (number + 1) * pages]
        tifffile.imwrite(folder / name, part, description=f'<?xml version="1.0"?>{xml}', **PLAIN)
    return [folder / name for name in names]


@pytest.mark.parametrize("pages", [1, 2])
def test_a_folder_of_a_multi_file_ome_tiff_is_all_of_it_in_its_order(tmp_path, pages):
    paths = ome_files(tmp_path / "s", 8 // pages, pages)
    np.testing.assert_array_equal(open_frames(tmp_path / "s").read(0, 8), FRAMES)
    np.testing.assert_array_equal(open_frames(tmp_path / "s" / "p*.tif").read(3, 6), FRAMES[3:6])
    # One file means its own pages, unless a series is asked for.
    for number, path in enumerate(paths):
        own = FRAMES[number * pages : (number + 1) * pages]
        np.testing.assert_array_equal(open_frames(path).read(0, pages), own)
        np.testing.assert_array_equal(read_image(path), own[0] if pages == 1 else own)
    np.testing.assert_array_equal(open_frames(paths[1], choice=StackChoice(stack_series="1")).read(0, 8), FRAMES)
    # A file that is not there is a hole; one that cannot be read is an error whatever is allowed.
    paths[1].unlink()
    with pytest.raises(DamagedInputError, match=rf"{pages} of 8 planes .* as {paths[1].name} is not there"):
        open_frames(tmp_path / "s")
    frames = open_frames(tmp_path / "s", allow_missing=True)
    lost = range(pages, 2 * pages)
    assert frames.absent == set(lost) and not frames.read(pages, 2 * pages).any()
    there = [z for z in range(8) if z not in lost]
    np.testing.assert_array_equal(frames.read(0, 8)[there], FRAMES[there])
    paths[2].write_bytes(paths[2].read_bytes()[: paths[2].stat().st_size // 2])
    with pytest.raises(DamagedInputError, match=paths[2].name):
        open_frames(tmp_path / "s", allow_missing=True)


def test_the_last_file_of_a_multi_file_ome_tiff_does_not_pass_for_the_whole(tmp_path):
    for path in ome_files(tmp_path / "s", 8, 1)[1:]:
        path.unlink()
    with pytest.raises(DamagedInputError, match="7 of 8 planes"):
        open_frames(tmp_path / "s")
    assert open_frames(tmp_path / "s", allow_missing=True).absent == set(range(1, 8))


def test_renamed_files_of_a_multi_file_ome_tiff_go_by_their_names(tmp_path):
    for number, path in enumerate(ome_files(tmp_path / "s", 8, 1)):
        path.rename(path.with_name(f"new_{number}.tif"))
    np.testing.assert_array_equal(open_frames(tmp_path / "s").read(0, 8), FRAMES)
    (tmp_path / "s" / "new_4.tif").unlink()
    with pytest.raises(DamagedInputError, match="number 4 is missing"):
        open_frames(tmp_path / "s")


def test_channels_of_a_multi_file_ome_tiff_are_chosen(tmp_path):
    ome_files(tmp_path / "s", 4, 2, channels=2)
    with pytest.raises(ParameterError, match="2 stacks; choose one by `stack_channel`"):
        open_frames(tmp_path / "s")
    chosen = open_frames(tmp_path / "s", choice=StackChoice(stack_channel="2"))
    np.testing.assert_array_equal(chosen.read(0, 4), FRAMES[4:])


def test_no_file_but_those_that_are_read_is_opened(tmp_path, monkeypatch):
    paths = ome_files(tmp_path / "s", 8, 1)
    opened = []
    real = tifffile.TiffFile.__init__

    def init(self, file, *args, **options):
        opened.append(str(file))
        real(self, file, *args, **options)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", init)
    open_frames(paths[0]).read(0, 1)
    assert set(opened) == {str(paths[0])}
    opened.clear()
    open_frames(tmp_path / "s").read(0, 8)
    assert len(opened) <= 8 * 4  # a few times each, not once for each other file


@pytest.mark.parametrize("said", [1, 3, 12])
def test_imagej_s_count_of_planes_does_not_hide_pages(tmp_path, said):
    description = f"ImageJ=1.54f\nimages={said}\nslices={said}\n"
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, description=description, **PLAIN)
    if said > 8:
        with pytest.raises(DamagedInputError, match="4 of 12 planes that its description counts are in no file"):
            open_frames(tmp_path / "a.tif")
        frames = open_frames(tmp_path / "a.tif", allow_missing=True)
        assert frames.absent == set(range(8, 12))
    else:
        frames = open_frames(tmp_path / "a.tif")
        assert frames.shape == FRAMES.shape and not frames.absent
    np.testing.assert_array_equal(frames.read(0, 8), FRAMES)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), FRAMES)


def test_a_description_that_contradicts_the_pages_is_refused(tmp_path):
    description = "ImageJ=1.54f\nimages=12\nchannels=2\nslices=6\nhyperstack=true\n"
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, description=description, **PLAIN)
    with pytest.raises(DamagedInputError, match="holds 8 planes, but its description counts 12 in several channels"):
        open_frames(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_planes_behind_one_page_are_frames(tmp_path, name):
    kind = {"photometric": "minisblack"} if "ome" in name else {"imagej": True}
    tifffile.imwrite(tmp_path / name, FRAMES, truncate=True, metadata={"axes": "ZYX"}, **kind)
    assert len(tifffile.TiffFile(tmp_path / name).pages) == 1
    np.testing.assert_array_equal(open_frames(tmp_path / name).read(0, 8), FRAMES)
    np.testing.assert_array_equal(read_image(tmp_path / name), FRAMES)


def test_a_description_of_planes_that_are_none_is_not_believed(tmp_path):
    xml = '<?xml version="1.0"?><OME xmlns="x"><Image><Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="5" SizeY="6" '
    xml += 'SizeZ="3" SizeC="1" SizeT="1"><TiffData/></Pixels></Image></OME>'
    tifffile.imwrite(tmp_path / "a.tif", FRAMES[0], description=xml, **PLAIN)
    assert (tmp_path / "a.tif").stat().st_size > 3 * FRAMES[0].nbytes + 200
    with pytest.raises(DamagedInputError, match="2 of 3 planes that its description counts are in no file"):
        open_frames(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".btf", ".tf8", ".tf2"])
def test_all_suffixes_of_tiff(tmp_path, suffix):
    tifffile.imwrite(tmp_path / f"a{suffix}", FRAMES, bigtiff=True, **PLAIN)
    for place in (tmp_path / f"a{suffix}", tmp_path):
        np.testing.assert_array_equal(open_frames(place).read(0, 8), FRAMES)


def test_patterns_over_folders(tmp_path):
    folder_of(tmp_path / "a" / "b", [f"img_{n}.tif" for n in range(8)])
    np.testing.assert_array_equal(open_frames(f"{tmp_path}/**/*.tif").read(0, 8), FRAMES)
    folder_of(tmp_path / "c", [f"img_{n}.tif" for n in range(8)])
    with pytest.raises(ParameterError, match="holds 2 stacks"):
        open_frames(f"{tmp_path}/**/*.tif")


def test_a_choice_where_there_is_nothing_to_choose_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", FRAMES)
    write_png(tmp_path / "a.png", np.zeros((3, 3), np.uint8))
    for name in ("a.npy", "a.png"):
        with pytest.raises(ParameterError, match="nothing to choose; leave out `stack_time`"):
            open_planes(tmp_path / name, choice=StackChoice(stack_time="1"))


def test_signed_jpeg_2000_is_read_right_or_refused(tmp_path):
    planes = FRAMES.astype(np.int16)
    for number, plane in enumerate(planes):
        data = imagecodecs.jpeg2k_encode(plane, level=0, codecformat="jp2")
        (tmp_path / f"{number}.jp2").write_bytes(data)
    with pytest.raises(DamagedInputError, match="int16"):
        open_frames(tmp_path)
    np.testing.assert_array_equal(open_planes(tmp_path).read(0, 8), planes)


@pytest.mark.parametrize("options", [{"imagej": True, "metadata": {"axes": "ZYX"}}, {"metadata": {"axes": "ZYX"}}])
def test_a_file_of_planes_behind_one_page_is_no_frame_among_others(tmp_path, options):
    folder = folder_of(tmp_path / "s", [f"i_{n}.ome.tif" for n in range(8)])
    tifffile.imwrite(folder / "i_5.ome.tif", FRAMES, truncate=True, photometric="minisblack", **options)
    assert len(tifffile.TiffFile(folder / "i_5.ome.tif").pages) == 1
    with pytest.raises(DamagedInputError, match=r"i_5.ome.tif has 8 pages; in a stack of files each holds one frame"):
        open_frames(folder)
