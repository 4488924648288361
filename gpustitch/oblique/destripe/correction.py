"""The correction of each camera frame, before all other steps: destriping, dark offset, flat field."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from gpustitch.array import Array, namespace, resident
from gpustitch.errors import ParameterError
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, destripe_lightsheet
from gpustitch.oblique.destripe.wavelet import WaveletOptions, destripe_wavelet
from gpustitch.oblique.flat.flatfield import check_scaled_flat, flat_counts, inverse_flat, to_uint16

# The notch takes about half of a foreground structure of 2 * columns / sigma1 pixels. Cells are shorter than this.
_LEAST_KEPT_PX = 20

Method = Literal["none", "wavelet", "lightsheet"]


@documented
@dataclass(frozen=True, eq=False)
class Correction:
    """Destriping, then dark offset, then flat field; one object serves any number of frames and threads.

    Stripes are removed from the raw counts, and the dark offset is subtracted once. ``flat`` is the illumination
    (rows, columns) scaled to maximum 1, or None. Where ``flat`` is 0 the result is 0.

    Raises
    ------
    ParameterError
        If the flat is not scaled, not finite or negative, or ``dark`` is negative or not finite.
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
        help="Counts that the camera shows without light.",
        panel=DESTRIPING,
    )

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ParameterError(f"`method` must be one of {', '.join(get_args(Method))}, not {self.method!r}")
        if not (np.isfinite(self.dark) and self.dark >= 0):
            raise ParameterError(f"`dark` must be 0 or a positive number of counts, not {self.dark}")
        if self.flat is not None:
            check_scaled_flat(self.flat)

    @property
    def is_identity(self) -> bool:
        """Whether the correction changes nothing."""
        return not self.destripes and self.flat is None and self.dark == 0

    @property
    def destripes(self) -> bool:
        """Whether a pixel's result depends on other pixels of the frame."""
        if self.method == "wavelet":
            return self.wavelet.sigma1 > 0 or self.wavelet.sigma2 > 0
        return self.method == "lightsheet"

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

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ParameterError if the flat and frames of ``shape`` (rows, columns) differ in shape."""
        if self.flat is not None and tuple(self.flat.shape) != tuple(shape):
            raise ParameterError(
                f"the flat field is of {self.flat.shape[0]} x {self.flat.shape[1]} pixels but the frames are of "
                f"{shape[0]} x {shape[1]}; use a flat made from frames of this size and orientation"
            )

    def apply(self, frame: Array) -> Array:
        """The corrected frame (rows, columns), or frames (frames, rows, columns), as a new uint16 array.

        Counts are rounded and clipped to 0..65535.

        Raises
        ------
        ParameterError
            If the frame is neither 2-D nor 3-D, or differs in shape from the flat.
        """
        if frame.ndim not in (2, 3):
            raise ParameterError(
                "`frame` must be (rows, columns) or (frames, rows, columns), "
                f"not an array of shape {tuple(frame.shape)}"
            )
        self.check_shape(frame.shape[-2:])
        if self.is_identity:
            return to_uint16(frame)
        frames = frame[None] if frame.ndim == 2 else frame
        out = namespace(frame).empty(frames.shape, np.uint16)
        truncate = self.method == "wavelet" and self.wavelet.compat
        flat_counts(self._destriped(frames), resident(self._gain, frames), out, self.dark, truncate)
        return out.reshape(frame.shape)  # type: ignore[no-any-return]

    @cached_property
    def _gain(self) -> Array:
        return np.ones((1, 1), np.float32) if self.flat is None else inverse_flat(self.flat)

    def _destriped(self, frames: Array) -> Array:
        """The frames (frames, rows, columns) as float32 counts, without stripes."""
        if not self.destripes:
            return frames.astype(np.float32)
        if self.method == "wavelet":
            return destripe_wavelet(frames, self.wavelet)
        return destripe_lightsheet(frames, self.lightsheet)
