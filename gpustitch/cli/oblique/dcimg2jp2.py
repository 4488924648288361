"""``gpustitch dcimg2jp2``."""

from __future__ import annotations

from typing import Annotated

import typer

from gpustitch.array import choose_device
from gpustitch.cli.device_options import IdleDevice
from gpustitch.cli.frame_options import AllowTruncated, FramesInput, OutputPattern, Start, Stop
from gpustitch.cli.terminal import FlipUd, Overwrite, Quiet, RotateK, TerminalProgress, Workers, reported_errors
from gpustitch.errors import ParameterError
from gpustitch.oblique.export import jp2 as dcimg2jp2

Psnr = Annotated[
    str,
    typer.Option(
        "--psnr",
        help="Quality layers: rising peak signal-to-noise ratios in dB, separated by commas. 80 dB is lossy: pixels "
        "are off by 7 counts of 65535 (root mean square), at most by about 35. A last one of 0 is lossless.",
    ),
]


def command(
    input: FramesInput,
    output_pattern: OutputPattern,
    psnr: Psnr = "30,40,50,60,70,80",
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
    """Write the frames of a DCIMG file as JPEG 2000 files. The default quality is lossy; --psnr 0 is not.

    Example: gpustitch dcimg2jp2 --input raw/0.dcimg --output-pattern stack/img_%05d.jp2 --psnr 0
    """
    progress = TerminalProgress(quiet=quiet)
    with reported_errors():
        choose_device(device)
        options = dcimg2jp2.Jp2Options(
            input=input,
            output_pattern=output_pattern,
            psnr_db=_parsed(psnr),
            n_workers=n_workers,
            rotate_90=rotate_90,
            flip_ud=flip_ud,
            start=start,
            stop=stop,
            allow_truncated=allow_truncated,
            overwrite=overwrite,
        )
        result = dcimg2jp2.run(dcimg2jp2.plan(options), progress)
        progress.note(result.summary)


def _parsed(psnr: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in psnr.split(","))
    except ValueError as error:
        raise ParameterError(f"--psnr takes numbers of dB separated by commas, not {psnr!r}") from error
