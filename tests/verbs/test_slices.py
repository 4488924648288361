"""Series of slices as calls: verdicts, and volumes in memory."""

from __future__ import annotations

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.errors import GpustitchWarning, ParameterError
from gpustitch.slices.volume import stage
from gpustitch.slices.volume.stage import ResampleOptions
from tests.slices.dicom.scenarios import scenario


@pytest.fixture
def folder(tmp_path):
    scenario(3, tmp_path / "CT")
    return tmp_path / "CT"


def test_judge_is_the_stage(folder):
    (found,) = gs.judge(folder)
    assert found.is_usable
    assert found.spacing_mm[0] > 0
    with pytest.raises(TypeError):
        gs.judge(folder, no_such_option=1)


def test_resample_slices_is_the_volume_that_is_written(folder, tmp_path):
    with pytest.warns(GpustitchWarning):
        found = gs.resample_slices(folder)
    paths = stage.run(stage.plan(ResampleOptions(folder, tmp_path / "v.zarr")))
    written = gs.open_volume(paths[0])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(written))
    np.testing.assert_allclose(found.spacing_um, written.spacing_um)
    assert found.affine_lps_mm is not None
    with pytest.warns(GpustitchWarning):
        filled = gs.resample_slices(gs.judge(folder)[0], fill_gaps=True)
    assert (np.asarray(filled) != np.asarray(found)).any()
    with pytest.raises(ParameterError, match="spacing_mm"):
        gs.resample_slices(folder, spacing_mm=-1.0)


def test_resample_slices_writes_with_its_matrix(folder, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    with pytest.warns(GpustitchWarning):
        found = gs.resample_slices(folder)
    image = nibabel.load(gs.write(tmp_path / "v.nii", found))
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(image.affine, lps_to_ras @ found.affine_lps_mm, atol=1e-4)


@pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")
@pytest.mark.parametrize("number", [3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_resample_slices_does_what_the_stage_does(number, seed, tmp_path):
    """Any options: the same voxels, sizes and matrices as the files have."""
    rng = np.random.default_rng(10 * number + seed)
    scenario(number, tmp_path / "CT", shape=(12, 14))
    options = {
        "spacing_mm": None if rng.random() < 0.5 else float(rng.uniform(1, 4)),
        "unshear": bool(rng.integers(2)) or number == 4,
        "nearest": bool(rng.integers(2)),
        "fill_gaps": bool(rng.integers(2)),
        "background": float(rng.integers(0, 50)),
        "stretches": number == 5,
        "pixel_spacing_mm": None if rng.random() < 0.5 else tuple(rng.uniform(0.2, 2, 2).tolist()),
    }
    found = gs.resample_slices(tmp_path / "CT", **options)
    written = stage.run(stage.plan(ResampleOptions(tmp_path / "CT", tmp_path / "v.nii", **options)))
    assert len(written) == 1 + len(found.stretches)
    for volume, path in zip((found, *found.stretches), written, strict=True):
        expected = gs.open_volume(path)
        np.testing.assert_array_equal(np.asarray(volume), np.asarray(expected))
        np.testing.assert_allclose(volume.affine_lps_mm, expected.affine_lps_mm, atol=1e-4)
        np.testing.assert_allclose(volume.origin_um, expected.origin_um, atol=1e-1)
        if not (number == 4 and not options["unshear"]):
            np.testing.assert_allclose(volume.spacing_um, expected.spacing_um, rtol=1e-5)


def test_resample_slices_of_a_judged_series_takes_nothing_about_paths(folder):
    (stack,) = gs.judge(folder)
    for given in ({"series": "1"}, {"tolerance": 0.1}):
        with pytest.raises(ParameterError, match="judged"):
            gs.resample_slices(stack, **given)


@pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")
def test_a_volume_of_slices_goes_from_nifti_to_nifti_with_its_matrix(tmp_path):
    scenario(7, tmp_path / "MR", shape=(12, 14))
    first = gs.open_volume(gs.write(tmp_path / "a.nii", gs.resample_slices(tmp_path / "MR")))
    second = gs.open_volume(gs.write(tmp_path / "b.nii.gz", first))
    np.testing.assert_allclose(second.affine_lps_mm, first.affine_lps_mm, rtol=1e-6, atol=1e-6)
    with pytest.raises(ParameterError, match="matrix"):
        gs.write(tmp_path / "c.nii", first, spacing_um=(1, 2, 3))
    assert gs.open_volume(gs.write(tmp_path / "d.zarr", first)).origin_um == pytest.approx(first.origin_um, abs=1e-3)
