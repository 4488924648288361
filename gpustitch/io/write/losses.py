"""What a format does not hold of a volume besides its voxels, and where else that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.io.registry import either
from gpustitch.io.volumes.sidecar import SIDECAR
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import OUTPUT_FORMATS
from gpustitch.model.arrays import Floats

# By parameter of a writer what it is called in messages.
_NAMES = {
    "spacing": "voxel size",
    "origin_um": "place of the first voxel",
    "affine_lps_mm": "directions of the axes",
    "channel": "name of the channel",
}
# Axes that deviate no more from those of the coordinates lie along them.
_ALONG = 1e-4


def has_directions(affine_lps_mm: Floats | None) -> bool:
    """Whether a matrix says more than voxel size and place: axes that do not lie along x, y and z of the patient."""
    if affine_lps_mm is None:
        return False
    axes = affine_lps_mm[:3, :3] / np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    return bool(np.abs(axes - np.eye(3)).max() > _ALONG)


def not_held(
    format: OutputFormat, dtype: npt.DTypeLike, codec: str | None, stated: Mapping[str, Any]
) -> tuple[str, ...]:
    """Which of the things that are ``stated`` of a volume a format does not hold.

    ``stated`` has values of :attr:`OutputFormat.holds` by name; None stands for what is not known.
    """
    held = format.holds(np.dtype(dtype), codec)
    known = {name for name, value in stated.items() if value is not None}
    if not has_directions(stated.get("affine_lps_mm")):
        known.discard("affine_lps_mm")
    return tuple(name for name in _NAMES if name in known - held)


def lost_text(format: OutputFormat, path: Path, names: Sequence[str], dtype: npt.DTypeLike, *, has_record: bool) -> str:
    """What an output does not state, which formats do, and where it is all the same; in a line for people.

    ``has_record`` says that it has a sidecar.
    """
    listed = " and ".join(_NAMES[name] for name in names)
    others = [f.title for f in OUTPUT_FORMATS if set(names) <= f.holds(np.dtype(dtype), None)]
    able = f"; {either(others)} would" if others else ""
    kept = f"; {SIDECAR if format.resumes else f'{path.name}.json'} does" if has_record else ""
    return f"{path}: {format.title} does not state the {listed}{able}{kept}"
