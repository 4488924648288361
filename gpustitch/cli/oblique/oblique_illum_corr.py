"""``gpustitch oblique-illum-corr``: the flat field from raw frames."""

from __future__ import annotations

from gpustitch.cli.build import command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.oblique.flat.stage import plan, run


@command_of
def command(options: IlluminationOptions, progress: TerminalProgress) -> None:
    """Estimate the illumination of the camera frame from the tissue that many frames show.

    Where tissue passes by, each pixel's percentile over the frames follows the light. A smooth model is fitted to the
    percentiles.

    Example: gpustitch oblique-illum-corr --output flat.tiff --n-frames 2000 Ex_488_Em_1/*/*/*.dcimg
    """
    progress.result(f"{options.output}: {run(plan(options), progress).summary}")
