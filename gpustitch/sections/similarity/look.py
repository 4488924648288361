"""A look at pairs of neighbouring planes: whether they lie on each other, and whether their brightness is even.

What is decided rests on evidence that cannot be chance or tissue:

- A shift is found twice, on two halves of the plane that lie as a chessboard's fields do. Chance gives two that differ.
- A displacement that differs over the plane is fitted on one half, and must make differences smaller on the other.
- Displacements of two pairs in a row must not be alike. Structures that run askew or widen move on from plane to plane;
  planes that were laid down anyhow move back, or anywhere.
- What is coarse in tissue changes more slowly from plane to plane than what is fine. Coarse brightness that changes at
  once, or that all planes share while nothing fine is shared, is uneven light.
- Stripes run through both halves of a plane, as tissue does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, to_host
from gpustitch.model.arrays import Floats
from gpustitch.sections.similarity.displaced import Displacement, moved
from gpustitch.sections.similarity.high_pass import Stripes, less_gaussian, striped_part
from gpustitch.sections.similarity.laid import DisplacementFit, peak, texture_of

# Degrees of displacement that are tried: shifts, turns and stretches, warps.
DEGREES = (0, 1, 3, 5, 8)
# Pixels of planes as they are looked at; larger ones are made smaller for that.
LOOK_PIXELS = 1 << 18
# Pairs looked at, the least that tell anything, and the least side of a plane that does.
PAIRS, LEAST_PAIRS, LEAST_SIDE = 24, 6, 32
# How far a plane is from the one that tells how fast what is coarse changes, in planes.
NEXT = 3
# A pair is off if both halves say so to half of their mean, which is at least this many pixels.
_LEAST_OFF_PX, _AGREEMENT = 0.2, 0.5
# Part of the pairs that are off by chance, at most; and pairs beyond that.
_BY_CHANCE, _BEYOND = 0.15, 1.0
# Least part of the differences that a higher degree takes away, and of the pairs in which it does. By chance it adds
# some, in nearly all.
_LEAST_GAIN, _LEAST_GAINING = 0.02, 0.75
# Structures run on if the mean correlation of displacements of two pairs in a row is above this by so many standard
# errors. It is -.5 where planes are laid down anyhow, 0 where each is laid on the one before, .7 to 1 in anatomy.
_RUNS_ON, _SURE = 0.25, 2.0
# Uneven light: least jump of what is coarse, and least part of what neighbours differ by that it makes.
_LEAST_JUMP, _LEAST_OF_DIFFERENCE = 0.05, 0.05
# Least correlation of what is coarse in planes far apart, and the most that what is fine has of it, each as a part of
# what neighbours have.
# And the least part of a plane that it is.
_LEAST_SHARED, _MOST_FINE, _LEAST_PART = 0.5, 0.25, 0.03
# Stripes: least part of a plane's variance, and least correlation of its halves. Measured: .04 and .57 at most in
# textures along one direction alike, .07 and .26 in others; .17 and .8 where curtains have half of their contrast.
LEAST_STRIPES, LEAST_THROUGH = 0.08, 0.65
# Longest side, in Gaussians, of a plane whose coarse part is light rather than tissue; least and greatest reach.
_SIGMAS, _LEAST_REACH_PX, _PART_OF_SIDE = 16, 8, 8


@dataclass(frozen=True)
class PairLook:
    """What one pair of neighbours shows.

    Attributes
    ----------
    shifts_px
        float64 (2, 2): shift along rows and columns, found on each half of the plane.
    gains
        float64 (degrees,): part of the differences of one half that goes with a displacement found on the other.
    lengths_px
        float64 (degrees,): RMS of the displacement over the plane.
    alike
        float64 (degrees,): correlation of the displacement with that of the next pair, without their means taken out;
        NaN where there is none.
    coarse, fine
        Correlations with the neighbour, the plane :data:`NEXT` after that, and one far away: (3,). NaN where unknown.
    coarse_part
        Part of the plane's variance that is coarse.
    stripes
        What :func:`gpustitch.sections.similarity.high_pass.striped_part` found.
    """

    shifts_px: Floats
    gains: Floats
    lengths_px: Floats
    alike: Floats
    coarse: Floats
    fine: Floats
    coarse_part: float
    stripes: Floats


@dataclass(frozen=True)
class Looked:
    """What all pairs show.

    Attributes
    ----------
    off_px
        Median distance of neighbours across the plane, in pixels; 0 if that may be chance.
    degree
        Degree of the displacement; 0 for shifts.
    stripes
        What stripes run along, if there are any.
    light
        "changes" if coarse brightness changes from plane to plane, "stays" if planes share it; "" if it is tissue's.
    is_off
        Whether neighbours do not lie on each other.
    """

    is_off: bool = False
    off_px: float = 0.0
    degree: int = 0
    light: str = ""
    stripes: Stripes = "none"


def coarse_px(shape: tuple[int, int]) -> float:
    """Gaussian, in pixels, beyond which differences of brightness are taken for light, if they behave so."""
    return max(shape) / _SIGMAS


def reach_px(shape: tuple[int, int], off_px: float) -> int:
    """Greatest shift that is looked for where neighbours are ``off_px`` apart."""
    most = max(_LEAST_REACH_PX, max(shape) // _PART_OF_SIDE)
    return int(min(most, max(_LEAST_REACH_PX, np.ceil(6 * off_px))))


def look(plane: Array, neighbour: Array, following: Array | None, others: list[Array | None]) -> PairLook:
    """Look at a plane, the next one, the one after that, the one :data:`NEXT` after the next, and one far away.

    Of the last three some may be None.

    Planes are float32 (rows, columns), NaN where a pixel is not used, and at least :data:`LEAST_SIDE` pixels long.
    """
    shape = (plane.shape[0], plane.shape[1])
    where = Displacement(shape, max(DEGREES))
    fit = DisplacementFit(where)
    reference, used = texture_of(plane)
    texture, texture_used = texture_of(neighbour)
    found = where.zeros()
    found[:, 0] = peak(reference, texture, reach_px(shape, np.inf))
    ny, nx = fit.grid
    board = (np.add.outer(np.arange(ny) // 2, np.arange(nx) // 2) % 2).ravel()
    sums = _sums(fit, reference, used, texture, texture_used, found)
    # Each half goes on alone from whole pixels: where both went together they would agree.
    shifts = np.stack([found[:, 0] + fit.step(sums * (board == half), 0)[:, 0] for half in (0, 1)])
    sums = _stepped(fit, (reference, used), (texture, texture_used), found, sums)
    halves = [sums * (board == half) for half in (0, 1)]
    gains = np.array([_gain(fit, halves, degree) for degree in DEGREES])
    fields = _fields(fit, found, sums)
    lengths = np.hypot(fields[..., 0], fields[..., 1])
    alike = np.full(len(DEGREES), np.nan)
    if following is not None:
        third = texture_of(following)
        then = where.zeros()
        then[:, 0] = peak(texture, third[0], reach_px(shape, np.inf))
        sums = _stepped(fit, (texture, texture_used), third, then, _sums(fit, texture, texture_used, *third, then))
        alike = _alike(fields, _fields(fit, then, sums))
    sigma = coarse_px(shape)
    coarse, fine = np.full(3, np.nan), np.full(3, np.nan)
    parts = _parts(plane, sigma)
    for i, other in enumerate([neighbour, *others]):
        if other is not None:
            theirs = _parts(other, sigma)
            if i != 1:
                at = found if i == 0 else _whole_shift(reference, other, where)
                theirs = (_moved(theirs[0], where, at), _moved(theirs[1], where, at))
            coarse[i], fine[i] = (_correlation(*both) for both in zip(parts, theirs, strict=True))
    variances = [float(np.var(known)) if (known := _known(part)).size else 0.0 for part in parts]
    return PairLook(
        shifts,
        gains,
        np.sqrt(np.mean(np.square(lengths), axis=1)),
        alike,
        coarse,
        fine,
        variances[0] / max(sum(variances), 1e-30),
        striped_part(plane),
    )


def judged(pairs: list[PairLook]) -> Looked:
    """What pairs show together; nothing if they are fewer than :data:`LEAST_PAIRS`."""
    if len(pairs) < LEAST_PAIRS:
        return Looked()
    shifts = np.stack([pair.shifts_px for pair in pairs])
    middle, apart = shifts.mean(axis=1), np.linalg.norm(shifts[:, 0] - shifts[:, 1], axis=1)
    length = np.linalg.norm(middle, axis=1)
    agree = (apart < _AGREEMENT * length) & (length > _LEAST_OFF_PX)
    is_off = bool(np.count_nonzero(agree) > _BY_CHANCE * len(pairs) + _BEYOND)
    degree = _degree(np.stack([pair.gains for pair in pairs]))
    lengths = np.stack([pair.lengths_px for pair in pairs])[:, DEGREES.index(degree)]
    alike = np.stack([pair.alike for pair in pairs])[:, DEGREES.index(degree)]
    is_off = (is_off or degree > 0) and not _runs_on(alike[np.isfinite(alike)])
    return Looked(is_off, float(np.median(lengths)) if is_off else 0.0, degree, _light(pairs), _stripes(pairs))


def _stripes(pairs: list[PairLook]) -> Stripes:
    part, alike = np.median([pair.stripes for pair in pairs], axis=0).T
    along = (part > LEAST_STRIPES) & (alike > LEAST_THROUGH)
    if along.all():
        return "both"
    return "columns" if along[0] else "rows" if along[1] else "none"


def _runs_on(alike: Floats) -> bool:
    """Whether displacements (pairs,) of pairs in a row are alike for sure."""
    if len(alike) < LEAST_PAIRS:
        return False
    return float(alike.mean() - _SURE * alike.std(ddof=1) / np.sqrt(len(alike))) > _RUNS_ON


def _degree(gains: Floats) -> int:
    """The degree that gains most, if it gains more than a shift for sure."""
    best = int(np.argmax(gains.mean(axis=0)))
    beyond = gains[:, best] - gains[:, 0]
    # Folds and tears displace parts of a few planes; the median does not heed them.
    is_sure = np.count_nonzero(beyond > 0) >= _LEAST_GAINING * len(beyond)
    return DEGREES[best] if is_sure and np.median(beyond) > _LEAST_GAIN else 0


def _light(pairs: list[PairLook]) -> str:
    """Whether coarse brightness is light: see :class:`Looked`."""
    with np.errstate(all="ignore"):
        coarse, fine = (_medians(np.stack([getattr(pair, name) for pair in pairs])) for name in ("coarse", "fine"))
    part = float(np.median([pair.coarse_part for pair in pairs]))
    if np.isfinite(coarse[:2]).all() and np.isfinite(fine[0]):
        # What is coarse at distance 0 if it changed evenly from there.
        jump = 1 - coarse[0] - max(0.0, coarse[0] - coarse[1]) / NEXT
        different = 1 - part * coarse[0] - (1 - part) * fine[0]
        if jump > _LEAST_JUMP and part * jump > _LEAST_OF_DIFFERENCE * different:
            return "changes"
    # Noise lowers what is fine in neighbours, too: that is no sign of tissue that changed.
    is_gone = fine[2] * coarse[0] < _MOST_FINE * coarse[2] * fine[0]
    is_shared = coarse[2] > _LEAST_SHARED and is_gone and part * coarse[2] > _LEAST_PART
    return "stays" if is_shared else ""


def _medians(values: Floats) -> Floats:
    """Medians (3,) of what is known, NaN where too little is."""
    known = np.isfinite(values).sum(axis=0) >= LEAST_PAIRS
    return np.array([np.nanmedian(values[:, i]) if known[i] else np.nan for i in range(values.shape[1])])


def _sums(
    fit: DisplacementFit, reference: Array, used: Array, texture: Array, texture_used: Array, at: Floats
) -> Floats:
    values, is_used = moved(texture, 1 - texture_used, fit.where, at)
    return fit.sums(reference, values, used if is_used is None else used * is_used)


def _stepped(
    fit: DisplacementFit, reference: tuple[Array, Array], texture: tuple[Array, Array], at: Floats, sums: Floats
) -> Floats:
    """Two steps of the shift ``at``, in place, from its sums; the sums there."""
    for _ in range(2):
        at += fit.step(sums, 0)
        sums = _sums(fit, *reference, *texture, at)
    return sums


def _fields(fit: DisplacementFit, at: Floats, sums: Floats) -> Floats:
    """Displacement (degrees, cells, 2) of each degree, in pixels."""
    return np.stack([at[:, 0] + fit.terms @ fit.step(sums, degree).T for degree in DEGREES])


def _alike(one: Floats, two: Floats) -> Floats:
    """Correlation (degrees,) of displacements (degrees, cells, 2) about 0."""
    norms = np.sqrt((one * one).sum(axis=(1, 2)) * (two * two).sum(axis=(1, 2)))
    alike: Floats = (one * two).sum(axis=(1, 2)) / np.maximum(norms, 1e-12)
    return alike


def _gain(fit: DisplacementFit, halves: list[Floats], degree: int) -> float:
    """Part of the squared differences that a displacement of a degree takes away where it was not fitted."""
    gained = total = 0.0
    for mine, others in zip(halves, halves[::-1], strict=True):
        y, x = (fit.terms @ fit.step(mine, degree).T).T
        yy, yx, xx, of_y, of_x, squares = others[:6]
        gained += float((2 * (of_y * y + of_x * x) - (yy * y**2 + 2 * yx * y * x + xx * x**2)).sum())
        total += float(squares.sum())
    return gained / total if total > 0 else 0.0


def _parts(plane: Array, sigma_px: float) -> tuple[Array, Array]:
    """What is coarse and what is fine in a plane."""
    fine = less_gaussian(plane, sigma_px)
    with np.errstate(invalid="ignore"):  # what is infinite is in both, and not used
        return plane - fine, fine


def _whole_shift(reference: Array, other: Array, where: Displacement) -> Floats:
    """Where a plane lies on a texture, in whole pixels; no shift if that may be chance."""
    at = where.zeros()
    at[:, 0] = peak(reference, texture_of(other)[0], reach_px(where.shape, np.inf))
    return at


def _moved(plane: Array, where: Displacement, at: Floats) -> Array:
    """A plane at displaced places, NaN where it is not used."""
    xp = namespace(plane)
    unused = ~xp.isfinite(plane)
    values, used = moved(xp.where(unused, np.float32(0), plane), unused.astype(np.float32), where, at)
    return values if used is None else xp.where(used, values, np.float32(np.nan))


def _known(values: Array) -> npt.NDArray[np.float64]:
    host = to_host(values).astype(np.float64)
    return host[np.isfinite(host)]


def _correlation(a: Array, b: Array) -> float:
    """Pearson's coefficient over pixels that both have; NaN if there is none."""
    xp = namespace(a)
    both = xp.isfinite(a) & xp.isfinite(b)
    left, right = a[both].astype(np.float64), b[both].astype(np.float64)
    if left.size < 2:
        return float("nan")
    left, right = left - left.mean(), right - right.mean()
    norms = float((left * left).sum()) * float((right * right).sum())
    return float((left * right).sum()) / norms**0.5 if norms > 0 else float("nan")
