"""Bright spots tell dim light from dim tissue."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.flat.spots import Spots
from tests.oblique.flat.scenes import COLUMNS, EVEN, GAUSSIAN, ROWS, X, Y, frames


def trends(flat, light=GAUSSIAN, **scene):
    return Spots.joined(Spots.of(frame) for frame in frames(light, **scene)).trends(flat)


@pytest.mark.parametrize(("level", "cells"), [(60, 3000), (900, 3000), (900, 9000)])
def test_spots_do_not_deny_the_true_flat(level, cells):
    assert trends(GAUSSIAN, level=level, cells=cells) == {}


@pytest.mark.parametrize(("wrong", "name", "sign"), [
    (1 + 0.4 * Y, "rows", -1), (1 - 0.4 * Y, "rows", 1), (1 + 0.4 * X, "columns", -1), (1 - 0.4 * X, "columns", 1),
])  # fmt: skip
def test_spots_deny_a_flat_that_took_tissue_for_light(wrong, name, sign):
    found = trends(GAUSSIAN * wrong, seen=wrong, cells_seen=EVEN)
    assert list(found) == [name]
    assert found[name] * sign == pytest.approx(0.2, abs=0.08)


def test_hot_pixels_and_frames_without_spots_tell_nothing():
    scene = frames(GAUSSIAN, cells=0)
    wrong = GAUSSIAN * (1 + 0.4 * Y)
    assert Spots.joined(Spots.of(frame) for frame in scene).trends(wrong) == {}
    scene[:, 5::16, 5::16] = 20000
    assert Spots.joined(Spots.of(frame) for frame in scene).trends(wrong) == {}


def test_what_the_camera_cuts_off_tells_nothing():
    assert trends(GAUSSIAN, cells=90000, top=4095) == {}


@pytest.mark.parametrize("shape", [(0, 0), (15, 300), (16, 16)])
def test_small_frames_tell_nothing(shape):
    assert Spots.joined([Spots.of(np.ones(shape, np.uint16))]).trends(np.ones((ROWS, COLUMNS))) == {}
    assert Spots.joined([]).trends(EVEN) == {}
