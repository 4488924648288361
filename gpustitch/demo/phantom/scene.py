"""Makes random specimens; the same seed always gives the same specimen."""

from __future__ import annotations

import numpy as np
import scipy

from gpustitch.demo.phantom.specimen import Blobs, Outline, Scene, Texture
from gpustitch.model import UmXYZ
from gpustitch.model.arrays import Floats

_EMPTY = 8.0
_TISSUE = 1100.0
_LEAST_CELL_DISTANCE_UM = 17.0
_UM3_PER_CELL = 26_000.0
_UM3_PER_VESSEL = 1_500_000.0
_TEXTURE_WAVES = 96
_BORDER_UM = 22.0


def make_scene(low_um: UmXYZ, high_um: UmXYZ, slant: float, seed: int, channel: int = 0) -> Scene:
    """A specimen that nearly fills a box from ``low_um`` to ``high_um`` (x, y, z), slanted along x with z.

    Parameters
    ----------
    low_um, high_um
        Corners of the box; at depth z, x is counted from ``slant * z``.
    slant
        How many um the box moves along x per um of z.
    seed
        Seed of all random numbers. Channels with one seed share outline and vessels.
    channel
        Other channels have other cells, another texture and other brightness.
    """
    low, high = np.asarray(low_um, dtype=np.float64), np.asarray(high_um, dtype=np.float64)
    centre, half = (low + high) / 2, (high - low) / 2
    outline = Outline(
        (centre[0] + slant * centre[2], centre[1], centre[2]),
        (half[0] * 0.94, half[1] * 0.94, half[2] * 1.25),
        slant,
        softness=float(np.clip(4 * _BORDER_UM / half[:2].min(), 0.2, 0.9)),
    )
    shared, own = np.random.default_rng([seed, 71]), np.random.default_rng([seed, 72, channel])
    tissue = _TISSUE * (1.0 if channel == 0 else 0.6)
    vessels = _vessels(shared, outline, low, high, tissue)
    cells = _cells(own, outline, low, high, tissue)
    return Scene(outline, _texture(own), cells, vessels, _EMPTY, tissue)


def depth_inside(outline: Outline, points_um: Floats) -> Floats:
    """Depth of points (n, 3) inside the outline: 1 at its centre, 0 on the border, negative outside."""
    x, y, z = (np.asarray(points_um, dtype=np.float64) - np.asarray(outline.centre_um)).T
    a, b, c = outline.half_um
    return np.asarray(1 - ((x - outline.slant * z) / a) ** 4 - (y / b) ** 4 - (z / c) ** 4)


def spread_points(candidates_um: Floats, least_distance_um: float) -> Floats:
    """The points (n, 3), in order, without points too near to an earlier kept one."""
    keep = np.ones(len(candidates_um), np.bool_)
    pairs = scipy.spatial.cKDTree(candidates_um).query_pairs(least_distance_um, output_type="ndarray")
    for first, second in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]:
        if keep[first]:
            keep[second] = False
    return candidates_um[keep]


def _texture(rng: np.random.Generator, contrast: float = 0.13) -> Texture:
    direction = rng.normal(size=(_TEXTURE_WAVES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wavelength_um = np.exp(rng.uniform(np.log(26), np.log(120), _TEXTURE_WAVES))
    amplitude = rng.uniform(0.5, 1.5, _TEXTURE_WAVES)
    amplitude *= contrast * np.sqrt(2 / np.square(amplitude).sum())
    phase = rng.uniform(0, 2 * np.pi, _TEXTURE_WAVES)
    return Texture(direction * (2 * np.pi / wavelength_um)[:, None], phase, amplitude)


def _random_points(rng: np.random.Generator, outline: Outline, low: Floats, high: Floats, um3_each: float) -> Floats:
    count = max(4, round(float(np.prod(high - low)) / um3_each))
    points = rng.uniform(low, high, (count, 3))
    points[:, 0] += outline.slant * points[:, 2]
    return points


def _cells(rng: np.random.Generator, outline: Outline, low: Floats, high: Floats, tissue: float) -> Blobs:
    candidates = _random_points(rng, outline, low, high, _UM3_PER_CELL / 1.9)
    points = spread_points(
        candidates[depth_inside(outline, candidates) > outline.softness / 2], _LEAST_CELL_DISTANCE_UM
    )
    peak = tissue * np.exp(rng.uniform(np.log(1.9), np.log(5.0), len(points)))
    return Blobs(points, rng.uniform(2.4, 3.3, len(points)), peak)


def _vessels(rng: np.random.Generator, outline: Outline, low: Floats, high: Floats, tissue: float) -> Blobs:
    """Smoothly bending tubes: chains of blobs half a standard deviation apart, every second one dark."""
    starts = _random_points(rng, outline, low, high, _UM3_PER_VESSEL)
    chains = []
    for number, start in enumerate(starts):
        sigma = rng.uniform(5.0, 8.0)
        spacing = sigma / 2
        steps = int(rng.uniform(150, 450) / spacing)
        direction = rng.normal(size=3) + np.cumsum(rng.normal(scale=0.12, size=(steps, 3)), axis=0)
        direction *= spacing / np.linalg.norm(direction, axis=1, keepdims=True)
        path = start + np.cumsum(direction, axis=0)
        height = -0.75 if number % 2 else rng.uniform(0.6, 0.9)
        peak = tissue * height * spacing / (sigma * np.sqrt(2 * np.pi))
        peaks = peak * np.clip(depth_inside(outline, path) * 4, 0, 1)
        chains.append(Blobs(path, np.full(steps, sigma), peaks))
    joined = chains[0]
    for chain in chains[1:]:
        joined = joined.joined(chain)
    visible = joined.peak != 0
    return Blobs(joined.centre_um[visible], joined.sigma_um[visible], joined.peak[visible])
