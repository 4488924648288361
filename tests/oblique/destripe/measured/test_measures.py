"""Measures of any frame: figures or None, never NaN; what is printed, recorded and warned of."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.oblique.destripe.measured.measures import DestripeMeasures, RawFrame, combined, measure
from tests.oblique.destripe.scenes import SceneSpec, scene

FIGURES = ("stripes_left_before", "stripes_left_after", "lines_across", "coarse", "direction_deg", "cells_kept", "halo")
NOTHING = DestripeMeasures(None, None, None, None, None)


@pytest.fixture(scope="module")
def striped():
    return scene(SceneSpec(160, 256, cells=120, borders=False, seed=7))


@st.composite
def frames(draw):
    """Frames of any size and type: empty, constant, saturated, noise, with margins of zeros."""
    shape = draw(st.tuples(st.integers(0, 90), st.integers(0, 90)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    greatest = draw(st.sampled_from([255, 4095, 65535]))
    frame = draw(
        st.sampled_from(
            [
                np.zeros(shape), np.full(shape, 7), np.full(shape, greatest), rng.poisson(300, shape),
                np.where(rng.random(shape) < 0.1, greatest, rng.poisson(20, shape)), rng.random(shape) * 5,
            ]
        )
    )  # fmt: skip
    margin = draw(st.integers(0, 40))
    frame = np.minimum(frame, greatest)
    frame[:margin], frame[:, :margin] = 0, 0
    return frame.astype(draw(st.sampled_from([np.uint16, np.float32, np.int32, ">u2"])))


@settings(max_examples=60, deadline=None)
@given(frames(), st.sampled_from([0.0, 100.0]), st.booleans(), st.sampled_from([0, 1, 0.7]))
def test_figures_of_any_frame_are_finite_or_none(frame, dark, background_removed, factor):
    found = measure(frame, frame.astype(np.float32) * factor, dark=dark, background_removed=background_removed)
    for each in (found, combined([found, NOTHING] if not background_removed else [found, found])):
        for name in FIGURES:
            value = getattr(each, name)
            assert value is None or np.isfinite(value), name
        assert "nan" not in " ".join([*each.lines(), *each.cautions()]).lower()
        json.dumps(each.record, allow_nan=False)


def test_nothing_has_no_sign():
    found = replace(NOTHING, direction_deg=-0.0004, coarse=0.0, halos=(-0.0004,) * 10)
    assert "lines at 0.0 degrees" in "\n".join(found.lines())
    assert "-0.0" not in "\n".join(found.lines()) + json.dumps(found.record)


def test_what_was_not_measured_is_said_and_never_a_number():
    text = "\n".join(NOTHING.lines())
    assert "0.0 %" not in text
    assert text.count("not measured") >= 4
    assert "no lines" in text
    assert NOTHING.record["stripes_left_after_percent"] is None
    assert not list(NOTHING.cautions())


def test_nothing_done_is_no_harm(striped):
    found = measure(striped.raw, striped.raw - 100.0, dark=100)
    assert found.stripes_left_after == pytest.approx(found.stripes_left_before)
    assert found.cells_kept == pytest.approx(100)
    assert found.coarse == pytest.approx(0, abs=0.01)
    assert [caution for caution in found.cautions() if "not reduced" in caution]
    assert not list(replace(found, is_destriped=False).cautions())


@pytest.mark.parametrize("unit", [1.5e-5, 1.0, 16.0])
def test_the_unit_of_the_frames_does_not_matter(striped, unit):
    raw = striped.raw.astype(np.float32)
    corrected = np.sqrt(raw) * 20
    found, scaled = measure(raw, corrected, dark=0), measure(raw * unit, corrected * unit, dark=0)
    for name in FIGURES:
        assert getattr(scaled, name) == pytest.approx(getattr(found, name), rel=1e-2, abs=1e-3), name


@pytest.mark.parametrize("unit", [0.5, 3.0])
def test_a_factor_of_the_whole_frame_is_no_harm(striped, unit):
    found = measure(striped.raw, (striped.raw - 100.0) / striped.gain * unit, dark=100)
    assert found.cells_kept == pytest.approx(100, abs=0.5)
    assert found.coarse < 0.1
    assert found.stripes_left_after < found.stripes_left_before / 4


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.2])
def test_the_share_of_cells_that_is_kept(striped, share):
    corrected = (striped.raw - 100.0) / striped.gain - (1 - share) * striped.cells
    found = measure(striped.raw, corrected, dark=100)
    assert found.cells_kept == pytest.approx(100 * share, abs=2.5)
    assert bool([caution for caution in found.cautions() if "cells" in caution]) == (share < 0.97)


def test_tissue_that_vanishes_is_told(striped):
    light = striped.raw - 100.0
    light[:, :128] = 0
    assert measure(striped.raw, light, dark=100).coarse > 10
    assert measure(striped.raw, np.zeros_like(light), dark=100).coarse > 10


def test_without_background_contrast_is_compared_in_counts(striped):
    background = np.minimum(striped.raw - 100.0, (striped.ideal - striped.cells) * striped.gain)
    found = measure(striped.raw, striped.raw - 100.0 - background, dark=100, background_removed=True)
    assert found.coarse is None
    assert found.halo is None
    assert found.cells_kept == pytest.approx(100, abs=6)
    assert found.stripes_left_after < found.stripes_left_before / 4
    assert "counts" in "\n".join(found.lines())


def test_saturated_cells_are_not_measured():
    of = scene(SceneSpec(160, 256, cells=120, borders=False, bits=12, cell_counts=60000, seed=8))
    assert measure(of.raw, of.raw - 100.0, dark=100).n_cells < 20


def test_spots_of_frames_are_put_together(striped):
    found = measure(striped.raw, striped.raw - 100.0, dark=100)
    few = replace(found, kept=(90.0,) * 6, halos=())
    assert few.cells_kept is None
    both = combined([few, few, replace(few, kept=())])
    assert both.cells_kept == 90
    assert both.n_frames == 3
    assert both.stripes_left_before == few.stripes_left_before


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        ([89.5, -89.5, 89.0], 89.7), ([4.0, 5.0, None], 4.5), ([4.0, None, None], None), ([0.0, 30.0, 60.0], None),
        ([None], None), ([-20.0, -21.0, 40.0], -20.5),
    ],
)  # fmt: skip
def test_the_direction_that_most_frames_have(angles, expected):
    found = combined([replace(NOTHING, direction_deg=angle) for angle in angles]).direction_deg
    assert found == (None if expected is None else pytest.approx(expected, abs=0.1))


@pytest.mark.parametrize(
    ("angle", "said"), [(2.0, None), (13.0, "13.0 degrees counter-clockwise"), (-13.0, "clockwise"), (-89.0, "by 90")]
)
def test_the_rotation_is_proposed(angle, said):
    cautions = list(replace(NOTHING, direction_deg=angle).cautions())
    assert [said in caution for caution in cautions] == ([] if said is None else [True])


def test_frames_that_do_not_match_are_refused():
    with pytest.raises(ParameterError, match="`raw`"):
        measure(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), dark=0)
    with pytest.raises(ParameterError, match="`corrected`"):
        RawFrame.of(np.ones((8, 9)), 0).compared(np.ones((9, 8)))
    with pytest.raises(ParameterError, match="`measures`"):
        combined([])
    with pytest.raises(ParameterError, match="`measures`"):
        combined([NOTHING, replace(NOTHING, background_removed=True)])
