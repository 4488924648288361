"""Several volumes of one series in a NIfTI file."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from gpustitch.demo.series.dicom import save, write_series
from tests.e2e.commands import fail, run, succeed

SETTERS = {
    "time": lambda data, t: setattr(data, "TemporalPositionIdentifier", t + 1),
    "echo": lambda data, t: setattr(data, "EchoTime", f"{4.5 * (t + 1):g}"),
    "acquisition": lambda data, t: setattr(data, "AcquisitionNumber", t + 1),
    "b-value": lambda data, t: setattr(data, "DiffusionBValue", 500.0 * t),
    "gradient": lambda data, t: setattr(data, "DiffusionGradientOrientation", [0.6, 0.8, -0.1 * t]),
    "volume": lambda data, t: None,
}


def write_volumes(folder, seed, split, edit=None, n_volumes=None, **options):
    """Volumes of one series at the same places, in mixed order; values (time, slice, row, column), distance."""
    rng = np.random.default_rng(seed)
    n = n_volumes or int(rng.integers(3, 7))
    n_slices, shape = int(rng.integers(4, 7)), tuple(int(v) for v in rng.integers(4, 9, 2))
    spacing_mm = round(float(rng.uniform(0.5, 6)), 2)
    values = rng.integers(0, 4000, (n, n_slices, *shape), np.uint16)
    for t in rng.permutation(n).tolist():

        def change(data, k, t=t):
            data.PixelData, data.InstanceNumber = values[t, k].tobytes(), t * n_slices + k + 1
            data.SOPInstanceUID = f"1.2.{t + 1}.{k + 1}"
            data.RepetitionTime = "2000"
            SETTERS[split](data, t)
            if edit is not None:
                edit(data, t, k)

        along = np.arange(n_slices) * spacing_mm
        names = [f"{rng.integers(1 << 30):010d}_{t}_{k}.dcm" for k in range(n_slices)]
        write_series(folder, along, shape=shape, dtype="uint16", edit=change, names=names, **options)
    return values, spacing_mm


def clock(seconds):
    """A time of day as DICOM writes it."""
    return f"{int(seconds // 3600):02d}{int(seconds // 60 % 60):02d}{seconds % 60:09.6f}"


@pytest.mark.parametrize(("seed", "split"), [(k, list(SETTERS)[k % 6]) for k in range(9)])
def test_all_volumes_go_into_one_file(tmp_path, seed, split):
    values, spacing_mm = write_volumes(tmp_path / "in", seed, split)
    target = tmp_path / ("f.nii", "f.nii.gz")[seed % 2]
    said = succeed("resample", tmp_path / "in", target, "--split-by", split)
    assert f"{len(values)} volumes like it in one file" in said
    image = nibabel.load(target)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, values)
    assert image.header.get_zooms()[2] == pytest.approx(spacing_mm)
    told = json.loads(Path(f"{target}.json").read_text())
    assert len(told["volumes"]) == len(values)
    files = [volume["slices"][0]["file"] for volume in told["volumes"]]
    assert [int(Path(file).stem.split("_")[1]) for file in files] == list(range(len(values)))


@pytest.mark.parametrize("seed", range(5))
def test_the_step_is_that_of_the_acquisition_times(tmp_path, seed):
    rng = np.random.default_rng(seed)
    step, begin = round(float(rng.uniform(0.3, 40)), 3), float(rng.uniform(0, 50000))

    def edit(data, t, k):
        data.AcquisitionTime = clock(begin + t * step + 0.01 * k)

    write_volumes(tmp_path / "in", seed, "time", edit)
    said = succeed("resample", tmp_path / "in", tmp_path / "f.nii", "--split-by", "time")
    assert "(AcquisitionTime)" in said
    header = nibabel.load(tmp_path / "f.nii").header
    assert header.get_zooms()[3] == pytest.approx(step, rel=1e-5) and header.get_xyzt_units() == ("mm", "sec")


def _echo_planar(data, *_):
    data.ScanningSequence = "EP"


def _resolution(data, *_):
    data.TemporalResolution = "1500"


def _uneven(data, t, _):
    data.ScanningSequence, data.AcquisitionTime = "EP", clock(36000 + t * t)


@pytest.mark.parametrize(
    ("edit", "split", "step"),
    [
        (_echo_planar, "time", 2.0),
        (_resolution, "time", 1.5),
        (_uneven, "time", 0.0),
        (None, "time", 0.0),
        (_echo_planar, "echo", 0.0),
    ],
)
def test_a_step_that_is_not_known_is_not_stated(tmp_path, edit, split, step):
    write_volumes(tmp_path / "in", 3, split, edit)
    succeed("resample", tmp_path / "in", tmp_path / "f.nii", "--split-by", split)
    header = nibabel.load(tmp_path / "f.nii").header
    assert header.get_zooms()[3] == step and header.get_xyzt_units()[1] == ("sec" if step else "unknown")


@pytest.mark.parametrize("seed", range(4))
def test_one_of_the_volumes_other_grids_and_other_formats(tmp_path, seed):
    values, _ = write_volumes(tmp_path / "in", seed, "time")
    t = seed % len(values)
    split = ("--split-by", "time")
    listed = json.loads(run("spacing", tmp_path / "in", *split, "--json", "--quiet").stdout)
    number = 1 + [one["key"]["time"] for one in listed].index(str(t + 1))
    succeed("resample", tmp_path / "in", tmp_path / "one.nii", *split, "--series", number)
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "one.nii").dataobj).T, values[t])
    assert "choose one" in fail(3, "resample", tmp_path / "in", tmp_path / "v.zarr", *split)
    fail(3, "resample", tmp_path / "in", tmp_path / "v.nii", *split, "--stretches")
    for path in (tmp_path / "in").glob(f"*_{t}_*.dcm"):
        data = pydicom.dcmread(path)
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, z + 0.1]
        save(data, path)
    assert "places" in fail(3, "resample", tmp_path / "in", tmp_path / "v.nii", *split)
    for path in list((tmp_path / "in").glob(f"*_{t}_0.dcm")):
        path.unlink()
    assert "voxels, not" in fail(3, "resample", tmp_path / "in", tmp_path / "v.nii", *split)
    assert not (tmp_path / "v.nii").exists()


def test_a_missing_slice_of_one_volume_is_background_there(tmp_path):
    values, _ = write_volumes(tmp_path / "in", 6, "time")
    (path,) = (tmp_path / "in").glob("*_1_1.dcm")
    path.unlink()
    said = succeed("resample", tmp_path / "in", tmp_path / "f.nii", "--split-by", "time")
    assert f"1 of {values.shape[0] * values.shape[1]} planes are background" in said
    values[1, 1] = 0
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "f.nii").dataobj).T, values)


def test_volumes_of_several_types(tmp_path):
    def edit(data, t, _):
        data.RescaleIntercept = str(-10 * t)

    values, _ = write_volumes(tmp_path / "in", 1, "time", edit)
    succeed("resample", tmp_path / "in", tmp_path / "f.nii", "--split-by", "time")
    made = np.asarray(nibabel.load(tmp_path / "f.nii").dataobj).T
    np.testing.assert_array_equal(made, values - 10.0 * np.arange(len(values))[:, None, None, None])


def test_the_plan_tells_all_volumes(tmp_path):
    values, _ = write_volumes(tmp_path / "in", 2, "time")
    said = succeed("resample", tmp_path / "in", tmp_path / "f.nii", "--split-by", "time", "--dry-run")
    n, n_slices, rows, columns = values.shape
    assert f"{n * n_slices} slices of {rows} x {columns}" in said
    assert f"level 0: {n * n_slices} x {rows} x {columns} voxels" in said and not (tmp_path / "f.nii").exists()
