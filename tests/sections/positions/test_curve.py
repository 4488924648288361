"""The curve of similarity falls everywhere, so that the sign of its slope is never chance."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.sections.positions.curve import fit_curve


@pytest.mark.parametrize("seed", range(5))
def test_fit_curve_falls_also_where_it_is_level(seed):
    rng = np.random.default_rng(seed)
    distance = rng.uniform(0, 12, 600)
    level = rng.uniform(-0.1, 0.1)
    similarity = level + np.exp(-((distance / rng.uniform(1, 2)) ** 2)) + rng.normal(0, 0.02, 600)
    curve = fit_curve(distance, similarity, np.ones(600))
    assert (curve.slopes < 0).all()
    assert np.abs(curve.at(np.array([9.0, 11.0]))[0] - level).max() < 0.03
    assert np.abs(curve.at(np.array([9.0, 11.0]))[1]).max() < 0.02
