"""Positions of the sections of a series, from their images or from a similarity matrix."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpustitch.array import Device, choose_device
from gpustitch.errors import DamagedInputError, MosaicError, ParameterError
from gpustitch.io.atomic import atomic_file, check_apart, check_file_output, record_of
from gpustitch.io.planes.adapters import ChosenPlanes
from gpustitch.io.planes.opening import plane_files, plane_sources
from gpustitch.io.provenance import provenance
from gpustitch.model.arrays import Floats, Integers
from gpustitch.model.options import documented, nested, option
from gpustitch.ops.patches import PatchSimilarities
from gpustitch.running.inputs import Inputs, check_files
from gpustitch.running.options import settled
from gpustitch.running.progress import SILENT, Progress, listed
from gpustitch.running.threads import checked_workers
from gpustitch.sections.faults.find import SectionFault, find_faults
from gpustitch.sections.faults.report import doubt_about, fault_lines, gap_doubt, gap_record
from gpustitch.sections.model import Estimate, EstimateOptions, Preset
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.figure import check_figure, draw_report
from gpustitch.sections.positions.file import ZPositions, new_record, read_z_positions, write_z_positions
from gpustitch.sections.positions.fit_report import fit_lines, fit_record, tell_fit
from gpustitch.sections.positions.quality import check_evidence
from gpustitch.sections.positions.reordered import Reordered, breaks_text, reordered
from gpustitch.sections.positions.seriation import runs_text
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.bands import half_strip_of, undefined_planes
from gpustitch.sections.similarity.file import (
    SimilarityFile,
    is_similarity_file,
    read_pair_weights,
    read_similarity,
)
from gpustitch.sections.similarity.options import (
    SETTLED_BY_LOOK,
    SimilarityOptions,
    SimilarityPlan,
    comparison,
)
from gpustitch.sections.similarity.stage import checked_max_lag

_LEAST_SECTIONS = 3
# How long structures are within the planes, and how similar parts of these are; None where that is not known.
Texture = tuple[Floats | None, PatchSimilarities | None]
# Pixels along the longer side of planes whose pairs tell an order.
COARSE = 256
# Options that do not change the positions, and those of the estimate, which are recorded one by one.
_NOT_RECORDED = ("planes", "output", "report", "overwrite", "estimate")


@documented
@dataclass(frozen=True)
class ZSpacingOptions(SimilarityOptions):
    """What to estimate positions from, and how; ``output`` and ``report`` None write no file.

    ``max_lag`` is the range of the estimate too, ``estimate.max_lag`` is not looked at. Without ``start`` positions
    start at the section numbers. With ``compat`` planes are compared as they are where options say "auto". What
    z-spacing wrote may be given for ``start`` and ``section_weights``.
    """

    input: Path = option(
        is_argument=True,
        metavar="IN",
        help=f"Stack: {plane_sources()}; or similarities: .npz with 'matrix' or 'half_strip', a TIFF of one page.",
    )
    output: Path | None = option(
        None,
        flag="--output -o",
        is_needed=True,
        help="CSV to write: columns of Fiji's z-spacing, uncertainty, weight. OUTPUT.json says from what.",
    )
    max_lag: int | None = option(
        None,
        flag="--range",
        panel="Estimate",
        help="Neighborhood range: greatest distance of two compared sections, in sections.",
        shown="10, or less",
    )
    estimate: EstimateOptions = nested(EstimateOptions, without=("max_lag",))
    preset: Preset = option(
        "fiji", panel="Estimate", metavar="NAME", help="Plugin whose defaults the estimate has: fiji or trakem2."
    )
    report: Path | None = option(None, help="Picture to draw: .pdf, .png or .svg.", shown="none")
    start: Path | None = option(
        None, panel="Estimate", help="CSV of positions to start from.", shown="as they were recorded"
    )
    section_weights: Path | None = option(
        None, panel="Estimate", help="CSV whose column 'weight' says how much each section counts.", shown="1"
    )
    pair_weights: Path | None = option(
        None,
        panel="Estimate",
        help="How much each pair of sections counts, at least 0: .npz with 'matrix' or 'half_strip', or TIFF.",
        shown="1",
    )

    @property
    def inputs(self) -> list[Path]:
        """What is read."""
        given = (self.input, self.mask, self.start, self.section_weights, self.pair_weights)
        return [path for path in given if path is not None]


@dataclass(frozen=True)
class ZSpacingPlan:
    """Checked work: the ``half_strip`` of a file (``repaired`` as in `SimilarityFile`), or ``images`` to compare."""

    asked: ZSpacingOptions
    device: Device
    n_workers: int
    estimate: EstimateOptions
    images: SimilarityPlan | None = None
    half_strip: Floats | None = None
    repaired: tuple[int, ...] = ()
    texture: Texture = (None, None)
    start: Floats | None = None
    weights: Floats | None = None
    pair_weights: Floats | None = None
    inputs: Inputs = Inputs()


@dataclass(frozen=True)
class ZSpacingResult:
    """Similarities, float64 (n, range + 1), the estimate from them, and what is wrong with the sections."""

    half_strip: Floats
    result: Estimate
    faults: tuple[SectionFault, ...]

    @property
    def z(self) -> ZPositions:
        """The result as it is written."""
        found = self.result
        return ZPositions(found.positions, found.order, found.uncertainty, found.weights)

    @property
    def spacing(self) -> Floats:
        """Distances of neighbours along z, in sections: (n - 1,)."""
        return np.diff(self.result.positions[self.result.order])

    @property
    def moved(self) -> tuple[int, ...]:
        """Sections that come at another place along z than they were recorded at."""
        return tuple(int(i) for i in np.flatnonzero(self.z.rank != np.arange(len(self.result.order))))

    @property
    def summary(self) -> str:
        """What was found, one line each for spacing, order and uncertainty, and for each type of fault."""
        least, low, middle, high, most = np.percentile(self.spacing, (0, 5, 50, 95, 100))
        spread = f"median {middle:.3f}, 5 to 95 % {low:.3f} to {high:.3f}, least {least:.3f}, most {most:.3f}"
        lines = [
            f"spacing of {len(self.result.order)} sections, in nominal ones: {spread}",
            f"sections reordered: {len(self.moved)}" + (f" ({listed(self.moved)})" if self.moved else ""),
        ]
        known = np.flatnonzero(np.isfinite(self.result.uncertainty))
        if known.size:
            worst = known[np.argmax(self.result.uncertainty[known])]
            lines.append(
                f"standard error of a position: median {np.median(self.result.uncertainty[known]):.3f}, most "
                f"{self.result.uncertainty[worst]:.3f} (section {worst})"
            )
        return "\n".join(lines + fit_lines(self.result) + fault_lines(self.faults))


def plan(asked: ZSpacingOptions) -> ZSpacingPlan:
    """Check everything and open the input, before anything is computed.

    Raises
    ------
    ParameterError
        If a parameter is out of range, there are fewer than three sections, or ``max_lag`` is beyond the stack or what
        the file holds.
    InputMissingError, DamagedInputError, MosaicError, OutputExistsError, OutputError
        If an input cannot be read or is not what it should be, or an output exists or cannot be written.
    MissingExtraError, DeviceError
        If a report is asked for and cannot be drawn, or the device cannot be used.
    """
    if asked.report is not None:
        check_figure(asked.report)
    for path in (asked.output, asked.output and record_of(asked.output), asked.report):
        if path is not None:
            check_file_output(path, overwrite=asked.overwrite)
            check_apart(path, [*plane_files(asked.input), *asked.inputs])
    if asked.output is not None and asked.report is not None and asked.output.absolute() == asked.report.absolute():
        raise ParameterError(f"`output` and `report` are both {asked.output}")
    estimate = asked.estimate.with_preset(asked.preset)
    device = choose_device(asked.device, asked.device_memory_bytes)
    n_workers = checked_workers(asked.n_workers)
    path = asked.input
    check_files(**{name: getattr(asked, name) for name in ("mask", "start", "section_weights", "pair_weights")})
    outputs = [path for path in (asked.output, asked.report) if path is not None]
    inputs = Inputs.of((p for p in asked.inputs if asked.planes is None or p != path), apart=outputs)
    if asked.planes is None and is_similarity_file(path):
        given = read_similarity(path)
        prior = _prior(asked, given.number)
        max_lag = _max_lag_in(asked, given)
        estimate = replace(estimate, max_lag=max_lag)
        strip = _strip_in(given, max_lag, path)
        of_file = strip, given.repaired, (given.in_plane_px, given.patches)
        return ZSpacingPlan(asked, device, n_workers, estimate, None, *of_file, *prior, inputs)
    # Fiji's plugin compares planes as they are.
    off = {name: "off" for name in SETTLED_BY_LOOK if asked.estimate.compat and getattr(asked, name) == "auto"}
    images = replace(similarity.plan(comparison(asked, device=device, **off)), inputs=Inputs())  # told once
    prior = _prior(asked, images.planes.shape[0])
    estimate = replace(estimate, max_lag=images.max_lag)
    return ZSpacingPlan(asked, device, n_workers, estimate, images, None, (), (None, None), *prior, inputs)


def run(plan: ZSpacingPlan, progress: Progress = SILENT) -> ZSpacingResult:
    """Compare the sections if that is not done, estimate positions, look for faults, write what was asked for.

    Raises
    ------
    AlignmentError
        If no section has a similarity to any other, or positions grow beyond all bounds.
    DamagedInputError, OutputError, DeviceError
        If the input cannot be read, an output cannot be written, or the device fails.
    """
    half_strip, compared, texture = _half_strip(plan, progress)
    order, compared = _reordered(plan, half_strip, compared, progress)
    if order is None:
        # Textures are smooth along the recorded order.
        result = _estimate(plan, half_strip, progress, texture if plan.start is None else (None, None))
        faults = tuple(find_faults(half_strip, result.positions))
    else:
        weights, of_pairs = order.of_sections(plan.weights), order.of_sections(plan.pair_weights)
        there = _estimate(replace(plan, weights=weights, pair_weights=of_pairs), order.half_strip, progress)
        result = order.as_recorded(there)
        faults = order.faults_as_recorded(find_faults(order.half_strip, there.positions))
    found = ZSpacingResult(half_strip, result, faults)
    tell_fit(result, plan.estimate, set(undefined_planes(half_strip)), progress)
    for doubt in filter(None, (doubt_about(faults, len(result.positions)), gap_doubt(faults))):
        progress.warn(doubt)
    with contextlib.ExitStack() as stack:
        # A report that cannot be drawn leaves no positions either.
        if plan.asked.report is not None:
            partial = stack.enter_context(atomic_file(plan.asked.report, overwrite=plan.asked.overwrite))
            draw_report(partial, half_strip, result, faults, plan.asked.report.suffix.lower()[1:])
        _write(plan, found, {**compared, **plan.inputs.tell(progress)})
    return found


def _reordered(
    plan: ZSpacingPlan, half_strip: Floats, compared: dict[str, object], progress: Progress
) -> tuple[Reordered | None, dict[str, object]]:
    """The order that images tell where the recorded one does not hang together; how those that count were compared."""
    if plan.start is not None or plan.estimate.compat or not plan.estimate.allow_reordering:
        return None, compared
    breaks, images = breaks_text(half_strip), plan.images
    apart = f"the series does not hang together: hardly any similarity across {breaks}"
    if images is None:
        if breaks:
            progress.warn(f"{apart}. If blocks of sections are out of order, give the images, or `start`")
        return None, compared
    records = [compared]

    def compare(sections: Integers, max_lag: int) -> Floats:
        options = replace(images.options, planes=ChosenPlanes(images.planes, sections), max_lag=max_lag)
        if max_lag > images.max_lag:
            # Many pairs of a few sections: coarse pixels do.
            factor = max(max(images.shape) // COARSE, 1)
            options = replace(options, scale=(1 / (images.factors[0] * factor), 1 / (images.factors[1] * factor)))
        done = similarity.run(similarity.plan(options))
        records.append(done.record)
        return done.half_strip

    try:
        found = reordered(half_strip, compare)
    except (DamagedInputError, ParameterError) as error:
        progress.warn(f"the order of sections was not looked for: {error}")
        return None, compared
    if found is not None:
        progress.warn(f"the recorded order does not hang together; as the images tell, it is {runs_text(found.order)}")
    elif breaks:
        progress.warn(apart)
    # The whole series is compared last.
    return found, compared if found is None else records[-1]


def check_number(number: int) -> None:
    """Raise ParameterError if there are too few sections to tell distances of some from those of others."""
    if number < _LEAST_SECTIONS:
        raise ParameterError(f"positions are estimated of at least {_LEAST_SECTIONS} sections, not of {number}")


def _prior(asked: ZSpacingOptions, number: int) -> tuple[Floats | None, Floats | None, Floats | None]:
    """Positions to start from, weights of sections and of pairs, of as many sections as there are."""
    check_number(number)
    start = None if asked.start is None else read_z_positions(asked.start).positions
    weights = None if asked.section_weights is None else read_z_positions(asked.section_weights).weights
    for path, values in ((asked.start, start), (asked.section_weights, weights)):
        if values is not None and len(values) != number:
            raise MosaicError(f"{path} is about {len(values)} sections, {asked.input} has {number}")
    if start is not None and np.ptp(start) == 0:
        raise DamagedInputError(f"{asked.start} has all sections at the position {start[0]:g}; nothing starts there")
    if weights is not None and not (weights >= 0).all():
        raise DamagedInputError(f"{asked.section_weights} does not say a weight of at least 0 for each section")
    of_pairs = None if asked.pair_weights is None else read_pair_weights(asked.pair_weights, number)
    return start, weights, of_pairs


def _max_lag_in(asked: ZSpacingOptions, given: SimilarityFile) -> int:
    """The range asked for, or what the file holds up to the default one."""
    max_lag = checked_max_lag(asked.max_lag, given.number)
    if max_lag <= given.max_lag:
        return max_lag
    if asked.max_lag is None:
        return given.max_lag
    raise ParameterError(f"`max_lag` is {max_lag}, but {asked.input} holds similarities within {given.max_lag} only")


def _strip_in(given: SimilarityFile, max_lag: int, path: Path) -> Floats:
    """The half strip of a file, as wide as is needed; DamagedInputError if its matrix is not symmetric."""
    if given.is_half_strip:
        return np.ascontiguousarray(given.values[:, : max_lag + 1])
    strip = half_strip_of(given.values, max_lag)
    if not np.allclose(strip, half_strip_of(given.values.T, max_lag), rtol=0, atol=1e-6, equal_nan=True):
        hint = "; a TIFF of one page is taken for one, a stack has several" if path.suffix.lower() != ".npz" else ""
        raise DamagedInputError(
            f"{path}: the similarity matrix is not symmetric within {max_lag} of its diagonal{hint}"
        )
    return strip


def _half_strip(plan: ZSpacingPlan, progress: Progress) -> tuple[Floats, dict[str, object], Texture]:
    """The similarities, compared now or read before; how, for the record; what the texture is.

    What is odd about similarities of a file is told.
    """
    if plan.images is not None:
        found = similarity.run(plan.images, progress)
        return found.half_strip, found.record, (found.in_plane_px, found.patches)
    assert plan.half_strip is not None
    asked = plan.asked
    if idle := asked.of_images:
        progress.warn(f"{asked.input} holds similarities, not images: {' and '.join(idle)} change nothing")
    if plan.repaired:
        progress.warn(f"similarity to itself was NaN and is taken as 1: sections {listed(plan.repaired)}")
    if undefined := undefined_planes(plan.half_strip):
        progress.warn(f"without similarity to any other: sections {listed(undefined)}")
    return plan.half_strip, {}, plan.texture


def _estimate(plan: ZSpacingPlan, half_strip: Floats, progress: Progress, texture: Texture = (None, None)) -> Estimate:
    """The estimate; AlignmentError if nothing counts, or positions grow beyond all bounds."""
    said_by = [path for path in (plan.asked.section_weights, plan.asked.pair_weights) if path is not None]
    check_evidence(half_strip, plan.estimate.minimum_correlation, plan.weights, plan.pair_weights, said_by)
    progress.start("Positions", plan.estimate.outer_iterations, "iterations")
    try:
        return estimate_positions(
            half_strip,
            plan.estimate,
            starting_coordinates=plan.start,
            section_weights=plan.weights,
            pair_weights=plan.pair_weights,
            in_plane_px=texture[0],
            patches=texture[1],
            progress=lambda _number, _move: progress.advance(),
        )
    finally:
        progress.finish()


def _write(plan: ZSpacingPlan, found: ZSpacingResult, more: dict[str, object]) -> None:
    """Write the positions and, beside them, where they come from, if a file was asked for."""
    asked = plan.asked
    if asked.output is not None:
        # The record gets its name last: no other run writes the two meanwhile.
        with new_record(asked.output, _record(plan, found) | more, found.faults, overwrite=asked.overwrite):
            write_z_positions(asked.output, found.z, overwrite=asked.overwrite)


def _record(plan: ZSpacingPlan, found: ZSpacingResult) -> dict[str, object]:
    """What is written beside the positions, apart from faults: where they come from, and how they were found."""
    asked = plan.asked
    used = settled(asked, plan.device, plan.n_workers)
    given = {key: value for key, value in vars(used).items() if key not in _NOT_RECORDED}
    parameters = {**given, **vars(plan.estimate)}
    return {
        **provenance(parameters, [path for path in asked.inputs if path.is_file()]),
        "iterations": found.result.iterations,
        "largest_move_sections": found.result.largest_move,
        **fit_record(found.result),
        **gap_record(found.faults),
        "reordered": list(found.moved),
        "without_votes": found.result.without_votes.tolist(),
    }
