"""Shows volumes in Neuroglancer, served from this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from gpustitch.array import Device
from gpustitch.errors import MissingExtraError, ParameterError
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.model import Box
from gpustitch.model.options import check_ranges, documented, option
from gpustitch.running import options as shared

# Shader that scales brightness between the two values and shows it in the given colour.
_SHADER = """#uicontrol invlerp normalized(range=[{low}, {high}])
#uicontrol vec3 color color(default="{color}")
void main() {{ emitRGB(color * normalized()); }}
"""
_COLORS = ("white", "lime", "magenta", "cyan", "yellow", "red")
_PERCENTILES = (1.0, 99.0)
_LARGEST_SAMPLE = 1 << 24


@documented
@dataclass(frozen=True)
class ViewOptions:
    """Volumes to show as layers of one view, and where to serve them."""

    paths: Sequence[Path] = option(
        help="Precomputed volumes, shown on top of each other.", is_argument=True, metavar="VOLUMES..."
    )
    address: str = option("127.0.0.1", help="Address to serve on; 0.0.0.0 lets other machines look.")
    port: int = option(0, at_least=0, at_most=(1 << 16) - 1, help="Port to serve on; 0: any that is free.")
    browser: bool = option(True, flag="--browser/--no-browser", help="Open the view in a browser.")
    device: str | Device = shared.idle_device()


@dataclass(frozen=True)
class ViewPlan:
    """Opened volumes, and for each the brightness (low, high) that its layer spans."""

    options: ViewOptions
    volumes: tuple[PrecomputedVolume, ...]
    contrast: tuple[tuple[float, float], ...]


def plan(options: ViewOptions) -> ViewPlan:
    """Open the volumes and find their contrast.

    Raises
    ------
    MissingExtraError
        If Neuroglancer is not installed.
    InputMissingError, DamagedInputError
        If a volume is not there or cannot be opened.
    ParameterError
        If there is no volume, or the port is out of range.
    """
    if not options.paths:
        raise ParameterError("no volume is given; at least one is needed")
    check_ranges(options)
    _neuroglancer()
    volumes = tuple(PrecomputedVolume(path) for path in options.paths)
    return ViewPlan(options, volumes, tuple(_contrast(path) for path in options.paths))


@dataclass(frozen=True)
class View:
    """A view, served as long as this object is kept: the server holds only a weak reference."""

    url: str
    viewer: Any


def run(plan: ViewPlan) -> View:
    """Serve the volumes from threads of this process; the result has the address to open in a browser."""
    neuroglancer = _neuroglancer()
    neuroglancer.set_server_bind_address(plan.options.address, plan.options.port)
    viewer = neuroglancer.Viewer()
    with viewer.txn() as state:
        for number, (volume, (low, high)) in enumerate(zip(plan.volumes, plan.contrast, strict=True)):
            name = volume.path.absolute().parent.name if volume.path.name == "volume" else volume.path.name
            state.layers.append(
                name=f"{number} {name}",
                layer=neuroglancer.ImageLayer(source=neuroglancer.LocalVolume(_store(volume), _space(volume))),
                shader=_SHADER.format(low=low, high=high, color=_COLORS[number % len(_COLORS)]),
                blend="additive",
            )
    return View(str(viewer.get_viewer_url()), viewer)


def _neuroglancer() -> Any:
    try:
        import neuroglancer
    except ImportError as error:
        raise MissingExtraError("viewing needs Neuroglancer: pip install 'gpustitch[view]'") from error
    return neuroglancer


def _space(volume: PrecomputedVolume) -> Any:
    metres = [um * 1e-6 for um in volume.spacing.zyx_um[::-1]]
    return _neuroglancer().CoordinateSpace(names=["x", "y", "z"], units="m", scales=metres)


def _store(volume: PrecomputedVolume) -> Any:
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{volume.path.absolute()}/"}}
    return ts.open(spec, read=True).result()[ts.d["channel"][0]]


def _contrast(path: Path) -> tuple[float, float]:
    """Brightness (low, high) that a layer spans: percentiles of the coarsest level's voxels with data."""
    coarsest = PrecomputedVolume(path)
    for level in range(1, 17):
        try:
            coarsest = PrecomputedVolume(path, level)
        except ParameterError:
            break
        if Box.of_shape(coarsest.shape).size <= _LARGEST_SAMPLE:
            break
    box = Box.of_shape([min(n, 256) for n in coarsest.shape])
    middle = [(n - m) // 2 for n, m in zip(coarsest.shape, box.shape, strict=True)]
    voxels = coarsest.read(box.shift(middle))
    voxels = voxels[voxels > 0]
    if voxels.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(voxels, _PERCENTILES)
    return float(low), float(max(high, low + 1))
