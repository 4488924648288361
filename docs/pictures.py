"""Draws the pictures of the documentation from runs of the program: ``python -m docs.pictures [NAME ...]``."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from pydicom import dcmread

import gpustitch as gs
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.demo.series.dicom import write_series
from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.verbs.lazy import LazyVolume

FOLDER = Path(__file__).parent / "pictures"
MOST_BYTES = 150_000
_DPI = 90


def geometry() -> Figure:
    """The tilted sheet at some stage positions, and the grid of voxels that it fills."""
    scan = gs.ObliqueScan(n_frames=9, n_rows=4, n_columns=7, pixel_um=1.8, step_um=1.28, angle_deg=45)
    z_um, _, x_um = scan.spacing.zyx_um
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    columns = np.arange(scan.n_columns)
    for frame in range(scan.n_frames):
        # x = f s + c p cos θ, z = c p sin θ
        x = frame * scan.step_um + columns * scan.pixel_um * np.cos(np.deg2rad(scan.angle_deg))
        left.plot(x, columns * z_um, "o-", color="tab:blue", ms=3, lw=1, alpha=0.3 + 0.7 * (frame in (0, 8)))
    arrow = {"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0}
    depth = (scan.n_columns - 1) * z_um
    for text, (start, stop), place in (
        ("s", ((depth, depth + 0.9), (depth + scan.step_um, depth + 0.9)), (depth + scan.step_um / 2, depth + 2.3)),
        ("p", ((-1.0, 0.7), (-1.0 + z_um, 0.7 + z_um)), (-1.4, 2.1)),
        ("θ", ((0, 0), (0, 0)), (1.5, 0.8)),
    ):
        if start != stop:
            left.annotate("", stop, start, arrowprops=arrow)
        left.annotate(text, place, ha="center", va="center", fontsize=13)
    left.set(xlim=(-3, 19.5), ylim=(-1, depth + 3.2))
    left.set(title="frames: a sheet that moves along x", xlabel="x (stage)", ylabel="z (depth)")
    covered = scan.coverage.mask(gs.Box((0, 0, 0), scan.shape))[:, 0]
    right.imshow(covered, cmap="Blues", vmin=-0.3, vmax=2, aspect=z_um / x_um)
    right.set_xticks(np.arange(-0.5, scan.shape[2]), minor=True)
    right.set_yticks(np.arange(-0.5, scan.shape[0]), minor=True)
    right.grid(which="minor", color="0.8")
    right.set(title="voxels: what was seen is a parallelogram", xlabel="x, step s", ylabel="z, step p sin θ")
    left.invert_yaxis()
    left.set_aspect("equal")
    for axes in (left, right):
        axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    return figure


def destriping() -> Figure:
    """A frame of a phantom: raw, and by both methods."""
    spec = PhantomSpec(grid=(1, 1, 1), n_frames=96, n_rows=208, n_columns=384)
    with tempfile.TemporaryDirectory() as folder:
        truth = make_phantom(Path(folder) / "phantom", spec)
        frames = gs.open_frames(truth.channel() / truth.tiles[0].path)[44:52]
    raw = frames[4]
    shown = {
        "raw": raw.astype(float),
        "wavelet": gs.destripe(frames, dark=100)[4].astype(float) + 100,
        "lightsheet": gs.destripe(raw, dark=100, method="lightsheet").astype(float),
    }
    top = np.percentile(raw, 99.7)
    figure = Figure(figsize=(12, 2.6), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0 if title == "lightsheet" else 100, vmax=top)
        axes.set(title=title, xticks=[], yticks=[])
    return figure


def alignment() -> Figure:
    """What two tiles saw in their overlap, by the stage and by the alignment."""
    spec = PhantomSpec(grid=(1, 2, 1), n_frames=120, n_rows=128, n_columns=192, overlap=0.4, stage_error_um=4.0)
    with tempfile.TemporaryDirectory() as folder:
        truth = make_phantom(Path(folder) / "phantom", spec)
        tiles = [np.asarray(_upright(truth, number)) for number in range(2)]
    by_stage = _offset_px(truth)
    found = gs.align(*tiles, offset_px=by_stage)
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    places = {"where the stage puts them": by_stage, "where the alignment does": found.offset_px}
    for axes, (title, offset) in zip(figure.subplots(1, 2), places.items(), strict=True):
        axes.imshow(_both(tiles, offset))
        axes.set(title=title, xticks=[], yticks=[])
    return figure


def _upright(truth: Truth, number: int) -> LazyVolume:
    """A tile, corrected by the true flat."""
    frames = gs.open_frames(truth.channel() / truth.tiles[number].path)
    correction = gs.Correction(dark=truth.spec.sensor.dark, flat=truth.spec.flat())
    return gs.deskew(frames, truth.spec.pixel_um, truth.spec.step_um, truth.spec.angle_deg, correction)


def _offset_px(truth: Truth) -> np.ndarray:
    """Where the stage puts the second tile against the first: voxels (z, y, x)."""
    first, second = (np.array(tile.stage_um[::-1]) for tile in truth.tiles)
    return (second - first) / np.array(truth.spec.scan.spacing.zyx_um)


def _both(tiles: list[np.ndarray], offset_px: np.ndarray) -> np.ndarray:
    """What both tiles have at a shift of whole voxels, the first in magenta, the second in green."""
    z, y, x = (round(v) for v in offset_px)
    n = tiles[0].shape[1]
    seen = tiles[0][60:90, y:n, 60:190], tiles[1][60 - z : 90 - z, : n - y, 60 - x : 190 - x]
    first, second = (np.clip(part.max(0) / np.percentile(part.max(0), 99.5), 0, 1) for part in seen)
    return np.stack([first, second, first], axis=-1)


def sections() -> Figure:
    """A series with damage, swapped blocks and uneven spacing: recorded, put right, and how far from the truth."""
    options = SimulationOptions(
        number=80, rows=256, columns=256, correlation_px=5, spacing_cv=0.4, gaps=1, gap_sections=(3, 3), damaged=2,
        block_swaps=2, seed=4,
    )  # fmt: skip
    series = simulate_series(options)
    stack = series.planes()
    found = gs.z_positions(stack, 10)
    faults = gs.find_faults(gs.similarity(stack, 10), found)
    bad = {section for fault in faults if fault.fault_type == "damaged" for section in fault.sections}
    good = np.array([section for section in range(len(stack)) if section not in bad])
    even = gs.render(stack[good], found.positions[good], z_spacing=0.5)
    true = np.polyval(np.polyfit(series.positions[good], found.positions[good], 1), series.positions)
    recorded = np.polyval(np.polyfit(np.arange(len(true)), true, 1), np.arange(len(true)))
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    before, after, off = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    for axes, volume, title, aspect in ((before, stack, "as recorded", 2), (after, even, "put right", 1)):
        axes.imshow(volume[:, 128, 64:192], cmap="gray", aspect=1.6 * aspect / 2, vmin=1800, vmax=6200)
        axes.set(title=f"a cut along z, {title}", xticks=[], yticks=[])
    off.plot(good, (recorded - true)[good], ".", color="tab:orange", label="as recorded")
    interval = 1.96 * found.uncertainty[good]
    off.errorbar(good, (found.positions - true)[good], interval, fmt=".", label="found, 95 %")
    off.set(title="off by, sections", xlabel="section")
    off.legend()
    return figure


def slices() -> Figure:
    """Two balls in a series whose slices are 1 mm and then 3 mm apart, from the side."""
    along = np.concatenate([np.arange(0, 40, 1.0), np.arange(40, 101, 3.0)])

    def balls(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        first, second = ((x + 2) ** 2 + (y + 2) ** 2 + (z - at) ** 2 < 18**2 for at in (50, 100))
        return np.where(first | second, 400.0, -200.0) + 60 * np.sin(x / 2) * np.sin(z / 3)

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "CT"
        paths = write_series(place, along, shape=(48, 48), pixel_spacing_mm=(1, 1), origin_mm=(-26, -26, 30),
                             pixels=balls)  # fmt: skip
        stacked = np.stack([dcmread(path).pixel_array for path in paths])
        even = np.asarray(gs.resample_slices(place))
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    shown = {"one distance for all slices": stacked, "resampled": even}
    for axes, (title, planes) in zip(figure.subplots(1, 2, sharey=True), shown.items(), strict=True):
        axes.imshow(planes[:, 24], cmap="gray", vmin=-300, vmax=500, origin="lower", extent=(0, 48, 0, along[-1]))
        axes.set(title=title, xlabel="x, mm")
    figure.axes[0].set_ylabel("z, mm")
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    function.__name__: function for function in (geometry, destriping, alignment, sections, slices)
}


def png_of(figure: Figure) -> bytes:
    """A figure as a small PNG, of 255 colours."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    Image.open(drawn).convert("RGB").quantize(255, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def main(names: list[str]) -> None:
    """Draw the pictures of these names, or all."""
    matplotlib.use("Agg")
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        content = png_of(PICTURES[name]())
        (FOLDER / f"{name}.png").write_bytes(content)
        print(f"{name}: {len(content):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
