"""``gpustitch stack2oblique``: corrected frames to a de-obliqued volume."""

from __future__ import annotations

from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
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
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, parsed_zyx, reported_errors
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.oblique.deskew.stage import DeobliqueOptions


def command(
    input: Annotated[
        str, typer.Option("--input", help="Frames: a quoted glob or a folder of TIFF or JPEG 2000 files, or one TIFF.")
    ],
    output: ObliqueOutput,
    levels: Levels = 5,
    x_step_size: StepSize = 1.28,
    y_voxel_size: VoxelSize = 1.8,
    angle: Angle = 45.0,
    chunk_size: ChunkSize = "64,64,64",
    n_workers: Workers = None,
    n_writers: Writers = N_WRITERS,
    log_level: LogLevel = "WARNING",
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Resample frames of a tilted sheet onto an upright grid, as a Neuroglancer volume with its pyramid.

    Example: gpustitch stack2oblique --input "stack/img_*.tiff" --output oblique --x-step-size 1.28 --y-voxel-size 1.8
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        options = DeobliqueOptions(
            input=input,
            output=output,
            pixel_um=y_voxel_size,
            step_um=x_step_size,
            angle_deg=angle,
            levels=levels,
            chunk_shape=parsed_zyx(chunk_size, "--chunk-size"),
            device=taken_device(device, device_memory, progress),
            n_workers=n_workers,
            n_writers=n_writers,
            overwrite=overwrite,
        )
        deoblique(options, progress)
