"""What instance numbers say of holes."""

from __future__ import annotations

import numpy as np

from gpustitch.slices.fit.classes import fit_slices
from gpustitch.slices.fit.holes import holes


def test_numbers_tell_lost_files_from_slices_never_acquired():
    steps = np.delete(np.arange(30), [5, 12, 13])
    along = 1.5 * steps
    fit = fit_slices(along, 1e-6)
    lost = holes(fit, along, steps + 1)
    assert [(hole.after, hole.steps, hole.cause) for hole in lost] == [(4, 2.0, "lost"), (10, 3.0, "lost")]
    assert [hole.cause for hole in holes(fit, along, 100 - 2 * steps)] == ["lost", "lost"]
    assert [hole.cause for hole in holes(fit, along, np.arange(27))] == ["never", "never"]
    mixed = np.arange(27) + (np.arange(27) > 4)
    assert [hole.cause for hole in holes(fit, along, mixed)] == ["lost", "never"]
    shuffled = np.random.default_rng(0).permutation(27)
    assert [hole.cause for hole in holes(fit, along, shuffled)] == ["", ""]
    assert [hole.cause for hole in holes(fit, along, None)] == ["", ""]


def test_even_and_changing_series_have_no_holes():
    assert holes(fit_slices(np.arange(9.0), 1e-6), np.arange(9.0), np.arange(9)) == []
    changing = np.concatenate([2.5 * np.arange(20), 47.5 + 7.5 * np.arange(1, 13)])
    assert holes(fit_slices(changing, 1e-6), changing, np.arange(32)) == []
