"""Device memory of removing stripes: :mod:`gpustitch.array.stated`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gpustitch.array.stated import Shaped, states
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.dwt import levels_of, max_level, wavelet_taps
from gpustitch.oblique.destripe.guarded_notch.notch import Notch, destripe_guarded
from gpustitch.oblique.destripe.guarded_notch.window_grid import window_starts
from gpustitch.oblique.destripe.lightsheet import (
    BACKGROUND_SPACING_PX,
    SHARED_PX,
    LightsheetOptions,
    destripe_lightsheet,
)
from gpustitch.oblique.destripe.otsu import otsu_of_frames
from gpustitch.oblique.destripe.wavelet import destripe_wavelet
from gpustitch.oblique.destripe.wavelet_options import OTSU, WaveletOptions
from gpustitch.oblique.flat.device_bytes import flattened_bytes
from gpustitch.oblique.flat.flatfield import flat_counts

_READ_AS_THEY_ARE = ("uint8", "uint16", "uint32", "float32")
_COUNTED_BYTES = 4 << 16  # a number for each value of a uint16
# Arrays of the grid of windows, of 8 bytes, that are there at the same time.
_GRIDS = 5


@states(otsu_of_frames)
def otsu_of_frames_bytes(frames: Shaped) -> int:
    """The counts of every frame; of other types one frame as float32, and what makes its histogram."""
    if frames.dtype.name in ("uint8", "uint16"):
        return len_of(frames) * (_COUNTED_BYTES + 16)
    rows, columns = frames.shape[1:]
    return 4 * 4 * rows * columns


@states(destripe_wavelet)
def destripe_wavelet_bytes(images: Shaped, options: WaveletOptions, counts: Any = None) -> int:
    """The result if it is light, the coefficients of all levels of the filtered bands, and products of the finest.

    What thresholds are found by is gone before.
    """
    is_split = options.sigma1 != options.sigma2
    n = len_of(images) * (bool(options.sigma1) + bool(options.sigma2) if is_split else 1)
    rows, columns = images.shape[-2:]
    length = wavelet_taps(options.wavelet)[0].shape[1]
    padded = (rows + rows % 2, columns + columns % 2)
    count = options.level or max_level(padded, options.wavelet)
    sizes = [int(level.buffer(n, length, _Counting)) for level in levels_of((rows, columns), length, count)]
    finest = sizes[0] if sizes else 0
    converted = 0 if images.dtype.name in _READ_AS_THEY_ARE else 4
    scaled = 0 if options.one_count == 1 else 8
    checked = 1 if images.dtype.kind == "f" else 0
    counted = otsu_of_frames_bytes(images) if is_split and options.threshold == OTSU else 0
    light = 4 if counts is None else 0
    return (light + converted + scaled + checked) * images.size + max(sum(sizes) + finest // 2, counted)


@states(destripe_lightsheet)
def destripe_lightsheet_bytes(image: Shaped, options: LightsheetOptions, edges: Any = None) -> int:
    """The result, both grids, sorted samples, and the data of one frame with its own result where it has margins."""
    rows, columns = image.shape[-2:]
    frame = rows * columns
    line = rows * max(1, columns // options.artifact_length)
    background = math.prod(max(1, n // BACKGROUND_SPACING_PX) for n in (rows, columns))
    converted = 0 if image.dtype.name in _READ_AS_THEY_ARE else 4
    checked = 1 if image.dtype.kind == "f" else 0
    itemsize = 4 if converted else image.dtype.itemsize
    data = frame * (4 + itemsize)
    is_shared = options.background_window_size >= SHARED_PX and not options.is_line_alone
    runs = itemsize * is_shared
    return (4 + converted + checked + runs) * image.size + 4 * len_of(image) * (line + background) + data


@states(destripe_guarded)
def destripe_guarded_bytes(frames: Shaped, notch: Notch, dark: float, counts: Any = None) -> int:
    """The result if it is light, and what is computed on the grid of windows."""
    n, rows, columns = frames.shape
    grid = n * (rows + 2 * (1 << notch.level)) * len(window_starts(columns))
    converted = 0 if frames.dtype.name in _READ_AS_THEY_ARE else 4
    light = 4 if counts is None else 0
    looked_at = frames.dtype.itemsize if converted else 0  # for saturated pixels, one by one
    return (light + converted + looked_at) * frames.size + 8 * _GRIDS * grid


@states(Correction.apply)
def corrected_bytes(
    correction: Correction, frame: Shaped, room: Shaped | None = None, host: Shaped | None = None
) -> int:
    """What destriping takes, or its result and what the flat field makes of it, whichever is more.

    Where destriping makes the counts itself, they are there before it begins.
    """
    frames = frame if frame.ndim == 3 else Shaped((1, *frame.shape), frame.dtype)
    dtype = correction.result_type(frames.dtype)
    if correction.is_identity:
        return frames.size * dtype.itemsize
    as_float = Shaped(frames.shape, np.dtype(np.float32))
    result = flattened_bytes(as_float, as_float, dtype, 0.0, room=room)
    checked = (1 + frames.dtype.itemsize) * frames.size if frames.dtype.kind == "f" else 0
    if not correction.destripes:
        return max(checked, (0 if _is_flattened(frames.dtype) else as_float.nbytes) + result)
    if correction.makes_counts(frames.dtype):
        counts = min(result, as_float.nbytes)
        return max(checked, counts + _destriped_bytes(correction, frames, makes_counts=True), result)
    return max(checked, _destriped_bytes(correction, frames), as_float.nbytes + result)


def _is_flattened(dtype: np.dtype[Any]) -> bool:
    """Whether frames of a type are flattened as they are, or as float32 first."""
    return any(argument == "images" and dtype.name in names for argument, names in flat_counts.grid.types.values())


def _destriped_bytes(correction: Correction, frames: Shaped, *, makes_counts: bool = False) -> int:
    as_float = Shaped(frames.shape, np.dtype(np.float32))
    counts = frames if makes_counts else None  # whatever they are
    if correction.method == "lightsheet":
        lessened = correction.lightsheet.lightsheet_vs_background < 1  # the offset is taken first, in float32
        taken = destripe_lightsheet_bytes(as_float if lessened else frames, correction.lightsheet)
        more = 2 * as_float.nbytes if lessened else 0
    elif correction.wavelet.notch is not None:
        more = 0 if makes_counts else 2 * as_float.nbytes
        taken = destripe_guarded_bytes(frames if makes_counts else as_float, correction.wavelet.notch, 0.0, counts)
    else:
        taken = destripe_wavelet_bytes(frames, correction.wavelet, counts)
        more = 0 if makes_counts else 2 * frames.size
    clipped = 0 if frames.dtype.kind == "u" else frames.nbytes
    return taken + more + clipped


def len_of(images: Shaped) -> int:
    """Number of frames of one image, or of several."""
    return images.shape[0] if images.ndim == 3 else 1


class _Counting:
    """In the place of a library: the bytes of the arrays that it would make."""

    @staticmethod
    def empty(shape: tuple[int, ...], dtype: Any) -> int:
        return math.prod(shape) * int(np.dtype(dtype).itemsize)
