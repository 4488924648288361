"""Small data under the names that the documentation uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import gpustitch as gs
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.demo.series.dicom import write_series
from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from tests.paths import DATA

SPEC = PhantomSpec(grid=(1, 2, 1), n_frames=72, n_rows=80, n_columns=56, overlap=0.45, stage_error_um=3.0, n_channels=2)
SERIES = SimulationOptions(number=48, rows=64, columns=64, spacing_cv=0.2, damaged=1)
SECTION_UM = (0.05, 0.01, 0.01)


def make_data(folder: Path) -> Truth:
    """Two channels of an acquisition, a series of sections, one of slices, images and frames of a camera."""
    truth = make_phantom(folder / "phantom", SPEC)
    for number, name in enumerate(("Ex_488_Em_1", "Ex_562_Em_2")):
        _copy_tiles(truth, number, folder / name)
    gs.write(folder / "sections.tif", simulate_series(SERIES).planes(), spacing_um=SECTION_UM)
    write_series(folder / "CT", np.arange(12) * 2.0, pixel_spacing_mm=(0.5, 0.5))
    shutil.copy(DATA / "tiny_usb16.dcimg", folder / "0.dcimg")
    return truth


def _copy_tiles(truth: Truth, number: int, channel: Path) -> None:
    """The tiles of a channel, named by how far they are from the first one."""
    first = np.array(truth.tiles[0].stage_um)
    for tile in truth.tiles:
        x, y, z = np.rint(10 * (np.array(tile.stage_um) - first)).astype(int)
        place = channel / f"{x:06d}" / f"{x:06d}_{y:06d}" / f"{z:06d}.dcimg"
        place.parent.mkdir(parents=True)
        shutil.copy(truth.channel(number) / tile.path, place)
