"""The z-spacing stage: positions from images and from matrices, what it says, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.errors import AlignmentError, DamagedInputError, MissingExtraError, OutputExistsError, ParameterError
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.file import read_z_positions
from gpustitch.sections.positions.stage import ZSpacingOptions, plan, run
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.bands import full_matrix
from gpustitch.sections.similarity.file import write_similarity
from tests.sections.similarity.test_stage import Told

N, MAX_LAG = 60, 6
SOUND = SimulationOptions(number=N, rows=96, columns=96, seed=5, spacing_cv=0.25)
COMPAT = EstimateOptions(compat=True)


@pytest.fixture(scope="module")
def series():
    return simulate_series(SOUND)


@pytest.fixture(scope="module")
def strip(series):
    return banded_correlation(series.planes(), MAX_LAG)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "s.npz", **arrays)
    return tmp_path / "s.npz"


def asked(path, max_lag=None, **changed):
    return ZSpacingOptions(input=path, max_lag=max_lag, **changed)


def error_of(outcome, truth):
    found = outcome.result.positions
    return float(np.std(found - np.polyval(np.polyfit(truth, found, 1), truth)))


@pytest.mark.parametrize("compat", [False, True])
def test_images_a_half_strip_and_a_matrix_give_the_same(series, strip, tmp_path, compat):
    estimate = EstimateOptions(compat=compat)
    np.save(tmp_path / "stack.npy", series.planes())
    found = [
        run(plan(asked(path, MAX_LAG, estimate=estimate)))
        for path in (
            tmp_path / "stack.npy",
            saved(tmp_path, half_strip=strip),
            saved(tmp_path, matrix=full_matrix(strip)),
        )
    ]
    for outcome in found[1:]:
        np.testing.assert_allclose(outcome.result.positions, found[0].result.positions, atol=1e-3)
    assert error_of(found[0], series.positions) < 0.5 * error_of_none(series)


def error_of_none(series):
    return float(np.std(np.arange(N) - np.polyval(np.polyfit(series.positions, np.arange(N), 1), series.positions)))


def test_a_matrix_is_estimated_within_the_range_asked_for(strip, tmp_path):
    path = saved(tmp_path, matrix=full_matrix(strip))
    outcome = run(plan(asked(path, 4, estimate=COMPAT)))
    expected = estimate_positions(strip[:, :5], EstimateOptions(compat=True, max_lag=4))
    np.testing.assert_array_equal(outcome.result.positions, expected.positions)


def test_without_a_range_a_file_is_used_as_far_as_it_goes(strip, tmp_path):
    assert plan(asked(saved(tmp_path, half_strip=strip))).estimate.max_lag == MAX_LAG
    assert plan(asked(saved(tmp_path, matrix=full_matrix(strip)))).estimate.max_lag == 10
    assert plan(asked(saved(tmp_path, matrix=np.eye(5)))).estimate.max_lag == 4


def test_faults_are_found_and_named_and_no_position_is_nan(tmp_path):
    faulty = simulate_series(
        SimulationOptions(number=90, rows=128, columns=128, seed=3, gaps=1, gap_sections=(4, 4), duplicates=1, swaps=1,
                       damaged=1, damages=("blank",), constant=1)
    )  # fmt: skip
    np.save(tmp_path / "stack.npy", faulty.planes())
    told = Told()
    outcome = run(plan(asked(tmp_path / "stack.npy", output=tmp_path / "z.csv", report=tmp_path / "z.png")), told)
    truth = {fault.fault_type: fault.sections for fault in faulty.faults}
    lines = dict(line.split(": ", 1) for line in outcome.summary.splitlines())
    assert lines["constant"].startswith(f"{truth['constant'][0]} (")
    assert "{}={} (".format(*truth["duplicate"]) in lines["duplicate"]
    assert "{}|{} (".format(*truth["missing"]) in lines["missing"] and " missing, " in lines["missing"]
    assert "{}-{} (".format(*truth["swapped"]) in lines["swapped"]
    assert lines["sections reordered"] == "2 ({}, {})".format(*truth["swapped"])
    assert lines["spacing of 90 sections, in nominal ones"].startswith("median ")
    named = [line for line in told.lines if line.endswith(f" {truth['constant'][0]}")]
    assert len(named) == 1 and named[0].startswith("without similarity to any other, constant or ")
    assert any("get no votes; they are left between their neighbours" in line for line in told.lines)
    recorded = json.loads((tmp_path / "z.csv.json").read_text())
    constant = {
        "fault_type": "constant",
        "sections": list(truth["constant"]),
        "confidence": 1.0,
        "missing": 0,
        "at_least": False,
    }
    assert constant in recorded["faults"] and recorded["schema"] == 2
    assert recorded["parameters"]["max_lag"] == 10 and recorded["parameters"]["outer_iterations"] == 100
    z = read_z_positions(tmp_path / "z.csv")
    np.testing.assert_array_equal(z.positions, outcome.result.positions)
    np.testing.assert_array_equal(z.order, outcome.result.order)
    assert (tmp_path / "z.png").stat().st_size > 10_000


def test_a_row_of_nan_gets_no_votes_and_a_place_between_its_neighbours(strip, tmp_path):
    matrix = full_matrix(strip)
    matrix[20, :] = matrix[:, 20] = np.nan
    told = Told()
    outcome = run(plan(asked(saved(tmp_path, matrix=matrix), MAX_LAG)), told)
    assert outcome.result.without_votes.tolist() == [20]
    assert np.isfinite(outcome.result.positions).all()
    assert outcome.result.positions[19] < outcome.result.positions[20] < outcome.result.positions[21]
    assert "without similarity to any other: sections 20" in told.lines


def test_nan_on_the_diagonal_changes_nothing_and_is_told(strip, tmp_path):
    matrix = full_matrix(strip)
    matrix[7, 7] = np.nan
    told = Told()
    found = run(plan(asked(saved(tmp_path, matrix=matrix), MAX_LAG)), told)
    assert told.lines[0] == "similarity to itself was NaN and is taken as 1: sections 7"
    expected = run(plan(asked(saved(tmp_path, matrix=full_matrix(strip)), MAX_LAG)))
    np.testing.assert_array_equal(found.result.positions, expected.result.positions)


def test_too_few_iterations_are_told(strip, tmp_path):
    path = saved(tmp_path, half_strip=strip)
    told = Told()
    run(plan(asked(path, estimate=EstimateOptions(outer_iterations=1))), told)
    assert "`outer_iterations` allows more" in told.lines[-1]
    assert told.total == 1


@pytest.mark.parametrize(
    ("arrays", "max_lag", "error", "said"),
    [
        ({"matrix": np.eye(2)}, None, ParameterError, "at least 3 sections, not of 2"),
        ({"matrix": np.eye(1)}, None, ParameterError, "two|3"),
        ({"matrix": np.eye(5)}, 5, ParameterError, "`max_lag` is 5; of 5 planes it is 1 to 4"),
        ({"matrix": np.eye(5)}, 0, ParameterError, "`max_lag`"),
        ({"matrix": np.ones((5, 4))}, None, DamagedInputError, "square"),
        ({"matrix": np.eye(5) + np.diag([0.5] * 4, 1)}, None, DamagedInputError, "not symmetric"),
    ],
)
def test_files_and_ranges_that_will_not_do(tmp_path, arrays, max_lag, error, said):
    with pytest.raises(error, match=said):
        plan(asked(saved(tmp_path, **arrays), max_lag))


def test_a_range_that_the_file_does_not_hold(strip, tmp_path):
    with pytest.raises(ParameterError, match=r"`max_lag` is 9, but .* holds similarities within 6 only"):
        plan(asked(saved(tmp_path, half_strip=strip), 9))


def test_two_planes_are_no_series(tmp_path):
    np.save(tmp_path / "stack.npy", np.random.default_rng(0).integers(0, 9, (2, 8, 8), np.uint8))
    with pytest.raises(ParameterError, match="at least 3 sections, not of 2"):
        plan(asked(tmp_path / "stack.npy"))


def test_nothing_but_nan(tmp_path):
    with pytest.raises(AlignmentError, match="none of the 5 sections"):
        run(plan(asked(saved(tmp_path, matrix=np.full((5, 5), np.nan)))))


def test_outputs_are_checked_before_anything_is_computed(strip, tmp_path, monkeypatch):
    path = tmp_path / "s.npz"
    write_similarity(path, strip)
    (tmp_path / "z.csv").touch()
    with pytest.raises(OutputExistsError):
        plan(asked(path, output=tmp_path / "z.csv"))
    with pytest.raises(ParameterError, match="is a picture"):
        plan(asked(path, report=tmp_path / "z.txt"))
    with pytest.raises(ParameterError, match="both"):
        plan(asked(path, output=tmp_path / "a.pdf", report=tmp_path / "a.pdf"))
    with pytest.raises(ParameterError, match="is the input"):
        plan(asked(path, output=path, overwrite=True))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"gpustitch\[report\]"):
        plan(asked(path, report=tmp_path / "z.pdf"))


def test_a_report_that_cannot_be_drawn_leaves_nothing(strip, tmp_path, monkeypatch):
    def broken(*_arguments):
        raise ValueError("no ink")

    monkeypatch.setattr("gpustitch.sections.positions.stage.draw_report", broken)
    job = plan(
        asked(saved(tmp_path, matrix=full_matrix(strip)), MAX_LAG, output=tmp_path / "z.csv", report=tmp_path / "z.png")
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no ink"):
        run(job)
    assert sorted(tmp_path.iterdir()) == before
