"""Options that the commands which write volumes share, and what ``stack2oblique`` and ``dcimg2oblique`` print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpustitch.cli.terminal import TerminalProgress
from gpustitch.oblique.deskew.stage import DeobliqueOptions, plan, run

ObliqueOutput = Annotated[Path, typer.Option("--output", help="Folder of the precomputed volume to write.")]
Levels = Annotated[int, typer.Option("--levels", help="Number of pyramid levels.")]
StepSize = Annotated[float, typer.Option("--x-step-size", help="Distance between frames, um.")]
VoxelSize = Annotated[float, typer.Option("--y-voxel-size", help="Camera pixel in the sample, um.")]
Angle = Annotated[float, typer.Option("--angle", help="Angle between the sheet and the stage's motion, degrees.")]
ChunkSize = Annotated[str, typer.Option("--chunk-size", help="Voxels of a stored chunk along x,y,z.")]
Writers = Annotated[int, typer.Option("--n-writers", help="Number of files written at the same time.")]
LogLevel = Annotated[
    str, typer.Option("--log-level", help="Accepted for spimstitch's scripts; see --quiet.", hidden=True)
]


def deoblique(options: DeobliqueOptions, progress: TerminalProgress) -> None:
    """Plan, say what will be taken, run."""
    job = plan(options)
    z, y, x = job.shape
    progress.note(
        f"{job.scan.n_frames} frames of {job.scan.n_rows} x {job.scan.n_columns} to {x} x {y} x {z} voxels (x, y, z), "
        f"at most {job.output_bytes / 1e9:.2f} GB on disk and about {job.memory_bytes / 1e9:.2f} GB of memory"
    )
    run(job, progress)
