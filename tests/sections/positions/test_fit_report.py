"""What people and programs are told of how far the model of similarities holds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bench.bench_zspacing_model import contradictory, steady, textured, waves
from gpustitch.sections.model import Estimate, EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.fit_report import fit_lines, fit_record, tell_fit
from tests.running.readings import Told

pytestmark = pytest.mark.long

PLAIN = Estimate(
    positions=np.arange(6, dtype=float),
    order=np.arange(6),
    weights=np.ones(6),
    uncertainty=np.full(6, 0.1),
    curves=np.ones((1, 3)),
    without_votes=np.zeros(0, np.int64),
    iterations=3,
    largest_move=0.0,
    misfit=0.01,
    spacing_ratio=1.7,
)


def told_of(matrix, **changes):
    options = EstimateOptions(**changes)
    found, told = estimate_positions(matrix, options), Told()
    tell_fit(found, options, set(), told)
    return found, "\n".join(told.warnings)


def test_nothing_is_told_of_a_series_that_follows_one_curve():
    spacing = np.random.default_rng(1).uniform(0.5, 1.5, 80)
    found, text = told_of(textured(spacing, 1)[1])
    assert text == ""
    lines = fit_lines(found)
    assert len(lines) == 2
    assert found.relative_misfit < 0.03
    assert found.solutions_apart == 0
    assert f"sections would lie {found.if_texture:.2g} elsewhere" in lines[1]
    assert fit_record(found)["if_texture_sections"] == found.if_texture > 0


@pytest.mark.parametrize(("pair_error", "offset"), [(0.1, 0), (0, 0.25)])
def test_similarities_that_scatter_much_are_told(pair_error, offset):
    found, text = told_of(contradictory(2, pair_error, offset, 20, n=80)[1])
    assert f"scatter by {found.relative_misfit:.2g} about one curve" in text


def test_one_of_several_solutions_is_said_to_be_one():
    matrix = contradictory(3, 0.1, 0, 20, n=100)[1]
    found, _ = told_of(matrix)
    assert f"another one is {found.solutions_apart:.2g} sections off" in "".join(fit_lines(found))
    assert fit_record(found)["solutions_apart_sections"] == found.solutions_apart > 0.5
    # As another host or device rounds: farther off than their rounding, within what is stated.
    rng = np.random.default_rng(3)
    error = 1e-6 * rng.standard_normal(matrix.shape)
    other = estimate_positions(matrix * (1 + error + error.T))
    apart = np.abs(other.positions - found.positions)
    assert np.mean(apart < 2 * np.hypot(found.uncertainty, other.uncertainty)) > 0.9
    assert np.median(found.uncertainty) > 0.8 * found.solutions_apart


def test_series_of_one_solution_are_not_said_to_have_several():
    matrix = contradictory(1, 0.05, 0, 20, n=120)[1]
    found, _ = told_of(matrix)
    assert found.relative_misfit > 0.04 and found.solutions_apart == 0
    rng = np.random.default_rng(0)
    error = 3e-7 * rng.standard_normal(matrix.shape)
    other = estimate_positions(matrix * (1 + error + error.T))
    assert np.abs(other.positions - found.positions).max() < 0.3 * np.median(found.uncertainty)


def test_texture_that_nothing_shows_moves_positions_as_is_said():
    """A steady change of texture, seen as one of thickness: hidden where spacings scatter as much."""
    finer = np.geomspace(0.85, 1.18, 120)  # similarity falls faster, as if spacings were wider
    errors, said = [], []
    for seed in (4, 5):
        spacing = np.random.default_rng(seed).uniform(0.4, 1.6, 120)
        truth, _ = textured(spacing, seed)
        found = estimate_positions(textured(spacing * finer, seed)[1])
        assert not found.undecided and found.assumed == "thickness"
        design = np.stack([found.positions, np.ones(120)], axis=1)
        error = design @ np.linalg.lstsq(design, truth, rcond=None)[0] - truth
        errors.append(np.sqrt(np.mean(error**2)))
        said.append(found.if_texture)
    assert 0.4 < np.mean(errors) / np.mean(said) < 2
    assert estimate_positions(textured(steady(100, 1.9, 3), 3)[1]).if_texture == 0


def test_stretches_that_differ_beyond_belief_are_told_unless_thickness_is_assumed():
    matrix = textured(waves(160, 0.4, 2.2, 2.0, 1), 1)[1]
    found, text = told_of(matrix)
    assert f"differs {found.spacing_ratio:.1f} to 1" in text
    assert "differs" not in told_of(matrix, assume="thickness")[1]


def test_the_record_says_what_lines_say_and_nothing_of_compat():
    found = estimate_positions(textured(steady(100, 1.9, 3), 3)[1])
    record = json.loads(json.dumps(fit_record(found), allow_nan=False))
    assert record["undecided"] is True
    assert record["assumed"] == "thickness"
    assert record["misfit"] == pytest.approx(found.misfit)
    compat = estimate_positions(textured(steady(40, 1.1, 3), 3)[1], EstimateOptions(compat=True, outer_iterations=3))
    assert fit_record(compat)["misfit"] is None
    assert fit_lines(compat) == []


@pytest.mark.parametrize(
    ("assumed", "undecided", "parts", "structures", "said"),
    [
        ("texture", True, 1.4, np.nan, "was taken out as one of texture; errors span it"),
        ("thickness", True, 1.4, np.nan, "may be one of texture, but stays; errors span it"),
        ("texture", True, 1.0, 3.0, "was taken out; errors span it"),
        ("texture", True, 1.0, 1.0, "taken for a trend of texture; errors span one of thickness"),
        ("thickness", True, 1.0, 3.0, "taken for a trend of thickness; errors span one of texture"),
        ("texture", False, 1.4, 3.0, "1.7 to 1, was taken out as one of texture"),
        ("thickness", False, 1.4, 3.0, None),
    ],
)
def test_what_was_done_with_a_trend(assumed, undecided, parts, structures, said):
    found = replace(PLAIN, assumed=assumed, undecided=undecided, parts_ratio=parts, texture_ratio=structures)
    first, *lines = fit_lines(found)
    assert "misfit" in first
    assert len(lines) == (said is not None)
    if said is not None:
        assert said in lines[0].replace(" (1.7 to 1)", "").replace(" (1.7 to 1 in all)", "")
