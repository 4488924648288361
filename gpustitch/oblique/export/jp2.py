"""Frames to JPEG 2000 files."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from gpustitch.io.images.jp2 import DEFAULT_PSNR_DB, check_psnr, encode_jp2
from gpustitch.model.options import documented, option
from gpustitch.oblique.export.stage import ExportOptions, ExportPlan, ExportResult, plan_export, run_export
from gpustitch.running.progress import SILENT, Progress


@documented
@dataclass(frozen=True, kw_only=True)
class Jp2Options(ExportOptions):
    """Which frames to write where, and how faithfully."""

    psnr_db: tuple[float, ...] = option(
        DEFAULT_PSNR_DB,
        flag="--psnr",
        text="rising",
        metavar="DB,DB",
        help="Quality layers: rising peak signal-to-noise ratios in dB, separated by commas. 80 dB is lossy: pixels "
        "are off by 7 counts of 65535 (root mean square), at most by about 35. A last value of 0 is lossless.",
    )


@dataclass(frozen=True)
class Jp2Plan:
    """Frames about to be written, and the quality layers of each file."""

    export: ExportPlan
    psnr_db: tuple[float, ...]


def plan(options: Jp2Options) -> Jp2Plan:
    """Open the input and refuse impossible jobs.

    Raises
    ------
    ParameterError
        If the layers do not rise or the pixels are not whole numbers. Other errors are those of
        :func:`gpustitch.oblique.export.stage.plan_export`.
    """
    psnr_db = check_psnr(options.psnr_db)
    encode = functools.partial(encode_jp2, psnr_db=psnr_db)
    return Jp2Plan(plan_export(options, (".jp2",), encode), psnr_db)


def run(plan: Jp2Plan, progress: Progress = SILENT) -> ExportResult:
    """Write the files.

    Several quality layers are encoded in separate processes, since Pillow's encoder holds the interpreter lock. A
    script that calls this function needs the usual ``if __name__ == "__main__"``.
    """
    export = plan.export
    if len(plan.psnr_db) == 1 or export.n_workers == 1:
        return run_export(export, "Writing JPEG 2000", progress)
    with ProcessPoolExecutor(export.n_workers, multiprocessing.get_context("spawn")) as pool:

        def encode(frame: npt.NDArray[Any]) -> bytes:
            return pool.submit(encode_jp2, frame, plan.psnr_db).result()

        return run_export(dataclasses.replace(export, encode=encode), "Writing JPEG 2000", progress)
