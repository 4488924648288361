"""Links that are false, doubtful, doubled or degenerate: nothing wrong is stated as sure."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from gpustitch.model import Candidate, Link, Match, Placement
from gpustitch.oblique.align.solve import solve_positions

PITCH_PX = np.array([400.0, 800.0, 700.0])
SIGMA_PX = 0.03


class Case:
    """Tiles of a grid (z, y, x) whose stage is off by ``error_px``, and links between neighbours."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0, error_px: float = 3.0) -> None:
        self.rng = np.random.default_rng([seed, *shape])
        places = list(itertools.product(*map(range, shape)))
        self.nominal = {"".join(map(str, p)): tuple((np.array(p) * PITCH_PX).tolist()) for p in places}
        self.true = {n: np.array(p) + self.rng.normal(0, error_px, 3) for n, p in self.nominal.items()}
        self.pairs = [
            (a, b)
            for a, b in itertools.combinations(self.nominal, 2)
            if sum(abs(int(p) - int(q)) for p, q in zip(a, b, strict=True)) == 1
        ]

    def offset(self, a: str, b: str, off: object = 0.0) -> tuple[float, float, float]:
        z, y, x = (self.true[b] - self.true[a] + self.rng.normal(0, SIGMA_PX, 3) + np.asarray(off)).tolist()
        return z, y, x

    def link(self, a: str, b: str, off: object = 0.0, n: int = 20, **more: object) -> Link:
        matches = (Match((0, 0, 0), (0.0, 0.0, 0.0), 0.99),) * n
        made = Link(a, b, self.offset(a, b, off), (SIGMA_PX,) * 3, matches, sigma_px=(SIGMA_PX,) * 3)
        return dataclasses.replace(made, **more)

    def errors(self, placement: Placement) -> np.ndarray:
        """Error of each tile relative to the mean of all, voxels."""
        off = np.array([np.subtract(placement.origin_px[n], self.true[n]) for n in self.nominal])
        return off - off.mean(axis=0)

    def seams(self, placement: Placement) -> np.ndarray:
        at = placement.origin_px
        return np.array([np.subtract(at[b], at[a]) - (self.true[b] - self.true[a]) for a, b in self.pairs])


def sigma(placement: Placement) -> np.ndarray:
    return np.array([placement.sigma_px[n] for n in placement.origin_px])


def test_four_false_links_of_17_leave_good_seams() -> None:
    worst = []
    for seed in range(3):
        case = Case((1, 3, 4), seed)
        false = set(case.rng.choice(17, 4, replace=False).tolist())
        links = [
            case.link(*pair, case.rng.uniform(-15, 15, 3) if i in false else 0.0, 5 if i in false else 20)
            for i, pair in enumerate(case.pairs)
        ]
        worst.append(np.abs(case.seams(solve_positions(case.nominal, links))).max())
    assert np.median(worst) < 0.5


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 3, 1), (2, 2, 2)])
def test_neither_order_nor_direction_nor_names_matter(shape: tuple[int, int, int]) -> None:
    case = Case(shape, 4)
    links = [case.link(*pair, 8.0 if i == 1 else 0.0, n=4 + i) for i, pair in enumerate(case.pairs)]
    links[0] = dataclasses.replace(
        links[0], candidates=(Candidate(links[0].offset_px, (0.03,) * 3, 0.6), Candidate((5.0,) * 3, (0.1,) * 3, 0.3))
    )
    first = solve_positions(case.nominal, links)
    rename = dict(zip(case.nominal, case.rng.permutation([f"t{i}" for i in range(len(case.nominal))]), strict=True))
    tiles = case.rng.permutation(list(case.nominal))
    shuffled = [links[i] for i in case.rng.permutation(len(links))]
    turned = [
        dataclasses.replace(
            k,
            fixed=str(rename[k.moving]),
            moving=str(rename[k.fixed]),
            offset_px=tuple(-np.array(k.offset_px)),
            candidates=tuple(dataclasses.replace(c, offset_px=tuple(-np.array(c.offset_px))) for c in k.candidates),
        )
        for k in shuffled
    ]
    second = solve_positions({str(rename[n]): case.nominal[n] for n in tiles}, turned)
    for name in case.nominal:
        np.testing.assert_allclose(second.origin_px[rename[name]], first.origin_px[name], atol=1e-6)
        np.testing.assert_allclose(second.sigma_px[rename[name]], first.sigma_px[name], rtol=1e-4)
        assert second.support[rename[name]] == first.support[name]
    assert [k.reason for k in second.links] == [first.links[links.index(k)].reason for k in shuffled]


def test_the_right_candidate_of_a_rejected_link_is_revived() -> None:
    case = Case((1, 2, 2))
    links = [case.link(*pair) for pair in case.pairs]
    wrong, right = Candidate((7.0, 9.0, 700.0), (0.1,) * 3, 0.5), Candidate(links[0].offset_px, (0.04,) * 3, 0.4)
    ambiguous = dataclasses.replace(
        links[0], offset_px=wrong.offset_px, reason="two offsets fit as well", candidates=(wrong, right)
    )
    placement = solve_positions(case.nominal, [ambiguous, *links[1:]])
    revived = placement.links[0]
    assert (revived.reason, revived.offset_px, revived.sigma_px) == ("", right.offset_px, right.sigma_px)
    assert revived.matches == ()
    assert set(placement.support.values()) == {"loop"}
    np.testing.assert_allclose(placement.residual_px[case.pairs[0]], 0, atol=0.1)


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 3), (2, 2, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_a_pattern_that_repeats_links_nothing(shape: tuple[int, int, int], seed: int) -> None:
    """Whole periods fit each other round every loop, and some of them the stage."""
    case = Case(shape, seed)
    links = []
    for pair in case.pairs:
        periods = case.rng.integers(-3, 4, (4, 3)) * np.array([0, 11.1, 15.7])
        places = [Candidate(case.offset(*pair, p), (0.01,) * 3, 0.06) for p in periods]
        links.append(Link(*pair, places[0].offset_px, (0.05,) * 3, (), "two places fit", None, tuple(places)))
    placement = solve_positions(case.nominal, links)
    assert all(k.reason and len(k.candidates) == 4 for k in placement.links)
    assert set(placement.support.values()) == {"stage"}


def test_an_accepted_link_moves_to_its_other_candidate() -> None:
    case = Case((1, 2, 2))
    links = [case.link(*pair) for pair in case.pairs]
    other = Candidate(links[1].offset_px, (0.04,) * 3, 0.2)
    off = case.link(*case.pairs[1], (0.0, 20.0, 0.0))
    off = dataclasses.replace(off, candidates=(Candidate(off.offset_px, (0.04,) * 3, 0.7), other))
    placement = solve_positions(case.nominal, [links[0], off, *links[2:]])
    assert placement.links[1].offset_px == other.offset_px
    assert not any(k.reason for k in placement.links)
    assert placement.links[1].matches == ()


def test_the_refined_offset_stands_for_its_candidate() -> None:
    case = Case((1, 2, 2))
    links = [case.link(*pair) for pair in case.pairs]
    coarse = [
        dataclasses.replace(k, candidates=(Candidate(tuple(np.round(k.offset_px)), (0.5,) * 3, 0.9),)) for k in links
    ]
    placement = solve_positions(case.nominal, coarse)
    assert placement.links == tuple(coarse)
    np.testing.assert_allclose(case.errors(placement), 0, atol=0.15)


def test_all_links_false() -> None:
    """Each is rejected with a number; what is left is the stage, with the stage's error."""
    case = Case((1, 2, 2), error_px=1.0)
    offs = case.rng.uniform(30, 55, (4, 3)) * case.rng.choice([-1, 1], (4, 3))
    links = [case.link(*pair, off, n=3) for pair, off in zip(case.pairs, offs, strict=True)]
    placement = solve_positions(case.nominal, links)
    assert all(
        "voxels from where the stage model puts it, and no loop supports it" in k.reason for k in placement.links
    )
    assert set(placement.support.values()) == {"stage"}
    assert set(placement.unlinked) == set(case.nominal)
    assert np.abs(case.errors(placement)).max() < 4
    assert sigma(placement).min() > 1


def test_a_far_link_that_closes_no_loop_is_rejected_and_a_plausible_one_is_kept() -> None:
    case = Case((1, 1, 2), error_px=0.0)
    far = solve_positions(case.nominal, [case.link("000", "001", (30.0, 60.0, -40.0), n=4)])
    assert "lies 60" in far.links[0].reason
    near = solve_positions(case.nominal, [case.link("000", "001", (0.0, 3.0, 0.0), n=20)])
    assert not near.links[0].reason
    assert set(near.support.values()) == {"link"}
    assert sigma(near).max() < 0.1


def test_a_link_between_two_tiles_is_as_sure_as_its_matches() -> None:
    """One link of few matches between two tiles: the stage cannot tell a small error; the stated one covers it."""
    case = Case((1, 1, 2), error_px=0.0)
    few, many = (solve_positions(case.nominal, [case.link("000", "001", 4.0, n=n)]) for n in (3, 100))
    assert sigma(few).min() > 10 * sigma(many).max()


@pytest.mark.parametrize("confidence", [0.0, 1.0])
@pytest.mark.parametrize("stated_px", [0.0, 0.03, 3.0])
def test_extreme_confidence_and_standard_errors(confidence: float, stated_px: float) -> None:
    """A link that is sure of itself is still rejected by a loop; one of no confidence still closes one."""
    case = Case((1, 2, 2))
    links = [
        dataclasses.replace(
            k, candidates=(Candidate(k.offset_px, (stated_px,) * 3, confidence),), sigma_px=(stated_px,) * 3
        )
        for k in (case.link(*pair, (0.0, 50.0, 0.0) if i == 0 else 0.0) for i, pair in enumerate(case.pairs))
    ]
    placement = solve_positions(case.nominal, links)
    assert placement.links[0].reason
    assert np.isfinite(sigma(placement)).all()
    assert (sigma(placement) > 0).all()


def test_links_of_one_pair_close_no_loop() -> None:
    case = Case((1, 1, 2))
    placement = solve_positions(
        case.nominal, [case.link("000", "001"), case.link("001", "000", 0.0, offset_px=case.offset("001", "000"))]
    )
    assert set(placement.support.values()) == {"link"}
    assert not any(k.reason for k in placement.links)


def test_tiles_commanded_to_one_place() -> None:
    case = Case((1, 1, 3))
    case.nominal = dict.fromkeys(case.nominal, (5.0, 5.0, 5.0))
    case.true = {n: np.array(p) + [0, 0, i] for i, (n, p) in enumerate(case.nominal.items())}
    placement = solve_positions(case.nominal, [case.link(*pair) for pair in case.pairs])
    assert np.abs(case.errors(placement)).max() < 0.2
    assert np.isfinite(sigma(placement)).all()


def test_axes_that_are_not_solved_have_the_errors_of_the_stage() -> None:
    case = Case((1, 2, 2))
    links = [case.link(*pair) for pair in case.pairs]
    placement = solve_positions(case.nominal, links, axes=(False, True, False), voxel_um=(1.0, 2.0, 1.0))
    found = sigma(placement)
    assert found[:, 1].max() < 0.1
    assert found[:, [0, 2]].min() > 4
    nothing = solve_positions(case.nominal, links, axes=(False, False, False))
    assert [k.reason for k in nothing.links] == [""] * 4
    np.testing.assert_allclose(list(nothing.origin_px.values()), list(case.nominal.values()))


def test_a_stated_repeatability_is_taken() -> None:
    case = Case((1, 2, 2))
    links = [case.link(*pair) for pair in case.pairs if "011" not in pair]
    errors = []
    for um in (0.1, 1.0, 10.0, None):
        placement = solve_positions(case.nominal, links, voxel_um=(1.0, 1.0, 1.0), stage_repeatability_um=um)
        errors.append(placement.sigma_px["011"][1])
    assert errors[0] < errors[1] < errors[2]
    # Links of the other tiles say how far the stage is off: 3 voxels.
    assert errors[1] < errors[3]


def test_one_bumped_tile_does_not_spoil_the_scale_of_the_stage() -> None:
    """A tile 50 voxels off, held by its links; another without links is still known to a few voxels."""
    case = Case((1, 3, 3), error_px=2.0)
    case.true["011"] += 50.0
    links = [case.link(*pair) for pair in case.pairs if "022" not in pair]
    placement = solve_positions(case.nominal, links)
    assert not any(k.reason for k in placement.links)
    assert max(placement.sigma_px["022"]) < 6
    assert np.abs(case.errors(placement)).max() < 10


def test_a_large_mosaic_with_many_false_links() -> None:
    """Here hypotheses change together; a tile whose only link is false is not taken for a bumped one."""
    case = Case((1, 10, 10), 2)
    hanging = [pair for pair in case.pairs if "099" in pair][:1]
    false = set(case.rng.choice(len(case.pairs), 14, replace=False).tolist())
    links = []
    for i, pair in enumerate(case.pairs):
        if "099" in pair:
            links += [case.link(*pair, (40.0, -50.0, 30.0), n=7)] if pair in hanging else []
        else:
            links.append(case.link(*pair, case.rng.uniform(-60, 60, 3) if i in false else 0.0, 6 if i in false else 20))
    with np.errstate(all="raise", under="ignore"):
        placement = solve_positions(case.nominal, links)
    right = [k for k in placement.links if not k.reason]
    assert all(np.abs(np.subtract(k.offset_px, case.true[k.moving] - case.true[k.fixed])).max() < 1 for k in right)
    assert placement.support["099"] == "stage"
    assert max(placement.sigma_px["099"]) < 8
    placed = [np.subtract(placement.origin_px[n], case.true[n]) for n in case.nominal if placement.support[n] == "loop"]
    assert np.abs(placed - np.mean(placed, axis=0)).max() < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_places_of_a_pattern_that_repeats_confirm_nothing_among_themselves(seed: int) -> None:
    """Whole periods close every loop: no overlap that was not told by its picture is revived by them."""
    case = Case((1, 2, 3), seed)
    links = []
    for a, b in case.pairs:
        true, periods = np.array(case.offset(a, b)), case.rng.integers(-3, 4, (3, 3)) * np.array([11.0, 11.0, 16.0])
        offers = tuple(Candidate(tuple((true + p).tolist()), (0.01,) * 3, 0.06) for p in periods)
        links.append(Link(a, b, offers[0].offset_px, (0.0,) * 3, (), "two places fit nearly alike", None, offers))
    placed = solve_positions(case.nominal, links)
    assert all(link.reason for link in placed.links) and set(placed.support.values()) == {"stage"}


def test_an_overlap_that_the_others_tell_is_revived() -> None:
    case = Case((1, 2, 2), 1)
    links = [case.link(a, b) for a, b in case.pairs]
    first = links[0]
    offers = tuple(
        Candidate(tuple((np.array(first.offset_px) + d).tolist()), (SIGMA_PX,) * 3, 0.2) for d in (0.0, 11.0, -22.0)
    )
    links[0] = dataclasses.replace(first, reason="two places fit nearly alike", candidates=offers[::-1])
    revived = next(
        k for k in solve_positions(case.nominal, links).links if (k.fixed, k.moving) == (first.fixed, first.moving)
    )
    assert not revived.reason and revived.offset_px == pytest.approx(first.offset_px)
