"""Positions of the sections of a series that differ over each section, from their images.

The planes are read once, but for a look at some. The whole planes and the windows around the points of a grid are
compared as they come; then positions are estimated from the whole planes, at each point, and made one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from gpustitch.array import on
from gpustitch.errors import DamagedInputError, MosaicError, ParameterError
from gpustitch.io.atomic import check_apart, check_file_output
from gpustitch.io.planes.opening import plane_files
from gpustitch.model.arrays import Floats
from gpustitch.model.options import documented, nested, option
from gpustitch.running import options as shared
from gpustitch.running.inputs import Inputs
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import ordered_map
from gpustitch.sections.grid.file import ZGrids, write_z_grids
from gpustitch.sections.grid.levels import levels_of, pooled, pooled_overlap, pooling, refined
from gpustitch.sections.grid.points import (
    BATCH_BYTES,
    Deviations,
    GridPositions,
    GridWindows,
    grid_positions,
    grid_windows,
    local_estimate,
)
from gpustitch.sections.grid.stream import WindowStream
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.file import ZPositions, read_z_positions
from gpustitch.sections.positions.stage import check_number
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.blocks import default_block, peak_bytes
from gpustitch.sections.similarity.compared import ComparedPlanes, preparation
from gpustitch.sections.similarity.options import SimilarityOptions, SimilarityPlan, comparison

# Updates of local positions, which start near their end. They are taken to be within sqrt((1 - w) / w) = 1.2 sections
# of where they start: windows of little texture do not stray.
LOCAL_ITERATIONS = 15
LOCAL_REGULARIZER = 0.4
# Planes of a window correlated at once, to be tried until the memory suffices.
_BLOCKS = (64, 32, 16, 8, 4)
# Options of the estimate that the command offers: local positions do not heed the others.
_ASKED = ("allow_reordering", "regularization", "local_estimates", "minimum_correlation")


@documented
@dataclass(frozen=True)
class ZGridOptions(SimilarityOptions):
    """What to estimate local positions from, and how; ``output`` None writes no file.

    ``max_lag`` is the range of the estimate too. ``estimate`` is that of whole sections. Local ones make 15 updates
    and keep the order. They start at the global positions or those of a coarser grid. A coordinate regularizer of at
    least 0.4 holds them there.
    """

    output: Path | None = option(
        None,
        is_argument=True,
        is_needed=True,
        metavar="OUT",
        help="File to write, .npz: positions, uncertainty (n, gy, gx).",
    )
    max_lag: int | None = option(
        None, flag="--range", help="Greatest distance of sections compared.", shown="10, or what there is"
    )
    memory_bytes: int = shared.memory(2 << 30)
    grid: tuple[int, int] = option((16, 16), text="counts xy", help="Points along x and y.")
    window: tuple[int, int] | None = option(
        None,
        text="counts xy",
        help="Pixels of IN around each point that are compared.",
        shown="up to the next points",
    )
    positions: Path | None = option(None, help="CSV of z-spacing that points deviate from.", shown="estimated")
    estimate: EstimateOptions = nested(
        EstimateOptions,
        without=tuple(field.name for field in fields(EstimateOptions) if field.name not in _ASKED),
        allow_reordering={"panel": None, "help": "Whether sections may change places, all over at once."},
        regularization={
            "panel": None,
            "metavar": None,
            "help": "Of the positions of whole sections: the first and last one stay (border), the best line "
            "(identity).",
        },
        local_estimates={"panel": None, "help": "Curves along a series whose similarity changes on the way."},
        minimum_correlation={"panel": None, "help": "Similarities up to this one do not count."},
    )


@dataclass(frozen=True)
class ZGridPlan:
    """Checked work.

    ``windows`` are of planes as they are compared, ``block`` is the planes of a window correlated at once,
    ``positions`` are the global ones if given, ``peak_bytes`` is the most host memory that is held.
    """

    asked: ZGridOptions
    images: SimilarityPlan
    windows: GridWindows
    block: int
    estimate: EstimateOptions
    positions: ZPositions | None
    peak_bytes: int
    inputs: Inputs = Inputs()

    @property
    def summary(self) -> str:
        """What the work takes, in one line."""
        return f"at most {self.peak_bytes / 2**20:.0f} MiB are held at a time"


@dataclass(frozen=True)
class ZGridResult:
    """Positions of n sections as a whole and at the points of the grid.

    Attributes
    ----------
    positions, uncertainty
        Global ones, float64 (n,), and their standard errors, NaN where they are not known; in sections.
    local
        Those at the points.
    row_centers, column_centers
        float64 (gy,) and (gx,): where the points lie, in pixels of the stack as it was recorded, 0 at the centre of
        the first pixel.
    """

    positions: Floats
    uncertainty: Floats
    local: GridPositions
    row_centers: Floats
    column_centers: Floats

    @property
    def grids(self) -> ZGrids:
        """The result as it is written; a position is uncertain by its section's and by its deviation's error."""
        error = np.hypot(self.uncertainty[:, None, None], self.local.uncertainty)
        return ZGrids(self.local.positions, self.row_centers, self.column_centers, error)

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        n, gy, gx = self.local.positions.shape
        away = np.abs(self.local.positions - self.positions[:, None, None])
        return (
            f"{n} sections at {gx} x {gy} points; from the global positions they deviate by "
            f"{math.sqrt(float(np.mean(away**2))):.3f} sections (RMS), at most {away.max():.3f}"
        )


def plan(asked: ZGridOptions) -> ZGridPlan:
    """Check everything and open the input, before anything is computed.

    Raises
    ------
    ParameterError
        If a parameter is out of range, there are fewer than three sections, or the memory does not suffice. Also if
        the grid does not fit the planes.
    InputMissingError, DamagedInputError, MosaicError, OutputExistsError, OutputError
        If an input cannot be read or is not what it should be, or the output exists or cannot be written.
    DeviceError
        If the device cannot be used.
    """
    if asked.estimate.compat:
        raise ParameterError("local positions are not part of Fiji's plugin: there is no `compat` for them")
    if asked.output is not None:
        check_file_output(asked.output, overwrite=asked.overwrite)
        check_apart(
            asked.output, [*plane_files(asked.input), *(path for path in (asked.mask, asked.positions) if path)]
        )
    images = similarity.plan(comparison(asked))
    n = images.planes.shape[0]
    check_number(n)
    given = None if asked.positions is None else read_z_positions(asked.positions)
    if given is not None and len(given.positions) != n:
        raise MosaicError(f"{asked.positions} is about {len(given.positions)} sections, {asked.input} has {n}")
    window = asked.window
    if window is not None:
        window = (-(-window[0] // images.factors[0]), -(-window[1] // images.factors[1]))
    windows = grid_windows(images.shape, asked.grid, window)
    estimate = replace(asked.estimate, max_lag=images.max_lag)
    return replace(_cut(asked, images, windows, estimate, given), inputs=images.inputs)


def run(plan: ZGridPlan, progress: Progress = SILENT) -> ZGridResult:
    """Compare, estimate, smooth, and write the grids if a file was asked for.

    Raises
    ------
    AlignmentError
        If the sections cannot be placed as a whole.
    DamagedInputError, OutputError, DeviceError
        If the input cannot be read, the output cannot be written, or the device fails.
    """
    if plan.positions is not None and plan.estimate.regularization != "border":
        progress.warn("with `positions` nothing is changed by `regularization`")
    whole, strips = _strips(plan, progress)
    placed = plan.positions or estimate_positions(whole, plan.estimate)
    positions = placed.positions
    local = _local(plan, positions, strips, progress)
    _tell(local, progress)
    points = zip((plan.windows.row_centers, plan.windows.column_centers), plan.images.factors, strict=True)
    centers = [(center + 0.5) * factor - 0.5 for center, factor in points]
    found = ZGridResult(positions, placed.uncertainty, local, *centers)
    plan.inputs.tell(progress)
    if plan.asked.output is not None:
        write_z_grids(plan.asked.output, found.grids, overwrite=plan.asked.overwrite)
    return found


def _cut(
    asked: ZGridOptions,
    images: SimilarityPlan,
    windows: GridWindows,
    estimate: EstimateOptions,
    given: ZPositions | None,
) -> ZGridPlan:
    """Blocks of the windows, and what the memory leaves to the whole planes: the largest blocks that fit."""
    n, max_lag, memory = images.planes.shape[0], images.max_lag, asked.memory_bytes
    on_host = not images.device.is_cuda
    some_excluded = images.planes.dtype.kind == "f" or asked.may_leave_out
    points = math.prod(windows.grid)
    # Half strips and what joins them, deviations, errors and what looks at them; then matrices of the smoothing.
    fixed = 8 * n * points * (2 * (max_lag + 1) + 24) + 48 * points**2 + min(4 * BATCH_BYTES, 32 * n * points**2)
    own = 0
    for block in (b for b in _BLOCKS if b <= default_block(max_lag)):
        rings = 0
        for rows, columns in windows.windows:
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            if on_host and not windows.is_whole((rows, columns)):
                rings += peak_bytes(shape, max_lag, block=block, some_excluded=some_excluded)
        own = fixed + rings
        if own >= memory:
            continue
        try:
            rest = similarity.plan(replace(images.options, planes=images.planes, memory_bytes=memory - own))
        except ParameterError:
            continue
        return ZGridPlan(asked, rest, windows, block, estimate, given, rest.peak_bytes + own)
    raise ParameterError(
        f"{points} windows on planes of {images.shape[0]} x {images.shape[1]} pixels within {max_lag} take "
        f"{(own + images.peak_bytes) / 1e9:.2f} GB, more than the {memory / 1e9:.2f} GB that are kept for them; pass "
        f"`memory_bytes` {math.ceil((own + images.peak_bytes) / 2**30)}G, `scale` 0.5 or a smaller `window` or "
        "`max_lag`"
    )


def _strips(plan: ZGridPlan, progress: Progress) -> tuple[Floats, list[Floats]]:
    """Half strips of the whole planes and of each window, from one pass over the planes."""
    images = plan.images
    windows = [window for window in plan.windows.windows if not plan.windows.is_whole(window)]
    everything = (slice(0, images.shape[0]), slice(0, images.shape[1]))
    parts = [everything, *windows]
    n = images.planes.shape[0]
    # Points stay where they are: the frame does not follow planes that drift away.
    planes = ComparedPlanes(images, preparation(images, progress), follows=False)
    progress.start("Similarity", n, "planes")
    try:
        with on(images.device):
            mask = planes.mask
            streams = [WindowStream(images, part, plan.block, mask) for part in parts]
        for chunk in planes:
            deque(ordered_map(partial(WindowStream.push, planes=chunk), streams, images.n_workers), 0)
            progress.advance(chunk.shape[0])
        with on(images.device):
            found = [stream.finish() for stream in streams]
    finally:
        progress.finish()
    planes.tell(progress)
    if plan.positions is None and not np.isfinite(found[0][:, 1:]).any():
        raise DamagedInputError(
            f"no two of the {n} planes of {images.planes.name} within {images.max_lag} have a similarity: they are "
            "constant or have fewer than two used pixels"
        )
    rest = iter(found[1:])
    return found[0], [found[0] if plan.windows.is_whole(w) else next(rest) for w in plan.windows.windows]


def _local(plan: ZGridPlan, positions: Floats, strips: list[Floats], progress: Progress) -> GridPositions:
    """Positions at the points: from those of a coarse grid to finer ones, each starting from the last."""
    grid, n = plan.windows.grid, len(positions)
    levels = levels_of(grid)
    local: GridPositions | None = None
    thickness = plan.estimate.minimum_section_thickness
    progress.start("Local positions", sum(gy * gx for gy, gx in levels), "points")
    try:
        for level in levels[:-1]:
            shares = pooling(grid, level)
            start = _start(positions, local, level)
            found = _deviations(plan, positions, start, [partial(pooled, strips, share) for share in shares], progress)
            overlap = pooled_overlap(plan.windows.overlap, shares)
            last, local = local, grid_positions(positions, found, overlap, start=start, thickness=thickness)
            local = _no_surer(local, last)
        start = _start(positions, local, grid)
        found = _deviations(plan, positions, start, [partial(_itself, strip) for strip in strips], progress)
    finally:
        progress.finish()
    progress.start("Smoothing", n, "sections")
    try:
        overlap = plan.windows.overlap
        fine = grid_positions(positions, found, overlap, start=start, thickness=thickness, progress=progress.advance)
    finally:
        progress.finish()
    return _no_surer(fine, local)


def _no_surer(local: GridPositions, coarser: GridPositions | None) -> GridPositions:
    """The same, with no smaller errors than what it started from: a grid may show nothing more than a coarser one."""
    if coarser is None:
        return local
    before = refined(coarser.uncertainty, local.positions.shape[1:])
    return replace(local, uncertainty=np.where(local.without_texture, 0, np.maximum(local.uncertainty, before)))


def _start(positions: Floats, local: GridPositions | None, grid: tuple[int, int]) -> Floats:
    """Positions (n, gy, gx) to start from: those of a coarser grid, or the global ones."""
    if local is None:
        return np.broadcast_to(positions[:, None, None], (len(positions), *grid))
    return refined(local.positions, grid)


def _itself(strip: Floats) -> Floats:
    """A window's own half strip, where those of coarser grids are first made by :func:`pooled`."""
    return strip


def _deviations(
    plan: ZGridPlan, positions: Floats, start: Floats, strips: list[Callable[[], Floats]], progress: Progress
) -> Deviations:
    """What each window says; nothing for one that is constant, and no deviation for one that is the whole plane."""
    options = replace(
        plan.estimate,
        outer_iterations=min(plan.estimate.outer_iterations, LOCAL_ITERATIONS),
        coordinate_regularizer=max(plan.estimate.coordinate_regularizer, LOCAL_REGULARIZER),
    )
    n, gy, gx = start.shape
    starts = start.reshape(n, -1)
    values = np.zeros((n, gy * gx))
    errors = np.full(values.shape, np.inf)
    # One point is the whole plane, unless its window was made smaller.
    whole = [gy * gx == len(plan.windows.windows) and plan.windows.is_whole(w) for w in plan.windows.windows]

    def estimate(k: int) -> tuple[Floats, Floats] | None:
        if whole[k]:
            return np.zeros(n), np.ones(n)
        return local_estimate(strips[k](), positions, options, starts[:, k])

    for k, found in enumerate(ordered_map(estimate, range(gy * gx), plan.images.n_workers)):
        if found is not None:
            values[:, k], errors[:, k] = found
        progress.advance()
    return Deviations(values.reshape(start.shape), errors.reshape(start.shape))


def _tell(local: GridPositions, progress: Progress) -> None:
    """Say how many points got no positions of their own, and how many positions were left out."""
    alone, points = np.count_nonzero(local.without_texture), local.without_texture.size
    if alone:
        progress.warn(
            f"{alone} of {points} points have constant windows, no texture, or too few similarities to tell an error: "
            "they get the global positions"
        )
    if local.outliers.any():
        share = 100 * float(local.outliers.mean())
        progress.note(f"{np.count_nonzero(local.outliers)} local positions ({share:.2g} %) disagree with those around")
