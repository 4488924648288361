"""Which channel to align: the one whose tiles link best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from gpustitch.oblique.align import stage as align
from gpustitch.oblique.align.stage import AlignOptions
from gpustitch.oblique.channels.shift import central
from gpustitch.oblique.pipeline.one_pass import volumes_of
from gpustitch.oblique.pipeline.stage import PipelinePlan
from gpustitch.running.progress import Progress, Silent


@dataclass(frozen=True)
class Linked:
    """How a channel's tiles link: accepted links, links tried, and the median standard error of the tiles, um."""

    n_links: int
    n_tried: int
    standard_error_um: float

    @property
    def worth(self) -> tuple[int, float]:
        """Greater for a channel that links better."""
        return self.n_links, -self.standard_error_um

    @property
    def text(self) -> str:
        """How the tiles link, in words."""
        sure = f", standard error {self.standard_error_um:.2f} um" if math.isfinite(self.standard_error_um) else ""
        return f"{self.n_links} of {self.n_tried} links{sure}"


def best_channel(plans: Mapping[str, PipelinePlan], progress: Progress) -> tuple[str, dict[str, Linked]]:
    """The name of the channel to align, and how each links, by a trial on tiles in the middle, uncorrected.

    Where no channel has two tiles, it is the first.
    """
    found = {name: _tried(plan) for name, plan in plans.items()}
    if not any(linked.n_tried for linked in found.values()):
        return next(iter(plans)), found
    best = max(found, key=lambda name: found[name].worth)
    for name, linked in found.items():
        progress.note(f"{name}: {linked.text} in the middle of the mosaic{'  <- aligned' if name == best else ''}")
    return best, found


def _tried(plan: PipelinePlan) -> Linked:
    """Align the tiles in the middle of a mosaic; nothing is written."""
    middle = central(plan.mosaic)
    if len(middle.tiles) < 2:
        return Linked(0, 0, math.nan)
    tiles = dict(zip((tile.name for tile in plan.mosaic.tiles), volumes_of(plan.tiles, None), strict=True))
    options = plan.options
    asked = AlignOptions(
        mosaic=middle,
        volumes={tile.name: tiles[tile.name] for tile in middle.tiles},
        matching=options.matching,
        align_xz=options.align_xz,
        z_offset=options.z_offset,
        negative_y=options.negative_y,
        allow_unaligned=True,
        stage_repeatability_um=options.stage_repeatability_um,
        device=options.device,
        n_workers=options.n_workers,
    )
    placement = align.run(align.plan(asked), Silent()).placement
    spacing = plan.tiles[0].scan.spacing
    errors = [placement.standard_error_um(tile.name, spacing) for tile in middle.tiles]
    known = [max(error) for error in errors if error is not None]
    accepted = sum(not link.reason for link in placement.links)
    return Linked(accepted, len(placement.links), statistics.median(known) if known else math.inf)
