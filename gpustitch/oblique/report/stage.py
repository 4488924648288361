"""The report of an output of the pipeline: checks of what was written, as a page for people and a record for programs.

What is read is bounded: a few windows of each overlap, some frames of each tile, some places and coarse levels of the
volume. Everything is computed on the CPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.array import Device
from gpustitch.errors import GpustitchError
from gpustitch.io.atomic import atomic_file, os_errors
from gpustitch.io.checked import read_json, told
from gpustitch.io.provenance import write_json
from gpustitch.io.volumes.format import StoredVolume
from gpustitch.model import Mosaic, Spacing, TilePath, UmXYZ
from gpustitch.model.arrays import Floats32, PxZYX
from gpustitch.model.options import check_ranges, documented, option
from gpustitch.oblique.mosaic.placing import place_opened, stage_origins
from gpustitch.oblique.report import judge, judge_distances, judge_light
from gpustitch.oblique.report.check import SCHEMA, Check, State, summary, verdict
from gpustitch.oblique.report.crops import shares_of
from gpustitch.oblique.report.file import Output, RawTiles, flat_of, open_levels, open_raw, read_output
from gpustitch.oblique.report.focus.judge import focus
from gpustitch.oblique.report.gather import Measured, measure
from gpustitch.oblique.report.light import blinded
from gpustitch.oblique.report.lines.judge import lines
from gpustitch.oblique.report.names import ALIGNMENT, BEFORE, PAGE, RECORD
from gpustitch.oblique.report.page import Shown, page_text
from gpustitch.running import options as shared
from gpustitch.running.progress import SILENT, Progress
from gpustitch.version import VERSION

# Raw tiles that cannot be opened which are named.
_NAMED = 3


@documented
@dataclass(frozen=True)
class ReportOptions:
    """An output of the pipeline to look at."""

    output: Path = option(help="Output of pipeline to look at.", is_argument=True, metavar="OUT")
    channel: Path | None = option(
        None, help="Folder of its raw tiles.", shown="where the output's record says that they were"
    )
    most_bytes: int = option(
        32 << 30, flag="--most-read", text="bytes", help="Most bytes of raw frames to read, approximately."
    )
    device: str | Device = shared.idle_device()


@dataclass(frozen=True)
class ReportPlan:
    """An opened output; ``problem`` says why its volume cannot be read, if it cannot."""

    options: ReportOptions
    output: Output
    levels: Sequence[StoredVolume]
    raw: RawTiles
    problem: str = ""


@dataclass(frozen=True)
class ReportResult:
    """The checks, and the page that shows them."""

    page: Path
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> State:
        """The worst of the answers."""
        return verdict(self.checks)

    @property
    def summary(self) -> str:
        """The verdict and the page, in a line for people."""
        return f"{self.page}: {self.verdict}; {summary(self.checks)}"

    def lines(self) -> Iterator[str]:
        """A line for each check that did not pass, and what helps."""
        for check in self.checks:
            if check.state in ("fail", "warn"):
                failed = "FAILED: " if check.state == "fail" else ""
                yield f"{failed}{check.name}: {check.reason}; helps: {check.helps}"


def plan(options: ReportOptions) -> ReportPlan:
    """Read the records of an output, and open its volume and its raw tiles.

    Raises
    ------
    InputMissingError
        If the folder is no output of the pipeline.
    DamagedInputError
        If a record cannot be understood. A volume that cannot be opened is no error: the report says so.
    """
    check_ranges(options)
    output = read_output(options.output)
    levels, problem = [], ""
    try:
        levels = open_levels(output)
    except GpustitchError as error:
        problem = str(error)
    return ReportPlan(options, output, levels, open_raw(output, options.channel), problem)


def run(plan: ReportPlan, progress: Progress = SILENT) -> ReportResult:
    """Measure, judge, and write the page and the record beside the volume, in place of earlier ones.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    output = plan.output
    aligned, stage_px, n_missing = _positions(plan)
    found: Measured | None = None
    if plan.levels:
        placed = plan.raw.placed(output.places) if set(aligned) >= {p.name for p in output.places} else {}
        reading = plan.raw.reading
        found = measure(plan.levels, placed, stage_px, plan.options.most_bytes, lambda: reading.n_bytes, progress)
    checks = _judged(plan, found, judge.Stated(output.parameters, output.alignment, aligned), n_missing)
    page, record = output.folder / PAGE, output.folder / RECORD
    for problem in plan.raw.problems[:_NAMED]:
        progress.warn(f"raw tiles are not looked at: {problem}; `channel` says where they are")
    if unmeasured := _measured_before(record, checks):
        _keep(output.folder)
        progress.warn(
            f"the earlier report had measured what this one could not ({', '.join(unmeasured)}); it is kept as "
            f"{output.folder / BEFORE[PAGE]}"
        )
    write_json(record, _record(plan, checks), schema=SCHEMA, overwrite=True)
    shown = Shown(str(output.folder), output.record, output.run, output.alignment, _flat(output))
    with atomic_file(page, overwrite=True) as partial:
        partial.write_text(page_text(shown, checks, found), encoding="utf-8", errors="xmlcharrefreplace")
    result = ReportResult(page, checks)
    for check in checks:
        if check.name == judge_distances.SCALE and check.state == "not measured":
            progress.note(check.reason)
    for line in result.lines():
        progress.warn(line)
    return result


def _measured_before(record: Path, checks: Sequence[Check]) -> list[str]:
    """Names of checks that an earlier report answers and these do not: raw tiles may have gone meanwhile."""
    now = {check.name for check in checks if check.state != "not measured"}
    return [name for name in _answered(record) if name not in now]


def _answered(record: Path) -> list[str]:
    """Names of the checks that a report answers; none if there is no report, or a damaged one."""
    if not record.is_file():
        return []
    try:
        with told(record, "a report"):
            states = {str(check["name"]): check["state"] for check in read_json(record)["checks"]}
    except GpustitchError:
        return []
    return [name for name, state in states.items() if state != "not measured"]


def _keep(folder: Path) -> None:
    """Put the earlier report aside, page and record, unless the one there answers more."""
    if set(_answered(folder / BEFORE[RECORD])) - set(_answered(folder / RECORD)):
        return
    for name, aside in BEFORE.items():
        with os_errors(folder / name), contextlib.suppress(FileNotFoundError):
            (folder / name).replace(folder / aside)


def _flat(output: Output) -> Floats32 | None:
    """The flat of an output; None also if its file is damaged."""
    try:
        return flat_of(output)
    except GpustitchError:
        return None


def _positions(plan: ReportPlan) -> tuple[dict[str, PxZYX], dict[str, PxZYX], int]:
    """Where the alignment file, or else the stage, and where the stage puts the tiles, voxels; and missing tiles."""
    output, tiles = plan.output, plan.raw.tiles
    if not tiles or not plan.levels:
        return {}, {}, 0
    stated = output.parameters
    mosaic = Mosaic(tuple(TilePath(Path(name), _stage_um(name)) for name in tiles))
    volumes = [tiles[tile.name] for tile in mosaic.tiles]
    z_offset, negative_y = stated.get("z_offset"), bool(stated.get("negative_y"))
    file = output.folder / ALIGNMENT
    try:
        given = file if file.is_file() else None
        at = place_opened(mosaic, volumes, alignment=given, z_offset=z_offset, negative_y=negative_y)
        aligned = {tile.name: tile.origin_px for tile in at.tiles}
    except GpustitchError:
        aligned = {place.name: place.origin_px for place in output.places}
    spacing = plan.levels[0].spacing
    stage_px = _beside(stage_origins(mosaic, spacing, z_offset=z_offset, negative_y=negative_y), aligned)
    own = volumes[0]
    extent = tuple(
        n * um
        for n, um in zip((own.scan.n_frames, own.scan.n_rows, own.scan.n_columns), spacing.zyx_um[::-1], strict=True)
    )
    return aligned, stage_px, len(mosaic.missing_positions((extent[0], extent[1], extent[2])))


def _beside(stage_px: Mapping[str, PxZYX], aligned: Mapping[str, PxZYX]) -> dict[str, PxZYX]:
    """Positions of the stage, moved together so that they lie on the others in the mean."""
    n = max(1, len(aligned))
    move = [sum(aligned[name][axis] - stage_px[name][axis] for name in aligned) / n for axis in range(3)]
    return {name: (p[0] + move[0], p[1] + move[1], p[2] + move[2]) for name, p in stage_px.items()}


def _stage_um(name: str) -> UmXYZ:
    x, y, z = (int(part) / 10 for part in name.split("_"))
    return x, y, z


def _judged(plan: ReportPlan, found: Measured | None, stated: judge.Stated, n_missing: int) -> tuple[Check, ...]:
    """All checks; those of the voxels only if they could be measured."""
    output, raw = plan.output, plan.raw
    n_files = sum(level.n_files for level in plan.levels)
    checks = judge_light.run(output.run, _changed(output))
    checks.append(judge_light.files(plan.problem, n_files, len(plan.levels)))
    said = {name: _n_lost(each) for name, each in (output.record.get("tiles") or {}).items()}
    counts = {name: tile.scan.n_frames for name, tile in raw.tiles.items()}
    lost = {name: len(each) for name, each in raw.lost.items()}
    checks.append(judge_light.frames(lost, counts, said, {} if found is None else found.lights))
    checks.append(judge.links(stated))
    if found is None:
        return tuple(checks)
    checks.append(lines({name: light.order for name, light in found.lights.items() if light is not None}))
    spacing = found.spacing if isinstance(found.spacing, Spacing) else Spacing(1, 1, 1)
    checks.append(judge.placement(found.placing, spacing, len(output.places), raw.problems, stated))
    same = judge.alignment_file(stated, {place.name: place.origin_px for place in output.places})
    checks += [] if same is None else [same]
    checks.append(judge.in_volume(found.in_volume, len(output.places)))
    if len(output.places) > 1:
        checks += [judge.stage(found.placing, spacing, stated, found.stage_px), judge.voxel_size(stated, spacing)]
        checks += judge_distances.distances(found.placing, spacing, stated, found.stage_px)
    checks.append(judge_distances.scale(checks, spacing, stated))
    full = blinded(found.lights)
    shares, pieces = shares_of(found.details, full), shares_of(found.pieces, full)
    checks += [judge_light.dead(found.lights, shares, pieces), judge_light.saturated(found.lights)]
    if len(output.places) > 1:
        checks += [judge_light.brightness(found.ratios, found.flickers), judge_light.seams(found.seams)]
        checks.append(focus(found.blurs, found.placing.links, spacing))
    destriping = output.record.get("destriping")
    checks += [judge_light.stripes(found.sheets, destriping, output.method), *judge_light.harm(destriping)]
    checks.append(judge_light.flat(output.record.get("flat"), output.parameters))
    checks.append(judge_light.coverage(found.share, n_missing, found.empty_percent, output.method))
    return tuple(checks)


def _n_lost(tile: Mapping[str, Any]) -> int:
    return sum(int((tile.get(name) or {}).get("count", 0)) for name in ("absent_frames", "unreadable_frames"))


def _changed(output: Output) -> list[str]:
    """What has changed of the inputs, during the run as its record says, and since."""
    n_during = len(output.record.get("changed_inputs") or ())
    said = ["while they were read, as the record of the run says"] * n_during
    for entry in output.record.get("inputs") or ():
        path = Path(str(entry.get("path")))
        try:
            status = path.stat()
        except OSError:
            continue  # what is gone cannot be looked at; other checks say so
        known = entry.get("bytes")
        if path.is_file() and known is not None and status.st_size != known:
            said.append(f"{path} had {known:,} bytes, and now has {status.st_size:,}")
    return said


def _record(plan: ReportPlan, checks: Sequence[Check]) -> dict[str, Any]:
    return {
        "program": "gpustitch",
        "version": VERSION,
        "output": plan.output.folder,
        "verdict": verdict(checks),
        "checks": [check.record for check in checks],
    }
