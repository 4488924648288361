"""Percentiles of all frames, of halves and of quarters: from one reading of the frames, however they are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.array import CPU, Device
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.io.frames.readable import Readable
from gpustitch.oblique.flat import percentiles
from gpustitch.oblique.flat.device_bytes import within_device
from gpustitch.oblique.flat.percentiles import Binning, Chosen, find_percentiles, held_frames, steps_of
from tests.cuda_cpu import build, shim
from tests.oblique.flat.scenes import Stack

BINNING = Binning(95.0, 256, 4, 20)


def alone(frames):
    return find_percentiles(Chosen([Stack(frames)], [np.arange(len(frames))], frames.shape[1], 1, CPU), BINNING).whole


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(0, 9), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30),
    st.integers(1, 3), st.sampled_from([(1, 1), (1, 3), (2, 2), (2, 4), (3, 3), (1, 5), (2, 6)]), st.integers(0, 99),
)  # fmt: skip
def test_percentiles_are_those_of_all_frames_and_halves_on_their_grids(
    n, more, rows, columns, band_rows, n_workers, steps, seed
):
    grid, step = steps
    frames = np.random.default_rng(seed).integers(0, 1100, (n + more, rows, columns)).astype(np.uint16)
    sources = [Stack(frames[:n]), Stack(frames[n:])]
    chosen = Chosen(sources, [np.arange(n), np.arange(more)], min(band_rows, rows), n_workers, CPU, grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chosen, "step", step)
        found = find_percentiles(chosen, BINNING)
    assert all((source.read_rows == 1).all() for source in sources if len(source.frames))
    quarters = np.array([1, 2, 2, 1, 3, 0, 0, 3])[np.arange(n + more) * min(8, n + more) // (n + more)]
    expected = alone(frames)
    np.testing.assert_array_equal(found.whole.bins, expected.bins[::grid, ::grid])
    np.testing.assert_array_equal(found.whole.count, expected.count[::grid, ::grid])
    members = [quarters < 2, quarters >= 2, *(quarters == k for k in range(4))]
    for part, of_part in zip(found.parts.all, members, strict=True):
        own = frames[of_part][:, ::step, ::step]
        if len(own):
            np.testing.assert_array_equal(part.bins, alone(own).bins)
            np.testing.assert_array_equal(part.count, alone(own).count)
        else:
            assert not part.count.any()


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_steps_leave_enough_pixels_and_fit_one_another(rows, columns):
    grid, step = steps_of((rows, columns))
    assert step % grid == 0
    assert grid == 1 or rows * columns >= grid**2 * percentiles._FITTED_PIXELS
    held = held_frames(10, grid)
    assert 10 <= held * grid**2 < 10 + grid**2


def test_steps_of_usual_cameras():
    assert [steps_of((n, n)) for n in (300, 700, 1024, 2048, 2304)] == [(1, 1), (1, 3), (2, 4), (4, 8), (3, 9)]


class Torn(Stack):
    """Frames of which some cannot be read in some rows: pairs of frame and row."""

    def __init__(self, frames, torn):
        super().__init__(frames)
        self.torn = torn

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        if any(start <= frame < stop and row in range(self.shape[1])[rows] for frame, row in self.torn):
            raise DamagedInputError("torn")
        return super().read(start, stop, rows, columns)


@settings(max_examples=20, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 15), st.integers(0, 11)), max_size=6), st.integers(1, 12), st.integers(1, 3)
)  # fmt: skip
def test_a_frame_that_is_damaged_in_one_band_counts_in_none(torn, band_rows, n_workers):
    frames = np.random.default_rng(3).integers(0, 1100, (16, 12, 5)).astype(np.uint16)
    source = Readable(Torn(frames, torn), skips=True)
    found = find_percentiles(Chosen([source], [np.arange(16)], band_rows, n_workers, CPU), BINNING)
    expected = alone(np.delete(frames, sorted({frame for frame, _ in torn}), axis=0))
    np.testing.assert_array_equal(found.whole.bins, expected.bins)
    np.testing.assert_array_equal(found.whole.count, expected.count)


def test_drift_is_the_same_in_both_halves():
    for power in (1, 2):
        brightness = np.linspace(-1, 1, 80) ** power
        is_second = np.repeat(percentiles._QUARTERS, 10) >= 2
        assert brightness[is_second].mean() == pytest.approx(brightness[~is_second].mean(), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 15), max_size=16), st.integers(1, 3))
def test_lost_frames_are_in_no_half(lost, step):
    frames = np.random.default_rng(1).integers(0, 1100, (16, 6, 7)).astype(np.uint16)
    holed = Stack(np.where(np.isin(np.arange(16), sorted(lost))[:, None, None], np.uint16(900), frames))
    holed.absent = frozenset(lost)
    chosen = Chosen([holed], [np.arange(16)], 4, 1, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chosen, "step", step)
        if len(lost) == 16:
            with pytest.raises(DamagedInputError, match="none of the 16 frames"):
                find_percentiles(chosen, BINNING)
            return
        found = find_percentiles(chosen, BINNING)
    kept = [number for number in range(16) if number not in lost]
    np.testing.assert_array_equal(found.whole.bins, alone(frames[kept]).bins)
    for number, half in enumerate(found.parts.halves):
        of_half = [k for k in kept if percentiles._QUARTERS[k // 2] // 2 == number]
        if of_half:
            np.testing.assert_array_equal(half.bins, alone(frames[of_half][:, ::step, ::step]).bins)
        else:
            assert not half.count.any()


def test_few_frames_are_spread_over_all_sources_and_lost_ones_left_out():
    stacks = [Stack(np.full((n, 2, 2), k, np.uint16)) for k, n in enumerate((10, 0, 30))]
    chosen = Chosen(stacks, [np.arange(10), np.arange(0), np.arange(30)], 2, 1, CPU)
    assert [int(frame[0, 0]) for frame in chosen.few(4)] == [0, 2, 2, 2]
    assert len(list(chosen.few(99))) == 40
    stacks[2].absent = frozenset(range(30))
    assert len(list(chosen.few(99))) == 10


@pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
@pytest.mark.parametrize(("n_workers", "grid", "step"), [(1, 1, 1), (2, 2, 4), (5, 1, 3)])
def test_bands_take_no_more_of_a_device_than_they_may(n_workers, grid, step, monkeypatch):
    monkeypatch.setattr(Chosen, "step", step)
    frames = np.random.default_rng(5).integers(0, 1100, (40, 37, 50)).astype(np.uint16)
    on_host = Chosen([Stack(frames)], [np.arange(40)], 37, n_workers, CPU, grid)
    expected = find_percentiles(on_host, BINNING)
    most = frames.nbytes // grid**2 // 3
    with shim.installed():
        chosen = within_device(replace(on_host, device=Device(0, "cuda:0", most)))
        before = shim.POOL.most_used = shim.POOL.used_bytes()
        found = find_percentiles(chosen, BINNING)
        assert shim.POOL.most_used - before <= most
    assert 1 <= chosen.band_rows < 20
    for ours, theirs in zip((found.whole, *found.parts.all), (expected.whole, *expected.parts.all), strict=True):
        np.testing.assert_array_equal(ours.bins, theirs.bins)
    with pytest.raises(ParameterError, match=r"40 frames take [0-9,]+ bytes of the device's memory, and may take 900;"):
        within_device(replace(on_host, device=Device(0, "cuda:0", 900)))
    assert within_device(on_host) is on_host
