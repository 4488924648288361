"""Illumination of the camera frame, fitted to the percentile bin of every pixel.

Taken over many frames of tissue, the percentile of each pixel follows the light. A robust fit finds a smooth model of
these percentiles. The start holds even if nearly half of the pixels contradict it: least trimmed squares from random
samples (Rousseeuw and Van Driessen 2006). From there, reweighted least squares over all pixels minimise Tukey's
bisquare (Yohai 1987). The result depends on the random start only where the data allow several answers. So different
seeds agree, unlike the seeds of a plain RANSAC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, to_host
from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Bools, Floats, HostArray
from gpustitch.oblique.flat.basis import QUADRATIC, Basis, Degrees
from gpustitch.ops.robust import MAD_TO_SIGMA

FlatModel = Literal["reference", "product", "smooth"]

# Of the light (reference) or its logarithm.
_DEGREES: dict[str, Degrees] = {
    "reference": QUADRATIC,
    "product": QUADRATIC,
    "smooth": tuple((i, j) for i in range(5) for j in range(5 - i)),
}
# A pixel that counted in fewer frames than this fraction of the best seen pixels' frames shows noise.
_LEAST_COVERAGE = 0.1
# For the start: random samples of each size, pixels to draw from, and refits of each sample to its better half.
_TRIALS = 100
_TRIAL_PIXELS = 1 << 12
_CONCENTRATIONS = 4
# Pixels of the coarse grid on which the bisquare iterations run; the last iterations take all pixels.
_COARSE_PIXELS = 1 << 17
# Bisquare: residuals beyond this many standard deviations weigh nothing; 95 % efficiency on normal errors.
_BISQUARE = 4.685
# Standard deviation of a value known only to a bin, in bins.
_BIN_SIGMA = 12**-0.5


@dataclass(frozen=True)
class Grid:
    """Numbers of some rows and columns of a frame of ``shape``, evenly spaced."""

    shape: tuple[int, int]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]

    def spread(self, image: HostArray) -> HostArray:
        """An image (rows, columns) of these on all pixels: each has what the nearest one has."""
        near = (_nearest(numbers, n) for numbers, n in zip((self.rows, self.columns), self.shape, strict=True))
        return image[np.ix_(*near)]


@dataclass(frozen=True)
class FlatFit:
    """A fitted illumination.

    Attributes
    ----------
    counts
        Brightness of each pixel in camera counts above ``dark``, float32, shape (rows, columns).
    coefficients
        Coefficients of ``x^2``, ``x``, ``y`` and ``1``, x and y in pixels. They give the counts or, for the product
        model, the logarithm of the counts. Of the smooth model, those of products of Legendre polynomials.
    used_pixels
        Fraction of the frame's pixels that the fit used.
    inlier_fraction
        Fraction of the used pixels that had any weight in the end.
    residual
        Robust standard deviation of the pixels about the fit, as a fraction of the fit's mean.
    model
        The model fitted.
    basis, terms
        The model's polynomials, and the coefficient of each.
    """

    counts: npt.NDArray[np.float32]
    coefficients: dict[str, float]
    used_pixels: float
    inlier_fraction: float
    residual: float
    model: FlatModel = "reference"
    basis: Basis = field(repr=False, kw_only=True)
    terms: Floats = field(repr=False, kw_only=True)

    @property
    def flat(self) -> npt.NDArray[np.float32]:
        """The illumination scaled to maximum 1, float32."""
        return np.asarray(self.counts / self.counts.max(), dtype=np.float32)


@dataclass(frozen=True)
class FlatOptions:
    """How percentile bins become a flat.

    ``n_bins``, ``values_per_bin`` and ``background`` are those of the histogram. ``dark`` is the count that the camera
    shows without light. It is subtracted, so that the flat is proportional to the light. ``min_samples`` is the number
    of pixels in each random sample, ``seed`` the start of the random numbers. A bin stands for its least value or, if
    it ``is_centred``, for the mean of its values.
    """

    n_bins: int = 1024
    values_per_bin: int = 4
    background: int = 150
    dark: float = 0.0
    min_samples: int = 20
    model: FlatModel = "reference"
    seed: int = 0
    is_centred: bool = False

    def __post_init__(self) -> None:
        if self.model not in get_args(FlatModel):
            raise ParameterError(f"`model` must be one of {', '.join(get_args(FlatModel))}, not {self.model!r}")
        if self.min_samples < len(_DEGREES[self.model]):
            raise ParameterError(
                f"`min_samples` must be at least {len(_DEGREES[self.model])}, the number of terms of the "
                f"{self.model} model, not {self.min_samples}"
            )
        if not 0 <= self.dark < max(self.background, 1):
            raise ParameterError(
                f"`dark` must be from 0 to less than `background` ({self.background}), not {self.dark}: "
                "values under the background never count"
            )
        if self.seed < 0:
            raise ParameterError(f"`seed` must be at least 0, not {self.seed}")


def fit_flat(bins: Array, count: Array, options: FlatOptions, on: Grid | None = None) -> FlatFit:
    """Fit the illumination to percentile bins.

    A pixel is used if its bin is at least the background's bin and not the last one (saturated). It must also have
    counted in at least a tenth as many frames as the best seen pixels. A pixel outside the tissue counts now and then
    by noise alone, and says nothing about the light.

    The fit assumes that all pixels saw similar tissue over the frames. If one side of the frame always saw dimmer
    tissue, the flat is too dim there. The remedy is more frames, of more tiles.

    Parameters
    ----------
    bins
        Percentile bin of each pixel, integers, shape (rows, columns):
        `gpustitch.oblique.flat.histogram.percentile_bin`.
    count
        Number of frames in which each pixel's value counted, same shape.
    options
        Bins, background, model.
    on
        The rows and columns of the frame of which these are; None for all.

    Returns
    -------
    FlatFit
        The fitted illumination. Its ``counts`` are at least ``background - dark`` and at least 1.

    Raises
    ------
    ParameterError
        If fewer pixels than ``min_samples`` can be used; the text says why and what to change.

    Notes
    -----
    The reference model is that of spimstitch, ``A x^2 + B x + C y + D``. spimstitch fits it by an unseeded RANSAC.
    The product model is the exponential of such a polynomial: a Gaussian beam along x, attenuated along y. The smooth
    model is the exponential of a polynomial of degree 4 in x and y, which follows tissue too where some is always dim.
    """
    bins, count = to_host(bins), to_host(count)
    use = usable(bins, count, options)
    values, least_sigma = _values(bins, use, options)
    basis = Basis((use.shape[0], use.shape[1]) if on is None else on.shape, _DEGREES[options.model])
    fitted = basis if on is None else basis.part(on.rows, on.columns)
    start = _trimmed_start(fitted, values, use, least_sigma, options)
    fit = _reweighted(fitted, start, values, use, least_sigma)
    image = _counts(basis, fit.terms, options)
    return FlatFit(
        counts=image.astype(np.float32),
        coefficients=basis.coefficients(fit.terms),
        used_pixels=float(use.mean()),
        inlier_fraction=fit.inlier_fraction,
        residual=fit.sigma if _is_log(options) else fit.sigma / float(image.mean()),
        model=options.model,
        basis=basis,
        terms=fit.terms,
    )


def refitted_counts(
    fit: FlatFit, bins: Array, count: Array, at: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], options: FlatOptions
) -> Floats:
    """Counts, as of `FlatFit`, that the model of ``fit`` has where it is fitted to other percentiles.

    Parameters
    ----------
    fit
        The fit to start from, of the model of ``options``.
    bins, count
        As in `fit_flat`, of some rows and columns of the frame.
    at
        Numbers of these rows and columns.
    options
        Bins, background, model.

    Returns
    -------
    float64 of the shape of ``bins``.

    Raises
    ------
    ParameterError
        As in `fit_flat`.
    """
    use = usable(bins, count, options)
    values, least_sigma = _values(bins, use, options)
    basis = fit.basis.part(*at)
    return _counts(basis, _reweighted(basis, fit.terms, values, use, least_sigma).terms, options)


def counts_of(bins: Array, options: FlatOptions) -> Floats:
    """Counts above ``dark`` that percentile bins stand for, float64, at least 1."""
    middle = (options.values_per_bin - 1) / 2 if options.is_centred else 0.0
    return np.maximum(bins * float(options.values_per_bin) + (middle - options.dark), 1.0)


def _is_log(options: FlatOptions) -> bool:
    return options.model != "reference"


def _values(bins: Array, use: Bools, options: FlatOptions) -> tuple[Floats, float]:
    """What the polynomials describe, and the least standard deviation that the width of a bin allows."""
    counts, bin_sigma = counts_of(bins, options), options.values_per_bin * _BIN_SIGMA
    if _is_log(options):
        return np.log(counts), bin_sigma / float(np.median(counts[use]))
    return counts, bin_sigma


def _counts(basis: Basis, terms: Floats, options: FlatOptions) -> Floats:
    surface = basis.surface(terms)
    return np.maximum(np.exp(surface) if _is_log(options) else surface, max(options.background - options.dark, 1.0))


def usable(bins: Array, count: Array, options: FlatOptions) -> Bools:
    """Which pixels a fit uses, as `fit_flat` has it; ParameterError if they are too few."""
    lit = bins >= options.background // options.values_per_bin
    lit &= count > 0
    saturated = bins >= options.n_bins - 1
    use: Bools = lit & ~saturated
    if use.any():
        use &= count >= _LEAST_COVERAGE * np.percentile(count[use], 99)
    found = int(np.count_nonzero(use))
    if found >= options.min_samples:
        return use
    if found == bins.size:
        remedy = "the frames are too small"
    elif np.count_nonzero(lit & saturated) > found:
        remedy = (
            f"most bright pixels reach the last of {options.n_bins} bins; raise `values_per_bin` or `n_bins`, unless "
            "the camera is saturated: then take frames of a lower exposure"
        )
    else:
        remedy = (
            f"hardly any values are from {options.background} to {options.n_bins * options.values_per_bin} counts; "
            "give frames that show tissue, lower `background` or raise `values_per_bin`"
        )
    raise ParameterError(
        f"the illumination cannot be fitted: only {found} of {bins.size} pixels can be used, but `min_samples` is "
        f"{options.min_samples}; {remedy}"
    )


@dataclass(frozen=True)
class _Robust:
    terms: Floats
    sigma: float
    inlier_fraction: float


def _reweighted(basis: Basis, terms: Floats, values: Floats, use: Bools, least_sigma: float) -> _Robust:
    """Reweighted least squares from a start on."""
    step = _coarse_step(use)
    coarse, coarse_values, coarse_use = (
        basis.part(slice(None, None, step), slice(None, None, step)),
        values[::step, ::step],
        use[::step, ::step],
    )
    sigma = least_sigma
    for _ in range(50):
        residual = coarse_values - coarse.surface(terms)
        sigma = max(least_sigma, MAD_TO_SIGMA * float(np.median(np.abs(residual[coarse_use]))))
        before, terms = terms, coarse.least_squares(coarse_values, _bisquare(residual, coarse_use, sigma))
        if np.abs(coarse.surface(terms - before)).max() < 1e-3 * sigma:
            break
    weights = np.empty(0)
    for _ in range(3):
        weights = _bisquare(values - basis.surface(terms), use, sigma)
        terms = basis.least_squares(values, weights)
    return _Robust(terms, sigma, float(np.count_nonzero(weights) / np.count_nonzero(use)))


def _trimmed_start(basis: Basis, values: Floats, use: Bools, least_sigma: float, options: FlatOptions) -> Floats:
    """Coefficients that leave the least sum of squares over the better half of the pixels.

    The fit starts from all pixels and from random samples of two sizes: ``min_samples``, and one more than the terms of
    the model. The smaller a sample, the likelier it is free of outliers. Each fit is refitted to its better half a few
    times. Of fits that the width of a bin cannot tell apart, the first is kept.
    """
    rng = np.random.default_rng(options.seed)
    y, x = np.nonzero(use)
    if len(y) > _TRIAL_PIXELS:
        some = np.sort(rng.choice(len(y), _TRIAL_PIXELS, replace=False))
        y, x = y[some], x[some]
    design, target = basis.at(y, x), values[y, x]
    middle = len(target) // 2
    as_good = least_sigma**2 * (middle + 1)
    least, best = np.inf, np.zeros(0)
    for size in [0] + [options.min_samples, design.shape[1] + 1] * _TRIALS:
        half = rng.integers(len(target), size=size) if size else np.arange(len(target))
        for _ in range(1 + _CONCENTRATIONS):
            trial = _least_squares(design.take(half, axis=0), target[half])
            squares = (target - design @ trial) ** 2
            lesser = np.partition(squares, middle)[: middle + 1]
            half = np.flatnonzero(squares <= max(lesser[-1], least_sigma**2))
        objective = max(as_good, float(lesser.sum()))
        if objective < least:
            least, best = objective, trial
    return best


def _nearest(numbers: npt.NDArray[np.intp], n: int) -> npt.NDArray[np.intp]:
    """For each of ``n`` places the index of the nearest of some numbers, the lower of two."""
    return np.searchsorted(numbers[:-1] + np.diff(numbers) / 2, np.arange(n), side="left")


def _least_squares(design: Floats, target: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(design.T @ design, design.T @ target, rcond=1e-10)[0])


def _bisquare(residual: Floats, use: Bools, sigma: float) -> Floats:
    """Tukey's weights of the pixels in use; other pixels weigh nothing."""
    weights = residual / (_BISQUARE * sigma)
    np.square(weights, out=weights)
    np.subtract(1, weights, out=weights)
    np.maximum(weights, 0, out=weights)
    np.square(weights, out=weights)
    weights *= use
    return weights


def _coarse_step(use: Bools) -> int:
    """Step of a grid that holds about `_COARSE_PIXELS` pixels in use; 1 if there are few, or few on that grid."""
    wanted = min(_COARSE_PIXELS, int(np.count_nonzero(use)))
    step = max(1, int((np.count_nonzero(use) / wanted) ** 0.5))
    return step if np.count_nonzero(use[::step, ::step]) > wanted // 4 else 1
