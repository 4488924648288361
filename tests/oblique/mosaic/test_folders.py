from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import InputMissingError, MosaicError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_tiff
from gpustitch.io.volumes.opening import is_volume
from gpustitch.oblique.mosaic.folders import find_raw_mosaic, find_volume_mosaic

FRAME = np.zeros((2, 2), np.uint8)


def raw(path):
    write_dcimg(path, [FRAME], 1, (2, 2))


def volume(path, kind="info"):
    (path / kind).parent.mkdir(parents=True, exist_ok=True)
    (path / kind).write_text("{}")


def positions(mosaic):
    return [tile.stage_um for tile in mosaic.tiles]


def test_names_are_tenths_of_a_micron_and_may_be_negative(tmp_path):
    for x, y, z in [(-105, 20, -3), (-105, -7, -3), (300, 20, 12), (300, -7, 12)]:
        raw(tmp_path / f"{x}" / f"{x}_{y}" / f"{z}.dcimg")
    mosaic = find_raw_mosaic(tmp_path)
    assert positions(mosaic) == [(-10.5, -0.7, -0.3), (-10.5, 2.0, -0.3), (30.0, -0.7, 1.2), (30.0, 2.0, 1.2)]
    assert mosaic.tiles[0].path == tmp_path / "-105" / "-105_-7" / "-3.dcimg"
    assert mosaic.tiles[0].name == "-105_-7_-3"


def test_a_missing_tile_is_reported_by_the_mosaic(tmp_path):
    for x, y in [(0, 0), (0, 10), (20, 0)]:
        raw(tmp_path / f"{x}" / f"{x}_{y}" / "0.dcimg")
    assert find_raw_mosaic(tmp_path).missing_positions() == [(2.0, 1.0, 0.0)]


def test_a_folder_of_tiffs_is_a_tile_and_other_files_are_passed_over(tmp_path):
    raw(tmp_path / "0" / "0_0" / "0.dcimg")
    for i in range(2):
        write_tiff(tmp_path / "0" / "0_50" / "7" / f"img_{i}.tiff", FRAME)
    (tmp_path / "0" / "0_0" / "notes.txt").write_text("x")
    (tmp_path / "0" / "0_0" / ".0.dcimg.partial").write_text("x")
    (tmp_path / "0" / "0_0" / "logs").mkdir()
    (tmp_path / "settings").mkdir()
    (tmp_path / "metadata.json").write_text("{}")
    assert positions(find_raw_mosaic(tmp_path)) == [(0, 0, 0), (0, 5.0, 0.7)]


def test_a_picture_beside_the_raw_files_is_no_tile(tmp_path):
    raw(tmp_path / "0" / "0_0" / "12.dcimg")
    write_tiff(tmp_path / "0" / "0_0" / "preview.tif", FRAME)
    write_tiff(tmp_path / "0" / "0_70" / "img_0.tif", FRAME)
    assert positions(find_raw_mosaic(tmp_path)) == [(0, 0, 1.2), (0, 7.0, 0)]


@pytest.mark.parametrize(
    "bad", ["0/0_0/first.dcimg", "0/0-0/0.dcimg", "0/zero_0/0.dcimg", "5/0_0/0.dcimg", "0/0_1.5/0.dcimg"]
)
def test_an_unreadable_name_is_named(tmp_path, bad):
    raw(tmp_path / "0" / "0_90" / "0.dcimg")
    raw(tmp_path / bad)
    with pytest.raises(MosaicError, match=bad.rpartition("/")[2]):
        find_raw_mosaic(tmp_path)


def test_an_unreadable_x_folder_is_named(tmp_path):
    raw(tmp_path / "0" / "0_0" / "0.dcimg")
    raw(tmp_path / "left" / "0_0" / "0.dcimg")
    with pytest.raises(MosaicError, match="left"):
        find_raw_mosaic(tmp_path)


def test_two_tiles_at_one_place_are_refused(tmp_path):
    raw(tmp_path / "0" / "0_0" / "7.dcimg")
    raw(tmp_path / "0" / "0_0" / "+07.dcimg")
    with pytest.raises(MosaicError, match="both"):
        find_raw_mosaic(tmp_path)


def test_a_file_alone_is_a_tile(tmp_path):
    raw(tmp_path / "scan 1.dcimg")
    assert positions(find_raw_mosaic(tmp_path / "scan 1.dcimg")) == [(0, 0, 0)]
    raw(tmp_path / "50" / "50_-20" / "3.dcimg")
    assert positions(find_raw_mosaic(tmp_path / "50" / "50_-20" / "3.dcimg")) == [(5.0, -2.0, 0.3)]


def test_a_file_alone_is_found_in_its_folder(tmp_path):
    raw(tmp_path / "scan.dcimg")
    assert positions(find_raw_mosaic(tmp_path)) == [(0, 0, 0)]
    raw(tmp_path / "other.dcimg")
    with pytest.raises(MosaicError, match="2 DCIMG files"):
        find_raw_mosaic(tmp_path)


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(InputMissingError, match="none"):
        find_raw_mosaic(tmp_path / "none")
    for find in (find_raw_mosaic, find_volume_mosaic):
        with pytest.raises(InputMissingError, match=str(tmp_path)):
            find(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputMissingError, match=r"a\.txt"):
        find_raw_mosaic(tmp_path / "a.txt")


def test_volumes_with_and_without_z(tmp_path):
    volume(tmp_path / "0" / "0_0" / "0")
    volume(tmp_path / "0" / "0_0" / "-40", "1_1_1/precomputed.blockfs")
    volume(tmp_path / "0" / "0_50")
    volume(tmp_path / "-9" / "-9_50", "1_1_1/precomputed.blockfs")
    raw(tmp_path / "0" / "0_0" / "80.dcimg")
    found = find_volume_mosaic(tmp_path)
    assert positions(found) == [(-0.9, 5.0, 0.0), (0, 0, -4.0), (0, 0, 0), (0, 5.0, 0)]
    assert positions(find_raw_mosaic(tmp_path)) == [(0, 0, 8.0)]


def test_a_volume_alone_is_a_tile(tmp_path):
    volume(tmp_path / "v")
    assert positions(find_volume_mosaic(tmp_path / "v")) == [(0, 0, 0)]
    volume(tmp_path / "30" / "30_-5" / "2")
    assert positions(find_volume_mosaic(tmp_path / "30" / "30_-5" / "2")) == [(3.0, -0.5, 0.2)]
    assert positions(find_volume_mosaic(tmp_path / "30")) == [(3.0, -0.5, 0.2)]


def test_ome_zarr_volumes_are_tiles_too(tmp_path):
    for y in ("0", "2000"):
        (tmp_path / "0" / f"0_{y}" / "0").mkdir(parents=True)
        (tmp_path / "0" / f"0_{y}" / "0" / "zarr.json").write_text("{}")
    assert [tile.stage_um for tile in find_volume_mosaic(tmp_path).tiles] == [(0.0, 0.0, 0.0), (0.0, 200.0, 0.0)]
    assert is_volume(tmp_path / "0" / "0_0" / "0") and not is_volume(tmp_path)


@pytest.mark.parametrize("kind", ["dcimg", "tiff", "volume", "flat volume"])
def test_a_folder_of_the_wrong_level_names_the_right_one(tmp_path, kind):
    find = find_volume_mosaic if "volume" in kind else find_raw_mosaic
    channels = [tmp_path / "brain" / name for name in ("Ex_488_Em_1", "Ex_642_Em_2")]
    for channel in channels:
        for place in ("0/0_0", "0/0_90", "70/70_0", "70/70_90"):
            if kind == "dcimg":
                raw(channel / place / "0.dcimg")
            elif kind == "tiff":
                write_tiff(channel / place / "0" / "img_0.tiff", FRAME)
            else:
                volume(channel / place / "0" if kind == "volume" else channel / place)
    assert len(find(channels[0]).tiles) == 4
    with pytest.raises(MosaicError, match="but channels: Ex_488_Em_1, Ex_642_Em_2; give one of them"):
        find(tmp_path / "brain")
    for low in ("0", "70"):
        with pytest.raises(MosaicError, match=f"only a part of the channel {channels[0]}"):
            find(channels[0] / low)
        assert len(find(channels[0] / low, may_be_part=True).tiles) == 2
    if kind != "flat volume":  # else X/X_Y is a tile itself
        with pytest.raises(MosaicError, match=f"give {channels[0]}"):
            find(channels[0] / "70" / "70_90")


def test_pictures_above_the_tiles_do_not_make_a_tile_of_their_folder(tmp_path):
    channel = tmp_path / "brain" / "Ex_488"
    raw(channel / "0" / "0_0" / "0.dcimg")
    raw(channel / "0" / "0_90" / "0.dcimg")
    for folder in (channel, channel.parent, channel / "0", channel / "0" / "0_90"):
        write_tiff(folder / "flat.tiff", FRAME)
    assert len(find_raw_mosaic(channel).tiles) == 2
    with pytest.raises(MosaicError, match="channels: Ex_488"):
        find_raw_mosaic(channel.parent)
    with pytest.raises(MosaicError, match="only a part of the channel"):
        find_raw_mosaic(channel / "0" / "0_90")
    assert len(find_raw_mosaic(channel / "0").tiles) == 2


def test_the_only_place_of_a_channel_may_be_named(tmp_path):
    raw(tmp_path / "0" / "0_0" / "3.dcimg")
    assert len(find_raw_mosaic(tmp_path / "0").tiles) == 1
    assert len(find_raw_mosaic(tmp_path / "0" / "0_0").tiles) == 1
