"""Makes a phantom: raw camera files of an exactly known specimen, with the truth beside them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.demo.phantom.camera import Stripes, expose, make_stripes
from gpustitch.demo.phantom.specimen import Scene, render
from gpustitch.demo.phantom.truth import FLAT_NAME, STAGE_START_UM, PhantomSpec, TileTruth, Truth, nominal_um
from gpustitch.errors import ParameterError
from gpustitch.io.atomic import atomic_directory, check_free_space, check_output
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_tiff
from gpustitch.model import UmXYZ
from gpustitch.running.progress import SILENT, Progress
from gpustitch.running.threads import checked_workers, ordered_map

_FRAMES_AT_ONCE = 16

SIZES: dict[str, PhantomSpec] = {
    "tiny": PhantomSpec(n_frames=120, n_rows=128, n_columns=64, overlap=0.42),
    "small": PhantomSpec(),
    "wide": PhantomSpec(grid=(1, 2, 1), n_frames=160, n_rows=512, n_columns=1024),
    "medium": PhantomSpec(grid=(2, 3, 1), n_frames=256, n_rows=512, n_columns=512, overlap=0.2),
}


@dataclass(frozen=True)
class PhantomOptions:
    """Which phantom to make, and where."""

    folder: Path
    spec: PhantomSpec
    overwrite: bool = False
    n_workers: int | None = None


@dataclass(frozen=True)
class PhantomPlan:
    """A phantom to make; ``truth`` is known before the first pixel."""

    options: PhantomOptions
    truth: Truth
    output_bytes: int


def make_phantom(folder: Path, spec: PhantomSpec | None = None, *, overwrite: bool = False) -> Truth:
    """Make a phantom (by default a tiny one) in ``folder`` and return its truth."""
    return run(plan(PhantomOptions(folder, spec or SIZES["tiny"], overwrite)))


def plan(options: PhantomOptions) -> PhantomPlan:
    """Decide every position and stripe, and refuse a phantom that cannot be written.

    Raises
    ------
    ParameterError
        If tiles would share a stage position or the number of workers is not positive.
    OutputExistsError, OutputError
        If the folder exists, cannot be written, or the disk is too small.
    """
    spec = options.spec
    checked_workers(options.n_workers)
    check_output(options.folder, overwrite=options.overwrite)
    tiles = _tiles(spec)
    if len({tile.stage_um for tile in tiles}) < len(tiles):
        raise ParameterError(f"an overlap of {spec.overlap} leaves tiles at the same place; choose a smaller one")
    frame_bytes = 2 * spec.n_rows * spec.n_columns + 32
    output_bytes = len(tiles) * spec.n_channels * spec.n_frames * frame_bytes
    check_free_space(options.folder, output_bytes)
    return PhantomPlan(options, Truth(options.folder, spec, tiles), output_bytes)


def run(plan: PhantomPlan, progress: Progress = SILENT) -> Truth:
    """Write the camera files, ``truth.json`` and ``flat.tiff``; the folder appears once it holds everything."""
    options, truth = plan.options, plan.truth
    spec = truth.spec
    total = len(truth.tiles) * spec.n_channels * spec.n_frames
    with atomic_directory(options.folder, overwrite=options.overwrite) as folder:
        progress.start("Making the phantom", total, "frames")
        for number, channel in enumerate(spec.channels):
            scene = truth.scene(number)
            for index, tile in enumerate(truth.tiles):
                path = folder / channel / tile.path
                path.parent.mkdir(parents=True, exist_ok=True)
                frames = _camera_frames(truth, scene, tile, (number, index), checked_workers(options.n_workers))
                write_dcimg(path, _counted(frames, progress), spec.n_frames, _written_shape(spec))
        progress.finish()
        write_tiff(folder / FLAT_NAME, spec.flat())
        replace(truth, folder=folder).save()
    return truth


def camera_light(truth: Truth, scene: Scene, tile: TileTruth, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Light in upright frames ``start <= f < stop``, in counts without noise or dark offset."""
    spec = truth.spec
    part = truth.lattice(tile).part((start, 0, 0), (stop, spec.n_rows, spec.n_columns))
    light = render(scene, part)
    light *= spec.flat()
    if spec.stripe_strength > 0:
        light *= tile.stripes.gain(np.arange(start, stop), spec.n_columns)
    return light


def _camera_frames(
    truth: Truth, scene: Scene, tile: TileTruth, key: tuple[int, int], n_workers: int
) -> Iterator[npt.NDArray[np.uint16]]:
    spec = truth.spec

    def exposed(start: int) -> npt.NDArray[np.uint16]:
        stop = min(start + _FRAMES_AT_ONCE, spec.n_frames)
        rng = np.random.default_rng([spec.seed, 73, *key, start]) if spec.noise else None
        return expose(camera_light(truth, scene, tile, start, stop), spec.sensor, rng)

    for frames in ordered_map(exposed, range(0, spec.n_frames, _FRAMES_AT_ONCE), n_workers):
        for frame in frames:
            yield np.ascontiguousarray(np.rot90(np.flipud(frame))) if spec.chunglab else frame


def _counted(frames: Iterator[npt.NDArray[np.uint16]], progress: Progress) -> Iterator[npt.NDArray[np.uint16]]:
    for frame in frames:
        yield frame
        progress.advance()


def _written_shape(spec: PhantomSpec) -> tuple[int, int]:
    return (spec.n_columns, spec.n_rows) if spec.chunglab else (spec.n_rows, spec.n_columns)


def _tiles(spec: PhantomSpec) -> tuple[TileTruth, ...]:
    scan = replace(spec.scan, pixel_um=spec.pixel_um)
    sizes = (spec.n_frames * scan.step_um, spec.n_rows * scan.spacing.y_um, spec.n_columns * scan.spacing.z_um)
    pitch_um = [round(size * (1 - spec.overlap), 1) for size in sizes]
    errors = np.random.default_rng([spec.seed, 74]).uniform(-1, 1, (*spec.grid, 3)) * spec.stage_error_um
    tiles = []
    for number, place in enumerate(itertools.product(*map(range, spec.grid))):
        x, y, z = (n * d for n, d in zip(place, pitch_um, strict=True))
        stage = _on_stage(x, -y if spec.negative_y else y, z)
        true = tuple(np.round(np.array(nominal_um(spec, stage)) + errors[place], 4).tolist())
        tiles.append(TileTruth(_path(stage), stage, (true[0], true[1], true[2]), _stripes(spec, number)))
    return tuple(tiles)


def _on_stage(x: float, y: float, z: float) -> UmXYZ:
    a, b, c = (round(start + v, 1) for start, v in zip(STAGE_START_UM, (x, y, z), strict=True))
    return a, b, c


def _path(stage_um: UmXYZ) -> str:
    x, y, z = (round(v * 10) for v in stage_um)
    return f"{x}/{x}_{y}/{z:06d}.dcimg"


def _stripes(spec: PhantomSpec, number: int) -> Stripes:
    if spec.stripe_strength == 0:
        return Stripes.none(spec.n_rows)
    rng = np.random.default_rng([spec.seed, 75, number])
    return make_stripes(rng, spec.n_frames, spec.n_rows, spec.n_columns, spec.stripe_strength)
