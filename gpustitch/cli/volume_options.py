"""Options of commands that write a volume of planes."""

from __future__ import annotations

from typing import Annotated

import typer

Format = Annotated[
    str | None,
    typer.Option("--format", help="precomputed, ome-zarr, tiff or nifti.", show_default="what the name of OUT says"),
]
Levels = Annotated[
    int | None, typer.Option("--levels", help="Number of pyramid levels.", show_default="5; TIFF, NIfTI: 1")
]
ChunkSize = Annotated[
    str | None,
    typer.Option(
        "--chunk-size", help="Voxels of a stored chunk along x,y,z.", show_default="64,64,64; TIFF, NIfTI: none"
    ),
]
