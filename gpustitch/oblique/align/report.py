"""The report of an alignment for people: tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gpustitch.model import Link, Support
from gpustitch.oblique.mosaic.file import AlignmentRecord
from gpustitch.running.progress import counted

_UNMEASURED = "not measured"
UNKNOWN = "not known"
_TILE_HEAD = (
    "tile", "stage x, y, z (um)", "begins at x, y, z (voxels)", "moved by (voxels)", "+- x, y, z (um)", "held by",
)  # fmt: skip
_LINK_HEAD = (
    "fixed", "moving", "offset x, y, z (voxels)", "+-", "scatter", "residual", "agreeing / correlated / sampled",
)  # fmt: skip
# What holds a tile, for people.
HELD_BY: Mapping[Support | None, str] = {
    "loop": "a loop of links",
    "link": "links in no loop",
    "stage": "the stage alone",
    None: UNKNOWN,
}


def report_text(record: AlignmentRecord) -> str:
    """Markdown: voxel size, positions and how sure they are, accepted links, rejected links with reasons."""
    placement = record.placement
    accepted = [k for k in placement.links if not k.reason]
    rejected = [k for k in placement.links if k.reason]
    worst = max((abs(v) for r in placement.residual_px.values() for v in r), default=None)
    residual = "" if worst is None else f", worst residual {worst:.2f} voxels"
    tiles, links = counted(len(placement.origin_px), "tiles"), counted(len(accepted), "links")
    parts = [
        "# Alignment\n",
        f"{tiles}, {links} accepted, {len(rejected)} rejected{residual}.\n",
        _voxel_size(record),
        "## Tiles\n",
        "+- is the standard error, relative to the mean of all tiles. 95 % of positions lie within 1.96 times it.\n",
        _table(
            _TILE_HEAD,
            (_tile(record, name) for name in placement.origin_px),
        ),
    ]
    if placement.is_unaligned:
        parts.insert(1, "UNALIGNED: no overlap gave a link, and all tiles are where the stage says.\n")
    if len(placement.origin_px) > 1 and placement.unlinked:
        parts.append(f"Linked to no other tile, at their stage position: {', '.join(placement.unlinked)}.\n")
    parts += ["## Accepted links\n", _table(_LINK_HEAD, (_link(record, k) for k in accepted))]
    if rejected:
        rows = ((*_link(record, k)[:5], _counts(record, k), k.reason) for k in rejected)
        parts += ["## Rejected links\n", _table((*_LINK_HEAD[:5], _LINK_HEAD[6], "reason"), rows)]
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
    error = record.placement.standard_error_um(name, record.spacing)
    sure = UNKNOWN if error is None else sure_text(error)
    return name, stage, _xyz(position), _xyz(moved), sure, HELD_BY[record.placement.support.get(name)]


def sure_text(xyz: Sequence[float]) -> str:
    """Three standard errors for people, to two significant digits."""
    return ", ".join(f"{um:.2g}" if um < 100 else f"{um:.0f}" for um in xyz)


def _link(record: AlignmentRecord, link: Link) -> Sequence[str]:
    residual = record.placement.residual_px.get((link.fixed, link.moving))
    return (
        link.fixed,
        link.moving,
        _xyz(link.offset_px) if link.is_measured else _UNMEASURED,
        UNKNOWN if link.sigma_px is None else sure_text(link.sigma_px[::-1]),
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
