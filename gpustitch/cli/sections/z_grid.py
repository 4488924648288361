"""``gpustitch z-spacing-grid``: where the sections of a series lie along z, at points of a grid over them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, parsed_bytes, taken_device
from gpustitch.cli.frame_options import AllowTruncated
from gpustitch.cli.sections.similarity import Chunk, Mask, Memory, Scale, parsed_scale
from gpustitch.cli.sections.z_spacing import Regularization
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, reported_errors
from gpustitch.errors import ParameterError
from gpustitch.sections.grid import stage as z_grid
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.similarity.stage import SimilarityOptions


def _pair(text: str, name: str) -> tuple[int, int]:
    """Rows and columns from ``"x,y"``, or from one number for both."""
    try:
        numbers = [int(part) for part in text.split(",")]
        x, y = numbers * 2 if len(numbers) == 1 else numbers
    except ValueError:
        raise ParameterError(f"{name} takes a whole number, or two as x,y, not {text!r}") from None
    if min(x, y) < 1:
        raise ParameterError(f"{name} takes numbers of at least 1, not {text!r}")
    return y, x


def command(
    input_: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Stack: TIFF, folder of images, precomputed, OME-Zarr, DCIMG or .npy."),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write, .npz: positions and uncertainty (n, gy, gx).")
    ],
    grid: Annotated[str, typer.Option("--grid", metavar="X,Y", help="Points along x and y.")] = "16,16",
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="X,Y",
            help="Pixels of IN around each point that are compared.",
            show_default="up to the next points",
        ),
    ] = None,
    max_lag: Annotated[
        int | None,
        typer.Option("--range", help="Greatest distance of sections compared.", show_default="10, or what there is"),
    ] = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            "--positions",
            help="CSV of z-spacing that points deviate from.",
            show_default="estimated",
        ),
    ] = None,
    allow_reordering: Annotated[
        bool,
        typer.Option(
            "--allow-reordering/--no-reordering", help="Whether sections may change places, all over at once."
        ),
    ] = True,
    regularization: Annotated[
        Regularization,
        typer.Option(
            "--regularization",
            help="Of the positions of whole sections: the first and last one stay (border), the best line (identity).",
        ),
    ] = Regularization.border,
    local_estimates: Annotated[
        int, typer.Option("--local-estimates", help="Curves along a series whose similarity changes on the way.")
    ] = 1,
    minimum_correlation: Annotated[
        float, typer.Option("--minimum-correlation", help="Similarities up to this one do not count.")
    ] = 0.0,
    scale: Scale = "1",
    mask: Mask = None,
    chunk: Chunk = None,
    memory: Memory = "2G",
    n_workers: Workers = None,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Find where each section of a series lies along z, at each point of a grid over it: sections are seldom flat.

    OUT is read by z-render, which interpolates between the points; it holds standard errors too. Points whose
    surroundings have little texture stay near the positions of whole sections.

    Example: gpustitch z-spacing-grid sections.tif z.npz --grid 16,16 --range 20
    """
    with reported_errors():
        progress = TerminalProgress(quiet=quiet)
        if positions is not None and regularization is not Regularization.border:
            progress.warn("with --positions nothing is changed by --regularization")
        images = SimilarityOptions(
            input=input_,
            max_lag=max_lag,
            scale=parsed_scale(scale),
            mask=mask,
            chunk=chunk,
            memory_bytes=parsed_bytes(memory, "--memory"),
            device=taken_device(device, device_memory, progress),
            n_workers=n_workers,
            allow_truncated=allow_truncated,
        )
        request = z_grid.ZGridOptions(
            images=images,
            output=output,
            grid=_pair(grid, "--grid"),
            window=None if window is None else _pair(window, "--window"),
            positions=positions,
            estimate=EstimateOptions(
                allow_reordering=allow_reordering,
                regularization=regularization.value,
                local_estimates=local_estimates,
                minimum_correlation=minimum_correlation,
            ),
            overwrite=overwrite,
        )
        plan = z_grid.plan(request)
        progress.note(f"at most {plan.peak_bytes / 2**20:.0f} MiB are held at a time")
        print(f"{output}: {z_grid.run(plan, progress).summary}")
