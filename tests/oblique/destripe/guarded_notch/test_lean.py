"""The angle of lines that leave their row, on grids drawn with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.oblique.destripe.guarded_notch.lean import lean_of


def _grid(rows: int, windows: int, degrees: float, step_px: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lines = ndimage.gaussian_filter1d(rng.normal(size=rows + 400), 2)
    lines /= lines.std()
    down = np.arange(windows) * step_px * np.tan(np.deg2rad(degrees))
    places = np.arange(rows)[:, None] + 200 - down
    return np.interp(places, np.arange(len(lines)), lines), rng.uniform(0.2, 1, (rows, windows))


@pytest.mark.parametrize("degrees", [-4.0, -0.3, 0.0, 1.0, 2.5])
@pytest.mark.parametrize(("rows", "windows", "step_px"), [(400, 32, 32.0), (257, 13, 8.0)])
def test_the_angle_and_the_energy_are_those_drawn(degrees, rows, windows, step_px):
    lean = lean_of([_grid(rows, windows, degrees, step_px, seed) for seed in range(3)], step_px)
    # A shift of one row over half of the windows.
    one_row = np.rad2deg(np.arctan(1 / (windows / 2 * step_px)))
    assert lean.degrees == pytest.approx(degrees, abs=max(0.05, one_row))
    assert lean.covariance == pytest.approx(1, abs=0.15)
    if abs(degrees) > one_row:
        assert lean.along_rows < lean.covariance - 0.2
    elif degrees == 0:
        assert lean.along_rows > 0.9 * lean.covariance


def test_noise_is_not_alike_at_any_angle():
    rng = np.random.default_rng(1)
    grids = [(rng.normal(size=(400, 32)), np.ones((400, 32))) for _ in range(3)]
    assert lean_of(grids, 32.0).covariance < 0.1


@pytest.mark.parametrize("windows", [2, 3])
def test_few_windows_are_compared_all_the_same(windows):
    lean = lean_of([_grid(64, windows, 0.0, 32.0, 0)], 32.0)
    assert np.isfinite([lean.degrees, lean.covariance]).all()
