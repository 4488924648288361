"""Small pictures: grey and two-colour images, outlines, labels, and sheets of pictures.

A picture is a uint8 array (rows, columns, 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
Points = Sequence[tuple[float, float]]
Colour = tuple[int, int, int]

PAPER: Colour = (24, 26, 30)
INK: Colour = (225, 228, 232)
_GAP = 14
_LABEL_HEIGHT = 24
_FONT_SIZE = 15


def grey(image: npt.NDArray[np.generic], low: float, high: float, gamma: float = 0.7) -> Picture:
    """An image (rows, columns) as a grey picture, black at ``low`` and below, white at ``high`` and above."""
    level = _levels(image, low, high, gamma)
    return np.repeat(level[:, :, None], 3, axis=2)


def magenta_green(
    first: npt.NDArray[np.generic], second: npt.NDArray[np.generic], low: float, high: float, gamma: float = 0.8
) -> Picture:
    """Two images of one shape in one picture: the first magenta, the second green, white where they agree."""
    a, b = _levels(first, low, high, gamma), _levels(second, low, high, gamma)
    return np.stack([a, b, a], axis=2)


def resized(picture: Picture, n_rows: int, n_columns: int, *, smooth: bool = True) -> Picture:
    """The picture with another number of rows and columns; ``smooth`` averages, otherwise pixels stay sharp."""
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((max(1, n_columns), max(1, n_rows)), how))


def outlined(picture: Picture, polygons: Sequence[Points], colour: Colour, *, dashed: bool = False) -> Picture:
    """The picture with closed polygons of points (column, row) drawn on it."""
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for points in polygons:
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            pieces = max(1, round(float(np.hypot(x1 - x0, y1 - y0)) / 6)) if dashed else 1
            at = np.linspace(0, 1, pieces + 1)
            for n in range(0, pieces, 2):
                (a, b) = at[n : n + 2]
                draw.line([x0 + a * (x1 - x0), y0 + a * (y1 - y0), x0 + b * (x1 - x0), y0 + b * (y1 - y0)], fill=colour)
    return np.asarray(canvas)


def labelled(picture: Picture, text: str) -> Picture:
    """The picture with a line of text above it, made wider if the text needs more room."""
    font = ImageFont.load_default(size=_FONT_SIZE)
    width = max(picture.shape[1], int(font.getlength(text)) + 4)
    canvas = Image.new("RGB", (width, picture.shape[0] + _LABEL_HEIGHT), PAPER)
    ImageDraw.Draw(canvas).text((1, 2), text, font=font, fill=INK)
    canvas.paste(Image.fromarray(picture), (0, _LABEL_HEIGHT))
    return np.asarray(canvas)


def sheet(rows: Sequence[Sequence[Picture]]) -> Picture:
    """Pictures in rows, one below the other, on dark paper."""
    shapes = [[picture.shape for picture in row] for row in rows]
    height = sum(max(shape[0] for shape in row) + _GAP for row in shapes) + _GAP
    width = max(sum(shape[1] + _GAP for shape in row) for row in shapes) + _GAP
    paper = np.empty((height, width, 3), np.uint8)
    paper[:] = PAPER
    top = _GAP
    for row in rows:
        left = _GAP
        for picture in row:
            paper[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += picture.shape[1] + _GAP
        top += max(picture.shape[0] for picture in row) + _GAP
    return paper


def _levels(image: npt.NDArray[np.generic], low: float, high: float, gamma: float) -> npt.NDArray[np.uint8]:
    part = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(np.rint(255 * part**gamma), dtype=np.uint8)
