"""Options of the flat field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from gpustitch.array import Device
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.model.options import documented, option
from gpustitch.oblique.flat.fit import FlatModel, FlatOptions
from gpustitch.oblique.flat.look import Look
from gpustitch.running import options as shared

FLAT = "Flat field"  # heading of the options


@documented
@dataclass(frozen=True)
class IlluminationOptions:
    """Frames to estimate a flat from, and how; see :class:`FlatOptions` and :func:`percentile_bin`.

    ``paths`` are files, folders or patterns of images. ``rotate_90`` and ``flip_ud`` turn the flat, just as they turn
    frames in the stages that use the flat.
    """

    paths: tuple[str | Path, ...] = option(
        help="Files of raw frames, all of one size.", is_argument=True, metavar="DCIMG..."
    )
    output: Path = option(flag="--output -o", help="TIFF to write: the illumination in counts, float32.")
    intermediate_output: Path | None = option(None, help="TIFF to write: the percentile of each pixel, before the fit.")
    n_frames: int | None = option(
        None, help="Frames to take, at random; all if there are no more.", shown="all of them", panel=FLAT
    )
    n_bins: int = option(1024, help="Bins of the histogram of each pixel.", panel=FLAT)
    values_per_bin: int | None = option(
        None,
        help="Counts in a bin; values of at least `n_bins` times this are not counted.",
        shown=f"{FlatOptions.values_per_bin}, or with `auto` as the frames need",
        panel=FLAT,
    )
    min_samples: int = option(20, help="Pixels in each random sample that the robust fit starts from.", panel=FLAT)
    percentile: float = option(
        95.0,
        at_least=0,
        at_most=100,
        help="Percentile of each pixel's counted values that the fit goes through.",
        panel=FLAT,
    )
    background: int | None = option(
        None,
        help="Values below this are not tissue and are not counted.",
        shown=f"{FlatOptions.background}, or with `auto` as the frames need",
        panel=FLAT,
    )
    dark: float = option(
        0.0,
        help="Counts that the camera shows without light, less than `background`. They are subtracted, which makes "
        "the flat proportional to the light: give the same value as for destriping.",
        panel=FLAT,
    )
    model: FlatModel = option(
        "reference",
        help="'reference' is A x^2 + B x + C y + D; 'product' is the exponential of that; 'smooth' the exponential of "
        "a polynomial of degree 4.",
        panel=FLAT,
    )
    seed: int = option(0, help="Start of the fit's random numbers.", panel=FLAT)
    rotate_90: int = shared.rotate_90()
    flip_ud: bool = shared.flip_ud()
    n_workers: int | None = shared.n_workers()
    overwrite: bool = shared.overwrite()
    allow_missing: bool = shared.allow_missing()
    on_error: shared.OnError = shared.on_error()
    choice: StackChoice = shared.stack_choice()
    memory_bytes: int = shared.memory(1 << 30)
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()
    auto: bool = option(
        False,
        help="Choose the model, and bins and `background` that are not given, from the frames. A flat worse than none "
        "is refused. The residual (percent) and a record are written beside the flat.",
        panel=FLAT,
    )
    allow_poor_flat: bool = option(False, help="Use a flat even if frames without one are flatter.", panel=FLAT)

    def fit_options(self, look: Look | None = None) -> FlatOptions:
        """The options of the fit; ParameterError if one is out of range.

        ``look`` decides what is not given, with ``auto``.
        """
        n_bins, width = self.n_bins, self.values_per_bin
        background = FlatOptions.background if self.background is None else self.background
        if self.auto and look is not None:
            n_bins, width = look.bins(n_bins, width)
            background = look.background if self.background is None else background
        if self.auto and self.background is None and math.isfinite(self.dark):
            background = max(background, math.floor(self.dark) + 1)
        return FlatOptions(
            n_bins,
            FlatOptions.values_per_bin if width is None else width,
            background,
            self.dark,
            self.min_samples,
            self.model,
            self.seed,
            is_centred=self.auto,
        )

    @property
    def residual_output(self) -> Path:
        """Where ``auto`` writes what the flat misses, in percent."""
        return self.output.with_name(f"{self.output.stem}_residual{self.output.suffix}")

    @property
    def record_output(self) -> Path:
        """Where ``auto`` writes its record."""
        return self.output.with_name(f"{self.output.name}.json")
