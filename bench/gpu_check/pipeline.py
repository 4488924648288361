"""Step: the whole pipeline: frames per second of each part, and its share of the disk's rate, measured beside it."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.channel import ERRORS, PIXEL_UM, STEP_UM, StageTimes, floor_seconds, make_channel, worst_error_px
from bench.gpu_check.step import Asked, device_of
from gpustitch.array import Device
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet_options import NOTCH_LENGTH_PX, NOTCH_LEVELS, WaveletOptions
from gpustitch.oblique.fuse.options import StitchOptions
from gpustitch.oblique.pipeline import stage
from gpustitch.oblique.pipeline.options import PipelineOptions

N_FRAMES, SIZE = 256, 1024
SMALL_N_FRAMES, SMALL_SIZE = 176, 256
MOST_ERROR_PX = 0.25
# Filters whose strength is stated: frames without stripes would be left alone otherwise.
WAYS = {
    "none": Correction("none"),
    "guarded notch": Correction("wavelet", WaveletOptions(notch_length_px=NOTCH_LENGTH_PX, level=NOTCH_LEVELS)),
    "lightsheet": Correction("lightsheet"),
    "wavelet": Correction("wavelet", WaveletOptions(128, 512, wavelet="db5")),
}


@dataclass(frozen=True)
class _Channel:
    """Tiles, their true positions (voxels) and what a run over them is told."""

    folder: Path
    true: np.ndarray
    n_frames: int
    matching: MatchOptions
    device: Device

    @property
    def n_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*.dcimg"))


def pipeline(asked: Asked) -> None:
    """For each way of destriping a row for each part and one for all; tiles must come to lie where they belong."""
    _, device = device_of()
    n_frames, size, ways = N_FRAMES, SIZE, WAYS
    matching = MatchOptions()
    if asked.is_small:
        n_frames, size, ways = SMALL_N_FRAMES, SMALL_SIZE, {"none": WAYS["none"]}
        matching = MatchOptions(sample_count=12, window_px=(15, 15, 15))
    work = Path(tempfile.mkdtemp(prefix="gpu-check-pipeline-"))
    try:
        channel = _Channel(*make_channel(work / "channel", n_frames, size), len(ERRORS) * n_frames, matching, device)
        asked.add("camera files", frames=channel.n_frames, frame=f"{size} x {size}", GB=channel.n_bytes / 1e9)
        took, worst = 0.0, 0.0
        for way, correction in ways.items():
            if asked.left_s < took:
                raise AssertionError(f"no time was left from {way} on")
            begin = time.perf_counter()
            worst = max(worst, _one(asked, channel, way, correction, work))
            took = time.perf_counter() - begin
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if worst > MOST_ERROR_PX:
        raise AssertionError(f"tiles were placed wrongly by up to {worst:.2f} voxels")


def _one(asked: Asked, channel: _Channel, way: str, correction: Correction, work: Path) -> float:
    """Rows of one way of destriping; the largest error of a position in voxels."""
    times, out = StageTimes(), work / "out"
    options = PipelineOptions(
        channel.folder, out, STEP_UM, PIXEL_UM, correction=correction, matching=channel.matching,
        stitch=StitchOptions(out, levels=5), preset="plain", device=channel.device, report=False,
    )  # fmt: skip
    begin = time.perf_counter()
    result = stage.run(stage.plan(replace(options, restart=True)), times)
    end = time.perf_counter()
    assert result.alignment is not None
    error = worst_error_px(result.alignment, channel.true)
    written = sum(file.stat().st_size for file in (out / "volume").rglob("*") if file.is_file())
    shutil.rmtree(out)
    floor_s = _floor_seconds(channel, written, work / "floor")
    seconds, n_bytes = end - begin, channel.n_bytes + written
    for part, part_s in times.seconds(end).items():
        asked.add(f"{way}: {part}", {"s": part_s, "frames_per_s": channel.n_frames / part_s})
    asked.add(
        f"{way}: whole",
        {
            "s": seconds,
            "frames_per_s": channel.n_frames / seconds,
            "GB_per_s": n_bytes / seconds / 1e9,
            "disk_GB_per_s": n_bytes / floor_s / 1e9,
            "of_disk_rate": floor_s / seconds,
        },
        worst_position_error_px=round(error, 3),
    )
    return error


def _floor_seconds(channel: _Channel, written: int, target: Path) -> float:
    """Seconds to read and write the bytes of a run and no more; past the page cache where the disk can."""
    try:
        return floor_seconds(channel.folder, written, target, direct=True)
    except OSError:
        target.unlink(missing_ok=True)
        return floor_seconds(channel.folder, written, target, direct=False)
