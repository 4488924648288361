"""What a run will take: files and bytes, disk, memory and time, told before anything is written."""

from __future__ import annotations

import itertools
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpustitch.errors import ParameterError
from gpustitch.io.found import root_of
from gpustitch.io.frames.opening import Slice
from gpustitch.io.frames.readable import Readable
from gpustitch.io.partial import work_place
from gpustitch.io.write.pyramid_layout import level_shape
from gpustitch.model import Mosaic, PlacedVolume
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.flat.stage import IlluminationPlan
from gpustitch.oblique.fuse.stage import StitchPlan
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.pipeline import one_pass, staged
from gpustitch.oblique.pipeline.options import VOLUME, PipelineOptions
from gpustitch.oblique.pipeline.parts import bytes_before
from gpustitch.oblique.stream import stage as stream
from gpustitch.running.memory import SPARE_BYTES, held_bytes, most_bytes
from gpustitch.running.progress import size_text
from gpustitch.running.threads import checked_workers

# Frames that are read, corrected, fused and written to see how long one takes. The ends of a tile cost more than its
# middle, so that a trial, most of which are ends, says too much rather than too little.
_TRIED_FRAMES = 128


@dataclass(frozen=True)
class Foreseen:
    """What a run will take.

    ``volume`` is the fusion, with the tiles where the stage or the given alignment puts them. ``disk_bytes`` and
    ``memory_bytes`` bound what the run takes.
    """

    volume: StitchPlan
    disk_bytes: int
    memory_bytes: int

    def lines(self, options: PipelineOptions, tiles: tuple[DeobliquePlan, ...]) -> Iterator[str]:
        """What the run over these tiles will take, for people; the last line needs a trial run of a few frames."""
        n_frames, frames = sum(job.scan.n_frames for job in tiles), tiles[0].frames
        raw = n_frames * math.prod(frames.shape[1:]) * frames.dtype.itemsize
        size = " x ".join(map(str, frames.shape[1:]))
        yield f"reads   {len(tiles)} tiles, {n_frames:,} frames of {size} {frames.dtype}: {size_text(raw)}"
        way = "by stages, after a volume of each tile" if options.writes_tiles else "in one pass over the frames"
        yield f"fuses   {way}"
        yield from self._of_volume(options)
        free, n_files = shutil.disk_usage(root_of(options.output.absolute())).free, sum(self.volume.n_files)
        yield f"disk    at most {size_text(self.disk_bytes)} in {_files(n_files)}; {size_text(free)} are free"
        most = most_bytes(options.memory_bytes)
        allowed = "" if most is None else f"; it may take {size_text(most)}"
        yield f"memory  about {size_text(self.memory_bytes)}{allowed}"
        duration = _duration(n_frames * _seconds_per_frame(options, tiles))
        yield f"time    at most about {duration} for the pass over the frames; flat field and alignment come before it"

    def _of_volume(self, options: PipelineOptions) -> Iterator[str]:
        spacing = " x ".join(f"{um:.4g}" for um in self.volume.spacing.zyx_um)
        where = "the stage" if options.align_file is None else options.align_file
        yield f"volume  voxels of {spacing} um (z, y, x), the tiles where {where} puts them"
        for level, n_files in enumerate(self.volume.n_files):
            shape = level_shape(self.volume.shape, level)
            n_bytes = math.prod(shape) * self.volume.dtype.itemsize
            text = " x ".join(f"{n:,}" for n in shape)
            yield f"        level {level}: {text} voxels, {size_text(n_bytes)}, {_files(n_files)}"


def fitting(
    options: PipelineOptions,
    mosaic: Mosaic,
    tiles: tuple[DeobliquePlan, ...],
    making: IlluminationPlan | None,
    *,
    may_change: bool,
) -> tuple[PipelineOptions, tuple[DeobliquePlan, ...], Foreseen, str]:
    """The job as it fits into the memory, what it will take, and why it is another than asked for (or empty).

    Fewer threads take less. Where one thread takes too much in one pass, it goes by stages if it ``may_change``.
    ``making`` is the plan to make a flat, if one is made.

    Raises
    ------
    ParameterError
        If no way fits into the memory that is stated.
    """
    most, held = most_bytes(options.memory_bytes), held_bytes() + SPARE_BYTES
    ways = [options] if options.writes_tiles or not may_change else [options, replace(options, staged=True)]
    found, fits = [], False
    for way, n_workers in itertools.product(ways, _halved(checked_workers(options.n_workers))):
        jobs = tuple(job.by(n_workers) for job in tiles)
        way = _by(way, n_workers)
        before = bytes_before(way, jobs, making, most, held)
        found.append(_foreseen(way, mosaic, jobs, before, held))
        if fits := most is None or found[-1][2].memory_bytes <= most:
            break
    asked, chosen = found[0], found[-1] if fits else min(found, key=lambda one: one[2].memory_bytes)
    needed, may = size_text(asked[2].memory_bytes), "" if most is None else size_text(most)
    if not fits and options.memory_bytes is not None:
        least = size_text(chosen[2].memory_bytes)
        raise ParameterError(f"`memory_bytes` is {may}, but the run takes at least about {least}; allow that much")
    if chosen is asked:
        return *asked, ""
    text = f"the run takes about {needed} of memory, and it may take {may}: "
    if chosen[0].staged != asked[0].staged:
        text += "a volume of each tile is written first, as by `staged`; raise `memory_bytes` if there is more"
    elif fits:
        text += f"it goes on with {'1 thread' if chosen[0].n_workers == 1 else f'{chosen[0].n_workers} threads'}"
    else:
        text += "it may fail for want of memory"
    return *chosen, text


def _foreseen(
    options: PipelineOptions, mosaic: Mosaic, tiles: tuple[DeobliquePlan, ...], before: int, held: int
) -> tuple[PipelineOptions, tuple[DeobliquePlan, ...], Foreseen]:
    if options.writes_tiles:
        volume = staged.foreseen(options, mosaic, tiles)
        memory_bytes = held + max(before, volume.memory_bytes, staged.tile_bytes(options, tiles))
        return options, tiles, Foreseen(volume, staged.disk_bytes(options, mosaic, tiles), memory_bytes)
    planned = one_pass.foreseen(options, mosaic, tiles)
    disk_bytes = one_pass.disk_bytes(options, mosaic, tiles)
    return options, tiles, Foreseen(planned.stitch, disk_bytes, held + max(before, planned.memory_bytes))


def _by(options: PipelineOptions, n_workers: int) -> PipelineOptions:
    return replace(options, n_workers=n_workers, stitch=replace(options.stitch, n_workers=n_workers))


def _halved(n: int) -> Iterator[int]:
    while n > 1:
        yield n
        n //= 2
    yield 1


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _seconds_per_frame(options: PipelineOptions, tiles: tuple[DeobliquePlan, ...]) -> float:
    """Seconds for one frame of a run, by a run over a few frames from the middle of the longest tile."""
    job = max(tiles, key=lambda job: job.scan.n_frames)
    n_frames = min(_TRIED_FRAMES, job.scan.n_frames)
    first = (job.scan.n_frames - n_frames) // 2
    frames = Readable(Slice(job.frames, first, first + n_frames), skips=options.on_error == "skip")
    correction = options.correction
    if correction.method == "wavelet":
        correction = replace(correction, wavelet=correction.wavelet.completed)
    scan = replace(job.scan, n_frames=n_frames, absent=())
    tile = ObliqueTile(frames, scan, None if correction.is_identity else correction, device=job.device)
    parent = root_of(work_place(options.output).parent)
    with tempfile.TemporaryDirectory(prefix=f".{options.output.name}.trial-", dir=parent) as folder:
        stitching = replace(options.stitch, output=Path(folder, VOLUME))
        plan = stream.plan(PlacedMosaic((PlacedVolume("trial", tile, (0.0, 0.0, 0.0)),), tile.spacing), stitching)
        start = time.perf_counter()
        stream.run(plan)
        return (time.perf_counter() - start) / n_frames


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
