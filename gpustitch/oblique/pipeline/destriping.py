"""How the pipeline destripes: as it was told, or as frames of its tiles ask for; and what that does to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gpustitch.errors import DamagedInputError
from gpustitch.io.provenance import plain
from gpustitch.io.resumable import Run
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.sampled import Judged, judged, sampled_frames
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.running.progress import Progress


def judged_correction(
    run: Run, correction: Correction, tiles: Sequence[DeobliquePlan], progress: Progress
) -> tuple[Correction, Mapping[str, Any]]:
    """Choose the filter from frames of all tiles if it is left open, measure it on them, and say what came of it.

    Returns
    -------
    tuple
        The correction, and what provenance keeps of the judgement.
    """

    def judge() -> dict[str, Any]:
        found = _judged(correction, tiles, progress)
        wavelet = dataclasses.asdict(found.correction.wavelet)
        return {"method": found.correction.method, "wavelet": wavelet, "record": plain(found.record)}

    facts = run.once("destriping", judge)
    wavelet = WaveletOptions(**{**facts["wavelet"], "strengths": tuple(facts["wavelet"]["strengths"])})
    return replace(correction, method=facts["method"], wavelet=wavelet), facts["record"]


def _judged(correction: Correction, tiles: Sequence[DeobliquePlan], progress: Progress) -> Judged:
    choose = correction.method == "wavelet" and correction.wavelet.is_open
    frames = []
    if choose or correction.destripes:
        frames = sampled_frames([job.frames for job in tiles], lambda frame: _is_usable(frame, correction))
    found = judged(frames, correction, tiles[0].device, choose=choose)
    found.tell(progress)
    return found


def _is_usable(frame: HostArray, correction: Correction) -> bool:
    try:
        correction.check_values(frame)
    except DamagedInputError:
        return False  # the tile's run names it
    return True
