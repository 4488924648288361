"""A mosaic of which nothing, or only a part, could be linked: refused, or said on the screen and in the file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import AlignmentError
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Link, ObliqueScan, Placement, Support
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.outcome import (
    angle_text,
    check_linked,
    check_measured,
    links_text,
    notes_of,
    read_text,
    stage_disagreement_um,
    sure_tiles_text,
    voxel_size_text,
    warnings_of,
)
from gpustitch.oblique.align.overlaps.refine import LinkCount
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.align.voxel_size import VoxelSize
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.running.progress import Silent, counted
from tests.oblique.align.test_stage import FAST, SHAPE, SPACING, errors, tiles


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def placement(n_tiles: int, links: dict[tuple[int, int], str]) -> Placement:
    """Tiles ``0`` .. ``n_tiles - 1`` and the reasons of the links between them."""
    made = tuple(Link(str(a), str(b), (0, 0, 0), (0, 0, 0), (), reason) for (a, b), reason in links.items())
    linked = {n for link in made if not link.reason for n in (link.fixed, link.moving)}
    names = [str(i) for i in range(n_tiles)]
    return Placement(dict.fromkeys(names, (0.0, 0.0, 0.0)), {}, made, tuple(n for n in names if n not in linked))


def warned(placed: Placement, stage_px: Mapping[str, tuple[float, float, float]] | None = None) -> list[str]:
    """The warnings, with a stage that puts the tiles where they are."""
    return list(warnings_of(placed, SPACING, placed.origin_px if stage_px is None else stage_px))


def test_one_tile_is_no_error_and_has_nothing_to_align() -> None:
    alone = placement(1, {})
    check_linked(alone, allow_unaligned=False)
    assert not warned(alone) and "nothing to align" in links_text(alone)


def test_tiles_that_do_not_overlap_have_nothing_to_align() -> None:
    apart = placement(2, {})
    check_linked(apart, allow_unaligned=False)
    assert not apart.is_unaligned
    assert ["nothing to align" in text for text in warned(apart)] == [True]


@given(st.integers(2, 7).flatmap(lambda n: st.tuples(
    st.just(n),
    st.dictionaries(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1]),
                    st.sampled_from(["", "no room"]), max_size=10),
)))  # fmt: skip
def test_every_tile_and_group_without_a_link_is_named(mosaic: tuple[int, dict[tuple[int, int], str]]) -> None:
    placed = placement(*mosaic)
    accepted = [pair for pair, reason in mosaic[1].items() if not reason]
    if mosaic[1] and not accepted:
        with pytest.raises(AlignmentError, match="no room"):
            check_linked(placed, allow_unaligned=False)
        check_linked(placed, allow_unaligned=True)
        assert "UNALIGNED" in links_text(placed) and "UNALIGNED" in " ".join(warned(placed))
        return
    check_linked(placed, allow_unaligned=False)
    islands = placed.islands
    assert sorted(n for members in islands for n in members) == sorted(placed.origin_px)
    assert all(any({str(a), str(b)} <= set(members) for members in islands) for a, b in accepted)
    said = " ".join(warned(placed))
    if accepted:
        alone = said.partition("without a link to any other")[2].partition("groups of tiles")[0]
        assert all(f" {name} (+- not known)" in alone for name in placed.unlinked)
        groups = [members for members in islands if len(members) > 1]
        assert ("groups of tiles" in said) == (len(groups) > 1) == ("groups of tiles" in links_text(placed))
        assert (f"{counted(len(placed.unlinked), 'tiles')} without a link" in links_text(placed)) == bool(
            placed.unlinked
        )


def test_what_was_not_measured_is_not_stated_as_measured() -> None:
    assert "NOT measured" in voxel_size_text(VoxelSize(1.8, None, None, 0))
    for stated, sure, is_better_told, said in (
        (
            0.108,
            0.2,
            True,
            "nominal 1.8 um fits; these tiles alone know it to +-6 %, relative to the stage's own scale",
        ),
        (0.003, 0.02, False, "nominal 1.8 um is doubtful, not disproved"),
        (0.002, 0.005, False, "nominal 1.8 um does not fit: going on with 1.8100 um"),
    ):
        text = voxel_size_text(VoxelSize(1.8, 1.81, stated, 2, 4, 2, sure))
        assert said in text and f"1.8100 +- {stated:.4f} um (95 %) from 2 links between 2 rows of 4 tiles" in text
        assert text.endswith("going on with the nominal 1.8 um") == (sure > 0.01)
        assert ("more rows of tiles or a stated stage repeatability" in text) == is_better_told
    for y_size, used in (("measured", "1.81 um, the measured one"), ("nominal", "1.8 um, the nominal one")):
        told = VoxelSize(1.8, 1.81, 0.05, 2, 4, 2, 0.1, None, y_size)
        assert voxel_size_text(told).endswith(f"going on with {used}")


def test_a_size_is_measured_or_refused() -> None:
    for y_size in ("auto", "measured", "nominal"):
        check_measured(y_size, True)
    check_measured("auto", False)
    with pytest.raises(AlignmentError, match="take auto or nominal"):
        check_measured("measured", False)


def chain(n_tiles: int, off_px: float = 0.0) -> tuple[Placement, dict[str, tuple[float, float, float]]]:
    """A row of tiles 100 voxels apart, linked as the stage has them but for the last one; and the stage's positions."""
    stage_px = {str(n): (0.0, 0.0, 100.0 * n) for n in range(n_tiles)}
    links = [Link(str(n), str(n + 1), (0.0, 0.0, 100.0), (0, 0, 0), ()) for n in range(n_tiles - 1)]
    links[-1] = dataclasses.replace(links[-1], offset_px=(0.0, 0.0, 100 + off_px))
    support: dict[str, Support] = dict.fromkeys(stage_px, "link")
    return Placement(stage_px, {}, tuple(links), (), {}, support), stage_px


@settings(max_examples=30, deadline=None)
@given(n_tiles=st.integers(2, 6), off_px=st.floats(-200, 200))
def test_a_link_that_nothing_checks_is_told_where_it_is_far_from_the_stage(n_tiles: int, off_px: float) -> None:
    placed, stage_px = chain(n_tiles, off_px)
    off_um = abs(off_px) * SPACING.x_um
    said = warned(placed, stage_px)
    assert len(said) == (off_um > 20)
    assert all(f"{n_tiles - 2} - {n_tiles - 1} ({off_um:.0f} um)" in text and "no loop" in text for text in said)
    # A loop confirms it.
    across = Link("0", str(n_tiles - 1), (0.0, 0.0, 100.0 * (n_tiles - 1) + off_px), (0, 0, 0), ())
    if n_tiles > 2:
        assert not warned(dataclasses.replace(placed, links=(*placed.links, across)), stage_px)


def test_links_that_differ_from_the_stage_alike_are_not_far_from_it() -> None:
    """A wrong voxel size moves all of them, and it is told of as such."""
    placed, stage_px = chain(4)
    far = tuple(dataclasses.replace(link, offset_px=(0.0, 0.0, 150.0)) for link in placed.links)
    assert not warned(dataclasses.replace(placed, links=far), stage_px)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.data())
def test_the_screen_has_a_line_for_each_problem_and_not_for_each_tile(n_tiles: int, data: st.DataObject) -> None:
    texts = st.sampled_from(["", "contradicts the other links by 3.1 voxels", "no room for 21 x 5 voxels"])
    numbers = st.integers(0, 999)
    pairs = itertools.pairwise(range(n_tiles))
    found = {pair: re.sub(r"\d+", lambda _: str(data.draw(numbers)), data.draw(texts)) for pair in pairs}
    placed = placement(n_tiles, found)
    supports: dict[str, Support] = {name: "stage" if name in placed.unlinked else "link" for name in placed.origin_px}
    said = list(notes_of(dataclasses.replace(placed, support=supports)))
    rejected = [link for link in placed.links if link.reason]
    kinds = {link.reason.split()[0] for link in rejected}
    held = [name for name, support in supports.items() if support == "link"]
    assert len(said) == len(kinds) + bool(held)
    counts = [1 + int(more[1]) if (more := re.search(r"likewise (\d+) more", text)) else 1 for text in said]
    assert sum(counts[: len(kinds)]) == len(rejected)
    assert not held or said[-1].startswith(f"nothing checks {counted(len(held), 'tiles')} on links that close no loop")
    assert all(len(text) < 400 for text in said)


@settings(max_examples=30, deadline=None)
@given(errors=st.dictionaries(st.sampled_from("012345"), st.tuples(*[st.floats(0.001, 500)] * 3)))
def test_how_sure_positions_are_is_stated_for_what_is_known_and_never_as_0(
    errors: dict[str, tuple[float, float, float]],
) -> None:
    placed = dataclasses.replace(placement(6, {(0, 1): ""}), sigma_px=errors)
    text = sure_tiles_text(placed, SPACING)
    alone = warned(placed)[0]
    for name in placed.unlinked:
        assert (f" {name} (+- not known)" in alone) == (name not in errors)
    if not errors:
        assert "not known" in text
        return
    assert "not known" not in text and not re.search(r" 0[, ]", text)
    greatest = {name: max(np.multiply(error, SPACING.zyx_um)) for name, error in errors.items()}
    assert greatest[text.partition("(tile ")[2][0]] == max(greatest.values())


BLANK = {
    "empty": lambda rng: np.zeros(SHAPE, np.uint16),
    "constant": lambda rng: np.full(SHAPE, 300, np.uint16),
    "noise": lambda rng: rng.poisson(300, SHAPE).astype(np.uint16),
}


@settings(max_examples=6, deadline=None)
@given(
    spoiled=st.lists(st.sampled_from([None, None, *BLANK]), min_size=4, max_size=4),
    is_shuffled=st.sampled_from([False, False, True]),
)
def test_no_mosaic_with_tiles_that_show_nothing_is_stitched_in_silence(
    spoiled: list[str | None], is_shuffled: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mosaic, volumes, true = tiles((1, 2, 2), 3)
    for name, kind in zip(list(volumes), spoiled, strict=True):
        if kind is not None:
            volumes[name] = ArrayVolume(BLANK[kind](np.random.default_rng(len(name))), SPACING)
    if is_shuffled:  # each tile holds what another one saw
        volumes = dict(zip(volumes, reversed(volumes.values()), strict=True))
    output = tmp_path_factory.mktemp("outcome") / "align.json"
    heard = Heard()
    matching = dataclasses.replace(FAST, search_px=(0, 0, 0), sample_count=8)
    plan = align.plan(AlignOptions(mosaic=mosaic, volumes=volumes, matching=matching, output=output))
    try:
        result = align.run(plan, heard)
    except AlignmentError:
        assert not output.exists()
        assert is_shuffled or sum(kind is None for kind in spoiled) < 3
        return
    found, content = read_alignment(output), json.loads(output.read_text())
    linked = {n for k in result.placement.links if not k.reason for n in (k.fixed, k.moving)}
    assert not is_shuffled and linked <= {n for n, kind in zip(volumes, spoiled, strict=True) if kind is None}
    assert set(found.unlinked) == set(volumes) - linked and not content["unaligned"]
    for name in found.unlinked:
        assert any(name in warning for warning in heard.warnings)
    assert (f"{counted(len(found.unlinked), 'tiles')} without a link" in result.summary) == bool(found.unlinked)
    if len(linked) == 4:
        assert np.abs(errors(result, true)).max() < 0.25
    is_measured = content["voxel_size_estimate"] is not None
    assert ("NOT measured" in " ".join(heard.warnings)) == (not is_measured) == ("NOT measured" in result.summary)
    assert content["voxel_sizes_measured"][1] == (is_measured and content["voxel_size"] != 1.8)


@pytest.mark.parametrize(
    ("agreeing", "elsewhere", "is_told"), [(12, 8, True), (12, 4, True), (20, 0, False), (5, 3, False), (76, 14, False)]
)
def test_overlaps_with_parts_elsewhere_are_told(agreeing: int, elsewhere: int, is_told: bool) -> None:
    placed = placement(3, {(0, 1): "", (1, 2): "", (0, 2): "no"})
    windows = {("0", "1"): (20, 0), ("1", "2"): (agreeing, elsewhere), ("0", "2"): (4, 16)}
    counts = {pair: LinkCount(agreeing=n, elsewhere=m) for pair, (n, m) in windows.items()}
    said = " ".join(warnings_of(placed, SPACING, placed.origin_px, counts))
    assert (f"1 - 2 ({agreeing} of {agreeing + elsewhere})" in said) == is_told
    assert "0 - 1 (" not in said and "0 - 2 (" not in said


def test_overlaps_that_are_stretched_are_told_if_their_links_count() -> None:
    even = placement(3, {(0, 1): "", (1, 2): "", (0, 2): "no"})
    bends = {("1", "2"): (0.0, 0.4, 1.25), ("0", "2"): (3.0, 0.0, 0.0)}
    links = tuple(dataclasses.replace(k, bend_px=bends.get((k.fixed, k.moving))) for k in even.links)
    placed = dataclasses.replace(even, links=links)
    said = [text for text in warnings_of(placed, SPACING, placed.origin_px) if "stretched" in text]
    assert len(said) == 1 and "in 1 overlap tiles" in said[0] and "1 - 2 (1.2)" in said[0]
    assert not any("stretched" in text for text in warnings_of(even, SPACING, even.origin_px))


@pytest.mark.parametrize(
    ("n_bytes", "told"),
    [
        (21e6, "read 21 MB of the tiles' 107 MB to align them: 19.6 %"),
        (115e6, "107 MB to align them: 107 %"),
        (1987e6, "tiles of 107 MB; "),
        (2e9, "19 times"),
    ],
)
def test_what_was_read_is_told_without_a_reproach(n_bytes: float, told: str) -> None:
    text = read_text(int(n_bytes), 107_000_000)
    assert told in text and "MiB" not in text


def placed_off(off_um: np.ndarray, n_rows: int = 3) -> tuple[Placement, dict[str, tuple[float, float, float]]]:
    """Tiles of a grid that lie ``off_um`` (n, 3) from where the stage puts them, linked to their neighbours."""
    places = np.array([(0, y, x) for y in range(n_rows) for x in range(3)])
    stage = places * [0, 200, 300] / np.array(SPACING.zyx_um)
    true = stage + off_um / SPACING.zyx_um
    pairs = [(a, b) for a in range(len(places)) for b in range(a) if np.abs(places[a] - places[b]).sum() == 1]
    placed = placement(len(places), dict.fromkeys(pairs, ""))
    at, told = ({str(i): tuple(p) for i, p in enumerate(px.tolist())} for px in (true, stage))
    return dataclasses.replace(placed, origin_px=at), told


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), um=st.floats(0.5, 40), turned=st.floats(-0.01, 0.01))
def test_what_links_say_of_the_stage_is_its_error_and_not_how_the_camera_is_turned(seed, um, turned) -> None:
    rng = np.random.default_rng(seed)
    off = rng.normal(size=(9, 3)) * um
    placed, told = placed_off(off)
    found = np.array(stage_disagreement_um(placed, told, SPACING, um))
    apart = np.array([off[int(k.moving)] - off[int(k.fixed)] for k in placed.links])
    rms = np.sqrt(np.square(apart).mean(axis=0) / 2)
    # The map takes up a part of it, and the errors of the links themselves.
    assert (found <= rms).all() and (found > 0.5 * rms - 0.1).all()
    places = np.array([told[str(i)] for i in range(9)]) * SPACING.zyx_um
    also = placed_off(off + turned * places[:, [1, 2, 0]])[0]
    np.testing.assert_allclose(stage_disagreement_um(also, told, SPACING, um), found, atol=0.35 * um + 0.3)


@pytest.mark.parametrize(
    ("um", "stated_um", "is_told"), [(4.0, None, False), (20.0, None, True), (4.0, 1.0, True), (20.0, 15.0, False)]
)
def test_links_that_contradict_the_stage_are_told(um: float, stated_um: float | None, is_told: bool) -> None:
    for seed in range(5):
        placed, told = placed_off(np.random.default_rng(seed).normal(size=(9, 3)) * um)
        said = " ".join(warnings_of(placed, SPACING, told, stage_repeatability_um=stated_um))
        assert ("the stage errs by" in said) == is_told


def test_objects_that_moved_are_told_and_those_that_nothing_checks() -> None:
    placed = placement(3, {(0, 1): "", (1, 2): ""})
    counts = {("0", "1"): LinkCount(moved_px=(1.0, -6.0, 2.0)), ("1", "2"): LinkCount(by_objects_alone=True)}
    said = " ".join(warnings_of(placed, SPACING, placed.origin_px, counts))
    assert f"0 - 1 ({6 * SPACING.y_um:.0f} um)" in said and "debris" in said and "1 - 2" not in said
    noted = " ".join(notes_of(placed, counts))
    assert "1 - 2" in noted and "0 - 1" not in noted and "only objects" in noted


@pytest.mark.parametrize("angle", [30.0, 45.0, 58.3])
def test_one_layer_of_tiles_does_not_tell_the_angle(angle: float) -> None:
    spacing = ObliqueScan(10, 10, 10, 1.8, 1.3, angle).spacing
    layer = [(0.0, 0.0, 5.0), (300.0, 0.0, 5.0)]
    assert f"{angle:g} degrees" in angle_text(layer, spacing)
    assert angle_text([*layer, (0.0, 0.0, 90.0)], spacing) == ""
