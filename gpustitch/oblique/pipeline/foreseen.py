"""What a run will take: files and bytes, disk, memory and time, told before anything is written."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gpustitch.errors import ParameterError
from gpustitch.io.atomic import check_free_space
from gpustitch.io.found import root_of
from gpustitch.io.frames.opening import Slice
from gpustitch.io.frames.readable import Readable
from gpustitch.io.partial import work_place
from gpustitch.io.resumable import finished_bytes
from gpustitch.model import Mosaic, PlacedVolume
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.flat.stage import IlluminationPlan
from gpustitch.oblique.fuse.stage import StitchPlan
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.pipeline import formats, one_pass, staged
from gpustitch.oblique.pipeline.budget import bytes_before
from gpustitch.oblique.pipeline.options import VOLUME, PipelineOptions
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream.bands import Cut, cuts_within
from gpustitch.running import foretold
from gpustitch.running.memory import SPARE_BYTES, held_bytes, most_bytes
from gpustitch.running.progress import counted, duration_text, size_text
from gpustitch.running.threads import checked_workers

# Frames that are read, corrected, fused and written to see how long one takes. The ends of a tile cost more than its
# middle, so that a trial, most of which are ends, says too much rather than too little.
_TRIED_FRAMES = 128


@dataclass(frozen=True)
class Foreseen:
    """What a run will take.

    ``volume`` is the fusion, with the tiles where the stage or the given alignment puts them. ``disk_bytes`` and
    ``memory_bytes`` bound what the run takes. ``cut`` is how one pass is fitted into the memory: in ``n_bands``, which
    leave ``kept_bytes`` of corrected frames on the disk for one another.
    """

    volume: StitchPlan
    disk_bytes: int
    memory_bytes: int
    cut: Cut = Cut()
    n_bands: int = 1
    kept_bytes: int = 0

    def lines(self, options: PipelineOptions, tiles: tuple[DeobliquePlan, ...]) -> Iterator[str]:
        """What the run over these tiles will take, for people; the last line needs a trial run of a few frames."""
        n_frames, frames = sum(job.scan.n_frames for job in tiles), tiles[0].frames
        raw = n_frames * math.prod(frames.shape[1:]) * frames.dtype.itemsize
        size = " x ".join(map(str, frames.shape[1:]))
        yield foretold.reads_line(
            f"{counted(len(tiles), 'tiles')}, {counted(n_frames, 'frames')} of {size} {frames.dtype}", raw
        )
        yield f"fuses   {self._way(options)}"
        yield from self._of_volume(options)
        yield from formats.lines(options, self.volume.shape, self.volume.dtype)
        yield foretold.disk_line(options.output, self.disk_bytes, self.n_files(options))
        yield foretold.memory_line(self.memory_bytes, options.memory_bytes)
        duration = duration_text(n_frames * _seconds_per_frame(options, tiles))
        yield f"time    at most about {duration} for the pass over the frames; flat field and alignment come before it"

    def n_files(self, options: PipelineOptions) -> int:
        """At most how many files the volume has in all its formats."""
        in_pass = sum(sum(stored.n_files) for stored in self.volume.fused.stored)
        return in_pass + formats.n_files(options, self.volume.shape)

    def _way(self, options: PipelineOptions) -> str:
        if options.writes_tiles:
            return "by stages, after a volume of each tile"
        return f"in one pass over the frames{self.bands}"

    @property
    def bands(self) -> str:
        """How many bands there are and what they write and read besides, for people; empty if that is nothing."""
        if not self.kept_bytes:
            return ""
        size = size_text(self.kept_bytes)
        return f", in {self.n_bands} bands of rows, which write and read {size} of corrected frames for one another"

    def _of_volume(self, options: PipelineOptions) -> Iterator[str]:
        where = "the stage" if options.align_file is None else options.align_file
        yield f"volume  {foretold.spacing_text(self.volume.spacing)}, the tiles where {where} puts them"
        for number, stored in enumerate(self.volume.fused.stored):
            if number:
                yield f"        {stored.output.name}: {stored.format.title}"
            yield from stored.level_lines()


def check_disk(options: PipelineOptions, foreseen: Foreseen) -> None:
    """Raise OutputError if the disk has no room for what a run is still to write."""
    output = options.output
    check_free_space(output, foreseen.disk_bytes - finished_bytes(output), foreseen.n_files(options))


def fitting(
    options: PipelineOptions,
    mosaic: Mosaic,
    tiles: tuple[DeobliquePlan, ...],
    making: IlluminationPlan | None,
    *,
    may_change: bool,
) -> tuple[PipelineOptions, tuple[DeobliquePlan, ...], Foreseen, str]:
    """The job as it fits into the memory, what it will take, and why it is another than asked for (or empty).

    Fewer processes take less, then half the threads, then shorter runs of frames that are turned at a time, then bands
    of rows, then fewer threads. Where one thread takes too much in one pass, it goes by stages if it ``may_change``.
    ``making`` is the plan to make a flat, if one is made.

    Raises
    ------
    ParameterError
        If no way fits into the memory that is stated.
    """
    most, held = most_bytes(options.memory_bytes), held_bytes() + SPARE_BYTES
    tried = _tried(options, mosaic, tiles, making, most=most, held=held, may_change=may_change)
    asked, last = tried[0], tried[-1]
    fits = most is None or last.foreseen.memory_bytes <= most
    chosen = last if fits else min(tried, key=lambda way: way.foreseen.memory_bytes)
    if not fits and options.memory_bytes is not None:
        may, least = size_text(options.memory_bytes), size_text(chosen.foreseen.memory_bytes)
        raise ParameterError(f"`memory_bytes` is {may}, but the run takes at least about {least}; allow that much")
    why = "" if most is None or chosen is asked else _why(asked, chosen, most, fits=fits)
    return chosen.options, chosen.tiles, chosen.foreseen, why


@dataclass(frozen=True)
class _Way:
    """The job in one of the ways that it may be done, and what that takes."""

    options: PipelineOptions
    tiles: tuple[DeobliquePlan, ...]
    foreseen: Foreseen


def _tried(
    options: PipelineOptions,
    mosaic: Mosaic,
    tiles: tuple[DeobliquePlan, ...],
    making: IlluminationPlan | None,
    *,
    most: int | None,
    held: int,
    may_change: bool,
) -> list[_Way]:
    """Ways that take less and less, as asked for first, up to the first that takes at most ``most`` bytes."""
    found: list[_Way] = []
    for way in [options] if options.writes_tiles or not may_change else [options, replace(options, staged=True)]:
        for cut, n_workers, n_processes in _cuts(way, tiles, None if most is None else most - held):
            jobs, by = tuple(job.by(n_workers) for job in tiles), _by(way, n_workers, n_processes)
            found.append(_foreseen(by, mosaic, jobs, bytes_before(by, jobs, making, most, held), held, cut))
            if most is None or found[-1].foreseen.memory_bytes <= most:
                return found
    return found


def _why(asked: _Way, chosen: _Way, most: int, *, fits: bool) -> str:
    """Why the job is another than asked for, for people."""
    text = (
        f"the run takes about {size_text(asked.foreseen.memory_bytes)} of memory, and it may take {size_text(most)}: "
    )
    if chosen.options.staged != asked.options.staged:
        return f"{text}a volume of each tile is written first, as by `staged`; raise `memory_bytes` if there is more"
    return f"{text}it goes on with {_fewer(asked, chosen)}" if fits else f"{text}it may fail for want of memory"


def _cuts(
    options: PipelineOptions, tiles: tuple[DeobliquePlan, ...], most_bytes: int | None
) -> Iterator[tuple[Cut, int, int]]:
    """What takes less and less memory: how a pass is cut, and the numbers of threads and of processes."""
    *larger, least = cuts = (Cut(),) if options.writes_tiles else cuts_within(most_bytes)
    n_workers = list(_halved(checked_workers(options.n_workers)))
    n_processes = 1 if options.writes_tiles else one_pass.n_processes(options, tiles)
    yield from ((cuts[0], n_workers[0], n) for n in _halved(n_processes) if n > 1)
    yield from itertools.product(larger, n_workers[:2], [1])
    yield from itertools.product([least], n_workers, [1])


def _fewer(asked: _Way, chosen: _Way) -> str:
    """What is less than was asked for, for people."""
    n_workers, n_processes = chosen.options.n_workers, chosen.options.n_processes
    threads = "1 thread" if n_workers == 1 else f"{n_workers} threads"
    if n_processes != asked.options.n_processes:
        threads += " in 1 process" if n_processes == 1 else f" in {n_processes} processes"
    piece = chosen.foreseen.cut.piece
    frames = f", {piece} frames at a time" if piece != asked.foreseen.cut.piece else ""
    return f"{threads}{frames}{chosen.foreseen.bands}"


def _foreseen(
    options: PipelineOptions, mosaic: Mosaic, tiles: tuple[DeobliquePlan, ...], before: int, held: int, cut: Cut
) -> _Way:
    """What a run will take, by stages or in one pass."""
    if options.writes_tiles:
        volume = staged.foreseen(options, mosaic, tiles)
        more = formats.memory_bytes(options, volume.shape, volume.dtype)
        memory_bytes = held + max(before, volume.memory_bytes, staged.tile_bytes(options, tiles), more)
        return _Way(options, tiles, Foreseen(volume, staged.disk_bytes(options, mosaic, tiles), memory_bytes))
    planned = one_pass.foreseen(options, mosaic, tiles, cut)
    disk_bytes = one_pass.disk_bytes(options, mosaic, tiles) + planned.most_kept_bytes
    more = formats.memory_bytes(options, planned.stitch.shape, planned.stitch.dtype)
    memory_bytes = held + max(before, planned.memory_bytes, more)
    seen = Foreseen(planned.stitch, disk_bytes, memory_bytes, cut, len(planned.bands), planned.kept_bytes)
    return _Way(options, tiles, seen)


def _by(options: PipelineOptions, n_workers: int, n_processes: int) -> PipelineOptions:
    stitch = replace(options.stitch, n_workers=n_workers)
    return replace(options, n_workers=n_workers, n_processes=n_processes, stitch=stitch)


def _halved(n: int) -> Iterator[int]:
    while n > 1:
        yield n
        n //= 2
    yield 1


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
