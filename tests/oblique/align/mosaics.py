"""Tiny oblique mosaics with exact truth, for tests: camera frames of a specimen that is known at every point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from gpustitch.demo.phantom.specimen import Blobs, Lattice, Outline, Scene, Texture, render
from gpustitch.model import Mosaic, ObliqueScan, TilePath, UmXYZ, Volume, column_step_um
from gpustitch.model.arrays import Floats, PxZYX
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.deskew.tile import ObliqueTile
from tests.oblique.deskew.test_sweep import Holed

# What the specimen holds. In "void" half of it is empty, "periodic" repeats itself every 12 um.
Kind = Literal["cells", "texture", "periodic", "void", "sparse", "dim", "saturated"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# How the stage errs: each tile on its own, a row together, more from tile to tile, in proportion, not at all.
StageError = Literal["tile", "row", "drift", "scale", "none"]

# Windows and reach that suit tiles so small.
SMALL = MatchOptions(window_px=(9, 11, 11), blob_window_px=(24, 24, 24), sample_count=12, search_px=(4, 8, 8))

_EMPTY, _OFFSET, _READ_NOISE, _PER_ELECTRON = 8.0, 100.0, 3.5, 0.45
_PERIOD_UM = 12.0
_WAVES = 24


@dataclass(frozen=True)
class Recipe:
    """What is in a mosaic and how it was taken. Triples are (z, y, x); ``overlap`` is a part of a tile's extent.

    The stage's commands suit the nominal pixel; frames are of the true one. ``error_um`` is the stage error's standard
    deviation, or for "drift" its growth from tile to tile, or for "scale" its percentage of the way.
    """

    kind: Kind = "cells"
    grid: tuple[int, int, int] = (1, 2, 2)
    frames_rows_columns: tuple[int, int, int] = (64, 56, 22)
    overlap: tuple[float, float, float] = (0.4, 0.4, 0.5)
    pixel_um: float = 1.8
    nominal_um: float = 1.8
    step_um: float = 1.8 / math.sqrt(2)
    angle_deg: float = 45.0
    stage_error: StageError = "tile"
    error_um: tuple[float, float, float] = (1.0, 2.5, 2.5)
    seed: int = 0

    def scan(self, pixel_um: float) -> ObliqueScan:
        """The geometry of a tile with that camera pixel."""
        return ObliqueScan(*self.frames_rows_columns, pixel_um, self.step_um, self.angle_deg)


@dataclass(frozen=True)
class Made:
    """A mosaic, its volumes (de-obliqued with the nominal pixel), and the point (x, y, z) um of each first pixel."""

    recipe: Recipe
    mosaic: Mosaic
    volumes: Mapping[str, Volume]
    true_um: Mapping[str, UmXYZ]

    def true_px(self, grid_um: float | None = None) -> dict[str, PxZYX]:
        """True positions (z, y, x) in voxels.

        Two tiles show a specimen's point as far apart as these say. ``grid_um`` is the pixel that the tiles are
        de-obliqued with: the nominal one unless given. With a wrong one, x differs the more the deeper a tile lies.
        """
        recipe = self.recipe
        true, grid = (
            np.array(column_step_um(p, recipe.angle_deg))
            for p in (recipe.pixel_um, recipe.nominal_um if grid_um is None else grid_um)
        )
        deep = {name: z / true[1] for name, (_, _, z) in self.true_um.items()}
        slant = (grid[0] - true[0]) / recipe.step_um
        return {
            name: (deep[name], y / recipe.pixel_um, x / recipe.step_um + slant * deep[name])
            for name, (x, y, _) in self.true_um.items()
        }


def make(recipe: Recipe) -> Made:
    """Take the frames of all tiles."""
    rng = np.random.default_rng([recipe.seed, KINDS.index(recipe.kind)])
    nominal, true = _positions(recipe, rng)
    scan = recipe.scan(recipe.pixel_um)
    slanted_um = scan.n_columns * np.array(column_step_um(scan.pixel_um, scan.angle_deg))
    extent = np.array([scan.n_frames * scan.step_um + slanted_um[0], scan.n_rows * scan.pixel_um, slanted_um[1]])
    scene = _scene(recipe.kind, true.min(axis=0) - 10, true.max(axis=0) + extent + 10, rng)
    paths, volumes, at = [], {}, {}
    for number, (told, place) in enumerate(zip(nominal.tolist(), true.tolist(), strict=True)):
        tile = TilePath(Path(f"{number}"), (told[0], told[1], told[2]))
        counts = render(scene, Lattice.of_frames(scan, (place[0], place[1], place[2])))
        frames = Holed(_seen(counts, recipe.kind, rng))
        paths.append(tile)
        volumes[tile.name] = ObliqueTile(frames, recipe.scan(recipe.nominal_um))
        at[tile.name] = (place[0], place[1], place[2])
    return Made(recipe, Mosaic(tuple(paths)), volumes, at)


def _positions(recipe: Recipe, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Where the stage was sent and where it went, (n, 3) um as x, y, z; one path winds through the rows."""
    scan = recipe.scan(recipe.nominal_um)
    counts = np.array([scan.n_columns, scan.n_rows, scan.n_frames])
    pitch = np.round(counts * scan.spacing.zyx_um * (1 - np.array(recipe.overlap)), 1)
    places = np.array(list(np.ndindex(recipe.grid)))
    nominal = places * pitch
    own, rows = (rng.normal(size=(n, 3)) * recipe.error_um for n in (len(places), int(np.prod(recipe.grid[:2]))))
    row = places[:, 0] * recipe.grid[1] + places[:, 1]
    across = np.where(row % 2, recipe.grid[2] - 1 - places[:, 2], places[:, 2])
    order = row * recipe.grid[2] + across
    error = {
        "tile": own,
        "row": rows[row] + 0.2 * own,
        "drift": order[:, None] * recipe.error_um,
        "scale": nominal * recipe.error_um / 100,
        "none": 0 * own,
    }[recipe.stage_error]
    return np.round(nominal[:, ::-1], 1), (nominal + error)[:, ::-1]


def _scene(kind: Kind, low: Floats, high: Floats, rng: np.random.Generator) -> Scene:
    """A specimen of a kind that fills the box from ``low`` to ``high``, um (x, y, z)."""
    tissue, um3_per_cell, contrast, peak = {
        "texture": (300.0, math.inf, 0.15, 0.0),
        "sparse": (0.0, 8e4, 0.0, 1500.0),
        "periodic": (0.0, math.inf, 0.0, 1200.0),
        "dim": (12.0, 3e3, 0.15, 25.0),
    }.get(kind, (300.0, 3e3, 0.1, 1500.0))
    n_cells = 0 if math.isinf(um3_per_cell) else max(6, int(np.prod(high - low) / um3_per_cell))
    points = rng.uniform(low, high, (n_cells, 3))
    peaks, sigma = peak * rng.lognormal(0, 0.5, n_cells), rng.uniform(2.2, 3.3, n_cells)
    if kind == "periodic":
        axes = [np.arange(a, b, _PERIOD_UM) for a, b in zip(low, high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        peaks, sigma = np.full(len(points), peak), np.full(len(points), 2.8)
    middle, half = (low + high) / 2, high - low
    if kind == "void":  # tissue ends in the middle of x
        middle, half = middle - [half[0] / 2, 0, 0], half * [0.5, 1, 1]
        kept = points[:, 0] < middle[0] + half[0]
        points, peaks, sigma = points[kept], peaks[kept], sigma[kept]
    outline = Outline((middle[0], middle[1], middle[2]), (half[0], half[1], half[2]), 0.0, 0.2)
    nothing = Blobs(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    return Scene(outline, _texture(contrast, rng), Blobs(points, sigma, peaks), nothing, _EMPTY, tissue)


def _texture(contrast: float, rng: np.random.Generator) -> Texture:
    direction = rng.normal(size=(_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wavelength_um = np.exp(rng.uniform(np.log(20), np.log(80), _WAVES))
    amplitude = rng.uniform(0.5, 1.5, _WAVES)
    amplitude *= contrast * math.sqrt(2 / float(np.square(amplitude).sum()))
    return Texture(direction * (2 * np.pi / wavelength_um)[:, None], rng.uniform(0, 2 * np.pi, _WAVES), amplitude)


def _seen(counts: np.ndarray, kind: Kind, rng: np.random.Generator) -> np.ndarray:
    """Frames as the camera gives them: shot noise, read noise, an offset, uint16."""
    noisy = counts + np.sqrt(_PER_ELECTRON * counts + _READ_NOISE**2) * rng.standard_normal(counts.shape, np.float32)
    most = _OFFSET + 420 if kind == "saturated" else np.iinfo(np.uint16).max
    return np.clip(np.rint(noisy + _OFFSET), 0, most).astype(np.uint16)
