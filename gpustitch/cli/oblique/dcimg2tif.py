"""``gpustitch dcimg2tif``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpustitch.array import choose_device
from gpustitch.cli.device_options import IdleDevice
from gpustitch.cli.frame_options import AllowTruncated, FramesInput, OutputPattern, Start, Stop
from gpustitch.cli.terminal import FlipUd, Overwrite, Quiet, RotateK, TerminalProgress, Workers, reported_errors
from gpustitch.oblique.export import tiff as dcimg2tif

Compression = Annotated[int, typer.Option("--compression", help="zlib level, 0 (none) to 9 (smallest).")]


def command(
    input: FramesInput,
    output_pattern: OutputPattern,
    compression: Compression = 3,
    n_workers: Workers = None,
    rotate_90: RotateK = 0,
    flip_ud: FlipUd = False,
    start: Start = 0,
    stop: Stop = None,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: IdleDevice = "auto",
    quiet: Quiet = False,
) -> None:
    """Write the frames of a DCIMG file as TIFF files.

    Example: gpustitch dcimg2tif --input raw/0.dcimg --output-pattern stack/img_%05d.tiff --rotate-90 3 --flip-ud
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        choose_device(device)
        options = dcimg2tif.TifOptions(
            input=input,
            output_pattern=output_pattern,
            compression=compression,
            n_workers=n_workers,
            rotate_90=rotate_90,
            flip_ud=flip_ud,
            start=start,
            stop=stop,
            allow_truncated=allow_truncated,
            overwrite=overwrite,
        )
        result = dcimg2tif.run(dcimg2tif.plan(options), progress)
        progress.note(result.summary)
