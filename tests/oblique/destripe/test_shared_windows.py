"""Windows made of shared cells: which samples they hold, and their percentiles against those of windows one by one."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.destripe import lightsheet
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, background_estimate
from gpustitch.oblique.destripe.percentile import window_percentiles
from gpustitch.oblique.destripe.shared_windows import cells_of, shared_percentiles
from tests.cuda_cpu import module, shim

on_stand_in = pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")


def windows(rng: np.random.Generator, length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows at any places, some of one pixel, some of the whole axis."""
    starts = rng.integers(0, length, count)
    stops = starts + rng.integers(1, length, count)
    starts[0], stops[0] = 0, length
    return starts, np.minimum(stops, length)


@pytest.mark.parametrize("seed", range(20))
def test_each_window_consists_of_whole_cells_and_no_sample_is_in_two(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, step = int(rng.integers(2, 90)), int(rng.integers(1, 5))
    starts, stops = windows(rng, length, int(rng.integers(1, 9)))
    cells = cells_of(starts, stops, step)
    samples = [list(range(phase + a * step, phase + b * step, step)) for phase, a, b in cells.spans.tolist()]
    assert all(samples) and len({s for cell in samples for s in cell}) == sum(map(len, samples))
    assert cells.longest == max(map(len, samples))
    for start, stop, (first, last) in zip(starts, stops, cells.ranges.tolist(), strict=True):
        assert [s for cell in samples[first:last] for s in cell] == list(range(start, stop, step))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("step", "fraction"), [(1, 0.25), (2, 0.0), (2, 0.37), (3, 1.0)])
def test_percentiles_are_those_of_windows_one_by_one(dtype: type, step: int, fraction: float) -> None:
    rng = np.random.default_rng(step)
    images = rng.integers(0, 250, (2, 37, 41)).astype(dtype)
    down, across = windows(rng, 37, 5), windows(rng, 41, 7)
    expected, found = (np.zeros((2, 5, 7), np.float32) for _ in range(2))
    window_percentiles(images, *down, *across, expected, step, fraction)
    shared_percentiles(images, cells_of(*down, step), cells_of(*across, step), found, step, fraction)
    np.testing.assert_array_equal(found, expected)


@on_stand_in
@pytest.mark.parametrize(
    ("shape", "size"), [((2, 160, 130), 100), ((1, 130, 211), 137), ((1, 60, 90), 200), ((1, 20, 230), 101)]
)
def test_a_device_sorts_each_sample_once_for_the_same_background(shape, size, monkeypatch) -> None:
    images = np.random.default_rng(size).poisson(300, shape).astype(np.uint16)
    options = LightsheetOptions(background_window_size=size)
    expected = background_estimate(images, options)
    # Not by one window at a time.
    monkeypatch.setattr(lightsheet, "window_percentiles", None)
    with shim.installed():
        found = background_estimate(shim.asarray(images), options)
        np.testing.assert_array_equal(shim.asnumpy(found), expected)


@on_stand_in
def test_small_windows_share_nothing(monkeypatch) -> None:
    images = np.random.default_rng(0).poisson(300, (1, 90, 80)).astype(np.uint16)
    options = LightsheetOptions(background_window_size=99)
    expected = background_estimate(images, options)
    monkeypatch.setattr(lightsheet, "shared_percentiles", None)
    with shim.installed():
        np.testing.assert_array_equal(shim.asnumpy(background_estimate(shim.asarray(images), options)), expected)
