"""The effects of a camera and its light: illumination, stripes, shadows, noise, offset, saturation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.model.arrays import Floats, Floats32


@dataclass(frozen=True)
class Sensor:
    """``dark`` and ``read_noise`` in counts, counts per photoelectron, and the count at which pixels saturate."""

    dark: float = 100.0
    read_noise: float = 3.0
    counts_per_electron: float = 2.17
    saturation: int = 65535


@dataclass(frozen=True)
class Illumination:
    """The sheet's profile in fractions of the frame: a Gaussian along the sheet (columns), a tilt along the rows."""

    peak_at: float = 0.42
    width: float = 0.72
    tilt: float = -0.14

    def flat(self, n_rows: int, n_columns: int) -> Floats32:
        """Gain of each pixel, float32 (rows, columns), scaled to maximum 1."""
        along = np.exp(-0.5 * ((_parts(n_columns) - self.peak_at) / self.width) ** 2)
        across = 1 + self.tilt * (_parts(n_rows) - 0.5)
        gain = across[:, None] * along[None, :]
        return np.asarray(gain / gain.max(), dtype=np.float32)


@dataclass(frozen=True)
class Stripes:
    """Gains along the sheet of one tile.

    ``row_gain`` (rows,) multiplies whole rows of every frame. The other arrays (n,) describe n shadows. A shadow
    darkens by ``depth`` a band of rows around ``row`` with standard deviation ``width``. The shadow begins at column
    ``start``, rises over ``onset`` columns, and lasts for frames around ``frame`` with standard deviation ``duration``.
    """

    row_gain: Floats
    row: Floats
    width: Floats
    start: Floats
    onset: Floats
    depth: Floats
    frame: Floats
    duration: Floats

    @classmethod
    def none(cls, n_rows: int) -> Stripes:
        """A tile without stripes."""
        return cls(np.ones(n_rows), *(np.zeros(0) for _ in range(7)))

    def gain(self, frames: npt.NDArray[np.int64], n_columns: int) -> Floats32:
        """Gains of the given frames, float32 (frames, rows, columns)."""
        rows, columns = np.arange(len(self.row_gain)), np.arange(n_columns)
        when = np.exp(-0.5 * ((frames[:, None] - self.frame) / self.duration) ** 2)
        across = self.depth * np.exp(-0.5 * ((rows[:, None] - self.row) / self.width) ** 2)
        along = 0.5 + 0.5 * np.tanh((columns - self.start[:, None]) / self.onset[:, None])
        shadow = (when[:, None, :] * across).astype(np.float32) @ along.astype(np.float32)
        return np.asarray((1 - shadow) * self.row_gain.astype(np.float32)[:, None])


def make_stripes(rng: np.random.Generator, n_frames: int, n_rows: int, n_columns: int, strength: float) -> Stripes:
    """Random stripes whose row gains vary by ``strength`` (standard deviation) with periods of about 4 to 20 rows.

    Shadows darken; the rows' gains compensate, so that the mean gain is 1.
    """
    noise = rng.normal(size=n_rows)
    fine, coarse = (scipy.ndimage.gaussian_filter1d(noise, sigma, mode="wrap") for sigma in (1.0, 4.0))
    band = fine - coarse
    spread = float(band.std())
    row_gain = 1 + band * (strength / spread if spread > 0 else 0.0)
    count = max(2, n_frames * n_rows // 4000)
    stripes = Stripes(
        row_gain,
        row=rng.uniform(0, n_rows, count),
        width=rng.uniform(1.5, 4.0, count),
        start=rng.uniform(-0.3, 0.8, count) * n_columns,
        onset=rng.uniform(8.0, 20.0, count),
        depth=rng.uniform(1.0, 3.0, count) * strength,
        frame=rng.uniform(0, n_frames, count),
        duration=rng.uniform(15.0, 50.0, count),
    )
    some_frames = np.unique(np.linspace(0, n_frames - 1, 16).astype(np.int64))
    return replace(stripes, row_gain=row_gain / float(stripes.gain(some_frames, n_columns).mean()))


def expose(light: Floats32, sensor: Sensor, rng: np.random.Generator | None) -> npt.NDArray[np.uint16]:
    """Counts that a camera reports for ``light`` (counts, float32, overwritten); without noise if ``rng`` is None.

    Shot noise has the variance ``light * counts_per_electron``. Counts are rounded and clipped to the sensor's range.
    """
    if rng is not None:
        variance = light * np.float32(sensor.counts_per_electron)
        variance += np.float32(sensor.read_noise**2)
        np.sqrt(variance, out=variance)
        variance *= rng.standard_normal(light.shape, dtype=np.float32)
        light += variance
    light += np.float32(sensor.dark)
    np.rint(light, out=light)
    np.clip(light, 0, sensor.saturation, out=light)
    return light.astype(np.uint16)


def _parts(count: int) -> Floats:
    return (np.arange(count) + 0.5) / count
