"""How the pipeline destripes: as it was told, or as frames of its tiles ask for; and what that does to them."""

from __future__ import annotations

from collections.abc import Sequence

from gpustitch.array import Device
from gpustitch.errors import DamagedInputError
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.deskew.stage import DeobliquePlan
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.sampled import Judged, judged, sampled_frames
from gpustitch.running.progress import Progress


def judged_correction(
    correction: Correction, tiles: Sequence[DeobliquePlan], device: Device, progress: Progress
) -> Judged:
    """Choose the filter from frames of all tiles if it is left open, measure it on them, and say what came of it."""
    choose = correction.method == "wavelet" and correction.wavelet.is_open
    frames = []
    if choose or correction.destripes:
        frames = sampled_frames([job.frames for job in tiles], lambda frame: _is_usable(frame, correction))
    found = judged(frames, correction, device, choose=choose)
    found.tell(progress)
    return found


def _is_usable(frame: HostArray, correction: Correction) -> bool:
    try:
        correction.check_values(frame)
    except DamagedInputError:
        return False  # the tile's run names it
    return True
