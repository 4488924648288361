"""``gpustitch oblique-align``: where each tile truly is, and how large a voxel is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, taken_device
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, parsed_zyx, reported_errors
from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.link import MatchOptions
from gpustitch.oblique.align.stage import AlignOptions


def command(
    input_: Annotated[Path, typer.Option("--input", help="Folder of de-obliqued volumes X/X_Y/Z.")],
    output: Annotated[Path, typer.Option("--output", help="Alignment file (JSON) to write.")],
    voxel_size: Annotated[
        float | None, typer.Option("--voxel-size", help="Camera pixel, um (default: what the volumes state).")
    ] = None,
    x_step_size: Annotated[
        float | None, typer.Option("--x-step-size", help="Stage step, um (default: what the volumes state).")
    ] = None,
    is_oblique: Annotated[
        bool,
        typer.Option(
            "--is-oblique", help="Volumes that do not say which voxels the camera saw come from an oblique scan."
        ),
    ] = False,
    n_cores: Annotated[
        int | None, typer.Option("--n-cores", "--n-workers", help="Number of threads (default: one per CPU).")
    ] = None,
    sigma: Annotated[float, typer.Option("--sigma", help="Smoothing before correlation, um.")] = 2.5,
    sample_count: Annotated[int, typer.Option("--sample-count", help="Points compared in each overlap.")] = 20,
    window_size: Annotated[
        str, typer.Option("--window-size", help="Window that is correlated, odd numbers of voxels x,y,z.")
    ] = "21,21,21",
    blob_detection_window_size: Annotated[
        str,
        typer.Option(
            "--blob-detection-window-size", help="Size of the boxes in which points are sought, voxels x,y,z."
        ),
    ] = "64,64,64",
    border_size: Annotated[
        str, typer.Option("--border-size", help="Voxels x,y,z read on each side of a window, so that it can move.")
    ] = "10,10,10",
    min_correlation: Annotated[
        float, typer.Option("--min-correlation", help="Points that correlate less are dropped.")
    ] = 0.95,
    search_size: Annotated[
        str,
        typer.Option(
            "--search-size",
            help="How far the stage may be wrong, voxels x,y,z: a coarse search looks there first; 0,0,0 for none.",
        ),
    ] = "24,24,24",
    align_xz: Annotated[
        bool, typer.Option("--align-xz/--no-align-xz", help="Solve x and z too, or leave them to the stage.")
    ] = True,
    negative_y: Annotated[bool, typer.Option("--negative-y", help="The stage's y runs against the camera's.")] = False,
    z_offset: Annotated[
        int | None,
        typer.Option("--z-offset", help="Voxels between tiles along z (default: what their names say)."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Report to write: a picture (.png, .pdf, .svg) or a table (.md).")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Start of the random choice of points.")] = 0,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Find where each tile truly is and how large a voxel is, from what overlapping tiles both show.

    Example: gpustitch oblique-align --input tiles --output align.json --report align.md
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        matching = MatchOptions(
            sigma_um=sigma,
            sample_count=sample_count,
            window_px=parsed_zyx(window_size, "--window-size"),
            blob_window_px=parsed_zyx(blob_detection_window_size, "--blob-detection-window-size"),
            border_px=parsed_zyx(border_size, "--border-size"),
            search_px=parsed_zyx(search_size, "--search-size"),
            min_correlation=min_correlation,
            seed=seed,
        )
        options = AlignOptions(
            input=input_,
            output=output,
            report=report,
            voxel_size_um=voxel_size,
            x_step_um=x_step_size,
            matching=matching,
            align_xz=align_xz,
            negative_y=negative_y,
            z_offset=z_offset,
            is_oblique=is_oblique,
            device=taken_device(device, device_memory, progress),
            n_workers=n_cores,
            overwrite=overwrite,
        )
        align.run(align.plan(options), progress)
