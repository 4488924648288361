"""Reader and writer of napari (``napari.yaml``): volumes with their scale, contrast and levels; camera frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.io.frames.formats import frame_format
from gpustitch.io.volumes.opening import volume_at
from gpustitch.verbs.lazy import LazyVolume
from gpustitch.verbs.opening import open_frames, open_volume
from gpustitch.verbs.volumes import write

Layer = tuple[Any, dict[str, Any], str]
# Files that napari's own readers open as well are left to them.
_FRAMES = (".dcimg",)
# Percentiles of the coarsest level between which it is shown, and voxels of it that are looked at, about.
_CONTRAST = (1.0, 99.8)
_SAMPLED = 1 << 22


def reader_of(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """The reader of a path; None for what is no volume and no file of a camera, and for several paths."""
    if not isinstance(path, str):
        return None
    place = Path(path)
    if volume_at(place) is not None:
        return _volume_layers
    is_frames = place.is_file() and place.suffix.lower() in _FRAMES and frame_format(place) is not None
    return _frame_layers if is_frames else None


def _volume_layers(path: str | Sequence[str]) -> list[Layer]:
    place = Path(str(path))
    full = open_volume(place)
    n_levels = int(getattr(full.volume, "levels", 1))
    levels = [full, *(open_volume(place, level=level) for level in range(1, n_levels))]
    z, y, x = full.spacing_um
    about = {
        "name": place.name,
        "scale": (z, y, x),
        "translate": full.origin_um,
        "units": ("um", "um", "um"),
        "contrast_limits": contrast_of(levels[-1]),
        "multiscale": n_levels > 1,
    }
    return [(levels if n_levels > 1 else full, about, "image")]


def _frame_layers(path: str | Sequence[str]) -> list[Layer]:
    place = Path(str(path))
    return [(open_frames(place), {"name": place.name}, "image")]


def contrast_of(volume: LazyVolume) -> tuple[float, float]:
    """Between which values a volume is shown: percentiles of its voxels that are not 0, of some planes at least."""
    step = max(1, -(-volume.size // _SAMPLED))
    voxels = np.asarray(volume[:: min(step, len(volume))])
    lit = voxels[(voxels != 0) & np.isfinite(voxels)]
    if not lit.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(lit, _CONTRAST))
    return (low, high) if high > low else (low, low + 1.0)


def write_image(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write an image layer, with its scale in um; of levels the finest."""
    finest = data[0] if meta.get("multiscale") else data
    scale = tuple(float(v) for v in meta.get("scale", (1.0, 1.0, 1.0)))[-3:]
    write(path, finest, (scale[0], scale[1], scale[2]))
    return [path]
