"""Sections of the page that show pictures: overlaps, the flat, stripes, borders of tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from gpustitch.model.arrays import Floats32, HostArray
from gpustitch.oblique.report.crops import flattened
from gpustitch.oblique.report.draw import contrast, enlarged, grey, magenta_green
from gpustitch.oblique.report.gather import Measured
from gpustitch.oblique.report.judge import positions_text
from gpustitch.oblique.report.judge_light import is_step
from gpustitch.oblique.report.placement import Remeasured
from gpustitch.oblique.report.seams import Seam
from gpustitch.oblique.report.text import look, words
from gpustitch.oblique.report.written import Sheet

# Width of a picture of an overlap, of a frame, of a border, in pixels of the page.
_OVERLAP_PX, _FRAME_PX, _SEAM_PX = 320, 500, 300
# No picture of a frame is higher.
_HIGHEST_PX = 380
_MOST_SEAMS = 6


def _image(address: str, width: int, text: str) -> str:
    return f'<img src="{address}" width="{width}" alt="{escape(text)}">'


def _figure(address: str, width: int, text: str) -> str:
    return f"<figure>{_image(address, width, text)}<figcaption>{escape(text)}</figcaption></figure>"


def _width(frame: HostArray) -> int:
    """Width of a picture of a frame, so that it is neither too wide nor too high."""
    rows, columns = frame.shape
    return int(max(1, min(_FRAME_PX, round(_HIGHEST_PX * columns / rows))))


def overlaps(found: Measured, folder: str) -> Iterator[str]:
    """Overlaps by the stage and as placed, the worst first."""
    shown = found.shown
    left = len(found.placing.links) + len(found.placing.left_out) - len(shown)
    yield f"<h3>Overlaps ({len(shown)} shown, the worst first; {left} not shown)</h3>"
    yield (
        '<p class="soft">The fixed tile is magenta, the moving one green; white is where both show the same. Seen '
        "along z. Off by: how far the moving tile lies from where the pictures fit.</p>"
    )
    yield '<div class="row">'
    for link in shown:
        yield _overlap(link, found, folder)
    yield "</div>"


def _overlap(link: Remeasured, found: Measured, folder: str) -> str:
    """An overlap in two colours: as the stage has it, and as it was placed."""
    crop = found.crops[link.pair]
    beside = [] if crop.by_stage is None else [crop.by_stage]
    fixed, moving, *others = flattened([crop.fixed, crop.moving, *beside])
    _, y_um, x_um = found.spacing.zyx_um
    times = (1.0, x_um / y_um) if x_um > y_um else (y_um / x_um, 1.0)
    limits, width = contrast(fixed), min(_OVERLAP_PX, round(4 * fixed.shape[1] * times[1]))
    pictures = []
    for other, text in ((others[0] if others else None, "by the stage"), (moving, "as placed")):
        if other is None:
            pictures.append(f"<p class='soft'>{text}: the moving tile does not reach here</p>")
            continue
        both = [enlarged(image, times) for image in (_like(fixed, limits), _like(other, contrast(other)))]
        address = magenta_green(both[0], both[1], (0.0, 1.0))
        pictures.append(_figure(address, width, f"{text}, {fixed.shape[1] * x_um:.0f} um wide"))
    sigma = "" if link.sigma_px is None else f" &plusmn; {max(link.sigma_px):.2f}"
    off = positions_text(link.off_px) + ("" if link.off_px is None else f" voxels (x, y, z){sigma}")
    why = f'<p class="soft">{words(link.reason)}</p>' if link.reason else ""
    to_look = f"<pre>{escape(look(folder, crop.where_px))}</pre>"
    return (
        f'<div class="pair"><b>{link.fixed} - {link.moving}</b><p>off by: {off}</p>{why}'
        f'<div class="row">{"".join(pictures)}</div>{to_look}</div>'
    )


def _like(image: Floats32, limits: tuple[float, float]) -> Floats32:
    """An image from 0 to 1 between limits, so that tiles of unlike brightness can be laid on one another."""
    low, high = limits
    return np.asarray(np.clip((image - low) / max(high - low, 1e-9), 0, 1), np.float32)


def flat_pictures(flat: Floats32 | None, record: Mapping[str, Any] | None) -> Iterator[str]:
    """The flat that frames were divided by."""
    if flat is None:
        return
    yield "<h2>Flat field</h2>"
    low, high = float(flat[flat > 0].min(initial=1.0)), float(flat.max())
    model = "" if not record else f" Model: {escape(str(record.get('model')))}."
    yield f"<p>What frames were divided by, black {low:.2f}, white {high:.2f}.{model}</p>"
    yield _figure(grey(flat, low, high), _width(flat), "camera rows downwards, columns (depth) to the right")


def stripe_pictures(sheets: Sequence[Sheet]) -> Iterator[str]:
    """Sheets as the camera wrote them, and read back from the volume."""
    if not sheets:
        return
    yield "<h2>Stripes</h2>"
    yield "<p>A frame as the camera wrote it, and the same sheet read back from the written volume.</p>"
    for each in sheets[:2]:
        before = _figure(grey(each.raw, *contrast(each.raw)), _width(each.raw), f"{each.name}, frame {each.frame}, raw")
        left = "not measured" if each.stripes is None else f"{each.stripes:.1f} % of the light run along the sheet"
        after = _figure(grey(each.written, *contrast(each.written)), _width(each.written), f"in the volume: {left}")
        yield f'<div class="row">{before}{after}</div>'


def seam_pictures(found: Measured) -> Iterator[str]:
    """Borders of tiles in the written volume, those that show most first."""
    if not found.seams:
        return
    order = sorted(found.seams, key=lambda seam: (not is_step(seam), -seam.step_percent))
    yield f"<h2>Borders of tiles</h2><p>{min(_MOST_SEAMS, len(order))} of {len(order)} borders that were measured, the "
    yield "strongest steps first. A tile begins or ends in the middle, at the marks.</p>"
    yield f'<div class="row">{"".join(_seam(seam, found) for seam in order[:_MOST_SEAMS])}</div>'


def _seam(seam: Seam, found: Measured) -> str:
    """The strip about a tile's border, with its step in words."""
    strip: HostArray = seam.strip
    limits = contrast(strip)
    marked = np.array(strip, np.float32)
    middle = marked.shape[0] // 2
    marked[middle, :3] = marked[middle, -3:] = limits[1]
    x, y, z = reversed(seam.where_px)
    axis = "zyx"[seam.axis]
    text = (
        f"{seam.fixed} - {seam.moving}, across {axis} at voxel x {x}, y {y}, z {z}: step {seam.step_percent:.1f} %, "
        f"beside it up to {seam.most_percent:.1f} %"
    )
    width = min(_SEAM_PX, 4 * strip.shape[1])
    image = _image(grey(marked, *limits), width, text)
    return f'<figure style="max-width:{_SEAM_PX}px">{image}<figcaption>{escape(text)}</figcaption></figure>'
