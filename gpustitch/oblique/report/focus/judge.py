"""Which tiles are out of focus, by overlaps in which a neighbour shows the same tissue sharper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gpustitch.model import Spacing
from gpustitch.oblique.align.pairs import Pair
from gpustitch.oblique.report.check import NOTHING, Check
from gpustitch.oblique.report.focus.measure import Blur
from gpustitch.oblique.report.placement import Remeasured
from gpustitch.running.progress import listed

# A tile is out of focus beside another one by more blur (standard deviation along y, voxels), and standard errors.
BLURRED_PX, SIGMAS = 2.0, 5.0
# An overlap at the end of which a tile that is blurred elsewhere is surely as sharp as its neighbour.
_AS_SHARP = 0.5
_NAMED = 4
_NAME = "focus"
_HELPS = NOTHING + ": focus, and record again"


def focus(blurs: Mapping[Pair, Blur], links: Sequence[Remeasured], spacing: Spacing) -> Check:
    """Whether a tile is less sharp than neighbours that show the same tissue.

    Parameters
    ----------
    blurs
        By how much the moving tile of each overlap is blurred more.
    links
        The overlaps.
    spacing
        Voxels of the volume.
    """
    if not blurs:
        return Check(_NAME, "not measured", "no overlap shows enough tissue to compare", helps=NOTHING)
    greatest = max(_px(blur) for blur in blurs.values())
    sure = {pair: blur for pair, blur in blurs.items() if _is_sure(blur)}
    if not sure:
        n = f"{len(blurs)} overlaps show" if len(blurs) > 1 else "one overlap shows"
        text = f"{n} tissue equally sharp in both tiles, within a blur of {greatest:.1f} voxels along y"
        return Check(_NAME, "pass", text, greatest, "voxels", BLURRED_PX)
    worst = max(_px(blur) for blur in sure.values())
    told = _one_sided({pair: blur.px2 for pair, blur in sure.items()}, blurs, links, spacing)
    said = told or listed([_of_tile(tile, sure, blurs) for tile in _soft(sure)], _NAMED)
    text = f"{said}; the worst by a blur of about {worst:.1f} voxels ({worst * spacing.y_um:.1f} um) along y"
    return Check(_NAME, "warn", text, worst, "voxels", BLURRED_PX, _HELPS)


def _px(blur: Blur) -> float:
    """The standard deviation of a blur, voxels."""
    return math.sqrt(abs(blur.px2))


def _is_sure(blur: Blur) -> bool:
    return _px(blur) > BLURRED_PX and abs(blur.px2) > SIGMAS * blur.sigma_px2


def _soft(sure: Mapping[Pair, Blur]) -> list[str]:
    """The tiles that are less sharp than another one, each once."""
    return list(dict.fromkeys(moving if blur.px2 > 0 else fixed for (fixed, moving), blur in sure.items()))


def _of_tile(tile: str, sure: Mapping[Pair, Blur], blurs: Mapping[Pair, Blur]) -> str:
    """Where a tile is out of focus: everywhere, or beside some neighbours alone."""
    # By how much more it is blurred than each neighbour, and the error.
    more = {
        a if b == tile else b: (blur.px2 if b == tile else -blur.px2, blur.sigma_px2)
        for (a, b), blur in _with(tile, blurs)
    }
    sharper = [a if b == tile else b for (a, b), blur in _with(tile, sure) if (blur.px2 > 0) == (b == tile)]
    most = max(more[name][0] for name in sharper)
    alike = [name for name, (px2, error) in more.items() if px2 + 2 * error < _AS_SHARP * most]
    where = f"is out of focus beside {listed(sharper, _NAMED)}"
    return f"{tile} {where}" + (f", but not beside {listed(alike, _NAMED)}" if alike else "")


def _with(tile: str, blurs: Mapping[Pair, Blur]) -> list[tuple[Pair, Blur]]:
    return [(pair, blur) for pair, blur in blurs.items() if tile in pair]


def _one_sided(
    sure: Mapping[Pair, float], blurs: Mapping[Pair, Blur], links: Sequence[Remeasured], spacing: Spacing
) -> str:
    """That every tile is less sharp at the same side: the frames are, or whole rows of tiles; empty if that is not so.

    ``sure`` has the overlaps that are told, with their blur.
    """
    along: dict[int, list[tuple[Pair, float]]] = {}
    for link in links:
        if link.pair in blurs:
            um = np.multiply(link.stage_px, spacing.zyx_um)
            axis = int(np.argmax(np.abs(um)))
            along.setdefault(axis, []).append((link.pair, sure.get(link.pair, 0.0) * float(np.sign(um[axis]))))
    for axis, found in along.items():
        signs = {float(np.sign(px2)) for _, px2 in found}
        if len(found) > 1 and len(signs) == 1 and 0.0 not in signs and {pair for pair, _ in found} >= set(sure):
            return (
                f"in all {len(found)} overlaps along {'zyx'[axis]} the tile that has its "
                f"{'start' if 1.0 in signs else 'end'} there is less sharp: one side of the frames is out of focus, or "
                "whole rows of tiles are"
            )
    return ""
