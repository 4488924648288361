"""Series whose positions have so many digits, not so many decimals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gpustitch.slices.verdict.judge import judge_series
from tests.slices.drawn_digits import STYLES, drawn_digits, series_of_texts, with_texts
from tests.slices.slice_headers import codes
from tests.slices.slice_positions import positions_of

# Greatest error of a position, as a part of the spacing, up to which its place in the grid is certain.
CERTAIN = 0.2


@pytest.mark.parametrize("n_lost", [0, 3])
def test_even_series_are_even_in_every_style_and_the_interval_holds_the_truth(n_lost):
    kind, tried, styles = ("MISSING" if n_lost else "UNIFORM"), 0, set()
    for seed in range(40):
        true = drawn_digits(seed, n_lost=n_lost)
        if true.coarse > CERTAIN:
            continue
        tried += 1
        styles.add(true.style)
        stack = judge_series(true.series)
        assert (stack.fit.spacing_class, stack.fit.n_output) == (kind, true.n_output), seed
        assert abs(stack.spacing_mm[0] - true.spacing) <= stack.uncertainty_mm[0] * (1 + 1e-6) + 1e-9, seed
        assert stack.uncertainty_mm[0] <= true.spacing * 0.1, seed
        assert ("POSITIONS_ROUNDED" in codes(stack)) or true.coarse <= 0.02, seed
    assert tried > 33 and styles == set(STYLES)


@pytest.mark.parametrize("seed", range(20))
def test_a_slice_that_is_elsewhere_is_not_excused_by_the_digits(seed):
    """Not even if it is written with fewer of them."""
    rng = np.random.default_rng(1000 + seed)
    true = drawn_digits(seed, is_oblique=False)
    if true.coarse > 0.05:
        pytest.skip("digits leave more open than the slice is off")
    k = int(rng.integers(1, true.n_output - 1))
    x, y, z = true.series.headers[k].position_mm
    moved = z + rng.choice([-1, 1]) * rng.uniform(0.25, 0.45) * true.spacing
    short = f"{moved:.3f}" if rng.random() < 0.5 else STYLES[true.style](moved)
    if abs(float(short) - z) < 0.15 * true.spacing:
        pytest.skip("the short number is near the place of the slice")
    stack = judge_series(with_texts(true.series, k, [repr(x), repr(y), short]))
    assert stack.fit.spacing_class not in ("UNIFORM", "MISSING") or not stack.is_usable


@pytest.mark.parametrize("seed", range(6))
def test_a_few_numbers_with_noise_do_not_make_the_others_exact(seed):
    rng = np.random.default_rng(seed)
    spacing, first = rng.uniform(0.3, 2) / 3, rng.uniform(-90, 90)
    texts = [["-10", "-12", f"{first + spacing * k:.2f}"] for k in range(60)]
    for k in rng.choice(60, 3, replace=False):
        texts[k][2] = f"{np.nextafter(float(texts[k][2]), 1e9):.17g}"
    stack = judge_series(series_of_texts(texts))
    assert (stack.fit.spacing_class, stack.fit.n_output) == ("UNIFORM", 60)
    assert abs(stack.spacing_mm[0] - spacing) <= stack.uncertainty_mm[0]


@pytest.mark.parametrize("kind", ["RUNS_WITH_GAPS", "VARIABLE", "IRREGULAR"])
@pytest.mark.parametrize("is_location", [False, True])
def test_other_classes_are_as_certain_in_every_style(kind, is_location):
    tried = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        write = STYLES[list(STYLES)[seed % len(STYLES)]]
        spacing = float(rng.choice([0.625, 1.25, rng.uniform(0.3, 3)]))
        true, _ = positions_of(kind, spacing, int(rng.integers(20, 80)), rng)
        true += rng.choice([-1000, -100, 100, 1000]) - true[-1] * rng.uniform(0.2, 0.8)
        texts = [write(v) for v in true]
        if max(abs(float(text) - v) for text, v in zip(texts, true, strict=True)) > 0.1 * spacing:
            continue
        tried += 1
        series = series_of_texts([["-10", "-12", text] for text in texts])
        if is_location:
            located = [
                dataclasses.replace(header, position_mm=None, slice_location_mm=header.position_mm[2])
                for header in series.headers
            ]
            series = dataclasses.replace(series, headers=tuple(located))
        stack = judge_series(series)
        assert stack.fit.spacing_class == kind, seed
        if kind != "IRREGULAR":
            assert abs(stack.spacing_mm[0] - np.diff(true).min()) <= stack.uncertainty_mm[0] + 1e-6, seed
    assert tried >= 18
