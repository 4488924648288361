"""What an alignment came to, for people: what was linked, what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Iterator

from gpustitch.errors import AlignmentError
from gpustitch.model import Placement
from gpustitch.oblique.align.voxel_size import VoxelSize
from gpustitch.running.progress import listed


def check_linked(placement: Placement, *, allow_unaligned: bool) -> None:
    """Refuse a mosaic whose tiles overlap without a single accepted link.

    Raises
    ------
    AlignmentError
        If no link was accepted, unless ``allow_unaligned``. The text holds the first reason.
    """
    if not placement.is_unaligned or allow_unaligned:
        return
    first = placement.links[0]
    raise AlignmentError(
        f"none of {len(placement.links)} overlaps gave a link ({first.fixed} - {first.moving}: {first.reason}); check "
        "voxel size, step size, `negative_y` and the orientation of the frames, or keep the stage's positions with "
        "`allow_unaligned`",
        parameter="allow_unaligned",
    )


def links_text(placement: Placement) -> str:
    """Links accepted, islands and tiles without a link, in a few words."""
    n_tiles, n_links = len(placement.origin_px), len(placement.links)
    if n_tiles == 1:
        return "one tile: nothing to align"
    if not n_links:
        return f"{n_tiles} tiles, none of which overlap: nothing to align, they lie where the stage says"
    accepted = sum(not link.reason for link in placement.links)
    text = f"{n_tiles} tiles, {accepted} of {n_links} links accepted"
    if not accepted:
        return f"{text}: UNALIGNED, all tiles lie where the stage says"
    islands = [members for members in placement.islands if len(members) > 1]
    if len(islands) > 1:
        text += f", {len(islands)} groups of tiles that nothing links"
    return f"{text}, {len(placement.unlinked)} tiles without a link" if placement.unlinked else text


def voxel_size_text(found: VoxelSize) -> str:
    """The y voxel size, or that it was not measured."""
    if found.estimate_um is None or found.uncertainty_um is None:
        return f"y voxel size NOT measured (no links along y), nominal kept: {found.nominal_um:g} um"
    measured = f"y voxel size {found.estimate_um:.4f} +- {found.uncertainty_um:.4f} um (95 %)"
    used = f"{found.used_um:.4f} um" if found.is_significant else f"the nominal {found.nominal_um:g} um"
    return f"{measured} from {found.n_links} links along y, nominal {found.nominal_um:g} um: going on with {used}"


def warnings_of(placement: Placement) -> Iterator[str]:
    """What a person must know about tiles that the links leave where the stage had them."""
    if len(placement.origin_px) < 2:
        return
    if not placement.links or placement.is_unaligned:
        yield links_text(placement)
        return
    for name in placement.unlinked:
        yield f"tile {name} is linked to no other and keeps its stage position"
    islands = [members for members in placement.islands if len(members) > 1]
    if len(islands) > 1:
        groups = "; ".join(listed(members, 6) for members in islands)
        yield f"{len(islands)} groups of tiles have no link between them, each lies where the stage says: {groups}"
