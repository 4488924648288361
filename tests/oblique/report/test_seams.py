"""Steps at borders of tiles in a volume."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.oblique.report.judge_light import is_step, seams
from gpustitch.oblique.report.placement import Remeasured
from gpustitch.oblique.report.seams import seams_of
from tests.oblique.report.scenes import ArrayTile, row_of_tiles, texture


def found_in(step: float, seed: int, border: int = 50) -> list[bool]:
    """Whether each of two borders of a volume shows; the light changes by a part at one row."""
    tiles = row_of_tiles(seed)
    first, second = sorted(tiles, key=lambda name: tiles[name].origin_px[1])
    voxels = texture((40, 130, 90), seed)
    voxels[:, border:] *= 1 + step
    link = Remeasured(first, second, (0.0, 50.0, 0.0), (0.0, 50.0, 0.0))
    seen = list(seams_of(link, tiles[first], tiles[second], ArrayTile(voxels)))
    assert [seam.where_px[1] for seam in seen] == [50, 80]
    return [is_step(seam) for seam in seen]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", [0.3, -0.25])
def test_a_step_at_a_border_shows_and_only_there(seed: int, step: float) -> None:
    assert found_in(step, seed) == [True, False]


@pytest.mark.parametrize("seed", range(6))
def test_tissue_is_no_step(seed: int) -> None:
    assert found_in(0.0, seed) == [False, False]


def test_a_step_beside_a_border_is_not_of_the_tiles() -> None:
    assert found_in(0.3, 7, border=62) == [False, False]


def test_the_check_names_the_strongest() -> None:
    tiles = row_of_tiles(8)
    first, second = sorted(tiles, key=lambda name: tiles[name].origin_px[1])
    voxels = texture((40, 130, 90), 8)
    voxels[:, 80:] *= 1.4
    link = Remeasured(first, second, (0.0, 50.0, 0.0), (0.0, 50.0, 0.0))
    check = seams(list(seams_of(link, tiles[first], tiles[second], ArrayTile(voxels))))
    assert check.state == "warn" and check.value == pytest.approx(40, abs=12) and "1 of 2" in check.reason
    assert seams([]).state == "not measured"


def test_a_border_outside_the_volume_is_left_out() -> None:
    tiles = row_of_tiles(9)
    first, second = sorted(tiles, key=lambda name: tiles[name].origin_px[1])
    link = Remeasured(first, second, (0.0, 50.0, 0.0), (0.0, 50.0, 0.0))
    assert not list(seams_of(link, tiles[first], tiles[second], ArrayTile(np.ones((40, 60, 90), np.float32))))
