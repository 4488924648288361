"""Remove stripes along the rows by a notch in the wavelet domain: pystripe's dual-band wavelet-FFT filter.

A two-dimensional wavelet transform is taken of L = log(1 + I), where I is the image. At every level the horizontal
detail loses its low frequencies along the rows (:mod:`gpustitch.oblique.destripe.dwt`). All else stays, so only the
lost part is transformed back. With d the lost part, negated, the result is (1 + I) exp(d) - 1.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, kernel, namespace, resident
from gpustitch.array.product import batches, product_along_columns, product_along_rows
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.oblique.destripe.dwt import (
    BAND,
    BLOCK,
    analyse_image,
    analyse_low_pass,
    fill_extended,
    levels_of,
    max_level,
    synthesis_matrices,
    synthesise,
    synthesised_band,
    wavelet_taps,
)
from gpustitch.oblique.destripe.notch import RowLowPass, RowLowPasses
from gpustitch.oblique.destripe.otsu import thresholds_of_frames
from gpustitch.oblique.destripe.saturation import full_scales, put_ends_back
from gpustitch.oblique.destripe.wavelet_options import OTSU, WaveletOptions
from gpustitch.oblique.flat.flatfield import Counts, put_counts

# pystripe smooths the share of the foreground by one pixel. SciPy cuts a Gaussian off at four sigmas.
_SMOOTHING_PX = 1.0
_REACH = 4
# Types that the kernels read; frames of other types are first converted to float32.
_READ_AS_THEY_ARE = ("uint8", "uint16", "uint32", "float32")
_IMAGES, _COUNTS = f"images: {' '.join(_READ_AS_THEY_ARE)}", "out: uint8 uint16 float32"


def destripe_wavelet(images: Array, options: WaveletOptions, counts: Counts | None = None) -> Array:
    """The image, or each of the frames, without its stripes along the rows.

    With different sigmas the image is split at the threshold t. The foreground max(I, t) is filtered with ``sigma1``,
    the background min(I, t) with ``sigma2``. The share of the foreground in the result is the logistic function of
    (I - t) / crossover. A Gaussian of one pixel smooths the share. I is in counts: images are divided by ``one_count``
    first, and the result is multiplied by it. Levels are extended symmetrically at the borders,
    odd sizes by their last row or column. The notch takes a row of coefficients as periodic (`taken_by_notch`).

    Parameters
    ----------
    images
        Counts (rows, columns) or (frames, rows, columns), any real dtype; values below 0 count as 0.
    options
        Bandwidths, wavelet, levels and split.
    counts
        Where the result goes, and what offset and flat field make of it; for frames of a type that `takes_counts`.
        Unless the options say ``compat``, the ends of the range are put back first, as `keep_ends` does. Without
        ``counts`` the result is light.

    Returns
    -------
    ``counts.out``, or a float32 array of the same shape, not clipped. The result of a frame does not depend on the
    other frames.

    Raises
    ------
    ParameterError
        If the images have another number of axes, are empty, or are not real, or no ``counts`` can be made of them.
    DamagedInputError
        If the images hold NaN or infinity.
    """
    if images.ndim not in (2, 3) or images.dtype.kind not in "uif" or images.size == 0:
        raise ParameterError(
            "`images` must be (rows, columns) or (frames, rows, columns) of real numbers, not an array of shape "
            f"{tuple(images.shape)} and type {images.dtype}"
        )
    if counts is not None and not takes_counts(images.dtype, options):
        raise ParameterError(
            f"counts are not made at once of images of {images.dtype} with `one_count` {options.one_count:g}, `sigma1` "
            f"{options.sigma1:g} and `sigma2` {options.sigma2:g}; make them of the light that is returned without"
        )
    if options.one_count != 1:
        scale = np.float32(options.one_count)
        return destripe_wavelet(images.astype(np.float32) / scale, replace(options, one_count=1.0)) * scale
    frames = images[None] if images.ndim == 2 else images
    put = Counts.of_light(frames) if counts is None else counts
    filters = _filters(tuple(frames.shape[1:]), options)
    keeps_ends = counts is not None and not options.compat
    for part in batches(frames):
        _destripe(frames[part], filters, options, replace(put, out=put.out[part]), keeps_ends)
    return put.out.reshape(images.shape)


def takes_counts(dtype: np.dtype[Any], options: WaveletOptions) -> bool:
    """Whether `destripe_wavelet` can make counts of frames of a type at once."""
    does_filter = bool(options.sigma1 or options.sigma2)
    return does_filter and options.one_count == 1 and dtype.name in _READ_AS_THEY_ARE


def _destripe(frames: Array, filters: _Filters | None, options: WaveletOptions, put: Counts, keeps_ends: bool) -> None:
    """Destripe one batch of frames."""
    xp = namespace(frames)
    if frames.dtype.kind == "f" and not bool(xp.isfinite(frames).all()):
        raise DamagedInputError("an image holds NaN or infinity; replace those pixels before destriping")
    if filters is None:
        put.out[...] = frames
        return
    if frames.dtype.name not in _READ_AS_THEY_ARE:
        frames = frames.astype(np.float32)
    taps = resident(wavelet_taps(options.wavelet)[1], frames)
    # Without ends that are kept, none is looked for.
    scales = xp.empty(len(frames) if keeps_ends else 0, np.float64)
    if keeps_ends:
        full_scales(frames, scales)
    finish = (scales, put.gain, put.out)
    if not filters.is_split:
        limits = resident(_no_limits(len(frames)), frames)
        removed = filters.removed(frames, limits)
        restore_band(frames, limits[0], removed, taps, *finish, put.dark, put.truncate)
        return
    if options.threshold == OTSU:
        thresholds = thresholds_of_frames(frames)
    else:
        thresholds = xp.full(len(frames), options.threshold, np.float32)
    removed = filters.removed(frames, filters.limits(thresholds))
    bands = iter(removed.reshape(sum(filters.has), len(frames), *removed.shape[1:]))
    foreground, background = (next(bands) if has else _nothing(frames) for has in filters.has)
    blend_bands(
        frames, thresholds, foreground, background, taps, resident(_SMOOTHING, frames), *finish,
        *filters.has, options.crossover, put.dark, put.truncate,
    )  # fmt: skip


class _Filters:
    """The notches of foreground and background, or of one band, for frames of a shape; for any number of threads.

    ``has`` says which of foreground and background are filtered.
    """

    def __init__(self, shape: tuple[int, int], options: WaveletOptions) -> None:
        both = options.sigma1, options.sigma2
        self.is_split = both[0] != both[1]
        self.has = both[0] > 0, both[1] > 0
        sigmas = [sigma for sigma, has in zip(both, self.has, strict=True) if has] if self.is_split else both[:1]
        self.taps = wavelet_taps(options.wavelet)
        padded = (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2)
        length = self.taps[0].shape[1]
        self.levels = levels_of(shape, length, options.level or max_level(padded, options.wavelet))
        self.notches = [
            RowLowPasses(
                [
                    RowLowPass.of(
                        level.coefficients[1], sigma * level.coefficients[0] / padded[0], compat=options.compat
                    )
                    for sigma in sigmas
                ]
            )
            for level in self.levels
        ]
        # Of the foreground max(I, t), of the background min(I, t); NaN stands for the threshold t.
        limits = np.array([[math.nan, math.inf], [0, math.nan]], np.float32)
        self._limits = np.ascontiguousarray(limits[[*self.has]][:, None])
        self._is_limit = np.isnan(self._limits)

    def limits(self, thresholds: Array) -> Array:
        """Least and greatest count of each frame in each band that is filtered, float32 (bands, frames, 2)."""
        xp, fixed = namespace(thresholds), resident(self._limits, thresholds)
        return xp.where(resident(self._is_limit, thresholds), thresholds[:, None], fixed)  # type: ignore[no-any-return]

    def removed(self, frames: Array, limits: Array) -> Array:
        """The part, negated, that the notches take away from log(1 + I) of the frames clipped to ``limits``.

        It is given as coefficients of the finest level (bands * frames, rows, 2, columns). Their low pass is the part
        that deeper levels take away. Without any level the array has no rows.
        """
        xp, n = namespace(frames), limits.shape[0] * len(frames)
        analysis, synthesis = (resident(taps, frames) for taps in self.taps)
        arrays: list[Array] = []
        for number, (level, notch) in enumerate(zip(self.levels, self.notches, strict=True), 1):
            out = level.buffer(n, analysis.shape[1], xp)
            # The deepest low pass stays as it is: nothing of it is taken away.
            has_low = number < len(self.levels)
            if arrays:
                analyse_low_pass(arrays[-1], analysis, out, *level.shape, has_low)
            else:
                analyse_image(frames, limits, analysis, out, has_low)
            notch.apply(out)
            arrays.append(out)
        if not arrays:
            return xp.empty((n, 0, 2, 0), np.float32)  # type: ignore[no-any-return]
        for number in range(len(arrays) - 1, 0, -1):
            synthesise(arrays[number], synthesis, arrays[number - 1], *self.levels[number].shape)
        return arrays[0]


@functools.lru_cache(maxsize=8)
def _filters(shape: tuple[int, int], options: WaveletOptions) -> _Filters | None:
    """The notches; None if both bandwidths are 0."""
    return _Filters(shape, options) if options.sigma1 or options.sigma2 else None


def _nothing(frames: Array) -> Array:
    return namespace(frames).empty((len(frames), 0, 2, 0), np.float32)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=16)
def _no_limits(n_frames: int) -> npt.NDArray[np.float32]:
    """Limits of one band in which counts below 0 count as 0, kept so that a device gets them once."""
    return np.tile(np.array([0, math.inf], np.float32), (1, n_frames, 1))


def _gaussian() -> npt.NDArray[np.float32]:
    taps = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _SMOOTHING_PX) ** 2)
    return (taps / taps.sum()).astype(np.float32)  # type: ignore[no-any-return]


_SMOOTHING = _gaussian()


@kernel("wavelet.cu", tile=(1, 32, 64), threads=(256,), T=_IMAGES, O=_COUNTS)
def restore_band(
    images: Array,
    limits: Array,
    coefficients: Array,
    taps: Array,
    full_scale: Array,
    flat_gain: Array,
    out: Array,
    dark: float,
    truncate: bool,
) -> None:
    """``(1 + I) exp(d) - 1``, made counts, with I the clipped counts and d the synthesis of the finest coefficients.

    Parameters
    ----------
    images, limits
        Counts (frames, rows, columns), and the least and greatest of each frame, float32 (frames, 2).
    coefficients
        float32 (frames, rows, 2, columns) as for `synthesise`; without rows d is 0.
    taps
        Low and high pass of the synthesis, float32 (2, F).
    full_scale
        Count at which each frame is saturated, float64 (frames,); the ends of the range are then put back first, as
        `put_ends_back` does. If it is empty they are not.
    flat_gain, dark, truncate
        As ``gain``, ``dark`` and ``truncate`` of `flat_counts`, which makes counts of that.
    out
        uint8, uint16 or float32 (frames, rows, columns); written.
    """
    matrices = synthesis_matrices(taps)
    for number, (image, limit, removed) in enumerate(zip(images, limits, coefficients, strict=True)):
        for start in range(0, len(image), BAND):
            part = image[start : start + BAND].astype(np.float32)
            light = _restored(part, limit[0], limit[1], removed, matrices, start)
            _put_ends_back(image[start : start + BAND], full_scale[number : number + 1], light)
            put_counts(light, flat_gain, out[number], start, dark, truncate, light)


@kernel("wavelet.cu", tile=(1, 32, 64), threads=(256,), T=_IMAGES, O=_COUNTS)
def blend_bands(
    images: Array,
    thresholds: Array,
    foreground: Array,
    background: Array,
    taps: Array,
    smoothing: Array,
    full_scale: Array,
    flat_gain: Array,
    out: Array,
    split_foreground: bool,
    split_background: bool,
    crossover: float,
    dark: float,
    truncate: bool,
) -> None:
    """Restore foreground and background as `restore_band` does, blend them, and make counts of the blend.

    The share of the foreground is ``1 / (1 + exp((t - I) / crossover))`` smoothed down the columns and along the
    rows. Odd sizes are first made even by repeating the last row or column. Borders are half-sample symmetric.

    Parameters
    ----------
    images, thresholds
        Counts (frames, rows, columns), and the threshold t of each frame, float32 (frames,).
    foreground, background
        Coefficients of foreground and background, as for `restore_band`.
    taps, smoothing
        Low and high pass of the synthesis, float32 (2, F); symmetric taps that sum to 1, float32 (9,).
    full_scale, flat_gain, out, dark, truncate
        As of `restore_band`.
    split_foreground, split_background
        Whether the foreground is max(I, t) and the background min(max(I, 0), t), rather than I.
    """
    matrices = synthesis_matrices(taps)
    for number, (image, t) in enumerate(zip(images, thresholds, strict=True)):
        least = t if split_foreground else -math.inf
        most = t if split_background else math.inf
        for start in range(0, len(image), BAND):
            part = image[start : start + BAND].astype(np.float32)
            above = _restored(part, least, math.inf, foreground[number], matrices, start)
            below = _restored(part, 0.0 if split_background else -math.inf, most, background[number], matrices, start)
            above -= below
            above *= share_of_foreground(image, t, crossover, smoothing, start)
            above += below
            _put_ends_back(image[start : start + BAND], full_scale[number : number + 1], above)
            put_counts(above, flat_gain, out[number], start, dark, truncate, above)


def _put_ends_back(rows: Array, full_scale: Array, light: Array) -> None:
    """Put the ends of the range back into the light of some rows of an image, if its full scale is given."""
    if len(full_scale):
        put_ends_back.definition(rows[None], full_scale, light[None])


def _restored(
    part: Array, least: float, most: float, removed: Array, matrices: tuple[Array, Array], start: int
) -> Array:
    """``(1 + I) exp(d) - 1`` of the clipped rows from ``start``."""
    clipped: Array = np.clip(part, least, most)
    if not len(removed):
        return clipped
    difference = synthesised_band(removed, matrices, start, part.shape[1])[: part.shape[0], : part.shape[1]]
    np.exp(difference, out=difference)
    clipped += 1
    clipped *= difference
    clipped -= 1
    return clipped


def share_of_foreground(image: Array, threshold: float, crossover: float, smoothing: Array, start: int) -> Array:
    """The share of the foreground in ``BAND`` rows from ``start``, or the rows left, of an image on the host."""
    down, across = _smoothing_matrices(smoothing.tobytes())
    rows, columns = (_mirrored(n) for n in image.shape)
    width = -(-image.shape[1] // BLOCK) * BLOCK
    wide = np.zeros((BAND + 2 * _REACH, width + 2 * _REACH), np.float32)
    fill_extended(image, rows[start : start + len(wide)], columns[: wide.shape[1]], _REACH, wide)
    wide -= np.float32(threshold)
    wide *= np.float32(0.5 / crossover)
    # The logistic of z is (1 + tanh(z / 2)) / 2.
    np.tanh(wide, out=wide)
    smooth = np.empty((BAND, wide.shape[1]), np.float32)
    product_along_rows(down, wide, smooth, BLOCK)
    share = np.empty((BAND, width), np.float32)
    product_along_columns(smooth, across, share, BLOCK)
    share *= np.float32(0.5)
    share += np.float32(0.5)
    return share[: min(BAND, image.shape[0] - start), : image.shape[1]]


@functools.lru_cache(maxsize=4)
def _smoothing_matrices(taps: bytes) -> tuple[Array, Array]:
    matrix = np.zeros((BLOCK, BLOCK + 2 * _REACH), np.float32)
    for i in range(BLOCK):
        matrix[i, i : i + 2 * _REACH + 1] = np.frombuffer(taps, np.float32)
    return matrix, np.ascontiguousarray(matrix.T)


@functools.lru_cache(maxsize=16)
def _mirrored(stored: int) -> Array:
    """Indices of ``stored`` samples, made even by repeating the last sample, then continued by mirrored copies."""
    index = np.arange(stored + stored % 2)
    return np.minimum(np.pad(index, (_REACH, _REACH + BAND), mode="symmetric"), stored - 1)
