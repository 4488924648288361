"""Frames of tissue under known light, in situations that a flat meets; in memory."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage

from gpustitch.oblique.flat import stage
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.running.progress import Silent

ROWS, COLUMNS, N = 64, 96, 48
Y, X = np.mgrid[:ROWS, :COLUMNS] / np.array([ROWS, COLUMNS])[:, None, None] - 0.5
GAUSSIAN = np.exp(-0.5 * ((X + 0.08) / 0.5) ** 2) * (1 - 0.14 * Y)
EVEN = np.ones((ROWS, COLUMNS))


@functools.cache
def _tissue():
    """Texture of mean 0 and deviation 1, bright cells, and noise of deviation 1, of N frames."""
    rng = np.random.default_rng(1)
    texture = ndimage.gaussian_filter(rng.normal(size=(N, ROWS, COLUMNS)), (0, 3, 3), mode="wrap")
    cells = np.zeros((N, ROWS, COLUMNS))
    cells[rng.random(cells.shape) < 6e-4] = 1
    return texture / texture.std(), ndimage.gaussian_filter(cells, (0, 1.5, 1.5)) * 14, rng.normal(size=cells.shape)


def frames(light=GAUSSIAN, n=N, *, level=900.0, dark=100.0, seen=EVEN, cells_seen=None, empty=0.0, drift=0.0,
           cells=3000.0, haze=0.0, top=65535, texture=0.25, dtype=np.uint16):  # fmt: skip
    """Frames of tissue of so many counts; the part ``seen`` of each frame and all but ``empty`` frames hold tissue."""
    texture_of, cells_of, noise = (part[:n] for part in _tissue())
    is_full = (np.arange(n) % 10 >= 10 * empty)[:, None, None]
    there = seen * is_full
    tissue = np.clip(1 + texture * texture_of, 0.3, None) * level * there
    tissue = tissue + cells * cells_of * (seen if cells_seen is None else cells_seen) * is_full
    tissue = tissue + haze * level * (there == 0)
    counts = tissue * light * (1 + drift * (np.arange(n) / n - 0.5))[:, None, None]
    counts = counts + noise * np.sqrt(2.17 * counts + 9) + dark
    return np.clip(np.rint(counts), 0, top).astype(dtype)


class Stack:
    """Frames in memory, which count how often each is read."""

    absent = frozenset()

    def __init__(self, frames):
        self.frames, self.shape, self.dtype = frames, frames.shape, frames.dtype
        self.read_rows = np.zeros(frames.shape[:2], int)

    def read(self, start, stop, rows=slice(None), columns=slice(None)):
        self.read_rows[start:stop, rows] += 1
        return self.frames[start:stop, rows, columns]


class Heard(Silent):
    """Progress that keeps what was said."""

    def __init__(self):
        self.notes, self.warnings = [], []

    def note(self, message):
        self.notes.append(message)

    def warn(self, message):
        self.warnings.append(message)


def estimated(monkeypatch, tmp_path, stack, **options):
    """The flat of frames, and what was said."""
    monkeypatch.setattr(
        stage, "open_frames", lambda path, **_: Stack(stack) if isinstance(stack, np.ndarray) else stack
    )
    options = {"dark": 100.0, "n_workers": 1} | options
    heard = Heard()
    job = stage.plan(IlluminationOptions(("frames",), tmp_path / "flat.tiff", **options))
    return stage.estimated(job, heard), heard
