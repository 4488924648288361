"""The correction of each camera frame, before all other steps: destriping, dark offset, flat field."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from gpustitch.array import Array, namespace, resident
from gpustitch.errors import DamagedInputError, ParameterError
from gpustitch.model import Frames
from gpustitch.model.numbers import check_numbers
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.guarded_notch.notch import destripe_guarded
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, destripe_lightsheet
from gpustitch.oblique.destripe.margins import edges_of
from gpustitch.oblique.destripe.saturation import keep_ends
from gpustitch.oblique.destripe.wavelet import destripe_wavelet, takes_counts
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat.flatfield import (
    COUNTED,
    Counts,
    check_scaled_flat,
    count_at_end,
    flattened,
    inverse_flat,
)

# The notch takes about half of a foreground structure of 2 * columns / sigma1 pixels. Cells are shorter than this.
_LEAST_KEPT_PX = 20
# Bytes per pixel that one thread takes besides, measured: 13 for a flat alone, up to 20 for a filter.
_WORKING_BYTES = 20

Method = Literal["none", "wavelet", "lightsheet"]
OutputType = Literal["keep", "uint8", "uint16", "float32"]
_KEPT = ("uint8", "uint16", "float32", "int8", "int16", "int32", "uint32", "float64")
# Whole numbers up to this are exact in float32, in which corrections are computed.
_MOST_EXACT = 1 << 24


@documented
@dataclass(frozen=True, eq=False)
class Correction:
    """Destriping, then dark offset, then flat field; one object serves any number of frames and threads.

    Stripes are removed from the raw counts, and the dark offset is taken once: the lightsheet method takes it with the
    background, so nothing is subtracted after it. After the wavelet method, but with ``compat``, pixels that were 0 or
    saturated are so still (:mod:`gpustitch.oblique.destripe.saturation`). ``flat`` is the illumination (rows, columns)
    scaled to maximum 1, or None. Where ``flat`` is 0 the result is 0.

    Raises
    ------
    ParameterError
        If the flat is no image, not scaled, not finite or negative, ``dark`` is no number, negative or not finite, or
        a choice is none.
    """

    method: Method = option(
        "none", flag="--destripe-method", help="How to remove stripes along the rows.", panel=DESTRIPING
    )
    wavelet: WaveletOptions = nested(WaveletOptions)
    lightsheet: LightsheetOptions = nested(LightsheetOptions)
    flat: Array | None = None
    dark: float = option(
        0.0,
        flag="--dark -d",
        at_least=0,
        help="Counts that the camera shows without light, taken off once: lightsheet does so with the background.",
        panel=DESTRIPING,
    )
    dtype: OutputType = option(
        "keep",
        help="Type of corrected pixels; keep is that of the frames. Another cuts off and counts what it cannot hold.",
        panel=DESTRIPING,
    )

    def __post_init__(self) -> None:
        for name, value, choices in (("method", self.method, Method), ("dtype", self.dtype, OutputType)):
            if not isinstance(value, str) or value not in get_args(choices):
                raise ParameterError(f"`{name}` must be one of {', '.join(get_args(choices))}, not {value!r:.60}")
        for name, part, kind in (
            ("wavelet", self.wavelet, WaveletOptions),
            ("lightsheet", self.lightsheet, LightsheetOptions),
        ):
            if not isinstance(part, kind):
                raise ParameterError(f"`{name}` must be {kind.__name__}, not {part!r:.60}")
        check_numbers(dark=self.dark)
        if not (np.isfinite(self.dark) and self.dark >= 0):
            raise ParameterError(f"`dark` must be 0 or a positive number of counts, not {self.dark}")
        if self.method != "wavelet" and self.wavelet.notch is not None:
            raise ParameterError(
                f"`notch_length_px` is of `method` wavelet, but `method` is {self.method}: give one or the other"
            )
        if self.flat is not None:
            check_scaled_flat(self.flat)

    @property
    def is_identity(self) -> bool:
        """Whether the correction changes nothing."""
        return not self.destripes and self.flat is None and self.dark == 0 and self.dtype == "keep"

    @property
    def destripes(self) -> bool:
        """Whether a pixel's result depends on other pixels of the frame."""
        if self.method == "wavelet":
            wavelet = self.wavelet
            return wavelet.sigma1 > 0 or wavelet.sigma2 > 0 or wavelet.notch_length_px is not None
        return self.method == "lightsheet"

    @property
    def destripes_by_rows(self) -> bool:
        """Whether stripes are told from their own row alone."""
        return self.method == "lightsheet" and self.lightsheet.reach_px[0] == 0

    def surroundings(self, rows: slice, columns: slice, shape: tuple[int, int]) -> tuple[slice, slice] | None:
        """The part of a frame of ``shape`` that tells the stripes in ``rows`` and ``columns``; None for all of it.

        Stripes told from that part are as good as, but not equal to, those told from the whole frame.
        """
        notch, reach, grain = self.wavelet.notch, (0, 0), 1
        if self.method == "lightsheet":
            reach = self.lightsheet.reach_px
        elif self.destripes and notch is None:
            return None
        elif notch is not None:
            # Every second row of each level is kept: the same ones as of the whole frame.
            reach, grain = notch.reach_px, 1 << notch.level
        top = max(0, rows.start - reach[0]) // grain * grain
        left = max(0, columns.start - reach[1])
        return slice(top, min(shape[0], rows.stop + reach[0])), slice(left, min(shape[1], columns.stop + reach[1]))

    @property
    def to_compare(self) -> Correction:
        """The same for comparing tiles: lightsheet's background moves no peak, so it is not estimated."""
        if self.method != "lightsheet":
            return self
        return replace(self, lightsheet=replace(self.lightsheet, is_line_alone=True))

    @property
    def subtracts_dark(self) -> bool:
        """Whether the dark offset is subtracted from each pixel, by the method or after it."""
        return self.dark > 0 and self.method != "lightsheet"

    @property
    def takes_dark(self) -> bool:
        """Whether the method takes the dark offset itself, before or with the stripes."""
        return self.method == "lightsheet" or (self.method == "wavelet" and self.wavelet.notch is not None)

    @property
    def note(self) -> str:
        """What users should know of the method before they take its result for tissue; empty if there is nothing."""
        if self.method != "lightsheet":
            return ""
        return (
            "`method` lightsheet removes the background, and the dark offset with it, for counting cells; "
            "`method` wavelet keeps tissue"
        )

    def caution(self, n_columns: int) -> str:
        """A warning about destriping frames of ``n_columns`` columns; empty if there is none."""
        sigma = self.wavelet.sigma1
        if self.method != "wavelet" or sigma <= 0 or 2 * n_columns / sigma >= _LEAST_KEPT_PX:
            return ""
        return (
            f"`sigma1` {sigma:g} on frames of {n_columns} columns also removes structures longer than "
            f"{2 * n_columns / sigma:.0f} pixels along the rows, perhaps cells: give `sigma1` a value below "
            f"{2 * n_columns / _LEAST_KEPT_PX:.0f}"
        )

    def caution_about(self, frame: Array) -> str:
        """A warning about correcting frames like this one; empty if there is none."""
        if not frame.size:
            return ""
        greatest = float(frame.max())
        caution = self._caution_about_unit(frame, greatest)
        if not caution and self.subtracts_dark and 0 < greatest <= self.dark:
            return f"`dark` is {self.dark:g}, but a frame reaches only {greatest:g}: nothing is left of it"
        return caution

    def _caution_about_unit(self, frame: Array, greatest: float) -> str:
        if frame.dtype.kind != "f" and self.wavelet.one_count == 1:
            return ""
        if 0 < greatest <= 1 and self.result_type(frame.dtype).kind == "u":
            return f"the frames reach only {greatest:.3g}, of which `dtype` {self.dtype} keeps no more than 0 and 1"
        if self.method != "wavelet" or not self.destripes:
            return ""
        if not 0 < greatest < self.wavelet.one_count * self.wavelet.crossover:
            return ""
        return (
            f"the wavelet method works on counts, but the frames reach only {greatest:.3g}: give `one_count`, the "
            "value of one count in them (about 1.5e-5 for frames from 0 to 1)"
        )

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ParameterError if the flat and frames of ``shape`` (rows, columns) differ in shape."""
        if self.flat is not None and tuple(self.flat.shape) != tuple(shape):
            raise ParameterError(
                f"the flat field is of {self.flat.shape[0]} x {self.flat.shape[1]} pixels but the frames are of "
                f"{shape[0]} x {shape[1]}; use a flat made from frames of this size and orientation"
            )

    def result_type(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Type of the corrected pixels of frames of ``dtype``.

        Raises
        ------
        ParameterError
            If frames of that type cannot be corrected, or not without a type stated in ``dtype``.
        """
        if self.dtype != "keep" and dtype.kind in "uif":
            return np.dtype(self.dtype)
        if dtype.name not in _KEPT:
            advice = "state the `dtype` of the result" if dtype.kind in "uif" else "convert the frames"
            raise ParameterError(f"pixels of {dtype} cannot keep their type, as {', '.join(_KEPT)} can; {advice}")
        return dtype.newbyteorder("=")

    def apply(self, frame: Array, room: Array | None = None, host: Array | None = None) -> Array:
        """The corrected frame (rows, columns), or frames (frames, rows, columns), as an array of `result_type`.

        It is computed in float32. Whole numbers are rounded and clipped to the range of their type. The array is new,
        or may be ``room``, of the shape (frames, rows, columns) and apart from the frame. ``host`` has frames of a
        device on the host, where they are there too: they tell at once what else would be waited for.

        Raises
        ------
        ParameterError
            If the frame is neither 2-D nor 3-D, or differs in shape from the flat. With ``dtype`` ``"keep"``, if its
            type cannot be kept, values are below 0 and to be destriped, or whole numbers are too great for float32.
        DamagedInputError
            If the frame holds NaN or infinity.
        """
        if frame.ndim not in (2, 3):
            raise ParameterError(
                "`frame` must be (rows, columns) or (frames, rows, columns), "
                f"not an array of shape {tuple(frame.shape)}"
            )
        self.check_shape(frame.shape[-2:])
        dtype = self.result_type(frame.dtype)
        if self.is_identity:
            return frame.astype(dtype)
        self.check_values(frame)
        frames = frame[None] if frame.ndim == 2 else frame
        truncate = self.method == "wavelet" and self.wavelet.compat
        dark = 0.0 if self.takes_dark else self.dark
        gain = resident(self._gain, frames)
        if self.makes_counts(frames.dtype):
            counts = Counts.of(frames, gain, dtype, dark, truncate=truncate, room=room)
            if self.wavelet.notch is not None:
                destripe_guarded(frames, self.wavelet.notch, self.dark, counts)
            else:
                destripe_wavelet(self._light(frames), self.wavelet, counts)
            out = counts.as_type(dtype)
        else:
            out = flattened(self._destriped(frames, host), gain, dtype, dark, truncate=truncate, room=room)
        return out if out is room else out.reshape(frame.shape)

    def makes_counts(self, dtype: np.dtype[Any]) -> bool:
        """Whether the last step that destripes frames of a type also makes counts: no light is written before."""
        if self.method != "wavelet" or not self.destripes:
            return False
        return self.wavelet.one_count == 1 if self.wavelet.notch is not None else takes_counts(dtype, self.wavelet)

    def check_values(self, frame: Array) -> None:
        """Refuse a frame whose values the correction would lose; raises what `apply` raises about them."""
        xp, kind = namespace(frame), frame.dtype.kind
        if kind in "ui" and self.dark >= np.iinfo(frame.dtype).max:
            raise ParameterError(
                f"`dark` is {self.dark:g}, but frames of {frame.dtype} hold no more than {np.iinfo(frame.dtype).max}: "
                "nothing would be left of them"
            )
        if kind == "f":
            broken = frame.size - int(xp.count_nonzero(xp.abs(frame) <= np.finfo(np.float32).max))
            if broken:
                raise DamagedInputError(
                    f"{broken} of the {frame.size} pixels at hand are NaN, infinite or beyond float32; mend them first"
                )
        if self.dtype != "keep" or frame.size == 0:
            return
        if self.destripes and not self.wavelet.notch and kind != "u" and float(frame.min()) < 0:
            raise ParameterError(
                f"a frame holds values down to {float(frame.min()):g}, but destriping takes 0 for no light: add an "
                "offset to the frames, or state the `dtype` of the result, which cuts them off at 0"
            )
        if kind != "f" and frame.dtype.itemsize > 2:
            greatest = max(int(frame.max()), -int(frame.min()))
            if greatest > _MOST_EXACT:
                raise ParameterError(
                    f"a frame of {frame.dtype} holds {greatest}, and whole numbers above {_MOST_EXACT} would lose "
                    "digits; give `dtype` float32 to accept that"
                )

    def n_cut_off(self, raw: Array, corrected: Array) -> int:
        """Number of pixels of raw frames that may have lost their value at an end of a range.

        They came to an end of the corrected frames' type, 0 aside, at which the raw pixel was not. Or they were below
        0, where destriping or the type takes none of that.
        """
        xp, kind, count = namespace(raw), corrected.dtype.kind, 0
        ends = np.iinfo(corrected.dtype) if kind != "f" and corrected.size else None
        if ends and (int(corrected.max()) == ends.max or (kind == "i" and int(corrected.min()) == ends.min)):
            at_end = corrected == ends.max
            if kind == "i":
                at_end |= corrected == ends.min
            if raw.dtype == corrected.dtype:
                at_end &= raw != corrected
            count = int(xp.count_nonzero(at_end))
        if raw.dtype.kind != "u" and (kind == "u" or (self.destripes and not self.wavelet.notch)):
            count += int(xp.count_nonzero(raw < 0))
        return count

    def add_cut_off(self, raw: Array, corrected: Array, counts: Array) -> None:
        """Add to ``counts``, whole numbers (`N_SHARES`,), so much as :meth:`n_cut_off`; a device is hardly waited for.

        ``counts`` lie where the frames do.
        """
        like = corrected.dtype == raw.dtype and raw.dtype.name in COUNTED
        if like and counts.dtype == np.uint32:
            count_at_end(raw, corrected, counts)
        else:
            counts[:1] += self.n_cut_off(raw, corrected)

    @cached_property
    def _gain(self) -> Array:
        return np.ones((1, 1), np.float32) if self.flat is None else inverse_flat(self.flat)

    def _destriped(self, frames: Array, host: Array | None) -> Array:
        """The frames (frames, rows, columns) as float32 counts, without stripes; without offset if `takes_dark`.

        On a device, frames without stripes stay as they are where the kernel that divides by the flat reads them.
        """
        xp = namespace(frames)
        if not self.destripes:
            is_read = xp is not np and frames.dtype.name in ("uint8", "uint16")
            return frames if is_read else frames.astype(np.float32)
        if self.method == "wavelet" and self.wavelet.notch is not None:
            unit = self.wavelet.one_count
            return destripe_guarded(
                frames.astype(np.float32) / np.float32(unit), self.wavelet.notch, self.dark / unit
            ) * np.float32(unit)
        edges = None if host is None or self.method != "lightsheet" else [*map(self._light, edges_of(host))]
        frames = self._light(frames)
        if self.method == "wavelet":
            destriped = destripe_wavelet(frames, self.wavelet)
            if not self.wavelet.compat:
                keep_ends(frames, destriped)
            return destriped
        return destripe_lightsheet(frames, self.lightsheet, edges)

    def _light(self, pixels: Array) -> Array:
        """The pixels as pystripe's and the lightsheet method take them, one by one: none is below no light."""
        xp = namespace(pixels)
        if pixels.dtype.kind != "u" and self.dtype != "keep":
            pixels = xp.maximum(pixels, 0)
        if self.method == "lightsheet" and self.lightsheet.lightsheet_vs_background < 1:
            # Less than the background holds less than the offset.
            pixels = xp.maximum(pixels.astype(np.float32) - np.float32(self.dark), 0)
        return pixels


def working_bytes(correction: Correction | None, frames: Frames, n_frames: int) -> int:
    """About the host memory in which a thread reads and corrects ``n_frames`` at a time."""
    n_pixels, raw = math.prod(frames.shape[1:]), n_frames * np.dtype(frames.dtype).itemsize
    corrected = 0 if correction is None else n_frames * correction.result_type(frames.dtype).itemsize + _WORKING_BYTES
    return n_pixels * (raw + corrected)


def cut_off_text(count: int) -> str:
    """A warning about pixels that `Correction.n_cut_off` counts."""
    return (
        f"{count} pixels were cut off at the greatest value of their type, or at 0; give a wider `dtype`, such as "
        "float32, to keep what exceeds a type"
    )
