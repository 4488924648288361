"""Flats of many situations, known and odd: how far each is from the light, and whether users are warned where it is.

A flat counts as it is used: `oblique-illum-corr --auto` writes it unless it is refused, the pipeline unless it is not
better than none. It is *silent* where it errs by more than 3 %, or by more than none does, without a warning.
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import tifffile

from bench.common import report
from gpustitch.demo.score.errors import flat_rmse
from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats, HostArray
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.stage import IlluminationResult, estimated, plan
from gpustitch.running.progress import Silent

SEEDS = range(3)
ROWS, COLUMNS, N = 96, 144, 96
ALLOWED = 0.03
DARK = 100.0
Y, X = (np.mgrid[:ROWS, :COLUMNS] + 0.5) / np.array([ROWS, COLUMNS])[:, None, None] - 0.5
GAUSSIAN = np.exp(-0.5 * ((X + 0.08) / 0.5) ** 2) * (1 - 0.14 * Y)
VIGNETTE = np.cos(np.arctan(1.4 * np.hypot(X, Y))) ** 4
EVEN = np.ones_like(X)
TIMES = np.arange(N)[:, None, None] / N

# Part of each frame that shows tissue, (rows, columns) or (frames, rows, columns).
Seen = Floats | Callable[[np.random.Generator], Floats]


@dataclass(frozen=True)
class Scene:
    """Frames of tissue under known light.

    Attributes
    ----------
    light
        (rows, columns); of the second half of the frames ``later``, if that is given.
    seen, cells_seen
        Brightness of the tissue, and of cells in it; cells are where tissue is unless it is stated.
    gains
        Brightness of each frame.
    level, cells, dark, texture
        Counts of tissue, of cells and of no light; deviation of the texture.
    empty
        Part of the frames that show no tissue.
    n, top, coarse, type
        Number of frames, greatest count, size of the texture in pixels, type.
    given
        Options of the flat.
    """

    light: Floats = field(default_factory=lambda: GAUSSIAN)
    later: Floats | None = None
    seen: Seen = field(default_factory=lambda: EVEN)
    cells_seen: Floats | None = None
    gains: Callable[[np.random.Generator], Floats] = lambda rng: np.ones(N)
    level: float = 900.0
    cells: float = 3000.0
    dark: float = DARK
    texture: float = 0.25
    empty: float = 0.0
    n: int = N
    top: int = 65535
    coarse: float = 6.0
    type: str = "uint16"
    given: Mapping[str, Any] = field(default_factory=dict)

    def frames(self, rng: np.random.Generator) -> HostArray:
        """Frames (n, rows, columns) of counts."""
        shape = (N, *self.light.shape)
        texture = scipy.ndimage.gaussian_filter(rng.normal(size=shape), (1, self.coarse, self.coarse), mode="wrap")
        cells = scipy.ndimage.gaussian_filter((rng.random(shape) < 4e-4) * 14.0, (0, 1.5, 1.5))
        seen = self.seen(rng) if callable(self.seen) else self.seen
        there = (rng.random(N) >= self.empty)[:, None, None]
        tissue = self.level * seen * np.clip(1 + self.texture * texture / texture.std(), 0.3, None)
        tissue = tissue + self.cells * cells * ((seen > 0) if self.cells_seen is None else self.cells_seen)
        light = self.light if self.later is None else np.where(TIMES < 0.5, self.light, self.later)
        counts = tissue * there * light * self.gains(rng)[:, None, None]
        counts = counts + rng.normal(size=shape) * np.sqrt(2.17 * counts + 9) + self.dark
        return np.clip(np.rint(counts), 0, self.top).astype(self.type)[: self.n]


def _wandering(rng: np.random.Generator) -> Floats:
    return np.asarray(0.1 + 0.12 * rng.normal(size=(N, 1, 1)) > X, np.float64)


def _passing(_: np.random.Generator) -> Floats:
    return np.asarray(abs(1.8 * (TIMES - 0.5) - X) < 0.45, np.float64)


def _round(_: np.random.Generator) -> Floats:
    return np.asarray(np.sin(np.pi * TIMES) > (X / 0.55) ** 2 + (Y / 0.7) ** 2, np.float64)


def _spot(x: float, y: float, size: float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((X - x) ** 2 + (Y - y) ** 2) / size**2))


HALF = (X < 0).astype(float)
SMALL = GAUSSIAN[::2, ::2][:48, :60]
# Light: what a model must follow, and what none can.
LIGHTS = {
    "gaussian": GAUSSIAN, "steep": np.exp(-0.5 * ((X + 0.2) / 0.35) ** 2) * (1 - 0.4 * Y), "vignette": VIGNETTE,
    "inverted vignette": VIGNETTE.min() / VIGNETTE, "asymmetric": GAUSSIAN * (1 + 0.6 * X * Y), "even": EVEN,
    "dip": 1 - 0.35 * np.exp(-0.5 * (X / 0.15) ** 2), "cut off": GAUSSIAN * np.where(X > 0.3, 0.25, 1),
    "dark corner": GAUSSIAN * (1 - 0.7 * _spot(-0.5, -0.5, 0.17)), "attenuated": np.exp(-1.6 * X) * (1 - 0.3 * Y),
    "two bumps": 0.4 + 0.6 * np.exp(-0.5 * ((X + 0.25) / 0.12) ** 2) + 0.5 * np.exp(-0.5 * ((X - 0.27) / 0.1) ** 2),
    "tilted band": 0.25 + 0.75 * np.exp(-0.5 * ((X - 0.8 * Y) / 0.25) ** 2),
    "ring": 0.5 + 0.5 * np.exp(-0.5 * ((np.hypot(X, Y) - 0.3) / 0.1) ** 2),
    "hot column": GAUSSIAN * np.where(abs(X - 0.2) < 0.01, 1.8, 1), "dust": GAUSSIAN * (1 - 0.5 * _spot(0.1, 0, 0.04)),
    "two amplifiers": GAUSSIAN * np.where(Y > 0, 1.08, 1),
    "every other column": GAUSSIAN * np.where(np.arange(COLUMNS) % 2, 1.08, 1),
}  # fmt: skip
# Tissue, frames and camera under the light of a Gaussian beam.
OTHERS = {
    "dim": Scene(level=60), "bright": Scene(level=20000), "12 bits": Scene(level=3500, top=4095),
    "saturated cells": Scene(cells=60000, top=4095), "rough texture": Scene(texture=0.8), "coarse": Scene(coarse=24),
    "8 bits": Scene(level=80, dark=6, cells=200, top=255, type="uint8", given={"dark": 6}),
    "half saturated": Scene(np.exp(1.5 * X), level=2600, top=4095), "no texture": Scene(texture=0.03, cells=0),
    "one frame": Scene(n=1), "two frames": Scene(n=2), "20 frames": Scene(n=20), "90 % empty": Scene(empty=0.9),
    "48 x 60 pixels": Scene(SMALL, seen=np.ones_like(SMALL)), "cells alone": Scene(level=0, cells=20000),
    "one half": Scene(seen=HALF), "one corner": Scene(seen=HALF * (Y < -0.2)),
    "outline wanders": Scene(seen=_wandering), "drift": Scene(gains=lambda _: np.linspace(1.25, 0.75, N)),
    "haze": Scene(seen=np.where(X < 0, 1, 0.2), cells_seen=HALF), "passes through": Scene(seen=_passing),
    "passes and bleaches": Scene(seen=_passing, gains=lambda _: np.linspace(1.6, 0.4, N)), "round": Scene(seen=_round),
    "tissue dimmer at one side": Scene(seen=1 - 0.4 * X, cells_seen=EVEN),
    "bright core": Scene(seen=1 + _spot(0.15, -0.1, 0.12), cells_seen=EVEN),
    "fades": Scene(gains=lambda _: np.geomspace(1, 0.14, N)),
    "flicker": Scene(gains=lambda rng: rng.uniform(0.4, 1.6, N)),
    "other light later": Scene(np.exp(0.6 * X), later=np.exp(-0.6 * X)),
    "a little other light later": Scene(GAUSSIAN * np.exp(0.12 * X), later=GAUSSIAN * np.exp(-0.12 * X)),
    "offset not given": Scene(VIGNETTE, level=200, given={"dark": 0}),
    "offset higher": Scene(VIGNETTE, level=200, dark=120, empty=0.3),
    "offset lower": Scene(VIGNETTE, level=200, dark=70, empty=0.3),
    "negative offset": Scene(level=300, dark=-40, given={"dark": 0}),
}  # fmt: skip
SCENES = {**{name: Scene(light) for name, light in LIGHTS.items()}, **OTHERS}


class _Heard(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass(frozen=True)
class Outcome:
    """Errors of the flat that the command writes, of the one that the pipeline uses, and of none; what was warned of.

    A flat that is refused is None, and errs as none does in the pipeline.
    """

    command: float | None
    pipeline: float
    without: float
    warnings: tuple[str, ...] = ()

    @property
    def is_silent(self) -> bool:
        """Whether what is used is wrong, or worse than none, and nobody is told."""
        used = [self.pipeline] + ([] if self.command is None else [self.command])
        return not self.warnings and max(used) > min(ALLOWED, self.without + 1e-6)


def outcome(scene: Scene, seed: int, name: str = "") -> Outcome:
    """What becomes of the frames of a scene."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    heard, without = _Heard(), flat_rmse(np.ones_like(scene.light), scene.light)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.tif"
        tifffile.imwrite(path, scene.frames(rng), photometric="minisblack")
        options = {"dark": DARK, "auto": True, **scene.given}
        try:
            made = estimated(plan(IlluminationOptions((path,), Path(folder) / "flat.tiff", **options)), heard)
        except ParameterError as error:
            return Outcome(None, without, without, (str(error),))
    return _used(made, scene, without, heard)


def _used(made: IlluminationResult, scene: Scene, without: float, heard: _Heard) -> Outcome:
    error = flat_rmse(made.flat, scene.light)
    if scene.later is not None:
        error = max(error, flat_rmse(made.flat, scene.later))
    command = None if made.verdict.is_refused else error
    return Outcome(command, error if made.verdict.is_useful else without, without, tuple(heard.warnings))


def row(name: str, seeds: range) -> dict[str, object]:
    """The outcomes of some seeds of a scene."""
    found = [outcome(SCENES[name], seed, name) for seed in seeds]
    right = [one for one in found if one.pipeline <= ALLOWED]
    return {
        "scene": name,
        "without, %": round(100 * found[0].without, 1),
        "pipeline, median, %": round(100 * float(np.median([one.pipeline for one in found])), 1),
        "most, %": round(100 * max(one.pipeline for one in found), 1),
        "within 3 %": len(right),
        "warned": sum(bool(one.warnings) for one in found),
        "right, yet warned": sum(bool(one.warnings) for one in right),
        "silent": sum(one.is_silent for one in found),
        "of": len(found),
    }


def main() -> int:
    """Measure all, print and keep the table; 1 if a flat is wrong and nobody is told."""
    rows = [row(name, SEEDS) for name in SCENES]
    report("flats", rows)
    return 0 if not any(one["silent"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
