"""Drawings of the page: the map of tiles and links, planes with outlines and a scale bar, brightness over depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from gpustitch.model import PlacedVolume
from gpustitch.model.arrays import HostArray
from gpustitch.oblique.report.draw import contrast, grey
from gpustitch.oblique.report.gather import Measured, Plane
from gpustitch.oblique.report.light import TileLight
from gpustitch.oblique.report.placement import Remeasured

# Classes of colours that people with any colour vision tell apart, by how far a link is off, voxels; and dashes.
STEPS = ((0.3, "c1", ""), (1.0, "c2", "12 2"), (3.0, "c3", "7 3"), (math.inf, "c4", "2 3"))
NOT_KNOWN = "c5"
_MAP_PX, _PLANE_PX = 760.0, 520.0
_PLOT = (760.0, 260.0, 56.0, 40.0)  # width, height, margins at the left and below
_DASHES = ("", "6 3", "2 2", "9 3 2 3")
_COLOURS = ("c1", "c2", "c3", "c4", "c6")
_MOST_LINES = 40
# Middles of tiles that are nearer in the map are one place.
_SAME_PX = 14.0
# The map names the tiles of a mosaic of up to so many.
_MOST_NAMED = 60

# Left, top, right, bottom.
Rectangle = tuple[float, float, float, float]


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def step_of(off_px: float | None) -> tuple[str, str]:
    """Colour and dashes of a link that is so far off."""
    if off_px is None:
        return NOT_KNOWN, "1 4"
    return next((colour, dash) for most, colour, dash in STEPS if off_px <= most)


@dataclass(frozen=True)
class _View:
    """Maps um to pixels of a drawing."""

    left: float
    top: float
    px_per_um: float
    margin: float = 46.0

    def at(self, x_um: float, y_um: float) -> tuple[float, float]:
        return self.margin + (x_um - self.left) * self.px_per_um, 14 + (y_um - self.top) * self.px_per_um


@dataclass(frozen=True)
class _Map:
    """Tiles from above: what each covers (left, top, right, bottom), um, and where its middle is drawn, pixels."""

    view: _View
    rectangles: Mapping[str, Rectangle]
    middles: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, rectangles: Mapping[str, Rectangle]) -> _Map:
        """The map, as large as the page has room for."""
        left, top, right, bottom = _around(rectangles)
        view = _View(left, top, min((_MAP_PX - 60) / (right - left), 560 / (bottom - top)))
        middles: dict[str, tuple[float, float]] = {}
        places: list[tuple[float, float]] = []
        for name, (x0, y0, x1, y1) in rectangles.items():
            (a, b), (c, d) = view.at(x0, y0), view.at(x1, y1)
            place = (a + c) / 2, (b + d) / 2
            # Tiles at one place and of unlike depth are drawn one below the other.
            n_above = sum(math.dist(other, place) < _SAME_PX for other in places)
            places.append(place)
            middles[name] = place[0] + 40 * n_above, place[1] + 36 * n_above
        return cls(view, rectangles, middles)


def tile_map(found: Measured, errors: Mapping[str, Sequence[float]], rejected: Mapping[tuple[str, str], str]) -> str:
    """Tiles from above at half their depth, links between them, and standard errors, enlarged.

    ``errors`` are standard errors (x, y, z) of tiles, um; ``rejected`` says why links were rejected.
    """
    drawn = _Map.of({name: _rectangle(tile, found) for name, tile in found.placed.items()})
    left, top, right, bottom = around = _around(drawn.rectangles)
    px_per_um = drawn.view.px_per_um
    width, height = (right - left) * px_per_um + 60, (bottom - top) * px_per_um + 40
    largest = max((max(e[:2]) for e in errors.values()), default=0.0)
    times = _nice(0.12 * min(right - left, bottom - top) / largest) if largest > 0 else 0.0
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="map of tiles">',
        *_outlines(drawn),
        *_links(drawn, found.placing.links, rejected),
        *_middles(drawn, errors, times),
        *_axes(drawn.view, around),
    ]
    note = f"ellipses: standard errors, {times:g} times as large" if times else "standard errors are not known"
    caption = f"<figcaption>x to the right and y downwards, um, in the middle of the depth; {note}</figcaption>"
    return "<figure>" + "".join(parts) + f"</svg>{caption}</figure>"


def _around(rectangles: Mapping[str, Rectangle]) -> Rectangle:
    """The rectangle (left, top, right, bottom) around all."""
    lefts, tops, rights, bottoms = zip(*rectangles.values(), strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _outlines(drawn: _Map) -> Iterator[str]:
    """What the tiles cover."""
    for x0, y0, x1, y1 in drawn.rectangles.values():
        (a, b), (c, d) = drawn.view.at(x0, y0), drawn.view.at(x1, y1)
        yield f'<rect x="{a:.1f}" y="{b:.1f}" width="{c - a:.1f}" height="{d - b:.1f}" class="tile"/>'


def _links(drawn: _Map, links: Iterable[Remeasured], rejected: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """A line for each link, in the colour of how far it is off; a cross on rejected ones."""
    for link in links:
        (a, b), (c, d) = drawn.middles[link.fixed], drawn.middles[link.moving]
        off = None if link.off_px is None else max(map(abs, link.off_px))
        colour, dash = step_of(off)
        told = "not compared: " + link.reason if off is None else f"off by {off:.2f} voxels"
        told += f"; link rejected: {rejected[link.pair]}" if link.pair in rejected else ""
        yield (
            f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" class="{colour}" stroke-width="3" '
            f'stroke-dasharray="{dash}"><title>{escape(f"{link.fixed} - {link.moving}: {told}")}</title></line>'
        )
        if link.pair in rejected:
            yield _text((a + c) / 2, (b + d) / 2 + 5, "✕", more='class="cross"')


def _middles(drawn: _Map, errors: Mapping[str, Sequence[float]], times: float) -> Iterator[str]:
    """A dot for each tile, its standard error enlarged ``times`` (none for 0), and its name if tiles are few."""
    rectangles = drawn.rectangles
    are_named = len(rectangles) <= _MOST_NAMED
    wide = max(1.0, min(x1 - x0 for x0, _, x1, _ in rectangles.values()) / 4)
    columns = sorted({round(x0 / wide) for x0, *_ in rectangles.values()})
    for name, (a, b) in drawn.middles.items():
        if name in errors and times:
            rx, ry = (max(1.0, times * um * drawn.view.px_per_um) for um in errors[name][:2])
            yield f'<ellipse cx="{a:.1f}" cy="{b:.1f}" rx="{rx:.1f}" ry="{ry:.1f}" class="error"/>'
        yield f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" class="dot"/>'
        if are_named:  # neighbours along x have their names above and below
            is_below = columns.index(round(rectangles[name][0] / wide)) % 2
            yield _text(a, b + (18 if is_below else -8), name, more='class="name"')


def _rectangle(tile: PlacedVolume, found: Measured) -> Rectangle:
    """What a tile covers in the middle of its depth (left, top, right, bottom), um."""
    cover, (_, y, x) = tile.volume.coverage, tile.origin_px
    _, y_um, x_um = found.spacing.zyx_um
    x += (cover.shear + tile.shear_px) * (cover.n_columns - 1) / 2
    return x * x_um, y * y_um, (x + cover.n_frames) * x_um, (y + cover.n_rows) * y_um


def _nice(value: float) -> float:
    """1, 2 or 5 times a power of ten, at most the value."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return max(n * power for n in (1, 2, 5) if n * power <= value * (1 + 1e-9))


def _axes(view: _View, box: Rectangle) -> Iterator[str]:
    """Ticks along the left and the lower side."""
    left, top, right, bottom = box
    for low, high, is_x in ((left, right, True), (top, bottom, False)):
        step = _nice((high - low) / max(2.0, (high - low) * view.px_per_um / 100))
        for n in range(math.ceil(low / step), math.floor(high / step) + 1):
            at = view.at(n * step, bottom) if is_x else view.at(left, n * step)
            yield from _tick(at, f"{n * step:g}", is_x=is_x)


def _tick(at: tuple[float, float], label: str, *, is_x: bool) -> Iterator[str]:
    """A mark of an axis and its number."""
    x, y = at
    ends = f'x2="{x:.1f}" y2="{y + 5:.1f}"' if is_x else f'x2="{x - 5:.1f}" y2="{y:.1f}"'
    yield f'<line x1="{x:.1f}" y1="{y:.1f}" {ends} class="axis"/>'
    yield _text(x, y + 18, label) if is_x else _text(x - 8, y + 4, label, "end")


def plane(shown: Plane, found: Measured, limits: tuple[float, float]) -> str:
    """A plane of the volume with outlines of tiles and a scale bar, in true proportions."""
    down, across = (a for a in range(3) if a != shown.axis)
    um = found.spacing.zyx_um
    size_um = found.shape[across] * um[across], found.shape[down] * um[down]
    scale = min(_PLANE_PX / size_um[0], _PLANE_PX / size_um[1])
    width, height = (s * scale for s in size_um)
    image = grey(shown.image, *limits)
    parts = [
        f'<svg viewBox="0 0 {width + 44:.0f} {height + 26:.0f}" width="{width + 44:.0f}" role="img">',
        f'<image href="{image}" x="22" y="2" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none"/>',
    ]
    for name, tile in found.placed.items():
        corners = outline(tile, shown.axis, shown.at_px)
        points = " ".join(
            f"{22 + (c + 0.5) * um[across] * scale:.1f},{2 + (r + 0.5) * um[down] * scale:.1f}" for r, c in corners
        )
        if corners:
            parts.append(f'<polygon points="{points}" class="outline"><title>{escape(name)}</title></polygon>')
    bar = _nice(size_um[0] / 4)
    y = 2 + height - 12
    parts.append(f'<rect x="32" y="{y - 18:.1f}" width="{bar * scale + 16:.1f}" height="26" class="under"/>')
    parts.append(f'<rect x="40" y="{y:.1f}" width="{bar * scale:.1f}" height="4" class="bar"/>')
    parts.append(_text(40 + bar * scale / 2, y - 4, f"{bar:g} um", more='class="onbar"'))
    names = "zyx"
    parts.append(_text(22 + width / 2, height + 20, f"{names[across]} →"))
    parts.append(_text(10, 14, names[down]))
    parts.append(_text(10, 30, "↓"))
    return "".join(parts) + "</svg>"


def outline(tile: PlacedVolume, axis: int, at_px: float) -> list[tuple[float, float]]:
    """Corners (row, column) of what a tile covers of the plane at ``at_px`` on an axis, voxels; none if nothing."""
    cover, (oz, oy, ox) = tile.volume.coverage, tile.origin_px
    shear = cover.shear + tile.shear_px
    rows, frames, depth = cover.n_rows - 1, cover.n_frames - 1, cover.n_columns - 1
    if axis == 0:
        x = ox + shear * (at_px - oz)
        return _box(oy, x, oy + rows, x + frames) if 0 <= at_px - oz <= depth else []
    if axis == 1:
        lean = shear * depth
        corners = [(oz, ox), (oz, ox + frames), (oz + depth, ox + frames + lean), (oz + depth, ox + lean)]
        return corners if 0 <= at_px - oy <= rows else []
    if shear == 0:
        return _box(oz, oy, oz + depth, oy + rows) if 0 <= at_px - ox <= frames else []
    first, last = sorted(((at_px - ox - frames) / shear, (at_px - ox) / shear))
    first, last = max(0.0, first), min(float(depth), last)
    return _box(oz + first, oy, oz + last, oy + rows) if first < last else []


def _box(top: float, left: float, bottom: float, right: float) -> list[tuple[float, float]]:
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


def depth_plot(lights: Mapping[str, TileLight | None], depth_um: float) -> str:
    """Mean counts of tiles over the depth along z, um; a line for each tile, at most forty."""
    known = [(name, light) for name, light in lights.items() if light is not None and len(light.depth) > 1]
    if not known:
        return ""
    if len(known) > _MOST_LINES:
        known = [known[n] for n in np.linspace(0, len(known) - 1, _MOST_LINES).astype(int).tolist()]
    width, height, left, below = _PLOT
    most = max(float(light.depth.max()) for _, light in known) * 1.05 or 1.0
    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="brightness">']
    right, floor = width - 12, height - below
    for n, (name, light) in enumerate(known):
        x = left + (right - left) * (np.arange(len(light.depth)) + 0.5) / len(light.depth)
        y = floor - (floor - 8) * light.depth / most
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        colour, dash = _COLOURS[n % len(_COLOURS)], _DASHES[n // len(_COLOURS) % len(_DASHES)]
        parts.append(
            f'<polyline points="{points}" fill="none" class="{colour}" stroke-width="1.8" stroke-dasharray="{dash}">'
            f"<title>{escape(name)}</title></polyline>"
        )
    for step, high, is_x in ((_nice(depth_um / 5), depth_um, True), (_nice(most / 4), most, False)):
        for n in range(int(high / step) + 1):
            part = n * step / high
            at = (left + (right - left) * part, floor) if is_x else (left, floor - (floor - 8) * part)
            parts += _tick(at, f"{n * step:g}", is_x=is_x)
    parts.append(f'<path d="M{left} 8V{floor}H{right}" class="axis" fill="none"/>')
    parts.append(_text((left + right) / 2, height - 6, "depth along z, um"))
    parts.append(_text(left + 6, 18, "mean, counts", "start"))
    return "".join(parts) + "</svg>"


def legend_of(lights: Mapping[str, TileLight | None]) -> str:
    """Names of the lines of :func:`depth_plot`, for up to twenty tiles."""
    known = [name for name, light in lights.items() if light is not None and len(light.depth) > 1]
    if len(known) > len(_COLOURS) * len(_DASHES):
        return f"<p>{len(known)} tiles; hold the pointer on a line to read its name.</p>"
    items = []
    for n, name in enumerate(known):
        colour, dash = _COLOURS[n % len(_COLOURS)], _DASHES[n // len(_COLOURS) % len(_DASHES)]
        line = f'<line x1="0" y1="6" x2="30" y2="6" class="{colour}" stroke-width="3" stroke-dasharray="{dash}"/>'
        items.append(f'<span class="key"><svg width="32" height="12">{line}</svg> {escape(name)}</span>')
    return f'<p class="keys">{"".join(items)}</p>'


def limits_of(images: Sequence[HostArray]) -> tuple[float, float]:
    """Contrast that the planes of a volume share."""
    return contrast(*images) if images else (0.0, 1.0)
