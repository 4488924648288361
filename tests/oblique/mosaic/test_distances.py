"""Places that no mosaic has: names in another unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.errors import MosaicError
from gpustitch.model import Coverage, Spacing
from gpustitch.oblique.mosaic.distances import check_distances

TILE, SPACING = Coverage(100, 60, 40, 1.0), Spacing(1.27, 1.8, 1.28)
GRIDS = st.tuples(*[st.integers(1, 3)] * 3).filter(lambda grid: max(grid) > 1)


def origins(grid: tuple[int, int, int], pitch: float) -> dict[str, tuple[float, float, float]]:
    """Places of a grid of tiles, each ``pitch`` tiles from the next."""
    size = (TILE.n_columns, TILE.n_rows, TILE.n_frames)
    return {
        f"{z} {y} {x}": (z * pitch * size[0], y * pitch * size[1], x * pitch * size[2])
        for z in range(grid[0])
        for y in range(grid[1])
        for x in range(grid[2])
    }


@given(GRIDS, st.floats(0.3, 0.98), st.sampled_from([0.1, 100.0, 1000.0]))
def test_a_mosaic_passes_and_in_another_unit_it_does_not(grid: tuple[int, int, int], pitch: float, unit: float) -> None:
    assert check_distances(origins(grid, pitch), TILE, SPACING)
    with pytest.raises(MosaicError, match="whole tenths of a micron"):
        check_distances(origins(grid, pitch * unit), TILE, SPACING)


@given(GRIDS, st.floats(1.0, 5.0))
def test_tiles_with_gaps_between_them_do_not_overlap(grid: tuple[int, int, int], pitch: float) -> None:
    assert not check_distances(origins(grid, pitch), TILE, SPACING)


def test_one_tile_and_a_tile_scanned_again_are_no_mistake() -> None:
    assert check_distances({"a": (0, 0, 0)}, TILE, SPACING)
    assert check_distances({**origins((1, 2, 2), 0.9), "again": (0, 0.5, 0)}, TILE, SPACING)
