"""What stands still in the camera's picture: dust, hot pixels, stripes of the light.

Two tiles side by side along the stage's way show the same pattern at the same pixels, wherever they are. So their
overlap also correlates where the camera has not moved. The pattern is found in frames of the whole mosaic, which have
nothing else in common, and is taken away before tiles are compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from gpustitch.model import Box, Coverage, Spacing, UmXYZ, Volume
from gpustitch.model.arrays import Floats, Floats32
from gpustitch.oblique.align.in_range import Scaled
from gpustitch.oblique.align.overlaps.camera import CameraView
from gpustitch.oblique.align.overlaps.counted import Counted
from gpustitch.oblique.align.shifts.strip import between_bins, sums_of_bins
from gpustitch.oblique.align.through import Through
from gpustitch.ops.robust import MAD_TO_SIGMA

# Samples of each half of the mosaic that tell whether there is a pattern, and that then tell the pattern; of volumes on
# a disk fewer, of several frames each, for chunks hold many frames.
_FRAMES, _BOXES = (16, 64), (6, 16)
_IN_BOX = (0, 16, 32, 48)
# Frames of the halves that are nearer than this on all axes, um, may show the same part of the specimen.
_APART_UM = 60.0
# Frames of a tile that are so far apart, um, show each its own part of the specimen.
_OWN_UM = 80.0
# A pattern is there if frames of both halves have this part of their structure in common, and this many times as much
# as it scatters by.
_LEAST_SHARE, _LEAST_TIMES, _LEAST_SAMPLES = 0.002, 4.0, 4
# So many times where neighbouring frames may show the same.
_MORE_TIMES = 8.0
# Displaced by a bin, it fits no better than this; between bins, its best place is no further off, bins.
_BEST, _OFF = 0.98, 0.3
# The level of a pixel is that of a square of so many structures, whether it has a pattern is seen in one of so many.
# Halves without a pattern have the first part in common there, by chance; with the second, all that is found is taken.
# To take less, as least squares would, leaves the same rest in both halves, and that pulls tiles together.
_LEVEL, _AROUND, _CHANCE, _SURE = 24, 10, 0.2, 0.5
# The side of that square is so many bins.
_BINS = 6
# Pixels that are so many standard deviations off in both halves have a pattern of their own: they are hot or dead.
_STANDS_OUT = 5.0
# Prior standard deviation of a pixel's gain, and its range.
_GAIN, _LEAST_GAIN, _MOST_GAIN = 0.1, 0.2, 5.0
# The Gaussian of what counts as level where halves are compared, in those of the structures.
_WIDE = 4.0
_ROUNDING = 1e-6
# Floats are taken times a power of two that makes the brightest pixels of a frame two to this: what a camera counts, so
# that limits in counts hold. So many frames of each half tell the power.
_COUNTS_BITS, _SIZED_BY = 16, 3
# A frame with a pixel beyond this, counts, tells nothing: it is no light, and float32 does not hold its squares.
_MOST_COUNTS = 2.0**40
# Bytes for each pixel while a pattern is found.
_PIXEL_BYTES = 88

_Sample = tuple[str, int]


@dataclass(frozen=True)
class CameraPattern:
    """Pixel values are ``gain`` times what they were without the pattern, and ``more`` counts, both (columns, rows).

    Counts are pixel values times two to ``power``.
    """

    more: Floats32
    gain: Floats32
    power: int = 0


@dataclass(frozen=True)
class _Line:
    """What pixels show more than the level about them, at their mean level: ``more`` plus ``growth`` times the rest."""

    more: Floats32
    growth: Floats32
    level: Floats32


@dataclass(frozen=True)
class Still:
    """The same pattern twice, from frames of two halves of the mosaic: their errors have nothing in common.

    ``share`` is the part of what a frame shows, beside its levels, that is the pattern.
    """

    halves: tuple[CameraPattern, CameraPattern]
    share: float


class Cleared(Through):
    """A volume in counts, less the camera's pattern, float32. What is not covered says nothing."""

    def __init__(self, volume: Volume, pattern: CameraPattern) -> None:
        super().__init__(Scaled(volume, pattern.power) if pattern.power else volume, np.dtype(np.float32))
        self._pattern = pattern

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Voxels of ``box``."""
        inside = box.intersect(Box.of_shape(self.coverage.shape))
        out = np.zeros(box.shape, np.float32)
        if not inside.is_empty:
            at = inside.shift([-n for n in box.start]).slices()
            out[at] = self._cleared(self._volume.read(inside), inside)
        return out

    def _read_along_sheet(self, box: Box) -> npt.NDArray[Any]:
        return self._cleared(self._volume.read_along_sheet(box), box)  # type: ignore[attr-defined]

    def _cleared(self, voxels: npt.NDArray[Any], box: Box) -> Floats32:
        # Along the sheet and upright, a plane is a column of the camera, and a row is one of its rows.
        at = (*box.slices()[:2], None)
        out: Floats32 = np.subtract(voxels, self._pattern.more[at], dtype=np.float32)
        out /= self._pattern.gain[at]
        return out


def find_still(
    volumes: Mapping[str, Volume], stage_um: Mapping[str, UmXYZ], sigma_um: float
) -> tuple[Still | None, int]:
    """The camera's pattern, None if there is none or nothing tells, and how many bytes were read.

    Parameters
    ----------
    volumes
        The tiles, along a sheet.
    stage_um
        Stage position (x, y, z) of each tile.
    sigma_um
        Size of the smallest structure, um.
    """
    shapes = {v.coverage.shape[:2] for v in volumes.values()}
    if len(volumes) < 2 or len(shapes) > 1 or not all(v.coverage.shear for v in volumes.values()):
        return None, 0
    counted = {name: Counted(volume) for name, volume in volumes.items()}
    power = _power(counted, stage_um)
    views = {name: CameraView(Scaled(v, power) if power else v) for name, v in counted.items()}
    spacing = next(iter(views.values())).spacing
    few, many = _FRAMES if all(view.reads_frames for view in views.values()) else _BOXES
    still, share = None, 0.0
    for apart_um, times in ((_OWN_UM, _LEAST_TIMES), (0.0, _MORE_TIMES)):
        halves = _drawn(views, stage_um, few, apart_um)
        share = _share([_shown(views, half) for half in halves], spacing, sigma_um, times)
        if share or min(map(len, halves)) >= few // 2:
            break
        # Short tiles have few frames that are independent; what more of them show has to be the surer.
    if share:
        lines = [_line(_shown(views, half), spacing, sigma_um) for half in _drawn(views, stage_um, many)]
        still = Still(_patterns(lines, spacing, sigma_um, power), share)
    return still, sum(volume.n_bytes for volume in counted.values())


def pattern_bytes(n_rows: int, n_columns: int) -> int:
    """About the most bytes held while the pattern of such frames is found."""
    return _PIXEL_BYTES * n_rows * n_columns


def _power(volumes: Mapping[str, Volume], stage_um: Mapping[str, UmXYZ]) -> int:
    """The power of two that makes counts of floats; 0 for integers, and where nothing tells.

    The median of frames tells, as one voxel may be far off.
    """
    greatest = []
    views = {name: CameraView(volume) for name, volume in volumes.items() if volume.dtype.kind == "f"}
    for name, frame in itertools.chain.from_iterable(_drawn(views, stage_um, _SIZED_BY) if len(views) > 1 else ()):
        # A plane across the sheet tells it as well, and float64 is not made float32 before it is of a usual size.
        read = views[name].read if views[name].reads_frames else volumes[name].read
        z, y, _ = views[name].coverage.shape
        voxels = np.abs(read(Box((0, 0, frame), (z, y, frame + 1))))
        greatest.append(float(voxels.max(where=np.isfinite(voxels), initial=0)))
    most = float(np.median([value for value in greatest if value > 0] or [0.0]))
    return _COUNTS_BITS - math.frexp(most)[1] if most else 0


def level_px(spacing: Spacing, sigma_um: float) -> tuple[float, float]:
    """How wide (z, y) the surroundings are of which the mean counts as a pixel's level: twice a square."""
    return 2 * _LEVEL * sigma_um / spacing.z_um, 2 * _LEVEL * sigma_um / spacing.y_um


def _drawn(
    views: Mapping[str, CameraView], stage_um: Mapping[str, UmXYZ], count: int, apart_um: float = 0.0
) -> tuple[list[_Sample], ...]:
    """About so many frames of each half of the tiles, spread over them; frames of a tile are ``apart_um`` apart."""
    first, second = (
        list(_of_half(views, members, number / 2, count, apart_um))
        for number, members in enumerate(_halves_of({name: stage_um[name] for name in views}))
    )
    taken = np.array([_place(views, stage_um, s) for s in first]).reshape(-1, 3)
    apart = [np.abs(taken - _place(views, stage_um, s)).max(axis=1).min(initial=math.inf) for s in second]
    return first, [s for s, um in zip(second, apart, strict=True) if um > _APART_UM]


def _halves_of(stage_um: Mapping[str, UmXYZ]) -> tuple[list[str], list[str]]:
    """Every other row of tiles and the rest, or every other tile of one row; each in the order of their places."""
    names = sorted(stage_um, key=lambda name: tuple(reversed(stage_um[name])))
    rows = list(dict.fromkeys(stage_um[name][1:] for name in names))
    numbers = [rows.index(stage_um[name][1:]) if len(rows) > 1 else i for i, name in enumerate(names)]
    first, second = ([n for n, i in zip(names, numbers, strict=True) if i % 2 == half] for half in (0, 1))
    return first, second


def _of_half(
    views: Mapping[str, CameraView], members: Sequence[str], begin: float, count: int, apart_um: float
) -> Iterator[_Sample]:
    """About so many frames of some tiles, as evenly as can be."""
    members = members[:: -(-len(members) // count)]
    each = -(-count // len(members))
    for number, name in enumerate(members):
        coverage, step_um = views[name].coverage, views[name].spacing.x_um
        room = max(1, int(coverage.n_frames * step_um / apart_um)) if apart_um else count
        yield from _spread(name, coverage, min(each, room), number + begin)


def _spread(name: str, coverage: Coverage, count: int, nth: float) -> Iterator[_Sample]:
    """Frames of a tile at even distances, which begin elsewhere in each tile."""
    begin = (0.5 + nth * (np.sqrt(5) - 1) / 2) % 1
    for frame in sorted({int((i + begin) / count * coverage.n_frames) for i in range(count)}):
        if frame not in coverage.absent:
            yield name, frame


def _place(views: Mapping[str, CameraView], stage_um: Mapping[str, UmXYZ], sample: _Sample) -> Floats:
    name, frame = sample
    x, y, z = stage_um[name]
    return np.array([x + frame * views[name].spacing.x_um, y, z])


def _shown(views: Mapping[str, CameraView], samples: Sequence[_Sample]) -> Iterator[Floats32]:
    """What samples show, shape (frames, columns, rows): one frame, or some that are read together."""
    for name, frame in samples:
        view = views[name]
        z, y, n_frames = view.coverage.shape
        within = _IN_BOX[:1] if view.reads_frames else tuple(i for i in _IN_BOX if frame + i < n_frames)
        voxels = view.read(Box((0, 0, frame), (z, y, frame + within[-1] + 1)))
        # Reading tells which frames are absent.
        there = [i for i in within if frame + i not in view.coverage.absent]
        # In the order of the levels: what is computed across the grain of one of them takes ten times as long.
        with np.errstate(over="ignore"):
            images = np.moveaxis(voxels[:, :, there], 2, 0).astype(np.float32, order="C")
        if there and images.min() >= -_MOST_COUNTS and images.max() <= _MOST_COUNTS:
            yield images


def _share(halves: Sequence[Iterator[Floats32]], spacing: Spacing, sigma_um: float, least_times: float) -> float:
    """Which part of a frame's structure both halves have in common at the same pixels; 0 if that is no pattern."""
    first, second = (_bands(half, spacing, sigma_um) for half in halves)
    kept = list(first)
    squares, rows = [square for _, square in kept], []
    total = np.zeros_like(kept[0][0]) if kept else None
    for band, square in second:
        squares.append(square)
        if total is not None:
            total += band
        rows.append([float((band * other).sum(dtype=np.float64)) for other, _ in kept])
    if total is None or min(len(kept), len(rows)) < _LEAST_SAMPLES or not any(squares):
        return 0.0
    common = np.array(rows)
    # Frames without a pattern have as often less in common as more.
    each = [common.mean(axis=axis) for axis in (0, 1)]
    sure = min(m.mean() / max(m.std(ddof=1) / math.sqrt(len(m)), 1e-12) for m in each)
    share = float(common.mean() / np.mean(squares))
    is_there = share > _LEAST_SHARE and sure > least_times
    return share if is_there and _stands_still(np.sum([band for band, _ in kept], axis=0), total) else 0.0


def _stands_still(first: Floats32, second: Floats32) -> bool:
    """Whether two pictures fit best where neither is displaced: a specimen that is alike along x fits anywhere."""
    fits = [
        [float((first * np.roll(second, (i, j), (0, 1))).sum(dtype=np.float64)) for j in (-1, 0, 1)] for i in (-1, 0, 1)
    ]
    if fits[1][1] < _BEST * np.max(fits):
        return False
    for before, here, behind in (fits[1], [row[1] for row in fits]):
        bent = 2 * here - before - behind
        if bent > (1 - _BEST) * here and abs(behind - before) > 2 * _OFF * bent:
            return False
    return True


def _bands(samples: Iterator[Floats32], spacing: Spacing, sigma_um: float) -> Iterator[tuple[Floats32, float]]:
    """Of each sample the mean of its frames, as overlaps are compared, and the sum of squares of a frame."""
    for images in samples:
        bands = np.array([_band(image, spacing, sigma_um) for image in images])
        yield bands.mean(axis=0), float(np.square(bands).sum(dtype=np.float64)) / len(bands)


def _band(image: Floats32, spacing: Spacing, sigma_um: float) -> Floats32:
    """A frame as overlaps are compared at their finest: in bins of the structures, and less its surroundings."""
    bins: npt.NDArray[Any] = image[:, :, None]
    for axis, um in enumerate((spacing.z_um, spacing.y_um)):
        n = min(max(1, round(sigma_um / um)), image.shape[axis])
        bins = sums_of_bins(bins, axis, n) / np.float32(n)
    bins = bins[:, :, 0] - bins.mean(dtype=np.float64).astype(np.float32)
    narrow, wide = (scipy.ndimage.gaussian_filter(bins, sigma) for sigma in (1.0, _WIDE))
    out: Floats32 = narrow - wide
    return out


def _line(samples: Iterator[Floats32], spacing: Spacing, sigma_um: float) -> _Line:
    """Each pixel against the level about it, by least squares.

    The prior of the growth keeps it small where the levels hardly differ.
    """
    n, first, product = 0, None, np.zeros(0, np.float32)
    sums: list[Floats32] = []
    for image in itertools.chain.from_iterable(samples):
        level = _level_about(image, spacing, sigma_um)
        more = image - level
        # Levels less the first ones: their squares lose little to rounding.
        if first is None:
            first, product = level.copy(), np.empty_like(image)
        level -= first
        sums = sums or [np.zeros_like(image) for _ in range(5)]
        sums[0] += more
        sums[1] += level
        for total, a, b in zip(sums[2:], (more, more, level), (more, level, level), strict=True):
            np.multiply(a, b, out=product)
            total += product
        n += 1
    assert first is not None
    more, level, squares, products, levels = (total / np.float32(n) for total in sums)
    variance = np.maximum(squares - more**2, np.float32(_ROUNDING) * squares)
    spread = np.maximum(levels - level**2, 0) + variance / np.float32(n * _GAIN**2)
    growth = (products - more * level) / np.maximum(spread, np.float32(_ROUNDING))
    return _Line(more, growth, level + first)


def _patterns(
    lines: Sequence[_Line], spacing: Spacing, sigma_um: float, power: int
) -> tuple[CameraPattern, CameraPattern]:
    """Of what each half found, the part that both have in common where a pixel lies."""
    first, second = (line.more for line in lines)
    least = np.minimum(np.abs(first), np.abs(second)) * (first * second > 0)
    stands_out = least > _STANDS_OUT * MAD_TO_SIGMA * np.median(np.abs((first, second)))
    common, both = (
        _mean_around(np.where(stands_out, np.float32(0), v), _AROUND, spacing, sigma_um)
        for v in (first * second, (first**2 + second**2) / 2)
    )
    part = np.clip((common / np.maximum(both, np.float32(_ROUNDING)) - _CHANCE) / (_SURE - _CHANCE), 0, 1)
    part[stands_out] = 1
    found = []
    for line in lines:
        gain = np.clip(1 + part * line.growth, _LEAST_GAIN, _MOST_GAIN)
        more = part * line.more - (gain - 1) * line.level
        found.append(CameraPattern(more.astype(np.float32), gain.astype(np.float32), power))
    return found[0], found[1]


def _level_about(image: Floats32, spacing: Spacing, sigma_um: float) -> Floats32:
    """About the mean that :func:`_mean_around` gives, of bins: a tenth of the work."""
    size = [max(3, round(_LEVEL * sigma_um / um)) for um in (spacing.z_um, spacing.y_um)]
    each = [max(1, n // _BINS) for n in size]
    bins: npt.NDArray[Any] = np.pad(
        image, [(0, -n % k) for n, k in zip(image.shape, each, strict=True)], mode="symmetric"
    )[:, :, None]
    for axis, n in enumerate(each):
        bins = sums_of_bins(bins, axis, n) / np.float32(n)
    coarse = [max(1, round(n / k)) for n, k in zip(size, each, strict=True)]
    level: Floats32 = scipy.ndimage.uniform_filter(scipy.ndimage.uniform_filter(bins[:, :, 0], coarse), coarse)
    for axis, (n, k) in enumerate(zip(image.shape, each, strict=True)):
        level = between_bins(level, axis, k, n)
    return level


def _mean_around(image: Floats32, structures: float, spacing: Spacing, sigma_um: float) -> Floats32:
    """The mean about each pixel, twice over a square of so many structures."""
    size = [max(3, round(structures * sigma_um / um)) for um in (spacing.z_um, spacing.y_um)]
    out: Floats32 = scipy.ndimage.uniform_filter(scipy.ndimage.uniform_filter(image, size), size)
    return out
