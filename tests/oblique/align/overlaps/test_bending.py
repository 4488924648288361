"""Tiles that are stretched or turned against each other are seen, and noise is not taken for that."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.align.overlaps.evidence import Evidence, weigh

WINDOW = (21, 21, 21)
SIZE = (40, 150, 60)


def found(seed: int, stretch: np.ndarray, noise_px: float = 0.05, n: int = 20, size=SIZE) -> Evidence:
    """Windows anywhere in an overlap, those that share voxels with errors in common."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, size, (n, 3))
    along = np.clip(1 - np.abs(centres[:, None] - centres[None]) / WINDOW, 0, None).prod(axis=2)
    root = np.linalg.cholesky(along + 1e-9 * np.eye(n))
    offsets = root @ rng.normal(0, noise_px, (n, 3)) + (centres - centres.mean(axis=0)) @ stretch.T
    return weigh(offsets, np.full(n, 0.95), np.full((n, 3), 4.0), centres, WINDOW)


def one(row: int, column: int, part: float) -> np.ndarray:
    stretch = np.zeros((3, 3))
    stretch[row, column] = part
    return stretch


@pytest.mark.parametrize(("row", "column", "part"), [(2, 2, 0.02), (1, 1, 0.008), (0, 1, 0.0087), (2, 1, -0.006)])
def test_a_stretch_or_turn_is_seen_on_its_axis(row: int, column: int, part: float) -> None:
    seen = [found(seed, one(row, column, part)).bend_px for seed in range(20)]
    told = [px for px in seen if px is not None]
    assert len(told) >= 18
    assert all(int(np.argmax(px)) == row for px in told)
    assert np.median([max(px) for px in told]) == pytest.approx(abs(part) * (SIZE[column] + WINDOW[column]), rel=0.25)


@pytest.mark.parametrize("noise_px", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [5, 8, 20, 100])
def test_noise_is_no_stretch(noise_px: float, n: int) -> None:
    told = [found(seed, np.zeros((3, 3)), noise_px, n).bend_px for seed in range(60)]
    assert sum(px is not None for px in told) <= 1


def test_windows_in_one_place_tell_nothing() -> None:
    assert found(0, one(2, 2, 0.05), size=(5, 5, 5)).bend_px is None
    assert found(0, one(2, 2, 0.05), n=3).bend_px is None
