"""Whether stage positions can be those of a mosaic: names in another unit put tiles upon one another, or far apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gpustitch.errors import MosaicError
from gpustitch.model import Coverage, Spacing
from gpustitch.model.arrays import PxZYX

# If each tile shares more than this part with another one, or lies this many tiles from all others, units are mistaken.
_MOST_SHARED = 0.75
_FARTHEST = 10.0


def check_distances(origins_px: Mapping[str, PxZYX], tile: Coverage, spacing: Spacing) -> bool:
    """Refuse positions that no mosaic has.

    Parameters
    ----------
    origins_px
        Where the stage says each tile begins (z, y, x), in voxels of ``spacing``.
    tile
        What one tile covers.

    Returns
    -------
    bool
        Whether any two tiles overlap; true for a single tile.

    Raises
    ------
    MosaicError
        If every tile lies nearly upon another one, or far from all others.
    """
    if len(origins_px) < 2:
        return True
    size = np.array([tile.n_columns, tile.n_rows, tile.n_frames], np.float64)
    at = np.array(list(origins_px.values()), np.float64) / size
    shared, far = [], []
    for i, place in enumerate(at):
        apart = np.abs(np.delete(at, i, axis=0) - place)
        shared.append(np.prod(np.clip(1 - apart, 0, None), axis=1).max())
        far.append(apart.max(axis=1).min())
    if min(shared) <= _MOST_SHARED and min(far) <= _FARTHEST:
        return bool(max(shared) > 0)
    how = (
        f"share at least {min(shared):.0%} with another one"
        if min(shared) > _MOST_SHARED
        else (f"lie at least {min(far):.0f} tiles from all others")
    )
    z, y, x = size * spacing.zyx_um
    raise MosaicError(
        f"the {len(at)} tiles cannot be where their names say: all {how}. A tile is {x:.0f} x {y:.0f} x {z:.0f} um "
        "(x, y, z); names X/X_Y/Z are whole tenths of a micron: were they written in um or nm?"
    )
