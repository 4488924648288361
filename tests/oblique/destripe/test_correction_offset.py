"""The dark offset is taken once, whatever the method, as pystripe does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.flatfield import normalized_flat
from tests.oblique.destripe.test_percentile import picture
from tests.paths import DATA

GOLDEN = np.load(DATA / "offset_flat_40x150.npz")
METHODS = {
    "none": Correction("wavelet", WaveletOptions(compat=True)),
    "wavelet": Correction("wavelet", WaveletOptions(4, 8, wavelet="db2", threshold=200, compat=True)),
    "lightsheet": Correction("lightsheet"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("suffix", ["", "_dark", "_flat", "_dark_flat"])
def test_offset_and_flat_as_pystripe_has_them(method, suffix):
    flat = normalized_flat(GOLDEN["flat"]) if "flat" in suffix else None
    correction = replace(METHODS[method], flat=flat, dark=100.0 if "dark" in suffix else 0.0)
    result = correction.apply(GOLDEN["img"]).astype(int)
    difference = np.abs(result - (GOLDEN["img"].astype(int) + GOLDEN[method + suffix]))
    if method == "lightsheet":
        # pystripe truncates the stripe's estimate and the result, and loses the background in the last row.
        assert difference[:-1].max() <= 2
        assert (difference[:-1] > 1).mean() < 0.01
    else:
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.002  # quotients that are whole numbers are truncated to either


def test_a_dim_cell_keeps_its_counts_beside_an_offset():
    y, x = np.mgrid[:60, :160]
    cell = 74 * np.exp(-0.5 * ((y - 30) ** 2 + (x - 80) ** 2) / 3.0**2)
    frame = np.rint(100 + 300 + cell).astype(np.uint16)
    for dark in (0, 100, 200):
        assert Correction("lightsheet", dark=dark).apply(frame)[30, 80] == pytest.approx(74, abs=1)


FRAMES = st.tuples(st.integers(1, 40), st.integers(1, 60), st.integers(0, 9))
WINDOWS = st.tuples(st.integers(1, 50), st.integers(1, 50), st.sampled_from([0.0, 0.25, 0.8]))


@settings(max_examples=30, deadline=None)
@given(
    FRAMES, WINDOWS, st.floats(1, 3), st.integers(0, 500), st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.sampled_from(["keep", "uint16", "float32"]), st.booleans(),
)  # fmt: skip
def test_lightsheet_has_taken_the_offset_with_the_background(shape, windows, weight, dark, dtype, stated, has_flat):
    frame = np.minimum(picture(*shape), 255).astype(dtype)
    flat = np.linspace(0.4, 1, frame.size, dtype=np.float32).reshape(frame.shape) if has_flat else None
    job = Correction("lightsheet", lightsheet=LightsheetOptions(*windows, weight), flat=flat, dtype=stated)
    taken = replace(job, dark=float(min(dark, 254)))
    np.testing.assert_array_equal(taken.apply(frame), job.apply(frame))
    assert taken.n_cut_off(frame, taken.apply(frame)) == job.n_cut_off(frame, job.apply(frame))


@settings(max_examples=30, deadline=None)
@given(FRAMES, WINDOWS, st.floats(0, 1), st.integers(0, 500))
def test_a_weight_below_1_leaves_nothing_of_the_offset(shape, windows, weight, dark):
    """pystripe leaves the share that the weight does."""
    light = picture(*shape).astype(np.float32)
    job = Correction("lightsheet", lightsheet=LightsheetOptions(*windows, weight))
    np.testing.assert_allclose(replace(job, dark=float(dark)).apply(light + dark), job.apply(light), atol=0.01)


def test_lightsheet_says_what_it_is_for():
    assert Correction("lightsheet").note.startswith("`method` lightsheet removes the background, and the dark offset")
    assert Correction("wavelet").note == Correction().note == ""
