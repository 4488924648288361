"""The report of an alignment for people: a table in Markdown or a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import MissingExtraError
from gpustitch.model import Link
from gpustitch.oblique.mosaic.file import AlignmentRecord

_UNMEASURED = "not measured"


def report_text(record: AlignmentRecord) -> str:
    """Markdown: voxel size, positions, accepted links with scatter and residuals, rejected links with reasons."""
    placement = record.placement
    accepted = [k for k in placement.links if not k.reason]
    rejected = [k for k in placement.links if k.reason]
    worst = max((abs(v) for r in placement.residual_px.values() for v in r), default=None)
    residual = "" if worst is None else f", worst residual {worst:.2f} voxels"
    parts = [
        "# Alignment\n",
        (f"{len(placement.origin_px)} tiles, {len(accepted)} links accepted, {len(rejected)} rejected{residual}.\n"),
        _voxel_size(record),
        "## Tiles\n",
        _table(
            ("tile", "stage x, y, z (um)", "begins at x, y, z (voxels)", "moved by (voxels)"),
            (_tile(record, name) for name in placement.origin_px),
        ),
    ]
    if placement.is_unaligned:
        parts.insert(1, "UNALIGNED: no overlap gave a link, and all tiles are where the stage says.\n")
    if len(placement.origin_px) > 1 and placement.unlinked:
        parts.append(f"Linked to no other tile, at their stage position: {', '.join(placement.unlinked)}.\n")
    head = ("fixed", "moving", "offset x, y, z (voxels)", "scatter", "residual", "agreeing / correlated / sampled")
    parts += ["## Accepted links\n", _table(head, (_link(record, k) for k in accepted))]
    if rejected:
        rows = ((*_link(record, k)[:4], _counts(record, k), k.reason) for k in rejected)
        parts += ["## Rejected links\n", _table((*head[:4], head[5], "reason"), rows)]
    return "\n".join(parts)


def _voxel_size(record: AlignmentRecord) -> str:
    if record.voxel_size_estimate_um is None:
        return f"y voxel size: NOT measured (no links along y), nominal kept: {record.voxel_size_nominal_um:g} um.\n"
    return (
        f"y voxel size: nominal {record.voxel_size_nominal_um:g} um, estimated {record.voxel_size_estimate_um:.4f} +- "
        f"{record.voxel_size_uncertainty_um:.4f} um (95 %), used {record.spacing.y_um:.4f} um.\n"
    )


def _tile(record: AlignmentRecord, name: str) -> Sequence[str]:
    position = record.placement.origin_px[name]
    moved = [p - n for p, n in zip(position, record.nominal_px[name], strict=True)]
    stage = ", ".join(f"{v:g}" for v in record.stage_um[name])
    return name, stage, _xyz(position), _xyz(moved)


def _link(record: AlignmentRecord, link: Link) -> Sequence[str]:
    residual = record.placement.residual_px.get((link.fixed, link.moving))
    return (
        link.fixed,
        link.moving,
        _xyz(link.offset_px) if link.matches else _UNMEASURED,
        _xyz(link.scatter_px) if link.matches else _UNMEASURED,
        "" if residual is None else _xyz(residual),
        _counts(record, link),
    )


def _counts(record: AlignmentRecord, link: Link) -> str:
    sampled, correlated, agreeing = record.counts.get((link.fixed, link.moving), (0, 0, len(link.matches)))
    return f"{agreeing} / {correlated} / {sampled}"


def _xyz(zyx: Sequence[float]) -> str:
    return ", ".join(f"{v:.2f}" for v in reversed(zyx))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


FIGURE_SUFFIXES = (".png", ".pdf", ".svg")

# Arrows are this much longer than the displacements they stand for.
_EXAGGERATED = 20
_AXES = ("z", "y", "x")


def check_matplotlib() -> None:
    """Raise MissingExtraError if pictures cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "`report` as a picture needs matplotlib: pip install 'gpustitch[report]', or name a .md file"
        ) from error


def draw_report(path: Path, record: AlignmentRecord, image_format: str) -> None:
    """Draw the report of an alignment.

    Parameters
    ----------
    path
        File to write.
    record
        The alignment.
    image_format
        ``png``, ``pdf`` or ``svg``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    tiles, links = figure.subplots(1, 2)
    _draw_tiles(tiles, record)
    _draw_links(links, record)
    figure.suptitle(_headline(record))
    figure.savefig(path, format=image_format, dpi=120)


def _headline(record: AlignmentRecord) -> str:
    accepted = sum(not link.reason for link in record.placement.links)
    text = f"{len(record.placement.origin_px)} tiles, {accepted} of {len(record.placement.links)} links accepted"
    if record.placement.is_unaligned:
        text += ": UNALIGNED"
    if record.voxel_size_estimate_um is None:
        return f"{text}; y voxel size not measured"
    return (
        f"{text}; y voxel size {record.voxel_size_estimate_um:.4f} ± {record.voxel_size_uncertainty_um:.4f} µm, "
        f"used {record.spacing.y_um:.4f} µm"
    )


def _draw_tiles(axes: Any, record: AlignmentRecord) -> None:
    spacing = np.array(record.spacing.zyx_um)
    names = list(record.placement.origin_px)
    nominal = np.array([record.nominal_px[name] for name in names], np.float64) * spacing
    solved = np.array([record.placement.origin_px[name] for name in names]) * spacing
    moved = solved - nominal
    moved -= moved.mean(axis=0)
    axes.quiver(
        nominal[:, 2], nominal[:, 1], moved[:, 2], moved[:, 1],
        angles="xy", scale_units="xy", scale=1 / _EXAGGERATED, color="tab:blue", width=0.004,
    )  # fmt: skip
    tips = nominal + _EXAGGERATED * moved
    axes.update_datalim(tips[:, :0:-1])
    axes.margins(0.15)
    for name, (_, y, x) in zip(names, nominal, strict=True):
        color = "tab:red" if name in record.placement.unlinked else "black"
        axes.plot(x, y, "s", color=color, markersize=4)
        axes.annotate(name, (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set(xlabel="x, µm", ylabel="y, µm")
    axes.set_title(f"Tiles and how they were moved ({_EXAGGERATED}x; red: not linked)", fontsize=10)
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()


def _draw_links(axes: Any, record: AlignmentRecord) -> None:
    accepted = [link for link in record.placement.links if not link.reason]
    for offset, (axis, color) in enumerate(zip(_AXES, ("tab:green", "tab:orange", "tab:blue"), strict=True)):
        residuals = [record.placement.residual_px[link.fixed, link.moving][offset] for link in accepted]
        scatters = [link.scatter_px[offset] for link in accepted]
        at = np.arange(len(accepted)) + 0.2 * (offset - 1)
        axes.errorbar(at, residuals, yerr=scatters, fmt="o", markersize=3, color=color, label=axis)
    axes.axhline(0, color="gray", linewidth=0.5)
    axes.set_xticks(range(len(accepted)), [f"{k.fixed}\n{k.moving}" for k in accepted], rotation=90, fontsize=5)
    axes.set_ylabel("residual, voxels")
    axes.set_title("What the solution leaves of each link (bars: scatter of its points)", fontsize=10)
    axes.legend()
