"""The stage and command ``destripe``: files, trees, DCIMG, names, damaged and existing files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import DamagedInputError, DeviceError, InputMissingError, OutputExistsError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.oblique.destripe import jobs, stage
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.stage import plan, run
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.oblique.deskew.test_sweep import Holed
from tests.oblique.export.test_stage import Seen

WAVES = Correction("wavelet", WaveletOptions(8, 30, wavelet="db2"))


def picture(seed=0, shape=(40, 52)):
    return np.random.default_rng(seed).poisson(400, shape).astype(np.uint16)


def destripe(source, output=None, **options):
    return run(plan(DestripeOptions(input=source, output=output, **{"correction": WAVES, **options})))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "raw"
    for number, name in enumerate(("a.tif", "sub/b.tiff", "sub/deep/c.TIF")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, picture(number))
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.fixture
def dcimg(tmp_path):
    path = tmp_path / "0012300.dcimg"
    write_dcimg(path, [picture(n) for n in range(3)], 3, (40, 52))
    return path


def test_one_image(tmp_path):
    source = tmp_path / "a.tif"
    tifffile.imwrite(source, picture())
    result = destripe(source)
    assert result.output == tmp_path / "a_destriped.tif"
    np.testing.assert_array_equal(tifffile.imread(result.output), WAVES.apply(picture()))
    np.testing.assert_array_equal(tifffile.imread(source), picture())
    other = tmp_path / "new" / "b.tiff"
    assert destripe(source, other, compression=0).n_images == 1
    np.testing.assert_array_equal(tifffile.imread(other), WAVES.apply(picture()))


def test_pages_of_one_image(tmp_path):
    pages = np.stack([picture(1), picture(2)])
    tifffile.imwrite(tmp_path / "a.tif", pages)
    result = destripe(tmp_path / "a.tif")
    np.testing.assert_array_equal(tifffile.imread(result.output), np.stack([WAVES.apply(p) for p in pages]))


def test_a_tree_keeps_its_structure(tree, tmp_path):
    result = destripe(tree, n_workers=2)
    assert result.output == tmp_path / "raw_destriped"
    written = sorted(str(p.relative_to(result.output)) for p in result.output.rglob("*") if p.is_file())
    assert written == ["a.tif", "destripe.json", "destripe.manifest.jsonl", "sub/b.tiff", "sub/deep/c.TIF"]
    for number, name in enumerate(("a.tif", "sub/b.tiff", "sub/deep/c.TIF")):
        np.testing.assert_array_equal(tifffile.imread(result.output / name), WAVES.apply(picture(number)))
    record = json.loads((result.output / "destripe.json").read_text())
    assert record["images"] == 3
    assert record["parameters"]["correction"]["wavelet"]["sigma2"] == 30
    assert record["parameters"]["n_workers"] == 2 and record["parameters"]["device"] in ("cpu", "cuda:0")


@pytest.mark.parametrize("axes", ["ZCYX", "TZYX", "ZTCYX"])
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_stacks_in_one_image_are_not_written_as_one(tmp_path, axes, kind):
    file = tmp_path / ("a.tif" if kind == "imagej" else "a.ome.tif")
    if kind == "imagej":
        axes = "TZCYX"[-len(axes) :]
    pages = np.stack([picture(n) for n in range(2 ** (len(axes) - 2))]).reshape(*[2] * (len(axes) - 2), 40, 52)
    tifffile.imwrite(file, pages, imagej=kind == "imagej", metadata={"axes": axes})
    with pytest.raises(ParameterError, match=r"holds [24] stacks, and an image does not tell them apart: 1: a"):
        destripe(file)
    assert list(tmp_path.iterdir()) == [file]


def described(path, order, n_planes):
    """A TIFF of three pages whose OME description says which page each plane is; the pages."""
    text = "".join(f'<TiffData FirstZ="{z}" IFD="{page}" PlaneCount="1"/>' for z, page in enumerate(order))
    sizes = f'SizeX="52" SizeY="40" SizeZ="{n_planes}" SizeC="1" SizeT="1"'
    text = f'<Pixels DimensionOrder="XYZCT" Type="uint16" {sizes}>{text}</Pixels>'
    text = f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>{text}'
    pages = np.stack([picture(n) for n in range(3)])
    tifffile.imwrite(path, pages, description=text + "</Image></OME>", metadata=None, photometric="minisblack")
    return pages


def test_pages_are_written_in_the_order_of_their_description(tmp_path):
    pages = described(tmp_path / "a.ome.tif", (2, 0, 1), 3)
    result = destripe(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(result.output), np.stack([WAVES.apply(pages[n]) for n in (2, 0, 1)]))


def test_an_image_that_lacks_pages_is_an_error(tmp_path):
    described(tmp_path / "a.ome.tif", (0, 1, 2), 4)
    with pytest.raises(DamagedInputError, match=r"1 of 4 planes that its description counts are in no file; write its"):
        destripe(tmp_path / "a.ome.tif")


def test_frames_of_a_dcimg(dcimg, tmp_path):
    result = destripe(dcimg)
    assert result.output == tmp_path / "0012300_destriped"
    for number in range(3):
        image = tifffile.imread(result.output / f"img_{number:05d}.tiff")
        np.testing.assert_array_equal(image, WAVES.apply(picture(number)))


def test_frames_named_after_their_position(dcimg, tmp_path):
    output = tmp_path / "out"
    destripe(dcimg, output, zstep_um=2.0)
    assert sorted(p.name for p in output.glob("*.tif")) == ["12300.tif", "12320.tif", "12340.tif"]
    dcimg.rename(tmp_path / "run.dcimg")
    with pytest.raises(ParameterError, match=r"run\.dcimg: with `zstep_um` the name"):
        destripe(tmp_path / "run.dcimg", output, zstep_um=2.0)


@pytest.mark.parametrize(("zstep_um", "last"), [(1.28, 12326), (0.15, 12303), (2.96, 12359)])
def test_positions_in_names_are_rounded_once(dcimg, tmp_path, zstep_um, last):
    destripe(dcimg, tmp_path / "out", zstep_um=zstep_um)
    assert (tmp_path / "out" / f"{last}.tif").is_file()


def test_a_dcimg_in_a_tree(dcimg, tmp_path):
    folder = tmp_path / "tree" / "x"
    folder.mkdir(parents=True)
    dcimg.rename(folder / dcimg.name)
    plain = destripe(tmp_path / "tree", tmp_path / "plain")
    assert (plain.output / "x" / "0012300" / "img_00002.tiff").is_file()
    named = destripe(tmp_path / "tree", tmp_path / "named", zstep_um=2.0)
    assert (named.output / "x" / "12340.tif").is_file()


def test_turned_images(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture())
    result = destripe(tmp_path / "a.tif", rotate=True)
    np.testing.assert_array_equal(tifffile.imread(result.output), WAVES.apply(np.rot90(picture())))


def test_output_type(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((20, 20), 250, np.uint8))
    flat = np.full((20, 20), 1, np.float32)
    flat[0] = 0.5
    result = destripe(tmp_path / "a.tif", tmp_path / "16.tif", correction=Correction(flat=flat, dtype="uint16"))
    assert tifffile.imread(result.output)[0, 0] == 500
    assert result.n_cut_off == 0
    result = destripe(tmp_path / "a.tif", tmp_path / "8.tif", correction=Correction(flat=flat))
    kept = tifffile.imread(result.output)
    assert kept.dtype == np.uint8
    assert kept[0, 0] == 255
    assert kept[1, 0] == 250
    assert result.n_cut_off == 20


def test_existing_outputs_are_refused_before_anything_is_read(tree, tmp_path):
    output = tmp_path / "out"
    destripe(tree, output)
    with pytest.raises(OutputExistsError, match="and 2 more exist already"):
        destripe(tree, output)
    assert destripe(tree, output, overwrite=True).n_images == 3


def test_the_input_is_never_written_to(tree):
    for output in (tree, tree / "out", tree / "sub" / ".." / "new"):
        with pytest.raises(ParameterError, match="lies in the input"):
            destripe(tree, output, overwrite=True)
    with pytest.raises(ParameterError, match="lies in the input"):
        destripe(tree / "a.tif", tree / "a.tif", overwrite=True)


def test_a_damaged_file_stops_the_run_or_is_skipped_and_named(tree, tmp_path):
    (tree / "sub" / "b.tiff").write_bytes((tree / "sub" / "b.tiff").read_bytes()[:900])
    with pytest.raises(DamagedInputError, match=r"b\.tiff"):
        destripe(tree, tmp_path / "stopped")
    result = destripe(tree, tmp_path / "skipped", on_error="skip")
    assert result.n_images == 2
    assert [path.name for path in result.skipped] == ["b.tiff"]
    assert "skipped 1 damaged" in result.summary
    assert not (tmp_path / "skipped" / "sub" / "b.tiff").exists()
    record = json.loads((result.output / "destripe.json").read_text())
    assert next(iter(record["skipped"])).endswith("b.tiff")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_folder_whose_first_image_is_skipped_is_told_of(tree):
    (tree / "sub" / "a_1.tif").write_bytes(b"nothing")
    (tree / "sub" / "a_2.tif").write_bytes((tree / "a.tif").read_bytes())
    seen = Seen()
    run(plan(DestripeOptions(input=tree, output=tree.parent / "out", correction=WAVES, on_error="skip")), seen)
    assert any("the first image of its folder" in line for line in seen.warnings)


def test_a_damaged_dcimg_stops_the_run_or_is_skipped_and_named(tree, tmp_path):
    (tree / "0.dcimg").write_bytes(b"DCIMG but not really")
    with pytest.raises(DamagedInputError, match=r"0\.dcimg"):
        destripe(tree, tmp_path / "stopped")
    result = destripe(tree, tmp_path / "skipped", on_error="skip")
    assert result.n_images == 3
    assert [path.name for path in result.skipped] == ["0.dcimg"]


@pytest.mark.parametrize("zstep_um", [None, 2.0])
def test_frames_that_are_absent_or_skipped_leave_holes_and_are_counted(tmp_path, monkeypatch, zstep_um):
    frames = np.stack([picture()] * 6)
    write_dcimg(tmp_path / "100.dcimg", frames, 6, frames.shape[1:])
    monkeypatch.setattr(jobs, "open_frames", lambda path, **_: Holed(frames, {1, 2}, {4}))
    monkeypatch.setattr(stage, "cautions", lambda path: ())
    with pytest.raises(DamagedInputError, match="frame 4 is broken"):
        destripe(tmp_path / "100.dcimg", tmp_path / "stopped")
    seen = Seen()
    options = DestripeOptions(
        input=tmp_path / "100.dcimg", output=tmp_path / "out", correction=WAVES, on_error="skip", zstep_um=zstep_um
    )
    result = run(plan(options), seen)
    names = [f"img_{n:05d}.tiff" if zstep_um is None else f"{100 + 20 * n:04d}.tif" for n in (0, 3, 5)]
    assert sorted(path.name for path in result.output.glob("*.tif*")) == names
    assert result.n_images == 3 and result.summary.endswith("; without 3 frames that are absent or cannot be read")
    assert [line.split(": ", 1)[1] for line in seen.warnings] == [
        "2 frames are absent (1 to 2): no file is written",
        f"1 frame cannot be read (4): no file is written; {tmp_path / '100.dcimg'}: frame 4 is broken",
    ]
    record = next(iter(json.loads((result.output / "destripe.json").read_text())["stacks"].values()))
    assert record["absent_frames"]["frames"] == "1 to 2" and record["unreadable_frames"]["frames"] == "4"


@pytest.mark.parametrize("holed", [{"absent": {0}}, {"broken": {0, 1}}])
def test_a_stack_that_would_begin_later_is_refused_unless_names_are_positions(tmp_path, monkeypatch, holed):
    frames = np.stack([picture()] * 3)
    write_dcimg(tmp_path / "100.dcimg", frames, 3, frames.shape[1:])
    monkeypatch.setattr(jobs, "open_frames", lambda path, **_: Holed(frames, **holed))
    monkeypatch.setattr(stage, "cautions", lambda path: ())
    with pytest.raises(DamagedInputError, match="would begin with another frame"):
        destripe(tmp_path / "100.dcimg", tmp_path / "out", on_error="skip")
    result = destripe(tmp_path / "100.dcimg", tmp_path / "named", on_error="skip", zstep_um=2.0)
    assert result.n_images == 3 - len(next(iter(holed.values())))


def test_only_damaged_files_are_an_error_even_when_skipped(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        (tmp_path / "in" / name).write_bytes(b"nothing")
    with pytest.raises(DamagedInputError, match="none of the images"):
        destripe(tmp_path / "in", on_error="skip")


def test_an_image_of_another_shape_than_the_flat_is_named(tree, tmp_path):
    correction = Correction(flat=np.ones((40, 52), np.float32))
    tifffile.imwrite(tree / "sub" / "b.tiff", picture(0, (52, 40)))
    with pytest.raises(ParameterError, match=r"b\.tiff: the flat field is of 40 x 52"):
        destripe(tree, tmp_path / "out", correction=correction)
    with pytest.raises(ParameterError, match="40 x 52"):
        plan(DestripeOptions(input=tree, correction=correction, rotate=True))


def test_impossible_jobs_are_refused(tree, tmp_path):
    tifffile.imwrite(tree / "x.tif", picture())
    tifffile.imwrite(tree / "x.tiff", picture())
    for options, text in (
        ({"correction": Correction("wavelet")}, "nothing to do"),
        ({"compression": 11}, "`compression`"),
        ({"n_workers": 0}, "workers"),
        ({"zstep_um": 0.0}, "`zstep_um`"),
        ({"on_error": "ignore"}, "`on_error`"),
    ):
        with pytest.raises(ParameterError, match=text):
            destripe(tree, tmp_path / "out", **options)
    with pytest.raises(ParameterError, match=r"\.tif or \.tiff"):
        destripe(tree / "a.tif", tmp_path / "out.png")
    with pytest.raises(ParameterError, match="images are read from"):
        destripe(tree / "notes.txt")
    with pytest.raises(InputMissingError, match="no file or folder"):
        destripe(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissingError, match="holds no"):
        destripe(tmp_path / "empty")
    assert not (tmp_path / "out").exists()


def command(*arguments):
    return CliRunner().invoke(app, ["destripe", *map(str, arguments)])


def test_command_as_the_pipeline_script_calls_it(tree, tmp_path):
    output = tmp_path / "out"
    result = command(
        "--input", tree, "--output", output, "--sigma1", 16, "--sigma2", 64, "--wavelet", "db5", "--crossover", 10,
        "--workers", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    options = WaveletOptions(16, 64, wavelet="db5", crossover=10)
    np.testing.assert_array_equal(tifffile.imread(output / "a.tif"), Correction("wavelet", options).apply(picture()))


def test_command_with_every_option(tree, tmp_path):
    flat = tmp_path / "flat.tiff"
    tifffile.imwrite(flat, np.full((52, 40), 800.0, np.float32))
    result = command(
        "-i", tree / "a.tif", "-o", tmp_path / "o.tif", "-s1", 9, "-s2", 20, "-l", 2, "-w", "haar", "-t", 300,
        "-x", 20, "-c", 3, "-f", flat, "-d", 50, "-n", 1, "--chunks", 4, "-r", "--compat", "--dont-convert-16bit",
        "--on-error", "stop", "--overwrite", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    waves = WaveletOptions(9, 20, 2, "haar", 20, 300, compat=True)
    expected = Correction("wavelet", waves, flat=np.ones((52, 40), np.float32), dark=50).apply(np.rot90(picture()))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), expected)


def test_command_for_the_lightsheet_way(tree, tmp_path):
    result = command(
        "-i", tree / "a.tif", "-o", tmp_path / "o.tif", "--lightsheet", "--artifact-length", 12, "--percentile", 0.3,
        "--background-window-size", 30, "--lightsheet-vs-background", 0.5,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert (
        "--destripe-method lightsheet removes the background, and the dark offset with it, for counting cells" in said
    )
    expected = Correction("lightsheet", lightsheet=LightsheetOptions(12, 30, 0.3, 0.5)).apply(picture())
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), expected)


def test_command_errors_are_one_line_and_an_exit_code(tree):
    result = command("-i", tree, "--sigma1", -4)
    assert result.exit_code == ParameterError.exit_code
    assert "--sigma1 must be 0 or a positive number" in result.stderr
    assert command("-i", tree / "none", "--sigma1", 4).exit_code == InputMissingError.exit_code


def test_a_device_that_fails_is_no_damaged_image(tree, tmp_path, monkeypatch):
    def fail(_, device):
        def run(_):
            raise DeviceError("cuda:0 failed: unspecified launch failure")

        return run

    monkeypatch.setattr(stage, "hosted", fail)
    with pytest.raises(DeviceError, match="launch failure"):
        destripe(tree, tmp_path / "out", on_error="skip")
