"""The command ``resample``, from DICOM and images to volumes that other programs open in the right place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.demo.series.dicom import ORIGIN, Gradient, write_series
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.slices.verdict.stage import JudgeOptions
from gpustitch.slices.volume.stage import ResampleOptions, plan, run
from tests.paths import ROOT
from tests.slices.dicom.scenarios import EXPECTED, oblique_sagittal, scenario

pytestmark = pytest.mark.long

PIXEL = (0.75, 0.5)
TILT = np.radians(20)


def call(*arguments):
    return CliRunner().invoke(app, ["resample", *map(str, arguments)])


def resampled(*arguments):
    """Voxels and affine (x, y, z, LPS) of the NIfTI file that is written."""
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    image = nibabel.load(arguments[1])
    return np.asarray(image.dataobj).T, np.diag([-1, -1, 1, 1]) @ image.affine


def truth(affine, shape):
    z, y, x = np.indices(shape)
    return Gradient()(*np.moveaxis(np.stack([x, y, z, np.ones_like(x)], -1) @ affine[:3].T, -1, 0))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7])
def test_each_scenario_becomes_the_volume_that_was_expected(tmp_path, number):
    scenario(number, tmp_path / "in")
    voxels, affine = resampled(tmp_path / "in", tmp_path / "v.nii")
    told = json.loads((tmp_path / "v.nii.json").read_text())
    wanted = EXPECTED[number]
    assert len(voxels) == wanted.n_output and voxels.dtype == np.int16
    assert told["verdict"]["class"] == wanted.kind and wanted.codes <= set(told["verdict"]["warnings"])
    assert told["voxel_size_mm"] == pytest.approx([wanted.spacing_mm, *PIXEL], rel=1e-3 if number == 1 else 1e-5)
    np.testing.assert_allclose(affine[:3, 3], ORIGIN, atol=0.1 if number == 1 else 1e-4)
    made = np.ones(len(voxels), bool)
    for first, last in told["planes"]["GAP"] + told["planes"]["OUTSIDE"]:
        made[first : last + 1] = False
    # Stored numbers are whole, those between them rounded again; positions of the first are off by a twentieth of a mm.
    off = {1: 1.1, 2: 1.01, 5: 1.01}.get(number, 0.51)
    assert np.abs(voxels - truth(affine, voxels.shape))[made].max() <= off
    assert not voxels[~made].any() and made.any()


def test_a_tilted_gantry(tmp_path):
    scenario(4, tmp_path / "in", shape=(40, 30))
    _, kept = resampled(tmp_path / "in", tmp_path / "kept.nii")
    np.testing.assert_allclose(kept[:3, 2], [0, 0, 5], atol=1e-4)
    voxels, upright = resampled(tmp_path / "in", tmp_path / "upright.nii", "--unshear", "--background", "-2000")
    np.testing.assert_allclose(upright[:3, 2], 5 * np.cos(TILT) * np.array([0, np.sin(TILT), np.cos(TILT)]), atol=1e-4)
    assert voxels.shape[0] == 20 and voxels.shape[2] == 30
    assert voxels.shape[1] == 40 + np.ceil(19 * 5 * np.sin(TILT) / 0.75)
    inside = voxels != -2000
    assert (inside.sum((1, 2)) >= 39 * 30).all()
    # Rounded once when stored, once when moved.
    assert np.abs(voxels - truth(upright, voxels.shape))[inside].max() <= 1.01
    image = SimpleITK.ReadImage(str(tmp_path / "upright.nii"))
    np.testing.assert_allclose(image.GetSpacing(), (0.5, 0.75, 5 * np.cos(TILT)), rtol=1e-5)


@pytest.mark.parametrize("is_oblique", [False, True])
@pytest.mark.parametrize("intercept", [0.0, -1024.0])
def test_simpleitk_reads_the_series_and_the_volume_alike(tmp_path, is_oblique, intercept):
    along, options = oblique_sagittal() if is_oblique else (np.arange(24) * 1.2, {})
    write_series(tmp_path / "in", along, **options, shape=(9, 7), intercept=intercept)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "in")))
    series = reader.Execute()
    assert call(tmp_path / "in", tmp_path / "v.nii.gz").exit_code == 0
    volume = SimpleITK.ReadImage(str(tmp_path / "v.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(volume), SimpleITK.GetArrayFromImage(series))
    np.testing.assert_allclose(volume.GetOrigin(), series.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.GetSpacing(), series.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(volume.GetDirection(), series.GetDirection(), atol=1e-5)
    # By hand: rows of pixels are 0.75 mm apart, columns 0.5, slices 1.2.
    np.testing.assert_allclose(volume.GetOrigin(), ORIGIN, atol=1e-4)
    np.testing.assert_allclose(volume.GetSpacing(), (0.5, 0.75, 1.2), rtol=1e-5)


def test_rescaled_pixels_are_exact_floats(tmp_path):
    write_series(tmp_path / "in", np.delete(np.arange(12), 5) * 2.0, slope=0.5, intercept=-100.25)
    voxels, affine = resampled(tmp_path / "in", tmp_path / "v.nii", "--fill-gaps", "--spacing", 1.5)
    assert voxels.dtype == np.float32
    assert np.abs(voxels - truth(affine, voxels.shape))[:-1].max() <= 0.26
    assert not voxels[-1].any()  # 0.5 mm beyond the last slice


def test_every_option_reaches_the_volume(tmp_path):
    scenario(2, tmp_path / "in")
    result = call(
        tmp_path / "in", tmp_path / "v", "--spacing", 0.8, "--series", 1, "--fill-gaps", "--runs", "--nearest",
        "--background", 7, "--format", "ome-zarr", "--levels", 2, "--chunk-size", "32,16,8", "--compression", 3,
        "--memory", "1M", "--n-workers", 2, "--n-writers", 1, "--device", "cpu", "--overwrite", "--keep-shear",
        "--pixel-spacing", "0.4,0.6", "--tolerance", 0.02, "--split-by", "acquisition", "--quiet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    whole = OmeZarrVolume(tmp_path / "v")
    assert whole.levels == 2 and whole.spacing.zyx_um == pytest.approx((800, 600, 400))
    assert [OmeZarrVolume(tmp_path / f"v_run{k}").shape[0] for k in (1, 2, 3)] == [76, 76, 76]
    told = json.loads((tmp_path / "v" / "gpustitch.json").read_text())
    assert (
        told["parameters"]["runs"] is told["parameters"]["stretches"] is True
        and told["planes"]["FILLED"]
        and not told["planes"]["GAP"]
    )
    assert (tmp_path / "v.planes.csv").exists() and (tmp_path / "v_run3.planes.csv").exists()


def test_a_series_is_chosen(tmp_path):
    scenario(6, tmp_path / "in" / "a")
    scenario(7, tmp_path / "in" / "b")
    result = call(tmp_path / "in", tmp_path / "v.nii")
    assert result.exit_code == 3 and "choose one with --series" in result.output
    assert "scenario 6" in result.output and "scenario 7" in result.output
    sizes = []
    for number in (1, 2):
        voxels, _ = resampled(tmp_path / "in", tmp_path / f"{number}.nii", "--series", number)
        sizes.append(len(voxels))
    assert sorted(sizes) == [20, 24]
    uid = json.loads((tmp_path / "2.nii.json").read_text())["verdict"]["series_uid"]
    voxels, _ = resampled(tmp_path / "in", tmp_path / "3.nii", "--series", uid[-12:])
    assert len(voxels) == sizes[1]
    for wrong in ("3", "9.9.9", "1.2"):
        assert call(tmp_path / "in", tmp_path / "w.nii", "--series", wrong).exit_code == 3


def test_a_series_that_is_no_volume(tmp_path):
    scenario(8, tmp_path / "in")
    result = call(tmp_path / "in", tmp_path / "v.nii")
    assert result.exit_code == 5 and "nothing states the distance of slices" in result.output
    assert "--spacing-z MM" in result.output.replace("\n", " ") and not (tmp_path / "v.nii").exists()
    voxels, affine = resampled(tmp_path / "in", tmp_path / "v.nii", "--spacing-z", 5)
    assert len(voxels) == 10 and abs(affine[2, 2]) == pytest.approx(5)
    voxels, _ = resampled(tmp_path / "in", tmp_path / "w.nii", "--use-thickness")
    assert len(voxels) == 10


@pytest.mark.parametrize("kind", ["tif", "png", "bmp", "jpg", "pages"])
def test_a_folder_of_images_becomes_a_volume(tmp_path, kind):
    planes = np.random.default_rng(0).integers(0, 256, (12, 30, 40)).astype(np.uint8)
    planes = np.asarray(np.cumsum(planes // 64, axis=2), np.uint8)
    (tmp_path / "in").mkdir()
    encode = {"png": imagecodecs.png_encode, "bmp": imagecodecs.bmp_encode, "jpg": imagecodecs.jpeg_encode}
    for k, plane in enumerate(planes):
        if kind == "tif":
            tifffile.imwrite(tmp_path / "in" / f"s{k}.tif", plane)
        elif kind in encode:
            (tmp_path / "in" / f"s{k}.{kind}").write_bytes(encode[kind](plane))
    if kind == "pages":
        tifffile.imwrite(tmp_path / "in" / "s.tif", planes, imagej=True, resolution=(50, 25),
                         metadata={"spacing": 0.06, "unit": "um", "axes": "ZYX"})  # fmt: skip
        result = call(tmp_path / "in", tmp_path / "v.zarr")
        size = (0.06, 0.04, 0.02)
    else:
        result = call(tmp_path / "in", tmp_path / "v.zarr", "--spacing-z", 0.3)
        assert result.exit_code == 3 and "--pixel-spacing" in result.output
        result = call(tmp_path / "in", tmp_path / "v.zarr", "--spacing-z", 0.3, "--pixel-spacing", "0.1,0.2")
        size = (300, 200, 100)
    assert result.exit_code == 0, result.output
    found = open_planes(tmp_path / "v.zarr")
    assert found.spacing.zyx_um == pytest.approx(size)
    np.testing.assert_allclose(found.read(0, 12).astype(int), planes, atol=40 if kind == "jpg" else 0)


def test_the_library_makes_the_same(tmp_path):
    scenario(3, tmp_path / "in")
    asked = {"fill_gaps": True, "stretches": True, "judge": JudgeOptions(slice_spacing_mm=2.0)}
    run(plan(ResampleOptions(tmp_path / "in", tmp_path / "a.nii", **asked)))
    result = call(tmp_path / "in", tmp_path / "b.nii", "--fill-gaps", "--stretches", "--spacing-z", 2)
    assert result.exit_code == 0, result.output
    made = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("a"))
    assert len(made) > 3
    for name in made:
        one, other = (tmp_path / name).read_bytes(), (tmp_path / name.replace("a", "b", 1)).read_bytes()
        if name.endswith(".json"):
            one, other = (json.loads(text) for text in (one, other))
            assert one["parameters"].pop("output") != other["parameters"].pop("output")
        assert one == other, name


def test_bad_parameters_have_their_exit_code(tmp_path):
    scenario(6, tmp_path / "in")
    for more, code in (
        (["--pixel-spacing", "1"], 3),
        (["--pixel-spacing", "0,1"], 3),
        (["--spacing", 0], 3),
        (["--spacing-z", -1], 3),
        (["--format", "minc"], 3),
        (["--split-by", "colour"], 3),
        (["--runs"], 3),
        (["--stretches"], 3),
    ):
        result = call(tmp_path / "in", tmp_path / "v.nii", *more)
        assert result.exit_code == code and "error" in result.output, (more, result.output)
    assert call(tmp_path / "none", tmp_path / "v.nii").exit_code == 4
    assert call(tmp_path / "in", tmp_path / "in").exit_code in (3, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_pixels_that_cannot_be_read_leave_nothing(tmp_path):
    paths = scenario(5, tmp_path / "in", shape=(64, 64))
    paths[17].write_bytes(paths[17].read_bytes()[:-3000])
    result = call(tmp_path / "in", tmp_path / "v.nii.gz")
    assert result.exit_code == 5 and paths[17].name in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    paths[17].unlink()
    voxels, affine = resampled(tmp_path / "in", tmp_path / "v.nii.gz", "--fill-gaps")
    assert np.abs(voxels - truth(affine, voxels.shape)).max() <= 1.01


@pytest.mark.parametrize(("name", "shape"), [("98892001/CT5N", (5, 16, 16)), ("77654033/CT2", (165, 16, 16))])
def test_series_of_a_scanner(tmp_path, name, shape):
    folder = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests" / name
    voxels, affine = resampled(folder, tmp_path / "v.nii")
    assert voxels.shape == shape
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        x, y, z, _ = np.linalg.solve(affine, [*data.ImagePositionPatient, 1])
        assert (x, y) == pytest.approx((0, 0), abs=1e-3) and z == pytest.approx(round(z), abs=1e-3)
        wanted = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        np.testing.assert_array_equal(voxels[round(z)], wanted)


@pytest.mark.posix
@pytest.mark.parametrize("name", ["v.nii.gz", "v.zarr"])
def test_a_terminated_run_leaves_nothing(tmp_path, name):
    write_series(tmp_path / "in", np.arange(40) * 1.0, shape=(128, 128), pixels=lambda x, y, z: 0 * (x + y + z))
    # It comes while slices are read, however busy the machine is.
    program = (
        "import os, signal, sys; import gpustitch.slices.dicom.pixels as d; read, sent = d.DicomPlanes.read, []\n"
        "def terminated(self, start, stop, *rest):\n"
        "    sent or sent.append(os.kill(os.getpid(), signal.SIGTERM)); return read(self, start, stop, *rest)\n"
        "d.DicomPlanes.read = terminated\n"
        "from gpustitch.cli.main import main; sys.argv[0] = 'gpustitch'; main()"
    )
    command = [sys.executable, "-c", program, "resample", str(tmp_path / "in"), str(tmp_path / name)]
    process = subprocess.run(command, capture_output=True, cwd=ROOT)
    assert process.returncode == 143
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
