"""What became of compact bright spots (cells) and of the tissue beside them, where no truth is known.

A correction may scale a row, as a stripe did. So the raw frame is first scaled row by row as the correction did far
from the spot: what the spot, or the tissue beside it, then differs by is harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.oblique.destripe.measured.row_lines import DIM
from gpustitch.ops.robust import MAD_TO_SIGMA

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# Median of the background: so many pixels along an axis, of which each fourth is looked at.
_BACKGROUND_PX, _STEP = 49, 4
# A spot stands out by so many standard deviations of noise, and of texture, and by this share of what is around it.
_SIGMAS, _OF_TEXTURE, _CONTRAST = 6.0, 3.0, 0.3
# A spot is alone within this distance, and below half its height at the next.
_APART, _COMPACT_PX = 7, 12
# Around a spot: the core, the box whose corners and edges are the ring, the tissue beside it, and the far part of rows.
_CORE, _BOX, _RING, _BESIDE = 2, 10, 8, (9, 20)
_FAR = (24, 100)
_LEAST_RING, _LEAST_BESIDE, _LEAST_FAR = 30, 20, 10
_MOST_SPOTS = 400
# Pixels that are searched; larger frames are searched in bands of rows.
_MOST_PIXELS, _BAND_ROWS = 1 << 19, 256
_DY, _DX = np.arange(-_BOX, _BOX + 1)[:, None], np.arange(-_BESIDE[1], _BESIDE[1] + 1)[None]


@dataclass(frozen=True)
class Spots:
    """Compact bright spots of a band of rows of a raw frame, and what is around them.

    ``places`` (spots, 2) and ``clear``, the usable pixels that do not stand out, are of the band. ``before`` are boxes
    of the frame, ``ring`` and ``beside`` pixels of them. ``far`` is the light far from a spot on each row of its box,
    and ``n_far`` the number of its pixels: (spots, rows).
    """

    rows: slice
    places: Ints
    clear: Mask
    before: Floats
    ring: Mask
    beside: Mask
    far: Floats
    n_far: Ints

    @classmethod
    def found(cls, raw: Floats, usable: Mask, light: float) -> list[Spots]:
        """Spots that can be measured: of the whole frame, or of evenly spaced bands of rows if it is large.

        Parameters
        ----------
        raw
            Shape (rows, columns), counts above the dark offset, not negative.
        usable
            Pixels that are neither empty nor saturated.
        light
            Level of tissue, counts: beside spots on darker ground no change is measured.
        """
        rows, columns = raw.shape
        if rows <= 2 * _BOX or columns <= 2 * _BESIDE[1]:
            return []
        bands = max(1, rows // _BAND_ROWS)
        stride = -(-rows * columns // _MOST_PIXELS)
        edges = np.linspace(0, rows, bands + 1).astype(int)
        parts = [slice(edges[i], edges[i + 1]) for i in range(min(stride // 2, bands - 1), bands, stride)]
        of_bands = (cls._of(raw[part], usable[part], light, part) for part in parts)
        return [spots for spots in of_bands if len(spots.places)]

    @classmethod
    def _of(cls, raw: Floats, usable: Mask, light: float, rows: slice) -> Spots:
        places, spots = _spots(raw, usable)
        clear = usable & ~spots
        far, n_far = _far_sum(np.where(clear, raw, 0), places), _far_sum(clear, places).astype(np.int64)
        at = _boxes(places)
        around = clear[at]
        ring = around & (np.abs(_DY) + np.abs(_DX) > _RING) & (np.abs(_DX) <= _BOX)
        known = (n_far >= _LEAST_FAR).all(axis=1) & (far > 0).all(axis=1) & (ring.sum(axis=(1, 2)) >= _LEAST_RING)
        places, far, n_far, ring, around = places[known], far[known], n_far[known], ring[known], around[known]
        before = raw[_boxes(places)]
        beside = around & (np.abs(_DY) <= _CORE) & (np.abs(_DX) >= _BESIDE[0])
        n = beside.sum(axis=(1, 2))
        tissue = (n >= _LEAST_BESIDE) & (np.where(beside, before, 0).sum(axis=(1, 2)) > DIM * light * n)
        return cls(rows, places, clear, before, ring, beside & tissue[:, None, None], far, n_far)

    def kept(self, corrected: Floats, *, background_removed: bool) -> tuple[Floats, Floats]:
        """Contrast that spots kept, in %, and the change of the tissue beside them, in %: a value for each spot.

        If the correction subtracts the background, contrast is compared in counts, and the tissue not at all. Spots
        without enough tissue beside them have no second value, and those without contrast no first one.
        """
        band = corrected[self.rows]
        far, after = _far_sum(np.where(self.clear, band, 0), self.places), band[_boxes(self.places)]
        expected = self.before.copy()
        if background_removed:
            expected += ((far - self.far) / self.n_far)[:, :, None]
        else:
            expected *= (far / self.far)[:, :, None]
        contrast, wanted = (_contrast(values, self.ring) for values in (after, expected))
        some = wanted > 0
        kept = 100 * contrast[some] / wanted[some]
        if background_removed:
            return kept, kept[:0]
        seen, due = (np.where(self.beside, values, 0).sum(axis=(1, 2)) for values in (after, expected))
        return kept, 100 * (seen[due > 0] / due[due > 0] - 1)


def _boxes(places: Ints) -> tuple[Ints, Ints]:
    return places[:, 0, None, None] + _DY, places[:, 1, None, None] + _DX


def _contrast(values: Floats, ring: Mask) -> Floats:
    """Mean of the core less the median of the ring, for each box."""
    core = (np.abs(_DY) <= _CORE) & (np.abs(_DX) <= _CORE)
    around = np.sort(np.where(ring, values, np.inf).reshape(len(values), -1), axis=1)
    middle = ring.sum(axis=(1, 2))[:, None] // 2
    return np.asarray(values[:, core].mean(axis=1) - np.take_along_axis(around, middle, axis=1)[:, 0], np.float32)


def _far_sum(values: npt.NDArray[Any], places: Ints) -> Floats:
    """Sums of values (rows, columns) far from each spot, on each row of its box: (spots, rows)."""
    columns = values.shape[1]
    rows = places[:, :1] + np.arange(-_BOX, _BOX + 1)
    along = np.zeros((len(values), columns + 1))
    np.cumsum(values, axis=1, out=along[:, 1:])
    total = np.zeros(rows.shape)
    for start, stop in ((-_FAR[1], -_FAR[0]), (_FAR[0], _FAR[1])):
        a, b = (np.clip(places[:, 1:] + end, 0, columns) for end in (start, stop + 1))
        total += along[rows, b] - along[rows, a]
    return total.astype(np.float32)


def _spots(raw: Floats, usable: Mask) -> tuple[Ints, Mask]:
    """Places (spots, 2) of compact bright spots that can be measured, and the pixels of all that stands out."""
    smooth = scipy.ndimage.uniform_filter(raw, 3, mode="nearest")
    background = np.maximum(_background(smooth), _background(smooth.T).T)
    lit = usable & (background > 0)
    if not lit.any():
        return np.zeros((0, 2), np.int64), lit
    # Shot noise grows with the root of the light.
    level = float(np.median(background[lit]))
    root = np.sqrt(np.maximum(background, 0.05 * level) / level)
    excess = smooth - background
    noise = MAD_TO_SIGMA / 3 * float(np.median((np.abs(raw - smooth) / root)[lit])) * root
    texture = MAD_TO_SIGMA * float(np.median(np.abs(excess - np.median(excess[lit]))[lit] / root[lit])) * root
    least = np.maximum(np.maximum(_SIGMAS * noise, _OF_TEXTURE * texture), _CONTRAST * background)
    bright = excess > least
    beside = [np.roll(excess, shift, axis) for axis in (0, 1) for shift in (-_COMPACT_PX, _COMPACT_PX)]
    compact = np.sort(np.stack(beside), axis=0)[2] < excess / 2
    peaks = bright & compact & (smooth == scipy.ndimage.maximum_filter(smooth, _APART, mode="nearest"))
    peaks &= scipy.ndimage.minimum_filter(usable, 2 * _CORE + 1)
    peaks[:_BOX] = peaks[-_BOX:] = False
    peaks[:, : _BESIDE[1]] = peaks[:, -_BESIDE[1] :] = False
    spots = scipy.ndimage.binary_dilation(excess > least / 2, iterations=2)
    places = np.argwhere(peaks)
    return places[:: max(1, -(-len(places) // _MOST_SPOTS))], spots


def _background(image: Floats) -> Floats:
    """Median along the rows."""
    few = scipy.ndimage.median_filter(image[:, ::_STEP], (1, _BACKGROUND_PX // _STEP | 1), mode="nearest")
    return np.repeat(few, _STEP, axis=1)[:, : image.shape[1]]
