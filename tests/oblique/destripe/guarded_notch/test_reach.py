"""Lines that go on over half a row, and lines that end: energies whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.destripe.guarded_notch.reach import N_PARTS, Energies, lines_end


def _energies(mean: list[float], error: float = 0.01) -> Energies:
    return Energies(np.array(mean), np.full(len(mean), error))


EVERYWHERE, LATE = [1.0] * 2 * N_PARTS, [0.0] * (2 * N_PARTS - 2) + [1.0] * 2


@pytest.mark.parametrize(
    ("near", "far", "tissue", "error", "ends"),
    [
        (EVERYWHERE, 1.0, 0.0, 0.01, False),
        (EVERYWHERE, 0.0, 0.0, 0.01, True),
        (EVERYWHERE, -0.5, 0.0, 0.01, True),
        # Half of the lines are stripes.
        (EVERYWHERE, 0.55, 0.0, 0.01, False),
        # All that is alike side by side is tissue.
        (EVERYWHERE, 0.0, 1.0, 0.01, False),
        # Too uncertain to say.
        (EVERYWHERE, 0.0, 0.0, 0.3, False),
        # They begin near the end: no two places half a row apart hold lines.
        (LATE, 0.0, 0.0, 0.01, False),
    ],
)
def test_lines_end_where_surely_most_do(near, far, tissue, error, ends):
    assert lines_end(_energies(near, error), _energies([far] * N_PARTS, error), tissue) is ends


def test_energies_are_weighted_means_of_parts_and_levels():
    rng = np.random.default_rng(0)
    products, weights = rng.normal(size=(2, 5, 9)), rng.uniform(0.1, 1, (2, 5, 9))
    found = Energies.of(list(products * weights), list(weights), 4)
    parts = np.array_split(np.arange(9), np.linspace(0, 9, 5).round().astype(int)[1:-1])
    for n, part in enumerate(parts):
        p, w = products[..., part], weights[..., part]
        mean = (p * w).sum() / w.sum()
        of_rows = ((p - mean) * w).sum(axis=(0, 2))
        assert found.mean[n] == pytest.approx(mean)
        assert found.error[n] == pytest.approx(np.sqrt((of_rows**2).sum()) / w.sum())
    both = Energies.summed([found, found], np.array([0.5, 0.25]))
    assert np.allclose(both.mean, 0.75 * found.mean)
    assert np.allclose(both.error, np.hypot(0.5, 0.25) * found.error)
