from __future__ import annotations

import numpy as np
import pytest

from gpustitch.errors import ParameterError
from gpustitch.oblique.align.search import correlate_all_shifts


@pytest.mark.parametrize(("window", "region"), [((5, 6, 7), (9, 9, 9)), ((3, 3, 3), (3, 3, 3)), ((4, 1, 2), (7, 3, 2))])
def test_is_pearsons_correlation_everywhere(window: tuple[int, ...], region: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    fixed, moving = (rng.normal(3000, 20, s).astype(np.float32) for s in (window, region))
    out = correlate_all_shifts(fixed, moving)
    assert out.shape == tuple(b - a + 1 for a, b in zip(window, region, strict=True))
    for at in np.ndindex(out.shape):
        other = moving[tuple(slice(i, i + n) for i, n in zip(at, window, strict=True))]
        assert out[at] == pytest.approx(np.corrcoef(fixed.ravel(), other.ravel())[0, 1], abs=1e-3)


def test_constant_windows_give_0() -> None:
    moving = np.zeros((9, 9, 9), np.float32)
    assert not correlate_all_shifts(np.random.default_rng(0).random((3, 3, 3), np.float32), moving).any()
    moving[0, 0, 0] = 1
    assert not correlate_all_shifts(np.full((3, 3, 3), 5, np.float32), moving).any()


def test_no_room() -> None:
    with pytest.raises(ParameterError, match="no room"):
        correlate_all_shifts(np.zeros((3, 3, 3), np.float32), np.zeros((3, 2, 3), np.float32))
