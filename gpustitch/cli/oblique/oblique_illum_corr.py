"""``gpustitch oblique-illum-corr``: the flat field from raw frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.frame_options import AllowTruncated
from gpustitch.cli.terminal import FlipUd, Overwrite, Quiet, RotateK, TerminalProgress, Workers, reported_errors
from gpustitch.oblique.flat import stage as illumination
from gpustitch.oblique.flat.fit import FlatModel


def command(
    dcimg: Annotated[list[str], typer.Argument(metavar="DCIMG...", help="Files of raw frames, all of one size.")],
    output: Annotated[Path, typer.Option("--output", help="TIFF to write: the illumination in counts, float32.")],
    intermediate_output: Annotated[
        Path | None,
        typer.Option("--intermediate-output", help="TIFF to write: the percentile of each pixel, before the fit."),
    ] = None,
    n_frames: Annotated[
        int | None, typer.Option("--n-frames", help="Frames to take, at random of all (default: all of them).")
    ] = None,
    n_bins: Annotated[int, typer.Option("--n-bins", help="Bins of the histogram of each pixel.")] = 1024,
    values_per_bin: Annotated[
        int,
        typer.Option("--values-per-bin", help="Counts in a bin; values of at least n-bins times this are not counted."),
    ] = 4,
    min_samples: Annotated[
        int, typer.Option("--min-samples", help="Pixels in each random sample that the robust fit starts from.")
    ] = 20,
    percentile: Annotated[
        float, typer.Option("--percentile", help="Percentile of each pixel's counted values that the fit goes through.")
    ] = 95.0,
    background: Annotated[
        int, typer.Option("--background", help="Values below this are not tissue and are not counted.")
    ] = 150,
    dark: Annotated[
        float,
        typer.Option(
            "--dark",
            help="What the camera shows without light, less than --background. It is subtracted, which makes the flat "
            "proportional to the light: give what destriping is given.",
        ),
    ] = 0.0,
    rotate_90: RotateK = 0,
    flip_ud: FlipUd = False,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="'reference' is A x^2 + B x + C y + D; 'product' is the exponential of that.",
        ),
    ] = "reference",
    seed: Annotated[int, typer.Option("--seed", help="Start of the fit's random numbers.")] = 0,
    n_workers: Workers = None,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Estimate the illumination of the camera frame from the tissue that many frames show.

    Each pixel's percentile over the frames follows the light where tissue passes by; a smooth model is fitted to it.

    Example: gpustitch oblique-illum-corr --output flat.tiff --n-frames 2000 brain/*/*/*.dcimg
    """
    with reported_errors():
        progress = TerminalProgress(quiet=quiet)
        plan = illumination.plan(
            illumination.IlluminationOptions(
                paths=tuple(dcimg),
                output=output,
                intermediate_output=intermediate_output,
                n_frames=n_frames,
                n_bins=n_bins,
                values_per_bin=values_per_bin,
                min_samples=min_samples,
                percentile=percentile,
                background=background,
                dark=dark,
                model=cast(FlatModel, model),
                seed=seed,
                rotate_90=rotate_90,
                flip_ud=flip_ud,
                device=taken_device(device, device_memory, progress),
                n_workers=n_workers,
                allow_truncated=allow_truncated,
                overwrite=overwrite,
            )
        )
        result = illumination.run(plan, progress)
        print(f"{output}: {result.summary}")
