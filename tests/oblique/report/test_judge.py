"""Rules about places: what is said of residuals, links, the stage and the voxel size."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import Link, Spacing, tile_name
from gpustitch.oblique.mosaic.file import Alignment
from gpustitch.oblique.report import judge
from gpustitch.oblique.report.judge import Stated
from gpustitch.oblique.report.placement import Placing, Remeasured
from gpustitch.oblique.report.written import Seen

SPACING = Spacing(1.27, 1.8, 1.28)
NAMES = ("0_0_0", "0_900_0", "900_0_0", "900_900_0")
PAIRS = ((0, 1), (0, 2), (1, 3), (2, 3))


def links(off: dict[int, tuple[float, float, float]], sigma: float = 0.05) -> tuple[Remeasured, ...]:
    """A square of four tiles; each tile is off by what is given, or by nothing."""
    made = []
    for a, b in PAIRS:
        apart = [q - p for p, q in zip(off.get(a, (0, 0, 0)), off.get(b, (0, 0, 0)), strict=True)]
        at = (0.0, 100.0 if b - a == 1 else 0.0, 0.0 if b - a == 1 else 100.0)
        made.append(Remeasured(NAMES[a], NAMES[b], at, at, (apart[0], apart[1], apart[2]), (sigma,) * 3))
    return tuple(made)


def placed(found: tuple[Remeasured, ...], **stated: object) -> judge.Check:
    return judge.placement(Placing(found), SPACING, 4, (), Stated(stated, None))


@given(st.integers(0, 3), st.sampled_from([0, 1, 2]), st.floats(3.5, 40))
def test_the_tile_at_fault_is_named(tile: int, axis: int, px: float) -> None:
    off = [0.0, 0.0, 0.0]
    off[axis] = px
    check = placed(links({tile: (off[0], off[1], off[2])}))
    assert check.state == "fail" and f"tile {NAMES[tile]} lies in the wrong place" in check.reason
    assert check.value == pytest.approx(px * SPACING.zyx_um[axis])
    given = placed(links({tile: (off[0], off[1], off[2])}), align_file="other.json")
    assert "`align_file`" in given.helps


@given(st.floats(0, 0.9))
def test_less_than_a_voxel_is_right(px: float) -> None:
    assert placed(links({1: (px, -px, px)})).state == "pass"


@given(st.floats(1.05, 2.9))
def test_between_is_doubtful_unless_the_measurement_is_no_better(px: float) -> None:
    assert placed(links({2: (0, px, 0)})).state == "warn"
    assert placed(links({2: (0, px, 0)}, sigma=1.0)).state == "pass"


def test_what_cannot_be_told_is_not_measured() -> None:
    nothing = tuple(replace(link, off_px=None, reason="dark") for link in links({}))
    assert placed(nothing).state == "not measured"
    assert judge.placement(Placing(()), SPACING, 4, ("gone",), Stated({}, None)).state == "not measured"
    assert judge.placement(Placing(()), SPACING, 1, (), Stated({}, None)).state == "pass"
    exchanged = Placing(links({}), exchanged=((NAMES[0], NAMES[3]),))
    check = judge.placement(exchanged, SPACING, 4, (), Stated({}, None))
    assert check.state == "fail" and NAMES[0] in check.reason and NAMES[3] in check.reason


def alignment(size: float | None, half: float | None, found: tuple[Link, ...] = ()) -> Alignment:
    return Alignment({}, voxel_size_estimate_um=size, voxel_size_uncertainty_um=half, links=found)


@given(st.floats(0.5, 3), st.floats(-0.1, 0.1), st.floats(0.0005, 0.1))
def test_the_voxel_size_fails_only_outside_its_interval(size: float, part: float, half_part: float) -> None:
    used, half = size * (1 + part), size * half_part
    spacing = Spacing(used / 1.4, used, 1.28)
    check = judge.voxel_size(Stated({"y_voxel_um": used}, alignment(size, half)), spacing)
    is_sure = abs(100 * (used / size - 1)) > 1 and abs(used - size) > 2 * half
    if abs(used - size) > half:
        assert check.state == ("fail" if is_sure else "warn") and "`y_size` measured" in check.helps
    else:
        assert check.state == ("pass" if half_part <= 0.02 else "not measured")


def test_a_measured_size_far_from_the_stated_one_is_a_warning() -> None:
    stated = Stated({"y_voxel_um": 1.854}, alignment(1.8, 0.005))
    check = judge.voxel_size(stated, Spacing(1.27, 1.8, 1.28))
    assert check.state == "warn" and "`y_voxel_um` 1.8000" in check.helps
    near = Stated({"y_voxel_um": 1.818}, alignment(1.8, 0.005))
    assert judge.voxel_size(near, Spacing(1.27, 1.8, 1.28)).state == "pass"
    assert judge.voxel_size(Stated({}, alignment(None, None)), SPACING).state == "not measured"


def link(a: int, b: int, reason: str = "") -> Link:
    return Link(NAMES[a], NAMES[b], (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (), reason)


def test_rejected_links_are_named_with_what_helps() -> None:
    all_well = tuple(link(a, b) for a, b in PAIRS)
    assert judge.links(Stated({}, alignment(None, None, all_well))).state == "pass"
    one = (link(0, 1, "it is dark; give a larger `search_px`"), *all_well[1:])
    check = judge.links(Stated({}, alignment(None, None, one)))
    assert check.state == "warn" and check.value == 1 and check.helps == "`search_px`"
    assert NAMES[0] in check.reason and NAMES[1] in check.reason
    none = tuple(link(a, b, "it shows no structure") for a, b in PAIRS)
    check = judge.links(Stated({}, alignment(None, None, none)))
    assert check.state == "warn" and check.helps == "nothing does" and "none of 4" in check.reason
    assert judge.links(Stated({}, None)).state == "pass"


@given(st.integers(0, 3), st.floats(25, 60), st.floats(-0.05, 0.05))
def test_a_tile_far_from_the_stage_is_told_from_a_wrong_size(tile: int, um: float, stretch: float) -> None:
    apart = [0.0, um / SPACING.y_um, 0.0]
    made = []
    for found, (a, b) in zip(links({}), PAIRS, strict=True):
        sign = (b == tile) - (a == tile)
        z, y, x = (p + sign * d for p, d in zip(found.placed_px, apart, strict=True))
        made.append(replace(found, placed_px=(z, y, x)))
    assert judge.stage(Placing(tuple(made)), SPACING, Stated({}, None), {}).state == "warn"
    wide = [replace(f, placed_px=tuple(v * (1 + stretch) for v in f.placed_px)) for f in links({})]  # type: ignore[misc]
    assert judge.stage(Placing(tuple(wide)), SPACING, Stated({}, None), {}).state == "pass"


@given(
    st.lists(st.floats(-4, 4), min_size=12, max_size=12), st.sampled_from([None, *itertools.combinations(range(4), 2)])
)
def test_exchanged_tiles_that_lie_right_are_told(error_um: list[float], exchanged: tuple[int, int] | None) -> None:
    """All pairs are far from the stage's distance: none of them stands out, and the alignment is right."""
    apart_um, order = 90.0, [0, 1, 2, 3]
    if exchanged:
        a, b = exchanged
        order[a], order[b] = b, a
    stage_um = [(0.0, 0.0, 0.0), (0.0, apart_um, 0.0), (apart_um, 0.0, 0.0), (apart_um, apart_um, 0.0)]
    errors = np.reshape(error_um, (4, 3))
    at_um = {stage: tuple(stage_um[order[n]] + errors[n]) for n, stage in enumerate(stage_um)}
    names = [tile_name(stage) for stage in stage_um]
    made = tuple(Link(names[a], names[b], (0.0,) * 3, (0.1,) * 3, (), "", (0.02,) * 3) for a, b in PAIRS)
    stage_px = {
        name: (z / SPACING.z_um, y / SPACING.y_um, x / SPACING.x_um)
        for name, (x, y, z) in zip(names, stage_um, strict=True)
    }
    found = Alignment(at_um, links=made)
    told = found.placement(SPACING).origin_px
    pairs = tuple(
        Remeasured(k.fixed, k.moving, *(tuple(np.subtract(px[k.moving], px[k.fixed])) for px in (told, stage_px)))
        for k in made
    )
    check = judge.stage(Placing(pairs), SPACING, Stated({}, found), stage_px)
    if exchanged is None:
        assert check.state == "pass"
    else:
        assert check.state == "warn" and f"{names[exchanged[0]]} and {names[exchanged[1]]} lie where" in check.reason


@given(st.floats(0.2, 6))
def test_tiles_that_bend_against_each_other_are_told(px: float) -> None:
    bent = replace(link(0, 2), bend_px=(0.1, 0.0, px))
    lost = replace(link(0, 1, "contradicts"), bend_px=(9.0, 0.0, 0.0))
    stated = Stated({}, alignment(None, None, (lost, bent)))
    check = judge.placement(Placing(links({})), SPACING, 4, (), stated)
    assert check.state == ("warn" if px > 2 else "pass")
    assert f"{NAMES[0]} - {NAMES[2]} ({px:.1f})" in check.reason and "(9.0)" not in check.reason


@given(st.floats(0.02, 50))
def test_a_file_that_was_changed_after_the_run_is_told(px: float) -> None:
    volume = {name: (0.0, 10.0 * n, 3.0) for n, name in enumerate(NAMES)}
    same = {name: (z + 1, y - 2, x) for name, (z, y, x) in volume.items()}
    found = alignment(None, None)
    check = judge.alignment_file(Stated({}, found, same), volume)
    assert check is not None and check.state == "pass"
    z, y, x = same[NAMES[2]]
    check = judge.alignment_file(Stated({}, found, same | {NAMES[2]: (z, y, x + px)}), volume)
    assert check is not None and check.state == "fail" and NAMES[2] in check.reason and NAMES[1] not in check.reason
    assert judge.alignment_file(Stated({}, None), volume) is None


def test_tiles_seen_elsewhere_fail() -> None:
    right, wrong = Seen("a", (0, 0, 1), 0.9), Seen("b", (0, 3, 0), 0.9)
    assert judge.in_volume([right, Seen("c", None, 0.1)], 2).state == "pass"
    check = judge.in_volume([right, wrong], 2)
    assert check.state == "fail" and " b " in check.reason and check.value == 3
    assert judge.in_volume([Seen("c", None, 0.1)], 1).state == "not measured"


def test_stated_errors_are_compared_with_what_is_left() -> None:
    found = Alignment(
        {(0.0, 0.0, 0.0): (0.0, 0.0, 0.0), (0.0, 90.0, 0.0): (0.0, 90.0, 0.0)},
        standard_error_um={(0.0, 0.0, 0.0): (0.128, 0.18, 0.127), (0.0, 90.0, 0.0): (0.128, 0.18, 0.127)},
    )
    one = Remeasured(NAMES[0], NAMES[1], (0.0, 50.0, 0.0), (0.0, 50.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.0))
    ((_, times),) = judge.within_errors(Placing((one,)), found, SPACING)
    assert times == pytest.approx(0.3 / (0.1 * 2**0.5))
    assert not list(judge.within_errors(Placing((one,)), None, SPACING))
