"""Remove stripes by comparing a percentile along the sheet with one around the pixel (ClearMap's correction).

C. Kirst et al., Cell 180, 780 (2020). A percentile in a window along the rows estimates the stripe. A percentile in a
large square window estimates the background. A pixel loses the least of itself, the stripe and the weighted background.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.array import Array, library_of, namespace, resident
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.model.options import documented, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.margins import data_regions
from gpustitch.oblique.destripe.percentile import subtract_stripes, window_percentiles
from gpustitch.oblique.destripe.shared_windows import Cells, cells_of, shared_percentiles

BACKGROUND_SPACING_PX = 25
BACKGROUND_STEP_PX = 2
# On a device windows of this size and more share sorted samples: a sample is in four of them.
SHARED_PX = 2 * BACKGROUND_SPACING_PX * BACKGROUND_STEP_PX
# Longer windows, and factors beyond this, are none that anybody means: what they overflow is refused by name.
_LONGEST_PX, _GREATEST_FACTOR = 1 << 24, 1e30
_COUNTS = ("uint8", "uint16", "uint32", "float32")


@documented
@dataclass(frozen=True)
class LightsheetOptions:
    """How the light-sheet method estimates stripes along the rows.

    With ``is_line_alone`` no background is estimated, which is most of the work: a pixel loses the estimate of the
    stripe, whatever lies around. That is for comparing frames, not for looking at them.

    Raises
    ------
    ParameterError
        If an option is out of range.
    """

    artifact_length: int = option(
        150, at_least=1, help="Light-sheet method: length of the window along the rows, pixels.", panel=DESTRIPING
    )
    background_window_size: int = option(
        200, at_least=1, help="Light-sheet method: side of the square background window, pixels.", panel=DESTRIPING
    )
    percentile: float = option(
        0.25,
        at_least=0,
        at_most=1,
        help="Light-sheet method: percentile of a window that serves as its estimate, as a fraction.",
        panel=DESTRIPING,
    )
    lightsheet_vs_background: float = option(
        2.0,
        at_least=0,
        help="Light-sheet method: factor on the background's estimate before it is compared with the stripe's.",
        panel=DESTRIPING,
    )

    is_line_alone: bool = False

    @property
    def reach_px(self) -> tuple[int, int]:
        """How far, in rows and columns, the windows about a pixel reach: half of one beyond the next grid point."""
        along = self.artifact_length // 2 + self.artifact_length
        if self.is_line_alone:
            return 0, along
        background = self.background_window_size // 2 + BACKGROUND_SPACING_PX
        return background, max(background, along)

    def __post_init__(self) -> None:
        for name, length in (
            ("`artifact_length`", self.artifact_length),
            ("`background_window_size`", self.background_window_size),
        ):
            if not 1 <= length <= _LONGEST_PX or int(length) != length:
                raise ParameterError(f"{name} must be at least 1 pixel, a whole number to {_LONGEST_PX}, not {length}")
        if not 0 <= self.percentile <= 1:
            raise ParameterError(f"`percentile` must be from 0 to 1, not {self.percentile}")
        if not 0 <= self.lightsheet_vs_background <= _GREATEST_FACTOR:
            raise ParameterError(
                f"`lightsheet_vs_background` must be 0 or a positive number to {_GREATEST_FACTOR:g}, not "
                f"{self.lightsheet_vs_background}"
            )


def destripe_lightsheet(image: Array, options: LightsheetOptions, edges: Sequence[Array] | None = None) -> Array:
    """The image less its stripes along the rows: ``I - min(I, line, weight * background)``.

    Windows end where a margin of one value begins (:mod:`gpustitch.oblique.destripe.margins`), as they do at the edges.

    Parameters
    ----------
    image
        Counts (rows, columns), or images (frames, rows, columns) that are destriped one by one. Any real dtype.
        Other dtypes than uint8, uint16, uint32 and float32 are converted to float32.
    options
        Windows, percentile and weight.
    edges
        On a device, the edges of the same images on the host (:func:`gpustitch.oblique.destripe.margins.edges_of`), of
        their dtype, if they are there: what they tell of margins is not waited for.

    Returns
    -------
    float32 image of the same shape.

    Raises
    ------
    ParameterError
        If the image is neither 2-D nor 3-D, or is empty or not real.
    DamagedInputError
        If the image holds NaN or infinity.
    """
    xp = namespace(image)
    if image.ndim not in (2, 3) or image.dtype.kind not in "uif" or image.size == 0:
        raise ParameterError(
            "`image` must be (rows, columns) or (frames, rows, columns) of real numbers, "
            f"not an array of shape {tuple(image.shape)} of {image.dtype}"
        )
    images = image if image.ndim == 3 else image[None]
    if images.dtype.name not in _COUNTS:
        images = images.astype(np.float32)
        edges = None if edges is None else [edge.astype(np.float32) for edge in edges]
    if images.dtype.kind == "f" and not bool(xp.isfinite(images).all()):
        raise DamagedInputError("the image holds NaN or infinity; replace those pixels before destriping")
    out = xp.empty(images.shape, np.float32)
    regions = data_regions(images, edges)
    if not any(regions):
        _subtract(images, out, options)
        return out.reshape(image.shape)  # type: ignore[no-any-return]
    for number, region in enumerate(regions):
        one = slice(number, number + 1)
        if region is None:
            _subtract(images[one], out[one], options)
            continue
        # Beyond the data both estimates are the pixel itself.
        xp.multiply(images[one], np.float32(max(0.0, 1 - options.lightsheet_vs_background)), out=out[one])
        data = xp.ascontiguousarray(images[one, *region])
        destriped = xp.empty(data.shape, np.float32)
        _subtract(data, destriped, options)
        out[one, *region] = destriped
    return out.reshape(image.shape)  # type: ignore[no-any-return]


def _subtract(images: Array, out: Array, options: LightsheetOptions) -> None:
    if options.is_line_alone:
        # Rows know nothing of each other: those of all frames are one image.
        images, out = (a.reshape(1, -1, a.shape[-1]) for a in (images, out))
    line, weight = line_estimate(images, options), options.lightsheet_vs_background
    if options.is_line_alone:
        # More than any count, and infinity would be NaN where its share is 0.
        background, weight = namespace(images).full((len(images), 1, 1), np.finfo(np.float32).max, np.float32), 1.0
    else:
        background = background_estimate(images, options)
    subtract_stripes(images, line, background, out, weight)


def line_estimate(images: Array, options: LightsheetOptions) -> Array:
    """Percentile along the rows of images (frames, rows, columns), as a float32 grid of each.

    The grid has every row, and in each row as many windows as fit side by side.
    """
    rows, columns = images.shape[1:]
    length = options.artifact_length
    return _percentiles(images, (1, length), (centres(rows, 1), centres(columns, length)), 1, options.percentile)


def background_estimate(images: Array, options: LightsheetOptions) -> Array:
    """Percentile in square windows of images (frames, rows, columns), as a float32 grid of each.

    A window samples every second row and column. The grid has every 25th row and column.
    """
    size = options.background_window_size
    at = [centres(n, BACKGROUND_SPACING_PX) for n in images.shape[1:]]
    if library_of(images) == "numpy" or size < SHARED_PX:
        return _percentiles(images, (size, size), (at[0], at[1]), BACKGROUND_STEP_PX, options.percentile)
    down, across = (_cells(tuple(c.tolist()), size, n) for c, n in zip(at, images.shape[1:], strict=True))
    out: Array = namespace(images).empty((len(images), len(at[0]), len(at[1])), np.float32)
    shared_percentiles(images, down, across, out, BACKGROUND_STEP_PX, options.percentile)
    return out


def centres(length: int, spacing: int) -> Array:
    """Window centres along an axis: as many as fit at this spacing but at least one, about the axis's middle."""
    count = max(1, length // spacing)
    return np.arange(count) * spacing + (length - (count - 1) * spacing) // 2


def _percentiles(images: Array, size: tuple[int, int], at: tuple[Array, Array], step: int, fraction: float) -> Array:
    xp = namespace(images)
    limits = [
        tuple(resident(ends, images) for ends in _limits(tuple(centre.tolist()), length, stop))
        for centre, length, stop in zip(at, size, images.shape[1:], strict=True)
    ]
    out = xp.empty((len(images), len(at[0]), len(at[1])), np.float32)
    (top, bottom), (left, right) = limits
    window_percentiles(images, top, bottom, left, right, out, step, fraction)
    return out  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _limits(centre: tuple[int, ...], length: int, stop: int) -> tuple[Array, Array]:
    """First pixels and ends of windows along an axis, kept so that a device gets them once."""
    first = np.array(centre, np.int64) - length // 2
    return np.maximum(first, 0), np.minimum(first + length, stop)


@functools.lru_cache(maxsize=64)
def _cells(centre: tuple[int, ...], length: int, stop: int) -> Cells:
    """The cells that windows along an axis share, kept so that a device gets them once."""
    return cells_of(*_limits(centre, length, stop), BACKGROUND_STEP_PX)
