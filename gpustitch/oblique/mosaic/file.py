"""Alignment files: spimstitch's JSON with its keys and meanings, and what gpustitch adds.

Keys of spimstitch:

- the stage positions of a pair of tiles, ``[[x, y, z], [x, y, z]]`` in um: the matched points of the pair, each with
  ``xa`` .. ``zb`` in whole voxels of the mosaic by the stage, and ``corr``;
- ``voxel_size`` (y) and ``voxel_sizes`` (x, y, z), um; ``align-z``;
- ``alignments``: by stage position the um (x, y, z) at which the tile begins.

Added by gpustitch:

- sub-voxel points: ``fixed_px`` and ``moving_px``, (z, y, x) in each tile's own voxels;
- ``links`` (one that is not ``measured`` holds the stage's offset), ``unlinked``. ``sigma_px`` is the standard error
  (z, y, x) of a link's offset, null if only its scatter is known; ``candidates`` are offsets at which the pictures may
  fit, the surest first; ``bend_px`` (z, y, x) is by how much the offset changes from end to end, null if it does not;
- ``tiles``: by stage position the ``standard_error_um`` (x, y, z) of where the tile begins, relative to the mean of all
  tiles, and its ``support``: ``loop`` (links that close a loop), ``link`` (links that close none) or ``stage`` (no
  link). What is not known is null;
- ``x_step_size``, ``angle``, ``negative_y``;
- ``absent_frames``: by stage position the number of frames that a tile lacks, for tiles that lack any;
- ``unaligned``: tiles overlap, but all positions are those of the stage; ``islands``: groups of tiles that links join;
- ``voxel_sizes_measured``: which of ``voxel_sizes`` (x, y, z) were measured, and not kept as given. The z voxel size
  follows from that of y;
- nominal voxel size, its estimate and the half width of its 95 % interval (null if nothing was measured), relative to
  the stage's own scale, and provenance. ``voxel_size_basis`` says what they rest on: links between rows, tiles, rows,
  and the ``stage_repeatability`` in um (null if it was not stated); ``y_size`` says who chose the ``voxel_size``;
- ``slant``: columns per plane by which tiles slant in the grid of ``alignments``, and ``slant_of_links``: in the tiles'
  own grid, in which the offsets and points of links are. They differ where ``voxel_size`` is not that of the tiles. A
  link's x in the grid of ``alignments`` is greater by their difference times its z, and its residual is there too.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from gpustitch.errors import DamagedInputError, InputMissingError
from gpustitch.io.checked import MOST, WRONG, check_schema, flag, number, read_json, rows, table, text, whole
from gpustitch.io.provenance import write_json
from gpustitch.model import (
    ZYX,
    Candidate,
    Link,
    Match,
    Placement,
    Spacing,
    Support,
    UmXYZ,
    is_unaligned,
    tile_name,
)
from gpustitch.model.arrays import PxZYX

# Version of the file. What spimstitch and earlier versions wrote states none and is read as version 1.
SCHEMA = 1
_MOST = 1e12  # um or voxels: nothing lies farther away


@dataclass(frozen=True)
class AlignmentRecord:
    """The content of an alignment file about to be written.

    Parameters
    ----------
    placement
        Solved positions, links and residuals.
    stage_um
        Stage position (x, y, z) of each tile by name, as on disk.
    nominal_px
        Whole voxel (z, y, x) at which the stage puts each tile's first voxel.
    spacing
        Spacing of the mosaic, with the voxel size that later stages should use.
    voxel_size_nominal_um
        Voxel size that the tiles were made with.
    voxel_size_estimate_um, voxel_size_uncertainty_um
        Voxel size that the links give, and the half width of its 95 % interval.
    counts
        For each link (fixed, moving) how many points were sampled, how many correlated and how many agreed.
    absent_frames
        How many frames a tile lacks, by name; none where it is not named.
    slant, slant_of_links
        Columns per plane by which tiles slant in the grid of the positions, and in that of the links.
    voxel_size_basis
        What the estimate rests on.
    """

    placement: Placement
    stage_um: Mapping[str, UmXYZ]
    nominal_px: Mapping[str, ZYX]
    spacing: Spacing
    voxel_size_nominal_um: float
    voxel_size_estimate_um: float | None
    voxel_size_uncertainty_um: float | None
    counts: Mapping[tuple[str, str], tuple[int, int, int]]
    align_xz: bool
    negative_y: bool
    absent_frames: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    slant: float | None = None
    slant_of_links: float | None = None
    voxel_size_basis: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_size_measured(self) -> bool:
        """Whether the y voxel size of ``spacing`` is the one that the links give, and not the nominal one."""
        return self.voxel_size_estimate_um is not None and self.spacing.y_um == self.voxel_size_estimate_um


@dataclass(frozen=True)
class Alignment:
    """What an alignment file says.

    ``origin_um`` maps stage positions (x, y, z) to the um (x, y, z) at which the tiles begin. Sizes are None where the
    file does not state them (spimstitch states no step). Only files of gpustitch hold links and residuals.
    ``slant`` is that of the grid of ``origin_um``, columns per plane; None for the tiles' own slant.
    ``standard_error_um`` (x, y, z) and ``support`` are by stage position too, for the tiles of which they are known.
    """

    origin_um: Mapping[UmXYZ, UmXYZ]
    voxel_size_um: float | None = None
    x_step_um: float | None = None
    voxel_size_nominal_um: float | None = None
    voxel_size_estimate_um: float | None = None
    voxel_size_uncertainty_um: float | None = None
    links: tuple[Link, ...] = ()
    residual_px: Mapping[tuple[str, str], PxZYX] = field(default_factory=dict)
    unlinked: tuple[str, ...] = ()
    angle_deg: float | None = None
    negative_y: bool | None = None
    slant: float | None = None
    standard_error_um: Mapping[UmXYZ, UmXYZ] = field(default_factory=dict)
    support: Mapping[UmXYZ, Support] = field(default_factory=dict)

    @property
    def is_unaligned(self) -> bool:
        """Whether no link was accepted: the positions are those of the stage."""
        return is_unaligned(self.links)

    def placement(self, spacing: Spacing) -> Placement:
        """Tile positions in voxels of ``spacing``, the least coordinate on each axis 0."""
        px = {tile_name(stage): _zyx(um, spacing) for stage, um in self.origin_um.items()}
        least = [min((p[axis] for p in px.values()), default=0.0) for axis in range(3)]
        origin = {name: (p[0] - least[0], p[1] - least[1], p[2] - least[2]) for name, p in px.items()}
        sigma = {tile_name(stage): _zyx(um, spacing) for stage, um in self.standard_error_um.items()}
        support = {tile_name(stage): held for stage, held in self.support.items()}
        return Placement(origin, self.residual_px, self.links, self.unlinked, sigma, support)


def write_alignment(path: Path, record: AlignmentRecord, *, overwrite: bool = False) -> None:
    """Write an alignment file; it appears whole or not at all."""
    write_json(path, alignment_json(record), schema=SCHEMA, overwrite=overwrite)


def alignment_json(record: AlignmentRecord) -> dict[str, Any]:
    """The content of an alignment file."""
    placement, spacing, stage = record.placement, record.spacing, record.stage_um
    content: dict[str, Any] = {}
    for link in placement.links:
        if link.matches:
            key = json.dumps([list(stage[link.fixed]), list(stage[link.moving])])
            content[key] = [_point(record, link, match) for match in link.matches]
    content["voxel_size"] = spacing.y_um
    content["voxel_sizes"] = [spacing.x_um, spacing.y_um, spacing.z_um]
    content["voxel_sizes_measured"] = [False, record.is_size_measured, record.is_size_measured]
    content["voxel_size_nominal"] = record.voxel_size_nominal_um
    content["voxel_size_estimate"] = record.voxel_size_estimate_um
    content["voxel_size_uncertainty"] = record.voxel_size_uncertainty_um
    content["voxel_size_basis"] = dict(record.voxel_size_basis)
    content["slant"], content["slant_of_links"] = record.slant, record.slant_of_links
    content["x_step_size"] = spacing.x_um
    content["angle"] = math.degrees(math.asin(min(1.0, spacing.z_um / spacing.y_um)))
    content["alignments"] = {
        json.dumps(list(stage[name])): [p[2] * spacing.x_um, p[1] * spacing.y_um, p[0] * spacing.z_um]
        for name, p in placement.origin_px.items()
    }
    content["tiles"] = {json.dumps(list(stage[name])): _tile(record, name) for name in placement.origin_px}
    content["align-z"] = record.align_xz
    content["negative_y"] = record.negative_y
    content["links"] = [_link(record, link) for link in placement.links]
    content["unlinked"] = [list(stage[name]) for name in placement.unlinked]
    content["absent_frames"] = {json.dumps(list(stage[name])): n for name, n in record.absent_frames.items()}
    content["unaligned"] = placement.is_unaligned
    content["islands"] = [[list(stage[name]) for name in members] for members in placement.islands]
    content["provenance"] = dict(record.provenance)
    return content


def read_alignment(path: str | Path) -> Alignment:
    """Read an alignment file of gpustitch or of spimstitch.

    Raises
    ------
    InputMissingError
        If there is no such file.
    DamagedInputError
        If it is not an alignment file, or a later version of gpustitch wrote it.
    """
    path = Path(path)
    try:
        return _parsed(read_json(path))
    except FileNotFoundError as error:
        raise InputMissingError(f"there is no alignment file {path}") from error
    except WRONG as error:
        raise DamagedInputError(
            f"{path} is not an alignment file as oblique-align writes it: {type(error).__name__}: {error}; "
            "run oblique-align again"
        ) from error


def _parsed(content: dict[str, Any]) -> Alignment:
    """What a file says; one of ``WRONG`` for what is no alignment."""
    check_schema(table(content, "it"), SCHEMA)
    origins = {
        _xyz(json.loads(key)): _xyz(value) for key, value in table(content.get("alignments", {}), "alignments").items()
    }
    if "voxel_size" not in content and not origins:
        raise KeyError("alignments")
    entries = rows(content.get("links", []), "links")
    links = [_read_link(content, entry) for entry in entries]
    residuals = {
        (link.fixed, link.moving): _xyz(entry["residual_px"])
        for link, entry in zip(links, entries, strict=True)
        if entry["residual_px"] is not None
    }
    standard_error_um, support = _read_tiles(table(content.get("tiles", {}), "tiles"))
    return Alignment(
        origin_um=origins,
        voxel_size_um=_size(content, "voxel_size"),
        x_step_um=_size(content, "x_step_size"),
        voxel_size_nominal_um=_size(content, "voxel_size_nominal"),
        voxel_size_estimate_um=_size(content, "voxel_size_estimate"),
        voxel_size_uncertainty_um=_size(content, "voxel_size_uncertainty"),
        links=tuple(links),
        residual_px=residuals,
        unlinked=tuple(tile_name(_xyz(stage)) for stage in rows(content.get("unlinked", []), "unlinked")),
        angle_deg=_size(content, "angle"),
        negative_y=None if content.get("negative_y") is None else flag(content["negative_y"], "negative_y"),
        slant=_slant(content),
        standard_error_um=standard_error_um,
        support=support,
    )


def _tile(record: AlignmentRecord, name: str) -> dict[str, Any]:
    return {
        "standard_error_um": record.placement.standard_error_um(name, record.spacing),
        "support": record.placement.support.get(name),
    }


def _read_tiles(tiles: Mapping[str, Any]) -> tuple[dict[UmXYZ, UmXYZ], dict[UmXYZ, Support]]:
    """Standard error and support of the tiles of which the file states them."""
    error_um: dict[UmXYZ, UmXYZ] = {}
    support: dict[UmXYZ, Support] = {}
    for key, entry in tiles.items():
        stage = _xyz(json.loads(key))
        if entry["standard_error_um"] is not None:
            error_um[stage] = _errors(entry["standard_error_um"])
        if entry["support"] is not None:
            if entry["support"] not in get_args(Support):
                raise ValueError(f"a tile's support is {entry['support']!r}")
            support[stage] = entry["support"]
    return error_um, support


def _point(record: AlignmentRecord, link: Link, match: Match) -> dict[str, Any]:
    a = [p + o for p, o in zip(match.fixed_px, record.nominal_px[link.fixed], strict=True)]
    b = [round(p) + o for p, o in zip(match.moving_px, record.nominal_px[link.moving], strict=True)]
    return {
        "key_a": list(record.stage_um[link.fixed]),
        "key_b": list(record.stage_um[link.moving]),
        **{f"{axis}a": value for axis, value in zip("xyz", reversed(a), strict=True)},
        **{f"{axis}b": value for axis, value in zip("xyz", reversed(b), strict=True)},
        "corr": match.correlation,
        "fixed_px": list(match.fixed_px),
        "moving_px": list(match.moving_px),
    }


def _link(record: AlignmentRecord, link: Link) -> dict[str, Any]:
    """A link as the file has it, with the counts of its points."""
    sampled, correlated, agreeing = record.counts.get((link.fixed, link.moving), (0, 0, len(link.matches)))
    return {
        "fixed": list(record.stage_um[link.fixed]),
        "moving": list(record.stage_um[link.moving]),
        "accepted": not link.reason,
        "reason": link.reason,
        "measured": link.is_measured,
        "offset_px": list(link.offset_px),
        "scatter_px": list(link.scatter_px),
        "sigma_px": None if link.sigma_px is None else list(link.sigma_px),
        "candidates": [dataclasses.asdict(candidate) for candidate in link.candidates],
        "bend_px": None if link.bend_px is None else list(link.bend_px),
        "residual_px": record.placement.residual_px.get((link.fixed, link.moving)),
        "sampled": sampled,
        "correlated": correlated,
        "agreeing": agreeing,
    }


def _read_link(content: Mapping[str, Any], entry: Mapping[str, Any]) -> Link:
    fixed, moving = _xyz(entry["fixed"]), _xyz(entry["moving"])
    points = rows(content.get(json.dumps([list(fixed), list(moving)]), []), "points")
    matches = []
    for point in points:
        z, y, x = (whole(v, "fixed_px", -MOST) for v in rows(point["fixed_px"], "fixed_px", 3))
        matches.append(Match((z, y, x), _xyz(point["moving_px"]), number(point["corr"], "corr")))
    offset, scatter = _xyz(entry["offset_px"]), _xyz(entry["scatter_px"])
    sigma = None if entry.get("sigma_px") is None else _errors(entry["sigma_px"])
    names, reason = (tile_name(fixed), tile_name(moving)), text(entry["reason"], "reason")
    candidates = tuple(map(_read_candidate, rows(entry.get("candidates", []), "candidates")))
    bend = None if entry.get("bend_px") is None else _xyz(entry["bend_px"])
    return Link(*names, offset, scatter, tuple(matches), reason, sigma, candidates, bend)


def _read_candidate(entry: Mapping[str, Any]) -> Candidate:
    confidence = number(entry["confidence"], "the confidence of a candidate", most=1)
    if confidence < 0:
        raise ValueError(f"the confidence of a candidate is {confidence}")
    return Candidate(_xyz(entry["offset_px"]), _errors(entry["sigma_px"]), confidence)


def _size(content: Mapping[str, Any], key: str) -> float | None:
    value = content.get(key)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return number(value, key, -_MOST if key == "voxel_size_uncertainty" else 0)


def _slant(content: Mapping[str, Any]) -> float | None:
    value = content.get("slant")
    if value is not None and number(value, "slant") < 0:
        raise ValueError(f"slant is {value}, below 0")
    return None if value is None else float(value)


def _xyz(values: Any) -> tuple[float, float, float]:
    first, second, third = (number(v, "a coordinate", -_MOST, _MOST) for v in rows(values, "a point", 3))
    return first, second, third


def _errors(values: Any) -> tuple[float, float, float]:
    errors = _xyz(values)
    if min(errors) < 0:
        raise ValueError(f"{values} are no standard errors: one is below 0")
    return errors


def _zyx(um: UmXYZ, spacing: Spacing) -> PxZYX:
    return um[2] / spacing.z_um, um[1] / spacing.y_um, um[0] / spacing.x_um
