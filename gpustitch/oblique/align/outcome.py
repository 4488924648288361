"""What an alignment came to, for people: what was linked, what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Iterator

from gpustitch.errors import AlignmentError
from gpustitch.model import Placement
from gpustitch.oblique.align.voxel_size import VoxelSize
from gpustitch.running.progress import listed

# Beyond this many percent, people are told how to know the y voxel size better.
_KNOWN_WELL = 0.2


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


def check_measured(y_size: str, is_measured: bool) -> None:
    """Refuse to go on with a measured y voxel size where nothing measures it.

    Raises
    ------
    AlignmentError
        If that size was asked for.
    """
    if y_size == "measured" and not is_measured:
        raise AlignmentError(
            "`y_size` is measured, but no link joins two rows of tiles, so nothing measures the y voxel size; "
            "take auto or nominal"
        )


def voxel_size_text(found: VoxelSize) -> str:
    """The y voxel size and what it rests on, or that it was not measured."""
    nominal = f"nominal {found.nominal_um:g} um"
    if found.estimate_um is None or found.uncertainty_um is None:
        return f"y voxel size NOT measured (no links along y), nominal kept: {found.nominal_um:g} um"
    percent = 100 * found.uncertainty_um / found.nominal_um
    rests = f"{found.n_links} links between {found.n_rows} rows of {found.n_tiles} tiles"
    measured = f"{found.estimate_um:.4f} +- {found.uncertainty_um:.4f} um (95 %) from {rests}"
    scale = "relative to the stage's own scale"
    if found.y_size != "auto":
        return (
            f"y voxel size {measured}, {scale}; {nominal}: going on with {found.used_um:.5g} um, the {found.y_size} one"
        )
    if found.is_significant:
        return f"y voxel size {measured}, {scale}; {nominal} does not fit: going on with {found.used_um:.4f} um"
    doubt = (
        "fits" if abs(found.estimate_um - found.nominal_um) <= found.uncertainty_um else "is doubtful, not disproved"
    )
    known = f"these tiles alone know it to +-{percent:.2g} %, {scale}: {measured}"
    if percent > _KNOWN_WELL:
        known += "; more rows of tiles or a stated stage repeatability would tell it better"
    return f"y voxel size: {nominal} {doubt}; {known}; going on with the {nominal}"


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
