"""``gpustitch destripe``: stripes removed from images, as pystripe does."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.options import (
    ArtifactLength,
    BackgroundWindow,
    Compat,
    Crossover,
    Dark,
    FlatFile,
    LightsheetVsBackground,
    Percentile,
    Sigma1,
    Sigma2,
    Threshold,
    Wavelet,
)
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, reported_errors
from gpustitch.oblique.destripe import stage as destripe
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet import WaveletOptions
from gpustitch.oblique.flat.file import read_flat


class OnError(StrEnum):
    """What to do about a damaged file."""

    stop = "stop"
    skip = "skip"


def command(
    input: Annotated[
        Path, typer.Option("--input", "-i", help="Image, folder of images (and all below it) or DCIMG file.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="TIFF or folder (default: INPUT_destriped).")
    ] = None,
    sigma1: Sigma1 = 0.0,
    sigma2: Sigma2 = 0.0,
    level: Annotated[
        int, typer.Option("--level", "-l", help="Number of wavelet levels, 0 for as many as the image allows.")
    ] = 0,
    wavelet: Wavelet = "db3",
    threshold: Threshold = -1.0,
    crossover: Crossover = 10.0,
    compat: Compat = False,
    flat: FlatFile = None,
    dark: Dark = 0.0,
    lightsheet: Annotated[
        bool, typer.Option("--lightsheet", help="Compare local percentiles instead of notching wavelets.")
    ] = False,
    artifact_length: ArtifactLength = 150,
    background_window_size: BackgroundWindow = 200,
    percentile: Percentile = 0.25,
    lightsheet_vs_background: LightsheetVsBackground = 2.0,
    compression: Annotated[int, typer.Option("--compression", "-c", help="Level of zlib, 0 for none.")] = 1,
    rotate: Annotated[
        bool, typer.Option("--rotate", "-r", help="First turn images by 90 degrees counter-clockwise.")
    ] = False,
    zstep: Annotated[
        float | None,
        typer.Option("--zstep", "-z", help="Distance between DCIMG frames, um; names TIFFs after their position."),
    ] = None,
    dont_convert_16bit: Annotated[
        bool, typer.Option("--dont-convert-16bit", help="Write images of the input's type instead of 16-bit ones.")
    ] = False,
    on_error: Annotated[OnError, typer.Option(help="What to do about a damaged file.")] = OnError.stop,
    workers: Annotated[
        int, typer.Option("--workers", "-n", "--n-workers", help="Number of threads, 0 for one per CPU.")
    ] = 0,
    chunks: Annotated[int, typer.Option("--chunks", help="Accepted for old scripts; changes nothing.")] = 1,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Remove stripes along the rows, dark offset and uneven illumination from images.

    With --sigma1 and --sigma2 foreground and background are filtered apart, with equal ones the whole image at once.

    Example: gpustitch destripe -i raw -o destriped --sigma1 128 --sigma2 512 --wavelet db5 --flat flat.tiff --dark 100
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        correction = Correction(
            "lightsheet" if lightsheet else "wavelet",
            WaveletOptions(sigma1, sigma2, level, wavelet, crossover, threshold, compat),
            LightsheetOptions(artifact_length, background_window_size, percentile, lightsheet_vs_background),
            None if flat is None else read_flat(flat),
            dark,
        )
        options = destripe.DestripeOptions(
            input=input,
            output=output,
            correction=correction,
            rotate=rotate,
            compression=compression,
            zstep_um=zstep,
            keep_type=dont_convert_16bit,
            on_error=on_error.value,
            device=taken_device(device, device_memory, progress),
            n_workers=workers or None,
            overwrite=overwrite,
        )
        progress.note(destripe.run(destripe.plan(options), progress).summary)
