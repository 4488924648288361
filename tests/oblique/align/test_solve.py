from __future__ import annotations

import itertools

import numpy as np
import pytest

from gpustitch.errors import AlignmentError
from gpustitch.model import Link, Match
from gpustitch.oblique.align.solve import solve_positions

SPACING_PX = np.array([60, 140, 130])


def grid(shape: tuple[int, int, int], stage_error: float = 4.0, seed: int = 0) -> tuple[dict, dict]:
    """Nominal and true positions of tiles named by their place in the grid."""
    rng = np.random.default_rng(seed)
    nominal, true = {}, {}
    for place in itertools.product(*map(range, shape)):
        name = "".join(map(str, place))
        nominal[name] = tuple(np.array(place) * SPACING_PX.astype(float))
        true[name] = np.array(nominal[name]) + rng.uniform(-stage_error, stage_error, 3)
    return nominal, true


# Links that state this standard error are exact: the stage, which is off by voxels, hardly counts beside them.
EXACT_PX = 0.005


def link(
    true: dict,
    a: str,
    b: str,
    noise: np.ndarray | float = 0.0,
    n: int = 15,
    scatter: float = 0.05,
    sigma: float | None = EXACT_PX,
) -> Link:
    offset = tuple((true[b] - true[a] + noise).tolist())
    matches = tuple(Match((0, 0, 0), (0.0, 0.0, 0.0), 0.99) for _ in range(n))
    return Link(a, b, offset, (scatter,) * 3, matches, sigma_px=None if sigma is None else (sigma,) * 3)


def neighbours(true: dict) -> list[tuple[str, str]]:
    return [(a, b) for a, b in itertools.combinations(true, 2) if sum(int(p != q) for p, q in zip(a, b)) == 1]  # noqa: B905


def errors(placement, true: dict) -> np.ndarray:
    found = np.array([placement.origin_px[n] for n in true])
    wanted = np.array(list(true.values()))
    return (found - found.mean(axis=0)) - (wanted - wanted.mean(axis=0))


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 2, 2), (2, 2, 2), (1, 3, 4), (2, 3, 1)])
def test_exact_links_give_exact_positions(shape: tuple[int, int, int]) -> None:
    """Offsets are subtracted from the stage position, not added to it; a 2 x 2 x 2 grid is like any other."""
    nominal, true = grid(shape)
    placement = solve_positions(nominal, [link(true, a, b) for a, b in neighbours(true)])
    np.testing.assert_allclose(errors(placement, true), 0, atol=1e-4)
    assert np.min(list(placement.origin_px.values()), axis=0) == pytest.approx([0, 0, 0])
    assert placement.unlinked == ()
    assert max(abs(v) for r in placement.residual_px.values() for v in r) < 1e-4


def test_direction_of_a_link_does_not_matter() -> None:
    nominal, true = grid((1, 2, 2))
    links = [link(true, b, a) for a, b in neighbours(true)]
    np.testing.assert_allclose(errors(solve_positions(nominal, links), true), 0, atol=1e-4)


def test_loops_average_the_noise() -> None:
    rng = np.random.default_rng(3)
    nominal, true = grid((1, 4, 4))
    links = [link(true, a, b, rng.normal(0, 0.1, 3), sigma=0.1) for a, b in neighbours(true)]
    placement = solve_positions(nominal, links)
    assert not [k.reason for k in placement.links if k.reason]
    assert np.sqrt((errors(placement, true) ** 2).mean()) < 0.12
    for k in placement.links:
        a, b = (np.array(placement.origin_px[n]) for n in (k.fixed, k.moving))
        np.testing.assert_allclose(placement.residual_px[k.fixed, k.moving], b - a - np.array(k.offset_px))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_a_link_16_voxels_off_is_rejected_even_in_a_single_loop(wrong: int, axis: int) -> None:
    nominal, true = grid((1, 2, 2), stage_error=3.0, seed=wrong)
    pairs = neighbours(true)
    links = [link(true, a, b, 16 * np.eye(3)[axis] if i == wrong else 0.0) for i, (a, b) in enumerate(pairs)]
    placement = solve_positions(nominal, links)
    assert [bool(k.reason) for k in placement.links] == [i == wrong for i in range(4)]
    assert "contradicts the other links by 16.0 voxels" in placement.links[wrong].reason
    assert pairs[wrong] not in placement.residual_px
    np.testing.assert_allclose(errors(placement, true), 0, atol=1e-4)


def test_several_wrong_links_are_all_found() -> None:
    nominal, true = grid((1, 4, 4))
    pairs = neighbours(true)
    wrong = {2: [0, 9, 0], 11: [-12, 0, 5], 19: [0, 0, -20]}
    links = [link(true, a, b, np.array(wrong.get(i, [0, 0, 0]))) for i, (a, b) in enumerate(pairs)]
    placement = solve_positions(nominal, links)
    assert {i for i, k in enumerate(placement.links) if k.reason} == set(wrong)
    np.testing.assert_allclose(errors(placement, true), 0, atol=1e-4)


def test_precise_links_count_more() -> None:
    nominal, true = grid((1, 1, 2))
    good, bad = link(true, "000", "001"), link(true, "001", "000", 0.7, n=3, scatter=1.0, sigma=None)
    assert np.abs(errors(solve_positions(nominal, [good, bad]), true)).max() < 0.05


def test_a_link_that_is_somewhat_off_pulls_no_harder_than_its_limit() -> None:
    """One link says 10.6; two paths of two links each, all as sure of themselves, say 10."""
    nominal = {name: (0.0, 0.0, x) for name, x in (("a", 0.0), ("c", 5.0), ("d", 5.0), ("b", 10.0))}
    true = {name: np.array(position) for name, position in nominal.items()}
    pairs = [("a", "c"), ("c", "b"), ("a", "d"), ("d", "b")]
    links = [link(true, *pair, scatter=0.0, sigma=None) for pair in pairs] + [
        link(true, "a", "b", np.array([0, 0, 0.6]), scatter=0, sigma=None)
    ]
    placement = solve_positions(nominal, links)
    found = placement.origin_px
    # Least squares would say 10.3. The link is taken for one whose error is larger than it states: 0.5 instead of 0.05.
    assert found["b"][2] - found["a"][2] == pytest.approx(10, abs=0.02)
    assert not any(k.reason for k in placement.links)


def test_links_are_judged_in_their_standard_errors() -> None:
    """A scatter of 2 voxels among 15 matches is a standard error of 0.65."""
    nominal, true = grid((1, 2, 2))
    pairs = neighbours(true)
    for scatter, rejected in ((0.05, 1), (2.0, 0)):
        links = [link(true, *pair, 2.0 if i == 0 else 0.0, scatter=scatter, sigma=None) for i, pair in enumerate(pairs)]
        assert sum(bool(k.reason) for k in solve_positions(nominal, links).links) == rejected


def test_a_tile_without_links_lies_where_the_stage_has_it_relative_to_the_others() -> None:
    nominal, true = grid((1, 1, 3))
    rejected = Link("001", "002", (0.0, 0.0, 500.0), (0.0, 0.0, 0.0), (), "no room")
    placement = solve_positions(nominal, [link(true, "000", "001"), rejected])
    assert placement.unlinked == ("002",)
    linked = np.mean([np.subtract(placement.origin_px[n], nominal[n]) for n in ("000", "001")], axis=0)
    # Two tiles say little of how the stage is turned or scaled: along x, by 1 % of 130 voxels at the most.
    assert np.abs(np.subtract(placement.origin_px["002"], nominal["002"]) - linked).max() < 1.3
    assert placement.links[1].reason == "no room"
    assert all(placement.sigma_px["002"][axis] > 1 > EXACT_PX for axis in range(3))


def test_groups_that_no_link_joins_lie_where_the_stage_has_them() -> None:
    nominal, true = grid((1, 2, 2))
    placement = solve_positions(nominal, [link(true, "000", "001"), link(true, "010", "011")])
    moved = {n: np.subtract(placement.origin_px[n], nominal[n]) for n in nominal}
    apart = moved["000"] + moved["001"] - moved["010"] - moved["011"]
    assert np.abs(apart).max() < 1
    assert placement.unlinked == ()
    assert set(placement.support.values()) == {"link"}


@pytest.mark.parametrize("unlinked", ["none", "corner", "gap"])
def test_a_camera_turned_against_the_stage_is_learnt(unlinked: str) -> None:
    """Turned by 0.3 degrees: over a tile's distance the stage is 4 voxels off, over the mosaic more."""
    nominal, _ = grid((1, 3, 6))
    nominal = {n: tuple(np.multiply(p, (1, 800 / 140, 700 / 130))) for n, p in nominal.items()}
    turn = np.radians(0.3)
    matrix = np.array([[1, 0, 0.002], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    true = {n: matrix @ np.array(p) for n, p in nominal.items()}
    is_cut = {
        "none": lambda a, b: False,
        "corner": lambda a, b: "025" in (a, b),
        "gap": lambda a, b: (a[2] < "3") != (b[2] < "3"),
    }[unlinked]
    pairs = [pair for pair in neighbours(true) if not is_cut(*pair)]
    placement = solve_positions(nominal, [link(true, a, b) for a, b in pairs])
    assert len(placement.islands) == {"none": 1, "corner": 2, "gap": 2}[unlinked]
    assert np.abs(errors(placement, true)).max() < 0.3


def test_axes_left_out_stay() -> None:
    nominal, true = grid((1, 2, 2))
    links = [link(true, a, b) for a, b in neighbours(true)]
    placement = solve_positions(nominal, links, axes=(False, True, False))
    found = np.array(list(placement.origin_px.values()))
    np.testing.assert_allclose(found[:, [0, 2]], np.array(list(nominal.values()))[:, [0, 2]])
    np.testing.assert_allclose(errors(placement, true)[:, 1], 0, atol=1e-4)


def test_no_links_and_one_tile() -> None:
    assert solve_positions({"a": (3.0, 4.0, 5.0)}, []).origin_px == {"a": (0.0, 0.0, 0.0)}


def test_unknown_tile() -> None:
    with pytest.raises(AlignmentError, match="nobody"):
        solve_positions({"a": (0.0, 0.0, 0.0)}, [Link("a", "nobody", (0.0,) * 3, (0.0,) * 3, ())])
