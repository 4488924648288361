from __future__ import annotations

import pytest

from gpustitch.errors import ParameterError
from gpustitch.oblique.align.matching import MatchOptions


def test_the_search_reaches_further_for_tiles_that_are_further_apart() -> None:
    options = MatchOptions()
    assert options.reach_px((0, 100, 0), 1.0) == (24, 24, 24)
    # 3 % of a tile of 2048 rows; and the slant of a wrong voxel size, where tiles differ in depth.
    assert options.reach_px((0, -1843, 0), 1.0) == (24, 56, 24)
    assert options.reach_px((1700, 0, 100), 0.5) == (51, 24, 29)


def test_no_search_stays_no_search() -> None:
    assert MatchOptions(search_px=(0, 0, 0)).reach_px((5000, 5000, 5000), 1.0) == (0, 0, 0)


@pytest.mark.parametrize("given", [{"window_px": (21, 20, 21)}, {"largest_px": (0, 21, 21)}, {"min_correlation": 1.5}])
def test_windows_and_correlations_out_of_range(given: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(given))):
        MatchOptions(**given)
