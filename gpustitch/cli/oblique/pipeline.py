"""``gpustitch pipeline``: from the raw tiles of a channel to the stitched volume."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.frame_options import AllowTruncated
from gpustitch.cli.options import (
    DESTRIPING,
    ArtifactLength,
    BackgroundWindow,
    Compat,
    Crossover,
    DecompositionLevels,
    DestripeMethod,
    LightsheetVsBackground,
    Percentile,
    Sigma1,
    Sigma2,
    Threshold,
    Wavelet,
)
from gpustitch.cli.terminal import (
    Overwrite,
    Quiet,
    TerminalProgress,
    Workers,
    environment_flag,
    parsed_zyx,
    reported_errors,
)
from gpustitch.oblique import pipeline
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.wavelet import WaveletOptions
from gpustitch.oblique.flat.stage import IlluminationOptions
from gpustitch.oblique.fuse.stage import Intensity, StitchOptions

GEOMETRY, FLAT, ALIGNMENT, VOLUME = "Geometry", "Flat field", "Alignment", "Volume"


class Preset(StrEnum):
    """Orientation of the frames of a known microscope."""

    plain = "plain"
    chunglab = "chunglab"


def command(
    channel: Annotated[
        Path, typer.Argument(help="Folder CHANNEL/X/X_Y/Z.dcimg (tenths of a micron), or a DCIMG file.")
    ],
    output: Annotated[
        Path, typer.Option("--output", help="Folder to create: volume/, flat.tiff, align.json, provenance.json.")
    ],
    x_step_size: Annotated[
        float, typer.Option(envvar="X_STEP_SIZE", help="Stage step between frames, um.", rich_help_panel=GEOMETRY)
    ] = 1.28,
    y_voxel_size: Annotated[
        float,
        typer.Option(
            envvar="Y_VOXEL_SIZE",
            help="Nominal camera pixel in the sample, um; it is measured too.",
            rich_help_panel=GEOMETRY,
        ),
    ] = 1.8,
    angle: Annotated[
        float, typer.Option(help="Angle between the sheet and the stage's motion, degrees.", rich_help_panel=GEOMETRY)
    ] = 45.0,
    preset: Annotated[
        Preset,
        typer.Option(
            help="chunglab sets --rotate-90 3 --flip-ud, as spimstitch-pipeline.sh does.", rich_help_panel=GEOMETRY
        ),
    ] = Preset.plain,
    rotate_90: Annotated[
        int | None,
        typer.Option(
            "--rotate-90",
            "-r",
            help="Quarter turns of each frame, as numpy.rot90 (default: 0).",
            rich_help_panel=GEOMETRY,
        ),
    ] = None,
    flip_ud: Annotated[
        bool | None,
        typer.Option(
            "--flip-ud/--no-flip-ud", help="Flip each frame upside down, after turning it.", rich_help_panel=GEOMETRY
        ),
    ] = None,
    illum_corr: Annotated[
        Path | None,
        typer.Option(
            envvar="ILLUM_CORR", help="Flat-field image to use (default: made from the frames).", rich_help_panel=FLAT
        ),
    ] = None,
    flat: Annotated[
        bool, typer.Option("--flat/--no-flat", help="Correct the illumination.", rich_help_panel=FLAT)
    ] = True,
    n_frames: Annotated[
        int | None,
        typer.Option(
            "--n-frames", help=f"Frames to make the flat from (default: {pipeline.FLAT_FRAMES}).", rich_help_panel=FLAT
        ),
    ] = None,
    flat_background: Annotated[
        int,
        typer.Option("--flat-background", help="Counts below this are not tissue, for the flat.", rich_help_panel=FLAT),
    ] = 150,
    n_bins: Annotated[
        int, typer.Option("--n-bins", help="Bins of the histogram of each pixel, for the flat.", rich_help_panel=FLAT)
    ] = 1024,
    values_per_bin: Annotated[
        int,
        typer.Option(
            "--values-per-bin", help="Counts in a bin; values from bins x this on make no flat.", rich_help_panel=FLAT
        ),
    ] = 4,
    destripe_method: Annotated[
        DestripeMethod | None,
        typer.Option(
            metavar="METHOD",
            help="none, wavelet or lightsheet (default: lightsheet, which removes the smooth background too; wavelet "
            "keeps it and is also chosen by the environment's USE_WAVELETS).",
            rich_help_panel=DESTRIPING,
        ),
    ] = None,
    background: Annotated[
        float,
        typer.Option(
            "--background",
            "--dark",
            envvar="BACKGROUND",
            help="Counts that the camera shows without light.",
            rich_help_panel=DESTRIPING,
        ),
    ] = 0.0,
    sigma1: Sigma1 = 128.0,
    sigma2: Sigma2 = 512.0,
    decomposition_levels: DecompositionLevels = 0,
    wavelet: Wavelet = "db5",
    threshold: Threshold = -1.0,
    crossover: Crossover = 10.0,
    compat: Compat = False,
    artifact_length: ArtifactLength = 150,
    background_window_size: BackgroundWindow = 200,
    percentile: Percentile = 0.25,
    lightsheet_vs_background: LightsheetVsBackground = 2.0,
    align_file: Annotated[
        Path | None,
        typer.Option(
            envvar="ALIGN_FILE", help="Alignment of another channel to use as it is.", rich_help_panel=ALIGNMENT
        ),
    ] = None,
    align_xz: Annotated[
        bool | None,
        typer.Option(
            "--align-xz/--no-align-xz",
            help="Solve x and z, not only y (default; environment: ALIGN_XZ).",
            rich_help_panel=ALIGNMENT,
        ),
    ] = None,
    sample_count: Annotated[
        int, typer.Option(help="Points compared in each overlap.", rich_help_panel=ALIGNMENT)
    ] = 100,
    window_size: Annotated[
        str, typer.Option(help="Window compared around each point, x,y,z, odd.", rich_help_panel=ALIGNMENT)
    ] = "51,51,51",
    z_offset: Annotated[
        int | None,
        typer.Option(
            envvar="Z_OFFSET",
            help="Voxels between tiles in z (default: from the names of the tiles).",
            rich_help_panel=GEOMETRY,
        ),
    ] = None,
    negative_y: Annotated[
        bool | None,
        typer.Option(
            "--negative-y/--no-negative-y",
            help="The stage's y runs against the camera's (environment: NEGATIVE_Y).",
            rich_help_panel=GEOMETRY,
        ),
    ] = None,
    compute_y_illum_corr: Annotated[
        bool,
        typer.Option(
            "--compute-y-illum-corr",
            help="Even out the brightness of tiles along y at the overlaps.",
            rich_help_panel=VOLUME,
        ),
    ] = False,
    levels: Annotated[int, typer.Option(help="Levels of the pyramid.", rich_help_panel=VOLUME)] = 7,
    chunk_size: Annotated[
        str, typer.Option(help="Voxels of a stored chunk, x,y,z.", rich_help_panel=VOLUME)
    ] = "64,64,64",
    keep_tiles: Annotated[
        bool, typer.Option("--keep-tiles", help="Keep the volumes of the single tiles.", rich_help_panel=VOLUME)
    ] = False,
    n_workers: Workers = None,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Make one stitched Neuroglancer volume from the raw tiles of a channel.

    Flat field, destriping, de-obliquing, alignment and fusion, as spimstitch-pipeline.sh does them; its environment
    variables are honoured when set.

    Example: gpustitch pipeline Ex_488_Em_1 --output out-488 --preset chunglab
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        chunglab = preset is Preset.chunglab
        by_environment = DestripeMethod.wavelet if environment_flag("USE_WAVELETS") else DestripeMethod.lightsheet
        method = destripe_method or by_environment
        options = pipeline.PipelineOptions(
            channel=channel,
            output=output,
            x_step_um=x_step_size,
            y_voxel_um=y_voxel_size,
            angle_deg=angle,
            correction=Correction(
                method=method.value,
                wavelet=WaveletOptions(sigma1, sigma2, decomposition_levels, wavelet, crossover, threshold, compat),
                lightsheet=LightsheetOptions(
                    artifact_length, background_window_size, percentile, lightsheet_vs_background
                ),
                dark=background,
            ),
            flat=illum_corr,
            correct_flat=flat,
            illumination=IlluminationOptions(
                (), output, n_frames=n_frames, background=flat_background, n_bins=n_bins, values_per_bin=values_per_bin
            ),
            align_file=align_file,
            matching=replace(
                pipeline.PIPELINE_MATCHING,
                sample_count=sample_count,
                window_px=parsed_zyx(window_size, "--window-size"),
            ),
            align_xz=_first(align_xz, environment_flag("ALIGN_XZ"), True),
            stitch=StitchOptions(
                output,
                levels=levels,
                chunk_shape=parsed_zyx(chunk_size, "--chunk-size"),
                intensity=Intensity() if compute_y_illum_corr else None,
            ),
            z_offset=z_offset,
            negative_y=_first(negative_y, environment_flag("NEGATIVE_Y"), False),
            rotate_90=rotate_90 if rotate_90 is not None else 3 if chunglab else 0,
            flip_ud=flip_ud if flip_ud is not None else chunglab,
            keep_tiles=keep_tiles,
            device=taken_device(device, device_memory, progress),
            n_workers=n_workers,
            allow_truncated=allow_truncated,
            overwrite=overwrite,
        )
        result = pipeline.run(pipeline.plan(options), progress)
        z, y, x = result.stitched.shape
        spacing = " x ".join(f"{v:.4g}" for v in result.stitched.spacing.zyx_um)
        typer.echo(f"{result.volume}: {z} x {y} x {x} voxels (z, y, x) of {spacing} um")


def _first(*choices: bool | None) -> bool:
    """The first choice that was made."""
    return next(choice for choice in choices if choice is not None)
