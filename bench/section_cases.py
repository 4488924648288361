"""Series of sections as images, whose positions are known, and what spoils them: one function for each case.

Planes are of a texture of three scales. A Gaussian process along z draws each pixel, at the positions themselves: no
grid lies between them. Within planes it is smoothed, over their edges. Noise of pixels comes on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gpustitch.model.arrays import Floats

Planes = npt.NDArray[np.float32]

# Part of the contrast, length along z in sections and within planes in pixels, of each scale of the texture.
SCALES = ((0.6, 2.0, 1.0), (0.8, 5.0, 1.6), (1.0, 12.0, 2.4))
N, SIDE_PX, NOISE = 150, 128, 0.25
# The range that sections are compared in, and damaged sections in a row, which are more.
MAX_LAG, DAMAGED = 10, 15
# Brightness of borders, as that of aligned stacks: far below the tissue.
BLACK = -3.0
# Keeps the covariance of near sections from having no root.
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Series:
    """Planes (n, rows, columns) as recorded, their positions (n,) in sections, and what is known of faults.

    ``faults`` are types of fault and sections that the finder may name; ``pieces`` (n,) numbers the parts of the series
    between which the range tells no distance.
    """

    planes: Planes
    positions: Floats
    pieces: npt.NDArray[np.int64]
    faults: frozenset[tuple[str, int]] = frozenset()


def tissue(positions: Floats, rng: np.random.Generator, along: float = 1.0) -> Planes:
    """Planes (n, SIDE_PX, SIDE_PX) of contrast 1, without noise; structures are ``along`` times as long along z."""
    apart = np.square(np.subtract.outer(positions, positions))
    total = np.zeros((len(positions), SIDE_PX, SIDE_PX), np.float32)
    for share, length, within in SCALES:
        covariance = np.exp(-apart / (4 * (along * length) ** 2)) + _LEAST_VARIANCE * np.eye(len(positions))
        root = np.linalg.cholesky(covariance).astype(np.float32)
        drawn = (root @ rng.standard_normal((len(root), SIDE_PX**2), dtype=np.float32)).reshape(total.shape)
        smooth = ndimage.gaussian_filter(drawn, (0, within, within), mode="wrap")
        total += np.float32(share / smooth.std()) * smooth
    found: Planes = total / total.std()
    return found


def scattered(rng: np.random.Generator, n: int = N) -> Floats:
    """Positions (n,) at spacings of 0.4 to 1.6, each by itself."""
    return np.cumsum(rng.uniform(0.4, 1.6, n))


def drawn(positions: Floats, rng: np.random.Generator, along: float = 1.0) -> Series:
    """The series of a tissue at positions (n,), with noise."""
    planes = tissue(positions, rng, along)
    return Series(_noisy(planes, rng), positions, np.zeros(len(planes), np.int64))


def _noisy(planes: Planes, rng: np.random.Generator) -> Planes:
    return planes + np.float32(NOISE) * rng.standard_normal(planes.shape, dtype=np.float32)


def clean(seed: int) -> Series:
    """Sections that lie on each other and are evenly bright."""
    rng = np.random.default_rng(seed)
    return drawn(scattered(rng), rng)


def waves(seed: int) -> Series:
    """Spacing that swings two to three times by 2.5 to 3.5 to 1, and scatters by a tenth."""
    rng = np.random.default_rng(seed)
    ratio, periods, phase = rng.uniform(2.5, 3.5), rng.uniform(2, 3), rng.uniform(0, 2 * np.pi)
    swing = (ratio - 1) / (ratio + 1) * np.sin(2 * np.pi * periods * np.arange(N) / N + phase)
    return drawn(np.cumsum((1 + swing) * rng.uniform(0.9, 1.1, N)), rng)


def ion_beam(seed: int) -> Series:
    """As FIB-SEM cuts: spacing comes and goes by a third every 50 sections or so, and scatters by a tenth.

    Structures are half as long again as those of other cases.
    """
    rng = np.random.default_rng(seed)
    drift = ndimage.gaussian_filter1d(rng.standard_normal(N), 6)
    spacing = np.exp(0.3 * drift / drift.std()) * np.maximum(rng.normal(1, 0.1, N), 0.3)
    return drawn(np.cumsum(spacing / spacing.mean()), rng, 1.5)


def off_place(seed: int) -> Series:
    """Each section off its place across the plane, by one to two pixels along each axis (root mean square)."""
    rng = np.random.default_rng(seed)
    made, px = clean(seed), rng.uniform(1, 2)
    moved = [ndimage.shift(plane, rng.normal(0, px, 2), order=1, mode="wrap") for plane in made.planes]
    return replace(made, planes=np.stack(moved))


def bordered(seed: int) -> Series:
    """Black borders that are 1 to 12 pixels wide, of each section its own, as an alignment leaves them."""
    rng, made = np.random.default_rng(seed), clean(seed)
    for plane in made.planes:
        top, bottom, left, right = rng.integers(1, 13, 4)
        plane[:top] = plane[-bottom:] = BLACK
        plane[:, :left] = plane[:, -right:] = BLACK
    return made


def shaded(seed: int) -> Series:
    """Gradients of brightness of half the contrast, of each section its own."""
    rng, made = np.random.default_rng(seed), clean(seed)
    across = np.linspace(-1.7, 1.7, SIDE_PX, dtype=np.float32)
    slope = rng.normal(0, 0.5, (2, N, 1, 1)).astype(np.float32)
    return replace(made, planes=made.planes + slope[0] * across[:, None] + slope[1] * across)


def damaged(seed: int) -> Series:
    """More damaged sections in a row than the range: a third of the tissue's contrast, and as much noise as tissue."""
    rng, made = np.random.default_rng(seed), clean(seed)
    begin = int(rng.integers(N // 4, N - N // 4 - DAMAGED))
    run = range(begin, begin + DAMAGED)
    noise = rng.standard_normal((DAMAGED, SIDE_PX, SIDE_PX), dtype=np.float32)
    made.planes[begin : begin + DAMAGED] = np.float32(0.3) * made.planes[begin : begin + DAMAGED] + noise
    return replace(made, faults=frozenset(("damaged", i) for i in run))


def second_tissue(seed: int) -> Series:
    """Another tissue, half as long along z, that grows over the plane from one side: from a tenth of it to nine."""
    rng = np.random.default_rng(seed)
    positions = scattered(rng)
    covered = SIDE_PX * np.linspace(0.1, 0.9, N)[:, None, None]
    both = np.where(np.arange(SIDE_PX) < covered, tissue(positions, rng, 0.5), tissue(positions, rng))
    return Series(_noisy(both, rng), positions, np.zeros(N, np.int64))


def blurred(seed: int) -> Series:
    """Blur that grows along the series, to between 1 and 2.5 pixels."""
    rng = np.random.default_rng(seed)
    positions, px = scattered(rng), rng.uniform(1, 2.5)
    planes = [ndimage.gaussian_filter(plane, px * i / N) for i, plane in enumerate(tissue(positions, rng))]
    return Series(_noisy(np.stack(planes), rng), positions, np.zeros(N, np.int64))


def curtained(seed: int) -> Series:
    """Stripes of half the contrast along the columns, which change over some four sections: curtains of an ion beam."""
    rng, made = np.random.default_rng(seed), clean(seed)
    stripes = ndimage.gaussian_filter1d(rng.standard_normal((N, SIDE_PX), dtype=np.float32), 4, axis=0)
    return replace(made, planes=made.planes + np.float32(0.5 / stripes.std()) * stripes[:, None])


def gapped(seed: int) -> Series:
    """Two gaps that are wider than the range."""
    rng = np.random.default_rng(seed)
    places = (N // 3 + int(rng.integers(-10, 11)), 2 * N // 3 + int(rng.integers(-10, 11)))
    spacing = rng.uniform(0.4, 1.6, N)
    spacing[list(places)] = rng.uniform(1.2, 2.0, 2) * MAX_LAG
    faults = frozenset(("missing", i - back) for i in places for back in (0, 1))
    return replace(drawn(np.cumsum(spacing), rng), pieces=np.searchsorted(places, np.arange(N), "right"), faults=faults)


def shuffled(seed: int) -> Series:
    """Sections in the order of names that count without leading zeros: 1, 10, 100, 101 ... 11, 110 ..."""
    made = clean(seed)
    order = np.argsort([str(i + 1) for i in range(N)], kind="stable")
    return replace(made, planes=made.planes[order], positions=made.positions[order])


CASES: dict[str, Callable[[int], Series]] = {
    "0 clean": clean,
    "1 waves of spacing": waves,
    "2 as FIB-SEM": ion_beam,
    "3 off place": off_place,
    "4 black borders": bordered,
    "5 uneven light": shaded,
    "6 run of damaged": damaged,
    "7 second tissue": second_tissue,
    "7 growing blur": blurred,
    "7 curtains": curtained,
    "7 gaps": gapped,
    "8 out of order": shuffled,
}
