"""The table beside a volume, ``<volume>.planes.csv``: what each of its planes is made of."""

from __future__ import annotations

import csv
import io

from gpustitch.regrid.plan import BETWEEN, EXACT, FILLED, GAP, OUTSIDE, ZGrid, ZPlan

KINDS = {OUTSIDE: "OUTSIDE", GAP: "GAP", FILLED: "FILLED", BETWEEN: "BETWEEN", EXACT: "EXACT"}


def planes_table(grid: ZGrid, sources: ZPlan) -> str:
    """The table as CSV, a line for each plane of ``grid`` with the slices of ``sources`` below and above it.

    Positions are in mm along the normal; ``upper_weight`` is the part of the upper slice.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("plane", "position_mm", "kind", "lower_slice", "upper_slice", "upper_weight"))
    rows = zip(
        grid.positions().tolist(), sources.plane_origin.tolist(), sources.lower.tolist(), sources.upper.tolist(),
        sources.weight.tolist(), strict=True,
    )  # fmt: skip
    for k, (position, kind, lower, upper, weight) in enumerate(rows):
        made_of = (lower, upper, f"{weight:.7g}") if lower >= 0 else ("", "", "")
        table.writerow((k, f"{position:.9g}", KINDS[kind], *made_of))
    return text.getvalue()
