"""Frames that were read at a wrong place are told from those of any tissue."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model.arrays import HostArray
from gpustitch.oblique.report.lines.order import Lines, Order, first_line

WELL = Order()
TURNS = {
    "upright": lambda f: f,
    "upside down": lambda f: f[:, ::-1],
    "mirrored": lambda f: f[:, :, ::-1],
    "turned": lambda f: f.transpose(0, 2, 1),
    "turned round": lambda f: f.transpose(0, 2, 1)[:, ::-1, ::-1],
}


def order_of(frames: HostArray) -> Order:
    found = Lines()
    for frame in frames:
        found.add(frame)
    return found.order


@st.composite
def recordings(draw: st.DrawFn) -> HostArray:
    """Frames (n, rows, columns) of tissue that ends, under stripes, hot pixels, a flat and light that flickers."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.sampled_from([6, 12]))
    rows, columns = draw(st.sampled_from([(60, 80), (128, 80), (90, 140)]))
    tissue = scipy.ndimage.gaussian_filter(rng.standard_normal((n, rows, columns)), (0, 3, 3))
    tissue = 300 * np.exp(tissue / tissue.std())
    if draw(st.booleans()):
        tissue[:, :, columns // 2 :] *= 0.02
    if draw(st.booleans()):
        tissue[:, : rows // 4] *= 0.05
    tissue *= np.exp(rng.normal(0, draw(st.sampled_from([0.0, 0.1])), rows))[:, None]
    tissue *= np.exp(-(np.linspace(-1, 1, rows) ** 2) * draw(st.sampled_from([0.0, 1.0])))[:, None]
    tissue *= np.exp(rng.normal(0, draw(st.sampled_from([0.0, 0.3])), n))[:, None, None]
    noise = draw(st.sampled_from([1.0, 10.0, 60.0]))
    hot = 800 * (rng.random((rows, columns)) < 3e-3)
    return np.asarray(np.rint(100 + hot + tissue + rng.normal(0, noise, tissue.shape)).clip(0), np.uint16)


@settings(max_examples=60, deadline=None)
@given(recordings(), st.sampled_from(sorted(TURNS)))
def test_frames_that_are_well_are_not_told(frames: HostArray, how: str) -> None:
    assert order_of(TURNS[how](frames)) == WELL


def recorded(seed: int, shape: tuple[int, int] = (100, 80), noise: float = 15.0) -> HostArray:
    """Frames of tissue everywhere."""
    rng = np.random.default_rng(seed)
    tissue = scipy.ndimage.gaussian_filter(rng.standard_normal((12, *shape)), (0, 3, 3))
    tissue = 300 * np.exp(0.7 * tissue / tissue.std()) * np.exp(rng.normal(0, 0.08, shape[0]))[:, None]
    return np.asarray(np.rint(100 + tissue + rng.normal(0, noise, tissue.shape)).clip(0), np.uint16)


@pytest.mark.parametrize("by", [1, 2, 7, 50, -3])
@pytest.mark.parametrize("seed", range(4))
def test_lines_that_are_shifted_round_are_told_with_the_first(by: int, seed: int) -> None:
    frames = recorded(seed)
    assert order_of(frames) == WELL
    assert order_of(np.roll(frames, by, axis=1)) == Order(first_row=by % 100)
    assert order_of(np.roll(frames, by, axis=2)) == Order(first_column=by % 80)


@pytest.mark.parametrize("by", [-5, -2, -1, 1, 2])
@pytest.mark.parametrize("how", sorted(TURNS))
@pytest.mark.parametrize("seed", range(3))
def test_lines_of_a_wrong_length_are_told(by: int, how: str, seed: int) -> None:
    flat, width = recorded(seed).reshape(12, -1), 80 + by
    n = min(100, flat.shape[1] // width)
    cut = flat[:, : n * width].reshape(12, n, width)
    assert order_of(TURNS[how](cut)) == Order(is_cut_wrong=True)


def test_what_shows_nothing_tells_nothing() -> None:
    noise = np.random.default_rng(1).normal(100, 3, (12, 60, 60))
    assert order_of(noise) == order_of(np.full((12, 60, 60), 7)) == order_of(noise[:1]) == order_of(noise[:0]) == WELL
    assert first_line(noise[:, :3]) is None and order_of(noise[:, :3, :3]) == WELL
    dark = np.roll(recorded(0), 7, axis=1)
    dark[:, :20] = np.rint(noise[:, :1, :1])  # what is torn lies in the dark
    assert order_of(dark) == WELL
