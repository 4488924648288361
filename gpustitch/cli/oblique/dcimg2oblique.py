"""``gpustitch dcimg2oblique``: raw frames, corrected and destriped on the way, to a de-obliqued volume."""

from __future__ import annotations

from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.frame_options import AllowTruncated, FramesInput
from gpustitch.cli.oblique_options import (
    Angle,
    ChunkSize,
    Levels,
    LogLevel,
    ObliqueOutput,
    StepSize,
    VoxelSize,
    Writers,
    deoblique,
)
from gpustitch.cli.options import (
    ArtifactLength,
    BackgroundWindow,
    Compat,
    Crossover,
    Dark,
    DecompositionLevels,
    DestripeMethod,
    FlatFile,
    LightsheetVsBackground,
    Percentile,
    Sigma1,
    Sigma2,
    Threshold,
    Wavelet,
)
from gpustitch.cli.terminal import (
    FlipUd,
    Overwrite,
    Quiet,
    RotateK,
    TerminalProgress,
    Workers,
    parsed_zyx,
    reported_errors,
)
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.oblique.deskew.stage import DeobliqueOptions
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet import WaveletOptions
from gpustitch.oblique.flat.file import read_flat


def command(
    input: FramesInput,
    output: ObliqueOutput,
    start: Annotated[int | None, typer.Option("--start", help="First frame to use (default: 0).")] = None,
    stop: Annotated[int | None, typer.Option("--stop", help="Frame to stop before (default: all frames).")] = None,
    destripe_method: Annotated[
        DestripeMethod, typer.Option("--destripe-method", help="How stripes are removed.")
    ] = DestripeMethod.none,
    sigma1: Sigma1 = 0.0,
    sigma2: Sigma2 = 0.0,
    decomposition_levels: DecompositionLevels = 0,
    wavelet: Wavelet = "db3",
    threshold: Threshold = -1.0,
    crossover: Crossover = 10.0,
    compat: Compat = False,
    artifact_length: ArtifactLength = 150,
    background_window_size: BackgroundWindow = 200,
    percentile: Percentile = 0.25,
    lightsheet_vs_background: LightsheetVsBackground = 2.0,
    flat: FlatFile = None,
    dark: Dark = 0.0,
    rotate_90: RotateK = 0,
    flip_ud: FlipUd = False,
    levels: Levels = 5,
    x_step_size: StepSize = 1.28,
    y_voxel_size: VoxelSize = 1.8,
    angle: Angle = 45.0,
    chunk_size: ChunkSize = "64,64,64",
    jp2k: Annotated[
        bool, typer.Option("--jp2k", help="Accepted for old scripts: the kind of files is seen from their names.")
    ] = False,
    chunks: Annotated[
        int, typer.Option("--chunks", help="Accepted for old scripts; changes nothing.", hidden=True)
    ] = 1,
    n_workers: Workers = None,
    n_writers: Writers = N_WRITERS,
    log_level: LogLevel = "WARNING",
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Correct raw frames and resample them onto an upright grid, in one go: a Neuroglancer volume with its pyramid.

    Each frame is turned and flipped, destriped, freed of the dark offset, divided by the flat field, and interpolated.

    Example: gpustitch dcimg2oblique --input raw/0.dcimg --output oblique --destripe-method lightsheet --flat flat.tiff
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        correction = Correction(
            destripe_method.value,
            WaveletOptions(sigma1, sigma2, decomposition_levels, wavelet, crossover, threshold, compat),
            LightsheetOptions(artifact_length, background_window_size, percentile, lightsheet_vs_background),
            None if flat is None else read_flat(flat),
            dark,
        )
        options = DeobliqueOptions(
            input=input,
            output=output,
            pixel_um=y_voxel_size,
            step_um=x_step_size,
            angle_deg=angle,
            start=start,
            stop=stop,
            rotate_90=rotate_90,
            flip_ud=flip_ud,
            correction=None if correction.is_identity else correction,
            levels=levels,
            chunk_shape=parsed_zyx(chunk_size, "--chunk-size"),
            device=taken_device(device, device_memory, progress),
            n_workers=n_workers,
            n_writers=n_writers,
            allow_truncated=allow_truncated,
            overwrite=overwrite,
        )
        deoblique(options, progress)
