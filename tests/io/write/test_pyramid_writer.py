"""Chunks of zeros: without a file, or written on request for readers that want one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import ParameterError
from gpustitch.io.volumes.opening import open_volume
from gpustitch.io.write.opening import open_output
from gpustitch.model import Spacing
from gpustitch.ops.pyramid import downsample
from tests.io.volumes.stored_volumes import folder, half_empty, ours, read


def files_of(path, level):
    """The files of chunks of a level, whatever the format."""
    own = path / str(level) if path.suffix else path / "_".join([str(1 << level)] * 3)
    return [file for file in own.rglob("*") if file.is_file() and file.name not in ("zarr.json", ".zarray")]


@pytest.mark.parametrize("write_empty", [False, True])
def test_cloud_volume_takes_a_missing_chunk_for_an_error(tmp_path, write_empty):
    cloudvolume = pytest.importorskip("cloudvolume")
    voxels = half_empty()
    ours(tmp_path / "v", voxels, write_empty=write_empty)
    theirs = cloudvolume.CloudVolume(f"file://{tmp_path / 'v'}", progress=False)
    if not write_empty:
        with pytest.raises(cloudvolume.exceptions.EmptyVolumeException):
            theirs[:]
        return
    np.testing.assert_array_equal(theirs[:][..., 0].T, voxels)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["v", "v.zarr"]), st.booleans(), st.sets(st.integers(0, 3)), st.sampled_from([0, 8192]))
def test_every_chunk_has_a_file_whichever_blocks_come(name, is_old, chosen, shard):
    voxels = half_empty()
    options = {"version": "0.4" if is_old else "0.5", "shard_bytes": 0 if is_old else shard} if "." in name else {}
    with folder() as root:
        path = root.parent / name
        shared = {"downsample": downsample, "levels": 2, "chunk_shape": (8, 8, 8), "flush": False, "write_empty": True}
        expected = np.zeros_like(voxels)
        with open_output(path, voxels.shape, voxels.dtype, Spacing(1, 1, 1), **shared, **options) as output:
            for number, box in enumerate(output.blocks()):
                if number in chosen:
                    output.write(box, voxels[box.slices()])
                    expected[box.slices()] = voxels[box.slices()]
                elif number % 2:
                    output.skip(box)
        for level, found in enumerate((expected, downsample(expected))):
            np.testing.assert_array_equal(read(path, level=level), found)
            volume = open_volume(path, level=level)
            unit = 16 if options.get("shard_bytes") else 8
            assert volume.n_files == len(files_of(path, level)) == np.prod([-(-n // unit) for n in found.shape])


@pytest.mark.parametrize("name", ["v.tif", "v.nii"])
def test_formats_of_one_file_have_no_such_option(tmp_path, name):
    with pytest.raises(ParameterError, match="hold every voxel in any case; leave out `write_empty`"):
        ours(tmp_path / name, half_empty(), levels=None, chunk_shape=None, flush=True, write_empty=True)
