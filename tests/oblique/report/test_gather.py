"""What is shown of many overlaps, and planes that fit a screen."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.model import Spacing
from gpustitch.oblique.report.crops import Crop
from gpustitch.oblique.report.gather import OTHERS, PLANE_PIXELS, WORST, Measured, planes_of
from gpustitch.oblique.report.placement import Placing, Remeasured
from tests.oblique.report.scenes import ArrayTile

BOX = np.zeros((1, 1, 1), np.uint16)


@pytest.mark.parametrize("n", [1, 12, 13, 18, 40, 200])
def test_the_worst_overlaps_and_some_others_are_shown(n: int) -> None:
    rng = np.random.default_rng(n)
    off = rng.permutation(n)
    links = [Remeasured(f"a{k}", f"b{k}", (0, 0, 0), (0, 0, 0), (0.0, float(off[k]), 0.0)) for k in range(n)]
    unknown = Remeasured("c", "d", (0, 0, 0), (0, 0, 0), reason="dark")
    found = Measured(Spacing(1, 1, 1), (9, 9, 9), placing=Placing((*links, unknown)))
    found.crops = {link.pair: Crop(BOX, BOX, None, (0, 0, 0)) for link in found.placing.links}
    shown = found.shown
    assert shown[0] is unknown and len(shown) == len(set(shown)) <= WORST + OTHERS
    worst = sorted((link.off_px or (0, 0, 0))[1] for link in links)[::-1][: WORST - 1]
    assert [(link.off_px or (0, 0, 0))[1] for link in shown[1:WORST]] == worst
    assert len(shown) == n + 1 if n < WORST else len(shown) > WORST
    found.crops = {link.pair: found.crops[link.pair] for link in shown}
    assert found.shown == shown, "what is left out later changes nothing"


def test_planes_are_of_a_level_that_fits() -> None:
    fine = ArrayTile(np.zeros((8, 1200, 1000), np.float32))
    coarse = ArrayTile(np.ones((8, 600, 500), np.float32))
    across_z, across_y, across_x = planes_of([fine, coarse])
    assert across_z.image.shape == (600, 500) and across_z.times == (2.0, 2.0) and across_z.image.all()
    assert across_y.image.shape == (8, 1000) and across_x.image.shape == (8, 1200)
    assert max(plane.image.size for plane in (across_z, across_y, across_x)) <= PLANE_PIXELS
    assert across_z.at_px == pytest.approx(4.0)
