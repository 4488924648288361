"""Which way up the camera's frames are: what frames and overlaps say about the eight ways to turn and flip them.

Two things tell. Tissue looks alike in all directions, so what one frame shows lies in the next one further back along
the tilted sheet: that says along which side of the frame the sheet runs, and whither. Neighbours along y show the same
where they overlap only if the rows run the right way. Neighbours along x say nothing: their frames show the same
whichever way they are turned. Neighbours along z would say what single frames say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.io.frames.opening import Oriented
from gpustitch.model import Frames, Spacing, column_step_um
from gpustitch.model.arrays import Floats
from gpustitch.oblique.align.search import correlate_all_shifts

# Quarter turns of each frame, and whether it is flipped upside down then.
Orientation = tuple[int, bool]
WAYS: tuple[Orientation, ...] = tuple((turns, flips) for flips in (False, True) for turns in range(4))

# Details between these sizes count, a standard deviation and a width: neither noise nor the light's profile.
_FINE_PX, _COARSE_PX = 0.7, 21
# Tissue is sought along the sheet at about these distances, pixels.
_LAGS_PX = (1, 2, 4)
# Widest part of a frame that is compared with later frames, and into how many such parts an axis is cut.
_WINDOW_PX, _PARTS = 256, 3
# A part whose likeness stays below this in all directions shows nothing but noise.
_LEAST_LIKENESS = 0.1
# The right direction is that much more like than any other, by that many standard errors, in that many parts of frames.
_MARGIN, _ERRORS, _LEAST_PARTS = 0.05, 5.0, 5
# How far the stage may be wrong, pixels along the frame and frames; every second frame is looked at.
_SEARCH_PX, _SEARCH_FRAMES = 16, 12
# Frames of the fixed tile that are compared, and the widest window in them.
_PLACES, _OVERLAP_PX = 8, 96
# An overlap that correlates: its mean less so many standard errors is at least this, and so far above that of others.
_TRUST, _TRUST_MARGIN, _TRUST_ERRORS = 0.35, 0.1, 3.0
# Least overlap that is compared, pixels.
_ROOM_PX = 12


def directions(orientation: Orientation) -> tuple[tuple[int, int], tuple[int, int]]:
    """Steps (row, column) in the camera's frame along the rows' axis, and along the columns', of the upright frame."""
    turns, flips = orientation
    at = []
    for index in np.indices((2, 2)):
        turned = np.rot90(index, turns)
        at.append(turned[::-1] if flips else turned)
    down = tuple(int(a[1, 0] - a[0, 0]) for a in at)
    along = tuple(int(a[0, 1] - a[0, 0]) for a in at)
    return (down[0], down[1]), (along[0], along[1])


def mirrored(orientation: Orientation) -> Orientation:
    """The orientation with rows the other way round."""
    (dr, dc), along = directions(orientation)
    return next(o for o in WAYS if directions(o) == ((-dr, -dc), along))


_SHEETS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def by_sheet(tiles: Sequence[tuple[Frames, Sequence[int]]], spacing: Spacing) -> tuple[Orientation, ...]:
    """The two orientations whose columns run along the sheet; all eight if the frames do not tell.

    Parameters
    ----------
    tiles
        Frames as the camera wrote them, and the numbers of those to look at.
    spacing
        Spacing of the de-obliqued grid.
    """
    scores = [s for frames, numbers in tiles for n in numbers if (s := _likeness(frames, n, spacing)) is not None]
    if len(scores) < _LEAST_PARTS:
        return WAYS
    found = np.array(scores)
    best = int(np.argmax(found.mean(axis=0)))
    lead = np.delete(found[:, [best]] - found, best, axis=1)
    errors = lead.std(axis=0, ddof=1) / math.sqrt(len(found))
    if (lead.mean(axis=0) < np.maximum(_MARGIN, _ERRORS * errors)).any():
        return WAYS
    return tuple(o for o in WAYS if directions(o)[1] == _SHEETS[best])


def _likeness(frames: Frames, number: int, spacing: Spacing) -> Floats | None:
    """How like later frames are to one frame, if the sheet runs along each of ``_SHEETS``; None without any detail."""
    lags = [(d, m) for d, m in _lags(spacing) if number + d < frames.shape[0]]
    rows, columns = _busiest(frames.read(number, number + 1)[0])
    height, width = rows.stop - rows.start, columns.stop - columns.start
    lags = [(d, m) for d, m in lags if min(height, width) >= 4 * m + 4]
    if not lags:
        return None
    numbers = [number, *(number + d for d, _ in lags)]
    seen = _detail(np.concatenate([frames.read(n, n + 1, rows, columns) for n in numbers]))
    scores = np.zeros((len(lags), len(_SHEETS)))
    for i, (_, m) in enumerate(lags):
        for j, (dr, dc) in enumerate(_SHEETS):
            # What lay at a pixel lies ``m`` pixels further back along the sheet.
            moved = seen[i + 1][m - m * dr : height - m - m * dr, m - m * dc : width - m - m * dc]
            scores[i, j] = _pearson(seen[0][m : height - m, m : width - m], moved)
    mean: Floats = scores.mean(axis=0)
    return mean if mean.max() >= _LEAST_LIKENESS else None


def _lags(spacing: Spacing) -> Iterator[tuple[int, int]]:
    """Frames, and the pixels along the sheet by which the nearest tissue lies further back in so many frames."""
    along_x = column_step_um(spacing.y_um, spacing.sheet_angle_deg)[0]
    # The nearest point of a tilted plane is at the foot of a perpendicular on it.
    along = spacing.x_um * along_x / spacing.y_um**2
    for wanted in _LAGS_PX:
        n_frames = max(1, round(wanted / along)) if along > 0 else 1
        yield n_frames, max(1, round(n_frames * along))


def _busiest(frame: npt.NDArray[np.generic]) -> tuple[slice, slice]:
    """The part of a frame with most detail."""
    parts = [(r, c) for r in _cuts(frame.shape[0]) for c in _cuts(frame.shape[1])]
    return parts[0] if len(parts) == 1 else max(parts, key=lambda p: float(_detail(frame[p][None]).std()))


def _cuts(length: int) -> list[slice]:
    if length <= _WINDOW_PX:
        return [slice(0, length)]
    starts = np.linspace(0, length - _WINDOW_PX, _PARTS).astype(int).tolist()
    return [slice(start, start + _WINDOW_PX) for start in starts]


def _detail(frames: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    seen = frames.astype(np.float32)
    fine = scipy.ndimage.gaussian_filter(seen, (0, _FINE_PX, _FINE_PX))
    return np.asarray(fine - scipy.ndimage.uniform_filter(seen, (1, _COARSE_PX, _COARSE_PX)))


def _pearson(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float((a * a).sum(dtype=np.float64)) * float((b * b).sum(dtype=np.float64)))
    return float((a * b).sum(dtype=np.float64)) / size if size > 0 else 0.0


@dataclass(frozen=True)
class Neighbours:
    """Frames of two tiles as the camera wrote them, and how far apart (x, y) the stage had them, um."""

    fixed: Frames
    moving: Frames
    apart_um: tuple[float, float]


def by_overlap(pair: Neighbours, spacing: Spacing, among: Collection[Orientation]) -> tuple[Orientation, ...]:
    """Those orientations in which neighbours along y show the same; all of ``among`` if none stands out."""
    offset = (round(pair.apart_um[0] / spacing.x_um), round(pair.apart_um[1] / spacing.y_um))
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for orientation in among:
        # Which way columns run makes no difference to tiles that are not apart along them.
        down = directions(orientation)[0]
        if down not in found:
            fixed, moving = (Oriented(frames, *orientation) for frames in (pair.fixed, pair.moving))
            found[down] = _correlation(fixed, moving, offset)
    (sure, _), right = max((score, down) for down, score in found.items())
    second = max((most for down, (_, most) in found.items() if down != right), default=0.0)
    if sure < max(_TRUST, second + _TRUST_MARGIN):
        return tuple(among)
    return tuple(o for o in among if directions(o)[0] == right)


def _correlation(fixed: Frames, moving: Frames, frames_and_rows: tuple[int, int]) -> tuple[float, float]:
    """The best mean correlation of windows in the overlap: less some standard errors of that mean, and as it is."""
    offset = (*frames_and_rows, 0)
    first = [max(0, o) for o in offset]
    last = [min(n, m + o) for n, m, o in zip(fixed.shape, moving.shape, offset, strict=True)]
    if last[0] <= first[0] or any(b - a < _ROOM_PX for a, b in zip(first[1:], last[1:], strict=True)):
        return 0.0, 0.0
    search = [min(_SEARCH_PX, (b - a) // 4) for a, b in zip(first[1:], last[1:], strict=True)]
    spans = [_middle(a, b, _OVERLAP_PX + 2 * s) for a, b, s in zip(first[1:], last[1:], search, strict=True)]
    there = [slice(s.start - o, s.stop - o) for s, o in zip(spans, offset[1:], strict=True)]
    inner = tuple(slice(s, span.stop - span.start - s) for s, span in zip(search, spans, strict=True))
    maps = []
    for number, here in _most_detailed(fixed, range(first[0], last[0]), spans):
        numbers = range(number - offset[0] - _SEARCH_FRAMES, number - offset[0] + _SEARCH_FRAMES + 1, 2)
        # Beyond the ends of a tile there is nothing: its last frame again adds no false peak.
        inside = [min(max(n, 0), moving.shape[0] - 1) for n in numbers]
        around = _detail(np.concatenate([moving.read(n, n + 1, *there) for n in inside]))
        maps.append(correlate_all_shifts(np.ascontiguousarray(here[:, *inner]), around))
    if len(maps) < 2:
        return 0.0, 0.0
    found = np.array(maps).reshape(len(maps), -1)
    # A true peak is high everywhere; a peak by chance is the mean of very unlike values.
    peak = found[:, int(np.argmax(found.mean(axis=0)))]
    error = float(peak.std(ddof=1)) / math.sqrt(len(peak))
    return float(peak.mean()) - _TRUST_ERRORS * error, float(peak.mean())


def _most_detailed(frames: Frames, numbers: range, spans: Sequence[slice]) -> list[tuple[int, npt.NDArray[np.float32]]]:
    """The numbers and details of the windows that show most, of some that are spread evenly."""
    spread = np.unique(np.linspace(numbers.start, numbers.stop - 1, 3 * _PLACES + 2)[1:-1].astype(int)).tolist()
    seen = [(number, _detail(frames.read(number, number + 1, *spans))) for number in spread]
    return sorted(seen, key=lambda window: -float(window[1].std()))[:_PLACES]


def _middle(start: int, stop: int, most: int) -> slice:
    if stop - start <= most:
        return slice(start, stop)
    middle = (start + stop - most) // 2
    return slice(middle, middle + most)
