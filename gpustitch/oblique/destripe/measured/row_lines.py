"""How much of a frame is coherent along its rows, where no truth is known: stripes that are left, and tissue taken.

Means of row segments have little noise. What neighbouring segments share, and the rows above and below do not, is a
stripe or a structure of the tissue that runs along the rows. A covariance of neighbours holds no noise at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.ops.robust import weighted_median

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# A segment is short beside a stripe and long beside tissue's texture; small frames have at least six.
_SEGMENT_PX, _LEAST_SEGMENTS = 64, 6
_SAMPLES = 32
# Stripes are up to about 20 rows wide: what a Gaussian of this many rows leaves is not theirs.
_STRIPE_ROWS = 12.0
# Darker than this share of the frame's light is not tissue.
DIM = 0.25
# Means of so many rows above and below that differ by more (logarithm) are an edge of the tissue.
_EDGE_ROWS, _EDGE, _BESIDE_EDGE_ROWS = 24, 0.35, 9
_MOST = 0.7
# Distances in segments at which two of a row are compared.
_GAPS = (1, 2)
# Fewer pairs of segments say nothing.
LEAST_PAIRS = 200


@dataclass(frozen=True)
class RowLines:
    """Lines along the rows of a raw frame.

    ``means`` has shape (rows, segments): the mean of the middle half of a segment's sorted values, so that cells and
    hot pixels do not count. ``length`` of a segment is in pixels, ``light`` the level of tissue in counts. ``lit`` are
    the segments with tissue, ``calm`` those away from its edges.
    """

    length: int
    means: Floats
    light: float
    lit: Mask
    calm: Mask

    @classmethod
    def of(cls, raw: Floats) -> RowLines:
        """The lines of a frame (rows, columns) of counts above the dark offset, not negative."""
        columns = raw.shape[1]
        length = max(1, min(_SEGMENT_PX, columns // _LEAST_SEGMENTS))
        means, tenth = _trimmed(raw, length)
        light = _light_of(means)
        lit = (means > DIM * light) & (tenth > 0)
        return cls(length, means, light, lit, _calm(_log(means, light), lit))

    def before(self) -> float | None:
        """Standard deviation of the lines of the raw frame, in % of the light; None if too little is lit."""
        return _deviation(_shared(_lines(_log(self.means, self.light), self.lit), self.calm, _GAPS))

    def after(self, corrected: Floats) -> float | None:
        """What is wrong along the rows of the corrected frame, in % of the light; None if too little is lit.

        Two parts add up: lines along the rows that are left, and changes that only near segments share. A stripe is
        longer than that, so such a change was made to the tissue.
        """
        means = _log(_trimmed(corrected, self.length)[0], self.light)
        change = _lines(means - _log(self.means, self.light), self.lit)
        left, far = _shared(_lines(means, self.lit), self.calm, _GAPS), _shared(change, self.lit, _GAPS)
        near = _shared(change, self.lit, _GAPS[:1])
        if left is None or far is None or near is None:
            return None
        return _deviation(near + max(left, 0.0) - far)

    def after_subtraction(self, corrected: Floats) -> float | None:
        """Standard deviation of the corrected frame's lines, in % of the raw frame's light; None if too little is lit.

        For corrections that subtract the background, of which a logarithm would say nothing.
        """
        level = np.where(self.lit, _smooth(np.where(self.lit, self.means, 0), self.lit), 1)
        part = _trimmed(corrected, self.length)[0] / np.maximum(level, 1e-30)
        lines = _lines(part.astype(np.float32), self.lit)
        return _deviation(_shared(lines, self.calm, _GAPS))


def _deviation(variance: float | None) -> float | None:
    """The standard deviation in %; less than nothing is nothing."""
    return None if variance is None else 100 * float(np.sqrt(max(variance, 0.0)))


def _light_of(means: Floats) -> float:
    """The level at which half of the light of all ``means`` is below: of tissue, however small its part; 0 if dark."""
    lit = means[means > 0]
    return weighted_median(lit, lit) if lit.size else 0.0


def _trimmed(image: Floats, length: int) -> tuple[Floats, Floats]:
    """Mean of the middle half, and the tenth percentile, of each row segment: two arrays (rows, segments)."""
    count, step = image.shape[1] // length, max(1, length // _SAMPLES)
    values = np.sort(image[:, : count * length].reshape(len(image), count, length)[:, :, ::step], axis=2)
    n = values.shape[2]
    return values[:, :, n // 4 : n - n // 4].mean(axis=2), values[:, :, n // 10]


def _log(means: Floats, light: float) -> Floats:
    """Logarithm of means; the darkest count as a tenth of what is still tissue."""
    return np.asarray(np.log(np.maximum(means, 0.1 * DIM * light + 1e-30)), np.float32)


def _smooth(values: Floats, among: Mask) -> Floats:
    """Gaussian mean over the rows of those ``among``; other values must be 0."""
    weight = scipy.ndimage.gaussian_filter1d(among.astype(np.float32), _STRIPE_ROWS, axis=0, mode="nearest")
    mean = scipy.ndimage.gaussian_filter1d(values.astype(np.float32), _STRIPE_ROWS, axis=0, mode="nearest")
    return np.asarray(mean / np.maximum(weight, 1e-3), np.float32)


def _lines(values: Floats, among: Mask) -> Floats:
    """What changes from row to row; 0 where nothing is lit."""
    inside = np.where(among, values, 0).astype(np.float32)
    return np.asarray(np.where(among, np.clip(inside - _smooth(inside, among), -_MOST, _MOST), 0), np.float32)


def _calm(means: Floats, lit: Mask) -> Mask:
    """Lit segments away from edges of the tissue along the rows; ``means`` are logarithms."""
    inside, weight = np.where(lit, means, 0).astype(np.float32), lit.astype(np.float32)
    beside = []
    for origin in (_EDGE_ROWS // 2 - 1, -(_EDGE_ROWS // 2)):
        total, count = (
            scipy.ndimage.uniform_filter1d(a, _EDGE_ROWS, axis=0, mode="nearest", origin=origin)
            for a in (inside, weight)
        )
        beside.append(total / np.maximum(count, 1e-3))
    even = (np.abs(beside[0] - beside[1]) < _EDGE) | ~lit
    calm: Mask = lit & scipy.ndimage.binary_erosion(even, np.ones((_BESIDE_EDGE_ROWS, 1), bool), border_value=1)
    return calm


def _shared(lines: Floats, among: Mask, gaps: tuple[int, ...]) -> float | None:
    """Mean product of two segments of a row at those distances; None if there are too few."""
    total, count = 0.0, 0
    for gap in gaps:
        both = among[:, gap:] & among[:, :-gap]
        total += float((lines[:, gap:] * lines[:, :-gap])[both].sum(dtype=np.float64))
        count += int(np.count_nonzero(both))
    return total / count if count >= LEAST_PAIRS else None
