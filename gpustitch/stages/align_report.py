"""The report of an alignment for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpustitch.io.alignment import AlignmentRecord
from gpustitch.model import Link


def report_text(record: AlignmentRecord) -> str:
    """Voxel size, positions, links with scatter and residuals, and what was rejected and why."""
    placement = record.placement
    accepted = [k for k in placement.links if not k.reason]
    rejected = [k for k in placement.links if k.reason]
    worst = max((abs(v) for r in placement.residual_px.values() for v in r), default=0.0)
    parts = [
        "# Alignment\n",
        (
            f"{len(placement.origin_px)} tiles, {len(accepted)} links accepted, {len(rejected)} rejected, "
            f"worst residual {worst:.2f} voxels.\n"
        ),
        _voxel_size(record),
        "## Tiles\n",
        _table(
            ("tile", "stage x, y, z (um)", "begins at x, y, z (voxels)", "moved by (voxels)"),
            (_tile(record, name) for name in placement.origin_px),
        ),
    ]
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
        return f"Voxel size: {record.voxel_size_nominal_um:g} um, as given (no links along y to estimate it from).\n"
    return (
        f"Voxel size: nominal {record.voxel_size_nominal_um:g} um, estimated {record.voxel_size_estimate_um:.4f} +- "
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
        _xyz(link.offset_px),
        _xyz(link.scatter_px),
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
