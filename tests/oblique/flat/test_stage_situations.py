"""In every situation the flat is right, or users are warned; and it is never worse than none without a warning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpustitch.demo.score.errors import flat_rmse
from gpustitch.errors import ParameterError
from tests.oblique.flat.scenes import COLUMNS, EVEN, GAUSSIAN, ROWS, N, X, Y, estimated, frames

VIGNETTE = np.cos(np.arctan(1.4 * np.hypot(X, Y))) ** 4
DIAGONAL = GAUSSIAN * (1 + 0.6 * X * Y)
DIP = 1 - 0.35 * np.exp(-0.5 * (X / 0.15) ** 2)
STEEP = np.exp(-0.5 * ((X + 0.2) / 0.35) ** 2) * (1 - 0.4 * Y)
CUT_OFF = GAUSSIAN * np.where(X > 0.3, 0.25, 1)
DARK_CORNER = GAUSSIAN * (1 - 0.7 * np.exp(-((X + 0.5) ** 2 + (Y + 0.5) ** 2) / 0.06))
DIRTY = np.where((abs(X) < 0.04) & (abs(Y) < 0.05), 0.5, 1) * GAUSSIAN
HALF = (X < 0).astype(float)

# Name: light, what else the frames have, options.
SITUATIONS = {
    "gaussian": (GAUSSIAN, {}, {}),
    "steep": (STEEP, {}, {}),
    "vignette": (VIGNETTE, {}, {}),
    "asymmetric": (DIAGONAL, {}, {}),
    "dip": (DIP, {}, {}),
    "cut off at one side": (CUT_OFF, {}, {}),
    "dark corner": (DARK_CORNER, {}, {}),
    "dust": (DIRTY, {}, {}),
    "even": (EVEN, {}, {}),
    "dim": (GAUSSIAN, {"level": 60}, {}),
    "bright": (GAUSSIAN, {"level": 6000}, {}),
    "saturated": (GAUSSIAN, {"level": 3500, "top": 4095}, {}),
    "saturated cells": (GAUSSIAN, {"cells": 60000, "top": 4095}, {}),
    "8 bit": (GAUSSIAN, {"level": 80, "dark": 6, "cells": 200, "top": 255, "dtype": np.uint8}, {"dark": 6}),
    "two frames": (GAUSSIAN, {"n": 2}, {}),
    "one frame": (GAUSSIAN, {"n": 1}, {}),
    "mostly empty": (GAUSSIAN, {"empty": 0.8}, {}),
    "tissue in one half": (GAUSSIAN, {"seen": HALF}, {}),
    "drift": (GAUSSIAN, {"drift": 0.5}, {}),
    "offset 500": (GAUSSIAN, {"dark": 500, "empty": 0.3}, {"dark": 500}),
    "offset not taken": (GAUSSIAN, {"level": 200, "empty": 0.3}, {"dark": 0}),
    "offset not taken, no empty pixel": (VIGNETTE, {"level": 200}, {"dark": 0}),
    "offset higher than given": (VIGNETTE, {"level": 200, "dark": 120, "empty": 0.3}, {}),
    "offset lower than given": (VIGNETTE, {"level": 200, "dark": 70, "empty": 0.3}, {}),
    "tissue dimmer along rows": (GAUSSIAN, {"seen": 1 + 0.4 * Y, "cells_seen": EVEN}, {}),
    "tissue dimmer along columns": (GAUSSIAN, {"seen": 1 - 0.4 * X, "cells_seen": EVEN}, {}),
    "haze beside tissue": (GAUSSIAN, {"seen": HALF, "haze": 0.2}, {}),
}  # fmt: skip
# Light that the models can follow.
FOLLOWED = ["gaussian", "steep", "vignette", "asymmetric", "dim", "bright", "8 bit", "drift", "offset 500"]
# Those for which the options of the command are tried too.
AS_COMMAND = ["gaussian", "vignette", "dim", "bright", "offset not taken", "tissue in one half", "two frames"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fits start from fewer samples; how well a start withstands outliers is tested with the fit."""
    monkeypatch.setattr("gpustitch.oblique.flat.fit._TRIALS", 5)


def judged(monkeypatch, tmp_path, name, is_auto):
    """Errors of the flat that is used, and of none; and the warnings. None if it was refused by an error."""
    light, scene, options = SITUATIONS[name]
    try:
        made, heard = estimated(monkeypatch, tmp_path, frames(light, **scene), auto=is_auto, **options)
    except ParameterError:
        return None
    flat = made.flat if made.verdict.is_useful or not is_auto else EVEN
    return flat_rmse(flat, light), flat_rmse(EVEN, light), heard.warnings


@pytest.mark.parametrize(
    ("name", "is_auto"), [*((name, True) for name in SITUATIONS), *((name, False) for name in AS_COMMAND)]
)
def test_the_flat_is_right_or_users_are_warned(name, is_auto, monkeypatch, tmp_path):
    found = judged(monkeypatch, tmp_path, name, is_auto)
    if found is not None:
        error, without, warnings = found
        assert warnings or error <= min(0.03, without + 1e-6), (error, without)
    if is_auto and name in FOLLOWED:
        assert error < 0.03


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_right_flat_is_not_called_wrong(name, monkeypatch, tmp_path):
    _, _, warnings = judged(monkeypatch, tmp_path, name, is_auto=True)
    assert not any("the flat may be wrong: the" in said for said in warnings)


@pytest.mark.parametrize("strength", [0.04, 0.1])
@pytest.mark.parametrize("part", [1, 0.4])
def test_stripes_and_shadows_are_no_fault_of_the_flat(strength, part, monkeypatch, tmp_path):
    rows = strength * np.random.default_rng(2).normal(size=(ROWS, 1))
    striped = GAUSSIAN * (1 + rows * (part - 0.5 > X))
    made, heard = estimated(monkeypatch, tmp_path, frames(striped, texture=0.05, cells=0), auto=True)
    assert flat_rmse(made.flat, GAUSSIAN) < 0.02
    assert made.verdict.judged.misfit < 0.015
    assert not heard.warnings


@pytest.mark.parametrize("across", [True, False])
def test_a_dip_is_no_stripe(across, monkeypatch, tmp_path):
    light = GAUSSIAN * (1 - 0.35 * np.exp(-0.5 * ((Y if across else X) / 0.1) ** 2))
    made, heard = estimated(monkeypatch, tmp_path, frames(light, texture=0.05, cells=0), auto=True)
    assert flat_rmse(made.flat, light) > 0.03
    assert any("the flat may be wrong: the" in said for said in heard.warnings)


@pytest.mark.parametrize(("strength", "is_told"), [(0.0, False), (0.15, True), (0.6, True)])
@pytest.mark.parametrize("across", [True, False])
def test_light_that_changes_between_tiles_is_told(across, strength, is_told, monkeypatch, tmp_path):
    """Halves that take turns agree on a flat that fits neither tile."""
    slope = np.exp(strength * (Y if across else X))
    tiles = [frames(GAUSSIAN * slope, texture=0.05, cells=0), frames(GAUSSIAN / slope, texture=0.05, cells=0)]
    made, heard = estimated(monkeypatch, tmp_path, np.concatenate(tiles), auto=True)
    assert any("changed meanwhile" in said for said in heard.warnings) == is_told
    assert made.record(is_used=True)["change_percent"] == pytest.approx(100 * strength * X.std(), rel=0.15, abs=1.5)


@pytest.mark.parametrize(("level", "cells", "is_told"), [(0, 20000, True), (900, 3000, False), (200, 3000, False)])
def test_a_flat_of_what_is_hardly_brighter_than_nothing_may_be_too_even(level, cells, is_told, monkeypatch, tmp_path):
    _, heard = estimated(monkeypatch, tmp_path, frames(level=level, cells=cells, empty=0.3), auto=True)
    assert any("may be too even" in said for said in heard.warnings) == is_told


@pytest.mark.parametrize(("part", "is_told"), [(0.0, False), (0.06, True)])
def test_columns_that_jump_are_a_fault_of_the_flat(part, is_told, monkeypatch, tmp_path):
    light = GAUSSIAN * np.where(np.arange(COLUMNS) % 2, 1 + part, 1 - part)
    made, heard = estimated(monkeypatch, tmp_path, frames(light, texture=0.05, cells=0), auto=True)
    assert made.verdict.judged.misfit == pytest.approx(part, abs=0.01)
    assert any("the flat may be wrong: the" in said for said in heard.warnings) == is_told


def test_a_flat_that_may_be_chance_is_left_out(monkeypatch, tmp_path):
    verdict = estimated(monkeypatch, tmp_path, frames(EVEN), auto=True)[0].verdict
    unsure = replace(verdict, none=replace(verdict.none, misfit=1.0), judged=replace(verdict.judged, misfit=0.0))
    assert not unsure.is_useful and not unsure.judged.is_surely_uneven
    assert "not surely better than none" in next(unsure.cautions())
    uneven = replace(unsure, judged=replace(unsure.judged, scatter=verdict.judged.unevenness / 4))
    assert uneven.is_useful


@pytest.mark.parametrize("is_auto", [True, False])
@pytest.mark.parametrize("n_frames", [None, 10])
@pytest.mark.parametrize("name", ["vignette", "dust", "saturated", "tissue in one half", "even", "two frames", "dim"])
def test_warnings_advise_only_what_the_user_can_do(name, n_frames, is_auto, monkeypatch, tmp_path):
    light, scene, options = SITUATIONS[name]
    options = options | {"auto": is_auto, "n_frames": None if name == "two frames" else n_frames}
    made, heard = estimated(monkeypatch, tmp_path, frames(light, **scene), **options)
    said = " ".join(heard.warnings)
    assert not (is_auto and ("`auto`" in said or "`model`" in said))
    assert not (options["n_frames"] is None and "`n_frames`" in said)
    assert "`allow_poor_flat`" not in said or made.verdict.is_refused or not made.verdict.is_useful
    if name == "saturated":
        assert "saturated, at 4095" in said and "no tissue" not in said


def test_a_flat_that_is_used_as_asked_is_not_offered_again(monkeypatch, tmp_path):
    made, heard = estimated(monkeypatch, tmp_path, frames(EVEN), auto=True, allow_poor_flat=True)
    assert not made.verdict.is_useful and not made.verdict.is_refused
    assert "used all the same, as `allow_poor_flat` says" in heard.warnings[0]
    record = made.record(is_used=True)
    assert record["is_used"] and not record["refused"] and record["n_frames"] == len(frames())


def test_values_beyond_the_bins_are_in_the_record(monkeypatch, tmp_path):
    made, heard = estimated(monkeypatch, tmp_path, frames(), auto=True, values_per_bin=1)
    assert made.record(is_used=True)["warnings"] == heard.warnings
    assert "not counted" in heard.warnings[0]


@pytest.mark.parametrize(("shape", "says"), [((1, ROWS, COLUMNS), "one frame"), ((N, ROWS, 1), "too few")])
def test_why_a_flat_cannot_be_checked(shape, says, monkeypatch, tmp_path):
    n, rows, columns = shape
    made, heard = estimated(monkeypatch, tmp_path, frames()[:n, :rows, :columns], auto=True)
    assert "cannot be checked" in heard.warnings[0] and says in heard.warnings[0]
    assert says in made.record(is_used=False)["refused"]


@pytest.mark.parametrize(("side", "level", "says"), [(3, 900, "too small"), (60, 90000, "saturated")])
def test_a_fit_that_fails_says_why(side, level, says, monkeypatch, tmp_path):
    with pytest.raises(ParameterError, match=says):
        estimated(monkeypatch, tmp_path, frames(level=level)[:, :side, :side], auto=True)


def test_a_background_that_wider_bins_reach_is_no_mistake(monkeypatch, tmp_path):
    made, _ = estimated(monkeypatch, tmp_path, frames(level=20000), auto=True, background=5000)
    assert made.verdict.options.background == 5000
    assert flat_rmse(made.flat, GAUSSIAN) < 0.03


def test_a_model_and_the_choice_of_one_contradict(monkeypatch, tmp_path):
    with pytest.raises(ParameterError, match="`auto` chooses the model, but `model` is smooth"):
        estimated(monkeypatch, tmp_path, frames(n=2), auto=True, model="smooth")


def test_no_tissue_at_all_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ParameterError, match="cannot be fitted"):
        estimated(monkeypatch, tmp_path, frames(empty=1), auto=True)


def test_ties_go_to_the_simplest_model(monkeypatch, tmp_path):
    light = 1 - 0.5 * X**2 - 0.2 * Y
    made, _ = estimated(monkeypatch, tmp_path, frames(light), auto=True)
    assert [one.fit.model for one in made.verdict.others] == ["reference", "product", "smooth"]
    assert made.fit.model == "reference"


def test_a_rich_model_needs_tissue_everywhere(monkeypatch, tmp_path):
    made, _ = estimated(monkeypatch, tmp_path, frames(VIGNETTE, seen=(X < 0.3) * EVEN), auto=True)
    assert [one.fit.model for one in made.verdict.others] == ["reference", "product"]


@pytest.mark.parametrize("given", [{"background": 120}, {"values_per_bin": 2}, {"n_bins": 4096}])
def test_given_bins_are_respected(given, monkeypatch, tmp_path):
    made, _ = estimated(monkeypatch, tmp_path, frames(level=400)[:, ::4, ::4], auto=True, **given)
    ((name, value),) = given.items()
    assert getattr(made.verdict.options, name) == value


def test_the_offset_is_named_where_dark_is_another(monkeypatch, tmp_path):
    said = {}
    for dark in (70, 120):
        scene = frames(VIGNETTE, level=200, dark=dark, empty=0.3)
        _, heard = estimated(monkeypatch, tmp_path, scene, auto=True)
        said[dark] = [warning for warning in heard.warnings if "offset seems to be" in warning]
    assert f"give {70} for `dark`" in said[70][0] and f"give {120} for `dark`" in said[120][0]


@pytest.mark.parametrize(("turns", "flips"), [(0, False), (1, False), (3, True), (2, True)])
def test_turned_frames_are_judged_as_what_they_show(turns, flips, monkeypatch, tmp_path):
    """The halves hold some rows and columns, which lie elsewhere once turned."""
    monkeypatch.setattr("gpustitch.oblique.flat.percentiles._JUDGED_PIXELS", ROWS * COLUMNS // 9)
    scene = frames(np.exp(1.2 * X - 0.8 * Y), texture=0.05, cells=0)
    made, _ = estimated(monkeypatch, tmp_path, scene, model="product", rotate_90=turns, flip_ud=flips)
    assert made.verdict.none.misfit > 0.3
    assert made.verdict.judged.misfit < 0.01
