"""The slant of tiles: how far what lies at one column of the frames moves along x from plane to plane.

A tile's own grid has the slant of the pixel size that it was de-obliqued with. A mosaic of another pixel size has
another slant, and fusion shears every tile about the tile's own first plane. So an offset between tiles of which one
lies deeper has another x in another slant.
"""

from __future__ import annotations

from dataclasses import replace

from gpustitch.model import Link, Spacing, Volume, shear_of
from gpustitch.model.arrays import PxZYX

_SAME = 1e-6


def more_slant(volume: Volume, spacing: Spacing) -> float:
    """Columns per plane by which a tile slants more in a mosaic of ``spacing`` than in its own grid.

    0 for a tile that does not say that it comes from an oblique scan: fusion does not shear it.
    """
    own = volume.spacing
    factor = (spacing.y_um / own.y_um) * (own.x_um / spacing.x_um)
    return 0.0 if abs(factor - 1) < _SAME else volume.coverage.shear * (factor - 1)


def slant_of(volume: Volume, spacing: Spacing) -> float:
    """Columns per plane by which a tile slants in a mosaic of ``spacing``."""
    own = volume.spacing
    return shear_of(own.y_um, own.x_um, own.sheet_angle_deg) + more_slant(volume, spacing)


def slanted(px: PxZYX, more: float) -> PxZYX:
    """A position or offset (z, y, x) in voxels, in a grid that slants by ``more`` columns per plane more."""
    z, y, x = px
    return z, y, x + more * z


def slanted_link(link: Link, more: float) -> Link:
    """A link whose offset and candidates are in a grid that slants more; its matches stay as they are."""
    if more == 0:
        return link
    candidates = tuple(replace(each, offset_px=slanted(each.offset_px, more)) for each in link.candidates)
    return replace(link, offset_px=slanted(link.offset_px, more), candidates=candidates)
