"""Lengths in another unit than they say, and real ones that look odd."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gpustitch.slices.verdict.judge import JudgeOptions, judge_series
from tests.slices.slice_headers import codes, series_of, text


def scaled(z, pixel, n=12, first=3.5, **tags):
    """A judged series of slices ``z`` apart with square pixels."""
    series = series_of(
        first + z * np.arange(n), origin_mm=(0, 0, 0), decimals=12, pixel_spacing_mm=(pixel, pixel), **tags
    )
    return judge_series(series)


@pytest.mark.parametrize("seed", range(30))
def test_another_unit_is_told_and_nothing_converted(seed):
    rng = np.random.default_rng(seed)
    factor, names = [(1e3, "um and mm"), (1e6, "nm and mm")][seed % 2]
    pixel = 10 ** rng.uniform(-2, 0.3)
    z = pixel * rng.uniform(0.4, 4) * (factor if rng.random() < 0.5 else 1 / factor)
    pixel, z = (pixel / 500, z / 500) if z > 900 else (pixel, z)
    stack = scaled(z, pixel)
    said = text(stack, "SCALE_DOUBTFUL")
    assert f"factor of {factor:g}" in said and names in said
    assert stack.spacing_mm[0] == pytest.approx(z, rel=1e-6) and stack.spacing_mm[1:] == (pixel, pixel)
    assert stack.fit.spacing_class == "UNIFORM" and "Check the unit" in stack.advice


@pytest.mark.parametrize("seed", range(10))
def test_slices_far_from_their_thickness_are_told(seed):
    rng = np.random.default_rng(seed)
    pixel = rng.uniform(0.3, 1)
    z = pixel * rng.uniform(1, 10)
    thickness = z * rng.uniform(25, 45) ** rng.choice([-1, 1])
    assert "SliceThickness" in text(scaled(z, pixel, thickness_mm=thickness), "SCALE_DOUBTFUL")
    assert not codes(scaled(z, pixel, thickness_mm=z * rng.uniform(0.06, 18)))


@pytest.mark.parametrize("seed", range(10))
def test_numbers_of_slices_are_no_positions(seed):
    rng = np.random.default_rng(seed)
    first = int(rng.integers(0, 2))
    pixel = rng.uniform(0.025, 0.18)
    said = text(scaled(1.0, pixel, int(rng.integers(5, 90)), first), "SCALE_DOUBTFUL")
    assert f"numbers of the slices, {first} to" in said
    assert not codes(scaled(1.0, pixel, first=7)) and not codes(scaled(1.0, rng.uniform(0.25, 4), first=first))


@pytest.mark.parametrize(("z", "pixel"), [(2e-7, 1e-7), (1e-12, 1e-12), (2000.0, 1500.0), (20.0, 50.0)])
def test_sizes_of_nothing_that_is_imaged_are_told(z, pixel):
    assert "SCALE_DOUBTFUL" in codes(scaled(z, pixel, first=0))


@pytest.mark.parametrize(
    ("z", "pixel", "thickness"),
    [
        (50e-3, 1e-3, 0.05), (5.0, 0.45, 5.0), (0.6, 0.977, 0.6), (10.0, 0.2, 10.0), (0.4, 4.07, 3.0),
        (3e-5, 4e-6, None), (1e-3, 5e-4, None), (0.25, 0.125, None), (8.0, 4.8, 8.0), (1.0, 0.5, 20.0),
    ],
)  # fmt: skip
def test_what_scanners_and_microscopes_make_is_not_doubted(z, pixel, thickness):
    assert not codes(scaled(z, pixel, thickness_mm=thickness))


@pytest.mark.parametrize("given", [20.0, 0.02])
def test_a_spacing_that_is_given_is_held_against_the_pixels_too(given):
    series = series_of(np.arange(9), position_mm=None, pixel_spacing_mm=(0.02, 0.02))
    said = codes(judge_series(series, JudgeOptions(slice_spacing_mm=given)))
    assert ("SCALE_DOUBTFUL" in said) == (given > 1)


@pytest.mark.parametrize("spacing", [(1e-15, 1e-15, 1e-15), (0.02, 20.0, 20.0), (1.0, 1e-3, 1e-3)])
def test_what_files_state_outright_is_held_against_itself(spacing):
    headers = tuple(
        dataclasses.replace(header, position_mm=None, pixel_spacing_mm=spacing[1:])
        for header in series_of(np.arange(5)).headers
    )
    series = dataclasses.replace(series_of([0]), source_format="tiff", headers=headers, spacing_mm=spacing)
    stack = judge_series(series)
    assert "SCALE_DOUBTFUL" in codes(stack) and stack.spacing_mm == spacing
