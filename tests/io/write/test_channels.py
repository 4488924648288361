"""Images of one channel become one image of several, of the same files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorstore as ts
import zarr

from gpustitch.errors import DamagedInputError, OutputExistsError, ParameterError
from gpustitch.io.stacks.choice import StackChoice
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.channels import join_channels
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from tests.e2e.commands import succeed

WAYS = [("0.5", None, "zstd"), ("0.5", 0, "gzip"), ("0.4", 0, "lz4"), ("0.5", 1 << 16, "none")]


def write(path, voxels, version="0.5", shard_bytes=None, codec=None, spacing=Spacing(3, 2.2, 1.5), **more):
    with open_output(
        path, voxels.shape, voxels.dtype, spacing, downsample=downsample, levels=3, chunk_shape=(8, 16, 32),
        shard_bytes=shard_bytes, version=version, codec=codec, **more,
    ) as output:  # fmt: skip
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return path


@pytest.mark.parametrize(("version", "shard_bytes", "codec"), WAYS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (37, 41, 133)])
def test_voxels_of_all_levels_are_those_of_the_channels(tmp_path, version, shard_bytes, codec, shape):
    rng = np.random.default_rng(shape[0])
    names = ["Ex_488_Em_525", "Ex_561_Em_600", "Ex_642_Em_680"]
    held = [rng.integers(0, 4000, shape, dtype=np.uint16) for _ in names]
    held[1][:] = 0  # no file at all
    images = [
        write(tmp_path / f"{name}.zarr", v, version, shard_bytes, codec) for name, v in zip(names, held, strict=True)
    ]
    joined = join_channels(images, tmp_path / "all.zarr")
    group = zarr.open_group(str(joined), mode="r")
    for level in range(3):
        array = group[str(level)]
        assert array.shape[0] == 3 and array.chunks[0] == 1
        for number, image in enumerate(images):
            alone = np.asarray(zarr.open_group(str(image), mode="r")[str(level)])
            np.testing.assert_array_equal(array[number], alone)
            volume = open_volume(joined, level=level, choice=StackChoice(stack_channel=str(number + 1)))
            np.testing.assert_array_equal(volume.read(Box.of_shape(volume.shape)), alone)
            assert volume.n_missing == 0
    spec = {"driver": "zarr" if version == "0.4" else "zarr3", "kvstore": {"driver": "file", "path": f"{joined}/0/"}}
    np.testing.assert_array_equal(np.asarray(ts.open(spec, read=True).result().read().result()), np.stack(held))
    assert "whole, as written" in succeed("verify", joined)
    first, all_of_it = (
        open_volume(p, choice=StackChoice(stack_channel="1") if p == joined else None) for p in (images[0], joined)
    )
    assert (first.spacing, first.origin_um, first.levels) == (all_of_it.spacing, all_of_it.origin_um, all_of_it.levels)
    assert all_of_it.image.channels == tuple(names)


def test_images_stay_and_files_take_no_room_twice(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (9, 20, 40), np.uint8)
    images = [write(tmp_path / f"{name}.zarr", voxels) for name in "ab"]
    joined = join_channels(images, tmp_path / "all.zarr")
    for number, image in enumerate(images):
        for file in (image / "0" / "c").rglob("*"):
            if file.is_file():
                assert (joined / "0" / "c" / str(number) / file.relative_to(image / "0" / "c")).samefile(file)
    assert "whole, as written" in succeed("verify", images[0])


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"spacing": Spacing(3, 2.2, 1.6)}, "spacing or place"),
        ({"codec": "lz4"}, "codecs"),
        ({"shard_bytes": 0}, "codecs"),
        ({"voxels": np.ones((5, 6, 8), np.uint8)}, "shape"),
        ({"voxels": np.ones((5, 6, 7), np.uint16)}, "data_type"),
        ({"version": "0.4", "shard_bytes": 0}, "zarr_format"),
        ({"origin_um": (1.0, 2.0, 3.0)}, "spacing or place"),
    ],
)
def test_images_that_differ_are_refused_by_what_differs(tmp_path, other, says):
    voxels = np.ones((5, 6, 7), np.uint8)
    first = write(tmp_path / "a.zarr", voxels)
    second = write(tmp_path / "b.zarr", **{"voxels": voxels, **other})
    with pytest.raises(ParameterError, match=says):
        join_channels([first, second], tmp_path / "all.zarr")
    assert not (tmp_path / "all.zarr").exists()


def test_what_is_no_image_of_one_channel_is_refused(tmp_path):
    image = write(tmp_path / "a.zarr", np.ones((5, 6, 7), np.uint8))
    joined = join_channels([image, image], tmp_path / "all.zarr")
    with pytest.raises(DamagedInputError, match="axes c, z, y, x"):
        join_channels([joined], tmp_path / "more.zarr")
    with pytest.raises(ParameterError, match="no image"):
        join_channels([], tmp_path / "none.zarr")
    with pytest.raises(OutputExistsError):
        join_channels([image], joined)
    (image / "gpustitch.files.json").unlink()
    with pytest.raises(DamagedInputError):
        join_channels([image], tmp_path / "more.zarr")


def test_what_sidecars_say_alike_is_said_of_all(tmp_path):
    images = [
        write(tmp_path / f"{name}.zarr", np.ones((5, 6, 7), np.uint8), sidecar={"program": "p", "name": name})
        for name in "ab"
    ]
    held = json.loads((join_channels(images, tmp_path / "all.zarr") / "gpustitch.json").read_text())
    assert held["program"] == "p" and "name" not in held
    assert [one["name"] for one in held["channels"]] == ["a", "b"]
