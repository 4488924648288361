"""Tests of how much of the stripes goes on to coarser levels."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.destripe.guarded_notch.carried import carried_on, likely

NOTHING = np.full(5, np.inf)


def carried(found, energy, observed=0.0, error=NOTHING, known=None):
    known = np.ones(5, bool) if known is None else np.array(known)
    values = [(np.full(5, observed), np.broadcast_to(error, 5))]
    return carried_on(np.array(found, bool), np.array(energy, float), values, known)


def test_what_is_expected_goes_on_where_nothing_is_known():
    # Thin stripes hold as much, wide ones grow, and no faster than by four.
    assert carried([1, 1, 0, 0, 0], [2, 2, 9, 9, 9]).tolist() == [0, 0, 2, 2, 2]
    assert carried([1, 1, 0, 0, 0], [2, 6, 9, 9, 9]).tolist() == [0, 0, 18, 18, 18]
    assert carried([0, 1, 0, 0, 0], [0.1, 6, 9, 9, 9]).tolist() == [0, 0, 24, 24, 24]
    assert carried([1, 0, 0, 0, 0], [2, 0, 0, 0, 0]).tolist() == [0, 2, 2, 2, 2]


def test_what_is_measured_corrects_it_by_how_well_it_is_known():
    found, energy = [1, 1, 0, 0, 0], [2, 2, 0, 0, 0]
    assert carried(found, energy, observed=4.0, error=np.array([1.0])).tolist()[2] == pytest.approx(3)
    assert carried(found, energy, observed=1.0, error=np.array([1e-3])).tolist()[2] == pytest.approx(1, rel=1e-3)
    assert carried(found, energy, observed=-50.0, error=np.array([5.0])).tolist() == [0] * 5


def test_the_next_level_may_be_believed_unless_it_is_denied():
    values = [(np.full(3, 5.0), np.full(3, 4.0))]
    found, energy = np.array([True, False, False]), np.array([20.0, 0, 0])
    known = np.ones(3, bool)
    doubted, believed = (carried_on(found, energy, values, known, next_is_believed=b) for b in (False, True))
    assert believed[1] == 20 and doubted[1] < 8 and believed[2] < 20
    denied = carried_on(found, 2 * energy, values, known, next_is_believed=True)
    assert 5 < denied[1] < 8


def test_it_ends_at_levels_that_hold_none():
    known = [True, True, True, False, True]
    assert carried([1, 1, 0, 0, 0], [2, 2, 9, 9, 9], known=known).tolist() == [0, 0, 2, 0, 0]
    assert carried([0, 0, 0, 1, 1], [0, 0, 0, 3, 3]).tolist() == [0] * 5


def test_levels_that_grow_ever_faster_are_tissue_unless_they_are_sure():
    energy, none, all_of = np.array([1.0, 1.0, 9.0, 20.0]), np.zeros(4, bool), np.ones(4, bool)
    assert likely(energy, none).tolist() == [1, 1, 2, 8]
    assert likely(energy, all_of).tolist() == energy.tolist()
    # Those of one width grow by ever smaller factors.
    wide = np.array([0.2, 4.5, 42.0, 126.0])
    assert likely(wide, none).tolist() == wide.tolist()
    assert likely(np.array([-1.0, 2.0, 30.0]), none[:3]).tolist() == [-1, 2, 30]
