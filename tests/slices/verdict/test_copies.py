"""Of copies of a slice, the one that is whole is kept."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.dicom import Gradient, write_series
from gpustitch.slices.verdict.stage import JudgeOptions, judge
from tests.slices.slice_headers import codes, text


@pytest.mark.parametrize("name", ["A.dcm", "Z.dcm"])
def test_a_copy_that_was_cut_is_left_out_wherever_it_is(tmp_path, name):
    paths = write_series(tmp_path, np.arange(10) * 2.0)
    (tmp_path / name).write_bytes(paths[4].read_bytes()[:-20])
    (stack,) = judge([tmp_path])
    assert [stack.series.headers[i].path for i in stack.order] == paths
    (copies,) = (note.text for note in stack.notes if note.code == "SAME_INSTANCE")
    assert copies.endswith(f"{name} of IM0005.dcm")


def write_doubled(folder, seed):
    """A series, some slices of which are there twice with different pixels; numbers run on where ``seed`` is odd."""
    rng = np.random.default_rng(seed)
    spacing, n = round(float(rng.uniform(0.5, 5)), 2), int(rng.integers(12, 40))
    twice = np.sort(rng.choice(np.arange(1, n - 1), int(rng.integers(1, 3)), replace=False))
    numbers = np.arange(1, n + 1)
    if seed % 2:  # as if the doubled ones had been acquired at the end
        numbers = np.where(np.isin(np.arange(n), twice), n + 1, numbers - np.searchsorted(twice, np.arange(n)))
    write_series(folder, spacing * np.arange(n), numbers=numbers.tolist())
    other = spacing * twice
    write_series(
        folder, other, names=[f"X{k}.dcm" for k in range(len(twice))], pixels=Gradient((1.0, 2.0, 3.0)),
        numbers=(2 * n + np.arange(len(twice))).tolist(),
        edit=lambda data, k: setattr(data, "SOPInstanceUID", f"1.9.{k}"),
    )  # fmt: skip
    return spacing, n, twice


@pytest.mark.parametrize("seed", range(6))
def test_a_doubled_slice_is_kept_or_left_out_as_asked(tmp_path, seed):
    spacing, n, twice = write_doubled(tmp_path, seed)
    (stack,) = judge([tmp_path])
    assert not stack.is_usable and "`keep` first or last) or none" in stack.advice
    for keep, is_other in (("first", False), ("last", True)):
        (stack,) = judge([tmp_path], JudgeOptions(keep=keep))
        assert (stack.fit.spacing_class, len(stack.order), stack.is_usable) == ("UNIFORM", n, True)
        assert codes(stack) <= {"SLICES_DROPPED", "FILE_ORDER"} and f"the {keep} was kept" in text(
            stack, "SLICES_DROPPED"
        )
        names = {stack.series.headers[i].path.name[0] for i in stack.order[twice]}
        assert names == ({"X"} if is_other else {"I"})
    (stack,) = judge([tmp_path], JudgeOptions(keep="none"))
    assert (stack.fit.spacing_class, len(stack.order), stack.fit.n_output) == ("MISSING", n - len(twice), n)
    assert stack.spacing_mm[0] == pytest.approx(spacing) and stack.is_usable
    assert not codes(stack) & {"NEVER_ACQUIRED", "FILES_LOST"} and "all of them were left out" in text(
        stack, "SLICES_DROPPED"
    )


@pytest.mark.parametrize("n_different", [0, 1])
def test_a_series_that_is_there_twice_is_one_volume_if_all_pixels_are_equal(tmp_path, n_different):
    def other(data, k):
        data.SOPInstanceUID = f"1.9.{k}"
        if 5 <= k < 5 + n_different:
            data.PixelData = bytes(len(data.PixelData))

    names = [f"X{k}.dcm" for k in range(10)]
    write_series(tmp_path, 2.0 * np.arange(10))
    write_series(tmp_path, 2.0 * np.arange(10), names=names, edit=other)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, len(stack.order), stack.is_usable) == ("UNIFORM", 10, True)
    assert codes(stack) == ({"MULTI_VOLUME"} if n_different else {"SAME_SLICE"})
    assert {stack.series.headers[i].path.name[0] for i in stack.order} == {"I"}


@pytest.mark.parametrize(
    ("along_mm", "said"),
    [
        ([3.0] * 4, "all 4 slices are at one place and differ: a series in time"),
        ([0.0, 0.0, 2.0, 2.0, 4.0, 4.0], "2 different slices at each of 3 places: 2 volumes in one series"),
    ],
)
def test_a_series_in_time_at_one_place_is_not_called_several_volumes(tmp_path, along_mm, said):
    def differ(data, k):
        data.PixelData = bytes([k + 1]) * len(data.PixelData)

    write_series(tmp_path, along_mm, edit=differ)
    (stack,) = judge([tmp_path])
    assert text(stack, "MULTI_VOLUME").startswith(said)
