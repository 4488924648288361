"""Classification of positions along the normal: what the words mean, and series without number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.model import SpacingClass
from tests.slices.slice_positions import positions_of

Floats = npt.NDArray[np.float64]
# Binary positions: errors of arithmetic only.
EXACT = 5e-7


def three_runs() -> Floats:
    run = 0.6 * np.arange(100)
    return np.concatenate([run, run + run[-1] + 61, run + 2 * run[-1] + 61 + 116])


@pytest.mark.parametrize(
    ("positions", "rounding", "kind", "spacing", "n_output"),
    [
        (np.round(3.217 + 0.58333 * np.arange(306), 1), 0.05, "UNIFORM", 0.58333, 306),
        (three_runs(), EXACT, "RUNS_WITH_GAPS", 0.6, 593),
        (np.delete(1.5 * np.arange(30), [7, 19]), EXACT, "MISSING", 1.5, 30),
        (5 * np.cos(np.deg2rad(20)) * np.arange(20), EXACT, "UNIFORM", 4.69846, 20),
        (np.concatenate([2.5 * np.arange(20), 47.5 + 7.5 * np.arange(1, 13)]), EXACT, "VARIABLE", 2.5, 56),
        (np.array([-99.480003, 103.019997, 104.269997, 105.519997]), EXACT, "RUNS_WITH_GAPS", 1.25, 165),
        (np.cumsum(np.random.default_rng(0).uniform(0.5, 2, 40)), EXACT, "IRREGULAR", 1.41, 37),
        (np.array([4.0, 6.5]), EXACT, "UNIFORM", 2.5, 2),
    ],
)
def test_positions_have_the_class_and_spacing_they_were_made_with(
    positions: Floats, rounding: float, kind: str, spacing: float, n_output: int
) -> None:
    fit = fit_slices(positions, rounding)
    assert fit.spacing_class == kind
    assert fit.spacing_mm == pytest.approx(spacing, abs=5e-3 if kind == "IRREGULAR" else fit.uncertainty_mm + 1e-5)
    assert fit.n_output == n_output


def test_rounded_positions_say_so_and_how_far_the_spacing_may_be_off() -> None:
    fit = fit_slices(np.round(3.217 + 0.58333 * np.arange(306), 1), 0.05)
    assert fit.is_rounded
    assert fit.uncertainty_mm == pytest.approx(2 * 0.05 / 305)
    assert abs(fit.spacing_mm - 0.58333) < fit.uncertainty_mm / 4
    assert fit.residual_mm <= 0.05 + 1e-9


@pytest.mark.parametrize("seed", range(8))
def test_unevenness_within_the_tolerance_of_wide_stretches_is_not_called_rounding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fine, wide = 1.0, float(rng.uniform(2, 5))
    # Slices of the wide stretch are off by less than 1 % of its own spacing, but by more than 1 % of the finest.
    off = 0.005 * wide * np.resize([1, -1], 9) * rng.uniform(0.9, 1)
    positions = np.concatenate([fine * np.arange(9), 8 * fine + wide * np.arange(1, 10) + off])
    fit = fit_slices(positions, EXACT)
    assert fit.spacing_class is SpacingClass.VARIABLE
    assert fit.residual_mm > 10 * fit.rounding_mm and not fit.is_rounded


def test_rounding_does_not_excuse_a_missing_slice() -> None:
    fit = fit_slices(np.delete(np.round(0.7 * np.arange(80), 1), 33), 0.05)
    assert fit.spacing_class is SpacingClass.MISSING
    assert (fit.n_output, len(fit.stretches)) == (80, 2)
    assert fit.steps[32:34].tolist() == [32, 34]


def test_positions_coarser_than_the_spacing_are_told_apart_by_number() -> None:
    true = 0.3 * np.arange(50)
    up = fit_slices(np.round(true), 0.5, np.arange(50))
    down = fit_slices(np.round(true), 0.5, np.arange(50)[::-1].copy())
    for fit in (up, down):
        assert fit.by_number and fit.is_rounded
        assert fit.spacing_class is SpacingClass.UNIFORM
        assert abs(fit.spacing_mm - 0.3) <= fit.uncertainty_mm
    with pytest.raises(ParameterError, match="one position"):
        fit_slices(np.round(true), 0.5)


@pytest.mark.parametrize("seed", range(12))
def test_slices_at_whole_mm_that_were_numbered_anew_have_holes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(12, 60)), 1 + seed % 2
    unit = float(rng.choice([0.01, 0.1, 1.0]))
    kept = np.delete(np.arange(n), np.sort(rng.choice(np.arange(2, n - 2), k, replace=False)))
    numbers = np.arange(len(kept))[:: 1 if seed % 3 else -1].copy()
    fit = fit_slices(unit * (kept - 40), unit / 2, numbers)
    assert (fit.spacing_class, fit.n_output) == (SpacingClass.MISSING, n)
    assert fit.spacing_mm == pytest.approx(unit) and fit.steps.tolist() == kept.tolist()


@pytest.mark.parametrize("spacing", [1.05, 1.11, 1.17])
def test_wide_intervals_that_are_evenly_spaced_come_from_decimals(spacing: float) -> None:
    fit = fit_slices(np.round(spacing * np.arange(150)), 0.5, np.arange(150))
    assert fit.spacing_class is SpacingClass.UNIFORM and fit.by_number
    assert abs(fit.spacing_mm - spacing) <= fit.uncertainty_mm


def test_numbers_that_contradict_coarse_positions_are_not_believed() -> None:
    numbers = np.random.default_rng(0).permutation(50)
    with pytest.raises(ParameterError, match="one position"):
        fit_slices(np.round(0.3 * np.arange(50)), 0.5, numbers)


def test_whole_millimetres_that_fit_exactly_are_not_called_rounded() -> None:
    fit = fit_slices(np.arange(30.0), 0.5, np.arange(30))
    assert (fit.spacing_class, fit.is_rounded, fit.by_number) == ("UNIFORM", False, False)
    steps = np.delete(np.arange(30), [7, 19])
    fit = fit_slices(steps.astype(float), 0.5, steps)
    assert (fit.spacing_class, fit.is_rounded, fit.by_number, fit.n_output) == ("MISSING", False, False, 30)
    steps = np.concatenate([np.arange(60), 100 + np.arange(60)])
    fit = fit_slices(steps.astype(float), 0.5, steps)
    assert (fit.spacing_class, fit.n_output) == ("RUNS_WITH_GAPS", 160)


def test_numbers_that_skip_are_no_missing_slices_if_all_do() -> None:
    fit = fit_slices(np.round(1.1 * np.arange(20)), 0.5, 3 * np.arange(20) + 1)
    assert fit.by_number
    assert (fit.spacing_class, fit.n_output, fit.steps.tolist()) == ("UNIFORM", 20, list(range(20)))


def test_rounding_that_turns_neighbours_around_does_not_hide_the_order() -> None:
    rng = np.random.default_rng(1)
    written = 0.9 * np.arange(80) + rng.uniform(-0.7, 0.7, 80)
    order = np.argsort(written, kind="stable")
    assert (np.diff(written) < 0).any()
    fit = fit_slices(written[order], 0.75, order)
    assert fit.by_number and fit.spacing_class is SpacingClass.UNIFORM
    assert abs(fit.spacing_mm - 0.9) <= fit.uncertainty_mm


def test_five_slices_lost_in_a_row_are_a_gap_and_four_are_missing() -> None:
    for lost, kind in ((4, SpacingClass.MISSING), (5, SpacingClass.RUNS_WITH_GAPS)):
        steps = np.delete(np.arange(40), 20 + np.arange(lost))
        assert fit_slices(1.5 * steps, EXACT).spacing_class is kind


def test_the_tolerance_says_how_far_off_the_grid_is_still_even() -> None:
    jitter = np.random.default_rng(2).uniform(-0.04, 0.04, 60)
    positions = 2.0 * np.arange(60) + jitter
    assert fit_slices(positions, EXACT).spacing_class is not SpacingClass.UNIFORM
    assert fit_slices(positions, EXACT, tolerance=0.03).spacing_class is SpacingClass.UNIFORM
    for bad in (0.0, 0.5, np.nan):
        with pytest.raises(ParameterError, match="tolerance"):
            fit_slices(positions, EXACT, tolerance=bad)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ([], "ascending numbers, at least one"),
        ([0.0, np.nan], "ascending numbers"),
        ([1.0, 0.0], "ascending numbers"),
        ([2.0, 2.0, 2.0], "all slices have one position"),
        ([0.0, 1.0, 1.0, 2.0], "several slices have one position"),
    ],
)
def test_senseless_positions_are_refused(bad: list[float], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        fit_slices(np.array(bad), EXACT)


def test_one_slice_has_no_spacing() -> None:
    fit = fit_slices(np.array([3.0]), EXACT)
    assert fit.spacing_class is SpacingClass.SINGLE
    assert np.isnan(fit.spacing_mm)
    assert fit.n_output == 1 and fit.origin_mm == 3


@pytest.mark.parametrize("far_mm", [0, 900, -900])
def test_how_far_uneven_positions_are_off_a_line_is_not_where_they_are(far_mm: float) -> None:
    positions = far_mm + np.cumsum(np.random.default_rng(0).uniform(0.5, 2, 40))
    fit = fit_slices(positions, EXACT)
    line = np.polyval(np.polyfit(np.arange(40), positions, 1), np.arange(40))
    assert fit.spacing_class is SpacingClass.IRREGULAR
    assert fit.residual_mm == pytest.approx(np.abs(positions - line).max(), rel=1e-6)


@dataclass(frozen=True)
class Drawn:
    """A series with truth."""

    kind: str
    positions: Floats
    rounding: float
    spacing: float
    n_output: int | None


def drawn(seed: int) -> Drawn | None:
    """A random series as written with few decimals along a random normal; None where its class is not defined."""
    rng = np.random.default_rng(seed)
    spacing = float(np.exp(rng.uniform(np.log(0.2), np.log(10))))
    n = int(rng.integers(8, 300))
    normal = rng.normal(size=3) if rng.random() < 0.5 else np.array([0.0, 0.0, 1.0])
    normal /= np.linalg.norm(normal)
    quantum = 10.0 ** -int(rng.integers(0, 7))
    if 0.5 * np.abs(normal).sum() * quantum > 0.2 * spacing:
        quantum = 1e-6
    kind = str(rng.choice(["UNIFORM", "MISSING", "RUNS_WITH_GAPS", "VARIABLE", "IRREGULAR"]))
    true, n_output = positions_of(kind, spacing, n, rng)
    written = np.round((true[:, None] * normal + rng.uniform(-100, 100, 3)) / quantum) * quantum
    along = np.sort(written @ normal)
    gaps, steps = np.diff(along), np.rint(np.diff(true) / spacing)
    if gaps.min() <= 1e-3 * np.median(gaps):
        return None
    if kind == "MISSING":
        wide = steps > 1
        if steps.max() > 5 or wide.sum() > max(1, 0.2 * len(steps)) or (wide[2:] & wide[1:-1] & wide[:-2]).any():
            return None
    return Drawn(kind, along, 0.5 * float(np.abs(normal).sum()) * quantum, spacing, n_output)


def test_hundreds_of_series_are_read_right() -> None:
    wrong, n_tried = [], 0
    for seed in range(600):
        series = drawn(seed)
        if series is None:
            continue
        n_tried += 1
        fit = fit_slices(series.positions, series.rounding)
        right = fit.spacing_class == series.kind
        if series.n_output is not None:
            right &= fit.n_output == series.n_output
            right &= abs(fit.spacing_mm - series.spacing) <= fit.uncertainty_mm * (1 + 1e-6) + 1e-9
        if not right:
            wrong.append((seed, series.kind, str(fit.spacing_class), series.spacing, fit.spacing_mm, series.rounding))
    assert n_tried >= 500
    assert not wrong


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0.1, 20), st.floats(-500, 500), st.integers(3, 60), st.sampled_from([0.1, 0.01, 1e-4]), st.integers(0, 9)
)
def test_the_stated_uncertainty_holds(spacing: float, start: float, n: int, quantum: float, seed: int) -> None:
    if quantum > 0.4 * spacing:
        return
    drift = np.random.default_rng(seed).uniform(-0.5, 0.5)
    written = np.round((start + drift * quantum + spacing * np.arange(n)) / quantum) * quantum
    fit = fit_slices(written, quantum / 2 * (1 + 1e-6))
    assert fit.spacing_class is SpacingClass.UNIFORM
    assert abs(fit.spacing_mm - spacing) <= fit.uncertainty_mm * (1 + 1e-6) + 1e-9
