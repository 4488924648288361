"""What measurements say of light, stripes, borders, coverage and the run: rules, without a file or a voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gpustitch.oblique.destripe.measured.measures import LEAST_KEPT, MOST_COARSE, MOST_OFF_ROWS_DEG
from gpustitch.oblique.report.check import NOTHING, Check, State
from gpustitch.oblique.report.light import MUCH_SATURATED, TileLight, blinded, copies
from gpustitch.oblique.report.seams import Seam
from gpustitch.oblique.report.written import Sheet, middle_of
from gpustitch.running.progress import listed

# Saturated pixels, in %: worth a look.
SATURATED = 0.1
# A tile with less than this share of a neighbour's detail in their overlap shows nothing.
DEAD_SHARE = 0.05
# Two tiles are uneven whose light in their overlap differs by more, in %.
UNEVEN_PERCENT = 25.0
# A step at a border, in % of the light, in standard deviations of steps beside it, and times the greatest of these.
STEP_PERCENT, STEP_SIGMAS, OVER_BESIDE = 3.0, 3.5, 2.0
# Stripes, in % of the light, and times what the tissue has down the columns.
STRIPES_PERCENT, OVER_TISSUE = 2.5, 1.5
# Frames of fewer columns tell stripes from tissue badly.
NARROW_PX = 192
# Stripes that were reduced to less than this part are worth a warning at twice the limit only.
REDUCED = 0.7
# Gaps between tiles, in % of the volume; a flat surely misses more of the light, in %.
GAP_PERCENT, FLAT_PERCENT = 2.0, 5.0
_NAMED = 4


def dead(
    lights: Mapping[str, TileLight | None],
    shares: Mapping[str, Sequence[float]],
    pieces: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Check:
    """Whether a tile shows nothing, or nothing in a part of it.

    ``shares`` has for each tile its part of a neighbour's detail in overlaps where that neighbour shows something,
    ``pieces`` that in small pieces of them.
    """
    name = "tiles with signal"
    if not lights:
        return Check(name, "not measured", "no raw tile can be read", helps="`channel`")
    full = blinded(lights)
    constant = [tile for tile, light in lights.items() if light is not None and light.is_constant and tile not in full]
    dark = [tile for tile, seen in shares.items() if seen and max(seen) < DEAD_SHARE and tile not in constant]
    unread = [tile for tile, light in lights.items() if light is None]
    n = len(constant) + len(dark) + len(unread)
    if n:
        told = [
            f"{listed(tiles, _NAMED)} {verb if len(tiles) == 1 else verbs} {text}"
            for tiles, verb, verbs, text in (
                (constant, "holds", "hold", "a single count in all frames"),
                (dark, "shows", "show", f"less than {DEAD_SHARE:.0%} of the detail that neighbours show there"),
                (unread, "has", "have", "no frame that can be read"),
            )
            if tiles
        ]
        helps = NOTHING + ": the tile was recorded without light"
        return Check(
            name,
            "fail",
            f"{n} of {len(lights)} tiles are dead: " + "; ".join(told),
            value=float(n),
            unit="tiles",
            limit=0,
            helps=helps if constant or dark else "copy the files again, then `restart`",
        )
    partly = [tile for tile, seen in pieces.items() if seen and min(seen) < DEAD_SHARE]
    if partly:
        less = f"less than {DEAD_SHARE:.0%} of the detail that neighbours show there"
        text = f"{listed(partly, _NAMED)}: a part shows {less}"
        helps = NOTHING + ": the light was off, the camera stood still, or something was before it"
        return Check(name, "warn", text, value=float(len(partly)), unit="tiles", limit=0, helps=helps)
    lines = {
        tile: what
        for tile, light in lights.items()
        if light is not None and (what := _lines("rows", light.dead_rows) + _lines("columns", light.dead_columns))
    }
    if lines:
        which = listed([f"{tile}: {', '.join(what)}" for tile, what in lines.items()], _NAMED)
        text = f"lines of the camera hold a single count in all frames, counted in upright frames ({which})"
        helps = NOTHING + ": the volume is wrong there, unless another tile covers it"
        return Check(name, "warn", text, value=float(len(lines)), unit="tiles", limit=0, helps=helps)
    return Check(name, "pass", f"all {len(lights)} tiles show something", value=0.0, unit="tiles without", limit=0)


def _lines(kind: str, numbers: Sequence[int]) -> list[str]:
    """Lines for people, with the first and the last one: nothing if there are none."""
    if not numbers:
        return []
    return [f"{len(numbers)} {kind} from {numbers[0]} to {numbers[-1]}"]


def saturated(lights: Mapping[str, TileLight | None]) -> Check:
    """Whether the camera's range cuts pixels off."""
    name, known = "saturation", {tile: light for tile, light in lights.items() if light is not None}
    if not known:
        return Check(name, "not measured", "no raw tile can be read", helps="`channel`")
    ended = blinded(lights)
    share = {
        tile: 0.0 if light.is_constant and tile not in ended else light.saturated_percent
        for tile, light in known.items()
    }
    worst = max(share, key=lambda tile: share[tile])
    most, full = share[worst], known[worst].full_scale
    if most <= SATURATED:
        return Check(
            name,
            "pass",
            f"at most {most:.2g} % of a tile's pixels are saturated",
            value=most,
            unit="%",
            limit=SATURATED,
        )
    n = sum(v > SATURATED for v in share.values())
    text = f"{n} of {len(share)} tiles are saturated, {worst} in {most:.3g} % of its pixels (at {full:g} counts)"
    state: State = "fail" if most > MUCH_SATURATED else "warn"
    return Check(
        name, state, text, value=most, unit="%", limit=SATURATED, helps=NOTHING + ": record with less light or exposure"
    )


def frames(
    lost: Mapping[str, int],
    counts: Mapping[str, int],
    said: Mapping[str, int],
    lights: Mapping[str, TileLight | None] = MappingProxyType({}),
) -> Check:
    """Whether frames are missing: counted now, and in the record of the run (``said``), by tile; or come twice."""
    name = "frames"
    if not counts:
        return Check(name, "not measured", "no raw tile can be read", helps="`channel`")
    lacks = {tile: max(lost.get(tile, 0), said.get(tile, 0)) for tile in counts}
    n_lost, n = sum(lacks.values()), sum(counts.values())
    short = [tile for tile, count in counts.items() if count < max(counts.values())]
    percent = 100 * n_lost / n
    copied = copies(lights)
    repeats = {tile: light.n_repeated for tile, light in lights.items() if light is not None and light.n_repeated}
    if copied:
        pairs = listed([f"{a} = {b}" for a, b in copied], _NAMED)
        text = f"{len(copied)} tiles hold the frames of another one ({pairs}): a file was copied under a second name"
        helps = "bring the right file back, then `restart`"
        return Check(name, "fail", text, value=float(len(copied)), unit="tiles", limit=0, helps=helps)
    if repeats:
        named = listed(
            [f"{tile}: {n} of {light.n_frames}" for tile, n in repeats.items() if (light := lights[tile])], 4
        )
        text = f"frames of {len(repeats)} tiles are copies of others of the tile ({named} that were looked at)"
        helps = NOTHING + ": the camera or its recorder stood still, and what it missed is lost"
        return Check(name, "fail", text, value=float(len(repeats)), unit="tiles", limit=0, helps=helps)
    if n_lost:
        named = listed([f"{tile}: {count}" for tile, count in lacks.items() if count], _NAMED)
        text = f"{n_lost:,} of {n:,} frames are missing or cannot be read ({percent:.2g} %; {named})"
        helps = NOTHING + ": dropped frames are lost; the volume is empty there unless another tile covers it"
        return Check(name, "warn", text, value=percent, unit="%", limit=0, helps=helps)
    if short:
        text = f"{listed(short, _NAMED)} have fewer frames than others: if the first ones are lost, they lie wrong in x"
        return Check(
            name,
            "warn",
            text,
            value=float(len(short)),
            unit="tiles",
            limit=0,
            helps="bring the files back, then `restart`",
        )
    return Check(name, "pass", f"all {n:,} frames are there", value=0.0, unit="frames missing", limit=0)


def brightness(
    ratios: Mapping[tuple[str, str], float], flickers: Mapping[tuple[str, str], float] = MappingProxyType({})
) -> Check:
    """Whether neighbours are alike in the brightness of what both show, as a whole and from frame to frame."""
    name = "brightness"
    if not ratios:
        return Check(name, "not measured", "no overlap shows enough light to compare", helps=NOTHING)
    jumpy = max(flickers, key=lambda pair: flickers[pair], default=None)
    if jumpy is not None and 100 * flickers[jumpy] > UNEVEN_PERCENT:
        jump = 100 * flickers[jumpy]
        text = f"light jumps from frame to frame, by {jump:.0f} % against a neighbour ({jumpy[0]} - {jumpy[1]})"
        helps = NOTHING + ": the light source flickers, or the shutter"
        return Check(name, "warn", text, value=jump, unit="%", limit=UNEVEN_PERCENT, helps=helps)
    off = {pair: 100 * (max(r, 1 / r) - 1) for pair, r in ratios.items()}
    worst = max(off, key=lambda pair: off[pair])
    text = f"neighbours differ by up to {off[worst]:.0f} % where they show the same ({worst[0]} - {worst[1]})"
    if off[worst] > UNEVEN_PERCENT:
        return Check(
            name,
            "warn",
            text,
            value=off[worst],
            unit="%",
            limit=UNEVEN_PERCENT,
            helps="`is_estimated`, along y; a better `flat`",
        )
    return Check(name, "pass", text, value=off[worst], unit="%", limit=UNEVEN_PERCENT)


def seams(found: Sequence[Seam]) -> Check:
    """Whether the written volume has steps of brightness at borders of tiles."""
    name = "seams"
    if not found:
        return Check(name, "not measured", "no border of a tile lies in tissue wide enough", helps=NOTHING)
    seen = [seam for seam in found if is_step(seam)]
    worst = max(seen or found, key=lambda seam: seam.step_percent / max(seam.most_percent, STEP_PERCENT))
    text = (
        f"{len(seen)} of {len(found)} borders show a step; the strongest is {worst.step_percent:.1f} % at "
        f"{worst.fixed} - {worst.moving}, steps of the tissue beside it reach {worst.most_percent:.1f} %"
    )
    state: State = "warn" if seen else "pass"
    return Check(
        name,
        state,
        text,
        value=worst.step_percent,
        unit="%",
        limit=STEP_PERCENT,
        helps="`is_estimated`, `flat`" if seen else "",
    )


def is_step(seam: Seam) -> bool:
    """Whether a border of a tile shows."""
    least = max(STEP_PERCENT, STEP_SIGMAS * seam.usual_percent, OVER_BESIDE * seam.most_percent)
    return seam.step_percent > least


def stripes(sheets: Sequence[Sheet], record: Mapping[str, Any] | None, method: str) -> Check:
    """Whether stripes are left in the written volume, along the sheet."""
    name = "stripes"
    measures = (record or {}).get("measures") or {}
    before, after = measures.get("stripes_left_before_percent"), measures.get("stripes_left_after_percent")
    left, across = middle_of([s.stripes for s in sheets]), middle_of([s.across for s in sheets])
    where = "in the volume"
    if method == "lightsheet":  # without its background a volume has no level to compare with
        left, across, where = after, measures.get("lines_across_percent"), "in the frames that were judged"
    if left is None:
        return Check(name, "not measured", "too little is lit to tell stripes", helps=NOTHING)
    limit = max(STRIPES_PERCENT, OVER_TISSUE * (across or 0))
    if sheets and sheets[0].written.shape[1] < NARROW_PX:
        limit *= 2  # tissue is then as long as a row, and counts as a stripe
    was = "" if before is None or before <= 0 else f", {before:.1f} % before destriping"
    text = f"{left:.1f} % of the light {where} run along the sheet{was}; the tissue has {across or 0:.1f} % across it"
    is_reduced = method != "none" and before is not None and left < REDUCED * before
    if left <= (2 if is_reduced else 1) * limit:
        return Check(name, "pass", text, value=left, unit="%", limit=limit)
    return Check(name, "warn", text, value=left, unit="%", limit=limit, helps=_against_stripes(record, method))


def _against_stripes(record: Mapping[str, Any] | None, method: str) -> str:
    """What helps where stripes are left."""
    if method != "none":
        return "`notch_length_px`, `level`, another `method`; another `flat`, if bands are broad"
    if (record or {}).get("choice"):  # wavelet was asked for, and found nothing to remove
        return "`notch_length_px`, if these are stripes and not tissue along the rows"
    return "`method` wavelet"


def harm(record: Mapping[str, Any] | None) -> list[Check]:
    """What destriping took from cells and tissue, and whether stripes lie along the rows."""
    measures = (record or {}).get("measures")
    if not measures:
        return []
    kept, coarse = measures.get("cells_kept_percent"), measures.get("coarse_change_percent")
    checks = []
    if kept is None and coarse is None:
        checks.append(Check("harm of destriping", "not measured", "too few cells and too little tissue", helps=NOTHING))
    else:
        cells = "cells not measured" if kept is None else f"cells keep {kept:.1f} % of their contrast"
        tissue = "" if coarse is None else f"; the tissue changes by {coarse:.1f} % at 12 pixels"
        is_bad = (kept is not None and kept < LEAST_KEPT) or (coarse is not None and coarse > MOST_COARSE)
        value, limit = (kept, LEAST_KEPT) if kept is not None else (coarse, MOST_COARSE)
        helps = "lower `strengths`, fewer `level`, or `method` none" if is_bad else ""
        checks.append(
            Check(
                "harm of destriping",
                "warn" if is_bad else "pass",
                cells + tissue,
                value=value,
                unit="%",
                limit=limit,
                helps=helps,
            )
        )
    angle = measures.get("direction_deg")
    if angle is not None:
        is_off = abs(angle) > MOST_OFF_ROWS_DEG
        text = f"lines lie {angle:+.1f} degrees off the rows, along which stripes are removed"
        helps = "`rotate_90`" if abs(angle) > 45 else NOTHING + ": turn the camera"
        state: State = "warn" if is_off else "pass"
        checks.append(
            Check(
                "direction of stripes",
                state,
                text,
                value=angle,
                unit="degrees",
                limit=MOST_OFF_ROWS_DEG,
                helps=helps if is_off else "",
            )
        )
    return checks


def flat(record: Mapping[str, Any] | None, parameters: Mapping[str, Any]) -> Check:
    """Whether the flat fits the frames, by the record."""
    name = "flat field"
    if not record:
        given = parameters.get("flat")
        text = f"given: {given}; how it fits was not measured" if given else "the illumination is not corrected"
        return Check(name, "not measured", text, helps="`correct_flat`" if not given else NOTHING)
    if not record.get("is_used"):
        why = record.get("refused") or next(iter(record.get("warnings") or ()), "no flat was better than none")
        return Check(name, "warn", f"made without a flat: {why}", helps="`flat`, such as that of another channel")
    sure, model = float(record.get("sure_misfit_percent") or 0), str(record.get("model"))
    misfit = (record.get("misfit_percent") or {}).get(model)
    before = record.get("misfit_without_flat_percent")
    seen = "" if misfit is None or before is None else f", {before:.1f} % without one, {misfit:.1f} % with it"
    text = f"{model}: it surely misses {sure:.1f} % of the light{seen}"
    state: State = "warn" if sure > FLAT_PERCENT else "pass"
    return Check(
        name,
        state,
        text,
        value=sure,
        unit="%",
        limit=FLAT_PERCENT,
        helps="`flat`, `n_frames`, `background`" if sure > FLAT_PERCENT else "",
    )


def coverage(share: tuple[float, float] | None, missing: int, empty_percent: float | None, method: str) -> Check:
    """What of the volume no tile covers; ``empty_percent`` of what tiles cover holds no light in the volume."""
    name = "coverage"
    if share is None:
        return Check(name, "not measured", "the volume does not say where its tiles are", helps=NOTHING)
    uncovered, gap = share
    text = f"tiles cover {100 - uncovered:.1f} % of the box, {gap:.1f} % are gaps between them"
    empty = 0.0 if empty_percent is None or method == "lightsheet" else empty_percent
    if missing:
        text += f"; {missing} places of the grid hold no tile"
    if empty > GAP_PERCENT:
        text += f"; {empty:.1f} % of what they cover is 0 in the volume"
    is_bad = gap > GAP_PERCENT or missing or empty > GAP_PERCENT
    helps = NOTHING + ": frames or tiles are not there" if is_bad else ""
    return Check(
        name, "warn" if is_bad else "pass", text, value=max(gap, empty), unit="%", limit=GAP_PERCENT, helps=helps
    )


def run(record: Mapping[str, Any], changed: Sequence[str]) -> list[Check]:
    """Whether the run came to its end, and its inputs are as they were."""
    outcome = record.get("outcome")
    if not record:
        first = Check("run", "not measured", "there is no record of the run", helps=NOTHING)
    elif outcome != "finished":
        first = Check(
            "run", "fail", f"the run is {outcome}: {record.get('error') or 'it told no end'}", helps="`restart`"
        )
    else:
        n = len(record.get("warnings") or ())
        first = Check("run", "pass", f"finished, with {n} warnings", value=float(n), unit="warnings")
    if not changed:
        return [first, Check("inputs", "pass", "the files are as they were read")]
    text = f"{len(changed)} inputs changed: {changed[0]}"
    return [
        first,
        Check(
            "inputs",
            "warn",
            text,
            value=float(len(changed)),
            unit="files",
            limit=0,
            helps="`pipeline` again, with `overwrite`",
        ),
    ]


def files(problem: str, n_files: int, n_levels: int) -> Check:
    """Whether the files of the volume are there, as the record of files says; they are not read."""
    name = "files"
    if problem:
        return Check(name, "fail", problem, helps="copy the volume again; verify reads all of it")
    return Check(
        name, "pass", f"all {n_files:,} files of {n_levels} levels are there", value=float(n_files), unit="files"
    )
