"""Stacks whose blocks are out of order: positions, faults and what is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.io.atomic import record_of
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.stage import ZSpacingOptions, plan, run
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.stage import run as run_similarity
from tests.sections.positions.zspacing_golden import rms_error
from tests.sections.similarity.test_stage import Told

pytestmark = pytest.mark.long

N, MAX_LAG = 80, 6


@pytest.fixture(scope="module")
def series():
    return simulate_series(SimulationOptions(number=N, rows=64, columns=64, seed=11, spacing_cv=0.2, damaged=1))


def recorded(kind):
    """Which section each recorded one is."""
    order = np.arange(N)
    if kind == "blocks":
        return np.concatenate([order[:20], order[45:60], order[20:45], order[60:]])
    return np.array(sorted(order, key=str)) if kind == "text" else order


def saved(series, order, tmp_path):
    np.save(tmp_path / "stack.npy", series.planes()[order])
    return tmp_path / "stack.npy"


@pytest.mark.parametrize("kind", ["blocks", "text"])
def test_blocks_beyond_the_range_come_back_to_their_places(series, tmp_path, kind):
    order, told = recorded(kind), Told()
    found = run(plan(ZSpacingOptions(input=saved(series, order, tmp_path), max_lag=MAX_LAG)), told)
    truth = series.positions[order]
    assert rms_error(found.result.positions, truth) < 0.5
    in_order = order[found.result.order]
    in_order = in_order if in_order[0] < in_order[-1] else in_order[::-1]
    assert np.mean(np.diff(in_order) == 1) > 0.95
    damaged = {int(np.flatnonzero(order == i)[0]) for i in series.faulty("damaged")}
    assert {i for fault in found.faults if fault.fault_type == "damaged" for i in fault.sections} == damaged
    assert not [fault for fault in found.faults if fault.missing > 5]
    assert any("does not hang together; as the images tell" in text for text in told.lines)


def test_a_series_in_order_is_not_looked_at(series, tmp_path, monkeypatch):
    monkeypatch.setattr("gpustitch.sections.positions.stage.ChosenPlanes", lambda *_: pytest.fail("looked at"))
    sound = simulate_series(SimulationOptions(number=30, rows=48, columns=48, seed=2, spacing_cv=0.2))
    told = Told()
    run(plan(ZSpacingOptions(input=saved(sound, np.arange(30), tmp_path), max_lag=MAX_LAG)), told)
    assert not told.lines


def test_similarities_alone_say_where_a_series_does_not_hang_together(series, tmp_path):
    order, told = recorded("blocks"), Told()
    np.savez(tmp_path / "s.npz", half_strip=banded_correlation(series.planes()[order], MAX_LAG))
    run(plan(ZSpacingOptions(input=tmp_path / "s.npz")), told)
    (text,) = [text for text in told.lines if "hang together" in text]
    assert "19|20, 34|35, 59|60" in text


def test_no_reordering_leaves_blocks_where_they_are(series, tmp_path):
    asked = ZSpacingOptions(
        input=saved(series, recorded("blocks"), tmp_path),
        max_lag=MAX_LAG,
        estimate=EstimateOptions(allow_reordering=False),
    )
    assert (np.diff(run(plan(asked)).result.positions) >= 0).all()


def test_the_record_says_how_the_sections_were_compared_that_count(series, tmp_path, monkeypatch):
    """Of a series put in order: the look at the recorded order may have decided otherwise."""
    seen = []

    def compare(*given, **options):
        result = run_similarity(*given, **options)
        seen.append(replace(result, prepared=replace(result.prepared, high_pass_px=10.0 + len(seen))))
        return seen[-1]

    monkeypatch.setattr("gpustitch.sections.similarity.stage.run", compare)
    table = tmp_path / "z.csv"
    run(plan(ZSpacingOptions(saved(series, recorded("blocks"), tmp_path), table, max_lag=MAX_LAG)))
    record = json.loads(record_of(table).read_text())
    assert record["compared"]["high_pass_px"] == 9.0 + len(seen)
    assert len(seen) > 2
