"""What other programs make of written volumes: metadata as the specification has it, and equal voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts

from gpustitch.io.write.opening import open_output
from gpustitch.io.write.pyramid_layout import level_shape
from gpustitch.model import Box, Spacing, level_factors
from gpustitch.ops.pyramid import downsample, signed_too
from tests.levels import levels_of
from tests.verbs.napari_layers import levels_in_napari

SHAPES = [(1, 1, 1), (1, 17, 23), (31, 13, 37)]
VERSIONS = ("0.4", "0.5")


def written(
    path: Path, shape: tuple[int, int, int], dtype: str, seed: int, least: int = 0, **options: Any
) -> tuple[Any, Spacing]:
    rng = np.random.default_rng(seed)
    voxels = rng.integers(least, 200, shape).astype(dtype)
    spacing = Spacing(*rng.uniform(0.2, 5, 3).tolist())
    given = {"downsample": signed_too(downsample), "levels": 3, "chunk_shape": (8, 8, 8), "flush": False, **options}
    with open_output(path, shape, dtype, spacing, **given) as output:
        output.write(Box.of_shape(shape), voxels)
    return voxels, spacing


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("more", [{}, {"origin_um": (-5.0, 0.1, 1e4)}, {"channel": "Ex_488_Em_525"}, {"levels": 1}])
def test_the_models_of_the_specification_take_it(
    tmp_path: Path, version: str, shape: tuple[int, int, int], more: dict[str, Any]
) -> None:
    models = pytest.importorskip("ome_zarr_models")
    zarr = pytest.importorskip("zarr")
    _, spacing = written(tmp_path / "v.zarr", shape, "uint16", 3, version=version, **more)
    group = models.open_ome_zarr(zarr.open_group(tmp_path / "v.zarr", mode="r"))
    assert type(group).__name__ == "Image" and version.replace(".", "") in type(group).__module__
    attributes = getattr(group.attributes, "ome", group.attributes)
    (image,) = attributes.multiscales
    assert len(image.datasets) == more.get("levels", 3)
    corner = np.subtract(more.get("origin_um", np.array(spacing.zyx_um) / 2), np.array(spacing.zyx_um) / 2)
    for dataset in image.datasets:
        scale, translation = dataset.coordinateTransformations
        # All levels have one corner.
        np.testing.assert_allclose(np.subtract(translation.translation, np.array(scale.scale) / 2), corner, atol=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_other_libraries_read_equal_voxels(
    tmp_path: Path, dtype: str, shape: tuple[int, int, int], version: str
) -> None:
    zarr = pytest.importorskip("zarr")
    array = pytest.importorskip("dask.array")
    finest, spacing = written(tmp_path / "v.zarr", shape, dtype, sum(shape), version=version)
    driver = "zarr3" if version == "0.5" else "zarr"
    in_napari, about = levels_in_napari(tmp_path / "v.zarr")
    assert len(in_napari) == 3 and about["scale"] == pytest.approx(spacing.zyx_um)
    for level, voxels in enumerate(levels_of(finest, spacing, 3, signed_too(downsample))):
        assert voxels.shape == level_shape(shape, level_factors(spacing, 3)[level])
        store = ts.open({"driver": driver, "kvstore": f"file://{tmp_path}/v.zarr/{level}/"}).result()
        np.testing.assert_array_equal(store.read().result(), voxels)
        np.testing.assert_array_equal(zarr.open_group(tmp_path / "v.zarr", mode="r")[str(level)][:], voxels)
        np.testing.assert_array_equal(array.from_zarr(str(tmp_path / "v.zarr"), component=str(level)).compute(), voxels)
        np.testing.assert_array_equal(np.asarray(in_napari[level]), voxels)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"shard_bytes": 0}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_cloud_volume_and_napari_read_precomputed_with_their_defaults(
    tmp_path: Path, dtype: str, options: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    cloudvolume = pytest.importorskip("cloudvolume")
    finest, spacing = written(tmp_path / "v", shape, dtype, sum(shape), least=1, **options)
    in_napari, _ = levels_in_napari(tmp_path / "v")
    for level, voxels in enumerate(levels_of(finest, spacing, 3, signed_too(downsample))):
        volume = cloudvolume.CloudVolume(f"file://{tmp_path}/v", mip=level, progress=False)
        np.testing.assert_array_equal(np.asarray(volume[:, :, :])[..., 0].T, voxels)
        np.testing.assert_array_equal(np.asarray(in_napari[level]), voxels)
