"""What Neuroglancer is told to show: volumes as layers of one view, the tiles of each, the links between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpustitch.errors import DamagedInputError
from gpustitch.io.checked import check_schema, read_json, table
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume, read_info
from gpustitch.io.volumes.sidecar import SIDECAR, SIDECAR_SCHEMA
from gpustitch.model import ZYX, Coverage, Link, Spacing
from gpustitch.model.arrays import PxZYX

# Shader that scales brightness between the two values and shows it in the given colour.
_SHADER = """#uicontrol invlerp normalized(range=[{low}, {high}])
#uicontrol vec3 color color(default="{color}")
void main() {{ emitRGB(color * normalized()); }}
"""
_LINK_SHADER = """void main() {
  vec3 good = mix(vec3(1.0, 0.8, 0.0), vec3(0.2, 1.0, 0.2), prop_correlation());
  setColor(prop_accepted() == 1u ? good : vec3(1.0, 0.1, 0.1));
  setLineWidth(3.0);
}
"""
_LONE, _COLORS = "white", ("lime", "magenta", "cyan", "yellow", "red")
_PANEL_PX = 350  # the whole of a volume is to be seen in a panel of so many pixels


@dataclass(frozen=True)
class TileOutline:
    """Where a tile lies in a volume: its first voxel (z, y, x), and what the camera saw from there on."""

    name: str
    origin_px: PxZYX
    coverage: Coverage

    @property
    def centre_px(self) -> PxZYX:
        """The middle (z, y, x), in voxels whose centres are whole numbers."""
        cover, (z, y, x) = self.coverage, self.origin_px
        depth = (cover.n_columns - 1) / 2
        return z + depth, y + (cover.n_rows - 1) / 2, x + (cover.n_frames - 1) / 2 + cover.shear * depth


@dataclass(frozen=True)
class Shown:
    """A volume to show, the brightness (low, high) that its layer spans, and the tiles that it is made of, if known."""

    name: str
    volume: PrecomputedVolume | OmeZarrVolume
    contrast: tuple[float, float]
    tiles: tuple[TileOutline, ...] = ()
    links: tuple[Link, ...] = field(default=(), repr=False)


def read_outlines(folder: Path) -> tuple[TileOutline, ...]:
    """The tiles that the sidecar of the volume in ``folder`` names; none where it does not say how large they are.

    Raises
    ------
    DamagedInputError
        If the sidecar is there but cannot be understood.
    """
    file = folder / SIDECAR
    if not file.is_file():
        return ()
    try:
        content = table(read_json(file), "it")
        check_schema(content, SIDECAR_SCHEMA)
        tiles = content.get("tiles", ())
        return tuple(_outline(tile) for tile in tiles if "coverage" in tile)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DamagedInputError(f"{file} does not say where tiles are: {error}; remove it to see no tiles") from error


def _outline(tile: Mapping[str, Any]) -> TileOutline:
    z, y, x = (float(v) for v in tile["origin_px"])
    cover = Coverage(**tile["coverage"])
    shear = cover.shear + float(tile["shear_px"])
    return TileOutline(str(tile["name"]), (z, y, x), Coverage(cover.n_frames, cover.n_rows, cover.n_columns, shear))


def state_of(shown: Sequence[Shown], data: str, at_px: ZYX | None = None) -> dict[str, Any]:
    """The state of the client, in its JSON.

    Parameters
    ----------
    shown
        Volumes; the voxels of the first are the unit of positions.
    data
        Address of the data: volume N lies at ``data/N/``.
    at_px
        Voxel (z, y, x) of the first volume to look at, closer than at the whole; None for the middle of all of it.
    """
    spacing = shown[0].volume.spacing
    extents = [
        n * um / min(spacing.zyx_um)
        for item in shown
        for n, um in zip(item.volume.coverage.shape, item.volume.spacing.zyx_um, strict=True)
    ]
    extra = sorted({axis for item in shown for axis in _axes_without_unit(item.volume)} - set("xyz"))
    colors = [_LONE] if len(shown) == 1 else [_COLORS[number % len(_COLORS)] for number in range(len(shown))]
    layers = [_image(item, f"{data}/{number}/", colors[number]) for number, item in enumerate(shown)]
    for number, item in enumerate(shown):
        layers += [{**layer, "visible": number == 0} for layer in (*_outlines(item), *_links(item))]
    return {
        "title": ", ".join(item.name for item in shown),
        "dimensions": _dimensions(spacing, ["x", "y", "z", *extra]),
        "position": [*_position(shown[0].volume, at_px), *(0 for _ in extra)],
        "crossSectionScale": 1.0 if at_px is not None else max(extents) / _PANEL_PX,
        "projectionScale": 1.5 * max(extents),
        "layers": layers,
        "layout": "4panel",
        "crossSectionBackgroundColor": "#000000",
    }


def _position(volume: PrecomputedVolume | OmeZarrVolume, at_px: ZYX | None) -> list[float]:
    """The middle (x, y, z) of a voxel, or of a volume, in voxels counted from the origin that its files state."""
    if isinstance(volume, PrecomputedVolume):
        finest = min(read_info(volume.path)["scales"], key=lambda scale: min(scale["resolution"]))
        first = finest.get("voxel_offset", (0, 0, 0))
    else:
        at_um = dict(zip(volume.axes, volume.image.translations[0], strict=False))
        # An image says where the centre of its first voxel is, Neuroglancer counts from the corner.
        half = 0.0 if volume.image.is_bare else 0.5
        first = [at_um.get(axis, 0.0) / um - half for axis, um in zip("xyz", volume.spacing.zyx_um[::-1], strict=True)]
    here = [n / 2 for n in volume.coverage.shape] if at_px is None else [n + 0.5 for n in at_px]
    return [start + n for start, n in zip(first, reversed(here), strict=True)]


def _dimensions(spacing: Spacing, axes: Sequence[str] = "xyz") -> dict[str, Any]:
    um = dict(zip("zyx", spacing.zyx_um, strict=True))
    return {axis: [um[axis] * 1e-6, "m"] if axis in um else [1, ""] for axis in axes}


def _axes_without_unit(volume: PrecomputedVolume | OmeZarrVolume) -> tuple[str, ...]:
    """The stored axes of a volume whose files state no unit of length; none if they do."""
    return volume.axes if isinstance(volume, OmeZarrVolume) and volume.stated_spacing is None else ()


def _image(item: Shown, address: str, color: str) -> dict[str, Any]:
    """The layer of a volume, as Neuroglancer describes it."""
    low, high = item.contrast
    volume = item.volume
    source: dict[str, Any] = {"url": f"{'zarr' if isinstance(volume, OmeZarrVolume) else 'precomputed'}://{address}"}
    if axes := _axes_without_unit(volume):
        units = [1e-6 if axis in "xyz" else 1 for axis in axes]  # the reader takes such numbers as um
        matrix = np.pad(np.diag(units), ((0, 0), (0, 1))).tolist()
        source["transform"] = {"outputDimensions": _dimensions(volume.spacing, axes), "matrix": matrix}
    # The reader calls an axis of channels so, and shows a layer at one place along it.
    number = volume.channel_number if isinstance(volume, OmeZarrVolume) else None
    at: dict[str, Any] = {} if number is None else {"localDimensions": {"c'": [1, ""]}, "localPosition": [number]}
    return {
        **at,
        "type": "image",
        "name": item.name,
        "source": source,
        "shader": _SHADER.format(low=low, high=high, color=color),
        "blend": "additive",
        "opacity": 1,
    }


def _outlines(item: Shown) -> Iterator[dict[str, Any]]:
    """A layer of boxes for each slant of tiles: it is mostly one, and a box is upright in the slanted space."""
    by_shear = defaultdict(list)
    for tile in item.tiles:
        by_shear[tile.coverage.shear].append(tile)
    for shear, tiles in by_shear.items():
        boxes = []
        for tile in tiles:
            z, y, x = tile.origin_px
            first = (x - shear * z, y, z)
            size = (tile.coverage.n_frames, tile.coverage.n_rows, tile.coverage.n_columns)
            last = [a + n for a, n in zip(first, size, strict=True)]
            boxes.append(
                {
                    "type": "axis_aligned_bounding_box",
                    "id": tile.name,
                    "description": f"tile {tile.name}",
                    "pointA": list(first),
                    "pointB": last,
                }
            )
        # Voxel n lies from n to n + 1: the plane that is displaced by n times the slant is at n + 1/2.
        matrix: list[list[float]] = [[1, 0, shear, -shear / 2], [0, 1, 0, 0], [0, 0, 1, 0]]
        more = "" if len(by_shear) == 1 else f" of slant {shear:g}"
        yield {**_annotations(f"{item.name}: tiles{more}", item, boxes, matrix), "annotationColor": "#ffd400"}


def _links(item: Shown) -> Iterator[dict[str, Any]]:
    """A layer of lines from tile to tile, if there are links."""
    centres = {tile.name: [v + 0.5 for v in tile.centre_px[::-1]] for tile in item.tiles}
    lines = []
    for link in item.links:
        if not {link.fixed, link.moving} <= set(centres):
            continue
        found = [match.correlation for match in link.matches]
        middle = float(np.median(found)) if found else 0.0
        said = f"correlation {middle:.3f} of {len(found)} points" if found else "no points"
        lines.append(
            {
                "type": "line",
                "id": f"{link.fixed} {link.moving}",
                "description": f"{link.fixed} to {link.moving}: {said}"
                + (f"; rejected: {link.reason}" if link.reason else ""),
                "pointA": centres[link.fixed],
                "pointB": centres[link.moving],
                "props": [middle, int(not link.reason)],
            }
        )
    if lines:
        yield {
            **_annotations(f"{item.name}: links", item, lines),
            "annotationProperties": [{"id": "correlation", "type": "float32"}, {"id": "accepted", "type": "uint8"}],
            "shader": _LINK_SHADER,
        }


def _annotations(
    name: str, item: Shown, annotations: list[dict[str, Any]], matrix: list[list[float]] | None = None
) -> dict[str, Any]:
    transform: dict[str, Any] = {"outputDimensions": _dimensions(item.volume.spacing)}
    if matrix is not None:
        transform["matrix"] = matrix
    source = {"url": "local://annotations", "transform": transform}
    return {"type": "annotation", "name": name, "source": source, "tab": "annotations", "annotations": annotations}
