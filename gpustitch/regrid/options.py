"""Options of volumes of evenly spaced planes, shared by the missions that write such volumes."""

from __future__ import annotations

from typing import Any

from gpustitch.io.registry import either
from gpustitch.io.write.formats import OUTPUT_FORMATS, defaults_of, names_of_outputs
from gpustitch.model.options import option
from gpustitch.running import options as shared


def output() -> Any:
    """Where the volume is written."""
    return option(is_argument=True, metavar="OUT", help=f"Volume: {names_of_outputs()}.")


def volume_format() -> Any:
    """Format of the volume."""
    return option(None, help=f"Format: {either(OUTPUT_FORMATS.names)}.", shown="what the name of OUT says")


def levels() -> Any:
    """Number of levels, if the format has any."""
    return shared.levels(None, shown=defaults_of("levels"))


def chunk_shape() -> Any:
    """Shape (z, y, x) of a chunk, if the format has any."""
    return shared.chunk_shape(None, shown=defaults_of("chunk_shape"))


def compression() -> Any:
    """Level of compression, if the format has any."""
    return option(None, help="Compression level, 0 (none) to 9.", shown=defaults_of("compression"))
