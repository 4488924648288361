"""Link two overlapping tiles: find the same points in both, and the offset that the points agree on."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, Device, on, to_device, to_host
from gpustitch.errors import ParameterError
from gpustitch.model import ZYX, Box, Link, Match, Volume
from gpustitch.model.options import documented, option
from gpustitch.oblique.align import ALIGNMENT
from gpustitch.oblique.align.ascend import Summit, ascend, peak
from gpustitch.oblique.align.consensus import consensus
from gpustitch.oblique.align.points import Centres, Overlap, draw_points, is_covered
from gpustitch.oblique.align.search import correlate_all_shifts
from gpustitch.ops.smooth import gaussian_radius, smooth
from gpustitch.running.threads import Workers, ordered_map

# The coarse search averages this many windows and looks at every second voxel: enough to tell the peak from noise.
# From there each match walks uphill by single voxels.
_SEARCH_POINTS = 8
_SEARCH_STEP = 2
# Below this mean correlation of the windows, the search does not know where the tile is.
_SEARCH_TRUST = 0.3
# Handicap of a mean over few windows: this value over sqrt(n), for n windows, is subtracted before means are compared.
_SEARCH_NOISE = 0.2
# Most reads for one match: voxels are read again where a window has walked to the edge of the voxels read.
_FETCHES = 10
# More than this fraction of the matches that correlate must agree.
_AGREEING_PART = 1 / 3


@documented
@dataclass(frozen=True)
class MatchOptions:
    """How points of two tiles are compared. Triples are voxels in the order (z, y, x).

    The random points depend on ``seed`` and the stage positions of the tiles.
    """

    sigma_um: float = option(
        2.5, flag="--sigma", unit="um", help="Smoothing of both tiles before correlation, um.", panel=ALIGNMENT
    )
    sample_count: int = option(20, help="Points compared in each overlap.", panel=ALIGNMENT)
    window_px: ZYX = option(
        (21, 21, 21),
        flag="--window-size",
        text="xyz",
        help="Window around a point that is correlated, odd numbers of voxels x,y,z.",
        panel=ALIGNMENT,
    )
    blob_window_px: ZYX = option(
        (64, 64, 64),
        flag="--blob-detection-window-size",
        text="xyz",
        help="Size of the boxes in which points are sought, voxels x,y,z.",
        panel=ALIGNMENT,
    )
    border_px: ZYX = option(
        (10, 10, 10),
        flag="--border-size",
        text="xyz",
        help="Voxels x,y,z read on each side of a window, so that it can move.",
        panel=ALIGNMENT,
    )
    search_px: ZYX = option(
        (24, 24, 24),
        flag="--search-size",
        text="xyz",
        help="How far the stage may be wrong, voxels x,y,z: a coarse search looks there first; 0,0,0 for none.",
        panel=ALIGNMENT,
    )
    min_correlation: float = option(0.95, help="Points that correlate less are dropped.", panel=ALIGNMENT)
    min_matches: int = option(3, help="Points that must agree for a link to be accepted.", panel=ALIGNMENT)
    seed: int = option(0, help="Start of the random choice of points.", panel=ALIGNMENT)

    def __post_init__(self) -> None:
        if any(n < 1 or n % 2 == 0 for n in self.window_px):
            raise ParameterError(f"`window_px` must be odd and positive, not {_xyz(self.window_px)} (x,y,z)")
        if min(self.blob_window_px) < 1 or min(self.border_px) < 0 or min(self.search_px) < 0:
            raise ParameterError(
                "`blob_window_px` must be at least 1, `border_px` and `search_px` at least 0, not "
                f"{_xyz(self.blob_window_px)}, {_xyz(self.border_px)} and {_xyz(self.search_px)} (x,y,z)"
            )
        if not (math.isfinite(self.sigma_um) and self.sigma_um >= 0):
            raise ParameterError(f"`sigma_um` must be a number of um, 0 or more, not {self.sigma_um}")
        for name, least in (("sample_count", self.sample_count), ("min_matches", self.min_matches)):
            if least < 1:
                raise ParameterError(f"`{name}` must be at least 1, not {least}")
        if self.seed < 0:
            raise ParameterError(f"`seed` must be at least 0, not {self.seed}")
        if not -1 <= self.min_correlation <= 1:
            raise ParameterError(f"`min_correlation` must be between -1 and 1, not {self.min_correlation}")

    @property
    def half_px(self) -> ZYX:
        """Half of the window (z, y, x), not counting its centre."""
        z, y, x = (n // 2 for n in self.window_px)
        return z, y, x


@dataclass(frozen=True)
class LinkCount:
    """How many points of an overlap were compared, how many correlated well enough, and how many agreed."""

    sampled: int = 0
    correlated: int = 0
    agreeing: int = 0


def link_tiles(
    overlap: Overlap, names: tuple[str, str], options: MatchOptions, rng: np.random.Generator, workers: Workers
) -> tuple[Link, LinkCount]:
    """Find where the moving tile lies; the ``reason`` of a link says why it cannot be trusted."""
    starts = [overlap]
    tried, centres = _roomiest(overlap, options)
    if any(options.search_px) and not centres.is_empty:
        shift = coarse_shift(overlap, tried, rng, workers)
        if shift is not None and any(shift):
            starts.insert(0, _shifted(overlap, shift))
    found = []
    for start in starts:
        found.append(_follow(start, names, options, rng, workers))
        if not found[-1][0].reason:
            return found[-1]
    return max(found, key=lambda result: result[1].agreeing)


def coarse_shift(
    overlap: Overlap, options: MatchOptions, rng: np.random.Generator, workers: Workers
) -> tuple[int, int, int] | None:
    """Offset of the moving tile less ``overlap.offset``, to within two voxels; None if nothing stands out.

    A few windows are compared with the moving tile at every second shift up to ``search_px``. Their correlations are
    averaged, because the false peaks of each window lie at other shifts.
    """
    half = options.half_px
    points = draw_points(overlap.fixed, Centres(overlap, half), options.blob_window_px, _SEARCH_POINTS, rng, workers)
    reach = tuple(-(-n // _SEARCH_STEP) for n in options.search_px)
    total = np.zeros([2 * r + 1 for r in reach])
    count = np.zeros_like(total)
    look = functools.partial(_look_around, overlap, options, reach, workers.device)
    for correlation, covered in ordered_map(look, points, workers.n):
        total += np.where(covered, correlation, 0)
        count += covered
    enough = count >= max(1, len(points) // 4)
    if not enough.any():
        return None
    mean = total / np.maximum(count, 1)
    score = np.where(enough, mean - _SEARCH_NOISE / np.sqrt(np.maximum(count, 1)), -np.inf)
    best = np.unravel_index(int(np.argmax(score)), score.shape)
    if mean[best] < _SEARCH_TRUST:
        return None
    # A window found further along in the moving tile means that the tile begins that much earlier.
    z, y, x = (-(int(i) - r) * _SEARCH_STEP for i, r in zip(best, reach, strict=True))
    return z, y, x


def _look_around(
    overlap: Overlap, options: MatchOptions, reach: Sequence[int], device: Device, point: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Correlation of the window about ``point`` at all shifts, and at which shifts the moving tile covers it."""
    half, sigma = options.half_px, _sigma_px(overlap.fixed, options)
    step = (slice(None, None, _SEARCH_STEP),) * 3
    there = point - np.array(overlap.offset)
    wide = [h + r * _SEARCH_STEP for h, r in zip(half, reach, strict=True)]
    here, around = overlap.fixed.read(_window(point, half)), overlap.moving.read(_window(there, wide))
    with on(device):
        fixed, moving = (smooth(to_device(voxels, device), sigma, step) for voxels in (here, around))
        correlation = to_host(correlate_all_shifts(fixed, moving))
    shifts = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), axis=-1) * _SEARCH_STEP
    alone = Centres(Overlap(overlap.moving, overlap.moving, (0, 0, 0)), half)
    covered = alone.contains((shifts + there).reshape(-1, 3)).reshape(shifts.shape[:3])
    return correlation, covered


def _follow(
    overlap: Overlap, names: tuple[str, str], options: MatchOptions, rng: np.random.Generator, workers: Workers
) -> tuple[Link, LinkCount]:
    options, centres = _roomiest(overlap, options)
    if centres.is_empty:
        return _rejected(overlap, names, _no_room(overlap, options)), LinkCount()
    points = draw_points(overlap.fixed, centres, options.blob_window_px, options.sample_count, rng, workers)
    match = functools.partial(_match, overlap, options, workers.device)
    matches = [m for m in ordered_map(match, points, workers.n) if m]
    good = [m for m in matches if m.correlation >= options.min_correlation]
    count = LinkCount(len(points), len(good), 0)
    if not good:
        best = max((m.correlation for m in matches), default=0.0)
        why = (
            f"none of {len(points)} points correlates by {options.min_correlation:g} (best {best:.3f}); give a larger "
            "`search_px` if the stage may be further off, a smaller `min_correlation` if the tiles are noisy"
        )
        return _rejected(overlap, names, why), count
    offsets = np.array([np.subtract(m.fixed_px, m.moving_px) for m in good])
    agreed = consensus(offsets)
    agreeing = tuple(m for m, yes in zip(good, agreed.agrees, strict=True) if yes)
    reason = ""
    if len(agreeing) < options.min_matches or len(agreeing) <= _AGREEING_PART * len(good):
        reason = f"only {len(agreeing)} of {len(good)} matches agree; give a larger `sample_count` or `window_px`"
    link = Link(*names, agreed.offset_px, agreed.scatter_px, agreeing, reason)
    return link, LinkCount(len(points), len(good), len(agreeing))


def _roomiest(overlap: Overlap, options: MatchOptions) -> tuple[MatchOptions, Centres]:
    """Places where both tiles cover a window and all voxels that smoothing draws on.

    If there is no such place, the margin for smoothing is reduced, then the depth of the window. Slanted tiles share
    a slanted strip, and a deep window does not fit into it.
    """
    reach = [gaussian_radius(s) + 1 for s in _sigma_px(overlap.fixed, options)]
    depth, height, width = options.window_px
    for shallower in (1, 2, 4):
        tried = dataclasses.replace(options, window_px=(depth // shallower | 1, height, width))
        for margin in (reach, [r // 2 for r in reach], [1, 1, 1]):
            centres = Centres(overlap, [h + m for h, m in zip(tried.half_px, margin, strict=True)])
            if not centres.is_empty:
                return tried, centres
    return options, centres


def _match(overlap: Overlap, options: MatchOptions, device: Device, point: npt.NDArray[np.int64]) -> Match | None:
    """Follow the window about ``point`` uphill in the moving tile; None if it walks out of the tile."""
    half, sigma = options.half_px, _sigma_px(overlap.fixed, options)
    z, y, x = point.tolist()
    fixed = _smoothed_window(overlap.fixed, (z, y, x), half, sigma, device)
    # A frame that could not be read just now is no longer covered.
    if not is_covered(overlap.fixed.coverage, (z, y, x), half):
        return None
    place: ZYX = (z - overlap.offset[0], y - overlap.offset[1], x - overlap.offset[2])
    grid = Box.of_shape(overlap.moving.coverage.shape)
    for _ in range(_FETCHES):
        if not grid.contains(_window(place, [h + 1 for h in half])):
            return None
        box = _window(place, [h + 1 + b for h, b in zip(half, options.border_px, strict=True)]).intersect(grid)
        voxels = overlap.moving.read(box)
        start = tuple(p - h - b for p, h, b in zip(place, half, box.start, strict=True))
        with on(device):
            moving = smooth(to_device(voxels, device), sigma)
            summit = ascend([fixed], [moving], [(start[0], start[1], start[2])])[0]
        place = _centre(summit, box, half)
        if summit.settled:
            break
    else:
        return None
    if not is_covered(overlap.moving.coverage, place, [h + 1 for h in half]):
        return None
    beside = peak(summit.around)
    found = (place[0] + beside[0], place[1] + beside[1], place[2] + beside[2])
    return Match((z, y, x), found, summit.correlation)


def _smoothed_window(volume: Volume, centre: ZYX, half: ZYX, sigma_px: Sequence[float], device: Device) -> Array:
    """The window, smoothed together with its surroundings, so that no edge of an array falls on it."""
    window = _window(centre, half)
    around = window.pad([gaussian_radius(s) for s in sigma_px]).intersect(Box.of_shape(volume.coverage.shape))
    voxels = volume.read(around)
    with on(device):
        return smooth(to_device(voxels, device), sigma_px, window.slices(around.start))


def _window(centre: Sequence[int] | npt.NDArray[np.int64], half: Sequence[int]) -> Box:
    starts = [int(c) - h for c, h in zip(centre, half, strict=True)]
    return Box.of_shape([2 * h + 1 for h in half], starts)


def _centre(summit: Summit, box: Box, half: ZYX) -> ZYX:
    z, y, x = (p + b + h for p, b, h in zip(summit.position, box.start, half, strict=True))
    return z, y, x


def _sigma_px(volume: Volume, options: MatchOptions) -> tuple[float, ...]:
    return tuple(options.sigma_um / um for um in volume.spacing.zyx_um)


def _shifted(overlap: Overlap, shift: Sequence[int]) -> Overlap:
    z, y, x = (a + b for a, b in zip(overlap.offset, shift, strict=True))
    return Overlap(overlap.fixed, overlap.moving, (z, y, x))


def _rejected(overlap: Overlap, names: tuple[str, str], reason: str) -> Link:
    z, y, x = overlap.offset
    return Link(*names, (float(z), float(y), float(x)), (0.0, 0.0, 0.0), (), reason)


def _no_room(overlap: Overlap, options: MatchOptions) -> str:
    z, y, x = options.window_px
    shear = max(overlap.fixed.coverage.shear, overlap.moving.coverage.shear)
    needed = (z + 2, y + 2, math.ceil(x + 2 + (z + 1) * shear))
    return (
        f"the overlap of {_xyz(overlap.shape)} voxels (x,y,z) has no room for a window, which needs {_xyz(needed)}; "
        "give a smaller `window_px`"
    )


def _xyz(zyx: Sequence[int]) -> str:
    return " x ".join(str(n) for n in reversed(zyx))
