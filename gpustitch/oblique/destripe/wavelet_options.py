"""How the wavelet method filters: pystripe's bandwidths, or the notch of the guarded filter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pywt

from gpustitch.errors import ParameterError
from gpustitch.model.options import documented, option
from gpustitch.oblique.destripe import DESTRIPING
from gpustitch.oblique.destripe.guarded_notch.notch import Notch

OTSU = -1.0
# Bandwidths of spimstitch's pipeline script.
SIGMA1, SIGMA2 = 128.0, 512.0
CROSSOVER = 10.0
# The guarded filter, where no frames chose.
NOTCH_LENGTH_PX, NOTCH_LEVELS = 1024.0, 4
# No camera frame can be halved more often than this.
_MOST_LEVELS = 20
# Frames are divided by a count: by others than these, float32 overflows.
_GREATEST_COUNT = 1e12


@documented
@dataclass(frozen=True)
class WaveletOptions:
    """How the wavelet method removes stripes along the rows.

    There are two filters. Bandwidths (``sigma1``, ``sigma2``) are pystripe's; equal ones filter the image without
    splitting it into foreground and background. A ``notch_length_px`` is the guarded filter, which keeps cells and
    borders (`gpustitch.oblique.destripe.guarded_notch.notch`). Without either the frames may choose: `is_open`.

    ``strengths`` are those of the guarded filter's levels, and ``shadows`` whether stripes only darken, as the frames
    chose them.

    Raises
    ------
    ParameterError
        If an option is out of range.
    """

    sigma1: float = option(
        0.0,
        flag="--sigma1 -s1",
        at_least=0,
        help="Bandwidth for the foreground, pixels; larger removes more, 0 nothing.",
        panel=DESTRIPING,
    )
    sigma2: float = option(
        0.0,
        flag="--sigma2 -s2",
        at_least=0,
        help="Bandwidth for the background, pixels; larger removes more, 0 nothing.",
        panel=DESTRIPING,
    )
    level: int = option(
        0,
        flag="--decomposition-levels -l",
        at_least=0,
        at_most=_MOST_LEVELS,
        help="Number of wavelet levels, 0 for as many as the frame allows.",
        panel=DESTRIPING,
    )
    wavelet: str = option("db3", flag="--wavelet -w", help="Name of the wavelet in PyWavelets.", panel=DESTRIPING)
    crossover: float = option(
        CROSSOVER,
        flag="--crossover -x",
        help="Width of the transition from background to foreground, counts.",
        panel=DESTRIPING,
    )
    threshold: float = option(
        OTSU,
        flag="--threshold -t",
        help="Counts that separate background from foreground; -1 for Otsu's threshold.",
        panel=DESTRIPING,
    )
    compat: bool = option(
        False,
        help="Reproduce pystripe's wavelet results: its order of frequencies, truncated counts.",
        panel=DESTRIPING,
    )
    one_count: float = option(
        1.0,
        help="Value of one count in the frames, for the wavelet method, such as 1.5e-5 in frames from 0 to 1.",
        panel=DESTRIPING,
    )
    notch_length_px: float | None = option(
        None,
        flag="--notch-length",
        unit="px",
        help="Guarded wavelet filter, which keeps cells and borders: what is longer than this along the rows is a "
        "stripe, pixels. 4 levels unless stated.",
        shown="none",
        panel=DESTRIPING,
    )
    strengths: tuple[float, ...] = ()
    shadows: bool = False

    def __post_init__(self) -> None:
        if not 1 / _GREATEST_COUNT <= self.one_count <= _GREATEST_COUNT:
            raise ParameterError(
                f"`one_count` must be a positive number, from {1 / _GREATEST_COUNT:g} to {_GREATEST_COUNT:g}, not "
                f"{self.one_count}"
            )
        length = self.notch_length_px
        if length is not None and not (math.isfinite(length) and length > 0):
            raise ParameterError(f"`notch_length_px` must be a positive number of pixels, not {length}")
        if length is not None and (self.sigma1 or self.sigma2 or self.compat):
            raise ParameterError(
                "`notch_length_px` is of the guarded filter, but `sigma1`, `sigma2` and `compat` are of pystripe's: "
                "give one or the other"
            )
        if length is not None and self._splits:
            raise ParameterError(
                "`threshold` and `crossover` are of pystripe's filter, `notch_length_px` of the guarded one, which "
                "splits no frame: give one or the other"
            )
        for name, sigma in (("`sigma1`", self.sigma1), ("`sigma2`", self.sigma2)):
            if not (math.isfinite(sigma) and sigma >= 0):
                raise ParameterError(f"{name} must be 0 or a positive number of pixels, not {sigma}")
        if not 0 <= self.level <= _MOST_LEVELS:
            raise ParameterError(f"`level` must be from 0 (as many as possible) to {_MOST_LEVELS}, not {self.level}")
        if self.wavelet not in pywt.wavelist(kind="discrete"):
            raise ParameterError(f"`wavelet` {self.wavelet!r} is not a discrete wavelet such as db3, sym4 or haar")
        if not (math.isfinite(self.crossover) and self.crossover > 0):
            raise ParameterError(f"`crossover` must be a positive number of counts, not {self.crossover}")
        if not (self.threshold == OTSU or (math.isfinite(self.threshold) and self.threshold >= 0)):
            raise ParameterError(f"`threshold` must be -1 (Otsu's) or a number of counts, not {self.threshold}")

    @property
    def is_open(self) -> bool:
        """Whether nothing says how to filter, so that the frames may choose."""
        stated = self.sigma1 or self.sigma2 or self.level or self.compat or self.notch_length_px or self._splits
        return not stated

    @property
    def _splits(self) -> bool:
        """Whether it is stated how pystripe's filter splits a frame."""
        return self.threshold != OTSU or self.crossover != CROSSOVER

    @property
    def notch(self) -> Notch | None:
        """The guarded filter; None for pystripe's."""
        if self.notch_length_px is None:
            return None
        return Notch(self.notch_length_px, self.level or NOTCH_LEVELS, self.wavelet, self.strengths, self.shadows)

    @property
    def completed(self) -> WaveletOptions:
        """The options with a value for what was left open; spimstitch's bandwidths for one that is missing.

        Raises
        ------
        ParameterError
            If it is stated how to split a frame, but not with which bandwidths.
        """
        if self.notch_length_px is not None or (self.sigma1 and self.sigma2):
            return self
        if self.sigma1 or self.sigma2 or self.compat:
            return replace(self, sigma1=self.sigma1 or SIGMA1, sigma2=self.sigma2 or SIGMA2)
        if self._splits:
            raise ParameterError(
                "`threshold` and `crossover` are of pystripe's filter, which has bandwidths: give `sigma1` and `sigma2`"
            )
        return replace(self, notch_length_px=NOTCH_LENGTH_PX)
