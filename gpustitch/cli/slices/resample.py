"""``gpustitch resample``: a series of slices to a volume of evenly spaced planes with its place in the body."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, parsed_bytes, taken_device
from gpustitch.cli.oblique_options import Writers
from gpustitch.cli.slices.spacing import SplitBy, Tolerance, TrustResolution, UseThickness, parsed_split
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, parsed_zyx, reported_errors
from gpustitch.cli.volume_options import ChunkSize, Format, Levels
from gpustitch.errors import ParameterError
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.slices.fit.classes import TOLERANCE
from gpustitch.slices.verdict.stage import JudgeOptions
from gpustitch.slices.volume.stage import ResampleOptions, ResamplePlan, plan, run


def command(
    input_: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A folder, file or glob of DICOM or image slices, or a TIFF of pages."),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Volume: *.nii, *.nii.gz NIfTI, *.zarr OME-Zarr, *.tif TIFF, other names precomputed."
        ),
    ],
    spacing: Annotated[
        float | None,
        typer.Option(
            "--spacing",
            metavar="MM",
            help="Distance of the planes, mm.",
            show_default="that of the slices; the finest, if it varies",
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            "--series",
            metavar="N|UID",
            help="Which of several series: number in the list, or beginning or end of the SeriesInstanceUID.",
            show_default="the only one",
        ),
    ] = None,
    fill_gaps: Annotated[
        bool,
        typer.Option(
            "--fill-gaps",
            help="Interpolate where slices are missing too; else there is background: nothing is made up.",
        ),
    ] = False,
    runs: Annotated[
        bool,
        typer.Option(
            "--runs", help="Write each run of equally spaced slices as a volume of its own too: OUT_run1 and so on."
        ),
    ] = False,
    unshear: Annotated[
        bool,
        typer.Option(
            "--unshear/--keep-shear",
            help="Stacks of a tilted gantry: move the planes over each other, in a wider volume; or keep them as they "
            "are, the affine sheared (NIfTI and the sidecar hold it).",
        ),
    ] = False,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Take the nearer slice, unchanged; else two are interpolated.")
    ] = False,
    background: Annotated[
        float, typer.Option("--background", help="Value where there is nothing; for CT in HU perhaps -1024.")
    ] = 0.0,
    pixel_spacing: Annotated[
        str | None,
        typer.Option(
            "--pixel-spacing", metavar="X,Y", help="Size of a pixel, mm.", show_default="what the files state"
        ),
    ] = None,
    slice_spacing: Annotated[
        float | None,
        typer.Option(
            "--spacing-z",
            metavar="MM",
            help="Distance of the slices of files that do not state where they are, mm.",
            show_default="what other tags state",
        ),
    ] = None,
    tolerance: Tolerance = TOLERANCE,
    use_thickness: UseThickness = False,
    trust_resolution: TrustResolution = False,
    split_by: SplitBy = "",
    format_: Format = None,
    levels: Levels = None,
    chunk_size: ChunkSize = None,
    compression: Annotated[
        int | None,
        typer.Option("--compression", help="0 (none) to 9.", show_default="1 for OME-Zarr and .nii.gz, 0 for TIFF"),
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="BYTES", help="Most memory for slices, such as 4G.")
    ] = "1G",
    n_workers: Workers = None,
    n_writers: Writers = N_WRITERS,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Resample a series of slices to evenly spaced planes.

    The spacing is judged as gpustitch spacing does. Slices of an even series are copied exactly, wherever rounding has
    put them; others are interpolated linearly. What each plane is made of is written beside the volume
    (OUT.planes.csv), origin, directions, affine and warnings into gpustitch.json (OUT.json for one file).

    Example: gpustitch resample CT/ head.nii.gz
    """
    with reported_errors():
        progress = TerminalProgress(quiet=quiet)
        job = plan(
            ResampleOptions(
                inputs=(input_,),
                output=output,
                spacing_mm=spacing,
                series=series,
                judge=JudgeOptions(slice_spacing, tolerance, use_thickness, trust_resolution, parsed_split(split_by)),
                pixel_spacing_mm=None if pixel_spacing is None else parsed_pixel_spacing(pixel_spacing),
                fill_gaps=fill_gaps,
                runs=runs,
                unshear=unshear,
                nearest=nearest,
                background=background,
                format=format_,
                levels=levels,
                chunk_shape=None if chunk_size is None else parsed_zyx(chunk_size, "--chunk-size"),
                compression=compression,
                memory_bytes=parsed_bytes(memory, "--memory"),
                n_workers=n_workers,
                n_writers=n_writers,
                overwrite=overwrite,
                device=taken_device(device, device_memory, progress),
            ),
            progress,
        )
        progress.note(_summary(job))
        run(job, progress)


def parsed_pixel_spacing(text: str) -> tuple[float, float]:
    """A pixel spacing (y, x) from the text ``"x,y"`` in mm; ParameterError if it is none."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(f"--pixel-spacing takes 2 numbers separated by a comma, not {text!r}") from None
    if not (0 < x < math.inf and 0 < y < math.inf):
        raise ParameterError(f"--pixel-spacing is two positive numbers of mm, not {text!r}")
    return y, x


def _summary(job: ResamplePlan) -> str:
    fit, lines = job.stack.fit, []
    for volume in job.volumes:
        z_um, y_um, x_um = volume.spacing.zyx_um
        n, rows, columns = volume.shape
        lines.append(
            f"{volume.path}: {n} planes of {columns} x {rows}, voxels of {x_um / 1000:.6g} x {y_um / 1000:.6g} x "
            f"{z_um / 1000:.6g} mm, at most {_size(volume.output_bytes)} on disk and about "
            f"{_size(volume.blocks.memory_bytes)} of memory"
        )
    return "\n".join([f"{job.stack.series.name}: {fit.kind}, {len(job.stack.order)} slices", *lines])


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{math.ceil(n_bytes / 1e6)} MB"
