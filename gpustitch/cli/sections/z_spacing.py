"""``gpustitch z-spacing``: where the sections of a series lie along z."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gpustitch.cli.device_options import DeviceMemory, DeviceName, parsed_bytes, taken_device
from gpustitch.cli.frame_options import AllowTruncated
from gpustitch.cli.sections.similarity import Chunk, Mask, Memory, Scale, parsed_scale
from gpustitch.cli.terminal import Overwrite, Quiet, TerminalProgress, Workers, reported_errors
from gpustitch.errors import ParameterError
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions import stage as z_spacing
from gpustitch.sections.similarity.stage import SimilarityOptions

_DEFAULTS = EstimateOptions()
# Switches have two names; beside them the long names of numbers would be cut off at 80 columns.
_ESTIMATE, _SWITCHES = "Estimate", "Estimate, on or off"
# What nothing but --compat looks at, and what it does not look at.
_COMPAT_ONLY = ("outer_regularization", "inner_iterations", "inner_regularization")
_NOT_COMPAT = ("tolerance", "spacing_ratio")


class Regularization(StrEnum):
    """What keeps the series in place."""

    border = "border"
    identity = "identity"
    none = "none"


def _option(name: str, text: str, default: object = None, metavar: str | None = None) -> Any:
    shown = "" if default is None else f" (default: {default})"
    return typer.Option(*name.split(), help=text + shown, rich_help_panel=_ESTIMATE, metavar=metavar)


def _switch(name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=_SWITCHES)


def command(
    input_: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Stack (TIFF, folder of images, precomputed, OME-Zarr, DCIMG, .npy), or similarities: .npz with "
            "'matrix' or 'half_strip', a TIFF of one page.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="CSV to write: columns of Fiji's z-spacing, uncertainty, weight. OUTPUT.json says from what.",
        ),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", help="Picture to draw: .pdf, .png or .svg (default: none).")
    ] = None,
    compat: Annotated[
        bool, _switch("--compat", "Repeat Fiji's z-spacing step by step, weaknesses and all (default: no).")
    ] = False,
    max_lag: Annotated[
        int | None,
        _option(
            "--range",
            "Neighborhood range: greatest distance of two compared sections, in sections (default: 10, or less).",
        ),
    ] = None,
    outer_iterations: Annotated[
        int | None,
        _option(
            "--outer-iterations",
            "Number of updates of the positions; without --compat the most of them.",
            _DEFAULTS.outer_iterations,
        ),
    ] = None,
    outer_regularization: Annotated[
        float | None,
        _option(
            "--outer-regularization",
            "Part of each move that is not made, 0 to below 1; --compat only.",
            _DEFAULTS.outer_regularization,
        ),
    ] = None,
    inner_iterations: Annotated[
        int | None,
        _option(
            "--inner-iterations",
            "Number of sweeps over the quality of sections in each update; --compat only.",
            _DEFAULTS.inner_iterations,
        ),
    ] = None,
    inner_regularization: Annotated[
        float | None,
        _option(
            "--inner-regularization",
            "Part of its last quality that each sweep keeps, 0 to 1; --compat only.",
            _DEFAULTS.inner_regularization,
        ),
    ] = None,
    allow_reordering: Annotated[
        bool, _switch("--allow-reordering/--no-reordering", "Whether sections may change places.")
    ] = _DEFAULTS.allow_reordering,
    force_monotonicity: Annotated[
        bool,
        _switch(
            "--force-monotonicity/--no-force-monotonicity",
            "Leave out similarities that rise with distance; --compat only.",
        ),
    ] = _DEFAULTS.force_monotonicity,
    minimum_section_thickness: Annotated[
        float | None,
        _option(
            "--minimum-section-thickness",
            "Least distance of neighbours along z, in sections, 0 to below 1.",
            _DEFAULTS.minimum_section_thickness,
        ),
    ] = None,
    minimum_correlation: Annotated[
        float | None,
        _option(
            "--minimum-correlation",
            "Similarities (correlations, at most 1) up to this one do not count.",
            _DEFAULTS.minimum_correlation,
        ),
    ] = None,
    coordinate_regularizer: Annotated[
        float | None,
        _option(
            "--coordinate-regularizer",
            "How much sections are drawn to where they start (as recorded, or --start), 0 (not) to 1 (fully).",
            _DEFAULTS.coordinate_regularizer,
        ),
    ] = None,
    regularization: Annotated[
        Regularization,
        _option(
            "--regularization",
            "What keeps the series in place: its first and last section (border), the best line through all positions "
            "(identity), or nothing (none).",
            metavar="KIND",
        ),
    ] = Regularization(_DEFAULTS.regularization),
    local_estimates: Annotated[
        int | None,
        _option(
            "--local-estimates",
            "Number of curves of similarity against distance along a series that changes.",
            _DEFAULTS.local_estimates,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        _option(
            "--tolerance", "Stop when no section moves further, in sections; not with --compat.", _DEFAULTS.tolerance
        ),
    ] = None,
    spacing_ratio: Annotated[
        float | None,
        _option(
            "--spacing-ratio",
            "Greatest ratio of the mean spacings of two stretches that is believed; not with --compat.",
            _DEFAULTS.spacing_ratio,
        ),
    ] = None,
    start: Annotated[
        Path | None, _option("--start", "CSV of positions to start from (default: as they were recorded).")
    ] = None,
    section_weights: Annotated[
        Path | None,
        _option("--section-weights", "CSV whose column 'weight' says how much each section counts (default: 1)."),
    ] = None,
    pair_weights: Annotated[
        Path | None,
        _option(
            "--pair-weights",
            "How much each pair of sections counts, at least 0: .npz with 'matrix' or 'half_strip', or TIFF "
            "(default: 1).",
        ),
    ] = None,
    scale: Scale = "1",
    mask: Mask = None,
    chunk: Chunk = None,
    memory: Memory = "1G",
    n_workers: Workers = None,
    allow_truncated: AllowTruncated = False,
    overwrite: Overwrite = False,
    device: DeviceName = "auto",
    device_memory: DeviceMemory = None,
    quiet: Quiet = False,
) -> None:
    """Find where each section of a series lies along z, from how alike it is to those near it.

    Positions are in sections, numbered from 0. Damaged, constant, duplicate, missing and swapped sections are named.

    Example: gpustitch z-spacing sections.tif --output z.csv --range 20 --report z.pdf
    """
    given = {
        "outer_iterations": outer_iterations,
        "outer_regularization": outer_regularization,
        "inner_iterations": inner_iterations,
        "inner_regularization": inner_regularization,
        "minimum_section_thickness": minimum_section_thickness,
        "minimum_correlation": minimum_correlation,
        "coordinate_regularizer": coordinate_regularizer,
        "local_estimates": local_estimates,
        "tolerance": tolerance,
        "spacing_ratio": spacing_ratio,
    }
    stated: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    idle = [f"--{name.replace('_', '-')}" for name in (_NOT_COMPAT if compat else _COMPAT_ONLY) if name in stated]
    with reported_errors():
        progress = TerminalProgress(quiet=quiet)
        stated |= {"allow_reordering": allow_reordering, "force_monotonicity": force_monotonicity}
        estimate = _options(regularization=regularization.value, compat=compat, **stated)
        if idle:
            progress.warn(f"{'with' if compat else 'without'} --compat nothing is changed by {', '.join(idle)}")
        images = SimilarityOptions(
            input=input_,
            max_lag=max_lag,
            scale=parsed_scale(scale),
            mask=mask,
            chunk=chunk,
            memory_bytes=parsed_bytes(memory, "--memory"),
            device=taken_device(device, device_memory, progress),
            n_workers=n_workers,
            allow_truncated=allow_truncated,
        )
        request = z_spacing.ZSpacingOptions(
            images, output, estimate, report, start, section_weights, overwrite, pair_weights
        )
        plan = z_spacing.plan(request)
        if plan.images is not None:
            progress.note(f"at most {plan.images.peak_bytes / 2**20:.0f} MiB of planes are held at a time")
        print(z_spacing.run(plan, progress).summary)


def _options(**values: Any) -> EstimateOptions:
    """The options, or ParameterError that names the one on the command line."""
    try:
        return EstimateOptions(**values)
    except ParameterError as error:
        name, _, rest = str(error).partition(" ")
        raise ParameterError(f"--{name.replace('_', '-')} {rest}") from error
