"""Frames of all eight orientations: the pipeline finds the right one, or stops and names those that fit alike."""

from __future__ import annotations

import functools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec
from gpustitch.errors import AlignmentError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.frames.opening import open_frames
from gpustitch.oblique.mosaic.folders import find_raw_mosaic
from gpustitch.oblique.pipeline.options import ORIENTATIONS, PipelineOptions
from gpustitch.oblique.pipeline.orientation import WAYS, Orientation, directions, mirrored
from gpustitch.oblique.pipeline.upright import Upright, named, upright

SPEC = PhantomSpec(n_frames=64, n_rows=72, n_columns=64, overlap=0.42, stage_error_um=4.0)
LAYOUTS = {"alone": (1, 1, 1), "x": (2, 1, 1), "y": (1, 2, 1), "z": (1, 1, 2), "x y": (2, 2, 1)}
PLAIN, CHUNGLAB = ORIENTATIONS["plain"], ORIENTATIONS["chunglab"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory):
    """The channel of a phantom of some layout whose frames an orientation puts upright; each is made once."""
    root = tmp_path_factory.mktemp("turned")

    @functools.cache
    def upright_frames(layout: str, negative_y: bool) -> Path:
        spec = replace(SPEC, grid=LAYOUTS[layout], negative_y=negative_y)
        return make_phantom(root / f"{layout} {negative_y}", spec).channel()

    @functools.cache
    def made(layout: str, orientation: Orientation, negative_y: bool = False) -> Path:
        source = upright_frames(layout, negative_y)
        target = root / f"{layout}{orientation}{negative_y}"
        turns, flips = orientation
        for tile in find_raw_mosaic(source).tiles:
            frames = open_frames(tile.path).read(0, SPEC.n_frames)
            frames = np.rot90(frames[:, ::-1] if flips else frames, -turns, (1, 2))
            path = target / tile.path.relative_to(source)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_dcimg(path, np.ascontiguousarray(frames), len(frames), frames.shape[1:])
        return target

    return made


def found(channel: Path, **options: object) -> Upright:
    return upright(PipelineOptions(channel, channel / "out", **options), find_raw_mosaic(channel))


def test_directions_are_those_of_the_turned_frame() -> None:
    frame = np.arange(12).reshape(3, 4)
    for turns, flips in WAYS:
        turned = np.rot90(frame, turns)
        turned = turned[::-1] if flips else turned
        row, column = np.argwhere(frame == turned[0, 0])[0]
        (a, b), (c, d) = directions((turns, flips))
        assert frame[row + a, column + b] == turned[1, 0] and frame[row + c, column + d] == turned[0, 1]
        assert mirrored(mirrored((turns, flips))) == (turns, flips)


@pytest.mark.parametrize(
    ("layout", "orientation"), [*(("y", o) for o in WAYS), *(("x y", o) for o in WAYS[::3])], ids=str
)
def test_with_neighbours_along_y_the_right_one_is_found(raw, layout: str, orientation: Orientation) -> None:
    if mirrored(orientation) in (PLAIN, CHUNGLAB):
        with pytest.raises(AlignmentError, match="`negative_y`") as refusal:
            found(raw(layout, orientation))
        assert named(orientation) in str(refusal.value) and named(mirrored(orientation)) in str(refusal.value)
        return
    result = found(raw(layout, orientation))
    assert result.orientation == orientation
    is_known = orientation in (PLAIN, CHUNGLAB)
    assert named(orientation) in (result.note if is_known else result.warning) and is_known == (not result.warning)


@pytest.mark.parametrize(
    ("layout", "orientation"),
    [*(("alone", o) for o in WAYS), *((layout, o) for layout in ("x", "z") for o in WAYS[::3])],
    ids=str,
)
def test_without_neighbours_along_y_only_known_microscopes_are_taken(
    raw, layout: str, orientation: Orientation
) -> None:
    """Which way y runs cannot be seen then."""
    pair = {orientation, mirrored(orientation)}
    known = pair & {PLAIN, CHUNGLAB}
    if known:
        result = found(raw(layout, orientation))
        assert {result.orientation} == known and "which way y runs" in result.warning
        return
    with pytest.raises(AlignmentError, match="fit alike") as refusal:
        found(raw(layout, orientation))
    assert all(named(o) in str(refusal.value) for o in pair) and refusal.value.parameter == "preset"


@pytest.mark.parametrize("orientation", [PLAIN, CHUNGLAB], ids=str)
def test_a_stage_that_runs_against_the_camera(raw, orientation: Orientation) -> None:
    channel = raw("y", orientation, negative_y=True)
    assert found(channel, negative_y=True).orientation == orientation
    with pytest.raises(AlignmentError, match="with `negative_y`"):
        found(channel)


@pytest.mark.parametrize("orientation", [PLAIN, (1, False)], ids=str)
def test_what_is_stated_is_taken_and_a_clear_contradiction_is_said(raw, orientation: Orientation) -> None:
    channel = raw("y", orientation)
    turns, flips = orientation
    assert found(channel, rotate_90=turns, flip_ud=flips) == Upright(orientation)
    result = found(channel, preset="chunglab")
    assert result.orientation == CHUNGLAB and named(orientation) in result.warning
    assert found(channel, flip_ud=True).orientation == (0, True), "what is not stated is plain then"


@pytest.mark.parametrize("runs_back", [False, True])
def test_overlaps_that_contradict_what_is_stated_are_told(raw, runs_back: bool) -> None:
    """The sheet fits, but rows or the stage run the other way: tiles along y would lie in the wrong order."""
    channel = raw("y", CHUNGLAB, negative_y=True) if runs_back else raw("y", CHUNGLAB)
    turns, flips = CHUNGLAB
    assert found(channel, preset="chunglab", negative_y=runs_back) == Upright(CHUNGLAB)
    for wrong in (
        {"preset": "chunglab", "negative_y": not runs_back},
        {"rotate_90": turns, "flip_ud": not flips, "negative_y": runs_back},
    ):
        result = found(channel, **wrong)
        assert "in the wrong order" in result.warning and named(mirrored(result.orientation)) in result.warning


def test_the_stage_runs_the_way_that_an_alignment_says(raw, tmp_path: Path) -> None:
    channel = raw("y", PLAIN, negative_y=True)
    for content in ({"negative_y": True}, {}):
        file = tmp_path / "align.json"
        file.write_text(json.dumps({"voxel_size": 1.8, "alignments": {}, **content}))
        if content:
            assert found(channel, align_file=file).orientation == PLAIN
            continue
        with pytest.raises(AlignmentError, match="with `negative_y`"):
            found(channel, align_file=file)
        assert found(channel, align_file=file, negative_y=True).orientation == PLAIN


@pytest.mark.parametrize("kind", ["noise", "blank", "stripes", "flicker", "short"])
def test_frames_that_show_nothing_have_no_orientation(raw, kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape = (4 if kind == "short" else 40, 48, 40)
    frames = {
        "noise": lambda: rng.poisson(300, shape),
        "blank": lambda: np.full(shape, 100),
        "stripes": lambda: rng.poisson(200 + 100 * rng.random((1, 48, 1)) * np.ones(shape)),
        "flicker": lambda: rng.poisson(200 * rng.uniform(0.5, 1.5, (40, 1, 1)) * np.ones(shape)),
        "short": lambda: rng.poisson(300, shape),
    }[kind]().astype(np.uint16)
    for name in ("0/0_0/0", "0/0_432/0"):
        path = tmp_path / f"{name}.dcimg"
        path.parent.mkdir(parents=True)
        write_dcimg(path, frames, len(frames), frames.shape[1:])
    with pytest.raises(AlignmentError, match="`preset`, or `rotate_90` and `flip_ud`"):
        found(tmp_path)
    assert found(tmp_path, preset="plain") == Upright(PLAIN)


@pytest.mark.parametrize("kind", ["reversed", "turned", "mirrored"])
def test_tiles_that_contradict_one_another_are_named(raw, tmp_path: Path, kind: str) -> None:
    channel = tmp_path / "channel"
    shutil.copytree(raw("x y", PLAIN), channel)
    tiles = find_raw_mosaic(channel).tiles
    path = tiles[1].path
    frames = open_frames(path).read(0, SPEC.n_frames)
    path.unlink()
    other = {"reversed": frames[::-1], "turned": frames[:, ::-1, ::-1], "mirrored": frames[:, :, ::-1]}[kind]
    write_dcimg(path, np.ascontiguousarray(other), len(frames), frames.shape[1:])
    with pytest.raises(AlignmentError, match="tiles were recorded in several ways") as caught:
        found(channel)
    assert re.search(f"`flip_ud`: {tiles[1].name}[;)]", str(caught.value)) and caught.value.parameter == "preset"
