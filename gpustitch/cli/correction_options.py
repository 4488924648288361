"""Options about destriping, dark offset and flat field that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DestripeMethod(StrEnum):
    """How stripes are removed."""

    none = "none"
    wavelet = "wavelet"
    lightsheet = "lightsheet"


Sigma1 = Annotated[
    float, typer.Option("--sigma1", "-s1", help="Bandwidth for the foreground, pixels; larger removes more, 0 nothing.")
]
Sigma2 = Annotated[
    float, typer.Option("--sigma2", "-s2", help="Bandwidth for the background, pixels; larger removes more, 0 nothing.")
]
DecompositionLevels = Annotated[
    int,
    typer.Option("--decomposition-levels", "-l", help="Number of wavelet levels, 0 for as many as the frame allows."),
]
Wavelet = Annotated[str, typer.Option("--wavelet", "-w", help="Name of the wavelet in PyWavelets.")]
Threshold = Annotated[
    float,
    typer.Option("--threshold", "-t", help="Counts that separate background from foreground; -1 for Otsu's threshold."),
]
Crossover = Annotated[
    float, typer.Option("--crossover", "-x", help="Width of the transition from background to foreground, counts.")
]
Compat = Annotated[
    bool,
    typer.Option("--compat", help="Reproduce pystripe's wavelet results: its order of frequencies, truncated counts."),
]
FlatFile = Annotated[
    Path | None, typer.Option("--flat", "-f", help="Flat-field image to divide by, as oblique-illum-corr writes it.")
]
Dark = Annotated[float, typer.Option("--dark", "-d", help="Counts that the camera shows without light.")]
ArtifactLength = Annotated[
    int, typer.Option("--artifact-length", help="Light-sheet method: length of the window along the rows, pixels.")
]
BackgroundWindow = Annotated[
    int,
    typer.Option("--background-window-size", help="Light-sheet method: side of the square background window, pixels."),
]
Percentile = Annotated[
    float,
    typer.Option(
        "--percentile", help="Light-sheet method: percentile that is a window's estimate, as a fraction from 0 to 1."
    ),
]
LightsheetVsBackground = Annotated[
    float,
    typer.Option(
        "--lightsheet-vs-background",
        help="Light-sheet method: factor on the background's estimate before the two are compared.",
    ),
]
