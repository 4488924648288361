"""The pipeline from raw frames: tiles are aligned and fused as frames are read, and no volume of a tile is written."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpustitch.array import leave_memory
from gpustitch.io.frames.opening import cautions
from gpustitch.io.frames.readable import Lost
from gpustitch.model import Mosaic
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.deskew.tile import FrameCache, ObliqueTile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.fuse import stage as stitch
from gpustitch.oblique.fuse.options import Intensity
from gpustitch.oblique.pipeline import formats, shares
from gpustitch.oblique.pipeline.budget import kept_bytes, likely_correction, most_shared_bytes
from gpustitch.oblique.pipeline.options import VOLUME, PipelineOptions
from gpustitch.oblique.pipeline.work import Made, Work, aligned, place_of, placed, tree_of
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream.bands import Cut
from gpustitch.oblique.stream.jobs import Runner
from gpustitch.oblique.stream.stage import StreamPlan
from gpustitch.running.cluster import joined
from gpustitch.running.memory import give_back, held_bytes, most_bytes
from gpustitch.running.parts import Parts
from gpustitch.running.processes import run_jobs
from gpustitch.running.progress import Progress, tracked
from gpustitch.running.threads import checked_workers

# Of two tiles that are larger, parts of frames are corrected for comparison, unless what they share is smaller.
_LONG_BYTES = 1 << 30
# So many bytes of frames are worth processes, which take a second to start.
_MUCH_BYTES = 1 << 30
# Units for each worker of a cluster, at most and at least: one that is lost takes little with it.
_UNITS_EACH, _LEAST_UNITS_EACH = 4, 2


def disk_bytes(options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan]) -> int:
    """Bound on the disk space that the run needs: tiles lie as the stage or the given alignment says, or almost so."""
    at = placed(options, mosaic, volumes_of(tiles, None), options.align_file)
    is_sure = options.align_file is not None or len(tiles) == 1
    z, y, x = (n + (0 if is_sure else off) for n, off in zip(at.shape, options.matching.search_px, strict=True))
    each = stitch.output_bytes(at, (z, y, x), tiles[0].dtype, options.stitch)
    return (1 + len(options.stitch.beside)) * each + formats.more_bytes(options, (z, y, x), tiles[0].dtype)


def n_processes(options: PipelineOptions, tiles: Sequence[DeobliquePlan]) -> int:
    """How many processes of this machine share the threads: as stated, else one for each if there is much to do.

    With a GPU there is one process for each.
    """
    if options.cluster is not None:
        return 1
    if tiles[0].device.is_cuda:
        n_devices = 1 + len(tiles[0].device.others)
        return min(n_devices, options.n_processes or n_devices)
    n_workers = checked_workers(options.n_workers)
    if options.n_processes is not None:
        return min(options.n_processes, n_workers)
    raw_bytes = sum(math.prod(job.frames.shape) * job.frames.dtype.itemsize for job in tiles)
    return n_workers if raw_bytes >= _MUCH_BYTES else 1


def foreseen(options: PipelineOptions, mosaic: Mosaic, tiles: Sequence[DeobliquePlan], cut: Cut) -> StreamPlan:
    """The fusion, with the tiles where the stage or the given alignment puts them."""
    at = placed(options, mosaic, volumes_of(tiles, likely_correction(options, tiles)), options.align_file)
    stitching = replace(options.stitch, output=place_of(options.output), overwrite=True)
    n = n_processes(options, tiles)
    return stream.plan(at, stitching, cut=cut, n_units=n, least_units=n)


def made(work: Work, progress: Parts) -> Made:
    """Align and fuse the tiles; frames are corrected and de-obliqued as they are read."""
    options, mosaic = work.options, work.mosaic
    for job in work.tiles:
        for caution in (*cautions(job.options.input), job.caution):
            if caution:
                progress.warn(caution)
    if options.on_error == "skip":
        with progress.part(shares.DAMAGE):
            _find_unreadable(work.tiles, progress)
    correction = None if work.correction.is_identity else work.correction
    alignment, said, intensity = _compare(work, correction, progress)
    at = placed(options, mosaic, volumes_of(work.tiles, correction), alignment)
    source = tree_of(options, options.channel, alignment)
    stitching = replace(options.stitch, output=work.run.folder / VOLUME, intensity=intensity, overwrite=True)
    with progress.part(shares.VOLUME), _runner(work) as (least, n, run):
        planned = stream.plan(at, stitching, source=source, cut=work.cut, n_units=n, least_units=least)
        # What fits another time may be files of another size; those that are begun stay as they are.
        file_bytes = work.run.once("files", lambda: {"file_bytes": planned.stitch.file_bytes})["file_bytes"]
        if file_bytes != planned.stitch.file_bytes:
            cut = replace(work.cut, file_bytes=file_bytes)
            planned = stream.plan(at, stitching, source=source, cut=cut, n_units=n, least_units=least)
        if len(planned.units) <= len(work.tiles[0].device.others):
            progress.warn(f"only {len(planned.units)} of the devices are of use: few files to share, or little memory")
        stitched = stream.run(planned, progress, work.run.journal, work.run.scratch, run)
    lost = {tile.name: Lost.of(job.frames) for tile, job in zip(mosaic.tiles, work.tiles, strict=True)}
    for job, of_tile in zip(work.tiles, lost.values(), strict=True):
        for line in of_tile.lines():
            progress.warn(f"{job.options.input}: {line}")
    return Made(stitched, said, lost)


@contextlib.contextmanager
def _runner(work: Work) -> Iterator[tuple[int, int, Runner]]:
    """Into how many units to cut the fusion, least and most, and what runs them: a cluster, or processes."""
    if work.options.cluster is None:
        n, device = n_processes(work.options, work.tiles), work.tiles[0].device
        if device.others:
            leave_memory(device)
        yield n, n, functools.partial(run_jobs, environments=device.environments())
        return
    with joined(work.options.cluster) as cluster:
        yield _LEAST_UNITS_EACH * cluster.n_workers, _UNITS_EACH * cluster.n_workers, cluster.run_jobs


def _compare(work: Work, correction: Correction | None, progress: Parts) -> tuple[Path | None, str, Intensity]:
    """Align the tiles, and even out their brightness if that is asked for; frames kept for that are then forgotten."""
    options, mosaic = work.options, work.mosaic
    with progress.part(shares.ALIGNMENT, is_kept=work.run.has("alignment")):
        alignment, said = _aligned(work, None if correction is None else correction.to_compare, progress)
    give_back()
    intensity = options.stitch.intensity
    if intensity.is_estimated:

        def estimate() -> dict[str, Any]:
            seen = placed(options, mosaic, _compared(work, correction), alignment).tiles
            n_workers = checked_workers(options.n_workers)
            return {"last_to_first": stitch.estimated_last_to_first(seen, intensity, n_workers, progress)}

        with progress.part(shares.BRIGHTNESS, is_kept=work.run.has("brightness")):
            ratio = work.run.once("brightness", estimate)["last_to_first"]
        give_back()
        intensity = replace(intensity, is_estimated=False, last_to_first=ratio)
    return alignment, said, intensity


def volumes_of(tiles: Sequence[DeobliquePlan], correction: Correction | None) -> list[ObliqueTile]:
    """The tiles as volumes that de-oblique what is asked of them."""
    cache = FrameCache()
    return [_tile(job, correction, cache) for job in tiles]


def _aligned(work: Work, correction: Correction | None, progress: Progress) -> tuple[Path | None, str]:
    volumes = zip(work.mosaic.tiles, _compared(work, correction), strict=True)
    return aligned(work, progress, volumes={tile.name: volume for tile, volume in volumes})


def _compared(work: Work, correction: Correction | None) -> list[ObliqueTile]:
    """The tiles for comparison.

    Where a filter works on each row alone, only rows that overlaps show are corrected, and kept. Otherwise whole frames
    are; or, of tiles so long that most frames are looked at once, parts of them. That must not depend on the memory at
    hand, as parts show a little else than whole frames.
    """
    options, tiles = work.options, work.tiles
    cache = FrameCache(kept_bytes(options, tiles, correction, most_bytes(options.memory_bytes), held_bytes()))
    is_long = 2 * max(math.prod(job.frames.shape) * job.dtype.itemsize for job in tiles) > _LONG_BYTES
    keeps_bands = most_shared_bytes(placed(options, work.mosaic, volumes_of(tiles, None), None), options) <= _LONG_BYTES
    return [_tile(job, correction, cache, near_enough=is_long, keeps_bands=keeps_bands) for job in tiles]


def _tile(
    job: DeobliquePlan,
    correction: Correction | None,
    cache: FrameCache,
    *,
    near_enough: bool = False,
    keeps_bands: bool = False,
) -> ObliqueTile:
    """A tile whose frames are corrected as they are read, and kept in ``cache``."""
    return ObliqueTile(
        job.frames,
        job.scan,
        correction,
        cache=cache,
        near_enough=near_enough,
        keeps_bands=keeps_bands,
        device=job.device,
        name=str(job.options.input),
    )


def _find_unreadable(tiles: Sequence[DeobliquePlan], progress: Progress) -> None:
    """Read every frame once: holes must be known before tiles are weighed beside them."""
    n_frames = sum(job.scan.n_frames for job in tiles)
    numbers = ((job, number) for job in tiles for number in range(job.scan.n_frames))
    for job, number in tracked(numbers, progress, "looking for damage", n_frames, "frames"):
        job.frames.read(number, number + 1)
    for job in tiles:
        Lost.of(job.frames).check_any_left(job.options.input)
