"""Options that ``dcimg2tif`` and ``dcimg2jp2`` share."""

from __future__ import annotations

from typing import Annotated

import typer

FramesInput = Annotated[
    str,
    typer.Option("--input", help="DCIMG file; also a folder or quoted glob of TIFF or JPEG 2000 files, or one TIFF."),
]
OutputPattern = Annotated[
    str,
    typer.Option("--output-pattern", help="Names of the files, with a place for the frame's number: out/img_%05d.tiff"),
]
AllowTruncated = Annotated[
    bool, typer.Option("--allow-truncated", help="Use the whole frames of DCIMG files that end early.")
]
Start = Annotated[int, typer.Option("--start", help="First frame; files keep the number of their frame.")]
Stop = Annotated[int | None, typer.Option("--stop", help="Frame to stop before (default: all frames).")]
