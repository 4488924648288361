from __future__ import annotations

import itertools

import numpy as np
import pytest

from gpustitch.oblique.align.overlaps.climb import climb
from tests.cuda_cpu import module, shim


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator runs")
@pytest.mark.parametrize(("level", "noise"), [(1000, 30), (30000, 20)])
def test_on_a_device_large_windows_are_exact(level: float, noise: float) -> None:
    rng, side = np.random.default_rng(0), 51
    moving = rng.normal(level, noise, [side + 2] * 3).astype(np.float32)
    fixed = rng.normal(level, noise, [side] * 3).astype(np.float32)
    moving[1:-1, 1:-1, 1:-1] += fixed - np.float32(level)
    windows = np.zeros((2, moving.size), np.float32)
    windows[0, : fixed.size], windows[1] = fixed.ravel(), moving.ravel()
    places = np.array([[*fixed.shape, 0, 0, 0], [*moving.shape, 1, 1, 1]])
    with shim.installed():
        out = shim.asarray(np.zeros((1, 31)))
        climb(shim.asarray(windows), shim.asarray(places), side, side, side, out, 1)
        found = shim.asnumpy(out)[0]
    expected = [
        np.corrcoef(fixed.ravel().astype(float), moving[i : i + side, j : j + side, k : k + side].ravel().astype(float))
        for i, j, k in itertools.product(range(3), repeat=3)
    ]
    np.testing.assert_allclose(found[:27], [c[0, 1] for c in expected], atol=2e-7)
