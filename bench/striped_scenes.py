"""Striped scenes by seed, what destriping truly does to one, and the best linear estimate that knows their spectra."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import SIGMA1, SIGMA2, WaveletOptions
from tests.oblique.destripe.scenes import Floats, Scene, SceneSpec, scene, score

DARK = 100.0
N_FRAMES = 2
# What the pipeline did before frames chose: pystripe's filter at all levels.
FORMER = Correction("wavelet", WaveletOptions(SIGMA1, SIGMA2, wavelet="db5"), dark=DARK, dtype="float32")
# Scenes of the same kind from which the best linear estimate learns its spectra, and their first seed.
_LEARNT, _FIRST_LEARNT = 4, 900_000
# Periodograms of neighbouring frequencies are one estimate of the spectrum.
_SMOOTH = 3
# Aims: contrast of cells within so many %, halos too, error against the former filter, energy against none.
CELLS, HALO, ERROR, ENERGY = 3.0, 1.0, 0.6, 0.1
AIMS = ("cells", "halo", "error", "energy")


def spec_of(seed: int) -> SceneSpec:
    """A scene drawn by its seed: stripes of 5-40 %, 1-20 rows wide, whole or behind something, in 128-2048 columns."""
    rng = np.random.default_rng([seed, 30])
    pick = rng.choice
    level, bits = float(pick([300, 900])), int(pick([12, 16]))
    return SceneSpec(
        rows=int(pick([256, 384, 512, 640])),
        columns=int(pick([128, 256, 512, 1024, 2048])),
        amplitude=float(pick([0.05, 0.1, 0.2, 0.4])),
        width=float(pick([1, 2, 3, 5, 8, 14, 20])),
        dense=bool(pick([True, False])),
        partial=bool(pick([True, False])),
        cells=int(pick([12, 60, 250])),
        cell_counts=float(pick([1500, 2000] if bits == 12 else [2000, 6000])),
        level=level,
        bits=bits,
        dark=DARK,
        borders=bool(rng.random() < 0.7),
        padding=30 if rng.random() < 0.2 else 0,
        texture=float(pick([0.1, 0.2])),
        seed=10 * seed,
    )


def frames_of(spec: SceneSpec) -> list[Scene]:
    """The frames of a scene: of one kind, each with tissue and stripes of its own."""
    return [scene(replace(spec, seed=spec.seed + n)) for n in range(N_FRAMES)]


@dataclass(frozen=True)
class Truth:
    """Means over the frames of a scene, in %: of `tests.oblique.destripe.scenes.Score`."""

    error: float
    energy: float
    kept: float
    halo: float

    @classmethod
    def of(cls, frames: list[Scene], corrected: list[npt.NDArray[Any]]) -> Truth:
        """Compare corrected frames with the truth."""
        found = [score(*both) for both in zip(frames, corrected, strict=True)]
        means = (_mean([getattr(each, name) for each in found]) for name in ("error", "energy", "kept", "halo"))
        return cls(*means)


@dataclass(frozen=True)
class Outcome:
    """What became of a scene: without destriping, by the filter that frames chose, the former one, the best estimate.

    ``is_left`` says that the frames chose no filter.
    """

    spec: SceneSpec
    none: Truth
    made: Truth
    former: Truth
    best: Truth
    is_left: bool
    warned: tuple[str, ...] = ()

    @property
    def missed(self) -> tuple[str, ...]:
        """The aims that it does not reach."""
        made = self.made
        reached = {
            "cells": not abs(made.kept - 100) > CELLS,
            "halo": not abs(made.halo) > HALO,
            "error": made.error <= ERROR * self.former.error,
            "energy": made.energy <= ENERGY * self.none.energy,
        }
        return tuple(name for name in AIMS if not reached[name])

    @property
    def is_worse(self) -> bool:
        """Whether the tissue has more error than without destriping."""
        return not self.is_left and self.made.error >= self.none.error

    @property
    def is_in_reach(self) -> bool:
        """Whether the best linear estimate leaves a tenth of the energy or less: stripes stand out."""
        return self.best.energy <= ENERGY * self.none.energy


def without_destriping(of: Scene) -> npt.NDArray[np.float32]:
    """The raw frame, in counts above the offset."""
    return of.raw.astype(np.float32) - np.float32(of.spec.dark)


def best_linear(of: Scene) -> Floats:
    """The frame by the best linear estimate (Wiener) of its stripes, in counts above the offset.

    It knows the spectra of stripes and of tissue with noise, from other scenes of the kind, and sees neither cells nor
    borders: no linear filter can do better. Cosines have mirrored borders, as the guarded filter has.
    """
    stripes, tissue = _spectra(replace(of.spec, seed=0, cells=0, borders=False, padding=0))
    seen = scipy.fft.dctn(np.log(of.gain) + _texture(of.spec), norm="ortho")
    found = scipy.fft.idctn(seen * stripes / (stripes + tissue), norm="ortho")
    return without_destriping(of).astype(np.float64) * np.exp(-found)


@functools.lru_cache(maxsize=4)
def _spectra(spec: SceneSpec) -> tuple[Floats, Floats]:
    """Power of stripes, and of tissue with noise, at each frequency down the columns and along the rows."""
    specs = [replace(spec, seed=_FIRST_LEARNT + n) for n in range(_LEARNT)]
    gains = np.mean([_power(np.log(scene(each).gain)) for each in specs], axis=0)
    return gains, np.mean([_power(_texture(each)) for each in specs], axis=0)


def _texture(spec: SceneSpec) -> Floats:
    """Logarithm of a scene's tissue without cells and borders, with the camera's noise."""
    plain = replace(spec, cells=0, borders=False, padding=0)
    ideal = scene(plain).ideal
    noise = np.random.default_rng(spec.seed + 1).normal(size=ideal.shape)
    logarithm: Floats = np.log(ideal) + noise * np.sqrt(2.17 * ideal + 9) / ideal
    return logarithm - logarithm.mean()


def _power(values: Floats) -> Floats:
    """The periodogram, smooth down the columns' frequencies; along the rows only the first ones differ much."""
    power = np.square(scipy.fft.dctn(values, norm="ortho"))
    smooth: Floats = scipy.ndimage.uniform_filter1d(power, 2 * _SMOOTH + 1, axis=0, mode="nearest")
    return smooth


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
