"""Misfit and scatter of flats, told by halves, against the truth; and the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpustitch.oblique.flat.fit import FlatOptions, fit_flat
from gpustitch.oblique.flat.judge import Judge, Judged, Sampled, best
from gpustitch.oblique.flat.percentiles import Parts, Percentiles

ROWS, COLUMNS = 60, 80
Y, X = np.mgrid[:ROWS, :COLUMNS] / np.array([ROWS, COLUMNS])[:, None, None] - 0.5
OPTIONS = FlatOptions(n_bins=1 << 14, values_per_bin=1, background=10)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Fits start from fewer samples: nothing here withstands outliers."""
    monkeypatch.setattr("gpustitch.oblique.flat.fit._TRIALS", 2)


def percentiles(image):
    return Percentiles(np.rint(image).astype(np.int32), np.full(image.shape, 100, np.int32))


def sampled(first, second):
    """Halves; quarters that hold nothing, so that nothing is known of them."""
    nothing = Percentiles.empty(ROWS, COLUMNS)
    return Sampled(Parts.of([first, second, *[nothing] * 4]), np.arange(ROWS), np.arange(COLUMNS))


def judge_of(light, noise, seed=0, common=0.0):
    """A judge of light with noise; ``common`` is misfit that both halves share."""
    rng = np.random.default_rng(seed)
    light = 4000 * light * (1 + common * np.sign(np.sin(30 * X) * np.sin(25 * Y)))
    parts = [percentiles(light * (1 + noise * rng.normal(size=light.shape))) for _ in range(2)]
    whole = percentiles((parts[0].bins + parts[1].bins) / 2)
    return Judge(sampled(*parts), OPTIONS), whole


def judged(judge, whole, model="product"):
    options = replace(OPTIONS, model=model)
    return judge.judged(fit_flat(whole.bins, whole.count, options), options)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("common", [0.0, 0.05, 0.15])
def test_noise_is_no_misfit_and_what_halves_share_is(noise, common):
    judge, whole = judge_of(np.exp(X - Y), noise, common=common)
    found = judged(judge, whole)
    # Blocks of 5 pixels average part of the pattern.
    assert 0.6 * common - 0.012 < found.misfit < common + 0.012
    assert found.sure_misfit <= found.misfit
    without = judge.no_flat()
    assert without.misfit == pytest.approx((X - Y).std(), rel=0.15)
    assert found.is_surely_better_than(without) and not without.is_better_than(found)


def test_scatter_is_that_of_flats_of_other_frames():
    light = np.exp(X - Y)
    judgements = [judged(*judge_of(light, 0.4, seed)) for seed in range(8)]
    logs = np.array([np.log(one.fit.counts) for one in judgements])
    true = (logs - logs.mean(axis=(1, 2), keepdims=True)).std(axis=0).mean()
    assert np.mean([one.scatter for one in judgements]) == pytest.approx(true, rel=0.5)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 999), st.floats(0.02, 0.2))
def test_a_rich_model_is_not_taken_for_noise(seed, noise):
    judge, whole = judge_of(np.exp(X - Y), noise, seed)
    models = [judged(judge, whole, model) for model in ("product", "smooth")]
    assert best(models).fit.model == "product"


def test_a_rich_model_is_taken_for_light_that_needs_it():
    judge, whole = judge_of(np.exp(-3 * (X**2 + Y**2)), 0.1)
    models = [judged(judge, whole, model) for model in ("reference", "product", "smooth")]
    assert best(models).fit.model == "smooth"


@pytest.mark.parametrize("misfit", [0.015, 0.03])
def test_a_rich_model_that_hardly_fits_better_follows_tissue(misfit):
    judge, whole = judge_of(np.exp(X - Y), 0.02)
    simple, rich = (judged(judge, whole, model) for model in ("product", "smooth"))
    simple = replace(simple, misfit=0.04, sure_misfit=0.035, errors=rich.errors + 0.04**2)
    rich = replace(rich, misfit=misfit)
    assert rich.is_surely_better_than(simple)
    assert best([simple, rich]) is (rich if misfit < 0.02 else simple)


def test_a_frame_that_hardly_any_tissue_passed_cannot_be_judged():
    judge, whole = judge_of(np.exp(X - Y), 0.1)
    empty = percentiles(np.zeros((ROWS, COLUMNS)))
    unable = Judge(sampled(percentiles(whole.bins), empty), OPTIONS)
    assert judge.is_able and judge.is_covered and not unable.is_able and not unable.is_covered
    found, without = judged(unable, whole), unable.no_flat()
    assert np.isnan([found.misfit, found.scatter, found.change, without.misfit]).all()
    assert not found.is_better_than(without) and not found.is_surely_better_than(without)
    assert best([found, Judged(None)]) is found
