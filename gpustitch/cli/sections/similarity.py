"""``gpustitch similarity``: how alike the planes of a stack are to those near them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, parsed_bytes, taken_device
from gpustitch.cli.frame_options import AllowTruncated
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, reported_errors
from gpustitch.errors import ParameterError
from gpustitch.sections.similarity import stage as similarity

Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        help="Make planes smaller before they are compared, by averaging pixels: 1, 0.5, 0.3333, 0.25 ... (one over "
        "a whole number), or two such numbers x,y.",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option("--mask", help="Image of the planes' size, 0 where pixels are not compared (default: all are)."),
]
Chunk = Annotated[int | None, typer.Option("--chunk", help="Planes read at a time (default: what suits them).")]
Memory = Annotated[str, typer.Option("--memory", metavar="BYTES", help="Most memory to hold, such as 512M or 4G.")]


def parsed_scale(text: str) -> tuple[float, float]:
    """Factors of rows and columns from one number, or from two as ``"x,y"``; ParameterError otherwise."""
    try:
        numbers = [float(part) for part in text.split(",")]
        x, y = numbers * 2 if len(numbers) == 1 else numbers
    except ValueError:
        raise ParameterError(f"--scale takes a number such as 0.5, or two as x,y, not {text!r}") from None
    return y, x


def command(
    input_: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Stack: TIFF, folder of images, precomputed, OME-Zarr, DCIMG or .npy."),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write: .npz (half strip) or .tif (the matrix, for Fiji).")
    ],
    max_lag: Annotated[
        int | None,
        typer.Option(
            "--range",
            help="Neighborhood range: greatest distance of two compared planes, in planes (default: 10, or less).",
        ),
    ] = None,
    scale: Scale = "1",
    mask: Mask = None,
    chunk: Chunk = None,
    memory: Memory = "1G",
    n_workers: Workers = None,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Measure how alike each plane of a stack is to those near it: Pearson's correlation of their pixels.

    OUT is read by z-spacing. Pixels that are NaN in either of two planes are not compared.

    Example: gpustitch similarity sections.tif similarity.npz --range 20 --scale 0.5
    """
    with reported_errors():
        progress = TerminalProgress(quiet=quiet)
        plan = similarity.plan(
            similarity.SimilarityOptions(
                input=input_,
                output=output,
                max_lag=max_lag,
                scale=parsed_scale(scale),
                mask=mask,
                chunk=chunk,
                memory_bytes=parsed_bytes(memory, "--memory"),
                device=taken_device(device, device_memory, progress),
                n_workers=n_workers,
                overwrite=overwrite,
                allow_truncated=allow_truncated,
            )
        )
        progress.note(f"at most {plan.peak_bytes / 2**20:.0f} MiB of planes are held at a time")
        print(f"{output}: {similarity.run(plan, progress).summary}")
