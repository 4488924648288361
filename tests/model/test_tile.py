"""Tiles, their names, and what a mosaic refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.errors import MosaicError
from gpustitch.model import Mosaic, TilePath


def tile(x, y, z, path="t"):
    return TilePath(Path(path), (x, y, z))


@given(st.tuples(*[st.integers(-(10**6), 10**6)] * 3))
def test_the_name_is_the_position_in_tenths_of_a_micron(tenths):
    assert TilePath(Path("t"), tuple(v / 10 for v in tenths)).name == "{}_{}_{}".format(*tenths)


def test_a_mosaic_needs_tiles():
    with pytest.raises(MosaicError, match="at least one"):
        Mosaic(())


def test_two_tiles_at_one_place_are_refused_by_name():
    with pytest.raises(MosaicError, match=r"second and first are both at stage position \(1\.0, 2\.0, 0\.0\)"):
        Mosaic((tile(1.0, 2.0, 0.0, "first"), tile(1.0, 2.0, 0.0, "second")))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (3, 1, 2)])
def test_a_full_grid_misses_nothing(shape):
    tiles = [
        tile(100.0 * x, 50.0 * y, 7.0 * z) for x in range(shape[0]) for y in range(shape[1]) for z in range(shape[2])
    ]
    assert Mosaic(tuple(tiles)).missing_positions() == []


def test_the_holes_of_a_grid_are_named():
    assert Mosaic((tile(0.0, 0.0, 0.0), tile(10.0, 20.0, 0.0))).missing_positions() == [
        (0.0, 20.0, 0.0),
        (10.0, 0.0, 0.0),
    ]


def test_places_closer_than_a_quarter_of_a_tile_are_one():
    mosaic = Mosaic((tile(0.0, 0.0, 0.0), tile(0.3, 80.0, 0.0), tile(100.0, 0.2, 0.0), tile(99.9, 80.1, 0.0)))
    assert len(mosaic.missing_positions()) > 0
    assert mosaic.missing_positions((120.0, 100.0, 50.0)) == []
    assert mosaic.grid_um((120.0, 100.0, 50.0)) == ([0.0, 99.9], [0.0, 80.0], [0.0])
