"""Illumination of the camera frame, fitted to the percentile bin of every pixel.

Taken over many frames of tissue, the percentile of each pixel follows the light. A robust fit finds a smooth model of
these percentiles. The start holds even if nearly half of the pixels contradict it: least trimmed squares from random
samples (Rousseeuw and Van Driessen 2006). From there, reweighted least squares over all pixels minimise Tukey's
bisquare (Yohai 1987). The result depends on the random start only where the data allow several answers. So different
seeds agree, unlike the seeds of a plain RANSAC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from numpy.polynomial import Legendre, Polynomial

from gpustitch.array import Array, to_host
from gpustitch.errors import ParameterError
from gpustitch.model.arrays import Floats
from gpustitch.ops.robust import MAD_TO_SIGMA

FlatModel = Literal["reference", "product"]

# (degree along y, degree along x) of the terms of the light or its logarithm.
# Terms such as x*y would follow dim tissue in part of a frame more readily than dim light.
_TERMS = ((0, 0), (0, 1), (0, 2), (1, 0))
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
class FlatFit:
    """A fitted illumination.

    Attributes
    ----------
    counts
        Brightness of each pixel in camera counts above ``dark``, float32, shape (rows, columns).
    coefficients
        Coefficients of ``x^2``, ``x``, ``y`` and ``1``, x and y in pixels. They give the counts or, for the product
        model, the logarithm of the counts.
    used_pixels
        Fraction of the frame's pixels that the fit used.
    inlier_fraction
        Fraction of the used pixels that had any weight in the end.
    residual
        Robust standard deviation of the pixels about the fit, as a fraction of the fit's mean.
    """

    counts: npt.NDArray[np.float32]
    coefficients: dict[str, float]
    used_pixels: float
    inlier_fraction: float
    residual: float

    @property
    def flat(self) -> npt.NDArray[np.float32]:
        """The illumination scaled to maximum 1, float32."""
        return np.asarray(self.counts / self.counts.max(), dtype=np.float32)


@dataclass(frozen=True)
class FlatOptions:
    """How percentile bins become a flat.

    ``n_bins``, ``values_per_bin`` and ``background`` are those of the histogram. ``dark`` is the count that the camera
    shows without light. It is subtracted, so that the flat is proportional to the light. ``min_samples`` is the number
    of pixels in each random sample, ``seed`` the start of the random numbers.
    """

    n_bins: int = 1024
    values_per_bin: int = 4
    background: int = 150
    dark: float = 0.0
    min_samples: int = 20
    model: FlatModel = "reference"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in get_args(FlatModel):
            raise ParameterError(f"`model` must be one of {', '.join(get_args(FlatModel))}, not {self.model!r}")
        if self.min_samples < len(_TERMS):
            raise ParameterError(
                f"`min_samples` must be at least {len(_TERMS)}, the number of terms of the "
                f"{self.model} model, not {self.min_samples}"
            )
        if not 0 <= self.dark < max(self.background, 1):
            raise ParameterError(
                f"`dark` must be from 0 to less than `background` ({self.background}), not {self.dark}: "
                "values under the background never count"
            )
        if self.seed < 0:
            raise ParameterError(f"`seed` must be at least 0, not {self.seed}")


def fit_flat(bins: Array, count: Array, options: FlatOptions) -> FlatFit:
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
    The product model is the exponential of such a polynomial: a Gaussian beam along x, attenuated along y.
    """
    bins, count = to_host(bins), to_host(count)
    use = _usable(bins, count, options)
    counts = np.maximum(bins * float(options.values_per_bin) - options.dark, 1.0)
    is_log = options.model == "product"
    values = np.log(counts) if is_log else counts
    bin_sigma = options.values_per_bin * _BIN_SIGMA
    least_sigma = bin_sigma / float(np.median(counts[use])) if is_log else bin_sigma
    fit = _robust_fit(values, use, least_sigma, options)
    surface = fit.basis.surface(fit.terms)
    image = np.maximum(np.exp(surface) if is_log else surface, max(options.background - options.dark, 1.0))
    return FlatFit(
        counts=image.astype(np.float32),
        coefficients=fit.basis.coefficients(fit.terms),
        used_pixels=float(use.mean()),
        inlier_fraction=fit.inlier_fraction,
        residual=fit.sigma if is_log else fit.sigma / float(image.mean()),
    )


def _usable(bins: Array, count: Array, options: FlatOptions) -> npt.NDArray[np.bool_]:
    lit = bins >= options.background // options.values_per_bin
    lit &= count > 0
    saturated = bins >= options.n_bins - 1
    use: npt.NDArray[np.bool_] = lit & ~saturated
    if use.any():
        use &= count >= _LEAST_COVERAGE * np.percentile(count[use], 99)
    found = int(np.count_nonzero(use))
    if found >= options.min_samples:
        return use
    if np.count_nonzero(lit & saturated) > found:
        remedy = f"most bright pixels reach the last of {options.n_bins} bins; raise `values_per_bin` or `n_bins`"
    else:
        remedy = (
            f"hardly any values are from {options.background} to {options.n_bins * options.values_per_bin} counts; "
            "lower `background`, raise `values_per_bin` or take more `n_frames`"
        )
    raise ParameterError(
        f"the illumination cannot be fitted: only {found} of {bins.size} pixels can be used, but `min_samples` is "
        f"{options.min_samples}; {remedy}"
    )


class _Basis:
    """Products of Legendre polynomials on the pixels of a frame, or on every ``step``-th row and column."""

    def __init__(self, shape: tuple[int, int], terms: tuple[tuple[int, int], ...]) -> None:
        self.shape = shape
        self.i = np.array([term[0] for term in terms])
        self.j = np.array([term[1] for term in terms])
        self.y, self.x = (
            np.stack([Legendre.basis(d, domain=_domain(n))(np.arange(n)) for d in range(degree + 1)], axis=1)
            for n, degree in zip(shape, (self.i.max(), self.j.max()), strict=True)
        )

    def every(self, step: int) -> _Basis:
        """The same polynomials on the frame's pixels ``[::step, ::step]``."""
        part = object.__new__(_Basis)
        part.shape, part.i, part.j = self.shape, self.i, self.j
        part.y, part.x = self.y[::step], self.x[::step]
        return part

    def at(self, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Floats:
        """Design matrix (pixels, terms) of single pixels."""
        return self.y[y][:, self.i] * self.x[x][:, self.j]

    def surface(self, terms: Floats) -> Floats:
        """The polynomial with these coefficients on all pixels."""
        matrix = np.zeros((self.y.shape[1], self.x.shape[1]))
        matrix[self.i, self.j] = terms
        return self.y @ matrix @ self.x.T

    def least_squares(self, values: Floats, weights: Floats) -> Floats:
        """Coefficients of the weighted least-squares fit; of equally good fits the smallest coefficients.

        The polynomials are products, so the sums over all pixels are two small matrix products.
        """
        q, p = self.y.shape[1], self.x.shape[1]
        xx = (self.x[:, :, None] * self.x[:, None, :]).reshape(-1, p * p)
        yy = (self.y[:, :, None] * self.y[:, None, :]).reshape(-1, q * q)
        moments = (yy.T @ (weights @ xx)).reshape(q, q, p, p)
        normal = moments[self.i[:, None], self.i, self.j[:, None], self.j]
        right = (self.y.T @ ((weights * values) @ self.x))[self.i, self.j]
        return np.asarray(np.linalg.lstsq(normal, right, rcond=1e-12)[0])

    def coefficients(self, terms: Floats) -> dict[str, float]:
        """Coefficients by name, as `FlatFit` states them."""
        constant, x1, x2, y1 = terms
        along_x = _powers(Legendre([constant, x1, x2], domain=_domain(self.shape[1])), 3)
        along_y = _powers(Legendre([0, y1], domain=_domain(self.shape[0])), 2)
        return {"x^2": along_x[2], "x": along_x[1], "y": along_y[1], "1": along_x[0] + along_y[0]}


def _domain(length: int) -> list[float]:
    return [0.0, max(1.0, length - 1.0)]


def _powers(series: Legendre, count: int) -> list[float]:
    found = cast(Callable[..., Polynomial], series.convert)(kind=Polynomial, domain=[-1, 1]).coef
    return [float(c) for c in found] + [0.0] * (count - len(found))


@dataclass(frozen=True)
class _Robust:
    basis: _Basis
    terms: Floats
    sigma: float
    inlier_fraction: float


def _robust_fit(values: Floats, use: npt.NDArray[np.bool_], least_sigma: float, options: FlatOptions) -> _Robust:
    basis = _Basis((use.shape[0], use.shape[1]), _TERMS)
    terms = _trimmed_start(basis, values, use, least_sigma, options)
    step = _coarse_step(use)
    coarse, coarse_values, coarse_use = basis.every(step), values[::step, ::step], use[::step, ::step]
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
    return _Robust(basis, terms, sigma, float(np.count_nonzero(weights) / np.count_nonzero(use)))


def _trimmed_start(
    basis: _Basis, values: Floats, use: npt.NDArray[np.bool_], least_sigma: float, options: FlatOptions
) -> Floats:
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
            trial = _least_squares(design[half], target[half])
            squares = (target - design @ trial) ** 2
            lesser = np.partition(squares, middle)[: middle + 1]
            half = np.flatnonzero(squares <= max(lesser[-1], least_sigma**2))
        objective = max(as_good, float(lesser.sum()))
        if objective < least:
            least, best = objective, trial
    return best


def _least_squares(design: Floats, target: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(design.T @ design, design.T @ target, rcond=1e-10)[0])


def _bisquare(residual: Floats, use: npt.NDArray[np.bool_], sigma: float) -> Floats:
    """Tukey's weights of the pixels in use; other pixels weigh nothing."""
    weights = residual / (_BISQUARE * sigma)
    np.square(weights, out=weights)
    np.subtract(1, weights, out=weights)
    np.maximum(weights, 0, out=weights)
    np.square(weights, out=weights)
    weights *= use
    return weights


def _coarse_step(use: npt.NDArray[np.bool_]) -> int:
    """Step of a grid that holds about `_COARSE_PIXELS` pixels in use; 1 if there are few, or few on that grid."""
    wanted = min(_COARSE_PIXELS, int(np.count_nonzero(use)))
    step = max(1, int((np.count_nonzero(use) / wanted) ** 0.5))
    return step if np.count_nonzero(use[::step, ::step]) > wanted // 4 else 1
