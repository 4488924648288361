"""Steps on tiles: where one lies beside another, one volume of all, and the whole way from raw frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, cpu_count
from gpustitch.array.namespace import is_array
from gpustitch.errors import MosaicError, ParameterError
from gpustitch.model import Box, Coverage, PlacedVolume
from gpustitch.model.options import filled, leaves
from gpustitch.oblique.align.link import link_tiles
from gpustitch.oblique.align.matching import MatchOptions
from gpustitch.oblique.align.points import Overlap, nearest_voxel
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.options import Intensity
from gpustitch.oblique.fuse.stage import FUSED_TYPES, check_intensity, estimated_last_to_first, gains_of
from gpustitch.oblique.pipeline import stage as pipeline_stage
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.running.threads import Workers
from gpustitch.verbs.labels import stated_by
from gpustitch.verbs.lazy import Computed, ComputedVolume, LazyVolume
from gpustitch.verbs.sources import array_of, device_of, real_numbers, shaped, volume_of, voxels_of
from gpustitch.verbs.told import TOLD
from gpustitch.verbs.typed import typed

Triple = tuple[float, float, float]
_VOLUME_AXES = 3
# Tiles whose sizes differ by less are of one spacing.
_SAME = 1e-6


@dataclass(frozen=True)
class Shift:
    """Where one volume or image lies in another's grid.

    Attributes
    ----------
    offset_px
        Place (z, y, x) of the moving volume's first voxel in the fixed one's grid, voxels; (y, x) of images.
    standard_error_px
        Its standard error on the same axes; None if the volumes do not tell.
    correlation
        Median correlation of the points compared; NaN if there is none.
    reason
        Why the offset cannot be trusted; empty if it can.
    """

    offset_px: tuple[float, ...]
    standard_error_px: tuple[float, ...] | None
    correlation: float
    reason: str = ""

    @property
    def is_found(self) -> bool:
        """Whether the offset can be trusted."""
        return not self.reason


@typed(MatchOptions)
def align(
    fixed: Any,
    moving: Any,
    offset_px: Sequence[float] | None = None,
    *,
    spacing_um: Sequence[float] | None = None,
    search_px: Sequence[int] | None = None,
    **how: Any,
) -> Shift:
    """Find where one volume or image lies beside another, and how sure that is.

    Parameters
    ----------
    fixed, moving
        Volumes (z, y, x), or arrays of any library; or two images (y, x), and then all that follows is (y, x) too.
    offset_px
        Where the moving volume's first voxel is expected in the fixed one's grid, voxels (z, y, x); by default 0.
    spacing_um
        Distance of voxels (z, y, x) of arrays, um; by default 1.
    search_px
        How far from there it is looked for (z, y, x), voxels; by default as the options say, but no further than half
        of an axis.
    **how
        Other fields of :class:`gpustitch.oblique.align.matching.MatchOptions`, such as ``sigma_um``, by which both are
        smoothed before they are compared. Those of windows stay (z, y, x).

    Returns
    -------
    Shift
        In voxels, with a standard error. One that cannot be trusted has a ``reason``.

    Raises
    ------
    ParameterError
        If an option is out of range, or an image is compared with a volume.
    MosaicError
        If the volumes differ in spacing or type.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> from scipy.ndimage import gaussian_filter
    >>> scene = gaussian_filter(np.random.default_rng(0).normal(size=(200, 260)), 2)
    >>> image = np.rint(5000 + 2000 * scene).astype(np.uint16)
    >>> shift = gs.align(image[:, :200], image[:, 60:], offset_px=(0, 55))
    >>> [round(px) for px in shift.offset_px], shift.is_found
    ([0, 60], True)
    """
    fixed, moving = shaped(fixed), shaped(moving)
    n = _axes(fixed, moving)
    offset = _numbers(offset_px, "offset_px", n) or (0.0, 0.0, 0.0)
    search = _numbers(search_px, "search_px", n)
    given = _numbers(spacing_um, "spacing_um", n, leading=1.0)
    device = device_of(fixed)
    if n < _VOLUME_AXES:
        fixed, moving = array_of(fixed)[None], array_of(moving)[None]
    # What states no spacing has that of the other.
    other = _spacing_of(fixed, moving)
    a, b = (volume_of(source, given or (None if _states(source) else other)) for source in (fixed, moving))
    _check_alike([a, b])
    if search is None:
        z, y, x = (min(w, p // 2, q // 2) for w, p, q in zip(MatchOptions().search_px, a.shape, b.shape, strict=True))
    else:
        z, y, x = (math.ceil(v) for v in search)
    options = MatchOptions(search_px=(z, y, x), **how)
    link, _ = link_tiles(
        Overlap(a.volume, b.volume, nearest_voxel(offset)), ("fixed", "moving"), options, (z, y, x),
        np.random.default_rng(options.seed), Workers(cpu_count(), device),
    )  # fmt: skip
    found = [match.correlation for match in link.matches]
    correlation = min(1.0, float(np.median(found))) if found else float("nan")
    error = None if link.sigma_px is None else link.sigma_px[-n:]
    return Shift(link.offset_px[-n:], error, correlation, link.reason)


def _axes(fixed: Any, moving: Any) -> int:
    """Number of axes of both: 3 of volumes, 2 of images."""
    for source in (fixed, moving):
        if not is_array(source) and not hasattr(source, "shape"):
            raise TypeError(f"an array or a volume was expected, not {type(source).__name__}")
    numbers = [len(source.shape) for source in (fixed, moving)]
    if numbers[0] != numbers[1] or numbers[0] not in (_VOLUME_AXES - 1, _VOLUME_AXES):
        raise ParameterError(
            f"`fixed` has {numbers[0]} axes and `moving` {numbers[1]}; both must be volumes (z, y, x) or both images "
            "(y, x)"
        )
    return numbers[0]


def _numbers(given: Sequence[float] | None, name: str, n: int, leading: float = 0.0) -> Triple | None:
    """Three numbers (z, y, x), of which images give the last two; None for none. ParameterError for others."""
    if given is None:
        return None
    values = real_numbers(given, name, n, "z, y, x" if n == _VOLUME_AXES else "y, x")
    z, y, x = (leading,) * (_VOLUME_AXES - n) + values
    return z, y, x


def _states(source: Any) -> bool:
    """Whether a volume or the coordinates of an array say how far apart voxels are."""
    return hasattr(source, "spacing") or stated_by(source) is not None


def _spacing_of(*volumes: Any) -> Triple:
    known = [volume.spacing.zyx_um for volume in volumes if hasattr(volume, "spacing")]
    known += [stated[0].zyx_um for volume in volumes if (stated := stated_by(volume)) is not None]
    return known[0] if known else (1.0, 1.0, 1.0)


@typed(Intensity)
def stitch(
    tiles: Sequence[Any],
    positions_um: Sequence[Sequence[float]],
    spacing_um: Triple | None = None,
    *,
    last_to_first: float | None = Intensity.last_to_first,
    **how: Any,
) -> LazyVolume:
    """Blend several tiles into one lazy volume.

    Parameters
    ----------
    tiles
        Volumes (z, y, x) of one spacing and type, such as :func:`gpustitch.deskew` makes, or arrays of any library.
    positions_um
        Where the first voxel of each is (z, y, x), um. They need not be whole voxels.
    spacing_um
        Distance of voxels (z, y, x) of arrays, um.
    last_to_first
        Brightness of each tile's last row over that of its first, which is evened out.
    **how
        Other fields of :class:`gpustitch.oblique.fuse.options.Intensity`: ``is_estimated`` finds that brightness where
        tiles overlap along y, which reads parts of them.

    Returns
    -------
    LazyVolume
        (z, y, x), of the tiles' type. ``origin_um`` is the least position on each axis. Voxels that no tile covers are
        0. Tiles on a device are blended there.

    Raises
    ------
    ParameterError
        If there is no tile, a position is missing or no number, or arrays come without a spacing.
    MosaicError
        If tiles differ in spacing or type, or are of a type that is not stitched.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> tiles = [np.full((8, 10, 20), value, np.uint16) for value in (100, 200)]
    >>> whole = gs.stitch(tiles, [(0, 0, 0), (0, 0, 30.0)], spacing_um=(2.0, 2.0, 2.0))
    >>> whole
    <ComputedVolume 8 x 10 x 35 uint16, voxels of 2 x 2 x 2 um>
    >>> whole[0, 0, ::17].tolist()
    [100, 150, 200]
    """
    if not len(tiles):
        raise ParameterError("`tiles` is empty")
    try:
        at = np.array(positions_um, np.float64)
    except (TypeError, ValueError):
        at = np.empty(0)
    if at.shape != (len(tiles), 3) or not np.isfinite(at).all():
        raise ParameterError(f"`positions_um` must be three finite numbers (z, y, x) for each of {len(tiles)} tiles")
    volumes = [volume_of(tile, spacing_um) for tile in tiles]
    _check_alike(volumes)
    if volumes[0].dtype.name not in FUSED_TYPES:
        raise MosaicError(f"tiles of {', '.join(FUSED_TYPES)} are stitched, not of {volumes[0].dtype}")
    origin = at.min(0)
    px = (at - origin) / np.array(volumes[0].spacing_um)
    placed = [
        PlacedVolume(str(k), volume.volume, (float(z), float(y), float(x)))
        for k, (volume, (z, y, x)) in enumerate(zip(volumes, px, strict=True))
    ]
    intensity = Intensity(last_to_first, **how)
    check_intensity(intensity)
    if intensity.is_estimated:
        last_to_first = estimated_last_to_first(tuple(placed), intensity, cpu_count(), TOLD)
    z, y, x = (float(v) for v in origin)
    return ComputedVolume(Stitched(placed, gains_of(placed, last_to_first)), (z, y, x))


def _check_alike(volumes: Sequence[LazyVolume]) -> None:
    first = volumes[0]
    for number, volume in enumerate(volumes[1:], 1):
        if not np.allclose(volume.spacing_um, first.spacing_um, rtol=_SAME, atol=0):
            raise MosaicError(f"volume {number} has voxels of {volume.spacing_um} um, the first {first.spacing_um} um")
        if volume.dtype != first.dtype:
            raise MosaicError(f"volume {number} holds {volume.dtype}, the first {first.dtype}; convert one of them")


class Stitched(Computed):
    """Tiles at places in one grid, fused box by box; voxels that no tile covers are 0.

    ``gains`` are the factors of the rows of tiles, by their numbers.
    """

    def __init__(self, tiles: Sequence[PlacedVolume], gains: Mapping[int, npt.NDArray[np.float32]]) -> None:
        first = tiles[0].volume
        ends = [[o + n for o, n in zip(t.origin_px, t.volume.coverage.shape, strict=True)] for t in tiles]
        # The last voxel of a tile is within the volume, and so is what is interpolated beside it.
        z, y, x = (int(np.ceil(max(end[axis] for end in ends))) for axis in range(3))
        xp = first.xp if isinstance(first, Computed) else np
        super().__init__(np.dtype(first.dtype), first.spacing, Coverage(x, y, z), xp)
        self.tiles, self._gains = tuple(tiles), gains

    def _inside(self, box: Box) -> Array:
        plan = plan_block(box, self.tiles)
        if plan.is_empty:
            empty: Array = self.xp.zeros(box.shape, self.dtype)
            return empty
        return fuse_block(
            plan, {n: voxels_of(self.tiles[n].volume, part) for n, part in plan.reads.items()}, self._gains
        )


@typed(PipelineOptions)
def pipeline(channel: str | Path, output: str | Path | None = None, **how: Any) -> Path:
    """Make a stitched, destriped, flat volume of the raw frames of a channel, as ``gpustitch pipeline`` does.

    Parameters
    ----------
    channel
        Folder ``CHANNEL/X/X_Y/Z.dcimg``, or one file.
    output
        Folder to create; by default beside the channel, ``CHANNEL_stitched``.
    **how
        Options by the names of their fields: those of
        :class:`gpustitch.oblique.pipeline.options.PipelineOptions` and of the options in it, such as ``x_step_um``,
        ``angle_deg``, ``method``, ``memory_bytes``.

    Returns
    -------
    Path
        The output folder, which :func:`gpustitch.open_volume` opens.

    Raises
    ------
    ParameterError
        If there is no such option, or one is out of range.
    GpustitchError
        For everything else that the command line refuses.

    Examples
    --------
    >>> import gpustitch as gs
    >>> gs.pipeline("Ex_488_Em_1", "out-488", x_step_um=1.28, y_voxel_um=1.8, method="wavelet")  # doctest: +SKIP
    PosixPath('out-488')
    """
    paths: dict[str, list[tuple[str, ...]]] = {}
    for leaf in leaves(PipelineOptions):
        paths.setdefault(leaf.path[-1], []).append(leaf.path)
    given: dict[tuple[str, ...], Any] = {("channel",): Path(channel)}
    if output is not None:
        given["output",] = Path(output)
    for name, value in how.items():
        found = paths.get(name, [])
        if len(found) != 1:
            known = ", ".join(sorted(paths))
            raise ParameterError(f"`{name}` is {'no option' if not found else 'not one option'} of these: {known}")
        given[found[0]] = value
    options = filled(PipelineOptions, given)
    pipeline_stage.run(pipeline_stage.plan(options), TOLD)
    return Path(options.output)
