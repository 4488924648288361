"""Reader and writer of napari (``napari.yaml``): volumes with their scale, contrast and levels; camera frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import ParameterError
from gpustitch.io.frames.formats import frame_format
from gpustitch.io.units import um_per
from gpustitch.io.volumes.opening import choices_at, volume_at
from gpustitch.verbs.lazy import LazyVolume
from gpustitch.verbs.opening import open_frames, open_volume
from gpustitch.verbs.volumes import write

Layer = tuple[Any, dict[str, Any], str]
# Files that napari's own readers open as well are left to them.
_FRAMES = (".dcimg",)
# Percentiles of the coarsest level between which it is shown, and voxels of it that are looked at, about.
_CONTRAST = (1.0, 99.8)
_SAMPLED = 1 << 22
_COLORS = ("magenta", "green", "cyan", "yellow", "red", "blue")
_MOST_LAYERS = 32
_AXES = 3


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
    """A layer for each channel and time, on top of each other."""
    place = Path(str(path))
    choices = choices_at(volume_at(place) or place)
    if len(choices) > _MOST_LAYERS:
        raise ParameterError(f"{place} holds {len(choices)} volumes, and napari would show a layer for each; open one")
    if len(choices) <= 1:
        return [_layer(place, place.name, {})]
    colors = [_COLORS[k % len(_COLORS)] for k in range(len(choices))]
    return [
        _layer(place, name, {"choice": choice}, colormap=color, blending="additive")
        for (name, choice), color in zip(choices, colors, strict=True)
    ]


def _layer(place: Path, name: str, how: dict[str, Any], **shown: str) -> Layer:
    full = open_volume(place, **how)
    n_levels = int(getattr(full.volume, "levels", 1))
    levels = [full, *(open_volume(place, level=level, **how) for level in range(1, n_levels))]
    about = {
        "name": name,
        "scale": full.spacing_um,
        "translate": full.origin_um,
        "units": ("um", "um", "um"),
        "contrast_limits": contrast_of(levels[-1]),
        "multiscale": n_levels > 1,
        **shown,
    }
    return levels if n_levels > 1 else full, about, "image"


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
    """Write an image layer, with its scale and place in um; of levels the finest, of two axes one plane.

    Raises
    ------
    ParameterError
        If the layer has colors, or is turned or slanted, which no volume states.
    """
    finest = data[0] if meta.get("multiscale") else data
    if meta.get("rgb"):
        raise ParameterError("the layer has colors; split it into its channels first")
    n = len(finest.shape)
    for name in ("rotate", "shear", "affine"):
        if _is_bent(meta, name):
            raise ParameterError(f"the layer has `{name}`, which a volume cannot state; take it off first")
    units = [um_per(str(unit)) or 1.0 for unit in meta.get("units") or ("um",) * n]
    scale, place = (
        [float(v) * um for v, um in zip(meta.get(name, (default,) * n), units, strict=True)]
        for name, default in (("scale", 1.0), ("translate", 0.0))
    )
    if n < _AXES:
        finest, scale, place = np.asarray(finest)[None], [1.0, *scale], [0.0, *place]
    how = {"origin_um": place[-_AXES:]} if any(place[-_AXES:]) else {}
    write(path, _plain(finest), (scale[-3], scale[-2], scale[-1]), **how)
    return [path]


def _is_bent(meta: Mapping[str, Any], name: str) -> bool:
    """Whether a part of a layer's transform is other than none; shears may be numbers of the upper triangle."""
    if meta.get(name) is None:
        return False
    given = np.asarray(meta[name], np.float64)
    nothing = np.eye(len(given)) if given.ndim == 2 else np.zeros(given.shape)
    return not np.allclose(given, nothing)


def _plain(data: Any) -> Any:
    """The voxels of a layer; of a lazy volume without the place that it had before it was moved."""
    return LazyVolume(data.volume) if isinstance(data, LazyVolume) else data
