"""Pictures that let a person judge a stitched phantom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpustitch.demo.phantom.truth import TileTruth, Truth
from gpustitch.demo.score.brain import EvaluateOptions, raw_frames
from gpustitch.demo.score.compare import Footing
from gpustitch.demo.score.draw import Colour, Picture, grey, labelled, magenta_green, outlined, resized, sheet
from gpustitch.io.images.files import read_image, write_png
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.volumes.precomputed import PrecomputedVolume, read_info
from gpustitch.model import ZYX, Box, Volume
from gpustitch.model.arrays import Floats32
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.flat.flatfield import normalized_flat
from gpustitch.oblique.mosaic.folders import find_volume_mosaic

OVERVIEW = "overview.png"
_SLAB_UM = 16.0
_FRAMES_WIDTH = 1230
_PLANES_WIDTH = 1510
_OVERLAY_ROWS, _OVERLAY_COLUMNS = 46, 120
_ZOOM = 4
_NOMINAL: Colour = (255, 150, 40)
_SOLVED: Colour = (60, 220, 235)


@dataclass(frozen=True)
class PictureOptions:
    """The evaluation's options, corrections of frames by their titles, and the folder for the pictures."""

    evaluated: EvaluateOptions
    corrections: Mapping[str, Correction]
    folder: Path


def draw(options: PictureOptions) -> Path:
    """Write the pictures into the folder, which must exist; return the path of the picture that shows them all."""
    volume = PrecomputedVolume(options.evaluated.volume)
    truth = options.evaluated.truth
    footing = Footing(truth, options.evaluated.solved.origin_px, volume.spacing.y_um)
    white = _white(volume)
    rows = {
        "frames": _frames(options),
        "alignment": _overlays(footing, options, white),
        "planes": _planes(footing, volume, white),
    }
    for name, row in rows.items():
        write_png(options.folder / f"{name}.png", sheet([row]), overwrite=True)
    overview = options.folder / OVERVIEW
    write_png(overview, sheet(list(rows.values())), overwrite=True)
    return overview


def _frames(options: PictureOptions) -> list[Picture]:
    """A raw frame, the frame as each correction leaves it, and the true and the found flat."""
    truth, flat_path = options.evaluated.truth, options.evaluated.flat
    tile = truth.tiles[0]
    frames = raw_frames(truth, options.evaluated.channel)[tile.name]
    raw = frames.read(truth.spec.n_frames // 2, truth.spec.n_frames // 2 + 1)[0]
    corrected = {text: correction.apply(raw) for text, correction in options.corrections.items()}
    dark, high = truth.spec.sensor.dark, float(np.quantile(next(iter(corrected.values())), 0.995))
    scale = _FRAMES_WIDTH / (1 + len(corrected)) / raw.shape[1]
    row = [labelled(_shown(grey(raw, dark, high + dark), scale), "raw camera frame")]
    row += [labelled(_shown(grey(frame, 0, high), scale), text) for text, frame in corrected.items()]
    flat = None if flat_path is None else normalized_flat(read_image(flat_path))
    if flat is not None:
        true = truth.spec.flat()
        low = float(true.min())
        pair = [resized(grey(f, low, 1, 1.0), *_size(f.shape, 0.47 * scale)) for f in (true, flat)]
        row.append(np.concatenate([labelled(p, t) for p, t in zip(pair, ("true flat", "found flat"), strict=True)]))
    return row


def _overlays(footing: Footing, options: PictureOptions, white: float) -> list[Picture]:
    """The overlap of two tiles at the stage's and at alignment's positions, and the same place stitched."""
    truth, folder = footing.truth, options.evaluated.tiles
    pair = _neighbours_along_y(truth)
    if folder is None or pair is None:
        return []
    volumes = {tile.name: open_volume(tile.path) for tile in find_volume_mosaic(folder).tiles}
    first, second = pair
    own = footing.seen_from(first)
    apart = np.subtract(truth.nominal_um(second), truth.nominal_um(first))[::-1]
    by_stage = apart / volumes[first.name].spacing.zyx_um
    found = np.array(own.origin_px[second.name])
    z = truth.spec.n_columns // 2
    size = (_slab_px(footing), _OVERLAY_ROWS, _OVERLAY_COLUMNS)
    x = max(own.shear * z, found[2] + own.shear * (z - found[0])) + 0.2 * truth.spec.n_frames
    box = Box.of_shape(size, (z, round((truth.spec.n_rows + found[1] - _OVERLAY_ROWS) / 2), round(x)))
    fixed = _brightest(volumes[first.name], box)
    row = []
    for origin, text in (
        (by_stage, "overlap of two tiles where the stage said"),
        (found, "where alignment found them"),
    ):
        moving = _brightest(volumes[second.name], box.shift([-round(o) for o in origin]))
        row.append(labelled(_zoomed(magenta_green(fixed, moving, 0, white), footing), text))
    origin_z, origin_y, origin_x = footing.origin_px[first.name]
    shift = (round(origin_z), round(origin_y), round(origin_x + (footing.shear - own.shear) * z))
    stitched = _brightest(PrecomputedVolume(options.evaluated.volume), box.shift(shift))
    return [*row, labelled(_zoomed(grey(stitched, 0, white), footing), "stitched")]


def _planes(footing: Footing, volume: Volume, white: float) -> list[Picture]:
    """Slabs of the stitched volume across z, y and x with the tiles' outlines, drawn to scale."""
    shape = volume.coverage.shape
    sizes_um = [n * s for n, s in zip(shape, footing.spacing_um, strict=True)]
    px_per_um = _PLANES_WIDTH / (sizes_um[2] + sizes_um[2] + sizes_um[1])
    row = []
    for axis, name in enumerate(("xy", "xz", "yz")):
        place = _busiest(footing, shape)[axis]
        thick = max(1, round(_SLAB_UM / footing.spacing_um[axis]))
        start, stop = [0, 0, 0], list(shape)
        start[axis], stop[axis] = place, min(shape[axis], place + thick)
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        image = volume.read(box).max(axis=axis)
        down, across = (n for n in range(3) if n != axis)
        scale = [footing.spacing_um[n] * px_per_um for n in (down, across)]
        picture = resized(grey(image, 0, white), round(image.shape[0] * scale[0]), round(image.shape[1] * scale[1]))
        for where, colour, dashed in ((_by_stage(footing), _NOMINAL, True), (footing, _SOLVED, False)):
            lines = [_outline(where, tile, axis, place) for tile in footing.truth.tiles]
            scaled = [[(c * scale[1], r * scale[0]) for c, r in points] for points in lines if points]
            picture = outlined(picture, scaled, colour, dashed=dashed)
        text = (
            f"{name} slab, {thick * footing.spacing_um[axis]:.0f} um"
            if axis
            else "xy: tiles solved (blue), by stage (orange)"
        )
        row.append(labelled(picture, text))
    return row


def _outline(footing: Footing, tile: TileTruth, axis: int, place: int) -> list[tuple[float, float]]:
    """Corners (column, row) of a tile's part of the plane ``place`` across ``axis``; empty if there is none."""
    spec = footing.truth.spec
    oz, oy, ox = footing.origin_px[tile.name]
    frames, rows, columns = spec.n_frames - 1, spec.n_rows - 1, spec.n_columns - 1
    if axis == 0:
        x = ox + footing.shear * (place - oz)
        inside = 0 <= place - oz <= columns
        return _rectangle(x, oy, x + frames, oy + rows) if inside else []
    if axis == 1:
        lean = footing.shear * columns
        corners = [(ox, oz), (ox + frames, oz), (ox + frames + lean, oz + columns), (ox + lean, oz + columns)]
        return corners if 0 <= place - oy <= rows else []
    first, last = ((place - ox - f) / footing.shear for f in (frames, 0))
    first, last = max(0.0, first), min(float(columns), last)
    return _rectangle(oy, oz + first, oy + rows, oz + last) if first < last else []


def _rectangle(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _by_stage(footing: Footing) -> Footing:
    """The tiles at the stage's positions in the same mosaic, without the mean of the stage's errors."""
    truth = footing.truth
    nominal = np.array([truth.nominal_um(tile) for tile in truth.tiles])[:, ::-1] / footing.spacing_um
    nominal += (footing.solved_px() - nominal).mean(axis=0)
    return replace(
        footing, origin_px={t.name: (p[0], p[1], p[2]) for t, p in zip(truth.tiles, nominal.tolist(), strict=True)}
    )


def _neighbours_along_y(truth: Truth) -> tuple[TileTruth, TileTruth] | None:
    """Of the pairs of tiles that the stage set apart along y alone, the pair whose errors differ most."""
    pairs = [
        (a, b)
        for a in truth.tiles
        for b in truth.tiles
        if a.stage_um[0::2] == b.stage_um[0::2]
        and truth.nominal_um(b)[1] - truth.nominal_um(a)[1] > 0
        and truth.nominal_um(b)[1] - truth.nominal_um(a)[1] < truth.spec.n_rows * truth.spec.pixel_um
    ]

    def disagreement(pair: tuple[TileTruth, TileTruth]) -> float:
        errors = [np.subtract(tile.true_um, truth.nominal_um(tile)) for tile in pair]
        return float(np.linalg.norm(errors[1] - errors[0]))

    return max(pairs, key=disagreement, default=None)


def _busiest(footing: Footing, shape: ZYX) -> ZYX:
    """Voxel (z, y, x) where slabs show tissue and tile borders: a depth, and overlaps along y and x."""
    middle = (
        footing.solved_px().mean(axis=0)
        + np.array([footing.truth.spec.n_columns, footing.truth.spec.n_rows, footing.truth.spec.n_frames]) / 2
    )
    middle[2] += footing.shear * footing.truth.spec.n_columns / 2
    z, y, x = (int(np.clip(m, 0, n - 1)) for m, n in zip(middle, shape, strict=True))
    return z, y, x


def _slab_px(footing: Footing) -> int:
    return max(1, round(_SLAB_UM / footing.spacing_um[0]))


def _brightest(volume: Volume, box: Box) -> Floats32:
    return np.asarray(volume.read(box).max(axis=0), dtype=np.float32)


def _zoomed(picture: Picture, footing: Footing) -> Picture:
    """A picture of a plane (y, x) enlarged to true proportions."""
    _, dy, dx = footing.spacing_um
    return resized(picture, round(picture.shape[0] * _ZOOM * dy / dx), picture.shape[1] * _ZOOM)


def _shown(picture: Picture, scale: float) -> Picture:
    return resized(picture, *_size(picture.shape, scale))


def _size(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    return round(shape[0] * scale), round(shape[1] * scale)


def _white(volume: PrecomputedVolume) -> float:
    """The count shown as white: bright cells saturate, tissue does not."""
    levels = len(read_info(volume.path)["scales"])
    coarse = PrecomputedVolume(volume.path, min(2, levels - 1))
    middle = coarse.shape[0] // 2
    box = Box.of_shape((min(8, coarse.shape[0] - middle), *coarse.shape[1:]), (middle, 0, 0))
    voxels = coarse.read(box)
    return 3.2 * float(np.median(voxels[voxels > 0])) if voxels.any() else 1.0
