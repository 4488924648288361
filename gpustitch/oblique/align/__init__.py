"""Where tiles lie: compare points, link pairs of tiles, solve all positions at once."""

from typing import Any, Literal

from gpustitch.model.options import option

ALIGNMENT = "Alignment"  # heading of the options
YSize = Literal["auto", "measured", "nominal"]


def allow_unaligned() -> Any:
    """Whether a stage goes on where tiles overlap but no overlap gives a link."""
    return option(
        False,
        help="Keep the stage's positions where no overlap gives a link; otherwise that is an error.",
        panel=ALIGNMENT,
    )


def y_size() -> Any:
    """Which y voxel size a stage goes on with: a :data:`YSize`."""
    return option(
        "auto",
        help="The y voxel size to go on with: measured (as spimstitch does), nominal, or auto, the nominal one unless "
        "the links show that it is wrong.",
        panel=ALIGNMENT,
    )


def stage_repeatability_um() -> Any:
    """How far the stage is from where it was sent along y."""
    return option(
        None,
        flag="--stage-repeatability",
        unit="um",
        help="Standard deviation of the stage's error along y, um; stated, it tells the y voxel size better.",
        shown="not known: 5 um or so",
        at_least=0,
        panel=ALIGNMENT,
    )
