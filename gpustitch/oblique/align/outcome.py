"""What an alignment came to, for people: what was linked, what was measured, and what was not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from gpustitch.errors import AlignmentError
from gpustitch.model import Link, Placement, Spacing, UmXYZ
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.overlaps.refine import LinkCount
from gpustitch.oblique.align.report import UNKNOWN, sure_text
from gpustitch.oblique.align.solve import link_sigma
from gpustitch.oblique.align.solving.stage_model import AFFINE, MEDIAN_UM
from gpustitch.oblique.align.voxel_size import VoxelSize
from gpustitch.ops.robust import MAD_TO_SIGMA
from gpustitch.running.progress import counted, listed, size_text

# Beyond this many percent, people are told how to know the y voxel size better.
_KNOWN_WELL = 0.2
# So many tiles or links are named in a line; the alignment file names all.
_MOST_NAMED = 6
# Parts of an overlap lie elsewhere if so many windows say so, and this part of those that tell.
_TORN_LEAST, _TORN = 4, 0.2
# A link lies far from where the stage puts it beyond so many standard deviations of the other links,
_FAR = 5
# and not nearer than this: three times what two tiles differ by of which each is off by 5 um.
_FAR_UM = 20.0
# Links that say that the stage errs by more than so many times what it usually does are said.
_IMPLAUSIBLE = 2.5


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
        f"none of {counted(len(placement.links), 'overlaps')} gave a link ({first.fixed} - {first.moving}: "
        f"{first.reason}); check voxel size, step size, `negative_y` and the orientation of the frames, or keep "
        "the stage's positions with `allow_unaligned`",
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
    text = f"{n_tiles} tiles, {accepted} of {counted(n_links, 'links')} accepted"
    if not accepted:
        return f"{text}: UNALIGNED, all tiles lie where the stage says"
    islands = [members for members in placement.islands if len(members) > 1]
    if len(islands) > 1:
        text += f", {len(islands)} groups of tiles that nothing links"
    return f"{text}, {counted(len(placement.unlinked), 'tiles')} without a link" if placement.unlinked else text


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
    rests = f"{counted(found.n_links, 'links')} between {found.n_rows} rows of {found.n_tiles} tiles"
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


def read_text(n_bytes: int, of_bytes: int) -> str:
    """How much was read to align the tiles."""
    times = n_bytes / of_bytes
    if times < 1.5:
        return f"read {size_text(n_bytes)} of the tiles' {size_text(of_bytes)} to align them: {100 * times:.3g} %"
    return (
        f"aligned tiles of {size_text(of_bytes)}; windows lie over one another, so that each pixel was read about "
        f"{times:.0f} times"
    )


def still_text(share: float) -> str:
    """That a pattern of the camera was found."""
    return (
        f"a pattern stands still in the camera's picture (dust, hot pixels, stripes), {100 * share:.2g} % of what "
        "frames show: tiles are compared without it, the volume keeps it"
    )


def angle_text(stage_um: Iterable[UmXYZ], spacing: Spacing) -> str:
    """That nothing but what was stated tells the sheet's angle where all tiles lie in one layer; else nothing."""
    if len({z for _, _, z in stage_um}) > 1:
        return ""
    return (
        f"all tiles lie in one layer: z stands on the sheet's stated angle, {spacing.sheet_angle_deg:.4g} degrees, "
        "nothing checks it; tiles above each other would"
    )


def sure_tiles_text(placement: Placement, spacing: Spacing) -> str:
    """How sure the positions of the tiles are, or that it is not known."""
    errors = {name: placement.standard_error_um(name, spacing) for name in placement.origin_px}
    known = {name: error for name, error in errors.items() if error is not None}
    if not known:
        return "how sure the positions are is not known"
    median = np.median(list(known.values()), axis=0).tolist()
    worst = max(known, key=lambda name: max(known[name]))
    return (
        f"standard error of positions {sure_text(median)} um (x, y, z, median), "
        f"at worst {sure_text(known[worst])} um (tile {worst})"
    )


def notes_of(placement: Placement, counts: Mapping[tuple[str, str], LinkCount] | None = None) -> Iterator[str]:
    """What a person should see of the links, a line for each problem and not for each link.

    ``counts`` says of each pair whether nothing but objects tells where its tiles lie.
    """
    alike: dict[str, list[Link]] = {}
    for link in placement.links:
        if link.reason:
            alike.setdefault(re.sub(r"-?\d+(\.\d+)?", "#", link.reason), []).append(link)
    for first, *others in alike.values():
        text = f"link {first.fixed} - {first.moving} rejected: {first.reason}"
        pairs = _named([f"{link.fixed} - {link.moving}" for link in others])
        yield f"{text}; likewise {len(others)} more: {pairs}" if others else text
    unchecked = [name for name, support in placement.support.items() if support == "link"]
    if unchecked:
        tiles = counted(len(unchecked), "tiles")
        yield f"nothing checks {tiles} on links that close no loop: {_named(unchecked)}"
    accepted = [(link.fixed, link.moving) for link in placement.links if not link.reason]
    by_objects = [pair for pair in accepted if counts and counts[pair].by_objects_alone]
    if by_objects:
        pairs = _named([f"{fixed} - {moving}" for fixed, moving in by_objects])
        yield (
            f"in {counted(len(by_objects), 'overlaps')} only objects tell where tiles lie, nothing between them: if "
            f"all moved together, nothing shows it: {pairs}"
        )


def warnings_of(
    placement: Placement,
    spacing: Spacing,
    stage_px: Mapping[str, PxZYX],
    counts: Mapping[tuple[str, str], LinkCount] | None = None,
    stage_repeatability_um: float | None = None,
) -> Iterator[str]:
    """What a person must know: tiles that lie where the stage puts them, and links that nothing confirms.

    ``stage_px`` holds the stage's position of each tile (z, y, x), in voxels of ``spacing``, ``counts`` what windows of
    each pair say, and whether objects have moved there.
    """
    if len(placement.origin_px) < 2:
        return
    if not placement.links or placement.is_unaligned:
        yield links_text(placement)
        return
    if placement.unlinked:
        tiles = [f"{name} (+- {_sure(placement, spacing, name)})" for name in placement.unlinked]
        yield (
            f"{counted(len(tiles), 'tiles')} without a link to any other, kept where the stage says, +- standard error "
            f"x, y, z: {_named(tiles)}"
        )
    islands = [members for members in placement.islands if len(members) > 1]
    if len(islands) > 1:
        groups = "; ".join(listed(members, 6) for members in islands)
        yield f"{len(islands)} groups of tiles have no link between them, each lies where the stage says: {groups}"
    yield from _misfits(placement, spacing, counts or {})
    if implausible := implausible_text(placement, stage_px, spacing, stage_repeatability_um):
        yield (
            f"{implausible}. If it is better than that, overlaps show what moved from tile to tile (debris), or voxel "
            "size or step are wrong"
        )
    unchecked = unchecked_links(placement, stage_px, spacing)
    if unchecked:
        links = [f"{fixed} - {moving} ({um:.0f} um)" for (fixed, moving), um in unchecked.items()]
        yield (
            f"{counted(len(links), 'links')} on no loop, far from where the stage puts tiles, and nothing says which "
            f"is right: {_named(links)}"
        )


def _misfits(placement: Placement, spacing: Spacing, counts: Mapping[tuple[str, str], LinkCount]) -> Iterator[str]:
    """Overlaps of which not all fits together."""
    torn = torn_links(placement, counts)
    if torn:
        links = [f"{fixed} - {moving} ({n} of {of})" for (fixed, moving), (n, of) in torn.items()]
        yield (
            f"in {counted(len(links), 'overlaps')} not all windows agree that show the same thing in both tiles: parts "
            f"of them do not fit together. Frames may be lost, or tissue or debris moved: {_named(links)}"
        )
    moved = moved_objects_um(counts, spacing)
    if moved:
        links = [f"{fixed} - {moving} ({max(map(abs, um)):.0f} um)" for (fixed, moving), um in moved.items()]
        yield (
            f"in {counted(len(links), 'overlaps')} objects lie elsewhere than what is between them: debris moved from "
            f"tile to tile, or frames are lost. What is between them joins the tiles there: {_named(links)}"
        )
    bent = bent_links(placement.links)
    if bent:
        links = [f"{fixed} - {moving} ({px:.1f})" for (fixed, moving), px in bent.items()]
        yield (
            f"in {counted(len(links), 'overlaps')} tiles are stretched or turned against each other, by so many voxels "
            f"from end to end: {_named(links)}. Tiles are moved only, +- holds the rest. Frames may be lost or "
            "doubled, or stage speed, magnification or camera have changed"
        )


def torn_links(
    placement: Placement, counts: Mapping[tuple[str, str], LinkCount]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Accepted links of overlaps with parts that lie elsewhere: how many windows agree, and of how many."""
    pairs = [(link.fixed, link.moving) for link in placement.links if not link.reason]
    found = {pair: counts.get(pair, LinkCount()) for pair in pairs}
    return {
        pair: (of.agreeing, of.agreeing + of.elsewhere)
        for pair, of in found.items()
        if of.elsewhere >= _TORN_LEAST and of.elsewhere > _TORN * (of.agreeing + of.elsewhere)
    }


def bent_links(links: Sequence[Link]) -> dict[tuple[str, str], float]:
    """Accepted links whose offset changes from end to end of the overlap, and by how many voxels."""
    return {(k.fixed, k.moving): max(k.bend_px) for k in links if not k.reason and k.bend_px is not None}


def moved_objects_um(counts: Mapping[tuple[str, str], LinkCount], spacing: Spacing) -> dict[tuple[str, str], UmXYZ]:
    """How far objects have moved (x, y, z) in the overlaps in which they have."""
    found = {}
    for pair, count in counts.items():
        if count.moved_px is not None:
            z, y, x = (px * um for px, um in zip(count.moved_px, spacing.zyx_um, strict=True))
            found[pair] = x, y, z
    return found


def implausible_text(
    placement: Placement,
    stage_px: Mapping[str, PxZYX],
    spacing: Spacing,
    stage_repeatability_um: float | None = None,
) -> str:
    """That links say that the stage errs by more than a stage does, and which tiles may have changed names; or nothing.

    ``stage_px`` holds the stage's position of each tile (z, y, x), in voxels of ``spacing``.
    """
    z, y, x = stage_disagreement_um(placement, stage_px, spacing, stage_repeatability_um)
    usual_um = MEDIAN_UM if stage_repeatability_um is None else stage_repeatability_um
    if max(x, y, z) <= _IMPLAUSIBLE * usual_um:
        return ""
    text = (
        f"links say that the stage errs by {x:.1f}, {y:.1f}, {z:.1f} um (x, y, z), more than {_IMPLAUSIBLE:g} times "
        f"{usual_um:g} um (`stage_repeatability_um`)"
    )
    exchanged = exchanged_tiles(placement.origin_px, stage_px, spacing)
    if not exchanged:
        return text
    pairs = _named([f"{a} and {b}" for a, b in exchanged])
    return f"{text}. {pairs} lie where the stage puts each other: do their files bear each other's names?"


def exchanged_tiles(
    origin_px: Mapping[str, PxZYX], stage_px: Mapping[str, PxZYX], spacing: Spacing
) -> tuple[tuple[str, str], ...]:
    """Tiles of which each lies nearest to where the stage puts the other one.

    Both positions (z, y, x) are in voxels of ``spacing``; what all tiles are off together does not count.
    """
    names = sorted(set(origin_px) & set(stage_px))
    if len(names) < 2:
        return ()
    here, there = (np.array([px[name] for name in names]) * spacing.zyx_um for px in (origin_px, stage_px))
    apart = here[:, None] - there[None]
    common = np.median(np.diagonal(apart), axis=1)
    nearest = np.square(apart - common).sum(axis=2).argmin(axis=1).tolist()
    return tuple((names[a], names[b]) for a, b in enumerate(nearest) if a < b and nearest[b] == a)


def stage_disagreement_um(
    placement: Placement,
    stage_px: Mapping[str, PxZYX],
    spacing: Spacing,
    stage_repeatability_um: float | None = None,
) -> tuple[float, float, float]:
    """What links say that a tile is off the stage's position by, rms (z, y, x), um.

    Camera and stage may be turned, scaled or slanted against each other by a percent or so: that is left out. So is
    what links leave open. ``stage_px`` holds the stage's position of each tile (z, y, x), in voxels of ``spacing``.
    """
    links = [link for link in placement.links if not link.reason]
    um = np.array(spacing.zyx_um)
    told, solved = (
        np.array([np.subtract(px[k.moving], px[k.fixed]) for k in links]).reshape(-1, 3) * um
        for px in (stage_px, placement.origin_px)
    )
    off = solved - told
    usual = MEDIAN_UM if stage_repeatability_um is None else max(stage_repeatability_um, 1e-3)
    # Two tiles differ by the errors of both.
    normal = told.T @ told + np.eye(3) * (2 * usual**2 / AFFINE**2)
    left = off - told @ np.linalg.solve(normal, told.T @ off)
    open_um = np.array([link_sigma(k) for k in links]).reshape(-1, 3) * um
    squares = (left**2 - open_um**2).sum(axis=0) / (2 * max(1, len(links)))
    z, y, x = np.sqrt(np.maximum(squares, 0)).tolist()
    return z, y, x


def unchecked_links(
    placement: Placement, stage_px: Mapping[str, PxZYX], spacing: Spacing
) -> dict[tuple[str, str], float]:
    """Accepted links that close no loop and lie far from where the stage puts them, and how far, um.

    ``stage_px`` holds the stage's position of each tile (z, y, x), in voxels of ``spacing``.
    """
    links = [link for link in placement.links if not link.reason]
    apart = np.array([np.subtract(stage_px[k.moving], stage_px[k.fixed]) for k in links]).reshape(-1, 3)
    off_um = np.abs((np.array([k.offset_px for k in links]).reshape(-1, 3) - apart) * spacing.zyx_um)
    found = {}
    for n, link in enumerate(links):
        others = np.delete(off_um, n, axis=0)
        usual = MAD_TO_SIGMA * np.median(others, axis=0) if len(others) else np.zeros(3)
        is_far = bool((off_um[n] > np.maximum(_FAR_UM, _FAR * usual)).any())
        if is_far and _closes_no_loop(link, links):
            found[link.fixed, link.moving] = float(off_um[n].max())
    return found


def _closes_no_loop(link: Link, links: Sequence[Link]) -> bool:
    """Whether the other links leave its two tiles apart; another link of the same two tiles closes no loop."""
    reached, new = {link.fixed}, {link.fixed}
    others = [{k.fixed, k.moving} for k in links if {k.fixed, k.moving} != {link.fixed, link.moving}]
    while new:
        new = {name for pair in others if pair & reached for name in pair} - reached
        reached |= new
    return link.moving not in reached


def _named(items: Sequence[str]) -> str:
    return listed(items, _MOST_NAMED)


def _sure(placement: Placement, spacing: Spacing, name: str) -> str:
    error = placement.standard_error_um(name, spacing)
    return UNKNOWN if error is None else f"{sure_text(error)} um"
