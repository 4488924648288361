"""By how much waves of positions err because planes hold only so many structures.

Equations in blocks take sections as independent beyond a block. They are not: a structure that goes on over thirty
sections makes similarities in all of them too high, or too low. So long waves err more than the equations say, by the
more the longer structures are. Short waves err less where the noise of pixels makes them, of which there are many.

The error is that of the score in samples of planes (a sandwich). A wave ``w`` of the positions found is a sum of errors
of similarities with factors M, by the equations' inverse. Similarities of N independent patches err as Wishart's
distribution says: the variance is ``2 tr(M R M R) / N`` for sections whose expected similarities are R. The noise of
pixels has more independent samples than the texture has, and counts with their number. An error of a section's own
variance goes into all its similarities: so M has a diagonal that takes it out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpustitch.model.arrays import Floats
from gpustitch.sections.positions.normal import Expected, blocks_of

# Positions err by this factor more: the equations are linear, and the curve is fitted. Measured with true similarities
# and true numbers of samples, of textures of one to three lengths: 1.05 to 1.25.
_FITTED = 1.1
# Farthest section that one is taken to be like, and least similarity that counts there.
_FARTHEST, _LEAST_SIMILAR = 100, 0.05
# Least rate at which similarity is taken to fall beyond the distances compared, a section.
_LEAST_RATE = 0.02
# Least part of a texture in the variance of a section.
_LEAST_TEXTURE = 0.05


@dataclass(frozen=True)
class Sampling:
    """What tells the error of waves: pairs, the variance of sections beyond the process, and the errors of both parts.

    Attributes
    ----------
    expected
        Pairs of sections at the positions found.
    spread, length
        As in :func:`gpustitch.sections.positions.normal.in_blocks`.
    positions, quality
        (n,): in sections; the factor of each section.
    texture, pixels
        Error of a similarity that structures and the noise of pixels make, ``1 / sqrt(independent samples)``.
    """

    expected: Expected
    spread: Floats
    length: int
    positions: Floats
    quality: Floats
    texture: float
    pixels: float

    def variance(self, solved: Floats) -> Floats:
        """Variance (m,) of waves, whose columns times the inverse of the equations are ``solved`` (2 n, m).

        The inverse is that of equations for similarities of one independent pixel.
        """
        texture, noise = self._similar()
        factors = _factors(self.expected, self.spread, self.length, solved)
        found = []
        for band in factors:
            band[0] = 0
            band[0] = -_row_sums(band, texture)
            both = _product(band, texture)
            alone = _product(band, noise[:, None])
            structures = _trace(both, both)
            pixels = 2 * _trace(both, alone) + _trace(alone, alone)
            found.append(2 * _FITTED**2 * (self.texture**2 * max(structures, 0) + self.pixels**2 * max(pixels, 0)))
        return np.array(found)

    def _similar(self) -> tuple[Floats, Floats]:
        """Expected similarities of the texture (n, 2 reach + 1), of section i and i + o - reach, and noise (n,)."""
        n, curve = len(self.positions), self.expected.curve
        some = self.expected.counts > 0
        end = float(np.median(self.expected.distance[-1][some[-1]])) if some[-1].any() else 0.0
        end = end or float(self.expected.distance[some].max())
        value, slope = (float(part[0]) for part in curve.at(np.array([end])))
        value = max(value, _LEAST_SIMILAR / 10)
        rate = max(-slope / value, _LEAST_RATE)
        usual = (self.positions[-1] - self.positions[0]) / (n - 1)
        farthest = end + max(float(np.log(value / _LEAST_SIMILAR)), 0.0) / rate
        reach = int(np.clip(np.ceil(farthest / max(usual, 1e-9)), self.length, min(_FARTHEST, n - 1)))
        place = np.arange(n)[:, None] + np.arange(-reach, reach + 1)
        inside = (place >= 0) & (place < n)
        place = np.clip(place, 0, n - 1)
        distance = np.abs(self.positions[place] - self.positions[:, None])
        near = curve.at(np.minimum(distance, end))[0]
        similar = np.where(distance <= end, near, value * np.exp(-np.maximum(distance - end, 0) * rate))
        similar = np.where(inside, similar * self.quality[place] * self.quality[:, None], 0)
        own = np.clip(self.quality**2 * float(curve.at(np.zeros(1))[0][0]), _LEAST_TEXTURE, 1)
        similar[:, reach] = own
        return similar, 1 - own


def _factors(expected: Expected, spread: Floats, length: int, solved: Floats) -> Floats:
    """Factors M of similarities in each wave: (m, length + 1, n), ``[d, k]`` of the sections k and k + d."""
    blocks = blocks_of(expected, spread, length)
    n, size = len(spread), length + 1
    found = np.zeros((solved.shape[1], size, n))
    for wave, column in enumerate(solved.T):
        for block in blocks:
            count, wide = block.precision.shape[:2]
            place = block.start + np.arange(count)[:, None] + np.arange(wide)
            moved = (
                column[0::2][place][:, :, None] * block.by_position + column[1::2][place][:, :, None] * block.by_quality
            )
            factor = block.precision @ moved @ block.precision
            factor = (factor + factor.swapaxes(1, 2)) * (block.sign / 2)
            factor *= block.known
            for b in range(wide):
                found[wave, : wide - b, block.start + b : block.start + b + count] += factor[:, b:, b].T
    return found


def _row_sums(band: Floats, similar: Floats) -> Floats:
    """Sums over the row of each section of factors times similarities."""
    n, reach = len(similar), similar.shape[1] // 2
    total = np.zeros(n)
    for d in range(1, min(len(band), n)):
        part = band[d, : n - d] * similar[: n - d, reach + d]
        total[: n - d] += part
        total[d:] += part
    return total


def _product(band: Floats, similar: Floats) -> Floats:
    """Matrix product of the symmetric band of factors and similarities (n, 2 reach + 1); (n, 2 wider reach + 1)."""
    n, reach, length = len(similar), similar.shape[1] // 2, len(band) - 1
    found = np.zeros((n, 2 * (reach + length) + 1))
    for d in range(-length, length + 1):
        if abs(d) >= n:
            continue
        rows = slice(0, n - d) if d >= 0 else slice(-d, n)
        of = slice(d, n) if d >= 0 else slice(0, n + d)
        factor = band[abs(d), rows if d >= 0 else of]
        found[rows, length + d : length + d + 2 * reach + 1] += factor[:, None] * similar[of]
    return found


def _trace(one: Floats, two: Floats) -> float:
    """Trace of the product of two banded matrices (n, 2 reach + 1)."""
    n, reach, other = len(one), one.shape[1] // 2, two.shape[1] // 2
    total = 0.0
    for d in range(-min(reach, other, n - 1), min(reach, other, n - 1) + 1):
        rows = slice(max(0, -d), n - max(0, d))
        columns = slice(max(0, d), n - max(0, -d))
        total += float(one[rows, reach + d] @ two[columns, other - d])
    return total
