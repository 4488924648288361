"""Constants that tell texture from thickness, and how far intervals reach: what they are held against, measured again.

Rows are as those of :mod:`bench.bench_zspacing_model`: sorts of series, and the constant that their figures must be
above or below.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from bench.bench_zspacing_model import SEEDS, Sort, contradictory, textured, waves
from bench.common import report
from bench.patch_series import moving_border, patches_of
from gpustitch.model.arrays import Floats
from gpustitch.ops.variogram import lengths_px, variograms
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.solve import MUCH
from gpustitch.sections.similarity.high_pass import striped_part
from gpustitch.sections.similarity.look import LEAST_STRIPES, LEAST_THROUGH
from gpustitch.sections.texture.disagreement import disagreement
from gpustitch.sections.texture.trend import CHANCE_OF_PARTS, CHANGES, OF_TREND

# Structures of a plane of 128 x 128 pixels: part of the contrast, length across and within planes.
STRUCTURES = ((0.6, 2.0, 1.0), (0.8, 5.0, 1.6), (1.0, 12.0, 2.4))
SIDE_PX, N = 128, 120
# Series whose intervals are looked at together: errors of one go together.
TOGETHER = 8
# Least and largest share of sections that 90 % intervals may hold, of so many.
LEAST_COVER, LARGEST_RATIO = 0.8, 3.0


def spaced(seed: int, n: int = N) -> Floats:
    """Positions (n,) at spacings of a half to one and a half."""
    return np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.5, n))


def of_few_structures(positions: Floats, seed: int, noise: float = 0.25) -> Floats:
    """Similarities (n, n) of planes whose long structures are few, as coarse ones are, and whose short ones many."""
    rng = np.random.default_rng(seed)
    apart = np.square(np.subtract.outer(positions, positions))
    parts = []
    for share, across, within in STRUCTURES:
        count = int(SIDE_PX**2 / (4 * np.pi * within**2))
        values, vectors = np.linalg.eigh(np.exp(-apart / (4 * across**2)))
        root = vectors * np.sqrt(np.maximum(values, 0))
        parts.append(share * root @ rng.standard_normal((len(positions), count)) / np.sqrt(count))
    pixels = 4000
    total = np.sqrt(sum(share**2 for share, *_ in STRUCTURES))
    parts.append(noise * total * rng.standard_normal((len(positions), pixels)) / np.sqrt(pixels))
    return np.corrcoef(np.concatenate(parts, axis=1))


def chance_of_parts(positions: Floats, seed: int, begins: Floats | None, finer: float) -> float:
    """Logarithm to base 10 of the chance that parts of planes differ as they do."""
    found = disagreement(patches_of(positions, seed, begins, finer), positions)
    return 0.0 if found is None else float(np.log10(max(found.chance, 1e-300)))


def height_of_parts(seed: int, finer: float) -> float:
    """What parts differ by where a border moves over the planes, as part of the trend it makes: mean of four series."""
    share = (np.linspace(0, 1, N)[:, None] >= moving_border().ravel()).mean(axis=1)
    heights = []
    for part in range(4):
        positions = spaced(1000 * seed + part)
        found = disagreement(patches_of(positions, 1000 * seed + part, moving_border(), finer), positions)
        heights.append(0.0 if found is None else found.height)
    return float(np.mean(heights) / np.log(1 + share * (finer - 1)).std())


def planes(seed: int, blur_px: float, n: int = 60, within: tuple[float, float] = (1.5, 1.5)) -> npt.NDArray[np.float32]:
    """Planes (n, rows, columns) of structures alike; blur grows along the series."""
    drawn = np.random.default_rng(seed).standard_normal((n, SIDE_PX, SIDE_PX), dtype=np.float32)
    drawn = gaussian_filter(drawn, (5, *within), mode="wrap")
    drawn /= drawn.std()
    blurred = [gaussian_filter(plane, blur_px * k / n) for k, plane in enumerate(drawn)] if blur_px else list(drawn)
    noise = 0.2 * np.random.default_rng(seed + 1).standard_normal(drawn.shape, dtype=np.float32)
    return np.stack(blurred) + noise


def length_ratio(seed: int, blur_px: float) -> float:
    """Greatest length of structures within planes over the least one."""
    found = lengths_px(variograms(planes(seed, blur_px), 0, 60))
    assert found is not None
    return float(found.max() / found.min())


def stripes(seed: int, strength: float, along_rows_px: float, which: int) -> float:
    """Part of planes that is stripes along columns (0), or how alike halves are (1): the median of some planes."""
    some = planes(seed, 0, 24, (1.5, along_rows_px))
    drawn = strength * np.random.default_rng(seed + 2).standard_normal((24, 1, SIDE_PX)).astype(np.float32)
    return float(np.median([striped_part(plane)[0, which] for plane in some + drawn]))


def cover(seed: int, which: int) -> float:
    """Share of sections in their 90 % intervals (0), or half an interval over the error (1), of some series."""
    shares, lengths = [], []
    for part in range(TOGETHER):
        truth = spaced(1000 * seed + part)
        found = estimate_positions(of_few_structures(truth, 1000 * seed + part))
        slope, offset = np.polyfit(found.positions, truth, 1)
        error = np.abs(slope * found.positions + offset - truth)
        half = 1.645 * slope * found.uncertainty
        shares.append(np.mean(error < half))
        lengths.append(np.median(half) / np.sqrt(np.mean(error**2)))
    return float((np.mean(shares), np.median(lengths))[which])


def sorts() -> Iterator[Sort]:
    """All sorts of series."""
    limit = float(np.log10(CHANCE_OF_PARTS))
    for name, of in (("even", spaced), ("waves", lambda s: np.cumsum(waves(N, 0.5, 1.6, 2.0, s)))):
        yield Sort(
            f"parts, one texture, {name}: log10 chance",
            lambda s, o=of: chance_of_parts(o(s), s, None, 1.0),
            limit,
            True,
        )
    stays = np.where(np.arange(8) < 4, 0.0, 2.0) * np.ones((8, 1))
    name = "parts, two textures that stay: log10 chance"
    yield Sort(name, lambda s: chance_of_parts(spaced(s), s, stays, 2.0), limit, True)
    for finer in (1.5, 2.0):
        name = f"parts, a texture {finer:g} times as fine grows into view: log10 chance"
        yield Sort(name, lambda s, f=finer: chance_of_parts(spaced(s), s, moving_border(), f), limit, False)
        name = f"the same: what parts differ by, of the trend of texture {finer:g}"
        yield Sort(name, lambda s, f=finer: height_of_parts(s, f), OF_TREND, True)
    yield Sort("lengths within planes, one texture: ratio", lambda s: length_ratio(s, 0.0), CHANGES, False)
    yield Sort("lengths within planes, blur grows to 2 px: ratio", lambda s: length_ratio(s, 2.0), CHANGES, True)
    for which, bound, name in ((0, LEAST_STRIPES, "part"), (1, LEAST_THROUGH, "halves alike")):
        yield Sort(f"stripes of half the contrast: {name}", lambda s, w=which: stripes(s, 0.5, 1.5, w), bound, True)
    yield Sort("no stripes: part", lambda s: stripes(s, 0.0, 1.5, 0), LEAST_STRIPES, False)
    yield Sort("no stripes, structures along rows: part", lambda s: stripes(s, 0.0, 6.0, 0), LEAST_STRIPES, False)
    name = "relative misfit, texture"
    yield Sort(name, lambda s: estimate_positions(textured(np.diff(spaced(s)), s)[1]).relative_misfit, MUCH, False)
    name = "relative misfit, pairs off by 0.1"
    yield Sort(name, lambda s: estimate_positions(contradictory(s, 0.1, 0.0, 20.0, 100)[1]).relative_misfit, MUCH, True)
    yield Sort(f"sections in 90 % intervals, {TOGETHER} series", lambda s: cover(s, 0), LEAST_COVER, True)
    yield Sort("half an interval over the error, median of these", lambda s: cover(s, 1), LARGEST_RATIO, False)


def main() -> int:
    """Measure all, print and keep the table; 1 if a constant does not part the sorts."""
    rows = [sort.row(range(SEEDS)) for sort in sorts()]
    report("zspacing_texture", rows)
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
