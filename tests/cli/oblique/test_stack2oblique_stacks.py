"""Stacks through the commands: what holds several is refused, what lacks frames too, and nothing moves up."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.images.files import write_tiff
from gpustitch.io.planes.opening import open_planes
from tests.io.frames.test_opening import FRAMES, HYPER, folder_of, ome_files

GEOMETRY = ("--levels", 1, "--x-step-size", 1.28, "--y-voxel-size", 1.81)


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join((result.output + result.stderr).split())


def deobliqued(folder, *options):
    code, said = run("stack2oblique", "--input", folder, "--output", f"{folder}_volume", *GEOMETRY, *options)
    assert code == 0, said
    volume = open_planes(f"{folder}_volume")
    return volume.read(0, volume.shape[0])


def test_a_lost_frame_stops_or_leaves_all_others_in_place(tmp_path):
    names = [f"img_{n:05}.tif" for n in range(8)]
    whole = deobliqued(folder_of(tmp_path / "whole", names))
    holed = folder_of(tmp_path / "holed", names)
    (holed / names[4]).unlink()
    code, said = run("stack2oblique", "--input", holed, "--output", tmp_path / "v", *GEOMETRY)
    assert code == 5 and "number 4 is missing" in said and "--allow-missing" in said and not (tmp_path / "v").exists()
    volume = deobliqued(holed, "--allow-missing")
    assert volume.shape == whole.shape
    # Voxels that no part of frame 4 is in: a voxel (z, y, x) lies between two frames around x - z * shear.
    shear = 1.81 * np.cos(np.pi / 4) / 1.28
    frame = np.arange(whole.shape[2]) - np.arange(whole.shape[0])[:, None] * shear
    untouched = np.broadcast_to((np.abs(frame - 4) >= 1)[:, None], whole.shape)
    np.testing.assert_array_equal(volume[untouched], whole[untouched])
    assert whole[untouched].any() and (volume != whole).any()


def test_every_command_that_reads_a_stack_refuses_several_and_takes_the_chosen_one(tmp_path):
    folder = folder_of(tmp_path / "s", [f"i_Z{z}_C{c}.tif" for z in range(4) for c in (1, 2)])
    commands = {
        "dcimg2tif": ("--input", folder, "--output-pattern", tmp_path / "t" / "%d.tif"),
        "dcimg2jp2": ("--input", folder, "--output-pattern", tmp_path / "j" / "%d.jp2"),
        "stack2oblique": ("--input", folder, "--output", tmp_path / "o", *GEOMETRY),
        "dcimg2oblique": ("--input", folder, "--output", tmp_path / "d", *GEOMETRY),
        "similarity": (folder, tmp_path / "s.npz", "--range", 1),
        "z-spacing": (folder, "--output", tmp_path / "z.csv", "--range", 2),
        "oblique-illum-corr": (folder, "--output", tmp_path / "flat.tif", "--background", 1, "--values-per-bin", 64),
    }
    for command, options in commands.items():
        code, said = run(command, *options)
        assert code == 3 and "holds 2 stacks; choose one by --channel or --series: 1: i_Z*_C1.tif" in said, (
            command,
            said,
        )
    code, said = run("z-spacing", *commands["z-spacing"], "--channel", 3)
    assert code == 3 and "no stack with --channel 3" in said
    for command in ("dcimg2tif", "similarity"):
        code, said = run(command, *commands[command], "--channel", 2)
        assert code == 0, (command, said)
    written = np.stack([tifffile.imread(tmp_path / "t" / f"{n}.tif") for n in range(4)])
    np.testing.assert_array_equal(written, FRAMES[1::2])


def test_a_channel_of_a_hyperstack(tmp_path):
    tifffile.imwrite(tmp_path / "h.tif", HYPER[0], imagej=True, metadata={"axes": "ZCYX"})
    options = ("dcimg2tif", "--input", tmp_path / "h.tif", "--output-pattern", tmp_path / "%d.tif")
    code, said = run(*options)
    assert code == 3 and "3 stacks; choose one by --channel or --series" in said
    assert run(*options, "--channel", 2)[0] == 0
    written = np.stack([tifffile.imread(tmp_path / f"{n}.tif") for n in range(4)])
    np.testing.assert_array_equal(written, HYPER[0, :, 1])


def test_tiles_of_the_pipeline_are_stacks_too(tmp_path):
    folder = tmp_path / "raw" / "0" / "0_0"
    folder_of(folder / "0", [f"i_{n}_ch{c}.tif" for n in range(4) for c in (0, 1)])
    options = ("pipeline", tmp_path / "raw", "--output", tmp_path / "out", "--no-flat", "--destripe-method", "none")
    code, said = run(*options)
    assert code == 3 and "choose one by --stack-channel or --series" in said
    (folder / "0" / "i_2_ch1.tif").unlink()
    code, said = run(*options, "--stack-channel", 1)
    assert code == 5 and "number 2 is missing" in said


@pytest.mark.parametrize("pages", [1, 2])
def test_destripe_takes_each_file_of_a_multi_file_ome_tiff_for_itself(tmp_path, pages):
    paths = ome_files(tmp_path / "s", 8 // pages, pages)
    paths[1].unlink()
    code, said = run("destripe", "-i", tmp_path / "s", "-o", tmp_path / "d", "--sigma1", 16, "--sigma2", 16)
    assert code == 0, said
    for path in (paths[0], *paths[2:]):
        with tifffile.TiffFile(tmp_path / "d" / path.name) as tiff:
            assert len(tiff.pages) == pages and all(page.asarray().any() for page in tiff.pages)
    assert len(list((tmp_path / "d").glob("*.tif"))) == 8 // pages - 1


def test_info_lists_stacks_channels_and_holes(tmp_path):
    folder_of(tmp_path / "s", [f"i_Z{z}_C{c}.tif" for z in range(4) for c in (1, 2)])
    code, said = run("info", tmp_path / "s")
    assert code == 0 and "2 stacks" in said and "1: i_Z*_C1.tif (channel 1, 4 planes) 2: i_Z*_C2.tif (channel 2" in said
    (tmp_path / "s" / "i_Z2_C2.tif").unlink()
    code, said = run("info", tmp_path / "s")
    assert code == 5 and "3 planes, 1 missing" in said and "1 of 2 stacks lack planes" in said
    assert "number 2 is missing" in said
    folder_of(tmp_path / "t", [f"i_{n}.tif" for n in range(8)])
    (tmp_path / "t" / "i_5.tif").unlink()
    code, said = run("info", tmp_path / "t")
    assert code == 5 and "8 frames of 6 rows x 5 columns" in said and "number 5 is missing" in said


def test_copies_are_named(tmp_path):
    folder = folder_of(tmp_path / "s", [f"i_{n}.tif" for n in range(8)])
    write_tiff(folder / "i_3 (1).tif", FRAMES[3])
    code, said = run("z-spacing", folder, "--output", tmp_path / "z.csv")
    assert code == 3 and "copies of files, which are no frames: i_3 (1).tif (of i_3.tif)" in said
