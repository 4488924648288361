"""The measures put corrections in the order of the truth, on scenes that nothing was tuned on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from gpustitch.oblique.destripe.measured.measures import RawFrame, measure
from tests.oblique.destripe.measured.truth import cells_lost, corrections, row_error, tissue_error
from tests.oblique.destripe.scenes import SceneSpec, scene

pytestmark = pytest.mark.xdist_group("measures_truth")

HELD_OUT = {
    "wide": SceneSpec(256, 320, amplitude=0.4, width=10, seed=502),
    "fine, 12 bits, padding": SceneSpec(256, 400, 0.1, 2, bits=12, level=500, cell_counts=1500, padding=20, seed=503),
    "partial shadows": SceneSpec(256, 320, amplitude=0.4, width=5, dense=False, partial=True, cells=90, seed=504),
}


@pytest.fixture(scope="module")
def ranked():
    """For each scene the truth and the measures: (corrections, stripes and harm and coarse)."""
    tables = {}
    for name, spec in HELD_OUT.items():
        of = scene(spec)
        frame, rows = RawFrame.of(of.raw, spec.dark), []
        for correct in corrections(spec.columns, spec.dark).values():
            out = np.asarray(correct(of.raw), np.float64)
            found = frame.compared(out)
            harm = abs(found.halo) + abs(100 - found.cells_kept)
            truth = row_error(of, out), cells_lost(of, out), tissue_error(of, out)
            rows.append((truth, (found.stripes_left_after, harm, found.coarse)))
        tables[name] = np.array(rows)
    return tables


@pytest.mark.parametrize("number", [0, 1, 2], ids=["stripes left", "harm", "coarse"])
def test_corrections_are_in_the_order_of_the_truth(ranked, number):
    tables = np.stack(list(ranked.values()))[..., number]
    assert tables.shape[1] >= 15
    assert spearmanr(*tables.mean(axis=0).T).statistic >= 0.85
    for name, table in zip(ranked, tables, strict=True):
        assert spearmanr(*table.T).statistic >= 0.8, name


def test_figures_are_near_the_truth(ranked):
    for name, table in ranked.items():
        if "padding" not in name:  # at its rim pystripe's filters harm what the truth leaves out
            np.testing.assert_allclose(*table[:, :, 2].T, atol=2)
            assert np.abs(np.diff(table[:, :, 0], axis=1)).mean() < 2.5


@pytest.mark.parametrize("name", HELD_OUT)
def test_the_true_correction_is_faultless(name):
    of = scene(HELD_OUT[name])
    found = measure(of.raw, (of.raw.astype(float) - of.spec.dark) / of.gain, dark=of.spec.dark)
    assert found.cells_kept == pytest.approx(100, abs=0.5)
    assert found.halo == pytest.approx(0, abs=0.5)
    assert found.stripes_left_after < 0.5 * found.stripes_left_before
    assert not [caution for caution in found.cautions() if "12 pixels" not in caution]
