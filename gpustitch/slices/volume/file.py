"""What is written beside a volume: where its planes came from, as JSON and as CSV.

The sidecar is ``gpustitch.json`` in the folder of a volume or ``<name>.json`` beside a file; the table is
``<output>.planes.csv``. Nothing in gpustitch reads them back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpustitch.io.provenance import provenance
from gpustitch.model.arrays import Floats
from gpustitch.regrid.plan import BETWEEN, EXACT, FILLED, GAP, OUTSIDE, runs
from gpustitch.slices.model import SliceStack
from gpustitch.slices.verdict.report import verdict_dict
from gpustitch.slices.volume.planned import VolumePlan

# What the files call that which a plane is made of.
PLANE_ORIGINS = {OUTSIDE: "OUTSIDE", GAP: "GAP", FILLED: "FILLED", BETWEEN: "BETWEEN", EXACT: "EXACT"}


def sidecar(parameters: Mapping[str, Any], stack: SliceStack, volume: VolumePlan) -> dict[str, Any]:
    """Provenance, verdict and place of a volume, the origin of its planes and its slices, for JSON.

    Parameters
    ----------
    parameters
        What the run was asked for.
    stack
        The series that the volume is made of.
    volume
        The volume.
    """
    affine = volume.affine
    files = dict.fromkeys(stack.series.headers[k].path for k in stack.order.tolist())
    return {
        **provenance(parameters, [path for path in files if path.is_file()]),
        "verdict": verdict_dict(stack),
        "affine_lps": None if affine is None else affine.tolist(),
        "origin_lps_mm": None if affine is None else affine[:3, 3].tolist(),
        "directions_lps": None if affine is None else _directions(affine),
        "voxel_size_mm": [v / 1000 for v in volume.spacing.zyx_um],
        "planes_moved_sideways": volume.blocks.making.shifts is not None,
        "planes": _planes(volume),
        "slices": _slices(stack, volume),
    }


def several_volumes(volumes: Sequence[tuple[SliceStack, VolumePlan]], step: tuple[float, str] | None) -> dict[str, Any]:
    """What the sidecar of several volumes in one file says besides: of each its key and slices; the time between them.

    Parameters
    ----------
    volumes
        In the order of the file.
    step
        Seconds from one to the next, and the tag that says so; None if that is not known.
    """
    return {
        "volume_step_s": None if step is None else step[0],
        "volume_step_from": None if step is None else step[1],
        "volumes": [
            {
                "name": stack.series.name,
                "key": dict(stack.series.key),
                "planes": _planes(volume),
                "slices": _slices(stack, volume),
            }
            for stack, volume in volumes
        ],
    }


def planes_table(volume: VolumePlan) -> str:
    """What each plane is made of, as CSV. ``kind`` is what ``plane_origin`` was called in schema 1.

    Of several volumes in a file it is the table of the first; the others have planes at the same places, and the
    sidecar says what those are made of.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("plane", "position_mm", "kind", "lower_slice", "upper_slice", "upper_weight", "plane_origin"))
    sources = volume.sources
    rows = zip(
        volume.plane_grid.grid.positions().tolist(), sources.plane_origin.tolist(), sources.lower.tolist(),
        sources.upper.tolist(), sources.weight.tolist(), strict=True,
    )  # fmt: skip
    for k, (position, origin, lower, upper, weight) in enumerate(rows):
        made_of = (lower, upper, f"{weight:.7g}") if lower >= 0 else ("", "", "")
        name = PLANE_ORIGINS[origin]
        table.writerow((k, f"{position:.9g}", name, *made_of, name))
    return text.getvalue()


def _planes(volume: VolumePlan) -> dict[str, Any]:
    """Ranges of planes of each origin."""
    return {name: runs(volume.sources.plane_origin == origin) for origin, name in PLANE_ORIGINS.items()}


def _directions(affine: Floats) -> list[list[float]]:
    """Unit vectors of the volume's axes z, y, x."""
    axes = affine[:3, 2::-1].T
    return (axes / np.linalg.norm(axes, axis=1, keepdims=True)).tolist()  # type: ignore[no-any-return]


def _slices(stack: SliceStack, volume: VolumePlan) -> list[dict[str, Any]]:
    """File of each slice in order along the normal, the position that it states and the one that was taken."""
    listed = []
    for k, place in zip(
        volume.plane_grid.series.order.tolist(), volume.plane_grid.series.positions.tolist(), strict=True
    ):
        header = stack.series.headers[stack.order[k]]
        written = float(stack.positions_mm[k])
        listed.append(
            {"slice": k, "file": str(header.path), "frame": header.frame, "stated_mm": written, "taken_mm": place}
        )
    return listed
