"""Series of one study: slices with a series each, and series that begin late."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from pydicom.uid import generate_uid

from gpustitch.demo.series.dicom import write_series
from gpustitch.errors import ParameterError
from gpustitch.slices.verdict.stage import JudgeOptions, judge
from gpustitch.slices.volume.choice import chosen_stack
from tests.e2e.commands import fail, run, succeed
from tests.slices.slice_headers import codes, text


def verdict(*arguments):
    """Exit code of ``spacing`` and its JSON."""
    result = run("spacing", *arguments, "--json", "--quiet")
    return result.exit_code, json.loads(result.stdout)


def write_scattered(folder, seed, *, odd=None):
    """Slices with a SeriesInstanceUID each; ``odd`` changes every third data set. Their number and distance."""
    rng = np.random.default_rng(seed)
    n, spacing_mm = int(rng.integers(6, 12)), round(float(rng.uniform(0.3, 7)), 3)

    def edit(data, k):
        data.SeriesInstanceUID, data.SeriesNumber = generate_uid(entropy_srcs=[str(seed), str(k)]), k + 1
        if odd is not None and k % 3 == 0:
            odd(data)

    write_series(folder, np.arange(n) * spacing_mm, edit=edit, numbers=[1] * n if seed % 2 else None)
    return n, spacing_mm


@pytest.mark.parametrize("seed", range(6))
def test_slices_with_a_series_each_are_merged(tmp_path, seed):
    n, spacing_mm = write_scattered(tmp_path / "in", seed)
    code, found = verdict(tmp_path / "in")
    assert (code, len(found)) == (22, n)
    assert all(f"{n} series" in one["messages"][0]["text"] and "--merge" in one["advice"] for one in found)
    assert "--merge" in fail(3, "resample", tmp_path / "in", tmp_path / "v.nii")
    code, (found,) = verdict(tmp_path / "in", "--merge")
    assert (code, found["class"], found["series_uid"]) == (21, "UNIFORM", None)
    assert found["spacing_mm"][0] == pytest.approx(spacing_mm) and "SERIES_MERGED" in found["warnings"]
    succeed("resample", tmp_path / "in", tmp_path / "v.nii", "--merge")
    assert nibabel.load(tmp_path / "v.nii").shape[2] == n


ODD = {
    "frame of reference": lambda data: setattr(data, "FrameOfReferenceUID", "1.2.3"),
    "study": lambda data: setattr(data, "StudyInstanceUID", "1.2.3"),
    "pixel spacing": lambda data: setattr(data, "PixelSpacing", ["0.7", "0.5"]),
    "orientation": lambda data: setattr(data, "ImageOrientationPatient", ["0", "1", "0", "0", "0", "-1"]),
    "modality": lambda data: setattr(data, "Modality", "MR"),
}


@pytest.mark.parametrize(("seed", "what"), list(enumerate(ODD)))
def test_what_differs_in_anything_else_is_not_merged(tmp_path, seed, what):
    n, _ = write_scattered(tmp_path, seed, odd=ODD[what])
    found = judge([tmp_path], JudgeOptions(merge=True))
    assert sorted(len(stack.series.headers) for stack in found) == [-(-n // 3), n - -(-n // 3)]


def test_few_single_slices_are_left_alone(tmp_path):
    for k in range(2):
        write_series(tmp_path / str(k), [0.0], series=str(k))
    found = judge([tmp_path])
    assert [codes(stack) for stack in found] == [{"SINGLE_SLICE"}] * 2
    with pytest.raises(ParameterError, match="2 series were found"):
        chosen_stack(found, None)


@pytest.mark.parametrize("seed", range(6))
def test_a_series_that_begins_late_may_have_lost_its_first_files(tmp_path, seed):
    rng = np.random.default_rng(seed)
    n, lost = int(rng.integers(6, 12)), int(rng.integers(1, 5))
    write_series(tmp_path / "whole", np.arange(n) * 1.5, series="whole")
    numbers = range(lost + 1, n + 1)
    write_series(tmp_path / "cut", np.arange(lost, n) * 1.5, series="cut", numbers=numbers)
    whole, cut = sorted(judge([tmp_path]), key=lambda stack: stack.series.name, reverse=True)
    assert codes(whole) == set() and codes(cut) == {"FIRST_FILES_LOST"}
    assert f"begins at {lost + 1}" in text(cut, "FIRST_FILES_LOST") and f"{lost} file" in text(cut, "FIRST_FILES_LOST")
    (alone,) = judge([tmp_path / "cut"])
    assert codes(alone) == set()


@pytest.mark.parametrize(("n", "lost"), [(2, 10), (2, 11), (4, 10), (12, 12), (12, 13)])
def test_as_many_files_are_lost_at_most_as_are_left_or_ten(tmp_path, n, lost):
    """Numbers that begin further above 1 count something else."""
    write_series(tmp_path / "whole", np.arange(6) * 1.5, series="whole")
    write_series(tmp_path / "cut", np.arange(n) * 1.5, series="cut", numbers=range(lost + 1, lost + n + 1))
    (cut,) = (stack for stack in judge([tmp_path]) if len(stack.series.headers) == n)
    assert ("FIRST_FILES_LOST" in codes(cut)) == (lost <= max(n, 10))


@pytest.mark.parametrize("begin", [0, 1, 7, 101, 1001])
def test_numbers_that_go_on_or_begin_elsewhere_have_lost_nothing(tmp_path, begin):
    write_series(tmp_path / "a", np.arange(6) * 1.5, series="a")
    write_series(tmp_path / "b", np.arange(6) * 1.5, series="b", numbers=range(begin, begin + 6))
    assert [codes(stack) for stack in judge([tmp_path])] == [set(), set()]
