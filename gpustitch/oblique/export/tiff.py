"""Frames to TIFF files."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from gpustitch.io.images.files import TIFF_SUFFIXES, check_compression, encode_tiff
from gpustitch.model.options import documented, option
from gpustitch.oblique.export.stage import ExportOptions, ExportPlan, ExportResult, plan_export, run_export
from gpustitch.running.progress import SILENT, Progress


@documented
@dataclass(frozen=True, kw_only=True)
class TifOptions(ExportOptions):
    """Which frames to write where, and how small."""

    compression: int = option(3, help="zlib level, 0 (none) to 9 (smallest).")


def plan(options: TifOptions) -> ExportPlan:
    """Open the input and refuse impossible jobs, as :func:`gpustitch.oblique.export.stage.plan_export` does."""
    check_compression(options.compression)
    encode = functools.partial(encode_tiff, compression=options.compression)
    return plan_export(options, TIFF_SUFFIXES, encode)


def run(plan: ExportPlan, progress: Progress = SILENT) -> ExportResult:
    """Write the files."""
    return run_export(plan, "Writing TIFF", progress)
