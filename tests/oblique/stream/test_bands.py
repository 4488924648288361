"""Where bands end: within the memory, and where they leave little."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.model import Box
from gpustitch.oblique.stream.bands import Extents, cut_at
from gpustitch.oblique.stream.windows import kept_of
from tests.oblique.stream.raw_tiles import noise


def all_cuts(places: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Every way to cut at some of the places."""
    inner = places[1:-1]
    for n in range(len(inner) + 1):
        for chosen in itertools.combinations(inner, n):
            yield list(itertools.pairwise([places[0], *chosen, places[-1]]))


@settings(max_examples=40)
@given(st.data())
def test_of_all_cuts_that_fit_the_one_that_leaves_least_is_taken(data: st.DataObject) -> None:
    places = [0, *sorted(data.draw(st.sets(st.integers(1, 40), min_size=1, max_size=6)))]
    most, costs = data.draw(st.integers(0, 60)), data.draw(st.lists(st.integers(0, 9), min_size=50, max_size=50))

    def memory(start: int, stop: int) -> int:
        return stop - start + costs[(start * 7 + stop) % 50]

    def left(start: int, stop: int) -> int:
        return costs[(start + 5 * stop) % 50]

    found = cut_at(places, memory, left, most)
    assert [*(a for a, _ in found), found[-1][1]] == [0, *(b for _, b in found)] and found[-1][1] == places[-1]

    def beyond(cut: list[tuple[int, int]]) -> int:
        return max(0, *(memory(*band) - most for band in cut))

    least = min(map(beyond, all_cuts(places)))
    assert beyond(found) == least
    if least == 0:
        fitting = [cut for cut in all_cuts(places) if beyond(cut) == 0]
        cost = (sum(left(*band) for band in found), len(found))
        assert cost == min((sum(left(*band) for band in cut), len(cut)) for cut in fitting)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 60), min_size=1, max_size=4), st.sets(st.integers(1, 79), max_size=4))
def test_what_bands_leave_is_foreseen_to_a_row(rows: list[float], cuts: set[int]) -> None:
    tiles = [noise((7, 20, 5), (0, y, 0)) for y in rows]
    bands = [Box((0, a, 0), (9, b, 90)) for a, b in itertools.pairwise([0, *sorted(cuts), 80])]
    whole = Box((0, 0, 0), (9, 80, 90))
    kept = list(kept_of(tiles, bands))
    row_bytes = 7 * 5 * 2
    foreseen = sum(Extents(tiles, whole, 2).left_bytes(band.start[1], band.stop[1]) for band in bands)
    assert abs(sum(k.box.size * 2 for k in kept) - foreseen) <= 2 * row_bytes * len(tiles)
    for k in kept:
        assert k.box.shape[0] == 5 and k.box.shape[2] == 7 and k.first < k.last
        assert k.box.stop[1] <= 20


def test_bands_end_where_the_next_tiles_begin() -> None:
    tiles = [noise((7, 64, 5), (0, 56 * n, 0)) for n in range(3)]
    whole = Box((0, 0, 0), (9, 176, 90))
    left = Extents(tiles, whole, 2).left_bytes
    assert cut_at(range(0, 177, 8), lambda a, b: b - a, left, 64) == [(0, 56), (56, 112), (112, 176)]
