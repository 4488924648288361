from __future__ import annotations

import math

import numpy as np
import pytest

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Coverage, Link, Placement, Spacing
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.pairs import Expected, do_overlap, expected_again, neighbours
from gpustitch.oblique.align.stage import AlignOptions
from tests.oblique.align.test_stage import tiles

SPACING = Spacing(1.3, 1.8, 1.3)
SHAPE = (20, 100, 80)
SEARCH = MatchOptions(search_px=(6, 6, 6))


def volumes(names: str) -> dict[str, ArrayVolume]:
    return {name: ArrayVolume(np.zeros(SHAPE, np.uint16), SPACING) for name in names}


def test_tiles_that_the_stage_sets_just_apart_are_compared_too() -> None:
    for gap, are_neighbours in ((-10, True), (0, True), (5, True), (7, False)):
        origins = {"a": (0, 0, 0), "b": (0, 100 + gap, 0)}
        assert bool(list(neighbours(origins, volumes("ab"), SEARCH))) == are_neighbours
        assert do_overlap(origins, volumes("ab"), ("a", "b")) == (gap < 0)


def test_tiles_whose_boxes_meet_through_the_slant_alone_are_no_neighbours() -> None:
    slanted = {name: ArrayVolume(np.zeros(SHAPE, np.uint16), SPACING) for name in "abc"}
    for volume in slanted.values():
        volume.coverage = Coverage(n_frames=61, n_rows=100, n_columns=20, shear=1.0)
    row = {"a": (0, 0, 0), "b": (0, 0, 45), "c": (0, 0, 90)}
    # Boxes are 80 voxels long, of which each plane holds 61.
    assert list(neighbours(row, slanted, SEARCH)) == [("a", "b"), ("b", "c")]
    assert not do_overlap({"a": (0, 0, 0), "b": (0, 0, 70)}, slanted, ("a", "b"))
    # In the next layer of tiles the sheets lie further along x.
    assert do_overlap({"a": (0, 0, 0), "b": (15, 0, 70)}, slanted, ("a", "b"))


def test_diagonal_tiles_are_compared_only_where_nothing_else_joins_them() -> None:
    square = {"a": (0, 0, 0), "b": (0, 90, 0), "c": (0, 0, 70), "d": (0, 90, 70)}
    assert sorted(neighbours(square, volumes("abcd"), SEARCH)) == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]
    assert list(neighbours({"a": (0, 0, 0), "d": (0, 90, 70)}, volumes("ad"), SEARCH)) == [("a", "d")]


def placement(sigma: float, *, joined: bool = True) -> Placement:
    """Three tiles in a row, a link from each to the next, and none from the first to the last that was accepted."""
    origins = {"a": (0.0, 0.0, 0.0), "b": (4.0, 50.2, 0.0), "c": (8.0, 90.4, 3.0)}
    links = [Link("a", "c", (0.0, 88.0, 0.0), (0, 0, 0), (), "no place stands out")]
    for fixed, moving in (("a", "b"), ("b", "c")):
        offset = tuple(q - p for p, q in zip(origins[fixed], origins[moving], strict=True))
        links.append(Link(fixed, moving, offset, (0, 0, 0), (), "" if joined or fixed == "a" else "no"))
    return Placement(origins, {}, tuple(links), (), dict.fromkeys("abc", (sigma,) * 3))


def test_a_pair_without_a_link_is_looked_for_where_the_others_put_it() -> None:
    again = expected_again(placement(0.1), 0.25, MatchOptions(), 1.0)
    # In the grid of the tiles, which slants less than the mosaic; within four standard errors of both and two voxels.
    reach = math.ceil(4 * 0.1 * math.sqrt(2) + 2)
    assert again == {("a", "c"): Expected((8, 90, 1), (reach,) * 3)}


@pytest.mark.parametrize("placed", [placement(5.0), placement(0.1, joined=False)])
def test_no_second_look_where_the_others_do_not_tell(placed: Placement) -> None:
    assert ("a", "c") not in expected_again(placed, 0.0, MatchOptions(), 1.0)


def test_a_second_look_links_what_the_first_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair that looks alike in two places at first: the loop leaves one of them."""
    mosaic, volumes_of, true = tiles((1, 2, 2), 3)
    matching = MatchOptions(window_px=(11, 13, 13), sample_count=12, search_px=(12, 12, 12))
    asked: list[tuple[tuple[str, str], Expected]] = []
    link_tiles = align.link_tiles

    def first_fails(overlap, names, options, reach, *others, **more):
        asked.append((names, Expected(overlap.offset, reach)))
        link, count = link_tiles(overlap, names, options, reach, *others, **more)
        is_first = len(asked) == 1
        return (Link(*names, link.offset_px, (0, 0, 0), (), "no place stands out") if is_first else link), count

    monkeypatch.setattr(align, "link_tiles", first_fails)
    result = align.run(align.plan(AlignOptions(mosaic=mosaic, volumes=volumes_of, matching=matching, n_workers=1)))
    assert len(asked) == 5 and asked[-1][0] == asked[0][0] and max(asked[-1][1].reach_px) <= 6
    link = next(k for k in result.placement.links if (k.fixed, k.moving) == asked[0][0])
    assert not link.reason
    assert np.abs(np.array(link.offset_px) - (true[link.moving] - true[link.fixed])).max() < 0.1
