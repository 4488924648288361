"""The orientation of frames that a pipeline uses: as stated, or found, or an error that names what fits alike."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpustitch.errors import AlignmentError
from gpustitch.io.frames.opening import Oriented, open_frames
from gpustitch.io.frames.readable import Readable
from gpustitch.io.registry import either
from gpustitch.model import Frames, Mosaic, ObliqueScan, Spacing, TilePath, column_step_um
from gpustitch.oblique.mosaic.distances import check_distances
from gpustitch.oblique.mosaic.file import read_alignment
from gpustitch.oblique.mosaic.placing import stage_origins
from gpustitch.oblique.pipeline.options import ORIENTATIONS, PipelineOptions
from gpustitch.oblique.pipeline.orientation import (
    WAYS,
    Neighbours,
    Orientation,
    by_overlap,
    by_sheet,
    mirrored,
)
from gpustitch.running.options import checked_on_error
from gpustitch.running.progress import listed

# Most tiles and frames that are looked at for the sheet, and most pairs of neighbours along y.
_TILES, _FRAMES, _PAIRS = 8, 24, 3
# Most tiles that a message names.
_NAMED = 4


@dataclass(frozen=True)
class Upright:
    """Quarter turns and flip to use; ``note`` says why, ``warning`` what a person must know. Both may be empty."""

    orientation: Orientation
    note: str = ""
    warning: str = ""


def upright(options: PipelineOptions, mosaic: Mosaic) -> Upright:
    """The orientation that the options state, or else the one that the frames show.

    Raises
    ------
    AlignmentError
        If none is stated, and the frames fit none or several; the text names these.
    MosaicError
        If no mosaic of such frames has the places that the tiles' names state.
    DamagedInputError
        If a frame cannot be read.
    """
    evidence = _Evidence(options, mosaic)
    sheet = evidence.of_sheet()
    if options.orientation is not None:
        stated = options.orientation
        evidence.check_places(stated)
        if stated in sheet:
            return Upright(stated, warning=_mirrored_text(evidence, stated))
        seen = either(map(named, sheet))
        return Upright(stated, warning=f"the frames look as if {seen} put them upright, not {named(stated)} as stated")
    if len(sheet) == len(WAYS):
        raise evidence.error()
    evidence.check_places(sheet[0])
    pairs = evidence.pairs()
    found = next((f for pair in pairs if len(f := evidence.of_overlap(pair, sheet)) == 1), sheet)
    if len(found) > 1:
        return _of_two(found, has_neighbours=bool(pairs))
    orientation = found[0]
    mirror = mirrored(orientation)
    names = list(ORIENTATIONS.values())
    other = evidence.other_y
    if mirror in names and orientation not in names:
        raise AlignmentError(
            f"the overlaps along y fit {named(orientation)}, which is of no known microscope; its mirror image, "
            f"{named(mirror)} {other}, fits as well: give one of them",
            parameter="preset",
        )
    note = f"frames are put upright by {named(orientation)}, as they and their overlaps show"
    if orientation in names:
        return Upright(orientation, note)
    return Upright(orientation, warning=f"{note}; the mirror image, {named(mirror)} {other}, fits as well")


def _mirrored_text(evidence: _Evidence, stated: Orientation) -> str:
    """What to say if the overlaps along y fit the mirror image of the stated orientation alone; else nothing."""
    mirror = mirrored(stated)
    if not any(evidence.of_overlap(pair, (stated, mirror)) == (mirror,) for pair in evidence.pairs()):
        return ""
    return (
        f"the overlaps along y fit {named(mirror)}, or {named(stated)} {evidence.other_y}, but not {named(stated)} as "
        "stated: tiles along y lie in the wrong order"
    )


def named(orientation: Orientation) -> str:
    """An orientation as options state it."""
    preset = next((f" (`preset` {name})" for name, known in ORIENTATIONS.items() if known == orientation), "")
    turns, flips = orientation
    return f"`rotate_90` {turns} {'with' if flips else 'without'} `flip_ud`{preset}"


def _of_two(found: Sequence[Orientation], *, has_neighbours: bool) -> Upright:
    """The known one of two orientations that are mirror images."""
    if has_neighbours:
        raise _undecided(found, "no overlap along y correlates better in one of them")
    known = [o for o in found if o in ORIENTATIONS.values()]
    if len(known) != 1:
        raise _undecided(found, "there are no neighbours along y to tell which way y runs")
    warning = f"no neighbours along y tell which way y runs: {named(known[0])} is taken, as it is a known microscope's"
    return Upright(known[0], f"frames are put upright by {named(known[0])}, as they show", warning)


def _undecided(found: Sequence[Orientation], why: str) -> AlignmentError:
    fit = "all orientations" if len(found) == len(WAYS) else either(map(named, found))
    return AlignmentError(
        f"the orientation of the frames is not clear: {fit} fit alike, for {why}; give `preset`, or `rotate_90` and "
        "`flip_ud`",
        parameter="preset",
    )


class _Evidence:
    """What the frames of a mosaic show; those in its middle are looked at first."""

    def __init__(self, options: PipelineOptions, mosaic: Mosaic) -> None:
        self._options = options
        self._opened: dict[str, Frames] = {}
        middle = np.mean([tile.stage_um for tile in mosaic.tiles], axis=0)
        self._tiles = sorted(mosaic.tiles, key=lambda tile: math.dist(tile.stage_um, middle))
        self._mosaic = mosaic
        # Positions of an alignment file lie the way that it says.
        aligned = None if options.align_file is None else read_alignment(options.align_file).negative_y
        self._negative_y = options.negative_y if aligned is None else aligned
        self.other_y = "without `negative_y`" if self._negative_y else "with `negative_y`"
        along_z = column_step_um(options.y_voxel_um, options.angle_deg)[1]
        self._spacing = Spacing(along_z, options.y_voxel_um, options.x_step_um)

    def of_sheet(self) -> tuple[Orientation, ...]:
        """The orientations that single frames allow."""
        tiles = self._tiles[:_TILES]
        each = -(-_FRAMES // len(tiles))
        return by_sheet([self._chosen(frames, each) for frames in map(self._frames, tiles)], self._spacing)

    @staticmethod
    def _chosen(frames: Frames, count: int) -> tuple[Frames, list[int]]:
        """The numbers of so many frames of a tile, evenly spaced."""
        there = sorted(set(range(frames.shape[0])) - frames.absent)
        middles = (round(len(there) * (i + 0.5) / count - 0.5) for i in range(count) if there)
        return frames, sorted({there[i] for i in middles})

    def error(self) -> AlignmentError:
        """The error of frames that allow all orientations: tiles contradict one another, or show too little."""
        found: dict[tuple[Orientation, ...], list[str]] = {}
        for tile in self._tiles[:_TILES]:
            seen = by_sheet([self._chosen(self._frames(tile), _FRAMES)], self._spacing)
            if len(seen) < len(WAYS):
                found.setdefault(seen, []).append(tile.name)
        if len(found) < 2:
            return _undecided(WAYS, "the frames show too little, or nothing but noise")
        each = "; ".join(f"{either(map(named, ways))}: {listed(names, _NAMED)}" for ways, names in found.items())
        return AlignmentError(
            "tiles were recorded in several ways: their frames are turned, or in reverse order, against those of "
            f"others ({each}); make all tiles alike, or leave some out",
            parameter="preset",
        )

    def check_places(self, orientation: Orientation) -> None:
        """Raise MosaicError if no mosaic of such frames has these places."""
        options = self._options
        scan = ObliqueScan(
            *Oriented(self._frames(self._tiles[0]), *orientation).shape,
            options.y_voxel_um,
            options.x_step_um,
            options.angle_deg,
        )
        origins = stage_origins(self._mosaic, scan.spacing, z_offset=options.z_offset, negative_y=self._negative_y)
        check_distances(origins, scan.coverage, scan.spacing)

    def of_overlap(self, pair: tuple[TilePath, TilePath], among: Sequence[Orientation]) -> tuple[Orientation, ...]:
        """Those orientations that an overlap along y allows too."""
        first, second = pair
        x, y, _ = (b - a for a, b in zip(first.stage_um, second.stage_um, strict=True))
        apart = (x, -y if self._negative_y else y)
        return by_overlap(Neighbours(self._frames(first), self._frames(second), apart), self._spacing, among)

    def pairs(self) -> list[tuple[TilePath, TilePath]]:
        """Some pairs of tiles that follow one another along y."""
        n_frames, *sides = self._frames(self._tiles[0]).shape
        z_um, y_um, x_um = np.multiply((min(sides), min(sides), n_frames), self._spacing.zyx_um).tolist()
        grid = self._mosaic.grid_um((x_um, y_um, z_um))
        at = {
            tuple(bisect.bisect_right(places, um) for places, um in zip(grid, tile.stage_um, strict=True)): tile
            for tile in reversed(self._tiles)
        }
        return [(tile, at[x, y + 1, z]) for (x, y, z), tile in reversed(at.items()) if (x, y + 1, z) in at][:_PAIRS]

    def _frames(self, tile: TilePath) -> Frames:
        if tile.name not in self._opened:
            options = self._options
            skips = checked_on_error(options.on_error)
            opened = open_frames(
                tile.path, allow_missing=options.allow_missing, skip_damaged=skips, choice=options.choice
            )
            self._opened[tile.name] = Readable(opened, skips=skips)
        return self._opened[tile.name]
