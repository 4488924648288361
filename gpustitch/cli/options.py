"""Options about destriping, dark offset and flat field that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DESTRIPING = "Destriping"


class DestripeMethod(StrEnum):
    """How stripes are removed."""

    none = "none"
    wavelet = "wavelet"
    lightsheet = "lightsheet"


Sigma1 = Annotated[
    float,
    typer.Option(
        "--sigma1",
        "-s1",
        help="Bandwidth for the foreground, pixels; larger removes more, 0 nothing.",
        rich_help_panel=DESTRIPING,
    ),
]
Sigma2 = Annotated[
    float,
    typer.Option(
        "--sigma2",
        "-s2",
        help="Bandwidth for the background, pixels; larger removes more, 0 nothing.",
        rich_help_panel=DESTRIPING,
    ),
]
DecompositionLevels = Annotated[
    int,
    typer.Option(
        "--decomposition-levels",
        "-l",
        help="Number of wavelet levels, 0 for as many as the frame allows.",
        rich_help_panel=DESTRIPING,
    ),
]
Wavelet = Annotated[
    str, typer.Option("--wavelet", "-w", help="Name of the wavelet in PyWavelets.", rich_help_panel=DESTRIPING)
]
Threshold = Annotated[
    float,
    typer.Option(
        "--threshold",
        "-t",
        help="Counts that separate background from foreground; -1 for Otsu's threshold.",
        rich_help_panel=DESTRIPING,
    ),
]
Crossover = Annotated[
    float,
    typer.Option(
        "--crossover",
        "-x",
        help="Width of the transition from background to foreground, counts.",
        rich_help_panel=DESTRIPING,
    ),
]
Compat = Annotated[
    bool,
    typer.Option(
        "--compat",
        help="Reproduce pystripe's wavelet results: its order of frequencies, truncated counts.",
        rich_help_panel=DESTRIPING,
    ),
]
FlatFile = Annotated[
    Path | None,
    typer.Option(
        "--flat",
        "-f",
        help="Flat-field image to divide by, as oblique-illum-corr writes it.",
        rich_help_panel=DESTRIPING,
    ),
]
Dark = Annotated[
    float, typer.Option("--dark", "-d", help="Counts that the camera shows without light.", rich_help_panel=DESTRIPING)
]
ArtifactLength = Annotated[
    int,
    typer.Option(
        "--artifact-length",
        help="Light-sheet method: length of the window along the rows, pixels.",
        rich_help_panel=DESTRIPING,
    ),
]
BackgroundWindow = Annotated[
    int,
    typer.Option(
        "--background-window-size",
        help="Light-sheet method: side of the square background window, pixels.",
        rich_help_panel=DESTRIPING,
    ),
]
Percentile = Annotated[
    float,
    typer.Option(
        "--percentile",
        help="Light-sheet method: percentile that is a window's estimate, as a fraction from 0 to 1.",
        rich_help_panel=DESTRIPING,
    ),
]
LightsheetVsBackground = Annotated[
    float,
    typer.Option(
        "--lightsheet-vs-background",
        help="Light-sheet method: factor on the background's estimate before the two are compared.",
        rich_help_panel=DESTRIPING,
    ),
]
