"""Margins around the data: found on any side, of any value, and never taken for data or the other way round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.margins import data_regions, edges_of


def picture(rows, columns, seed=0):
    return 1 + np.random.default_rng(seed).poisson(400, (rows, columns)).astype(np.uint16)


WIDTHS = st.tuples(*[st.one_of(st.just(0), st.integers(4, 30))] * 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), WIDTHS, st.sampled_from([0, 100, 65535]), st.sampled_from([np.uint16, np.int32, np.float32]))
def test_margins_are_found_on_any_side(seed, widths, value, dtype):
    data = picture(20 + seed, 31, seed)
    frame = np.pad(data, (widths[:2], widths[2:]), constant_values=value).astype(dtype)
    (region,) = data_regions(frame[None])
    if any(widths):
        np.testing.assert_array_equal(frame[region], data)
    else:
        assert region is None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), WIDTHS), min_size=1, max_size=3), st.sampled_from([0, 90]),
    st.sampled_from([0.4, 1.0, 2.0]), st.sampled_from([0.0, 60.0]),
)  # fmt: skip
def test_lightsheet_makes_of_padded_data_what_it_makes_of_the_data(parts, value, weight, dark):
    """pystripe takes margins of 0 for dark tissue: beside them it leaves all of the background."""
    job = Correction("lightsheet", lightsheet=LightsheetOptions(15, 20, lightsheet_vs_background=weight), dark=dark)
    shape = [max(30 + sum(widths[i : i + 2]) for _, widths in parts) for i in (0, 2)]
    frames, expected = [], []
    for seed, (above, _, left, _) in parts:
        data = picture(30, 30, seed)
        fill = ((above, shape[0] - 30 - above), (left, shape[1] - 30 - left))
        if any(0 < width < 4 for side in fill for width in side):
            return
        frames.append(np.pad(data, fill, constant_values=value))
        beyond = round(max(value - (dark if weight < 1 else 0), 0) * max(0, 1 - weight))
        expected.append(np.pad(job.apply(data), fill, constant_values=beyond))
    np.testing.assert_array_equal(job.apply(np.stack(frames)), np.stack(expected))


@pytest.mark.parametrize("value", [0, 400])
def test_the_surroundings_of_an_object_are_no_margin(value):
    """Frames from which the background was taken already: the object is not its own background."""
    y, x = np.mgrid[:60, :160]
    cell = 74 * np.exp(-0.5 * ((y - 30) ** 2 + (x - 80) ** 2) / 3.0**2)
    frame = np.rint(value + cell).astype(np.uint16)
    assert data_regions(frame[None]) == [None]
    assert Correction("lightsheet").apply(frame)[30, 80] == 74


def test_neither_thin_lines_nor_frames_of_one_value_nor_short_ones_have_margins():
    thin = np.pad(picture(20, 30), 3)
    rows = np.repeat(picture(40, 1), 30, axis=1)
    for frame in (thin, rows, np.full((20, 30), 7), np.zeros((1, 1)), picture(400, 1), np.zeros((9, 0))):
        assert data_regions(frame[None]) == [None]
    assert data_regions(np.zeros((0, 5, 5))) == []


@pytest.mark.parametrize(("weight", "dark"), [(2.0, 0.0), (0.4, 300.0)])
@pytest.mark.parametrize("place", ["top", "left", "dim", None])
def test_edges_on_the_host_tell_the_same_margins(place, weight, dark):
    """An edge below the dark offset is of one value once the offset is taken, though it is not before."""
    job = Correction("lightsheet", lightsheet=LightsheetOptions(15, 20, lightsheet_vs_background=weight), dark=dark)
    frames = np.stack([picture(40, 50, seed) for seed in range(2)]) + np.uint16(300)
    if place == "top":
        frames[1, :9] = 77
    elif place == "left":
        frames[0, :, :6] = 0
    elif place == "dim":
        frames[1, -8:] = np.random.default_rng(1).integers(1, 200, (8, 50))
    edges = [job._light(edge) for edge in edges_of(frames)]
    taken = job._light(frames)
    assert data_regions(taken, edges) == data_regions(taken)
    assert (data_regions(taken) != [None] * 2) == (place in ("top", "left") or (place == "dim" and dark > 0))
    np.testing.assert_array_equal(job.apply(frames, None, frames), job.apply(frames))


def test_edges_that_differ_are_believed():
    """Frames are not looked at again: a device would be waited for."""
    frames = np.pad(picture(30, 30), 5)[None]
    assert data_regions(frames, edges_of(picture(40, 40)[None])) == [None]
