"""What measurements say of where tiles lie: rules, without a file or a voxel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gpustitch.model import Spacing
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.outcome import bent_links, implausible_text
from gpustitch.oblique.align.pairs import Pair
from gpustitch.oblique.mosaic.file import Alignment
from gpustitch.oblique.report.check import NOTHING, Check, State
from gpustitch.oblique.report.placement import Placing, Remeasured
from gpustitch.oblique.report.written import Seen
from gpustitch.running.progress import listed

# A tile that lies this far from where the pictures fit, voxels on an axis, is doubtful, or wrong; both only beyond so
# many standard errors.
DOUBTFUL_PX, WRONG_PX, SIGMAS = 1.0, 3.0, 4.0
# Standard errors that hold 95 % of a normal variable.
TWO_SIDED = 1.96
# Two tiles are off the stage's distance by so many um, and so many times what others are: worth a look.
FAR_UM, FAR = 20.0, 3.0
# A file and a volume that differ by more, voxels, are not of one run.
_SAME_PX = 0.01
# The y voxel size: known well enough to say anything; material differences; off what was stated.
KNOWN_PERCENT, MATERIAL_PERCENT, STATED_PERCENT = 2.0, 1.0, 2.0
# So many half widths of its interval from the measured size, another one is wrong for sure.
SURE = 2.0
_NAMED = 4
_PLACEMENT = "placement"


@dataclass(frozen=True)
class Stated:
    """What the records say: parameters of the run, the alignment file, and where it puts the tiles (voxels)."""

    parameters: Mapping[str, Any]
    alignment: Alignment | None
    aligned_px: Mapping[str, PxZYX] = field(default_factory=dict)

    @property
    def is_given(self) -> bool:
        """Whether the alignment was given, not made of these tiles."""
        return bool(self.parameters.get("align_file"))


def placement(placing: Placing, spacing: Spacing, n_tiles: int, problems: Sequence[str], stated: Stated) -> Check:
    """Whether tiles lie where their pictures fit."""
    if n_tiles == 1:
        return Check(_PLACEMENT, "pass", "one tile: nothing to place")
    if problems and not placing.links:
        return Check(_PLACEMENT, "not measured", f"no raw tile can be read: {problems[0]}", helps="`channel`")
    if placing.exchanged:
        return _exchanged(placing, stated)
    measured = [link for link in placing.links if link.off_px is not None]
    if not measured:
        what = "no two tiles overlap" if not placing.links else f"none of {len(placing.links)} overlaps can be compared"
        return Check(_PLACEMENT, "not measured", what, helps=NOTHING)
    return _fitting(measured, placing, spacing, stated)


def _exchanged(placing: Placing, stated: Stated) -> Check:
    """The check of tiles that have each other's names."""
    named = listed([f"{a} and {b}" for a, b in placing.exchanged], _NAMED)
    return Check(
        _PLACEMENT,
        "fail",
        f"tiles are exchanged: {named} fit their neighbours only if each takes the other's place; "
        "their files bear each other's names",
        value=float(len(placing.exchanged)),
        unit="pairs",
        limit=0,
        helps="rename the files, then run `pipeline` again" if not stated.is_given else "another `align_file`",
    )


def _fitting(measured: Sequence[Remeasured], placing: Placing, spacing: Spacing, stated: Stated) -> Check:
    """The check of tiles of which some overlaps could be compared."""
    worst = max(measured, key=lambda link: max(map(abs, link.off_px or (0,))))
    off, um = max(map(abs, worst.off_px or (0,))), worst.off_um(spacing) or 0.0
    unmeasured = len(placing.links) - len(measured)
    more = f"; {unmeasured} of {len(placing.links)} overlaps cannot be compared" if unmeasured else ""
    more += f"; {len(placing.left_out)} were left out, to read no more" if placing.left_out else ""
    more += _of_errors(placing, stated, spacing)
    bent, most_px = ({}, 0.0) if stated.alignment is None else _bent(stated.alignment)
    if bent:
        named = listed([f"{a} - {b} ({px:.1f})" for (a, b), px in bent.items()], _NAMED)
        more += f"; in {len(bent)} tiles are stretched or turned against each other, by voxels from end to end: {named}"
    wrong = [link for link in measured if is_off(link, WRONG_PX)]
    if wrong:
        return Check(
            _PLACEMENT,
            "fail",
            f"{_blamed(wrong)}: by {um:.0f} um between {worst.fixed} and {worst.moving}{more}",
            value=um,
            unit="um",
            limit=WRONG_PX * min(spacing.zyx_um),
            helps="leave out `align_file`, or give one made of these tiles" if stated.is_given else "`search_px`",
        )
    n_doubtful = sum(is_off(link, DOUBTFUL_PX) for link in measured)
    if n_doubtful:
        text = f"{n_doubtful} of {len(measured)} overlaps fit elsewhere, by up to {off:.1f} voxels ({um:.1f} um){more}"
        return Check(
            _PLACEMENT, "warn", text, value=off, unit="voxels", limit=DOUBTFUL_PX, helps="`sample_count`, `window_px`"
        )
    # At the ends of an overlap half of it is left.
    if most_px / 2 > DOUBTFUL_PX:
        text = f"tiles lie within {off:.2g} voxels of where {len(measured)} overlaps fit in their middle{more}"
        helps = f"{NOTHING}: tiles are moved only"
        return Check(_PLACEMENT, "warn", text, value=most_px / 2, unit="voxels", limit=DOUBTFUL_PX, helps=helps)
    text = f"tiles lie within {off:.2g} voxels ({um:.2g} um) of where {len(measured)} overlaps fit{more}"
    return Check(_PLACEMENT, "pass", text, value=off, unit="voxels", limit=DOUBTFUL_PX)


def _bent(alignment: Alignment) -> tuple[dict[Pair, float], float]:
    """Links whose offset changes from end to end of the overlap, and by how many voxels; and the most of those."""
    found = bent_links(alignment.links)
    return found, max(found.values(), default=0.0)


def _of_errors(placing: Placing, stated: Stated, spacing: Spacing) -> str:
    """How many links are off by no more than their stated standard errors explain, for people."""
    times = [times for _, times in within_errors(placing, stated.alignment, spacing)]
    if not times or stated.is_given:
        return ""
    return f"; {sum(t <= TWO_SIDED for t in times)} of {len(times)} within 1.96 of the stated standard errors"


def is_off(link: Remeasured, most_px: float) -> bool:
    """Whether a tile lies more than so many voxels from where the pictures fit, and that is no error of measurement."""
    if link.off_px is None:
        return False
    sigma = link.sigma_px or (0.0, 0.0, 0.0)
    return any(abs(off) > max(most_px, SIGMAS * s) for off, s in zip(link.off_px, sigma, strict=True))


def _blamed(wrong: Sequence[Remeasured]) -> str:
    """Which tile is at fault, if it is in all wrong links."""
    common = set(wrong[0].pair).intersection(*(link.pair for link in wrong))
    if len(wrong) > 1 and len(common) == 1:
        return f"tile {common.pop()} lies in the wrong place"
    pairs = listed([f"{link.fixed} - {link.moving}" for link in wrong], _NAMED)
    return f"tiles lie in wrong places ({pairs})"


def in_volume(found: Sequence[Seen], n_tiles: int) -> Check:
    """Whether the volume shows its tiles where it says that they are."""
    known = [each for each in found if each.off_px is not None]
    if not known:
        return Check(
            "tiles in the volume", "not measured", "no raw tile can be compared with the volume", helps="`channel`"
        )
    off = {each.name: max(map(abs, each.off_px or (0,))) for each in known}
    wrong = [name for name, px in off.items() if px > 1]
    text = f"the volume shows {len(known) - len(wrong)} of {n_tiles} tiles where its record has them, within a voxel"
    if wrong:
        text = f"the volume shows {listed(wrong, _NAMED)} elsewhere than its record says, by {max(off.values())} voxels"
    elif len(known) < n_tiles:
        text += f"; {n_tiles - len(known)} show too little"
    state: State = "fail" if wrong else "pass"
    helps = "make the volume again" if wrong else ""
    return Check(
        "tiles in the volume", state, text, value=float(max(off.values())), unit="voxels", limit=1.0, helps=helps
    )


def alignment_file(stated: Stated, volume_px: Mapping[str, PxZYX]) -> Check | None:
    """Whether the alignment file beside the volume is the one that the volume was made with."""
    both = sorted(set(stated.aligned_px) & set(volume_px))
    if stated.alignment is None or not both:
        return None
    apart = np.array([np.subtract(stated.aligned_px[name], volume_px[name]) for name in both])
    off = np.abs(apart - np.median(apart, axis=0)).max(axis=1)
    name, worst = "alignment file", int(np.argmax(off))
    if off[worst] <= _SAME_PX:
        return Check(name, "pass", f"the positions of {len(both)} tiles in the file are those of the volume")
    moved = [tile for tile, px in zip(both, off, strict=True) if px > _SAME_PX]
    return Check(
        name,
        "fail",
        f"the file puts {listed(moved, _NAMED)} elsewhere than the volume has them, by up to {off[worst]:.3g} voxels: "
        "it was changed after the run",
        value=float(off[worst]),
        unit="voxels",
        limit=_SAME_PX,
        helps="run `pipeline` with it as `align_file`, or bring the first file back",
    )


def links(stated: Stated) -> Check:
    """What the alignment itself rests on."""
    name, found = "links", stated.alignment
    if found is None:
        return Check(name, "pass", "one tile: nothing to align")
    if not found.links:
        return Check(name, "not measured", "the alignment file holds no links", helps=NOTHING)
    given = ", of the given alignment" if stated.is_given else ""
    rejected = [link for link in found.links if link.reason]
    n = len(found.links)
    if found.is_unaligned:
        text = f"none of {n} links was accepted{given}: all tiles lie where the stage says; {rejected[0].reason}"
        return Check(name, "warn", text, value=float(n), unit="links", limit=0, helps=_helps(rejected[0].reason))
    if not rejected:
        return Check(name, "pass", f"all {n} links were accepted{given}", value=0.0, unit="links rejected", limit=0)
    first = rejected[0]
    alone = f"; {listed(list(found.unlinked), _NAMED)} lie where the stage says" if found.unlinked else ""
    text = f"{len(rejected)} of {n} links were rejected{given}{alone}; {first.fixed} - {first.moving}: {first.reason}"
    return Check(
        name, "warn", text, value=float(len(rejected)), unit="links rejected", limit=0, helps=_helps(first.reason)
    )


def _helps(reason: str) -> str:
    """The parameters that a reason names."""
    named = list(dict.fromkeys(reason.split("`")[1::2]))
    return ", ".join(f"`{name}`" for name in named) if named else NOTHING


def stage(placing: Placing, spacing: Spacing, stated: Stated, stage_px: Mapping[str, PxZYX]) -> Check:
    """Whether the stage was about as far off for every two neighbours, and by no more than a stage is.

    ``stage_px`` holds the stage's position of each tile (z, y, x), voxels.
    """
    name = "stage"
    links = [link for link in placing.links if link.off_px is None or not is_off(link, WRONG_PX)]
    if not links:
        return Check(name, "not measured", "no two tiles are compared", helps=NOTHING)
    off = np.array([np.subtract(link.placed_px, link.stage_px) for link in links]) * spacing.zyx_um
    # A wrong voxel size displaces all neighbours along an axis alike.
    axis = [int(np.argmax(np.abs(link.stage_px) * np.array(spacing.zyx_um))) for link in links]
    for each in set(axis):
        rows = [n for n, a in enumerate(axis) if a == each]
        if len(rows) > 2:
            off[rows] -= np.median(off[rows], axis=0)
    longest = np.abs(off).max(axis=1)
    usual = float(np.percentile(longest, 25))  # one tile that is off spoils half of the pairs of four
    far = [n for n in range(len(links)) if longest[n] > max(FAR_UM, FAR * usual if len(links) > 2 else 0)]
    n, most = int(np.argmax(longest)), float(longest.max())
    text = f"tiles lie within {most:.1f} um of where the stage puts them beside their neighbours"
    implausible = _implausible(stated, spacing, stage_px)
    if implausible and not far:
        helps = "`y_voxel_um`, `x_step_um`, or a file's right name"
        return Check(name, "warn", f"{text}; {implausible}", value=most, unit="um", limit=FAR_UM, helps=helps)
    if not far:
        return Check(name, "pass", text, value=most, unit="um", limit=FAR_UM)
    pairs = listed([f"{links[i].fixed} - {links[i].moving}" for i in far], _NAMED)
    text = (
        f"{len(far)} of {len(links)} pairs lie up to {most:.0f} um from the stage's distance, most {usual:.1f}: {pairs}"
        f"{implausible and '; '}{implausible}"
    )
    return Check(
        name,
        "warn",
        text,
        value=float(longest[n]),
        unit="um",
        limit=FAR_UM,
        helps=NOTHING + ": the pictures put them there",
    )


def _implausible(stated: Stated, spacing: Spacing, stage_px: Mapping[str, PxZYX]) -> str:
    """That the alignment contradicts the stage by more than a stage errs, or nothing."""
    if stated.alignment is None or stated.is_given or not stage_px:
        return ""
    placed = stated.alignment.placement(spacing)
    links = tuple(link for link in placed.links if {link.fixed, link.moving} <= set(stage_px) & set(placed.origin_px))
    repeatability = stated.parameters.get("stage_repeatability_um")
    return implausible_text(replace(placed, links=links), stage_px, spacing, repeatability) if links else ""


def voxel_size(stated: Stated, spacing: Spacing) -> Check:
    """Whether the y voxel size is the one that the links give."""
    name, found = "y voxel size", stated.alignment
    used = spacing.y_um
    if found is None or found.voxel_size_estimate_um is None or not found.voxel_size_uncertainty_um:
        helps = NOTHING + ": only links between rows of tiles measure it"
        return Check(
            name, "not measured", f"nothing measures it; {used:g} um is as stated", value=used, unit="um", helps=helps
        )
    size, half = found.voxel_size_estimate_um, found.voxel_size_uncertainty_um
    percent, off = 100 * half / size, 100 * (used / size - 1)
    told = f"{used:.4g} um is used, the tiles give {size:.4f} +- {half:.4f} um (95 %)"
    nominal = float(stated.parameters.get("y_voxel_um") or used)
    from_stated = 100 * (nominal / size - 1)
    if abs(used - size) > half:
        state: State = "fail" if abs(off) > MATERIAL_PERCENT and abs(used - size) > SURE * half else "warn"
        text = f"{told}: off by {off:+.2f} %"
        helps = f"`y_size` measured, or `y_voxel_um` {size:.4f}"
        return Check(name, state, text, value=off, unit="%", limit=percent, helps=helps)
    if abs(from_stated) > STATED_PERCENT and abs(nominal - size) > half:
        text = f"{told}; {nominal:g} um was stated, {from_stated:+.1f} % off: is it another objective, or another step?"
        return Check(
            name,
            "warn",
            text,
            value=from_stated,
            unit="%",
            limit=STATED_PERCENT,
            helps=f"`y_voxel_um` {size:.4f}, `x_step_um`",
        )
    if percent > KNOWN_PERCENT:
        text = f"{told}: known to {percent:.2g} % only"
        return Check(
            name,
            "not measured",
            text,
            value=percent,
            unit="%",
            limit=KNOWN_PERCENT,
            helps="`stage_repeatability_um`, if it is known",
        )
    return Check(name, "pass", told, value=off, unit="%", limit=percent)


def positions_text(off: Sequence[float] | None) -> str:
    """Voxels (z, y, x) for people, x first."""
    return "not measured" if off is None else ", ".join(f"{v:+.2f}" for v in reversed(off))


def within_errors(placing: Placing, found: Alignment | None, spacing: Spacing) -> Iterator[tuple[Remeasured, float]]:
    """Each measured link with how many stated standard errors it is off at most; only where errors are stated."""
    if found is None:
        return
    sigma = found.placement(spacing).sigma_px
    for link in placing.links:
        if link.off_px is None or link.fixed not in sigma or link.moving not in sigma:
            continue
        own = link.sigma_px or (0.0, 0.0, 0.0)
        both = [math.hypot(a, b, c) for a, b, c in zip(sigma[link.fixed], sigma[link.moving], own, strict=True)]
        yield link, max(abs(off) / s if s > 0 else math.inf for off, s in zip(link.off_px, both, strict=True))
