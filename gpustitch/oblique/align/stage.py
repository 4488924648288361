"""Align the tiles of a mosaic: link the pairs that overlap, then solve all positions and the voxel size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpustitch.array import Device, choose_device
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_file, check_file_output
from gpustitch.io.provenance import provenance
from gpustitch.model import ZYX, Link, Mosaic, Placement, Spacing, UmXYZ, Volume, check_um
from gpustitch.model.arrays import PxZYX
from gpustitch.model.options import documented, nested, option
from gpustitch.oblique.align import ALIGNMENT, YSize, allow_unaligned, stage_repeatability_um, y_size
from gpustitch.oblique.align.figure import FIGURE_SUFFIXES, check_matplotlib, draw_report
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.oblique_volume import Oblique
from gpustitch.oblique.align.outcome import (
    angle_text,
    check_linked,
    check_measured,
    links_text,
    moved_objects_um,
    notes_of,
    read_text,
    still_text,
    sure_tiles_text,
    voxel_size_text,
    warnings_of,
)
from gpustitch.oblique.align.overlaps.camera_pattern import Still, find_still
from gpustitch.oblique.align.overlaps.counted import bytes_of
from gpustitch.oblique.align.overlaps.refine import LinkCount
from gpustitch.oblique.align.pairs import Expected, Pair, do_overlap, expected_again, neighbours
from gpustitch.oblique.align.points import Overlap, nearest_voxel
from gpustitch.oblique.align.report import report_text
from gpustitch.oblique.align.solve import solve_positions
from gpustitch.oblique.align.voxel_size import VoxelSize, check_y_size, estimate_voxel_size, is_measurable
from gpustitch.oblique.mosaic.distances import check_distances
from gpustitch.oblique.mosaic.file import AlignmentRecord, write_alignment
from gpustitch.oblique.mosaic.folders import find_volume_mosaic
from gpustitch.oblique.mosaic.placing import absent_frames, missing_files, mosaic_spacing, stage_origins
from gpustitch.oblique.mosaic.slant import more_slant, slant_of, slanted_link
from gpustitch.oblique.mosaic.tiles import open_tiles
from gpustitch.running import foretold
from gpustitch.running import options as shared
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress, size_text, tracked
from gpustitch.running.threads import Workers, checked_workers

_ROUNDS = 3


@documented
@dataclass(frozen=True)
class AlignOptions:
    """What to align, and how.

    A program may give ``mosaic`` and ``volumes`` in place of ``input``. ``mosaic`` holds the tiles, ``volumes`` the
    volume of each by name (raw frames de-obliqued on demand, arrays). A report is a picture if it ends in .png, .pdf
    or .svg, otherwise a table in Markdown.
    """

    input: Path | None = option(None, flag="--input -i", help="Folder of de-obliqued volumes X/X_Y/Z.", is_needed=True)
    output: Path | None = option(None, flag="--output -o", help="Alignment file (JSON) to write.", is_needed=True)
    report: Path | None = option(
        None, help="Report to write: a picture (.png, .pdf, .svg) or a table (.md).", shown="none"
    )
    voxel_size_um: float | None = option(
        None, flag="--voxel-size", unit="um", help="Camera pixel, um.", shown="what the volumes state"
    )
    x_step_um: float | None = option(
        None, flag="--x-step-size", unit="um", help="Stage step, um.", shown="what the volumes state"
    )
    matching: MatchOptions = nested(MatchOptions, without=("min_matches", "largest_px"))
    align_xz: bool = option(
        True,
        flag="--align-xz/--no-align-xz",
        help="Solve x and z too, or leave them to the stage.",
        panel=ALIGNMENT,
    )
    y_size: YSize = y_size()
    stage_repeatability_um: float | None = stage_repeatability_um()
    negative_y: bool = option(False, help="The stage's y runs against the camera's.")
    z_offset: int | None = option(None, help="Voxels between tiles along z.", shown="what their names say")
    is_oblique: bool = option(
        False, help="Volumes that do not say which voxels the camera saw come from an oblique scan."
    )
    allow_unaligned: bool = allow_unaligned()
    n_workers: int | None = shared.n_workers(flag="--n-cores --n-workers")
    overwrite: bool = shared.overwrite()
    allow_missing: bool = shared.allow_missing_chunks()
    mosaic: Mosaic | None = None
    volumes: Mapping[str, Volume] | None = None
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()


@dataclass(frozen=True)
class AlignPlan:
    """A checked alignment: nominal spacing, nominal positions in whole voxels (z, y, x) and the pairs to link."""

    options: AlignOptions
    mosaic: Mosaic
    volumes: Mapping[str, Volume]
    spacing: Spacing
    nominal_px: Mapping[str, ZYX]
    pairs: tuple[tuple[str, str], ...]
    n_workers: int
    device: Device
    inputs: Inputs = Inputs()

    @property
    def stage_um(self) -> dict[str, UmXYZ]:
        """Stage position (x, y, z) of each tile."""
        return {tile.name: tile.stage_um for tile in self.mosaic.tiles}

    def lines(self) -> Iterator[str]:
        """What the run will take, in lines for people."""
        n_bytes = sum(bytes_of(self.volumes[tile.name]) for tile in self.mosaic.tiles)
        yield foretold.reads_line(
            f"overlaps of {len(self.mosaic.tiles)} tiles, which hold at most {size_text(n_bytes)}"
        )
        yield f"aligns  {len(self.pairs)} pairs of tiles; {foretold.spacing_text(self.spacing)}"


@dataclass(frozen=True)
class AlignResult:
    """Solved positions in voxels of ``spacing``, the voxel size, and how many points of each pair were compared.

    The offsets of links are in the tiles' own grid. Where ``spacing`` slants otherwise, residuals and positions are in
    its grid (:mod:`gpustitch.oblique.mosaic.slant`).
    """

    placement: Placement
    voxel_size: VoxelSize
    spacing: Spacing
    counts: Mapping[tuple[str, str], LinkCount]
    record: AlignmentRecord

    @property
    def summary(self) -> str:
        """What was linked and measured, in one line for people."""
        texts = [links_text(self.placement), voxel_size_text(self.voxel_size)]
        if len(self.placement.origin_px) > 1:
            texts.insert(1, sure_tiles_text(self.placement, self.spacing))
        return "; ".join(texts)


def _opened(options: AlignOptions) -> tuple[Mosaic, Mapping[str, Volume], Inputs]:
    if options.input is None and (options.mosaic is None or options.volumes is None):
        raise ParameterError("alignment needs `input`, a folder of volumes, or both `mosaic` and `volumes`")
    mosaic, volumes, inputs = options.mosaic, options.volumes, Inputs()
    if options.input is not None:
        mosaic = find_volume_mosaic(options.input)
        inputs = Inputs.of(tile.path for tile in mosaic.tiles)
        opened = open_tiles(mosaic, allow_missing=options.allow_missing)
        volumes = {tile.name: volume for tile, volume in zip(mosaic.tiles, opened, strict=True)}
    assert mosaic is not None and volumes is not None
    missing = [tile.name for tile in mosaic.tiles if tile.name not in volumes]
    if missing:
        raise ParameterError(f"`volumes` holds no volume for the tiles {missing}; give one for each tile of `mosaic`")
    if options.is_oblique:
        volumes = {name: volume if volume.coverage.shear else Oblique(volume) for name, volume in volumes.items()}
    return mosaic, volumes, inputs


def plan(options: AlignOptions) -> AlignPlan:
    """Check the options and choose the pairs, before any voxel is read or a file written.

    Raises
    ------
    ParameterError, MosaicError
        If a size is out of range, or the tiles differ in spacing or dtype.
    AlignmentError
        If the y voxel size is to be measured, but no tiles overlap along y.
    OutputExistsError, OutputError
        If the output exists or cannot be written.
    """
    check_y_size(options.y_size, options.stage_repeatability_um)
    if options.report is not None and options.report.suffix.lower() in FIGURE_SUFFIXES:
        check_matplotlib()
    for path in (options.output, options.report):
        if path is not None:
            check_file_output(path, overwrite=options.overwrite)
    workers = checked_workers(options.n_workers)
    stated = {"voxel_size_um": ("voxel size", options.voxel_size_um), "x_step_um": ("step size", options.x_step_um)}
    for name, (what, um) in stated.items():
        if um is not None:
            check_um(**{name: (what, um)})
    mosaic, volumes, inputs = _opened(options)
    spacing = mosaic_spacing(
        mosaic, [volumes[tile.name] for tile in mosaic.tiles], options.x_step_um, options.voxel_size_um
    )
    nominal = {name: nearest_voxel(p) for name, p in _nominal(options, mosaic, spacing).items()}
    check_distances(nominal, volumes[mosaic.tiles[0].name].coverage, spacing)
    pairs = tuple(neighbours(nominal, volumes, options.matching))
    height_um = volumes[mosaic.tiles[0].name].coverage.n_rows * spacing.y_um
    check_measured(options.y_size, is_measurable(pairs, {t.name: t.stage_um for t in mosaic.tiles}, height_um))
    device = choose_device(options.device, options.device_memory_bytes)
    return AlignPlan(options, mosaic, volumes, spacing, nominal, pairs, workers, device, inputs)


def run(plan: AlignPlan, progress: Progress = SILENT) -> AlignResult:
    """Link the tiles, solve their positions, and write the alignment file and the report if they are named.

    Raises
    ------
    AlignmentError
        If tiles overlap but no link was accepted, unless `allow_unaligned`, or if the y voxel size is to be measured
        and no link tells it. Then nothing is written.
    """
    options = plan.options
    missing = list(missing_files(plan.mosaic, [plan.volumes[tile.name] for tile in plan.mosaic.tiles]))
    for text in missing:
        progress.warn(text)
    still, n_bytes = find_still(plan.volumes, plan.stage_um, options.matching.sigma_um) if plan.pairs else (None, 0)
    if still is not None:
        progress.note(still_text(still.share))
    links, counts = _linked(plan, still, progress)
    placement, voxel_size, spacing = _solve(plan, list(links.values()))
    if _link_again(plan, still, placement, spacing, links, counts):
        placement, voxel_size, spacing = _solve(plan, list(links.values()))
    _tell(plan, progress, placement, counts, voxel_size, spacing)
    n_bytes += sum(count.n_bytes for count in counts.values())
    of_bytes = sum(bytes_of(plan.volumes[tile.name]) for tile in plan.mosaic.tiles)
    progress.note(read_text(n_bytes, of_bytes))
    read = {
        "missing": missing,
        "bytes_read": n_bytes,
        "bytes_of_tiles": of_bytes,
        "camera_pattern": still.share if still else 0.0,
        "moved_objects": [[*pair, *um] for pair, um in moved_objects_um(counts, spacing).items()],
    }
    check_linked(placement, allow_unaligned=options.allow_unaligned)
    check_measured(options.y_size, voxel_size.estimate_um is not None)
    tile = plan.volumes[plan.mosaic.tiles[0].name]
    record = AlignmentRecord(
        placement=placement,
        stage_um=plan.stage_um,
        nominal_px=plan.nominal_px,
        spacing=spacing,
        voxel_size_nominal_um=plan.spacing.y_um,
        voxel_size_estimate_um=voxel_size.estimate_um,
        voxel_size_uncertainty_um=voxel_size.uncertainty_um,
        counts={pair: (c.sampled, c.correlated, c.agreeing) for pair, c in counts.items()},
        align_xz=options.align_xz,
        negative_y=options.negative_y,
        absent_frames=absent_frames(plan.volumes),
        provenance=_provenance(plan) | read | plan.inputs.tell(progress),
        slant=slant_of(tile, spacing),
        slant_of_links=slant_of(tile, tile.spacing),
        voxel_size_basis=voxel_size.basis,
    )
    if options.output is not None:
        write_alignment(options.output, record, overwrite=options.overwrite)
    if options.report is not None:
        _write_report(options.report, record, overwrite=options.overwrite)
    return AlignResult(placement, voxel_size, spacing, counts, record)


def _write_report(path: Path, record: AlignmentRecord, *, overwrite: bool) -> None:
    with atomic_file(path, overwrite=overwrite) as partial:
        if path.suffix.lower() in FIGURE_SUFFIXES:
            draw_report(partial, record, path.suffix.lower()[1:])
        else:
            partial.write_text(report_text(record), encoding="utf-8")


def _linked(plan: AlignPlan, still: Still | None, progress: Progress) -> tuple[dict[Pair, Link], dict[Pair, LinkCount]]:
    """The link of each pair about where the stage puts it."""
    links: dict[Pair, Link] = {}
    counts: dict[Pair, LinkCount] = {}
    for pair in tracked(plan.pairs, progress, "Aligning", len(plan.pairs), "overlaps"):
        z, y, x = (b - a for a, b in zip(*(plan.nominal_px[name] for name in pair), strict=True))
        # Positions are in the grid of the stated sizes; tiles are compared in their own.
        fixed = plan.volumes[pair[0]]
        offset = (z, y, x - round(more_slant(fixed, plan.spacing) * z))
        link, count = _link(
            plan, still, pair, Expected(offset, plan.options.matching.reach_px(offset, fixed.coverage.shear))
        )
        counts[pair] = count
        if not link.reason or do_overlap(plan.nominal_px, plan.volumes, pair):
            links[pair] = link
        # Otherwise the stage says that they do not overlap, and nothing says that they do.
    return links, counts


def _link_again(
    plan: AlignPlan,
    still: Still | None,
    placement: Placement,
    spacing: Spacing,
    links: dict[Pair, Link],
    counts: dict[Pair, LinkCount],
) -> bool:
    """Link pairs that have no link about where the others put them; whether any was linked."""
    tile = plan.volumes[plan.mosaic.tiles[0].name]
    again = expected_again(placement, more_slant(tile, spacing), plan.options.matching, tile.coverage.shear)
    any_new = False
    for pair, expected in again.items():
        if counts[pair].moved_px is not None:
            # Near where objects are, they alone would be found.
            continue
        link, count = _link(plan, still, pair, expected)
        n_bytes = counts[pair].n_bytes + count.n_bytes
        if not link.reason:
            links[pair], counts[pair], any_new = link, count, True
        counts[pair] = replace(counts[pair], n_bytes=n_bytes)
    return any_new


def _link(plan: AlignPlan, still: Still | None, pair: Pair, expected: Expected) -> tuple[Link, LinkCount]:
    options = plan.options
    seed = [options.matching.seed, *(round(10 * v) % 2**32 for name in pair for v in plan.stage_um[name])]
    fixed, moving = (plan.volumes[name] for name in pair)
    overlap = Overlap(fixed, moving, expected.offset_px)
    workers = Workers(plan.n_workers, plan.device)
    rng = np.random.default_rng(seed)
    return link_tiles(overlap, pair, options.matching, expected.reach_px, rng, workers, still, may_move=True)


def _solve(plan: AlignPlan, links: Sequence[Link]) -> tuple[Placement, VoxelSize, Spacing]:
    """Positions and voxel size, solved in turns: links that the positions reject no longer count for the voxel size.

    Links are in the grid of the tiles; they are solved in that of the voxel size, and given back in that of the tiles.
    """
    options, own = plan.options, plan.spacing
    stage = {name: _moved(options, um) for name, um in plan.stage_um.items()}
    tile = plan.volumes[plan.mosaic.tiles[0].name]
    axes = (options.align_xz, True, options.align_xz)

    def placed(spacing: Spacing) -> Placement:
        more = more_slant(tile, spacing)
        nominal = _nominal(options, plan.mosaic, spacing)
        solved = solve_positions(nominal, [slanted_link(k, more) for k in links], axes=axes, voxel_um=spacing.zyx_um)
        return replace(solved, links=tuple(slanted_link(k, -more) for k in solved.links))

    spacing, placement = own, placed(own)
    for _ in range(_ROUNDS):
        voxel_size = estimate_voxel_size(
            placement.links, stage, own.y_um, tile.coverage.n_rows * own.y_um,
            stage_repeatability_um=options.stage_repeatability_um, y_size=options.y_size,
        )  # fmt: skip
        found = Spacing(own.z_um * (voxel_size.used_um / own.y_um), voxel_size.used_um, own.x_um)
        if found == spacing:
            break
        spacing, placement = found, placed(found)
    return placement, voxel_size, spacing


def _moved(options: AlignOptions, stage_um: UmXYZ) -> UmXYZ:
    x, y, z = stage_um
    return x, -y if options.negative_y else y, z


def _nominal(options: AlignOptions, mosaic: Mosaic, spacing: Spacing) -> dict[str, PxZYX]:
    """Stage positions (z, y, x) in voxels, the least coordinate on each axis 0."""
    origins = stage_origins(mosaic, spacing, z_offset=options.z_offset, negative_y=options.negative_y)
    z, y, x = (min(p[axis] for p in origins.values()) for axis in range(3))
    return {name: (p[0] - z, p[1] - y, p[2] - x) for name, p in origins.items()}


def _provenance(plan: AlignPlan) -> dict[str, object]:
    options = plan.options
    parameters = {
        "voxel_size_um": options.voxel_size_um, "x_step_um": options.x_step_um, "align_xz": options.align_xz,
        "negative_y": options.negative_y, "z_offset": options.z_offset, "matching": options.matching,
        "y_size": options.y_size, "stage_repeatability_um": options.stage_repeatability_um,
        "is_oblique": options.is_oblique, "allow_unaligned": options.allow_unaligned,
        "n_workers": plan.n_workers, "device": plan.device,
    }  # fmt: skip
    return provenance(parameters, [tile.path for tile in plan.mosaic.tiles if tile.path.exists()])


def _tell(
    plan: AlignPlan,
    progress: Progress,
    placement: Placement,
    counts: Mapping[Pair, LinkCount],
    voxel_size: VoxelSize,
    spacing: Spacing,
) -> None:
    stage_px, repeatability_um = _nominal(plan.options, plan.mosaic, spacing), plan.options.stage_repeatability_um
    for note in notes_of(placement, counts):
        progress.note(note)
    for warning in warnings_of(placement, spacing, stage_px, counts, repeatability_um):
        progress.warn(warning)
    is_slanted = any(volume.coverage.shear for volume in plan.volumes.values())
    if is_slanted and (text := angle_text(plan.stage_um.values(), plan.spacing)):
        progress.note(text)
    say = progress.warn if voxel_size.estimate_um is None and len(placement.origin_px) > 1 else progress.note
    say(voxel_size_text(voxel_size))
