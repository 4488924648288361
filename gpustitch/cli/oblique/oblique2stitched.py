"""``gpustitch oblique2stitched``: tiles to one volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.oblique_options import ChunkSize, Levels, LogLevel, Writers
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, parsed_zyx, reported_errors
from gpustitch.errors import ParameterError
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.oblique.fuse.stage import Intensity, StitchOptions, TreeOptions, plan_tree, run


def command(
    input: Annotated[Path, typer.Option("--input", help="Folder of the volumes: X/X_Y/Z, tenths of a micron.")],
    output: Annotated[Path, typer.Option("--output", help="Folder of the precomputed volume to write.")],
    levels: Levels = 5,
    chunk_size: ChunkSize = "64,64,64",
    x_step_size: Annotated[
        float | None,
        typer.Option("--x-step-size", help="Distance between frames, um.", show_default="what the volumes say"),
    ] = None,
    y_voxel_size: Annotated[
        float | None,
        typer.Option(
            "--y-voxel-size", help="Camera pixel, um.", show_default="what the alignment says, else the volumes"
        ),
    ] = None,
    z_offset: Annotated[
        int | None,
        typer.Option(
            "--z-offset", help="Voxels from a tile to the next along z.", show_default="what the folders' names say"
        ),
    ] = None,
    output_size: Annotated[
        str | None, typer.Option("--output-size", help="Voxels x,y,z to write.", show_default="the whole mosaic")
    ] = None,
    output_offset: Annotated[
        str | None, typer.Option("--output-offset", help="First voxel x,y,z to write.", show_default="0,0,0")
    ] = None,
    alignment: Annotated[
        Path | None, typer.Option("--alignment", help="JSON of oblique-align.", show_default="the stage's positions")
    ] = None,
    y_illum_corr: Annotated[
        float | None,
        typer.Option(
            "--y-illum-corr",
            help="Brightness of each tile's last row over that of its first; tiles are evened out by it.",
        ),
    ] = None,
    compute_y_illum_corr: Annotated[
        bool, typer.Option("--compute-y-illum-corr", help="Estimate that brightness where tiles overlap along y.")
    ] = False,
    n_y_illum_patches: Annotated[int, typer.Option("--n-y-illum-patches", help="Patches to estimate it from.")] = 1000,
    min_y_illum_mean: Annotated[
        float, typer.Option("--min-y-illum-mean", help="Least mean of a patch that counts.")
    ] = 100,
    min_y_illum_corr_coef: Annotated[
        float, typer.Option("--min-y-illum-corr-coef", help="Least correlation of the two tiles in such a patch.")
    ] = 0.8,
    negative_y: Annotated[
        bool, typer.Option("--negative-y", help="The stage's y runs against the camera's (not with --alignment).")
    ] = False,
    n_workers: Workers = None,
    n_writers: Writers = N_WRITERS,
    log_level: LogLevel = "WARNING",
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
    overwrite: Overwrite = False,
) -> None:
    """Fuse de-obliqued tiles into one Neuroglancer volume with its pyramid.

    Tiles are put at their sub-voxel positions and blended where they overlap; tiles of one grid that are missing are
    named. The voxel size written is the real one.

    Example: gpustitch oblique2stitched --input Ex_1_oblique --output Ex_1_stitched --alignment alignment.json
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        source = TreeOptions(input, alignment, x_step_size, y_voxel_size, z_offset, negative_y)
        if y_illum_corr is not None and compute_y_illum_corr:
            raise ParameterError("--y-illum-corr gives what --compute-y-illum-corr would estimate; choose one of them")
        intensity = None
        if y_illum_corr is not None or compute_y_illum_corr:
            intensity = Intensity(y_illum_corr, n_y_illum_patches, min_y_illum_mean, min_y_illum_corr_coef)
        options = StitchOptions(
            output,
            levels,
            parsed_zyx(chunk_size, "--chunk-size"),
            None if output_size is None else parsed_zyx(output_size, "--output-size"),
            None if output_offset is None else parsed_zyx(output_offset, "--output-offset"),
            intensity,
            n_workers,
            n_writers,
            overwrite,
            taken_device(device, device_memory, progress),
        )
        job = plan_tree(source, options)
        z, y, x = job.shape
        progress.note(
            f"{len(job.mosaic.tiles)} tiles to {x} x {y} x {z} voxels, at most {job.output_bytes / 1e9:.2f} GB"
        )
        run(job, progress)
