"""What people and programs are told of how far the model of similarities holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.bench_zspacing_model import contradictory, steady, textured, waves
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.fit_report import fit_lines, fit_record, tell_fit
from tests.running.readings import Told


def told_of(matrix, **changes):
    options = EstimateOptions(**changes)
    found, told = estimate_positions(matrix, options), Told()
    tell_fit(found, options, set(), told)
    return found, "\n".join(told.warnings)


def test_nothing_is_told_of_a_series_that_follows_one_curve():
    spacing = np.random.default_rng(1).uniform(0.5, 1.5, 80)
    found, text = told_of(textured(spacing, 1)[1])
    assert text == ""
    assert len(fit_lines(found)) == 1
    assert found.relative_misfit < 0.03


@pytest.mark.parametrize(("pair_error", "offset"), [(0.1, 0), (0, 0.25)])
def test_similarities_that_scatter_much_are_told(pair_error, offset):
    found, text = told_of(contradictory(2, pair_error, offset, 20, n=80)[1])
    assert f"scatter by {found.relative_misfit:.2g} about one curve" in text


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
