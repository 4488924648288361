"""Drawings of the page: outlines are where tiles are, drawings are well-formed and labelled."""

from __future__ import annotations

import itertools
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpustitch.model import Box, Coverage, PlacedVolume, Spacing
from gpustitch.oblique.report import svg
from gpustitch.oblique.report.gather import Measured, planes_of
from gpustitch.oblique.report.light import TileLight
from gpustitch.oblique.report.placement import Placing, Remeasured
from tests.oblique.report.scenes import ArrayTile, row_of_tiles

SPACING = Spacing(1.27, 1.8, 1.28)


class _Covered:
    def __init__(self, coverage: Coverage) -> None:
        self.coverage = coverage


def area(corners: list[tuple[float, float]]) -> float:
    pairs = zip(corners, [*corners[1:], corners[0]], strict=True)
    return abs(sum(a * d - b * c for (a, b), (c, d) in pairs)) / 2


@pytest.mark.parametrize("axis", [0, 1, 2])
@given(st.floats(0, 1.5), st.floats(0.02, 0.98), st.floats(-20, 20))
def test_an_outline_is_as_large_as_what_is_covered(axis: int, shear: float, part: float, at: float) -> None:
    cover = Coverage(40, 30, 20, shear)
    tile = PlacedVolume("a", _Covered(cover), (at, 2 * at, at))  # type: ignore[arg-type]
    n = round(part * (cover.shape[axis] - 1))
    start, stop = [0, 0, 0], list(cover.shape)
    start[axis], stop[axis] = n, n + 1
    held = int(cover.mask(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))).sum())
    corners = svg.outline(tile, axis, n + tile.origin_px[axis])
    # An outline runs through the outermost voxels.
    edge = 2 * sum(math.dist(a, b) for a, b in itertools.pairwise(corners)) + 8
    assert abs((area(corners) if corners else 0.0) - held) <= edge
    assert not svg.outline(tile, axis, tile.origin_px[axis] + cover.shape[axis] + 5)


def test_the_map_has_tiles_links_errors_and_reasons() -> None:
    tiles = row_of_tiles(1)
    a, b = tiles
    link = Remeasured(a, b, (0.0, 50.0, 0.0), (0.0, 50.0, 0.0), (0.0, 5.0, 0.0))
    found = Measured(SPACING, (40, 130, 90), placed=tiles, placing=Placing((link,)))
    drawn = svg.tile_map(found, {a: (0.1, 0.2, 0.1)}, {(a, b): "it is <dark>"})
    root = ElementTree.fromstring(drawn)
    assert len(root.findall(".//rect")) == 2 and len(root.findall(".//ellipse")) == 1
    (line,) = (each for each in root.iter("line") if each.find("title") is not None)
    assert line.get("class") == svg.STEPS[-1][1], "five voxels are far off"
    title = line.find("title")
    assert title is not None and "it is <dark>" in (title.text or "")
    assert "not known" in svg.tile_map(found, {}, {})


@pytest.mark.parametrize(("off", "step"), [(0.0, 0), (0.3, 0), (0.31, 1), (2.9, 2), (3.1, 3), (None, None)])
def test_colours_and_dashes_tell_steps_apart(off: float | None, step: int | None) -> None:
    assert svg.step_of(off)[0] == (svg.NOT_KNOWN if step is None else svg.STEPS[step][1])
    assert len({colour for _, colour, _ in svg.STEPS} | {svg.NOT_KNOWN}) == 5


def test_planes_have_outlines_and_a_scale_bar() -> None:
    tiles = row_of_tiles(2)
    volume = ArrayTile(np.random.default_rng(0).uniform(1, 9, (40, 130, 90)).astype(np.float32))
    found = Measured(SPACING, (40, 130, 90), placed=tiles)
    for plane in planes_of([volume]):
        root = ElementTree.fromstring(svg.plane(plane, found, (0.0, 9.0)))
        across = max(a for a in range(3) if a != plane.axis)
        seen = sum(bool(svg.outline(tile, plane.axis, plane.at_px)) for tile in tiles.values())
        assert len(root.findall("polygon")) == seen >= 1
        bar = next(float(r.get("width") or 0) for r in root.findall("rect") if r.get("class") == "bar")
        image = root.find("image")
        assert image is not None
        text = next(t.text or "" for t in root.findall("text") if t.get("class") == "onbar")
        size_um = found.shape[across] * SPACING.zyx_um[across]
        assert float(text.removesuffix(" um")) / size_um == pytest.approx(
            bar / float(image.get("width") or 0), rel=0.02
        )


def test_brightness_over_depth_has_axes_with_units_and_a_line_for_each_tile() -> None:
    lights = {str(n): TileLight(3, 5, 1, 9, np.linspace(1, n + 2, 20), 0, None, False) for n in range(7)}
    drawn = svg.depth_plot({**lights, "gone": None}, 120.0)
    root = ElementTree.fromstring(drawn)
    assert len(root.findall("polyline")) == 7
    assert {"depth along z, um", "mean, counts"} <= {text.text for text in root.findall("text")}
    looks = {(line.get("class"), line.get("stroke-dasharray")) for line in root.findall("polyline")}
    assert len(looks) == 7
    assert svg.legend_of(lights).count("<svg") == 7 and "7 tiles" not in svg.legend_of(lights)
    assert svg.depth_plot({"gone": None}, 1.0) == ""
