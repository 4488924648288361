"""Series that no volume can be made of, or only with a distance of planes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import DamagedInputError
from gpustitch.slices.verdict.judge import judge_series
from gpustitch.slices.volume.choice import check_usable
from gpustitch.slices.volume.stage import ResampleOptions, plan, run
from tests.slices.slice_headers import series_of


@pytest.mark.parametrize("seed", range(3))
def test_a_series_too_uneven_needs_the_distance_of_planes(tmp_path, seed):
    rng = np.random.default_rng(seed)
    gaps = np.concatenate([0.01 * rng.uniform(0.5, 1.5, 30), 5 * rng.uniform(0.5, 1.5, 12)])
    along = np.cumsum(rng.permutation(gaps))
    write_series(tmp_path / "in", along, decimals=4, dtype="uint16")
    with pytest.raises(DamagedInputError, match="`spacing_mm`"):
        plan(ResampleOptions(tmp_path / "in", tmp_path / "v.nii"))
    run(plan(ResampleOptions(tmp_path / "in", tmp_path / "v.nii", spacing_mm=2.0, fill_gaps=True)))
    image = nibabel.load(tmp_path / "v.nii")
    assert image.header.get_zooms()[2] == 2.0 and image.shape[2] == np.ceil(np.ptp(along) / 2 - 1e-6) + 1


def test_volumes_that_differ_are_not_mixed_whatever_the_distance_of_planes():
    stack = judge_series(series_of(np.concatenate([2.0 * np.arange(20), 29.0 + 2.0 * np.arange(24)])))
    for spacing in (None, 2.0):
        with pytest.raises(DamagedInputError, match="`split_by` pass"):
            check_usable(stack, None, spacing)
