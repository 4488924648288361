"""Series of several volumes: which tag tells them apart is found out and said."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.dicom import Gradient, write_series
from gpustitch.slices.verdict.stage import JudgeOptions, judge


def write_volumes(folder, n, edit, *, names="v{v}_{k}", numbers=True):
    """``n`` volumes of 8 slices in one series."""
    for v in range(n):
        write_series(
            folder, np.arange(8) * 2.0, pixels=Gradient((v + 1.0, 1.0, 1.0)),
            names=[names.format(v=v, k=k) for k in range(8)],
            numbers=[8 * v + k if numbers else k for k in range(8)],
            edit=lambda data, k, v=v: edit(data, k, v),
        )  # fmt: skip


def tagged(keyword, values):
    def edit(data, k, v):
        data.SOPInstanceUID = f"1.2.{v}.{k}"
        setattr(data, keyword, values[v])

    return edit


@pytest.mark.parametrize(
    ("keyword", "values", "name"),
    [
        ("DiffusionBValue", [0.0, 500.0, 1000.0], "b-value"),
        ("TriggerTime", ["0", "40", "80"], "time"),
        ("AcquisitionNumber", [1, 2, 3], "acquisition"),
    ],
)
def test_the_tag_that_tells_volumes_apart_is_named(tmp_path, keyword, values, name):
    write_volumes(tmp_path, 3, tagged(keyword, values))
    (stack,) = judge([tmp_path])
    (note,) = stack.notes
    assert note.code == "MULTI_VOLUME" and f"first was taken (`split_by` {name} tells" in note.text
    assert stack.advice == f"Tell the volumes apart (`split_by` {name}) and use 2 mm for all slices."
    assert not any(one.notes for one in judge([tmp_path], JudgeOptions(split_by=(name,))))


def test_a_volume_that_lacks_a_slice_is_told_apart_too(tmp_path):
    write_volumes(tmp_path, 3, tagged("EchoTime", ["2", "4", "6"]))
    (tmp_path / "v2_3").unlink()
    (stack,) = judge([tmp_path])
    assert [note.code for note in stack.notes] == ["MULTI_VOLUME"] and len(stack.order) == 8
    assert stack.advice == "Tell the volumes apart (`split_by` echo) and use 2 mm for all slices."


def test_nothing_is_promised_where_no_tag_helps(tmp_path):
    def edit(data, k, v):
        tagged("SeriesDescription", ["a", "b"])(data, k, v)
        data.TriggerTime = str(10 * k + v)

    write_volumes(tmp_path, 2, edit, numbers=False, names="{k}_{v}")
    (stack,) = judge([tmp_path])
    (note,) = stack.notes
    assert "perhaps of several volumes (no tag tells them apart)" in note.text
    assert stack.advice == "No tag tells the volumes apart: use 2 mm for all slices."


@pytest.mark.parametrize(("shift", "name"), [(0.0, "volume"), (0.02, "volume"), (15.3, "pass")])
def test_volumes_that_no_tag_tells_apart_are_split_by_places_and_numbers(tmp_path, shift, name):
    for v in range(3):
        write_series(
            tmp_path, np.arange(12) * 2.0 + shift * v, pixels=Gradient((v + 1.0, 1.0, 1.0)),
            names=[f"v{v}_{k}" for k in range(12)], numbers=[12 * v + k + 1 for k in range(12)],
            edit=lambda data, k, v=v: setattr(data, "SOPInstanceUID", f"1.2.{v}.{k}"),
        )  # fmt: skip
    (stack,) = judge([tmp_path])
    assert stack.advice.startswith(f"Tell the volumes apart (`split_by` {name})")
    parts = judge([tmp_path], JudgeOptions(split_by=(name,)))
    assert [(one.fit.spacing_class, len(one.order), one.notes) for one in parts] == [("UNIFORM", 12, ())] * 3
    assert [one.series.key[name] for one in parts] == ["1", "2", "3"]
    assert [one.series.headers[0].number for one in parts] == [1, 13, 25]


def test_what_the_series_is_split_by_already_is_named_too(tmp_path):
    def edit(data, k, v):
        tagged("EchoTime", ["2", "2", "4", "4"])(data, k, v)

    write_volumes(tmp_path, 4, edit)
    for stack in judge([tmp_path], JudgeOptions(split_by=("echo",))):
        assert "(`split_by` echo,volume)" in stack.advice
    assert len(judge([tmp_path], JudgeOptions(split_by=("echo", "volume")))) == 4
