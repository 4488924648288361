"""Levels of all formats show the same things at the same places, of whatever voxels a volume is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing, level_factors
from gpustitch.ops.pyramid import downsample

LEVELS = 3
SPACINGS = [
    Spacing(1.8, 1.8, 1.8),
    Spacing(1.2728, 1.8, 1.28),
    Spacing(2, 1.3, 1.3),
    Spacing(0.5, 2, 9),
    Spacing(9, 1, 2),
]
FORMATS = {
    "precomputed": {},
    "v.zarr": {},
    "v4.zarr": {"version": "0.4"},
    "plain": {"shard_bytes": 0},
}


def blob(spacing: Spacing, seed: int) -> tuple[Any, Any]:
    """A bright spot, a few voxels of the coarsest level wide; its middle, um from the middle of the first voxel."""
    rng = np.random.default_rng(seed)
    factors = np.array(level_factors(spacing, LEVELS)[-1])
    shape = tuple((factors * rng.integers(11, 14, 3) + rng.integers(0, 5, 3)).tolist())
    width = 1.5 * factors
    middle = np.array(shape) / 2 + rng.uniform(-2, 2, 3)
    z, y, x = (np.exp(-0.5 * ((np.arange(n) - at) / w) ** 2) for n, at, w in zip(shape, middle, width, strict=True))
    voxels = np.rint(60000 * z[:, None, None] * y[:, None] * x).astype(np.uint16)
    return voxels, middle * spacing.zyx_um


def centroid(voxels: Any) -> Any:
    """Where the middle of what is bright lies, in voxels."""
    voxels = voxels.astype(np.float64)
    sums = [voxels.sum(tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return np.array([float(np.arange(len(s)) @ s) / s.sum() for s in sums])


def as_viewers_do(path: Path, level: int) -> tuple[Any, Any, Any]:
    """Voxels of a level, their size and the middle of the first one (um), of the description alone."""
    if path.suffix == ".zarr":
        is_old = (path / ".zattrs").is_file()
        held = json.loads((path / (".zattrs" if is_old else "zarr.json")).read_text())
        image = (held if is_old else held["attributes"]["ome"])["multiscales"][0]
        dataset = image["datasets"][level]
        scale, translation = (step[step["type"]] for step in dataset["coordinateTransformations"])
        driver = {"driver": "zarr" if is_old else "zarr3", "kvstore": f"file://{path / dataset['path']}/"}
        return ts.open(driver).result().read().result(), np.array(scale), np.array(translation)
    scale = json.loads((path / "info").read_text())["scales"][level]
    size = np.array(scale["resolution"][::-1]) / 1000
    corner = np.array(scale["voxel_offset"][::-1]) * size
    store = ts.open({"driver": "neuroglancer_precomputed", "kvstore": f"file://{path}/", "scale_index": level}).result()
    return store.read().result()[..., 0].T, size, corner + size / 2


@pytest.mark.parametrize("spacing", SPACINGS, ids=lambda s: "-".join(map(str, s.zyx_um)))
@pytest.mark.parametrize("seed", range(2))
def test_a_spot_lies_at_one_place_in_all_levels_of_all_formats(tmp_path: Path, spacing: Spacing, seed: int) -> None:
    voxels, middle = blob(spacing, seed)
    known = middle + np.array(spacing.zyx_um) / 2  # viewers put the corner of the volume at 0
    for name, options in FORMATS.items():
        given: Any = {
            "downsample": downsample,
            "levels": LEVELS,
            "chunk_shape": (32, 16, 32),
            "flush": False,
            **options,
        }
        with open_output(tmp_path / name, voxels.shape, voxels.dtype, spacing, **given) as output:
            for box in output.blocks():
                output.write(box, voxels[box.slices()].copy())
        for level in range(LEVELS):
            found, size, first = as_viewers_do(tmp_path / name, level)
            assert (np.abs(first + centroid(found) * size - known) < 0.1 * np.array(spacing.zyx_um)).all()
            ours = open_volume(tmp_path / name, level=level)
            np.testing.assert_array_equal(ours.read(Box.of_shape(ours.coverage.shape)), found)
            np.testing.assert_allclose(ours.spacing.zyx_um, size)
            np.testing.assert_allclose(ours.origin_um, first)
            np.testing.assert_allclose(size, np.multiply(spacing.zyx_um, level_factors(spacing, LEVELS)[level]))
