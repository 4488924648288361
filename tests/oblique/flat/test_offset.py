"""The offset is noticed where pixels saw no light, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.oblique.flat.offset import noticed_offset
from tests.oblique.flat.scenes import COLUMNS, EVEN, GAUSSIAN, ROWS, X, frames

WITH_TISSUE = frames(dark=0, n=8)


@settings(max_examples=15, deadline=None)
@given(
    offset=st.integers(0, 3000), noise=st.floats(0.5, 8), share=st.floats(0.2, 1), gain=st.floats(0.1, 10),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_empty_pixels_show_the_offset(offset, noise, share, gain, seed):
    rng = np.random.default_rng(seed)
    light = WITH_TISSUE * gain * (np.linspace(0, 1, COLUMNS) > share)
    counts = np.clip(np.rint(light + offset + 50 + rng.normal(0, noise, light.shape)), 0, 65535).astype(np.uint16)
    found = noticed_offset(counts)
    assert found is not None
    assert abs(found.value - offset - 50) < 1
    assert found.sigma == pytest.approx(noise, rel=0.3, abs=0.2)


@pytest.mark.parametrize(("level", "light"), [(60, GAUSSIAN), (900, GAUSSIAN), (6000, GAUSSIAN), (900, EVEN)])
def test_tissue_everywhere_shows_no_offset(level, light):
    assert noticed_offset(frames(light, n=12, level=level)) is None


def test_haze_of_uneven_light_is_no_offset():
    assert noticed_offset(frames(GAUSSIAN, n=12, seen=(X < 0) * EVEN, haze=0.3)) is None


def test_padding_is_no_offset():
    padded = frames(n=12, seen=(X < 0) * EVEN)
    padded[:, :, -8:] = 0
    assert abs(noticed_offset(padded).value - 100) < 1
    only_padding = frames(n=12)
    only_padding[:, ROWS // 2 :] = 0
    assert noticed_offset(only_padding) is None


def test_too_few_pixels_show_nothing():
    assert noticed_offset([]) is None
    assert noticed_offset([np.full((7, 7), 100, np.uint16)]) is None
