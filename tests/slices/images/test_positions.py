"""Positions of planes in OME descriptions: they count as positions of DICOM do."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from gpustitch.slices.images.positions import plane_positions
from gpustitch.slices.verdict.stage import judge
from gpustitch.slices.volume.stage import ResampleOptions, plan, run
from tests.slices.images.ome_positions import UNITS, drawn, write_ome, write_ome_set
from tests.slices.slice_headers import codes, text


@pytest.mark.parametrize("seed", range(12))
def test_positions_say_the_distance_and_contradictions_are_told(tmp_path, seed):
    true = drawn(seed)
    write_ome(tmp_path / "a.ome.tif", true.at_mm, true.size_mm, unit=list(UNITS)[seed % 3])
    (stack,) = judge([tmp_path])
    assert stack.fit.spacing_class == "UNIFORM" and stack.fit.n_output == len(true.at_mm)
    assert abs(stack.spacing_mm[0] - true.spacing_mm) <= stack.uncertainty_mm[0] + 1e-12
    assert stack.order.tolist() == list(range(len(true.at_mm)))
    is_wrong = true.size_mm is not None and true.size_mm != true.spacing_mm
    assert ("SPACING_TAG_MISMATCH" in codes(stack)) == is_wrong
    assert not is_wrong or "PhysicalSizeZ says" in text(stack, "SPACING_TAG_MISMATCH")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_lost", [1, 9])
def test_a_step_that_is_lost_is_a_hole(tmp_path, seed, n_lost):
    true = drawn(seed, size="right", n_lost=n_lost)
    voxels = write_ome(tmp_path / "a.ome.tif", true.at_mm, true.size_mm)
    (stack,) = judge([tmp_path])
    assert stack.fit.spacing_class == ("MISSING" if n_lost < 5 else "RUNS_WITH_GAPS")
    assert stack.spacing_mm[0] == pytest.approx(true.spacing_mm, abs=1e-9)
    (path, *_) = run(plan(ResampleOptions((tmp_path,), tmp_path / "v.nii")))
    made = np.asarray(nibabel.load(path).dataobj).T
    steps = np.rint((true.at_mm - true.at_mm[0]) / (true.at_mm[-1] - true.at_mm[0]) * (len(made) - 1)).astype(int)
    assert len(made) == len(true.at_mm) + n_lost
    np.testing.assert_array_equal(made[steps], voxels)
    assert not np.delete(made, steps, axis=0).any()


@pytest.mark.parametrize("seed", range(6))
def test_positions_that_say_nothing_leave_the_stated_size(tmp_path, seed):
    true = drawn(seed, size="right")
    at, unit = (true.at_mm, None) if seed % 2 else (np.full(len(true.at_mm), true.at_mm[0]), "µm")
    write_ome(tmp_path / "a.ome.tif", at, true.size_mm * 3, unit=unit)
    (stack,) = judge([tmp_path])
    assert stack.spacing_mm[0] == pytest.approx(3 * true.size_mm) and not codes(stack)
    assert all(header.position_mm is None for header in stack.series.headers)


@pytest.mark.parametrize("seed", range(6))
def test_a_stage_that_trembles_on_the_spot_does_not_place_planes(tmp_path, seed):
    size = 10 ** np.random.default_rng(seed).uniform(-4, -2)
    at = 3 + size * np.random.default_rng(seed).uniform(-0.2, 0.2, 12)
    write_ome(tmp_path / "a.ome.tif", at, size)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, codes(stack)) == ("UNIFORM", {"SPACING_TAG_MISMATCH"})
    assert stack.spacing_mm[0] == pytest.approx(size)


@pytest.mark.parametrize("seed", range(5))
def test_each_channel_has_the_positions_of_its_planes(tmp_path, seed):
    true = drawn(seed, n_lost=1)
    write_ome(tmp_path / "a.ome.tif", true.at_mm, true.size_mm, channels=3)
    stacks = judge([tmp_path])
    assert [stack.fit.spacing_class for stack in stacks] == ["MISSING"] * 3
    assert [stack.spacing_mm[0] for stack in stacks] == pytest.approx([true.spacing_mm] * 3)


@pytest.mark.parametrize("seed", range(5))
def test_single_planes_with_descriptions_of_their_own_are_where_these_say(tmp_path, seed):
    true = drawn(seed, n_lost=1)
    for k, z in enumerate(true.at_mm):
        write_ome(tmp_path / f"z{k:03}.ome.tif", np.array([z]), true.size_mm)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, stack.fit.n_output) == ("MISSING", len(true.at_mm) + 1)
    assert stack.spacing_mm[0] == pytest.approx(true.spacing_mm)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_set_of_files_is_where_its_description_says(tmp_path, seed, is_lost):
    true = drawn(seed, size="right")
    write_ome_set(tmp_path, true.at_mm, 2 * true.spacing_mm, without=4 if is_lost else None)
    (stack,) = judge([tmp_path])
    assert stack.fit.spacing_class == ("MISSING" if is_lost else "UNIFORM")
    assert (stack.fit.n_output, len(stack.order)) == (len(true.at_mm), len(true.at_mm) - is_lost)
    assert stack.spacing_mm[0] == pytest.approx(true.spacing_mm, rel=1e-4)
    assert "SPACING_TAG_MISMATCH" in codes(stack) and ("FILES_LOST" in codes(stack)) == is_lost


def test_positions_of_some_planes_are_told_and_not_used():
    found, notes = plane_positions("a", [(1.0, 0.1), None, (3.0, 0.1)], 1.0)
    assert not found and "2 of 3 planes" in notes[0].text
    assert plane_positions("a", [(1.0, 0.1), None, (1.0, 0.1)], 1.0) == ([], [])


def test_uneven_positions_name_the_stated_size(tmp_path):
    at = np.cumsum(1e-3 * np.random.default_rng(0).uniform(0.4, 2.2, 20))
    write_ome(tmp_path / "a.ome.tif", at, 1e-3)
    (stack,) = judge([tmp_path])
    assert stack.fit.spacing_class == "IRREGULAR" and "PhysicalSizeZ says 0.001 mm" in text(stack, "IRREGULAR_SPACING")
