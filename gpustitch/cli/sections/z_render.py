"""``gpustitch z-render``: sections at uneven positions to a volume of evenly spaced planes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, parsed_bytes, taken_device
from gpustitch.cli.frame_options import AllowTruncated
from gpustitch.cli.oblique_options import Writers
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, parsed_zyx, reported_errors
from gpustitch.cli.volume_options import ChunkSize, Format, Levels
from gpustitch.errors import ParameterError
from gpustitch.io.write.pyramid_writer import N_WRITERS
from gpustitch.model import Spacing
from gpustitch.sections.render.stage import RenderOptions, RenderPlan, plan, run


def command(
    input_: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Sections: TIFF, folder of images, precomputed, OME-Zarr, DCIMG or .npy."),
    ],
    positions: Annotated[
        Path,
        typer.Argument(
            metavar="POSITIONS",
            help="CSV of z-spacing; or .npz with an array 'positions' (n, gy, gx), where they differ over a section.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Volume: *.zarr OME-Zarr, *.tif TIFF, *.nii NIfTI, other names precomputed."
        ),
    ],
    z_spacing: Annotated[
        float | None,
        typer.Option("--z-spacing", metavar="UM", help="Distance of the planes, um.", show_default="that of IN"),
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option("--voxel-size", metavar="X,Y,Z", help="Voxel size of IN, um.", show_default="what it states"),
    ] = None,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Take the nearer section, unchanged; else two are interpolated.")
    ] = False,
    max_gap: Annotated[
        float, typer.Option("--max-gap", help="Widest gap, in sections, that is interpolated; wider ones stay black.")
    ] = 5.0,
    fill_gaps: Annotated[bool, typer.Option("--fill-gaps", help="Interpolate all gaps.")] = False,
    leave_out: Annotated[
        str,
        typer.Option(
            "--leave-out",
            metavar="LIST",
            help="Sections not to use: numbers, ranges, and 'damaged' or 'constant' for those that z-spacing named so, "
            "as in 5,7-9,damaged. Planes there are interpolated between the sections on either side.",
            show_default="all are used",
        ),
    ] = "",
    least_weight: Annotated[
        float | None,
        typer.Option(
            "--least-weight",
            help="Do not use sections whose weight in POSITIONS, 0 to 1, is less or unknown: 0.5 leaves out bad ones.",
            show_default="weights are not looked at",
        ),
    ] = None,
    format_: Format = None,
    levels: Levels = None,
    chunk_size: ChunkSize = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="BYTES", help="Most memory for planes of IN, such as 4G.")
    ] = "1G",
    n_workers: Workers = None,
    n_writers: Writers = N_WRITERS,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Resample sections to evenly spaced planes, in the order of their positions.

    The first plane is at the first position, the last at or before the last. Of several sections at one position the
    first is taken. The voxel size is written into the volume, what each plane is made of into gpustitch.json.

    Example: gpustitch z-render sections.tif z.csv corrected.zarr --z-spacing 0.05
    """
    with reported_errors():
        progress = TerminalProgress(quiet=quiet)
        job = plan(
            RenderOptions(
                input=input_,
                positions=positions,
                output=output,
                z_spacing_um=z_spacing,
                spacing=None if voxel_size is None else parsed_spacing(voxel_size),
                nearest=nearest,
                max_gap=max_gap,
                fill_gaps=fill_gaps,
                leave_out=leave_out,
                least_weight=least_weight,
                format=format_,
                levels=levels,
                chunk_shape=None if chunk_size is None else parsed_zyx(chunk_size, "--chunk-size"),
                memory_bytes=parsed_bytes(memory, "--memory"),
                n_workers=n_workers,
                n_writers=n_writers,
                overwrite=overwrite,
                allow_truncated=allow_truncated,
                device=taken_device(device, device_memory, progress),
            )
        )
        progress.note(_summary(job))
        run(job, progress)


def parsed_spacing(text: str) -> Spacing:
    """A voxel size from the text ``"x,y,z"`` in um; ParameterError if it is none."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(f"--voxel-size takes 3 numbers separated by commas, not {text!r}") from None
    return Spacing(z, y, x)


def _summary(job: RenderPlan) -> str:
    n, rows, columns = job.planes.shape
    z_um, y_um, x_um = job.spacing.zyx_um
    text = (
        f"{n} sections to {job.shape[0]} planes of {columns} x {rows}; voxels of {x_um:g} x {y_um:g} x {z_um:g} um; "
        f"at most {_size(job.output_bytes)} on disk and about {_size(job.memory_bytes)} of memory"
    )
    return text if job.cut.n_columns == 1 else f"{text}; sections are read {job.cut.n_columns} times (--memory)"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{math.ceil(n_bytes / 1e6)} MB"
