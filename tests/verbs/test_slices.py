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
    with pytest.raises(ParameterError, match="spacing_mm"), pytest.warns(GpustitchWarning):
        gs.resample_slices(folder, spacing_mm=-1.0)


def test_resample_slices_writes_with_its_matrix(folder, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    with pytest.warns(GpustitchWarning):
        found = gs.resample_slices(folder)
    image = nibabel.load(gs.write(tmp_path / "v.nii", found))
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(image.affine, lps_to_ras @ found.affine_lps_mm, atol=1e-4)
