"""Whether tiles side by side lie as far apart as the stage says: the step of the stage and the sheet's angle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gpustitch.model import Spacing
from gpustitch.model.arrays import PxZYX
from gpustitch.oblique.align.solving.stage_model import MEDIAN_UM
from gpustitch.oblique.report.check import NOTHING, Check
from gpustitch.oblique.report.judge import KNOWN_PERCENT, STATED_PERCENT, TWO_SIDED, WRONG_PX, Stated, is_off
from gpustitch.oblique.report.placement import Placing, Remeasured

# So many standard errors from the stage's distances, a scale is wrong. A stage that drifts explains less.
_SIGMAS = 3.0
# Tiles that lie farther off, percent, are in the wrong order or have wrong names: the check of the stage tells that.
_MOST_PERCENT = 25.0
# What is in question along each axis. The links between rows tell the y voxel size.
_AXES = {2: "x step", 0: "z distance"}
_SIZE = "y voxel size"
SCALE = "scale"


def distances(placing: Placing, spacing: Spacing, stated: Stated, stage_px: Mapping[str, PxZYX]) -> list[Check]:
    """A check for x and z each, by tiles that lie side by side along them.

    A wrong step or angle moves all neighbours alike, so that none of them stands out.

    Parameters
    ----------
    placing
        The overlaps, compared anew.
    spacing
        Voxels of the volume.
    stated
        What the run states.
    stage_px
        The stage's position of each tile (z, y, x), voxels.
    """
    if stated.is_given:
        return []
    seen = [k for k in placing.links if k.off_px is not None and {k.fixed, k.moving} <= set(stage_px)]
    right = [link for link in seen if not is_off(link, WRONG_PX)]
    checks = []
    for axis in _AXES:
        along = [link for link in right if _axis_of(link, spacing) == axis]
        if along:
            checks.append(_of_axis(axis, along, spacing, stated, stage_px))
        else:
            text = f"no tiles side by side along {'zyx'[axis]} are compared: nothing measures it"
            checks.append(Check(_AXES[axis], "not measured", text, helps=NOTHING))
    return checks


def scale(checks: Sequence[Check], spacing: Spacing, stated: Stated) -> Check:
    """What the lengths of the volume rest on: what the tiles measure, by the other ``checks``, and what was stated."""
    known = {check.name: check for check in checks}
    angle = stated.parameters.get("angle_deg")
    parts = {
        _AXES[2]: f"x step {spacing.x_um:.4g} um",
        _SIZE: f"y voxel size {spacing.y_um:.4g} um",
        _AXES[0]: "angle" if angle is None else f"angle {float(angle):.4g} degrees",
    }
    open_ = [name for name in parts if name not in known or known[name].state == "not measured"]
    if not math.isclose(spacing.y_um, float(stated.parameters.get("y_voxel_um") or spacing.y_um)):
        open_ = [name for name in open_ if name != _SIZE]  # the volume was made with what the tiles fit
    told = [what for name, what in parts.items() if name not in open_]
    if not open_:
        return Check(SCALE, "pass", f"the tiles measure all that lengths rest on: {', '.join(told)}")
    said = [f"{parts[name]} ({_doubt(known.get(name), spacing, stated)})" for name in open_]
    text = f"lengths rest on what was stated, not measured: {', '.join(said)}"
    text += f"; the tiles measure: {', '.join(told)}" if told else ""
    helps = "compare `x_step_um`, `y_voxel_um` and `angle_deg` with what the microscope was set to"
    return Check(SCALE, "not measured", text, helps=helps)


def _doubt(check: Check | None, spacing: Spacing, stated: Stated) -> str:
    """How far the tiles tell what was stated: what fits them best, if anything does."""
    if check is None or check.value is None or check.limit is None:
        return "nothing measures it"
    if check.name == _SIZE:
        size = stated.alignment.voxel_size_estimate_um if stated.alignment else None
        return "nothing measures it" if size is None else f"these tiles fit {size:.4g} um, +- {check.value:.2g} %"
    half = TWO_SIDED / _SIGMAS * check.limit
    if check.name == _AXES[0]:
        return f"distances along z are off by {check.value:+.1f} %, +- {half:.2g} %"
    return f"these tiles fit {spacing.x_um / (1 + check.value / 100):.4g} um, +- {half:.2g} %"


def _axis_of(link: Remeasured, spacing: Spacing) -> int:
    """The axis (z, y, x) along which the stage has two tiles side by side."""
    return int(np.argmax(np.abs(np.multiply(link.stage_px, spacing.zyx_um))))


def _of_axis(
    axis: int, links: Sequence[Remeasured], spacing: Spacing, stated: Stated, stage_px: Mapping[str, PxZYX]
) -> Check:
    """What the links along an axis say of its scale: by least squares through nothing."""
    name, um = _AXES[axis], spacing.zyx_um[axis]
    told = np.array([link.stage_px[axis] for link in links]) * um
    off = np.array([link.off_px[axis] if link.off_px else 0.0 for link in links]) * um
    there = np.array([link.placed_px[axis] for link in links]) * um - off
    scale = float(told @ there / (told @ told))
    stage_um = float(stated.parameters.get("stage_repeatability_um") or MEDIAN_UM)
    sigma = _standard_error(axis, links, told, stage_um, stage_px)
    percent, doubt = 100 * (scale - 1), max(STATED_PERCENT, 100 * _SIGMAS * sigma)
    farther = "farther apart" if percent > 0 else "nearer together"
    text = (
        f"tiles side by side along {'zyx'[axis]} lie {abs(percent):.1f} % {farther} than the stage says"
        f" (+- {100 * TWO_SIDED * sigma:.2g} %, 95 %)"
    )
    if abs(percent) > _MOST_PERCENT:
        return Check(name, "not measured", f"{text}: too far off for a wrong step or angle", percent, "%", doubt)
    if abs(percent) <= doubt and 100 * TWO_SIDED * sigma > KNOWN_PERCENT:
        helps = "`stage_repeatability_um`, if it is known"
        return Check(
            name, "not measured", f"{text}: {um:.4g} um is as stated, not measured", percent, "%", doubt, helps
        )
    if abs(percent) <= doubt:
        return Check(name, "pass", text, percent, "%", doubt)
    text += f": {um:.4g} um was used, {um / scale:.4g} um would fit"
    helps = f"`x_step_um` {um / scale:.4g}" if axis == 2 else "`angle_deg`, `y_voxel_um`"
    return Check(name, "warn", f"{text}; or the stage's own scale is off", percent, "%", doubt, helps)


def _standard_error(
    axis: int, links: Sequence[Remeasured], told: np.ndarray, stage_um: float, stage_px: Mapping[str, PxZYX]
) -> float:
    """Standard error of the scale if each place of the stage along the axis errs, for all tiles there alike."""
    weights: Counter[int] = Counter()
    for link, distance in zip(links, told.tolist(), strict=True):
        weights[round(stage_px[link.moving][axis])] += distance
        weights[round(stage_px[link.fixed][axis])] -= distance
    return stage_um * math.hypot(*weights.values()) / float(told @ told)
