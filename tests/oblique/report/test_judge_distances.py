"""A wrong step or angle, which moves all neighbours alike, is told from a stage that errs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import Spacing
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.mosaic.file import Alignment
from gpustitch.oblique.report.check import Check
from gpustitch.oblique.report.judge import Stated
from gpustitch.oblique.report.judge_distances import distances, scale
from gpustitch.oblique.report.placement import Placing, Remeasured

SPACING = Spacing(1.27, 1.8, 1.28)
NAMES = {2: "x step", 1: "y", 0: "z distance"}


def judged(
    axis: int, scale: float, *, apart_um: float = 1500.0, seed: int = 0, shared: bool = False, error_um: float = 4.0,
    n: int = 4, **parameters: float,
) -> list[Check]:  # fmt: skip
    """Checks of n x n tiles in the plane of y and ``axis``, or of x; pictures fit at ``scale`` times the stage's."""
    rng, across = np.random.default_rng(seed), 1 if axis != 1 else 2
    shape = (n, n, 3)
    error = rng.normal(0, error_um, (n, 1, 3) if shared else shape) * np.ones(shape)
    at = {}
    for i, k in itertools.product(range(n), range(n)):
        stage = np.zeros(3)
        stage[axis], stage[across] = i * apart_um, k * 800.0
        true = stage + error[i, k]
        true[axis] *= scale
        at[f"{i}_{k}"] = stage / SPACING.zyx_um, true / SPACING.zyx_um
    links = []
    for (a, (told, there)), (b, (told_b, there_b)) in itertools.combinations(at.items(), 2):
        if abs(int(a[0]) - int(b[0])) + abs(int(a[2]) - int(b[2])) == 1:
            off = rng.normal(0, 0.1, 3)
            links.append(Remeasured(a, b, px(there_b - there + off), px(told_b - told), px(off), (0.1, 0.1, 0.1)))
    told_px = {name: px(told) for name, (told, _) in at.items()}
    return distances(Placing(tuple(links)), SPACING, Stated(parameters, None), told_px)


def judged_alone(axis: int, factor: float, **how: Any) -> Check:
    """The check of the axis; what nothing lies along is not measured."""
    checks = {check.name: check for check in judged(axis, factor, **how)}
    assert set(checks) == {"x step", "z distance"}
    check = checks.pop(NAMES[axis])
    if axis != 1 and how.get("n", 4) > 1:
        (other,) = checks.values()
        assert other.state == "not measured" and other.value is None and "nothing measures it" in other.reason
    return check


def px(values: np.ndarray) -> PxZYX:
    z, y, x = values.tolist()
    return z, y, x


@given(st.sampled_from([0, 2]), st.floats(0.03, 0.2), st.booleans(), st.booleans(), st.integers(0, 99))
def test_a_wrong_step_or_angle_is_told_with_the_right_one(
    axis: int, part: float, less: bool, shared: bool, seed: int
) -> None:
    factor = 1 - part if less else 1 + part
    check = judged_alone(axis, factor, seed=seed, shared=shared)
    assert check.name == NAMES[axis] and check.state == "warn", check
    assert check.value == pytest.approx(100 * (factor - 1), abs=1.0)
    assert ("nearer" if less else "farther") in check.reason
    fits = float(check.reason.partition(" um was used, ")[2].partition(" um")[0])
    assert fits == pytest.approx(SPACING.zyx_um[axis] / factor, rel=0.01)
    assert (f"`x_step_um` {fits:.4g}" if axis == 2 else "`angle_deg`") in check.helps


@given(st.sampled_from([0, 2]), st.floats(-0.005, 0.005), st.booleans(), st.integers(0, 99))
def test_a_stage_that_errs_as_stages_do_is_no_wrong_step(axis: int, part: float, shared: bool, seed: int) -> None:
    for apart_um in (100.0, 400.0, 1500.0):
        check = judged_alone(axis, 1 + part, seed=seed, shared=shared, apart_um=apart_um)
        known = float(check.reason.partition("(+- ")[2].partition(" %")[0])
        assert check.state == ("pass" if known <= 2 else "not measured"), check
        assert (apart_um > 100) == (known <= 2)


def test_tiles_near_each_other_tell_a_step_only_with_a_better_stage() -> None:
    check = judged_alone(2, 0.92, apart_um=90, n=2, error_um=0.3)
    assert check.state == "not measured" and "1.28 um is as stated" in check.reason
    assert "`stage_repeatability_um`" in check.helps
    assert judged_alone(2, 0.92, apart_um=90, n=2, error_um=0.3, stage_repeatability_um=0.5).state == "warn"


@pytest.mark.parametrize("factor", [-1.0, 0.1, 0.7, 1.4, 3.0])
def test_tiles_in_the_wrong_order_are_no_wrong_step(factor: float) -> None:
    check = judged_alone(2, factor)
    assert check.state == "not measured" and "too far off" in check.reason


def test_only_what_was_measured_along_x_or_z_is_judged() -> None:
    assert judged(1, 1.1)[0].value is not None  # of x; the rows along y tell the y voxel size
    nothing = [("x step", "not measured"), ("z distance", "not measured")]
    assert [(c.name, c.state) for c in distances(Placing(()), SPACING, Stated({}, None), {})] == nothing
    unseen = Remeasured("a", "b", (0, 0, 900), (0, 0, 1000), None, None, "it shows no structure")
    places = {"a": (0.0, 0.0, 0.0), "b": (0.0, 0.0, 1000.0)}
    assert [(c.name, c.state) for c in distances(Placing((unseen,)), SPACING, Stated({}, None), places)] == nothing
    given_file = Stated({"align_file": "other.json"}, Alignment({}))
    assert distances(Placing((unseen,)), SPACING, given_file, places) == []


@given(st.floats(0.03, 0.2), st.booleans(), st.integers(0, 99))
def test_what_lengths_rest_on_is_said_with_what_fits(part: float, less: bool, seed: int) -> None:
    factor = 1 - part if less else 1 + part
    stated = Stated({"angle_deg": 45.0}, Alignment({}, voxel_size_estimate_um=1.712, voxel_size_uncertainty_um=0.15))
    checks = judged(2, factor, apart_um=90, n=2, error_um=0.1, seed=seed)
    checks = [check for check in checks if check.name != "z distance"]
    checks.append(Check("y voxel size", "not measured", "", 8.76, "%", 2.0))
    found = scale(checks, SPACING, stated)
    assert found.name == "scale" and found.state == "not measured" and "the tiles measure" not in found.reason
    step, size, angle = found.reason.partition(", not measured: ")[2].replace(" um, +-", " um +-").split(", ")
    assert step.startswith("x step 1.28 um (these tiles fit ")
    assert float(step.split()[7]) == pytest.approx(1.28 / factor, rel=0.01)
    assert size == "y voxel size 1.8 um (these tiles fit 1.712 um +- 8.8 %)"
    assert angle == "angle 45 degrees (nothing measures it)"


def test_what_tiles_measure_is_not_as_stated() -> None:
    step, size, depth = (Check(name, "pass", "", 0.1, "%", 2.0) for name in ("x step", "y voxel size", "z distance"))
    stated = Stated({"angle_deg": 40.0}, None)
    assert scale([step, size, depth], SPACING, stated).state == "pass"
    found = scale([step, size], SPACING, stated)
    assert found.reason.endswith(
        "angle 40 degrees (nothing measures it); the tiles measure: x step 1.28 um, y voxel size 1.8 um"
    )
    assert "angle (nothing measures it)" in scale([step, size], SPACING, Stated({}, None)).reason
    fitted = scale([step, depth], SPACING, Stated({"y_voxel_um": 1.85}, None))
    assert fitted.state == "pass", "the size that was used is the one that the tiles fit"
    assert scale([step, depth], SPACING, Stated({"y_voxel_um": 1.8}, None)).state == "not measured"
    one = scale([], SPACING, stated)
    assert one.state == "not measured" and one.reason.count("nothing measures it") == 3
    unsure = Check("z distance", "not measured", "", -4.0, "%", 15.0)
    assert "distances along z are off by -4.0 %, +- 9.8 %" in scale([step, size, unsure], SPACING, stated).reason
