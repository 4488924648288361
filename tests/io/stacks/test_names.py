"""Stacks by the numbers in the names of files."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.io.stacks.holes import even_row, number_step
from gpustitch.io.stacks.names import stacks_of_names


def paths(*names):
    return [Path("f", name) for name in names]


def stacks(*names):
    return [[path.name for path in stack.paths] for stack in stacks_of_names(paths(*names))]


def numbered(files):
    """The numbers of the files of one stack."""
    (stack,) = stacks_of_names(files)
    assert sorted(stack.paths) == sorted(files)
    return list(stack.numbers)


def missing(numbers):
    """The missing numbers in words."""
    row = even_row([Fraction(number) for number in sorted(numbers)])
    return "" if row is None else row.missing_text


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


@settings(deadline=None)
@given(n=st.integers(3, 12), step=st.integers(1, 9), between=st.sampled_from(["_", " at ", "-x"]), up=st.booleans())
def test_a_number_that_runs_exactly_backward_is_told(n, step, between, up):
    sign = 1 if up else -1
    (found,) = stacks_of_names([Path(f"a{k + 3}{between}{500 + sign * step * k}.tif") for k in range(n)])
    assert found.is_backward == (not up) and found.contrary == ""


@settings(deadline=None)
@given(
    n=st.integers(4, 12), seed=st.integers(0, 999), step=st.integers(1, 9),
    before=st.sampled_from(["", "temp", "p"]), between=st.sampled_from(["_", " at ", "-x"]),
)  # fmt: skip
def test_numbers_that_put_files_in_different_orders_are_told(n, seed, step, before, between):
    rng = np.random.default_rng(seed)
    other = rng.permutation(n)
    is_one_order = abs(np.diff(other)).max() == 1 and abs(np.diff(other, 2)).max() == 0
    files = [Path(f"{before}{k + 3}{between}{50 + step * other[k]}.tif") for k in range(n)]
    (found,) = stacks_of_names(files)
    assert (found.contrary == "") == is_one_order
    assert found.is_backward == (is_one_order and other[0] > other[-1])
    for counting in ("z", "plane_", "slice"):
        (found,) = stacks_of_names([Path(f"{counting}{k + 3}{between}{50 + step * other[k]}.tif") for k in range(n)])
        assert found.contrary == "" and not found.is_backward and list(found.numbers) == list(range(3, n + 3))
    (found,) = stacks_of_names([Path(f"{before}{k + 3}{between}{1000 + k**3 * 7 + other[k]}.tif") for k in range(n)])
    assert found.contrary == ""


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
    assert missing(numbers) == "numbers 4, 7 to 9 are"
    assert missing(numbers[:5]) == "number 4 is"
    assert missing([2, 4, 6]) == missing([1, 3]) == ""
    assert missing([n for n in range(100) if n % 10 != 5]).endswith("75, and more are")


@settings(deadline=None)
@given(
    first=st.integers(0, 10_000), step=st.integers(1, 5), width=st.integers(0, 6), n=st.integers(20, 60),
    lost=st.sets(st.integers(1, 58), max_size=4), other=st.integers(0, 99),
)  # fmt: skip
def test_whatever_is_lost_from_a_stack_is_named(first, step, width, n, lost, other):
    kept = [first + step * k for k in range(n) if k not in lost or k == n - 1]
    files = [Path(f"scan{other}_{number:0{width}}.tif") for number in kept]
    assert [list(stack.paths) for stack in stacks_of_names(files)] == [files] and numbered(files) == kept
    text = missing(kept)
    lost = sorted({first + step * k for k in range(n)} - set(kept))
    runs = [number for number in lost if number - step not in lost]
    assert (text == "") == (not lost)
    named = re.search(r"numbers? (.*) (is|are)", text)
    listed = [] if named is None else [part.split(" to ")[0] for part in named[1].split(", ")]
    assert [int(part) for part in listed] == runs


@settings(deadline=None)
@given(st.lists(st.from_regex(r"\A[ab]?\d{0,2}[_.]?\d{0,3}\.(tif|png)\Z"), max_size=30, unique=True))
def test_no_file_is_lost_or_doubled_by_parting(names):
    files = [Path(name) for name in names]
    parted = stacks_of_names(files)
    assert sorted(path for stack in parted for path in stack.paths) == sorted(files)
    assert all(len(stack.numbers) == len(stack.paths) > 0 for stack in parted)
