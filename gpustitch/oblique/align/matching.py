"""How points of two tiles are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gpustitch.errors import ParameterError
from gpustitch.model import ZYX
from gpustitch.model.options import documented, option
from gpustitch.oblique.align import ALIGNMENT

# Part of the distance of two tiles by which a wrong voxel size may displace them.
_WRONG_SIZE = 0.03


@documented
@dataclass(frozen=True)
class MatchOptions:
    """How points of two tiles are compared. Triples are voxels in the order (z, y, x).

    Windows are of ``largest_px``, or smaller where the overlap is narrow. ``window_px``, if given, holds as it is.
    The random points depend on ``seed`` and the stage positions of the tiles.
    """

    sigma_um: float = option(
        2.5, flag="--sigma", unit="um", help="Smoothing of both tiles before correlation, um.", panel=ALIGNMENT
    )
    sample_count: int = option(20, help="Points compared in each overlap.", panel=ALIGNMENT)
    window_px: ZYX | None = option(
        None,
        flag="--window-size",
        text="xyz",
        help="Windows that are compared, odd numbers of voxels x,y,z. Stated, they hold in every overlap, and one that "
        "has no room for them gets no link.",
        shown="21,21,21, smaller where the overlap is narrow",
        panel=ALIGNMENT,
    )
    blob_window_px: ZYX = option(
        (64, 64, 64),
        flag="--blob-detection-window-size",
        text="xyz",
        help="Size of the boxes in which points are sought, voxels x,y,z.",
        panel=ALIGNMENT,
    )
    border_px: ZYX = option(
        (10, 10, 10),
        flag="--border-size",
        text="xyz",
        help="Voxels x,y,z read on each side of a window, so that it can move.",
        panel=ALIGNMENT,
    )
    search_px: ZYX = option(
        (24, 24, 24),
        flag="--search-size",
        text="xyz",
        help="How far from where the stage puts it a tile is looked for, voxels x,y,z; 3 % of the tiles' distance if "
        "that is more. 0,0,0: no search.",
        panel=ALIGNMENT,
    )
    min_correlation: float | None = option(
        None,
        help="Least correlation of a point that counts.",
        shown="0.5, if the point leads to where the whole overlap fits; 0.95 without a search",
        panel=ALIGNMENT,
    )
    min_matches: int = option(3, help="Points that must agree for a link to be accepted.", panel=ALIGNMENT)
    seed: int = option(0, help="Start of the random choice of points.", panel=ALIGNMENT)
    largest_px: ZYX = (21, 21, 21)

    def __post_init__(self) -> None:
        for name, window in (("window_px", self.window_px), ("largest_px", self.largest_px)):
            if window is not None and any(n < 1 or n % 2 == 0 for n in window):
                raise ParameterError(f"`{name}` must be odd and positive, not {xyz_text(window)} (x,y,z)")
        if min(self.blob_window_px) < 1 or min(self.border_px) < 0 or min(self.search_px) < 0:
            raise ParameterError(
                "`blob_window_px` must be at least 1, `border_px` and `search_px` at least 0, not "
                f"{xyz_text(self.blob_window_px)}, {xyz_text(self.border_px)} and {xyz_text(self.search_px)} (x,y,z)"
            )
        if not (math.isfinite(self.sigma_um) and self.sigma_um >= 0):
            raise ParameterError(f"`sigma_um` must be a number of um, 0 or more, not {self.sigma_um}")
        for name, least in (("sample_count", self.sample_count), ("min_matches", self.min_matches)):
            if least < 1:
                raise ParameterError(f"`{name}` must be at least 1, not {least}")
        if self.seed < 0:
            raise ParameterError(f"`seed` must be at least 0, not {self.seed}")
        if self.min_correlation is not None and not -1 <= self.min_correlation <= 1:
            raise ParameterError(f"`min_correlation` must be between -1 and 1, not {self.min_correlation}")

    def reach_px(self, offset_px: Sequence[float], shear: float) -> ZYX:
        """How far from an offset (z, y, x) the search looks, voxels: further for tiles that are further apart.

        A voxel size that is wrong by 3 % displaces tiles by as much of their distance. Along x, the slant of the sheet
        then differs too.
        """
        z, y, x = (_WRONG_SIZE * abs(v) for v in offset_px)
        far = (z, y, x + shear * z)
        z_px, y_px, x_px = (n and max(n, math.ceil(v)) for n, v in zip(self.search_px, far, strict=True))
        return z_px, y_px, x_px


def xyz_text(zyx: Sequence[int]) -> str:
    """Numbers of voxels (z, y, x) as people write them: x first."""
    return " x ".join(str(n) for n in reversed(zyx))
