"""Random series of several volumes: the spacing is that of a volume, or what tells them apart is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gpustitch.slices.verdict.judge import JudgeOptions, judge_series, parted_series
from tests.slices.drawn_parts import SEVERAL, SINGLE, drawn_parts, drawn_single
from tests.slices.slice_headers import codes, series_of, text


def different(one, other):
    return False


def check(drawn):
    """No wrong spacing but with the volumes named; nothing is clean."""
    stack = judge_series(drawn.series, pixels=different)
    assert stack.notes
    error = stack.uncertainty_mm[0] if stack.fit.is_rounded else None
    assert not stack.is_usable or drawn.has(stack.spacing_mm[0], error) or drawn.is_named(stack)
    return stack


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("seed", range(5))
def test_volumes_in_one_series_are_told_apart(kind, seed):
    drawn = drawn_parts(seed, kind)
    stack = check(drawn)
    if drawn.is_told:
        assert drawn.is_named(stack)
        names = ",".join(stack.partings[0].names)
        assert f"`split_by` {names}" in stack.advice
        assert codes(stack) & {"MULTI_VOLUME", "PERHAPS_SEVERAL"}


@pytest.mark.parametrize("kind", ["shifted", "moved", "passes", "doubled"])
@pytest.mark.parametrize("seed", range(40, 45))
def test_what_no_tag_tells_is_split_as_advised(kind, seed):
    drawn = drawn_parts(seed, kind)
    untagged = dataclasses.replace(drawn.series, tags={})
    stack = judge_series(untagged, pixels=different)
    if not stack.partings:
        assert not drawn.is_told
        return
    options = JudgeOptions(split_by=stack.partings[0].names)
    parts = [judge_series(one, options, different) for one in parted_series(untagged, options)]
    assert sorted(len(part.order) for part in parts) == sorted(n for _, n in drawn.volumes)
    assert all(part.fit.spacing_class == "UNIFORM" and "MULTI_VOLUME" not in codes(part) for part in parts)
    assert len({part.series.name for part in parts}) == len(parts)


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("seed", range(3))
def test_a_single_volume_is_not_taken_for_several(kind, seed):
    series = drawn_single(seed, kind)
    alone = judge_series(dataclasses.replace(series, tags={}), pixels=different)
    stack = judge_series(series, pixels=different)
    assert not stack.partings and (stack.notes, stack.advice) == (alone.notes, alone.advice)
    new = {"MULTI_VOLUME", "PERHAPS_SEVERAL", "VOLUMES_DIFFER", "TOO_UNEVEN", "SLICES_CONFLICT"}
    assert not codes(stack) & new and stack.is_usable


@pytest.mark.parametrize("block", range(3))
def test_hundreds_of_series_of_several_volumes(block):
    for seed in range(1000 + 50 * block, 1050 + 50 * block):
        check(drawn_parts(seed))


def test_volumes_that_differ_are_no_volume():
    one, other = 2.0 * np.arange(20), 29.0 + 2.0 * np.arange(24)
    series = series_of(np.concatenate([one, other]))
    stack = judge_series(series)
    assert (stack.spacing_mm[0], len(stack.order), stack.is_usable) == (2.0, 24, False)
    said = (
        "2 volumes overlap in one series: 20 slices at 2 mm, 24 slices at 2 mm; the largest was taken (`split_by` pass"
    )
    assert said in text(stack, "MULTI_VOLUME")
    assert "30 to 68 mm, 59 to 105 mm" in text(stack, "VOLUMES_DIFFER")
    assert stack.order.tolist() == list(range(20, 44))


@pytest.mark.parametrize("seed", range(5))
def test_an_even_volume_of_nearly_no_slices_has_no_spacing(seed):
    rng = np.random.default_rng(seed)
    along = np.cumsum(rng.choice([0.01, 5.0], 30) * rng.uniform(0.5, 1.5, 30))
    along = np.concatenate([along, along[-1] + 0.01 * np.cumsum(rng.uniform(0.5, 1.5, 30))])
    along = np.concatenate([along, along[-1] + 5 * np.cumsum(rng.uniform(0.5, 1.5, 20))])
    stack = judge_series(series_of(along))
    assert (stack.is_usable, stack.spacing_mm[0], stack.fit.n_output) == (False, None, 0)
    assert "TOO_UNEVEN" in codes(stack) and "`spacing_mm`" in stack.advice


@pytest.mark.parametrize(("keep", "taken"), [("first", 0), ("last", 1)])
def test_of_whole_volumes_the_one_asked_for_is_kept(keep, taken):
    along = np.concatenate([2.0 * np.arange(9)] * 2)
    stack = judge_series(series_of(along), JudgeOptions(keep=keep), different)
    assert stack.order.tolist() == list(range(9 * taken, 9 * taken + 9))
    assert f"the {keep} was taken (`split_by` volume" in text(stack, "MULTI_VOLUME")


@pytest.mark.parametrize("decimals", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("n", [2, 3])
def test_halves_in_steps_of_the_last_digit_are_named_where_the_spacing_is_stated(decimals, n):
    spacing = 10.0**-decimals
    coarse = n * spacing * np.arange(30)
    along = np.concatenate([coarse + spacing * k for k in range(n)])
    place = {"decimals": decimals, "origin_mm": (0.0, 0.0, -40 * spacing), "spacing_between_mm": n * spacing}
    said = text(judge_series(series_of(along, **place)), "PERHAPS_SEVERAL")
    assert f"{n} even volumes of it: {n} x 30 slices at {n * spacing:g} mm" in said
    # Numbers along the normal: the tag is wrong, perhaps the thickness of slices that overlap.
    for one in (np.sort(along), np.sort(along)[::-1]):
        found = codes(judge_series(series_of(one, **place)))
        assert "SPACING_TAG_MISMATCH" in found and "PERHAPS_SEVERAL" not in found
