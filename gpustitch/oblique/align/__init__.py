"""Where tiles lie: compare points, link pairs of tiles, solve all positions at once."""

from typing import Any

from gpustitch.model.options import option

ALIGNMENT = "Alignment"  # heading of the options


def allow_unaligned() -> Any:
    """Whether a stage goes on where tiles overlap but no overlap gives a link."""
    return option(
        False,
        help="Keep the stage's positions where no overlap gives a link; otherwise that is an error.",
        panel=ALIGNMENT,
    )
