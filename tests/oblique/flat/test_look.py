"""Bins and background that suit what a few frames show."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.flat.look import first_look
from tests.oblique.flat.scenes import frames


@pytest.mark.parametrize("level", [60, 900, 6000])
@pytest.mark.parametrize("empty", [0, 0.3])
def test_bins_suit_the_brightness(level, empty):
    scene = frames(level=level, empty=empty)
    look = first_look(scene, 100)
    n_bins, width = look.bins(1024, None)
    tissue = np.percentile(scene[scene > 100 + level / 2], 99)
    assert n_bins * width > min(tissue, 100 + 2 * level)
    assert width < max(2, 0.02 * level)
    # Above what empty pixels show, and below what tissue shows.
    assert (110 if empty else 101) < look.background < 100 + max(0.1 * level, 20)


def test_the_last_bin_holds_what_the_camera_cannot_tell_apart():
    look = first_look(frames(level=5000, top=4095), 100)
    assert look.saturation == 4095
    n_bins, width = look.bins(1024, None)
    assert 4095 // width == n_bins - 1
    assert look.bins(1024, 64)[1] == 64
    assert first_look(frames(), 100).saturation is None


def test_values_that_half_of_the_light_would_take_away():
    tissue, cells = (first_look(frames(**scene), 100) for scene in ({}, {"level": 0, "cells": 20000, "empty": 0.3}))
    assert tissue.near(tissue.background) < 0.01
    assert tissue.near(800) > 0.3
    assert cells.near(cells.background) > 0.1
    assert tissue.near(1e9) == 0


def test_frames_without_light_keep_ordinary_bins():
    look = first_look(frames(empty=1), 100)
    assert look.bright < 20
    assert look.offset is not None and 110 < look.background < 130
    assert look.bins(1024, None) == (1024, 4) or look.bright > 0


def test_even_light_on_an_even_sample_is_no_offset():
    slide = np.random.default_rng(0).poisson(300, (6, 64, 64)).astype(np.uint16)
    look = first_look(slide, 100)
    assert look.offset is None and look.floor == 100
    assert 180 < look.bright < 250 and look.background < 120


def test_no_frame_shows_nothing():
    look = first_look([], 100)
    assert (look.offset, look.bright, look.saturation) == (None, 0, None)
    assert look.bins(1024, None) == (1024, 4)
