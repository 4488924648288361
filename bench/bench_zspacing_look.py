"""Thresholds of the look at pairs of planes: what it decides in series that are known, measured again.

Rows are as those of :mod:`bench.bench_zspacing_model`; a figure is 1 where a series is judged as it is, else 0.
:func:`without_effect` says which thresholds none of the series depends on.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage

from bench.bench_zspacing_faults import FACTORS
from bench.bench_zspacing_model import SEEDS, Sort
from bench.common import report
from gpustitch.model.arrays import Floats
from gpustitch.sections.similarity import look as looking
from gpustitch.sections.similarity.look import NEXT, Looked, PairLook, judged, look

N, SIDE, PAIRS = 24, 96, 10
# Sizes of what is looked at, and where a verdict is not made from pairs.
_NO_THRESHOLDS = ("LOOK_PIXELS", "PAIRS", "LEAST_SIDE", "NEXT", "_SIGMAS", "_LEAST_REACH_PX", "_PART_OF_SIDE")


def tissue(seed: int, noise: float = 0.2, across: float = 5.0) -> Floats:
    """Planes (n, rows, columns) of two textures; the coarser one is twice as long ``across`` them."""
    rng = np.random.default_rng(seed)
    parts = []
    for share, length, within in ((0.8, across, 1.5), (1.0, 2 * across, 3.0)):
        part = ndimage.gaussian_filter(rng.standard_normal((N, SIDE, SIDE)), (length, within, within), mode="wrap")
        parts.append(share * part / part.std())
    planes: Floats = parts[0] + parts[1] + noise * rng.standard_normal((N, SIDE, SIDE))
    return planes


def moved(planes: Floats, places: Floats) -> Floats:
    """Planes at places (n, 2) across, in pixels."""
    return np.stack([ndimage.shift(p, at, order=1, mode="wrap") for p, at in zip(planes, places, strict=True)])


def places(seed: int, px: float) -> Floats:
    """A place (n, 2) of its own for each plane."""
    return np.random.default_rng([seed, 1]).normal(0, px, (N, 2))


def jittered(seed: int, px: float) -> Floats:
    """Each plane at a place of its own."""
    return moved(tissue(seed), places(seed, px))


def walked(seed: int, px: float) -> Floats:
    """Each plane laid on the one before, about."""
    return moved(tissue(seed), np.cumsum(np.random.default_rng([seed, 2]).normal(0, px, (N, 2)), axis=0))


def askew(seed: int, px: float) -> Floats:
    """Structures that run on by some pixels a plane."""
    return moved(tissue(seed), np.outer(np.arange(N), (0.0, px)))


def turned(seed: int, degrees: float) -> Floats:
    """Each plane turned by an angle of its own."""
    angles = np.random.default_rng([seed, 3]).normal(0, degrees, N)
    planes = zip(tissue(seed), angles, strict=True)
    return np.stack([ndimage.rotate(p, angle, reshape=False, order=1, mode="wrap") for p, angle in planes])


def torn(seed: int, number: int) -> Floats:
    """Some planes whose halves lie apart."""
    planes = tissue(seed)
    for i in np.random.default_rng([seed, 4]).choice(N, number, replace=False):
        planes[i, :, SIDE // 2 :] = np.roll(planes[i], 6, axis=0)[:, SIDE // 2 :]
    return planes


def lit(seed: int, changing: float, staying: float, across: float = 5.0) -> Floats:
    """Gradients of light of each plane, and a light that all planes share."""
    light = np.linspace(-1.7, 1.7, SIDE)
    own = np.random.default_rng([seed, 5]).normal(0, changing, (2, N, 1, 1))
    planes: Floats = tissue(seed, across=across) + own[0] * light[:, None] + own[1] * light + staying * light**2
    return planes


def curtained(seed: int, strength: float) -> Floats:
    """Stripes along the columns of each plane."""
    planes: Floats = tissue(seed) + strength * np.random.default_rng([seed, 6]).standard_normal((N, 1, SIDE))
    return planes


def off(found: Looked) -> bool:
    """Planes are off by shifts only."""
    return found.is_off and found.degree == 0


SERIES: dict[str, tuple[Callable[[int], Floats], Callable[[Looked], bool]]] = {
    "in register": (tissue, lambda found: found == Looked()),
    "in register, half of it noise": (lambda s: tissue(s, 1.2), lambda found: found == Looked()),
    "in register, thick": (lambda s: tissue(s, across=1.5), lambda found: found == Looked()),
    "two of 24 torn": (lambda s: torn(s, 2), lambda found: found == Looked()),
    "in register, hardly any tissue": (lambda s: tissue(s, 4.0), lambda found: found == Looked()),
    "off by 0.5 px": (lambda s: jittered(s, 0.5), off),
    "off by 2 px": (lambda s: jittered(s, 2.0), off),
    "off by 0.03 px": (lambda s: jittered(s, 0.03), lambda found: not found.is_off),
    "laid each on the one before": (lambda s: walked(s, 0.7), lambda found: found.is_off),
    "askew by 1 px": (lambda s: askew(s, 1.0), lambda found: found == Looked()),
    "askew by 1 px, off by 0.2 px": (lambda s: moved(askew(s, 1.0), places(s, 0.2)), lambda found: not found.is_off),
    "turned by 1 degree": (lambda s: turned(s, 1.0), lambda found: found.is_off and found.degree > 0),
    "turned by 0.04 degree": (lambda s: turned(s, 0.04), lambda found: found.degree == 0),
    "curtains": (lambda s: curtained(s, 0.6), lambda found: found.stripes == "columns"),
    "hardly any curtains": (lambda s: curtained(s, 0.2), lambda found: found.stripes == "none"),
    "light that changes": (lambda s: lit(s, 0.3, 0.0), lambda found: found.light == "changes"),
    "light that changes, thick": (lambda s: lit(s, 0.3, 0.0, 1.5), lambda found: found.light == "changes"),
    "light that changes, half of it noise": (
        lambda s: lit(s, 0.4, 0.0) + tissue(s, 1.5) - tissue(s, 0.0),
        lambda found: found.light == "changes",
    ),
    "light that hardly changes": (lambda s: lit(s, 0.02, 0.0), lambda found: found == Looked()),
    "light that stays, thick": (lambda s: lit(s, 0.0, 2.0, 1.5), lambda found: found.light == "stays"),
    "light that hardly stays, thick": (lambda s: lit(s, 0.0, 0.15, 1.5), lambda found: found == Looked()),
}


@functools.lru_cache(maxsize=64)
def pairs_of(name: str, seed: int) -> tuple[PairLook, ...]:
    """What pairs of a series show."""
    planes = SERIES[name][0](seed).astype(np.float32)
    found = []
    for i in np.unique(np.linspace(0, N - 3, PAIRS).astype(int)):
        later = planes[i + 1 + NEXT] if i + 1 + NEXT < N else None
        found.append(look(planes[i], planes[i + 1], planes[i + 2], [later, planes[(i + N // 2) % N]]))
    return tuple(found)


def sorts() -> Iterator[Sort]:
    """All sorts of series."""
    for name, (_, is_right) in SERIES.items():
        yield Sort(name, lambda s, n=name, r=is_right: float(r(judged(list(pairs_of(n, s))))), 0.5, True)


def without_effect(seeds: range) -> list[str]:
    """Thresholds that may be a third and three times what they are, and all series are judged as before."""
    every = [list(pairs_of(name, seed)) for name in SERIES for seed in seeds]
    usual = [judged(pairs) for pairs in every]
    idle = []
    for name, value in list(vars(looking).items()):
        if not name.isupper() or name in _NO_THRESHOLDS or not isinstance(value, int | float):
            continue
        changed = False
        for factor in FACTORS:
            setattr(looking, name, type(value)(value * factor) or value)
            try:
                changed = changed or any(judged(pairs) != found for pairs, found in zip(every, usual, strict=True))
            finally:
                setattr(looking, name, value)
        if not changed:
            idle.append(name)
    return idle


def main() -> int:
    """Measure all, print and keep the table; 1 if a row does not hold."""
    rows = [sort.row(range(SEEDS)) for sort in sorts()]
    report("zspacing_look", rows)
    print("thresholds without effect:", ", ".join(without_effect(range(3))))
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
