"""A folder of a whole study: what lies beside the volume is listed, and spoils neither exit code nor volume."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from tests.e2e.commands import fail, run, succeed
from tests.slices.study_folders import BESIDE, write_capture, write_scout, write_volume


def verdict(*arguments):
    """Exit code of ``spacing`` and its JSON."""
    result = run("spacing", *arguments, "--json", "--quiet")
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize(("seed", "what"), list(enumerate(BESIDE)))
def test_what_lies_beside_a_volume_does_not_count(tmp_path, seed, what):
    n_series, write = BESIDE[what]
    spacing_mm = write_volume(tmp_path / "in/ct", np.random.default_rng(seed))
    write(tmp_path / "in/beside")
    code, found = verdict(tmp_path / "in")
    (volume,) = [one for one in found if not one["role"]]
    beside = [one for one in found if one["role"]]
    assert code == 0 and volume["spacing_mm"][0] == pytest.approx(spacing_mm) and not volume["warnings"]
    assert len(beside) >= n_series and all(one["role"] in ("localizer", "secondary capture") for one in beside)
    succeed("resample", tmp_path / "in", tmp_path / "v.nii")
    assert nibabel.load(tmp_path / "v.nii").shape[2] == volume["n_slices"]


def test_all_of_it_in_one_folder_is_listed_below_the_verdict(tmp_path):
    write_volume(tmp_path / "in/ct", np.random.default_rng(0))
    for name, (_, write) in BESIDE.items():
        write(tmp_path / "in" / name)
    said = succeed("spacing", tmp_path / "in")
    assert said.count("spacing   z") == 1 and "Nothing to stack" not in said
    assert "scout of 1 (series 1): localizer, 1 slice\n" in said
    assert "dose of 4 (series 1): secondary capture, 4 slices\n" in said
    succeed("resample", tmp_path / "in", tmp_path / "v.nii")


@pytest.mark.parametrize("seed", range(5))
def test_warnings_and_other_unusable_series_count(tmp_path, seed):
    rng = np.random.default_rng(seed)
    write_volume(tmp_path / "in/ct", rng)
    write_scout(tmp_path / "in/scout", int(rng.integers(1, 4)))
    write_volume(tmp_path / "in/unknown", rng, origin_mm=None)
    code, found = verdict(tmp_path / "in")
    assert code == 21 and [one["usable"] for one in found if not one["role"]].count(True) <= 1
    write_capture(tmp_path / "alone", int(rng.integers(1, 5)))
    code, found = verdict(tmp_path / "alone")
    assert code == 22 and not any(one["usable"] for one in found)
    fail(22, "spacing", tmp_path / "alone")
    fail(5, "resample", tmp_path / "alone", tmp_path / "v.nii")
