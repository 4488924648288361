"""Random mosaics with truth, through the whole alignment."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Mosaic, Spacing, TilePath
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.stage import AlignOptions
from tests.oblique.align.mosaics import KINDS, SMALL, Kind, Made, Recipe, make

# Kinds whose overlaps hold enough for every link.
FULL: tuple[Kind, ...] = ("cells", "texture", "dim", "saturated")
# A repeated pattern fits the stage's error plus any period, as long as no runner-up is looked at.
SURE = tuple(kind for kind in KINDS if kind != "periodic")


@settings(max_examples=8, deadline=None)
@given(
    pixel=st.floats(1.2, 2.4),
    nominal=st.floats(0.9, 1.1),
    grid=st.floats(0.9, 1.1),
    step=st.floats(0.7, 3),
    angle=st.floats(30, 60),
    seed=st.integers(0, 99),
)
def test_two_tiles_show_a_point_as_far_apart_as_the_truth_says(
    pixel: float, nominal: float, grid: float, step: float, angle: float, seed: int
) -> None:
    recipe = Recipe("sparse", (2, 1, 2), (4, 4, 4), (0.2,) * 3, pixel, nominal * pixel, step, angle, seed=seed)
    made = make(recipe)
    true, point = made.true_px(grid * pixel), np.random.default_rng(seed).uniform(-99, 99, 3)
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    seen = {}
    for name, place in made.true_um.items():
        x, y, z = point - place
        column = z / (pixel * sine)
        frame = (x - column * pixel * cosine) / step
        seen[name] = np.array([column, y / pixel, frame + grid * pixel * cosine / step * column])
    first, *others = seen
    for name in others:
        np.testing.assert_allclose(seen[first] - seen[name], np.subtract(true[name], true[first]), atol=1e-9)


def links_of(made: Made) -> tuple[list[float], list[str]]:
    """The greatest error of each accepted link on any axis, voxels, and the reasons of the rejected ones."""
    options = AlignOptions(mosaic=made.mosaic, volumes=made.volumes, matching=SMALL, n_workers=1, allow_unaligned=True)
    links, true = align.run(align.plan(options)).placement.links, made.true_px()
    errors = [
        float(np.abs(np.subtract(k.offset_px, np.subtract(true[k.moving], true[k.fixed]))).max())
        for k in links
        if not k.reason
    ]
    return errors, [link.reason for link in links if link.reason]


def check_help(reasons: list[str]) -> None:
    """Each rejection names an option that helps."""
    options = {field.name for field in dataclasses.fields(AlignOptions)} | {
        field.name for field in dataclasses.fields(type(SMALL))
    }
    for reason in reasons:
        named = set(re.findall(r"`(\w+)`", reason))
        assert named and named <= options, reason


@pytest.mark.parametrize("kind", SURE)
def test_no_accepted_link_is_false(kind: Kind) -> None:
    errors, rejected = links_of(make(Recipe(kind, seed=3)))
    assert len(errors) + len(rejected) == 4
    assert max(errors, default=0.0) < 1
    check_help(rejected)
    if kind in FULL:
        assert not rejected and np.median(errors) < 0.35


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("texture", (1, 2, 1), overlap=(0.4, 0.08, 0.5)),
        Recipe("cells", (1, 2, 1), error_um=(1.0, 60.0, 1.0)),
        Recipe("periodic", seed=2),
    ],
    ids=["narrow", "far", "periodic"],
)
def test_each_rejection_names_an_option_that_helps(recipe: Recipe) -> None:
    check_help(links_of(make(recipe))[1])


@pytest.mark.parametrize("along", [0, 1, 2])
def test_tiles_stay_where_the_stage_puts_them_along_fibres(along: int) -> None:
    """Places that differ along the fibres fit alike in each overlap, so even a closed loop says nothing of them."""
    rng, spacing = np.random.default_rng(along), Spacing(1.3, 1.8, 1.3)
    section = rng.normal(size=[1 if axis == along else n for axis, n in enumerate((24, 90, 100))])
    image = ndimage.gaussian_filter(section, [0 if axis == along else 2 for axis in range(3)])
    whole = np.broadcast_to(400 * np.exp(0.4 * image / image.std()), (24, 90, 100))
    paths, volumes = [], {}
    for place in np.ndindex(1, 2, 2):
        z, y, x = np.array(place) * (1, 34, 34) + rng.integers(0, 5, 3)
        tile = TilePath(Path(f"{place}"), (place[2] * 34 * 1.3, place[1] * 34 * 1.8, 0.0))
        paths.append(tile)
        volumes[tile.name] = ArrayVolume(
            rng.poisson(whole[z : z + 20, y : y + 48, x : x + 56]).astype(np.uint16), spacing
        )
    options = AlignOptions(mosaic=Mosaic(tuple(paths)), volumes=volumes, n_workers=1, allow_unaligned=True)
    links = align.run(align.plan(options)).placement.links
    assert len(links) == 4 and all(link.reason for link in links)
    check_help([link.reason for link in links])
