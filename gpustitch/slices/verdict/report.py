"""Verdicts of judged series: lines for people, a dictionary for programs."""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpustitch.slices.model import Parting, SliceStack, SpacingClass
from gpustitch.slices.verdict.text import mm, percent
from gpustitch.slices.verdict.words import fitted

# Of the dictionaries of verdicts and of the sidecars of volumes.
SCHEMA = 2
# Spacings that differ by a smaller part are the same.
_SAME = 1e-4
# Characters before the text of a line: an indented label, or blanks.
LABEL_WIDTH = 12
_INDENT = 2
# A number and its unit stay on one line.
_NUMBER = re.compile(r"(\d) (mm|%)")


def headline(stack: SliceStack) -> str:
    """Name and class of a series."""
    return f"{stack.series.name}: {stack.fit.spacing_class}"


def verdict(stack: SliceStack, width: int = 80) -> Iterator[str]:
    """Lines about a series, no longer than ``width``: slices, spacing, warnings, evidence, other programs, what to do.

    Parameters
    ----------
    stack
        A series that was judged.
    width
        Characters in a line; a single word may be longer.
    """
    rows, columns = stack.series.headers[0].shape
    yield from _entry("slices", [f"{_summary(stack)}; {columns} x {rows} pixels"], width)
    yield from _entry("files", [_files(stack)], width)
    yield from _entry("spacing", [_spacing(stack)], width)
    yield from _entry(
        "warning" if len(stack.notes) == 1 else "warnings", _short(stack, [note.text for note in stack.notes]), width
    )
    yield from _entry("evidence", _short(stack, ["; ".join(stack.evidence)] if stack.evidence else []), width)
    yield from _entry("others", list(_others(stack)), width)
    yield from _entry("do", [stack.advice] if stack.advice else [], width)


def _short(stack: SliceStack, texts: Sequence[str]) -> list[str]:
    """Files in texts by their names within the folder of the series."""
    place = common_path(stack)
    folder = place.parent if place == stack.series.headers[0].path else place
    # Not within a longer path that ends like the folder.
    start = re.compile(rf"(?<![^\s(,;:]){re.escape(f'{folder}{os.sep}')}")
    return [start.sub("", text) for text in texts]


def _entry(label: str, texts: Sequence[str], width: int) -> Iterator[str]:
    """A label and its texts beside it, each on lines of its own."""
    indent = " " * LABEL_WIDTH
    start = f"{' ' * _INDENT}{label}".ljust(LABEL_WIDTH)
    for text in texts:
        lines = textwrap.wrap(
            _NUMBER.sub("\\1\u00a0\\2", text), max(width, 40), initial_indent=start, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        yield from (line.replace("\u00a0", " ") for line in lines)
        start = indent


def _summary(stack: SliceStack) -> str:
    fit, n = stack.fit, len(stack.order)
    return {
        SpacingClass.UNIFORM: f"{n}, equally spaced",
        SpacingClass.MISSING: f"{n} of {fit.n_output}, equally spaced but for holes",
        SpacingClass.RUNS_WITH_GAPS: f"{n} in {len(fit.stretches)} stretches of one spacing, with gaps between",
        SpacingClass.VARIABLE: f"{n}, with spacing that changes on the way",
        SpacingClass.IRREGULAR: f"{n}, unevenly spaced",
        SpacingClass.SINGLE: "1",
        SpacingClass.UNKNOWN: f"{n}, an unknown distance apart",
    }[fit.spacing_class]


def _files(stack: SliceStack) -> str:
    n = len({header.path for header in stack.series.headers})
    return str(common_path(stack)) if n == 1 else f"{common_path(stack)} ({n} files)"


def common_path(stack: SliceStack) -> Path:
    """The file of a series, or the deepest folder that holds all its files."""
    paths = list(dict.fromkeys(header.path for header in stack.series.headers))
    if len(paths) == 1:
        return paths[0]
    folder = paths[0].parent
    while not all(path.is_relative_to(folder) for path in paths) and folder != folder.parent:
        folder = folder.parent
    return folder


def _spacing(stack: SliceStack) -> str:
    """Spacings along z, y and x in a line, the first with its uncertainty."""
    z, y, x = stack.spacing_mm
    error = stack.uncertainty_mm[0]
    if z is None:
        along = "z unknown"
    else:
        along = f"z {fitted(stack.fit).removesuffix(' mm')}"
        # Errors of arithmetic are not worth a line.
        if error is not None and error > 1e-6 * z:
            along += f" ± {error:.2g}"
        along += {SpacingClass.VARIABLE: " (the finest)", SpacingClass.IRREGULAR: " (median)"}.get(
            stack.fit.spacing_class, ""
        )
    across = [f"{axis} {'unknown' if value is None else mm(value)}" for axis, value in (("y", y), ("x", x))]
    return ",  ".join([along, *across]) + " mm"


def _others(stack: SliceStack) -> Iterator[str]:
    """What other programs would have used, those alike together."""
    groups: dict[str, list[str]] = {}
    for program, spacing in stack.others_mm.items():
        groups.setdefault(_said(stack, spacing), []).append(program)
    for said, programs in groups.items():
        yield f"{', '.join(programs)}: {said}"


def _said(stack: SliceStack, other: float | None) -> str:
    """Another program's distance, and by how much it stretches the volume."""
    here = stack.spacing_mm[0]
    if other is None:
        return "refused"
    if here is None:
        return f"{mm(other)} mm"
    error = stack.uncertainty_mm[0] or 0.0
    is_same = abs(other - here) <= max(_SAME * here, error if stack.fit.is_rounded else 0.0)
    # Where slices are missing, the right distance still moves what lies behind the hole.
    whole = volume_change(stack, other)
    moved = stack.fit.spacing_class is not SpacingClass.UNIFORM and whole is not None and abs(whole) > 0.01
    volume = f"volume {percent(whole)}" if moved and whole is not None else ""
    if is_same:
        return f"the same ({volume})" if volume else "the same"
    stretch = ", ".join(text for text in (percent(other / here - 1), volume) if text)
    return f"{mm(other)} mm ({stretch})"


def volume_change(stack: SliceStack, other_mm: float) -> float | None:
    """How much longer the volume is with its slices another distance apart, as a part; None if that is unknown."""
    extent = float(stack.positions_mm[-1] - stack.positions_mm[0])
    if not math.isfinite(extent) or extent == 0:
        return None
    return other_mm * (len(stack.order) - 1) / extent - 1


def verdict_dict(stack: SliceStack) -> dict[str, Any]:
    """A series for JSON: no NaN, lengths in mm. Null is what is not known.

    ``spacing_class``, ``spacing_mm`` [z, y, x], ``spacing_uncertainty_mm`` (of z), ``n_slices``, ``n_output``,
    ``warnings`` (codes), ``messages`` (their texts) and what else is known. ``shear`` is mm sideways for each mm along
    the normal, ``shear_yx`` the same along columns and along rows. ``shape`` is rows, columns. ``directions`` are unit
    vectors (x, y, z, LPS) of the axes z, y, x; ``origin_mm`` is the center of the first voxel (x, y, z, LPS).
    ``stretches`` are [first, stop, spacing] with first <= k < stop in the order along the normal. ``others_mm`` are
    spacings that other programs take (null: refused); ``others_stretch`` is how much more they are than
    ``spacing_mm[0]``, as a part.

    ``role`` is ``localizer`` or ``secondary capture`` for what lies beside the volumes of a study, else empty.
    ``partings`` are the ways to tell several volumes in the series apart, the best first: what it is split by, and of
    each volume its class, spacing, number of slices, and where it begins and ends along the normal.

    ``class``, ``runs`` and ``kind`` are the names that schema 1 had for ``spacing_class``, ``stretches`` and
    ``source_format``.
    """
    fit = stack.fit
    stretches = [[part.first, part.stop, number(part.spacing_mm)] for part in fit.stretches]
    shear_yx = [number(value) for value in stack.shear]
    return {
        "schema": SCHEMA,
        "name": stack.series.name,
        "spacing_class": str(fit.spacing_class),
        "class": str(fit.spacing_class),
        "spacing_mm": [number(value) for value in stack.spacing_mm],
        "spacing_uncertainty_mm": number(stack.uncertainty_mm[0]),
        "n_slices": len(stack.order),
        "n_output": fit.n_output,
        "shear": number(math.hypot(*stack.shear)),
        "warnings": list(dict.fromkeys(str(note.code) for note in stack.notes)),
        "usable": stack.is_usable,
        "shear_yx": shear_yx,
        "shape": list(stack.series.headers[0].shape),
        "origin_mm": None if stack.origin_mm is None else [number(value) for value in stack.origin_mm],
        "directions": None if stack.directions is None else stack.directions.tolist(),
        "stretches": stretches,
        "runs": stretches,
        "residual_mm": number(fit.residual_mm),
        "rounding_mm": number(fit.rounding_mm),
        "others_mm": {program: number(value) for program, value in stack.others_mm.items()},
        "others_stretch": {program: _change(stack, value) for program, value in stack.others_mm.items()},
        "messages": [{"code": str(note.code), "text": note.text} for note in stack.notes],
        "evidence": list(stack.evidence),
        "advice": stack.advice,
        "partings": [_parting(parting) for parting in stack.partings],
        "source_format": stack.series.source_format,
        "kind": stack.series.source_format,
        "role": stack.series.role,
        "path": str(common_path(stack)),
        "n_files": len({header.path for header in stack.series.headers}),
        "series_uid": stack.series.key.get("SeriesInstanceUID"),
        "key": dict(stack.series.key),
    }


def _parting(parting: Parting) -> dict[str, Any]:
    volumes = [
        {
            "spacing_class": str(part.fit.spacing_class),
            "spacing_mm": number(part.fit.spacing_mm),
            "n_slices": len(part.members),
            "start_mm": part.start_mm,
            "stop_mm": part.stop_mm,
        }
        for part in parting.parts
    ]
    return {"split_by": list(parting.names), "volumes": volumes}


def _change(stack: SliceStack, other: float | None) -> float | None:
    """How much more another distance of slices is than that of the series, as a part; None if one is not known."""
    here = stack.spacing_mm[0]
    return None if here is None or other is None else number(other / here - 1)


def number(value: float | None) -> float | None:
    """A number for JSON; None for what is none."""
    return None if value is None or not math.isfinite(value) else float(value)
