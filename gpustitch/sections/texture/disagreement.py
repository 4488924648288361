"""Do patches of the planes agree on how the spacing runs along a series?

All parts of a picture are cut equally thick, so the thickness of sections changes the similarity of all patches alike.
What they show need not change alike: where another tissue grows into view, similarity falls faster in some patches
first. So the part of a slow change that patches do not share is texture.

What is measured. In each patch similarity is a curve of the distance of sections. Along the series that curve is
stretched by a factor, whose logarithm is a sum of cosines over the series. Less its mean over the patches, each cosine
has a power. The longest waves are those of a steady change.

What noise makes. Patches hold few structures, so that they never agree. Series of random structures whose similarity
falls on the same curve, at the same positions, say how noise spreads over the waves. Its height is that of the shorter
waves, where textures hardly change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from gpustitch.model.arrays import Floats, Integers
from gpustitch.ops.patches import LAGS, PatchSimilarities
from gpustitch.ops.robust import median
from gpustitch.sections.texture.curve import FINE, Curve, fit_curve

# Cosines that are fitted, half waves along the series: those of a steady change, and the last one of those that tell
# the noise.
WAVES, STEADY, NOISE = 8, 2, 6
# Patches along a side that are looked at: many small ones, and fewer that are less noisy.
SIDES = (8, 4, 2)
# Noise beyond which nothing is seen, of the logarithm of the apparent spacing.
MOST_NOISE = 0.5
# Least number of sections: in fewer, noise of structures is as long as the waves.
LEAST_SECTIONS = 60
# Patches of random structures, of so many independent pixels at least and at most, and the seed of these.
_RANDOM, _LEAST_PIXELS, _MOST_PIXELS, _SEED = 256, 6, 40, 23
# Least rate at which similarity is taken to fall beyond the distances compared, a section.
_LEAST_RATE = 0.02
# Least variance of a similarity, as 1 - similarity^2.
_FLOOR = 0.02
# Patches with less than this part of the pairs of the fullest one, as beside borders, are left out: what they seem to
# do is noise of a few pairs. So many patches are needed.
_LEAST_KNOWN, _FEWEST = 0.5, 4
# Small parts that keep equations solvable.
_HELD, _HELD_WAVES = 1e-6, 1e-4


@dataclass(frozen=True)
class Pairs:
    """Similarities (m, patches, LAGS) of sections at positions (m,), and what is known of pairs, (m, LAGS).

    ``distance`` is in sections, ``place`` along the series, 0 to 1.
    """

    values: Floats
    positions: Floats
    distance: Floats
    place: Floats

    @property
    def mean(self) -> Floats:
        """Mean over the patches (m, LAGS), NaN where no patch has one."""
        known = np.isfinite(self.values)
        count = known.sum(axis=1)
        total = np.where(known, self.values, 0).sum(axis=1)
        found: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return found


@dataclass(frozen=True)
class Disagreement:
    """How far patches differ in their slow change.

    Attributes
    ----------
    chance
        Product over :data:`SIDES` of the probabilities that noise makes as much.
    height
        Logarithm of the apparent spacing less that of all patches, root mean square over patches and series, less the
        noise.
    """

    chance: float
    height: float


def disagreement(found: PatchSimilarities, positions: Floats) -> Disagreement | None:
    """Disagreement of patches at positions (n,) in sections; None if that cannot be seen: of few sections, in noise."""
    if len(positions) < LEAST_SECTIONS:
        return None
    chance, heights = 1.0, []
    for side in SIDES:
        pairs = _pairs(found.at(side), found.planes, positions)
        if pairs.values.shape[1] < _FEWEST or np.isfinite(pairs.mean).sum() < LEAST_SECTIONS:
            continue
        power, noise = _power(pairs), _power_of_noise(pairs)
        noise *= (power[STEADY:NOISE] / noise[STEADY:NOISE]).mean()
        usual = float(noise[:STEADY].sum())
        if usual < MOST_NOISE**2:
            free = pairs.values.shape[1] - 1
            ratio = float((power[:STEADY] / noise[:STEADY]).mean())
            chance *= float(scipy.special.fdtrc(STEADY * free, (NOISE - STEADY) * free, ratio))
            heights.append(np.sqrt(max(float(power[:STEADY].sum()) - usual, 0.0)))
    return Disagreement(chance, float(max(heights))) if heights else None


def _pairs(values: Floats, planes: Integers, positions: Floats) -> Pairs:
    known = np.isfinite(values).sum(axis=(0, 2))
    values = values[:, known >= max(_LEAST_KNOWN * int(known.max()), 1)]
    later = planes[:, None] + np.arange(1, LAGS + 1)
    n = len(positions)
    distance = np.abs(positions[np.minimum(later, n - 1)] - positions[planes][:, None])
    return Pairs(values, positions[planes], distance, (planes[:, None] + later + 1) / (2 * n))


def _power(pairs: Pairs) -> Floats:
    """Power of each wave (WAVES,), from the longest on, in which patches differ from their mean."""
    waves = stretch_waves(pairs)
    apart = waves - waves.mean(axis=0)
    power: Floats = (apart[:, 1:] ** 2).sum(axis=0) / max(len(waves) - 1, 1) / 2
    return power


def stretch_waves(pairs: Pairs) -> Floats:
    """Cosines (patches, WAVES + 1) of the logarithm of the factor by which each patch's curve is stretched."""
    known = np.isfinite(pairs.values)
    values, mean = np.where(known, pairs.values, 0), pairs.mean
    curve = _curve(pairs, mean)
    usual, slope = curve.at(pairs.distance)
    # The curve of a patch goes with that of the mean.
    terms = np.stack([np.ones_like(usual), usual, usual**2], axis=-1)
    weight = known / np.maximum(1 - usual**2, _FLOOR)[:, None] ** 2
    factors = _solved(weight, terms, values, _HELD)
    expected = np.einsum("mda,pa->mpd", terms, factors)
    slopes = factors[:, 1][:, None] + 2 * factors[:, 2][:, None] * usual[:, None]
    by_stretch = slopes * (slope * pairs.distance)[:, None]
    weight = known / np.maximum(1 - expected**2, _FLOOR) ** 2
    cosines = np.cos(np.pi * np.arange(WAVES + 1) * pairs.place[..., None])
    with np.errstate(divide="ignore", invalid="ignore"):
        target = np.where(by_stretch != 0, (values - expected) / by_stretch, 0)
    return _solved(weight * by_stretch**2, cosines, target, _HELD_WAVES)


def _solved(weight: Floats, terms: Floats, values: Floats, held: float) -> Floats:
    """Factors (patches, k) of terms (m, LAGS, k) nearest to values (m, patches, LAGS) of some weight."""
    k = terms.shape[-1]
    flat = terms.reshape(-1, k)
    weight, values = (of.swapaxes(1, 2).reshape(len(flat), -1) for of in (weight, values))
    products = (flat[:, :, None] * flat[:, None, :]).reshape(len(flat), k * k)
    normal = (weight.T @ products).reshape(-1, k, k)
    right = (weight * values).T @ flat
    trace = np.trace(normal, axis1=1, axis2=2)[:, None, None]
    found: Floats = np.linalg.solve(normal + (held * trace + 1e-12) * np.eye(k), right[..., None])[..., 0]
    return found


def _curve(pairs: Pairs, mean: Floats) -> Curve:
    some = np.isfinite(mean)
    weight = 1 / np.maximum(1 - mean[some] ** 2, _FLOOR) ** 2
    return fit_curve(pairs.distance[some], mean[some], weight)


def _power_of_noise(pairs: Pairs) -> Floats:
    """Power of each wave that random structures of the same similarity make; its height is arbitrary."""
    m, n_patches, _ = pairs.values.shape
    random = np.random.default_rng(_SEED)
    root = _root_of_covariance(pairs)
    n_pixels, found = _independent_pixels(pairs), []
    for _ in range(-(-_RANDOM // n_patches)):
        pixels = (root @ random.standard_normal((m, n_patches * n_pixels))).reshape(m, n_patches, n_pixels)
        pixels -= pixels.mean(axis=2, keepdims=True)
        pixels /= np.sqrt((pixels * pixels).sum(axis=2, keepdims=True))
        values = np.full((m, n_patches, LAGS), np.nan)
        for d in range(1, min(LAGS, m - 1) + 1):
            values[: m - d, :, d - 1] = np.einsum("mpx,mpx->mp", pixels[: m - d], pixels[d:])
        values[np.isnan(pairs.values)] = np.nan
        found.append(_power(replace(pairs, values=values)))
    mean: Floats = np.mean(found, axis=0)
    return mean


def _root_of_covariance(pairs: Pairs) -> Floats:
    """A matrix (m, m) that makes sections of independent pixels as similar as the mean of the patches."""
    curve = _curve(pairs, pairs.mean)
    last = (len(curve.values) - 2) / FINE
    distance = np.abs(pairs.positions[:, None] - pairs.positions)
    covariance = curve.at(np.minimum(distance, last))[0]
    half, end = (max(float(of), 1e-4) for of in curve.at(np.array([last / 2, last]))[0])
    rate = max(float(np.log(half / end)) / (last / 2), _LEAST_RATE)
    covariance *= np.exp(-np.maximum(distance - last, 0) * rate)
    np.fill_diagonal(covariance, 1)
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0))
    return root


def _independent_pixels(pairs: Pairs) -> int:
    """How many independent pixels scatter as a patch does."""
    beside = pairs.values[..., 0]
    mean = pairs.mean[:, 0]
    some = np.isfinite(mean)
    usual = np.array([median(of[np.isfinite(of)]) for of in beside.T if np.isfinite(of).any()])
    apart = (beside - np.pad(usual, (0, beside.shape[1] - len(usual))))[some]
    variance = np.nanvar(apart, axis=1)
    found = median((1 - mean[some] ** 2) ** 2 / np.maximum(variance, 1e-9))
    return int(np.clip(found, _LEAST_PIXELS, _MOST_PIXELS))
