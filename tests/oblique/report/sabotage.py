"""Acquisitions in which one thing is wrong, made of a phantom's raw files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gpustitch.demo.phantom import stage as phantom
from gpustitch.demo.phantom.stage import PhantomOptions
from gpustitch.demo.phantom.truth import PhantomSpec, TileTruth, Truth
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.images.files import write_tiff

Frames = npt.NDArray[np.uint16]


def edited(truth: Truth, tile: TileTruth, change: Callable[[Frames], Frames]) -> None:
    """Write the frames of a tile anew, as a function of what they were."""
    path = truth.channel() / tile.path
    frames = open_frames(path)
    changed = change(np.array(frames.read(0, frames.shape[0])))
    path.unlink()
    write_dcimg(path, np.ascontiguousarray(changed), len(changed), changed.shape[1:])


def dead(truth: Truth, number: int, dark: int = 100) -> None:
    """A tile that was recorded without light."""
    edited(truth, truth.tiles[number], lambda frames: np.full_like(frames, dark))


def unlit(truth: Truth, number: int, seed: int = 0) -> None:
    """A tile that shows the noise of the camera alone."""
    noise = np.random.default_rng(seed)
    edited(truth, truth.tiles[number], lambda frames: noise.normal(100, 3, frames.shape).astype(np.uint16))


def saturated(truth: Truth, number: int, percent: float = 3.0, most: int = 4095) -> None:
    """A tile that is too bright: so many of its pixels are at the end of the camera's range."""

    def brighter(frames: Frames) -> Frames:
        factor = most / np.percentile(frames, 100 - percent)
        return np.minimum(frames * factor, most).astype(np.uint16)

    edited(truth, truth.tiles[number], brighter)


def swapped(truth: Truth, first: int, second: int) -> None:
    """Two tiles whose files bear each other's names."""
    a, b = (truth.channel() / truth.tiles[n].path for n in (first, second))
    beside = a.with_name("beside.part")
    a.rename(beside)
    b.rename(a)
    beside.rename(b)


def blank_overlap(truth: Truth, first: int, second: int, seed: int = 0) -> None:
    """Nothing to see where two tiles that lie apart along y overlap: light and noise alone."""
    noise = np.random.default_rng(seed)
    spec = truth.spec
    apart = truth.tiles[second].stage_um[1] - truth.tiles[first].stage_um[1]
    shared = spec.n_rows - round(apart / spec.pixel_um)
    more = shared + 12

    def upper(frames: Frames) -> Frames:
        frames[:, -more:] = noise.normal(400, 12, frames[:, -more:].shape)
        return frames

    def lower(frames: Frames) -> Frames:
        frames[:, :more] = noise.normal(400, 12, frames[:, :more].shape)
        return frames

    edited(truth, truth.tiles[first], upper)
    edited(truth, truth.tiles[second], lower)


def dropped(truth: Truth, number: int, frames: range) -> None:
    """A tile in TIFF files, of which some are lost; all other tiles become TIFF files too."""
    for n, tile in enumerate(truth.tiles):
        path = truth.channel() / tile.path
        source, folder = open_frames(path), path.with_suffix("")
        folder.mkdir()
        for frame in range(source.shape[0]):
            if n != number or frame not in frames:
                write_tiff(folder / f"img_{frame:05d}.tiff", source.read(frame, frame + 1)[0])
        path.unlink()


def moved_phantom(folder: Path, spec: PhantomSpec, number: int, by_um: tuple[float, float, float]) -> Truth:
    """A phantom of which one tile truly lies elsewhere (x, y, z) than the stage says."""
    plan = phantom.plan(PhantomOptions(folder, spec))
    tiles = list(plan.truth.tiles)
    x, y, z = (a + b for a, b in zip(tiles[number].true_um, by_um, strict=True))
    tiles[number] = replace(tiles[number], true_um=(x, y, z))
    return phantom.run(replace(plan, truth=replace(plan.truth, tiles=tuple(tiles))))


def moved_position(source: Path, target: Path, number: int, by_um: tuple[float, float, float]) -> None:
    """An alignment file in which one tile lies elsewhere (x, y, z)."""
    content = json.loads(source.read_text("utf-8"))
    key = sorted(content["alignments"])[number]
    content["alignments"][key] = [a + b for a, b in zip(content["alignments"][key], by_um, strict=True)]
    target.write_text(json.dumps(content), "utf-8")


def frozen(truth: Truth, number: int) -> None:
    """A tile whose camera stood still for the last third of its frames."""

    def last_again(frames: Frames) -> Frames:
        start = 2 * len(frames) // 3
        frames[start:] = frames[start - 1]
        return frames

    edited(truth, truth.tiles[number], last_again)


def copied(truth: Truth, number: int) -> None:
    """A tile whose file was overwritten by that of the first one."""
    a, b = (truth.channel() / truth.tiles[n].path for n in (0, number))
    b.write_bytes(a.read_bytes())


def out_of_focus(truth: Truth, number: int, px: float = 4.0) -> None:
    """A tile that was recorded out of focus: blurred along rows and columns of the camera."""

    def blurred(frames: Frames) -> Frames:
        soft = ndimage.gaussian_filter(frames.astype(np.float32), (0, px, px))
        return np.asarray(np.rint(soft), np.uint16)

    edited(truth, truth.tiles[number], blurred)


def shifted_round(truth: Truth, number: int, by: int) -> None:
    """A tile whose frames were read from a wrong row on: the last rows come first."""
    edited(truth, truth.tiles[number], lambda frames: np.roll(frames, by, axis=1))
