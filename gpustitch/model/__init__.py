"""Frozen descriptions of geometry and plans: no voxels, no I/O."""

from gpustitch.model.box import ZYX, Box
from gpustitch.model.geometry import Coverage, ObliqueScan, Spacing, check_um, column_step_um, shear_of
from gpustitch.model.levels import factors_between, level_factors
from gpustitch.model.tile import (
    Candidate,
    Frames,
    Link,
    Match,
    Mosaic,
    PlacedVolume,
    Placement,
    Support,
    TilePath,
    UmXYZ,
    Volume,
    channel_of,
    is_unaligned,
    part_axis,
    read_into,
    stage_position,
    tile_name,
)

__all__ = [
    "ZYX",
    "Box",
    "Candidate",
    "Coverage",
    "Frames",
    "Link",
    "Match",
    "Mosaic",
    "ObliqueScan",
    "PlacedVolume",
    "Placement",
    "Spacing",
    "Support",
    "TilePath",
    "UmXYZ",
    "Volume",
    "channel_of",
    "check_um",
    "column_step_um",
    "factors_between",
    "is_unaligned",
    "level_factors",
    "part_axis",
    "read_into",
    "shear_of",
    "stage_position",
    "tile_name",
]
