"""Rules about light, stripes, coverage and the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.oblique.report import judge_light
from gpustitch.oblique.report.light import TileLight
from gpustitch.oblique.report.written import Sheet

EMPTY = np.zeros((2, 400), np.uint16)


def light(saturated: float = 0.0, constant: bool = False) -> TileLight:
    return TileLight(4, 500, 100, 900, np.ones(4), saturated, 4095 if saturated else None, constant)


def sheets(left: float | None, across: float | None) -> list[Sheet]:
    return [Sheet("a", 0, EMPTY, EMPTY, left, across, None)]


@given(st.floats(0, 100))
def test_saturation_warns_and_fails_by_its_share(percent: float) -> None:
    check = judge_light.saturated({"a": light(), "b": light(percent)})
    expected = "pass" if percent <= 0.1 else "warn" if percent <= 20 else "fail"
    assert check.state == expected and check.value == percent
    if expected != "pass":
        assert " b " in check.reason and check.helps.startswith("nothing does")


def test_dead_tiles_are_named_and_empty_corners_are_not() -> None:
    alive = {"a": light(), "b": light()}
    assert judge_light.dead(alive, {"a": [0.9], "b": [0.01, 0.8]}).state == "pass"
    check = judge_light.dead(alive, {"a": [0.9], "b": [0.01, 0.02]})
    assert check.state == "fail" and "b shows less" in check.reason
    assert judge_light.dead({"a": light(), "b": light(constant=True)}, {}).state == "fail"
    assert judge_light.dead({"a": light(), "b": None}, {}).state == "fail"
    assert judge_light.dead(alive, {}).state == "pass", "without a lit neighbour nothing tells"
    assert judge_light.dead({}, {}).state == "not measured"


@pytest.mark.parametrize("most", [255, 4095, 65535])
def test_a_tile_at_the_end_of_the_range_is_saturated_and_not_dead(most: int) -> None:
    full = TileLight(4, most, most, most, np.full(4, most), 100.0, most, is_constant=True)
    others = {"b": light(), "c": light()}
    if most < 900:  # others show more: then it is the level of a dark camera
        assert "a holds a single count" in judge_light.dead({"a": full, **others}, {}).reason
        assert judge_light.saturated({"a": full, **others}).state == "pass"
        return
    assert judge_light.dead({"a": full, **others}, {}).state == "pass"
    check = judge_light.saturated({"a": full, **others})
    assert check.state == "fail" and f"a in 100 % of its pixels (at {most} counts)" in check.reason


def test_dead_lines_are_counted() -> None:
    broken = replace(light(), dead_rows=(5, 6, 9), dead_columns=(2,))
    check = judge_light.dead({"a": light(), "b": broken, "c": None}, {})
    assert check.state == "fail", "a tile that cannot be read is worse"
    check = judge_light.dead({"a": light(), "b": broken}, {})
    assert check.state == "warn" and "(b: 3 rows from 5 to 9, 1 columns from 2 to 2)" in check.reason


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_dead_tiles_are_counted_in_plain_words(n: int) -> None:
    names = [f"t{i}" for i in range(n)]
    said = "has" if n == 1 else "have"
    check = judge_light.dead(dict.fromkeys(names), {})
    assert f" {said} no frame that can be read" in check.reason and "copy" in check.helps
    check = judge_light.dead({name: light() for name in names}, {name: [0.0] for name in names})
    assert f" {'shows' if n == 1 else 'show'} less than 5%" in check.reason and "without light" in check.helps


def test_copied_tiles_and_repeated_frames_are_named() -> None:
    counts = {"a": 9, "b": 9, "c": 9}
    one, other = light(), replace(light(), mean=501.0)
    check = judge_light.frames({}, counts, {}, {"a": one, "b": other, "c": replace(one)})
    assert check.state == "fail" and "a = c" in check.reason and check.value == 1
    check = judge_light.frames({"b": 2}, counts, {}, {"a": one, "b": replace(other, n_repeated=3), "c": None})
    assert check.state == "fail" and "(b: 3 of 4 that were" in check.reason
    assert judge_light.frames({}, counts, {}, {"a": one, "b": other, "c": None}).state == "pass"


@given(st.lists(st.floats(0, 2), min_size=1))
def test_a_part_without_light_warns_and_a_whole_tile_fails(shares: list[float]) -> None:
    check = judge_light.dead({"a": light(), "b": light()}, {"a": [1.0], "b": [max(shares)]}, {"a": [1.0], "b": shares})
    assert check.state == ("fail" if max(shares) < 0.05 else "warn" if min(shares) < 0.05 else "pass")
    assert (
        check.state == "pass" or check.reason.startswith("1 of 2 tiles are dead: b") or check.reason.startswith("b: a")
    )


@given(st.integers(0, 500))
def test_lost_frames_are_counted_now_or_by_the_record(n: int) -> None:
    counts = {"a": 1000, "b": 1000}
    for lost, said in (({"b": n}, {}), ({}, {"b": n}), ({"b": n}, {"b": n})):
        check = judge_light.frames(lost, counts, said)
        assert check.state == ("pass" if n == 0 else "warn")
        assert n == 0 or f"b: {n}" in check.reason
    assert judge_light.frames({}, {"a": 1000, "b": 998}, {}).state == "warn"
    assert judge_light.frames({}, {}, {}).state == "not measured"


@given(st.floats(0.2, 5))
def test_uneven_brightness_is_the_same_either_way_round(ratio: float) -> None:
    check, other = (judge_light.brightness({("a", "b"): r}) for r in (ratio, 1 / ratio))
    assert check.state == other.state == ("warn" if max(ratio, 1 / ratio) > 1.25 else "pass")
    assert judge_light.brightness({}).state == "not measured"


@given(st.floats(0, 3))
def test_light_that_jumps_from_frame_to_frame(part: float) -> None:
    check = judge_light.brightness({("a", "b"): 1.1, ("b", "c"): 1.0}, {("a", "b"): 0.01, ("b", "c"): part})
    assert (check.state == "warn") == (part > 0.25)
    assert check.state == "pass" or "(b - c)" in check.reason


@given(st.floats(0, 20), st.floats(0, 20))
def test_stripes_are_compared_with_the_tissue(left: float, across: float) -> None:
    check = judge_light.stripes(sheets(left, across), None, "none")
    assert check.state == ("pass" if left <= max(2.5, 1.5 * across) else "warn")
    assert check.state == "pass" or check.helps == "`method` wavelet"


def test_a_method_that_was_asked_for_is_not_advised() -> None:
    chosen = {"choice": {"frames": 8}, "measures": {}}
    for record, is_advised in ((None, True), (chosen, False)):
        check = judge_light.stripes(sheets(4.0, 0.5), record, "none")
        assert check.state == "warn" and ("wavelet" in check.helps) == is_advised


def test_narrow_frames_need_stronger_stripes() -> None:
    narrow = [replace(each, written=EMPTY[:, :100]) for each in sheets(4.0, 0.5)]
    assert judge_light.stripes(sheets(4.0, 0.5), None, "none").state == "warn"
    assert judge_light.stripes(narrow, None, "none").state == "pass"
    assert judge_light.stripes([replace(narrow[0], stripes=6.0)], None, "none").state == "warn"


def test_stripes_of_the_record_count_where_the_background_is_gone() -> None:
    record = {"measures": {"stripes_left_before_percent": 9.0, "stripes_left_after_percent": 8.0}}
    assert judge_light.stripes(sheets(0.1, 0.1), record, "lightsheet").state == "warn"
    record["measures"]["stripes_left_after_percent"] = 1.0
    assert judge_light.stripes(sheets(50, 0.1), record, "lightsheet").state == "pass"
    assert judge_light.stripes([], None, "none").state == "not measured"


def test_harm_and_direction_are_those_of_the_record() -> None:
    well = {"cells_kept_percent": 99.0, "coarse_change_percent": 0.3, "direction_deg": 1.0}
    assert [c.state for c in judge_light.harm({"measures": well})] == ["pass", "pass"]
    assert judge_light.harm({"measures": well | {"cells_kept_percent": 80.0}})[0].state == "warn"
    assert judge_light.harm({"measures": well | {"coarse_change_percent": 4.0}})[0].state == "warn"
    turned = judge_light.harm({"measures": well | {"direction_deg": 89.0}})[1]
    assert turned.state == "warn" and "`rotate_90`" in turned.helps
    none = {"cells_kept_percent": None, "coarse_change_percent": None, "direction_deg": None}
    assert [c.state for c in judge_light.harm({"measures": none})] == ["not measured"]
    assert judge_light.harm({"measures": None}) == [] == judge_light.harm(None)


def test_the_flat_is_judged_by_its_record() -> None:
    used = {"is_used": True, "model": "smooth", "sure_misfit_percent": 0.5, "misfit_percent": {"smooth": 1.0}}
    assert judge_light.flat(used, {}).state == "pass"
    assert judge_light.flat(used | {"sure_misfit_percent": 9.0}, {}).state == "warn"
    refused = judge_light.flat({"is_used": False, "refused": "no tissue"}, {})
    assert refused.state == "warn" and "no tissue" in refused.reason and "`flat`" in refused.helps
    assert judge_light.flat(None, {"correct_flat": False}).state == "not measured"
    assert "given" in judge_light.flat(None, {"flat": "a.tiff"}).reason


def test_gaps_and_lost_tiles_warn() -> None:
    assert judge_light.coverage((45.0, 0.5), 0, 0.1, "none").state == "pass"
    assert judge_light.coverage((45.0, 4.0), 0, 0.1, "none").state == "warn"
    assert judge_light.coverage((45.0, 0.0), 1, 0.1, "none").state == "warn"
    assert judge_light.coverage((45.0, 0.0), 0, 30.0, "none").state == "warn"
    assert judge_light.coverage((45.0, 0.0), 0, 30.0, "lightsheet").state == "pass"
    assert judge_light.coverage(None, 0, None, "none").state == "not measured"


def test_runs_that_did_not_end_and_changed_inputs_are_told() -> None:
    ended, inputs = judge_light.run({"outcome": "finished", "warnings": ["a"]}, [])
    assert (ended.state, inputs.state) == ("pass", "pass")
    ended, inputs = judge_light.run({"outcome": "killed"}, ["a.dcimg has grown"])
    assert (ended.state, inputs.state) == ("fail", "warn") and "a.dcimg" in inputs.reason
    assert judge_light.run({}, [])[0].state == "not measured"
    assert judge_light.files("", 5, 2).state == "pass" and judge_light.files("3 are missing", 5, 2).state == "fail"
