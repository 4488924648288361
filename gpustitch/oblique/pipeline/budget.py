"""What the parts before the pass over the frames hold: flat field, choice of destriping, alignment and brightness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gpustitch.oblique.align.overlaps.camera_pattern import pattern_bytes
from gpustitch.oblique.align.overlaps.candidates import compared_bytes
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.deskew.tile import TOGETHER_PIXELS
from gpustitch.oblique.destripe.correction import Correction, working_bytes
from gpustitch.oblique.destripe.sampled import judging_bytes
from gpustitch.oblique.flat.stage import IlluminationPlan
from gpustitch.oblique.mosaic.placing import PlacedMosaic
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.running.memory import part_of
from gpustitch.running.threads import checked_workers

# Corrected frames that are kept while tiles are compared: at least, and at most unless a quarter of the memory is more.
_LEAST_KEPT_BYTES, _KEPT_BYTES = 1 << 25, 1 << 30
# What a thread holds that compares windows, blobs or patches: 14 MB are counted, and more is measured of the process.
_COMPARING_BYTES = 1 << 26


def likely_correction(options: PipelineOptions, tiles: Sequence[DeobliquePlan]) -> Correction | None:
    """The correction that takes as much memory as that of the run, which frames have yet to tell; None for none."""
    job = tiles[0]
    if options.flat is None and not options.correct_flat:
        return job.correction
    known = options.correction if job.correction is None else job.correction
    return replace(known, flat=np.broadcast_to(np.float32(1), (job.scan.n_rows, job.scan.n_columns)))


def bytes_before(
    options: PipelineOptions,
    tiles: Sequence[DeobliquePlan],
    making: IlluminationPlan | None,
    most: int | None,
    held: int,
) -> int:
    """Bound on what the parts before the pass hold: they come one after the other, so that the largest counts.

    ``most`` bytes may be held, None if that is not known; ``held`` bytes are held already.
    """
    found = [0 if making is None else making.peak_bytes]
    correction = likely_correction(options, tiles)
    if correction is not None and correction.destripes:
        found.append(judging_bytes(tiles[0].frames))
    if len(tiles) > 1 and (options.align_file is None or options.stitch.intensity.is_estimated):
        working = _working_bytes(options, tiles, correction)
        found.append(working + kept_bytes(options, tiles, correction, most, held))
    return max(found)


def kept_bytes(
    options: PipelineOptions, tiles: Sequence[DeobliquePlan], correction: Correction | None, most: int | None, held: int
) -> int:
    """Bytes of corrected frames to keep while tiles are compared: what is left for them, 0 if none need to be.

    Parameters
    ----------
    options, tiles, correction
        The job, and the correction of its frames.
    most, held
        As in :func:`bytes_before`.
    """
    if options.writes_tiles or correction is None or not correction.destripes:
        return 0
    wanted = sum(sorted(math.prod(job.frames.shape) * job.dtype.itemsize for job in tiles)[-2:])
    if most is None:
        return min(wanted, _KEPT_BYTES)
    left = most - held - _working_bytes(options, tiles, correction)
    return max(_LEAST_KEPT_BYTES, min(wanted, max(_KEPT_BYTES, part_of(most, most)), left))


def most_shared_bytes(mosaic: PlacedMosaic, options: PipelineOptions) -> int:
    """Bytes of the rows of frames that two tiles may both show, of the pair that shares most."""
    depth, height, width = options.matching.search_px
    most = 0
    for a, b in itertools.combinations(mosaic.tiles, 2):
        z, y, x = (q - p for p, q in zip(a.origin_px, b.origin_px, strict=True))
        one, other = a.volume.coverage, b.volume.coverage
        if _both(z, one.n_columns, other.n_columns, depth) > 0:
            n_rows = _both(y, one.n_rows, other.n_rows, height)
            n_frames = _both(x - one.shear * z, one.n_frames, other.n_frames, width)
            n_pixels = max(0, n_rows) * max(0, n_frames) * one.n_columns
            most = max(most, 2 * n_pixels * a.volume.dtype.itemsize)
    return most


def _both(apart: float, n: int, m: int, reach: int) -> int:
    """How many of ``n`` places may be among ``m`` that begin ``apart`` places after them, give or take ``reach``."""
    return min(n, math.ceil(min(n, apart + m) - max(0.0, apart)) + 2 * reach)


def _working_bytes(options: PipelineOptions, tiles: Sequence[DeobliquePlan], correction: Correction | None) -> int:
    """What comparing tiles takes beside the frames that are kept."""
    scan, frames = tiles[0].scan, tiles[0].frames
    extent = (scan.n_columns, scan.n_rows, max(job.scan.n_frames for job in tiles))
    of_thread = _COMPARING_BYTES
    if correction is not None and not options.writes_tiles:
        n_pixels = math.prod(frames.shape[1:])
        of_thread += working_bytes(correction, frames, 1) * max(n_pixels, TOGETHER_PIXELS) // n_pixels
    compared = compared_bytes(extent, options.matching.search_px, tiles[0].dtype.itemsize)
    compared = max(compared, pattern_bytes(scan.n_rows, scan.n_columns))
    return compared + checked_workers(options.n_workers) * of_thread
