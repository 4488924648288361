"""What a correction did to frames, measured without truth: stripes left, cells kept, tissue changed, direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.errors import ParameterError
from gpustitch.oblique.destripe.measured.direction import direction_of, in_blocks
from gpustitch.oblique.destripe.measured.row_lines import DIM, RowLines
from gpustitch.oblique.destripe.measured.spots import Spots

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Limits of what is fine.
LEAST_KEPT = 97.0
MOST_COARSE = 1.5
MOST_OFF_ROWS_DEG = 3.0
# Stripes below this, in %, need no removal; those that keep more than this share were not reduced.
_NO_STRIPES, _REDUCED = 1.5, 0.9
# Fewer cells give no median.
LEAST_CELLS = 10
# Tissue is compared in means of square blocks of so many pixels, smoothed by a Gaussian of so many pixels.
_BLOCK_PX, _COARSE_PX = 4, 12.0
# A stripe scales all of a row over so many pixels.
_ROW_PX = 384
# Brighter than this many times the segment is a cell, not tissue.
_BRIGHT = 1.5
# Fewer blocks of tissue say nothing.
_LEAST_BLOCKS, _LEAST_SHARE = 100, 0.2
# Directions of frames that differ by less are one.
_ALIKE_DEG = 5.0
# So many pixels at the greatest value are saturated, not the brightest few.
_SATURATED_PIXELS = 8


@dataclass(frozen=True)
class DestripeMeasures:
    """What a correction did to one frame or, `combined`, to several. None is what could not be measured.

    Attributes
    ----------
    stripes_left_before, stripes_left_after
        Standard deviation of lines along the rows, in % of the light. After a correction it includes what was taken
        from the tissue along the rows.
    lines_across
        The same of lines down the columns of the raw frame: what the tissue itself has.
    coarse
        Change of the tissue at a scale of 12 pixels, in % of the light (standard deviation); what is the same all along
        a row, as a stripe is, does not count.
    direction_deg
        Angle of the strongest lines against the rows, -90 to 90 degrees; positive where lines run down to the right.
        None also where nothing is like a line.
    kept, halos
        For each compact bright spot the contrast kept, in % (of counts if the background was removed), and the change
        of the tissue beside it, in %.
    n_frames
        Number of frames.
    background_removed
        Whether the correction subtracts the background.
    is_destriped
        Whether the correction removes stripes at all.
    """

    stripes_left_before: float | None
    stripes_left_after: float | None
    lines_across: float | None
    coarse: float | None
    direction_deg: float | None
    kept: tuple[float, ...] = ()
    halos: tuple[float, ...] = ()
    n_frames: int = 1
    background_removed: bool = False
    is_destriped: bool = True

    @property
    def n_cells(self) -> int:
        """Number of compact bright spots that were measured."""
        return len(self.kept)

    @property
    def cells_kept(self) -> float | None:
        """Median contrast that spots kept, in %; None if there are fewer than ten."""
        return float(np.median(self.kept)) if len(self.kept) >= LEAST_CELLS else None

    @property
    def halo(self) -> float | None:
        """Mean change of the tissue beside spots, in %; None if there are fewer than ten."""
        return float(np.mean(self.halos)) if len(self.halos) >= LEAST_CELLS else None

    @property
    def has_lines(self) -> bool:
        """Whether lines along the rows of raw frames are no trifle, and more than the tissue has down the columns."""
        before = self.stripes_left_before
        return before is not None and before > max(_NO_STRIPES, self.lines_across or 0)

    @property
    def record(self) -> dict[str, Any]:
        """The figures for a record of provenance; None is null."""
        figures = {
            "stripes_left_before_percent": self.stripes_left_before,
            "stripes_left_after_percent": self.stripes_left_after,
            "lines_across_percent": self.lines_across,
            "cells_kept_percent": self.cells_kept,
            "halo_percent": self.halo,
            "coarse_change_percent": self.coarse,
            "direction_deg": self.direction_deg,
        }
        rounded = {name: None if value is None else round(value, 3) + 0.0 for name, value in figures.items()}
        counts = {"cells": self.n_cells, "frames": self.n_frames, "background_removed": self.background_removed}
        return rounded | counts | {"cautions": list(self.cautions())}

    def lines(self) -> Iterator[str]:
        """The figures for people, one a line."""
        before, after = _percent(self.stripes_left_before), _percent(self.stripes_left_after)
        yield f"stripes: {before} before, {after} after; the tissue has {_percent(self.lines_across)} down the columns"
        unit = "counts" if self.background_removed else "contrast"
        if self.cells_kept is None:
            yield f"cells: not measured, {self.n_cells} spots are too few"
        else:
            yield f"cells: {_percent(self.cells_kept)} of their {unit} kept ({self.n_cells} spots)"
        if not self.background_removed:
            yield f"tissue: change beside cells {_percent(self.halo)}, at a scale of 12 pixels {_percent(self.coarse)}"
        direction = "no lines" if self.direction_deg is None else f"lines at {self.direction_deg:z.1f} degrees"
        yield f"direction: {direction} against the rows"

    def cautions(self) -> Iterator[str]:
        """What users should be warned of."""
        before, after, kept = self.stripes_left_before, self.stripes_left_after, self.cells_kept
        is_asked = self.is_destriped and self.has_lines
        if is_asked and before is not None and after is not None and after > _REDUCED * before:
            yield f"stripes are not reduced: {before:.1f} % of the light before, {after:.1f} % after destriping"
        if kept is not None and kept < LEAST_KEPT:
            yield f"destriping takes cells away: they keep {kept:.1f} % of their contrast"
        if self.coarse is not None and self.coarse > MOST_COARSE:
            yield f"destriping changes the tissue by {self.coarse:.1f} % at a scale of 12 pixels"
        angle = self.direction_deg
        if angle is not None and abs(angle) > 90 - MOST_OFF_ROWS_DEG:
            yield "lines run down the columns, but stripes are removed along the rows: turn the frames by 90 degrees"
        elif angle is not None and abs(angle) > MOST_OFF_ROWS_DEG:
            side = "counter-clockwise" if angle > 0 else "clockwise"
            yield (
                f"lines lie {abs(angle):.1f} degrees off the rows, along which stripes are removed: turn the frames "
                f"by {abs(angle):.1f} degrees {side}"
            )


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A frame before destriping, measured once and compared with any number of corrections of it."""

    light: Floats
    usable: Mask
    rows: RowLines
    spots: list[Spots]
    lines_across: float | None
    direction_deg: float | None

    @classmethod
    def of(cls, raw: npt.NDArray[Any], dark: float) -> RawFrame:
        """Measure a frame (rows, columns) of any real dtype; ``dark`` are its counts without light.

        Raises
        ------
        ParameterError
            If the frame is not 2-D.
        """
        if raw.ndim != 2:
            raise ParameterError(f"`raw` must be a frame (rows, columns), not an array of shape {tuple(raw.shape)}")
        light = _light(raw, dark)
        usable = (raw != 0) & ~_saturated(raw)
        rows = RowLines.of(light)
        lit = usable & _tissue(light, rows.light)
        across = RowLines.of(np.ascontiguousarray(light.T)).before()
        return cls(light, usable, rows, Spots.found(light, usable, rows.light), across, direction_of(light, lit))

    def compared(self, corrected: npt.NDArray[Any], *, background_removed: bool = False) -> DestripeMeasures:
        """Measure what a correction made of the frame; arguments and errors as of `measure`."""
        if corrected.shape != self.light.shape:
            raise ParameterError(
                f"`corrected` must be of {self.light.shape[0]} x {self.light.shape[1]} pixels as the raw frame, "
                f"not an array of shape {tuple(corrected.shape)}"
            )
        after = _light(corrected, 0)
        of_spots = [spots.kept(after, background_removed=background_removed) for spots in self.spots]
        return DestripeMeasures(
            self.rows.before(),
            self.rows.after_subtraction(after) if background_removed else self.rows.after(after),
            self.lines_across,
            None if background_removed else _coarse(self, after),
            self.direction_deg,
            tuple(float(value) for kept, _ in of_spots for value in kept),
            tuple(float(value) for _, halos in of_spots for value in halos),
            background_removed=background_removed,
        )


def measure(
    raw: npt.NDArray[Any], corrected: npt.NDArray[Any], *, dark: float, background_removed: bool = False
) -> DestripeMeasures:
    """Compare a frame with what destriping made of it.

    Parameters
    ----------
    raw
        Frame (rows, columns) as the camera gave it, on the host, any real dtype.
    corrected
        The destriped frame, dark offset subtracted, flat field not divided; any real dtype.
    dark
        Counts of the raw frame without light.
    background_removed
        Whether the correction subtracts the background. Then ``coarse`` and ``halo`` are None.

    Raises
    ------
    ParameterError
        If the two are not 2-D images of one shape.
    """
    return RawFrame.of(raw, dark).compared(corrected, background_removed=background_removed)


def combined(measures: Sequence[DestripeMeasures]) -> DestripeMeasures:
    """The measures of several frames as one: medians over frames, and all spots together.

    Raises
    ------
    ParameterError
        If there are none, or the background was removed from some only.
    """
    if not measures or len({each.background_removed for each in measures}) > 1:
        raise ParameterError("`measures` must be at least one, all of one kind of correction")
    return DestripeMeasures(
        _middle([each.stripes_left_before for each in measures]),
        _middle([each.stripes_left_after for each in measures]),
        _middle([each.lines_across for each in measures]),
        _middle([each.coarse for each in measures]),
        _common_angle([each.direction_deg for each in measures]),
        tuple(value for each in measures for value in each.kept),
        tuple(value for each in measures for value in each.halos),
        sum(each.n_frames for each in measures),
        measures[0].background_removed,
    )


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _common_angle(angles: Sequence[float | None]) -> float | None:
    """The angle that most frames have, whose lines are alike after half a turn; None if most have none or another."""
    turned = np.exp(2j * np.deg2rad([angle for angle in angles if angle is not None]))
    if 2 * len(turned) <= len(angles):
        return None
    middle = turned[np.abs(turned[:, None] - turned).sum(axis=1).argmin()]
    alike = np.abs(np.angle(turned / middle, deg=True)) / 2 < _ALIKE_DEG
    if 2 * np.count_nonzero(alike) <= len(angles):
        return None
    return float(np.angle(turned[alike].mean(), deg=True) / 2)


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:z.1f} %"


def _light(image: npt.NDArray[Any], dark: float) -> Floats:
    """Counts above the offset, float32, not negative and finite."""
    light = image.astype(np.float32)
    if image.dtype.kind == "f":
        light = np.nan_to_num(light, copy=False, posinf=0, neginf=0)
    light -= np.float32(dark)
    return np.maximum(light, 0, out=light)


def _saturated(raw: npt.NDArray[Any]) -> Mask:
    at_end = raw == raw.max(initial=raw.dtype.type(0))
    return at_end if np.count_nonzero(at_end) >= _SATURATED_PIXELS else np.zeros_like(at_end)


def _tissue(light: Floats, level: float) -> Mask:
    """Pixels in blocks that are light enough to be tissue, whose outline has no straight sides."""
    lit: Mask = in_blocks(light, _BLOCK_PX) > DIM * level
    for axis in (0, 1):
        lit = np.repeat(lit, _BLOCK_PX, axis=axis)
    return np.pad(lit, [(0, n - m) for n, m in zip(light.shape, lit.shape, strict=True)])


def _coarse(frame: RawFrame, after: Floats) -> float | None:
    """Standard deviation, in %, of the change of smoothed tissue less that of its row; None without tissue."""
    length, side = frame.rows.length, _BLOCK_PX
    level = np.repeat(np.where(frame.rows.lit, _BRIGHT * frame.rows.means, 0), length, axis=1)
    at = np.s_[: after.shape[0] // side * side, : level.shape[1] // side * side]
    before, after = frame.light[at], after[at]
    tissue = frame.usable[at] & (before < level[at])
    light, kept = np.where(tissue, before, 0), np.where(tissue, after, 0)
    of_row, kept_of_row = (scipy.ndimage.uniform_filter1d(a, _ROW_PX, axis=1, mode="constant") for a in (light, kept))
    light *= np.divide(kept_of_row, of_row, out=np.ones_like(of_row), where=(of_row > 0) & (kept_of_row > 0))
    share, light, kept = (
        scipy.ndimage.gaussian_filter(in_blocks(values, side), _COARSE_PX / side, mode="nearest")
        for values in (tissue.astype(np.float32), light, kept)
    )
    known = (share > _LEAST_SHARE) & (light > 0.1 * share * frame.rows.light)
    if np.count_nonzero(known) < _LEAST_BLOCKS:
        return None
    change = np.log(np.maximum(kept[known], 1e-3 * light[known]) / light[known])
    return 100 * float(np.sqrt(np.mean(change**2, dtype=np.float64)))
