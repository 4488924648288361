"""The page of the report: one file without scripts, to be read anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from gpustitch.model.arrays import Floats32
from gpustitch.oblique.mosaic.file import Alignment
from gpustitch.oblique.report import svg
from gpustitch.oblique.report.check import Check, State, summary, verdict
from gpustitch.oblique.report.gather import Measured
from gpustitch.oblique.report.pictures import flat_pictures, overlaps, seam_pictures, stripe_pictures
from gpustitch.oblique.report.style import style
from gpustitch.oblique.report.text import look, words
from gpustitch.running.progress import duration_text, size_text

MARKS: Mapping[State, str] = {"pass": "✓", "warn": "!", "fail": "✕", "not measured": "–"}
_TITLES: Mapping[State, str] = {
    "pass": "pass: nothing speaks against this volume",
    "warn": "warn: look at what is named before you rely on it",
    "fail": "fail: something in this volume is wrong",
    "not measured": "not measured: nothing could be told of this volume",
}
_PLANES = ("across z (seen from above)", "across y", "across x")


@dataclass(frozen=True)
class Shown:
    """What the records say, for the page: the output's path, provenance, the last run, the alignment and the flat."""

    folder: str
    record: Mapping[str, Any]
    run: Mapping[str, Any]
    alignment: Alignment | None
    flat: Floats32 | None


def page_text(shown: Shown, checks: Sequence[Check], found: Measured | None) -> str:
    """The whole page. ``found`` is None where the volume could not be opened."""
    title = f"Report of {shown.folder}"
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{style()}</style></head><body><main>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_when(shown))}</p>',
        _verdict(checks),
        "<h2>Checks</h2>",
        _table_of_checks(checks),
    ]
    if found is not None:
        parts += _measured(shown, found)
    parts += [*_run(shown), *_provenance(shown), "</main></body></html>"]
    return "\n".join(part for part in parts if part)


def _when(shown: Shown) -> str:
    """What the output is of, when it was made and by which version."""
    channel = shown.record.get("parameters", {}).get("channel", "")
    ended = shown.run.get("ended")
    return f"from {channel}; made by gpustitch {shown.record.get('version', '?')}" + (f", {ended}" if ended else "")


def _class(state: State) -> str:
    return "not" if state == "not measured" else state


def _state(state: State) -> str:
    return f'<span class="state {_class(state)}">{MARKS[state]} {state}</span>'


def _verdict(checks: Sequence[Check]) -> str:
    state = verdict(checks)
    said = [f"<li><b>{escape(c.name)}</b>: {words(c.reason)}</li>" for c in checks if c.state in ("fail", "warn")]
    listed = f"<ul>{''.join(said)}</ul>" if said else ""
    return (
        f'<div class="verdict {_class(state)}"><b>{MARKS[state]} {escape(_TITLES[state])}</b>'
        f"<p>{escape(summary(checks))}</p>{listed}</div>"
    )


def _table_of_checks(checks: Sequence[Check]) -> str:
    order: list[State] = ["fail", "warn", "not measured", "pass"]
    rows = [_row_of(check) for check in sorted(checks, key=lambda check: order.index(check.state))]
    head = "<tr><th>check</th><th>says</th><th>because</th><th>number</th><th>limit</th><th>what helps</th></tr>"
    note = (
        "Names in <code>this type</code> are parameters of <code>pipeline</code>; its help lists them as options. "
        "Not measured is neither good nor bad: nothing could tell."
    )
    return f'{_table(head, rows)}<p class="soft">{note}</p>'


def _row_of(check: Check) -> str:
    number = "" if check.value is None else f"{check.value:.3g} {escape(check.unit)}"
    limit = "" if check.limit is None else f"{check.limit:.3g}"
    return (
        f"<tr><td><b>{escape(check.name)}</b></td><td>{_state(check.state)}</td><td>{words(check.reason)}</td>"
        f'<td class="number">{number}</td><td class="number">{limit}</td>'
        f'<td class="helps">{words(check.helps)}</td></tr>'
    )


def _measured(shown: Shown, found: Measured) -> Iterator[str]:
    """The part of the page on the written volume."""
    limits = svg.limits_of([plane.image for plane in found.planes])
    yield "<h2>The volume</h2>"
    z, y, x = found.shape
    um = " x ".join(f"{v:.4g}" for v in found.spacing.zyx_um)
    yield f"<p>{z:,} x {y:,} x {x:,} voxels (z, y, x) of {um} um.</p>"
    yield '<p class="soft">Planes through the middle, with the outlines of tiles in yellow.</p>'
    figures = [
        f"<figure>{svg.plane(plane, found, limits)}<figcaption>{_PLANES[plane.axis]}, at voxel {plane.at_px:.0f}"
        f"</figcaption></figure>"
        for plane in found.planes
    ]
    yield f'<div class="row">{"".join(figures)}</div>'
    yield _look(shown, [v // 2 for v in found.shape])
    if len(found.placed) > 1:
        yield "<h2>Tiles and links</h2>"
        yield from _tiles(shown, found)
        yield from overlaps(found, shown.folder)
    if found.lights:
        yield "<h2>Light</h2>"
        yield "<p>Counts of raw frames over the depth, as the camera wrote them.</p>"
        yield svg.depth_plot(found.lights, _depth_um(found))
        yield svg.legend_of(found.lights)
        yield _table_of_lights(found)
    yield from flat_pictures(shown.flat, shown.record.get("flat"))
    yield from stripe_pictures(found.sheets)
    yield from seam_pictures(found)


def _look(shown: Shown, at_zyx: Sequence[int]) -> str:
    z, y, x = at_zyx
    return f"<p>To see it in Neuroglancer:</p><pre>{escape(look(shown.folder, (z, y, x)))}</pre>"


def _tiles(shown: Shown, found: Measured) -> Iterator[str]:
    """The map of tiles and the table of their positions."""
    alignment = shown.alignment
    errors, rejected = {}, {}
    if alignment is not None:
        placement = alignment.placement(found.spacing)
        known = {name: placement.standard_error_um(name, found.spacing) for name in found.placed}
        errors = {name: error for name, error in known.items() if error is not None}
        rejected = {(link.fixed, link.moving): link.reason for link in alignment.links if link.reason}
    yield (
        "<p>Tiles from above. Each overlap was compared anew in the raw frames, at the positions of the volume; a line "
        "says how far the two tiles lie from where they fit. A cross is a link that the alignment rejected.</p>"
    )
    yield f'<div class="wide">{svg.tile_map(found, errors, rejected)}</div>'
    names = ("at most 0.3 voxels", "at most 1", "at most 3", "more than 3")
    keys = [(c, d, text) for (_, c, d), text in zip(svg.STEPS, names, strict=True)] + [
        (svg.NOT_KNOWN, "1 4", "not compared")
    ]
    items = [
        f'<span class="key"><svg width="42" height="12"><line x1="0" y1="6" x2="40" y2="6" class="{colour}" '
        f'stroke-width="3" stroke-dasharray="{dash}"/></svg> {text}</span>'
        for colour, dash, text in keys
    ]
    yield f'<p class="keys">{"".join(items)}</p>'
    yield _table_of_tiles(shown, found, errors)
    if rejected:
        rows = [f"<tr><td>{a}</td><td>{b}</td><td>{words(why)}</td></tr>" for (a, b), why in rejected.items()]
        yield f"<h3>Rejected links ({len(rejected)})</h3>"
        yield _table("<tr><th>fixed</th><th>moving</th><th>why</th></tr>", rows)


def _table_of_tiles(shown: Shown, found: Measured, errors: Mapping[str, Sequence[float]]) -> str:
    """Where tiles lie, how far from the stage's places, and what holds them."""
    held = {} if shown.alignment is None else shown.alignment.placement(found.spacing).support
    rows = []
    for name, tile in found.placed.items():
        moved = [
            (p - s) * um for p, s, um in zip(tile.origin_px, found.stage_px[name], found.spacing.zyx_um, strict=True)
        ]
        error = errors.get(name)
        cells = (
            name,
            ", ".join(f"{v:.1f}" for v in reversed(tile.origin_px)),
            ", ".join(f"{v:+.1f}" for v in reversed(moved)),
            "not known" if error is None else ", ".join(f"{v:.2g}" for v in error),
            {"loop": "a loop of links", "link": "links in no loop", "stage": "the stage alone"}.get(
                str(held.get(name)), "not known"
            ),
        )
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = (
        "<tr><th>tile</th><th>begins at x, y, z (voxels)</th><th>moved from the stage by (um)</th>"
        "<th>standard error x, y, z (um)</th><th>held by</th></tr>"
    )
    is_long = len(rows) > 12
    table = _table(head, rows)
    return f"<details><summary>{len(rows)} tiles</summary>{table}</details>" if is_long else table


def _depth_um(found: Measured) -> float:
    tile = next(iter(found.placed.values()))
    return float(tile.volume.coverage.n_columns * found.spacing.z_um)


def _table_of_lights(found: Measured) -> str:
    """How bright each tile is."""
    rows = []
    for name, light in found.lights.items():
        if light is None:
            cells = (name, "0", "no frame can be read", "", "", "")
        else:
            full = "none" if light.full_scale is None else f"{light.full_scale:g}"
            cells = (
                name,
                str(light.n_frames),
                f"{light.mean:.0f}",
                f"{light.low:.0f} to {light.high:.0f}",
                f"{light.saturated_percent:.2g} %",
                full,
            )
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = (
        "<tr><th>tile</th><th>frames looked at</th><th>mean (counts)</th><th>1 to 99.9 % of pixels (counts)</th>"
        "<th>saturated</th><th>end of the range (counts)</th></tr>"
    )
    table = _table(head, rows)
    return f"<details><summary>{len(rows)} tiles</summary>{table}</details>" if len(rows) > 12 else table


def _run(shown: Shown) -> Iterator[str]:
    """How the run went, by its record."""
    run = shown.run
    yield "<h2>The run</h2>"
    if not run:
        yield "<p>There is no record of the run.</p>"
        return
    memory = run.get("peak_memory_bytes")
    yield (
        f"<p>{escape(str(run.get('outcome')))} after {duration_text(float(run.get('seconds') or 0))} on "
        f"{escape(str(run.get('device')))}, {run.get('n_workers')} threads"
        + (f", at most {size_text(int(memory))} of memory" if memory else "")
        + ".</p>"
    )
    rows = [_row_of_part(part) for part in run.get("parts") or ()]
    rows.append(_row_of_part({**run, "name": "the run"}))
    head = "<tr><th>part</th><th>seconds</th><th>GB/s in</th><th>GB/s out</th><th>bound by</th></tr>"
    yield _table(head, rows)
    warnings = run.get("warnings") or ()
    if warnings:
        yield f"<h3>Warnings of the run ({len(warnings)})</h3><ul>"
        yield from (f"<li>{words(str(text))}</li>" for text in warnings)
        yield "</ul>"


def _table(head: str, rows: Sequence[str]) -> str:
    """A table, which scrolls by itself where it is wider than the page."""
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _row_of_part(part: Mapping[str, Any]) -> str:
    seconds = float(part.get("seconds") or 0)
    rates = [f"{float(part.get(k) or 0) / seconds / 1e9:.3f}" if seconds else "" for k in ("bytes_in", "bytes_out")]
    cells = (str(part.get("name")), f"{seconds:.1f}", *rates, str(part.get("bound_by") or "not told"))
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _provenance(shown: Shown) -> Iterator[str]:
    """What the volume was made of, and how."""
    record = shown.record
    yield "<h2>Parameters, versions and inputs</h2>"
    versions = {**(shown.run.get("versions") or {}), "system": shown.run.get("system", "not told")}
    yield "<p>" + escape(", ".join(f"{name} {value}" for name, value in versions.items())) + "</p>"
    inputs = record.get("inputs") or ()
    rows = [
        f"<tr><td>{escape(str(e.get('path')))}</td><td>{int(e.get('bytes') or 0):,}</td>"
        f"<td>{escape(str(e.get('changed')))}</td></tr>"
        for e in inputs
    ]
    head = "<tr><th>file</th><th>bytes</th><th>changed</th></tr>"
    yield f"<details><summary>{len(rows)} inputs</summary>{_table(head, rows)}</details>"
    text = json.dumps(record.get("parameters"), indent=1)
    yield f"<details><summary>All parameters</summary><pre>{escape(text)}</pre></details>"
