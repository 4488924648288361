"""Frames to TIFF (zlib 3) and to JPEG 2000 (six layers up to 80 dB), CPU time per camera pixel.

The reference encodes TIFF with zlib and JPEG 2000 with OpenJPEG; both are measured here on the same frames. The floor
is a copy of the frame in memory.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from bench.common import memcpy_bytes_per_s, report
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.jp2 import DEFAULT_PSNR_DB
from gpustitch.oblique.export import jp2 as dcimg2jp2
from gpustitch.oblique.export import tiff as dcimg2tif
from gpustitch.oblique.export.stage import ExportResult

N_FRAMES, N_ROWS, N_COLUMNS = 96, 1024, 1024


def tissue_frame() -> npt.NDArray[np.uint16]:
    """Smooth tissue on an empty background, with shot and read noise."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((N_ROWS, N_COLUMNS)), 20)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    light = 100 + 1600 * np.clip(smooth - 0.4, 0, 1)
    return np.clip(rng.poisson(light) + rng.normal(0, 3, light.shape), 0, 65535).astype(np.uint16)


def cpu_s(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock and CPU seconds of a call, with the processes that it starts, and its result."""
    wall, before = time.perf_counter(), sum(os.times()[:4])
    result = function()
    return time.perf_counter() - wall, sum(os.times()[:4]) - before, result


def reference_jp2(frame: npt.NDArray[np.uint16]) -> int:
    """Size of the frame in the reference's encoding: OpenJPEG with the 5/3 wavelet."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality_mode": "dB", "quality_layers": list(DEFAULT_PSNR_DB), "irreversible": False}
    Image.fromarray(frame).save(buffer, "JPEG2000", **options)
    return buffer.tell()


def main() -> None:
    """Measure and report."""
    frame = tissue_frame()
    pixels = N_FRAMES * frame.size
    floor_ns = frame.itemsize * 1e9 / memcpy_bytes_per_s()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.dcimg"
        write_dcimg(raw, (np.roll(frame, 7 * i, 1) for i in range(N_FRAMES)), N_FRAMES, frame.shape)

        def tif() -> ExportResult:
            options = dcimg2tif.TifOptions(input=raw, output_pattern=f"{folder}/%d.tif", overwrite=True)
            return dcimg2tif.run(dcimg2tif.plan(options))

        def jp2() -> ExportResult:
            options = dcimg2jp2.Jp2Options(input=raw, output_pattern=f"{folder}/%d.jp2", overwrite=True)
            return dcimg2jp2.run(dcimg2jp2.plan(options))

        references: dict[str, Callable[[], int]] = {
            "tif, zlib 3": lambda: len(zlib.compress(frame.tobytes(), 3)),
            "jp2, 6 layers": lambda: reference_jp2(frame),
        }
        for name, ours in (("tif, zlib 3", tif), ("jp2, 6 layers", jp2)):
            wall, cpu, result = cpu_s(ours)
            _, reference, size = min((cpu_s(references[name]) for _ in range(4)), key=lambda measured: measured[1])
            rows.append(
                {
                    "case": name,
                    "CPU ns/pixel": cpu * 1e9 / pixels,
                    "wall ns/pixel": wall * 1e9 / pixels,
                    "floors": cpu * 1e9 / pixels / floor_ns,
                    "CPU ms/frame": cpu * 1e3 / N_FRAMES,
                    "reference codec ms/frame": reference * 1e3,
                    "factor": reference * N_FRAMES / cpu,
                    "size": result.output_bytes / N_FRAMES / size,
                }
            )
    report("dcimg2tif", rows)


if __name__ == "__main__":
    main()
