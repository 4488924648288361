"""Options of volumes of evenly spaced planes, which both missions that write them share."""

from __future__ import annotations

from typing import Any

from gpustitch.model.options import option
from gpustitch.running import options as shared


def volume_format() -> Any:
    """Format of the volume."""
    return option(None, help="precomputed, ome-zarr, tiff or nifti.", shown="what the name of OUT says")


def levels() -> Any:
    """Number of levels, if the format has any."""
    return shared.levels(None, shown="5; TIFF, NIfTI: 1")


def chunk_shape() -> Any:
    """Shape (z, y, x) of a chunk, if the format has any."""
    return shared.chunk_shape(None, shown="64,64,64; TIFF, NIfTI: none")
