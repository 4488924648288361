"""Stacks by the numbers in the names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpustitch.io.image_names import holes_text, number_step, numbered, stacks_of_names


def paths(*names):
    return [Path("f", name) for name in names]


def stacks(*names):
    return [[path.name for path in stack] for stack in stacks_of_names(paths(*names))]


def test_a_stack_differs_in_one_number():
    names = [f"tooth12_rec{n}.tif" for n in range(8, 12)]
    assert stacks(*names, "other_1.tif", "tooth12_rec12.png") == [names, ["other_1.tif"], ["tooth12_rec12.png"]]
    assert numbered(paths(*names)) == [8, 9, 10, 11]


def test_tif_and_tiff_are_one_and_folders_are_not():
    assert stacks("a1.tif", "a2.TIFF", "a3.tiff") == [["a1.tif", "a2.TIFF", "a3.tiff"]]
    assert len(stacks_of_names([Path("f/a1.tif"), Path("g/a2.tif")])) == 2


def test_numbers_that_take_fewer_values_part_stacks():
    names = [f"t{t}_z{z:03}_c{c}.tif" for t in (1, 2) for c in (0, 1) for z in range(5)]
    assert [len(stack) for stack in stacks(*names)] == [5] * 4
    assert numbered(paths(*names[:5])) == [0, 1, 2, 3, 4]
    assert [len(stack) for stack in stacks("1_1.tif", "1_2.tif", "2_1.tif", "2_2.tif")] == [2, 2]


def test_a_time_of_day_that_runs_along_parts_nothing():
    names = [f"a_{n:04}_{120000 + n // 2}.tif" for n in range(12)]
    assert stacks(*names) == [names] and numbered(paths(*names)) == list(range(12))


def test_specimens_numbered_on_are_parted_if_each_has_many():
    names = [f"tooth{12 + n // 20}_{n:04}.tif" for n in range(40)]
    assert [len(stack) for stack in stacks(*names)] == [20, 20]


def test_names_without_numbers():
    assert stacks("a.tif", "b.tif") == [["a.tif"], ["b.tif"]]
    assert numbered(paths("a.tif")) == [None] and numbered(paths("a7.tif")) == [7]


@pytest.mark.parametrize(
    ("numbers", "step"),
    [
        ([1, 2, 3, 4], 1), ([0, 2, 4, 6], 2), ([4, 3, 2, 1], 1), ([1, 2, 3, 5, 6, 7], 1), ([7], None), ([], None),
        ([1, None], None), ([1, 1, 2], None), ([0, 2, 4, 5], None), ([1, 5, 6, 20, 31], None),
        ([0, 1, 2, 10, 11, 30, 31, 50, 51, 70], None),
    ],
)  # fmt: skip
def test_step_of_numbers(numbers, step):
    assert number_step(numbers) == step


def test_missing_numbers_are_named():
    numbers = [1, 2, 3, 5, 6, 10, 11, 12, 13, 14, 15, 16]
    files = paths(*(f"s{n}.tif" for n in numbers))
    assert holes_text(files, numbers).endswith("between s1.tif and s16.tif the numbers 4, 7 to 9 are missing")
    assert holes_text(files[:3], [2, 4, 6]) == holes_text(files[:2], [1, 3]) == ""
    many = [n for n in range(100) if n % 10 != 5]
    assert "75, and more are missing" in holes_text(paths(*(f"s{n}.tif" for n in many)), many)
