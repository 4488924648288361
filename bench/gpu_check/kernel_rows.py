"""The rows of the bench of CUDA bodies: each row puts arguments on the device and states the least work on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np

from gpustitch.array import Array, Device, to_device
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.model import Box, Coverage, ObliqueScan, PlacedVolume, Spacing
from gpustitch.oblique.align.blob_lists import listed_blobs
from gpustitch.oblique.align.blobs import ball
from gpustitch.oblique.align.overlaps.climb import RESULTS, climb
from gpustitch.oblique.align.shifts.images import Layout, images_shared
from gpustitch.oblique.deskew.deoblique import plane_offsets, shear_lerp
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions, destripe_lightsheet
from gpustitch.oblique.flat.flatfield import flat_counts
from gpustitch.oblique.flat.histogram import count_between, histogram, percentile_bin
from gpustitch.oblique.fuse.blend import Footprint
from gpustitch.oblique.fuse.fuse import fuse_block, plan_block
from gpustitch.oblique.fuse.tables import Tables
from gpustitch.oblique.stream.fuse_frames import fuse_frames
from gpustitch.oblique.stream.sheet import Taps, along_sheet, box_of, drift_of, stacked
from gpustitch.oblique.stream.windows import window_of
from gpustitch.ops.pyramid import halve, halve_max, halve_mode
from gpustitch.ops.smooth import gaussian_weights, smooth_along
from gpustitch.regrid.plan import ZGrid, plan_z, sorted_series
from gpustitch.regrid.zresample import planes_between
from gpustitch.sections.similarity.banded import banded_correlation

# Sizes: frames, rows and columns to de-oblique, count and destripe; voxels to halve; windows that walk, by side;
# voxels to fuse; frames, rows and planes of the sheet to fuse; planes to compare, each with how many later planes.
FRAMES = (512, 1024, 256)
COUNTED = (256, 512, 1024)
DESTRIPED = (16, 2048, 2048)
VOLUME = (256, 1024, 1024)
WINDOWS = {21: 10_000, 51: 1_000}
FUSED = (128, 512, 512)
SHEET = (64, 2048, 1024)
PLANES, MAX_LAG = (160, 1024, 1024), 50
RENDERED = (128, 1024, 1024)
# Boxes in which points are sought, with what filters need around them, and their side; side of strips of an overlap,
# and how far they are shifted on each axis.
BOXES = (24, 80)
STRIPS, REACH = 96, 16


@dataclass(frozen=True)
class Work:
    """One operation on arguments that lie on the device.

    For ``items`` of a ``unit``, the operation must at least read and write ``n_bytes``. It must do at least ``flops``
    operations on floats.
    """

    what: str
    launch: Callable[[], Any]
    n_bytes: int
    items: int
    unit: str = "voxel"
    flops: int = 0


Row = Callable[[Any, Device], Work]


def random_of(cupy: Any, device: Device, shape: tuple[int, ...], dtype: str, most: int = 65535) -> Array:
    """Numbers from 0 to ``most``: a million at random, repeated."""
    rng = np.random.default_rng(0)
    few = to_device(rng.integers(0, most, 1 << 20, endpoint=True).astype(dtype), device)
    size = int(np.prod(shape))
    numbers: Array = cupy.tile(few, -(-size // few.size))[:size].reshape(shape)
    return numbers


def deoblique(cupy: Any, device: Device, *, dtype: str, shear: float) -> Work:
    """A block inside the coverage: one frame voxel is read for each voxel written."""
    n_frames, n_rows, n_planes = FRAMES
    frames = random_of(cupy, device, FRAMES, dtype, np.iinfo(dtype).max if dtype != "float32" else 65535)
    first = int(np.ceil(shear * n_planes))
    out = cupy.empty((n_planes, n_rows, n_frames - first), dtype)
    offset, weight = (to_device(a, device) for a in plane_offsets(shear, 0, n_planes))
    offset += first
    return Work(
        f"shear_lerp {dtype}, shear {shear}", partial(shear_lerp, frames, out, offset, weight), 2 * out.nbytes, out.size
    )


def pyramid(cupy: Any, device: Device, *, twin: Callable[[Array, Array], None], dtype: str, odd: bool = False) -> Work:
    """A volume halved; rows of odd length do not begin at whole words."""
    shape = tuple(n - odd for n in VOLUME)
    volume = random_of(cupy, device, shape, dtype, 3 if twin is halve_mode else 255)
    out = cupy.empty([-(-n // 2) for n in shape], dtype)
    what = f"{twin.__name__} {dtype} {'x'.join(map(str, shape))}"
    return Work(what, partial(twin, volume, out), volume.nbytes + out.nbytes, volume.size)


def walking(cupy: Any, device: Device, *, side: int) -> Work:
    """Windows at all 27 shifts: one step of their walks."""
    n = WINDOWS[side]
    whole = (side + 2,) * 3
    windows = random_of(cupy, device, (2 * n, math.prod(whole)), "float32")
    places = to_device(np.array([[*whole, 1, 1, 1]] * (2 * n)), device)
    out = cupy.zeros((n, RESULTS))
    return Work(
        f"climb {n} windows of {side}^3, a step",
        partial(climb, windows, places, side, side, side, out, 1),
        (math.prod(whole) + side**3) * 4 * n + out.nbytes,
        n,
        "window",
        27 * 2 * side**3 * n,
    )


def smoothed(cupy: Any, device: Device, *, axis: int) -> Work:
    """Windows with their surroundings, smoothed along one axis by 17 weights."""
    n, side = WINDOWS[21], 37
    voxels = random_of(cupy, device, (n, side**3), "float32")
    places, out = to_device(np.array([[side] * 3] * n), device), cupy.empty(voxels.shape, "float32")
    weights = to_device(gaussian_weights(2.0), device)
    launch: Callable[[], Any] = partial(smooth_along, voxels, places, weights, out, axis)
    n_flops = 2 * weights.size * voxels.size
    return Work(f"smooth_along axis {axis}", launch, voxels.nbytes + out.nbytes, voxels.size, "voxel", n_flops)


def points(cupy: Any, device: Device) -> Work:
    """Boxes in which local maxima are listed: two Gaussians, judged and listed."""
    n, side = BOXES
    voxels = random_of(cupy, device, (n, side**3), "uint16")
    places, offsets = to_device(np.array([[side] * 3] * n), device), to_device(np.array(ball([1.5, 1.1, 1.5])), device)
    weights = [[to_device(gaussian_weights(k * s), device) for s in (1.5, 1.1, 1.5)] for k in (1, 3)]
    launch: Callable[[], Any] = partial(
        listed_blobs, voxels, places, offsets, weights[0], weights[1], 1e-5, 1024, False
    )
    n_flops = 2 * voxels.size * sum(w.size for of_one in weights for w in of_one)
    return Work(
        f"listed_blobs {n} boxes of {side}^3", launch, voxels.nbytes + 4 * voxels.size, voxels.size, "voxel", n_flops
    )


def compared(cupy: Any, device: Device, *, is_masked: bool) -> Work:
    """Two strips at all shifts in reach, and four mirror images of one."""
    layout = Layout((STRIPS,) * 3, (STRIPS,) * 3, (-REACH,) * 3, (REACH,) * 3, is_masked)
    own = layout.tables([(), (0,), (1,), (2,), (0, 1, 2)])
    tables, sizes = own._make(to_device(t, device) for t in own), to_device(own.sizes.astype(float), device)
    values = random_of(cupy, device, (2, layout.room), "float32")
    masks = cupy.ones((2 * is_masked, layout.room), "float32")
    transformed = 4 * math.prod(layout.padded) * len(own.mirrors) * len(own.pairs)
    return Work(
        f"images_shared {STRIPS}^3, reach {REACH}{', masked' if is_masked else ''}",
        partial(images_shared, values, masks, sizes, layout, tables, len(own.mirrors)),
        values.nbytes + 2 * transformed,
        math.prod(layout.counts) * len(own.mirrors),
        "shift",
    )


def counted(cupy: Any, device: Device, *, what: str) -> Work:
    """Pixels of frames counted: a histogram of 1024 bins of 4 counts, or the percentile bin without a histogram."""
    frames = random_of(cupy, device, COUNTED, "uint16", 4095)
    count, bins = (cupy.zeros(COUNTED[1:], "int32") for _ in range(2))
    count_between(frames, count, 150, 4096)
    if what == "histogram":
        out = cupy.zeros((*COUNTED[1:], 1024), "uint32")
        histogram(frames, out, 150, 4)
        added_bytes = 2 * out.itemsize * int(cupy.count_nonzero(out))  # each bin that is hit is read and written
        return Work(what, partial(histogram, frames, out, 150, 4), frames.nbytes + added_bytes, frames.size, "sample")
    if what == "count_between":
        launch: Callable[[], Any] = partial(count_between, frames, count, 150, 4096)
        return Work(what, launch, frames.nbytes + count.nbytes, frames.size, "sample")
    launch = partial(percentile_bin, frames, count, bins, 95.0, 1024, 4, 150)
    return Work(what, launch, frames.nbytes + count.nbytes + bins.nbytes, frames.size, "sample")


def flat(cupy: Any, device: Device) -> Work:
    """Dark offset and flat field of float frames."""
    images, out = random_of(cupy, device, DESTRIPED, "float32"), cupy.empty(DESTRIPED, "uint16")
    gain = cupy.ones(DESTRIPED[1:], "float32")
    n_bytes = images.nbytes + out.nbytes + gain.nbytes
    return Work("flat_counts", partial(flat_counts, images, gain, out, 100.0, False), n_bytes, out.size, "pixel")


def destriped(cupy: Any, device: Device, *, method: str) -> Work:
    """Whole frames without their stripes: the counts are read, the result written."""
    frames = random_of(cupy, device, DESTRIPED, "uint16", 4095)
    result_bytes = 4 * frames.size  # float32
    launch: Callable[[], Any] = partial(destripe_lightsheet, frames, LightsheetOptions())
    if method == "wavelet":
        # PyWavelets may be missing: the other rows do without.
        from gpustitch.oblique.destripe.wavelet import destripe_wavelet
        from gpustitch.oblique.destripe.wavelet_options import WaveletOptions

        launch = partial(destripe_wavelet, frames, WaveletOptions(128, 512, wavelet="db5"))
    if method == "guarded notch":
        from gpustitch.oblique.destripe.guarded_notch.notch import Notch, destripe_guarded
        from gpustitch.oblique.destripe.wavelet_options import NOTCH_LENGTH_PX, NOTCH_LEVELS

        launch = partial(destripe_guarded, frames, Notch(NOTCH_LENGTH_PX, NOTCH_LEVELS, "db3"), 100.0)
    return Work(f"{method} destripe, whole", launch, frames.nbytes + result_bytes, DESTRIPED[0], "frame")


def fused(cupy: Any, device: Device, *, n_tiles: int) -> Work:
    """A block where ``n_tiles`` tiles at sub-voxel positions see every voxel."""
    depth, height, width = (n + 4 for n in FUSED)
    values = np.random.default_rng(0).integers(0, 65536, (depth, height, width), dtype=np.uint16)
    volume = ArrayVolume(values, Spacing(1, 1, 1), Coverage(width, height, depth))
    places = [(0.3, 0.4, 0.6), (0.1, 1.7, 0.2)][:n_tiles]
    plan = plan_block(
        Box.of_shape(FUSED, (1, 2, 1)), [PlacedVolume(str(n), volume, place) for n, place in enumerate(places)]
    )
    voxels = {number: to_device(volume.read(need), device) for number, need in plan.reads.items()}
    size = plan.box.size
    n_bytes = sum(array.nbytes for array in voxels.values()) + size * values.itemsize
    return Work(f"fuse_block, {n_tiles} tiles", partial(fuse_block, plan, voxels), n_bytes, size)


class _Frames:
    """Shape and type of frames that lie on the device already."""

    absent: frozenset[int] = frozenset()

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint16)

    def read(self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)) -> NoReturn:
        """Nothing is read."""
        raise NotImplementedError


def fused_frames(cupy: Any, device: Device, *, n_tiles: int) -> Work:
    """A part of the sheet where ``n_tiles`` tiles at sub-voxel positions see every voxel."""
    n_frames, n_rows, n_planes = SHEET
    scan = ObliqueScan(*SHEET, 1.8, 1.8 / math.sqrt(2))
    places = [(0.3, 0.4, 0.6), (0.1, 1.7, 0.2)][:n_tiles]
    tiles = [PlacedVolume(str(n), ObliqueTile(_Frames(SHEET), scan), place) for n, place in enumerate(places)]
    planes, part = (1, n_planes - 1), Box((1, 2, 3), (n_planes - 1, n_rows - 1, n_frames - 3))  # z, y, f
    drift = drift_of(scan.shear, n_planes)[slice(*planes)]
    start, shape = part.start[2], part.shape[::-1]
    box = box_of(planes, (part.start[1], part.stop[1]), (start, part.stop[2]), drift)
    prints = [Footprint.of(tile, *planes) for tile in tiles]
    windows = [window_of(tile, part) for tile in tiles]
    tables = along_sheet(Tables.of(box, tiles, prints), box, start, shape[0], drift).in_boxes(windows, {})
    starts, shares = stacked([Taps.of(tile, of, planes[0], drift) for tile, of in zip(tiles, prints, strict=True)])
    frames = [random_of(cupy, device, (n_frames, *window.shape[1::-1]), "uint16") for window in windows]
    t, out = tables.moved_to(cupy), cupy.empty(shape, "uint16")
    launch = partial(
        fuse_frames, frames, cupy.asarray(starts + start), cupy.asarray(shares),
        t.bounds, t.columns, t.edges, t.planes, t.rows, t.axes, out,
    )  # fmt: skip
    return Work(f"fuse_frames, {n_tiles} tiles", launch, (n_tiles + 1) * out.nbytes, out.size)


def similarity(cupy: Any, device: Device) -> Work:
    """Every plane compared with the planes after it: the products of the band alone."""
    planes = random_of(cupy, device, PLANES, "uint16", 4095)
    pairs = sum(min(MAX_LAG, PLANES[0] - 1 - i) for i in range(PLANES[0]))
    pixels = PLANES[1] * PLANES[2]
    return Work(
        f"banded_correlation, max_lag {MAX_LAG}",
        partial(banded_correlation, planes, MAX_LAG),
        planes.nbytes,
        pairs * pixels,
        "pair_and_pixel",
        2 * pairs * pixels,
    )


def rendered(cupy: Any, device: Device) -> Work:
    """Evenly spaced planes between sections at irregular positions."""
    n, rows, columns = RENDERED
    sections = [random_of(cupy, device, (rows, columns), "uint16") for _ in range(n)]
    positions = np.arange(n) + np.random.default_rng(0).uniform(-0.3, 0.3, n)
    plan = plan_z(sorted_series(positions), ZGrid(float(positions[0]), 1.0, n - 1))
    n_bytes = 2 * (n + n - 1) * rows * columns
    return Work(
        "planes_between",
        partial(planes_between, sections, plan.lower, plan.upper, plan.weight),
        n_bytes,
        (n - 1) * rows * columns,
    )


ROWS: list[Row] = [
    partial(deoblique, dtype="uint16", shear=1.0),
    partial(deoblique, dtype="uint16", shear=0.9),
    partial(deoblique, dtype="uint8", shear=0.9),
    partial(deoblique, dtype="float32", shear=0.9),
    partial(pyramid, twin=halve, dtype="uint16"),
    partial(pyramid, twin=halve, dtype="uint16", odd=True),
    partial(pyramid, twin=halve, dtype="uint8"),
    partial(pyramid, twin=halve, dtype="float32"),
    partial(pyramid, twin=halve_max, dtype="uint16"),
    partial(pyramid, twin=halve_mode, dtype="uint32"),
    partial(walking, side=21),
    partial(walking, side=51),
    partial(smoothed, axis=0),
    partial(smoothed, axis=2),
    points,
    partial(compared, is_masked=False),
    partial(compared, is_masked=True),
    partial(counted, what="count_between"),
    partial(counted, what="percentile_bin"),
    partial(counted, what="histogram"),
    flat,
    partial(destriped, method="wavelet"),
    partial(destriped, method="guarded notch"),
    partial(destriped, method="lightsheet"),
    partial(fused, n_tiles=1),
    partial(fused, n_tiles=2),
    partial(fused_frames, n_tiles=1),
    partial(fused_frames, n_tiles=2),
    similarity,
    rendered,
]
