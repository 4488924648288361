"""Striped frames with truth: textured tissue with borders, cells in it, stripes of any width, a camera's noise."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Floats = npt.NDArray[np.float64]
_FWHM = 2.355


@dataclass(frozen=True)
class SceneSpec:
    """What a scene is. ``amplitude`` is the depth of shadows, or two standard deviations of dense gains of rows."""

    rows: int = 384
    columns: int = 512
    amplitude: float = 0.2
    width: float = 4.0
    dense: bool = True
    partial: bool = False
    cells: int = 60  # for each 256 x 256 pixels
    cell_sigma: float = 2.2
    cell_counts: float = 2000.0
    level: float = 900.0
    bits: int = 16
    dark: float = 100.0
    borders: bool = True
    padding: int = 0
    texture: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Scene:
    """A frame and its truth in counts above the offset: light without stripes and noise, cells alone, gains."""

    spec: SceneSpec
    raw: npt.NDArray[np.uint16]
    ideal: Floats
    cells: Floats
    gain: Floats
    places: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Vessels:
    """Dark tubes along the rows, or bright fibres, that end in the frame; ``tilt_deg`` is the spread of angles."""

    count: int = 20
    lengths_px: tuple[float, float] = (100, 300)
    depth: float = 0.5
    width: float = 5.0
    bright: bool = False
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Score:
    """Truth about a correction, in % of the light.

    ``error`` of tissue in means of 3 x 9 pixels; ``energy`` of the true stripes that is left; ``kept`` and ``halo`` of
    cells, NaN if there are fewer than five.
    """

    error: float
    energy: float
    kept: float
    halo: float


def scene(spec: SceneSpec) -> Scene:
    """Make the scene; the same for the same ``spec``."""
    # What stripes and the camera are has no part in the tissue: many scenes share one.
    unstriped = replace(spec, amplitude=0.0, width=1.0, dense=True, partial=False, bits=16, dark=0.0, padding=0)
    tissue, cells, places, state = _tissue(unstriped)
    rng = np.random.default_rng(spec.seed)
    rng.bit_generator.state = state
    shape = (spec.rows, spec.columns)
    gain = _gain(rng, spec)
    ideal = tissue + cells
    light = ideal * gain
    light += rng.normal(size=shape) * np.sqrt((2.17 if spec.bits == 16 else 0.5) * light + 9) + spec.dark
    raw = np.clip(np.rint(light), 0, (1 << spec.bits) - 1).astype(np.uint16)
    if spec.padding:
        margin = np.ones(shape, bool)
        margin[spec.padding : -spec.padding, 2 * spec.padding : -spec.padding] = False
        raw[margin] = 0
        ideal, cells = np.where(margin, 0, ideal), np.where(margin, 0, cells)
    return Scene(spec, raw, ideal, cells, gain, places)


@functools.lru_cache(maxsize=16)
def _tissue(spec: SceneSpec) -> tuple[Floats, Floats, npt.NDArray[np.intp], Mapping[str, Any]]:
    """Light of the tissue and of its cells, where these are, and the state of the generator after it made them."""
    rng = np.random.default_rng(spec.seed)
    shape = (spec.rows, spec.columns)
    texture = 0.6 * _smooth(rng, shape, 30) + 0.6 * _smooth(rng, shape, 10) + 0.5 * _smooth(rng, shape, 3)
    tissue = spec.level * np.exp(spec.texture * texture / texture.std() - spec.texture**2 / 2)
    if spec.borders:
        tissue *= _borders(rng, shape)
    cells, places = _cells(rng, spec)
    for shared in (tissue, cells, places):
        shared.flags.writeable = False
    return tissue, cells, places, rng.bit_generator.state


def with_vessels(spec: SceneSpec, vessels: Vessels) -> Scene:
    """The scene with vessels in its tissue, under the same stripes."""
    of, rng = scene(spec), np.random.default_rng(spec.seed + 5000)
    logarithm = np.zeros((spec.rows, spec.columns))
    for _ in range(vessels.count):
        length, row, column = (rng.uniform(*span) for span in (vessels.lengths_px, (0, spec.rows), (0, spec.columns)))
        angle = np.deg2rad(rng.normal(0, 1) * vessels.tilt_deg)
        reach = int(2 * vessels.width + length / 2 * abs(np.sin(angle)))
        top = max(0, int(row) - reach)
        box = logarithm[top : int(row) + reach + 1]
        y, x = np.mgrid[top : top + len(box), : spec.columns]
        along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
        aside = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
        profile = np.exp(-0.5 * (aside * _FWHM / (vessels.width * rng.uniform(0.7, 1.3))) ** 2)
        profile /= 1 + np.exp((np.abs(along) - length / 2) / 4)
        box += np.log1p(vessels.depth * profile) if vessels.bright else np.log1p(-vessels.depth * profile)
    return _seen(of, of.ideal * np.exp(logarithm), of.gain)


def leaning(spec: SceneSpec, degrees: float) -> Scene:
    """The scene with stripes that lean, down to the right by so much; ``spec`` has gains of whole rows."""
    of, margin = scene(replace(spec, amplitude=0.0)), 200
    longer = replace(spec, rows=spec.rows + 2 * margin)
    rows = _gain(np.random.default_rng(spec.seed), longer)[:, 0]
    y, x = np.mgrid[: spec.rows, : spec.columns]
    places = y + margin - (x - spec.columns / 2) * np.tan(np.deg2rad(degrees))
    return _seen(of, of.ideal, np.interp(places, np.arange(len(rows)), rows))


def faded(spec: SceneSpec, profile: Floats) -> Scene:
    """A scene whose stripes fade along the rows, all by ``profile`` (columns,), as a sheet out of its focus."""
    base = scene(spec)
    return _seen(base, base.ideal, base.gain**profile)


def streaked(spec: SceneSpec, length_px: float) -> Scene:
    """A scene under streaks of light, light and dark ones, alike over about ``length_px`` columns."""
    base, rng = scene(replace(spec, amplitude=0.0)), np.random.default_rng(spec.seed + 7000)
    noise = rng.normal(size=(spec.rows, spec.columns))
    logarithm = ndimage.gaussian_filter(noise, (spec.width / _FWHM, length_px / _FWHM), mode="wrap")
    return _seen(base, base.ideal, np.exp(spec.amplitude / 2 * logarithm / logarithm.std()))


def _seen(of: Scene, ideal: Floats, gain: Floats) -> Scene:
    """The scene with other light, by a camera of 16 bits."""
    light = ideal * gain
    light += np.random.default_rng(of.spec.seed + 1).normal(size=light.shape) * np.sqrt(2.17 * light + 9) + of.spec.dark
    return replace(of, raw=np.clip(np.rint(light), 0, 65535).astype(np.uint16), ideal=ideal, gain=gain)


def score(of: Scene, corrected: npt.NDArray[np.floating]) -> Score:
    """Compare a corrected frame (counts above the offset, not rounded) with the truth.

    The factor of every pixel is applied to the light without noise, so that noise is no error.
    """
    spec = of.spec
    raw = of.raw.astype(float) - spec.dark
    factor = np.where(raw > 3, corrected / np.maximum(raw, 1), 1)
    made, tissue = of.ideal * of.gain * factor, of.ideal - of.cells
    inside = ndimage.binary_erosion(tissue > 0.15 * spec.level, iterations=2 if spec.padding else 1)
    cell = of.cells > 0.03 * tissue + 5
    bright = of.ideal * of.gain + spec.dark >= (1 << spec.bits) - 1
    calm = inside & ~ndimage.binary_dilation(cell, iterations=2) & ~bright
    error = np.where(calm, (made - of.ideal) / np.maximum(tissue, 1), 0)
    share = ndimage.uniform_filter(calm.astype(float), (3, 9))
    mean = ndimage.uniform_filter(error, (3, 9)) / np.maximum(share, 0.05)
    mean -= np.median(mean[calm])
    stripes = np.where(calm, np.log(of.gain), 0)
    left = (error * stripes).sum() / max((stripes**2).sum(), 1e-9)
    kept, halo = _of_cells(of, made, tissue, calm, inside & ~bright, cell)
    return Score(100 * float(np.sqrt((mean[calm] ** 2).mean())), 100 * float(left**2), kept, halo)


def _of_cells(
    of: Scene, made: Floats, tissue: Floats, calm: Floats, usable: Floats, cell: Floats
) -> tuple[float, float]:
    """Median intensity that cells keep, and the mean change beside them less that above and below."""
    sigma, reach = of.spec.cell_sigma, 10
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    core, ring = np.maximum(abs(y), abs(x)) <= round(1.5 * sigma), abs(y) + abs(x) > 4 * sigma
    kept, halos = [], []
    for row, column in of.places:
        box = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
        if min(row, column) < reach or usable[box].shape != core.shape or not usable[box].all():
            continue
        around = ring & ~cell[box]
        counts = of.cells[box][core].sum()
        if around.sum() < 30 or counts < 0.3 * tissue[box].mean() * core.sum():
            continue
        level = np.median(made[box][around] / tissue[box][around])
        kept.append((made[box] - level * tissue[box])[core].sum() / counts)
        ratio = made[box] / of.ideal[box]
        beside, far = calm[box] & (abs(y) <= sigma) & (abs(x) > 4 * sigma), calm[box] & (abs(y) > 4 * sigma)
        if min(beside.sum(), far.sum()) > 5:
            halos.append(ratio[beside].mean() - ratio[far].mean())
    return (100 * float(np.median(kept)), 100 * float(np.mean(halos))) if len(kept) > 4 else (np.nan, np.nan)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Floats:
    margin = int(4 * sigma) + 1
    noise = rng.normal(size=(shape[0] + 2 * margin, shape[1] + 2 * margin))
    line = ndimage.gaussian_filter1d(np.eye(1, 2 * margin + 1, margin)[0], sigma, mode="constant")
    # By spectra, which takes no longer for wide ones: what goes around is cut off with the margin.
    padded = [fft.next_fast_len(size, real=True) for size in noise.shape]
    spectrum = fft.rfft2(noise, padded)
    spectrum *= fft.fft(line, padded[0])[:, None] * fft.rfft(line, padded[1])
    inside = tuple(slice(2 * margin, 2 * margin + size) for size in shape)
    smooth = fft.irfft2(spectrum, padded)[inside]
    return smooth / smooth.std()


def _borders(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """An outline of any shape, beyond which it is nearly dark, and a straight-sided nucleus at any angle."""
    inside = 1 / (1 + np.exp(-(_smooth(rng, shape, min(shape) / 6) + 0.9) / 0.03))
    nucleus, angle = rng.choice([0.4, 2.2]), rng.uniform(0, np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y - rng.uniform(0.3, 0.7) * shape[0], x - rng.uniform(0.3, 0.7) * shape[1]
    within = (y * np.cos(angle) + x * np.sin(angle) > 0) & (x * np.cos(angle) - y * np.sin(angle) > 0)
    return (0.01 + 0.99 * inside) * ndimage.gaussian_filter(np.where(within, nucleus, 1.0), 1.0)


def _cells(rng: np.random.Generator, spec: SceneSpec) -> tuple[Floats, npt.NDArray[np.intp]]:
    cells = np.zeros((spec.rows, spec.columns))
    count = spec.cells * cells.size // 65536
    places = np.column_stack([rng.uniform(0, n - 1, count) for n in cells.shape])
    reach = int(5 * spec.cell_sigma)
    for (row, column), counts in zip(places, spec.cell_counts * rng.lognormal(0, 0.5, count), strict=True):
        top, left = max(0, int(row) - reach), max(0, int(column) - reach)
        box = np.s_[top : int(row) + reach + 1, left : int(column) + reach + 1]
        y, x = np.mgrid[top : top + cells[box].shape[0], left : left + cells[box].shape[1]]
        cells[box] += counts * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / spec.cell_sigma**2)
    return cells, np.rint(places).astype(np.intp)


def _gain(rng: np.random.Generator, spec: SceneSpec) -> Floats:
    if spec.amplitude == 0:
        return np.ones((spec.rows, spec.columns))
    logarithm = _dense(rng, spec) if spec.dense else _shadows(rng, spec)
    return np.exp(logarithm)


def _dense(rng: np.random.Generator, spec: SceneSpec) -> Floats:
    """Every row has a gain; they vary at about ``width`` rows. Partial ones begin at some column."""
    noise, sigma = rng.normal(size=spec.rows + 400), spec.width / _FWHM
    fine = ndimage.gaussian_filter1d(noise, sigma) if spec.width > 1 else noise
    gains = (fine - ndimage.gaussian_filter1d(noise, 4 * max(sigma, 0.5)))[200:-200]
    gains *= spec.amplitude / 2 / gains.std()
    if not spec.partial:
        return np.repeat(gains[:, None], spec.columns, axis=1)
    start = spec.columns * (0.5 + 0.3 * _smooth(rng, (max(spec.rows, 8), 1), spec.width * 2)[: spec.rows])
    return gains[:, None] / (1 + np.exp(-(np.arange(spec.columns) - start) / 12))


def _shadows(rng: np.random.Generator, spec: SceneSpec) -> Floats:
    total = np.zeros((spec.rows, spec.columns))
    for _ in range(max(3, int(spec.rows / (6 * max(spec.width, 3))))):
        row, width = rng.uniform(0, spec.rows), spec.width * rng.uniform(0.7, 1.3)
        distance = abs(np.arange(spec.rows) - row)
        profile = np.exp(-0.5 * (distance * _FWHM / width) ** 2) if width > 1.5 else (distance <= 0.5).astype(float)
        start = rng.uniform(-0.5, 0.8) * spec.columns if spec.partial else -1e9
        behind = 1 / (1 + np.exp(-np.maximum(np.arange(spec.columns) - start, -500) / 10))
        total += np.log1p(-spec.amplitude * rng.uniform(0.5, 1) * profile)[:, None] * behind
    return total
