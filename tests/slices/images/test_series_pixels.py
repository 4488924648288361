"""Pages that series of images name hold the planes that were written there."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpustitch.slices.found import slice_files
from gpustitch.slices.images.pixels import ImageSlices
from gpustitch.slices.images.series import find_image_series

VOXELS = np.random.default_rng(0).integers(0, 60_000, (2, 4, 3, 8, 9), dtype=np.uint16)  # time, z, channel
OPTIONS = {
    "imagej": {"imagej": True, "metadata": {"axes": "TZCYX"}},
    "imagej, one page": {"imagej": True, "metadata": {"axes": "TZCYX"}, "truncate": True},
    "ome": {"metadata": {"axes": "TZCYX"}},
    "ome, one page": {"metadata": {"axes": "TZCYX"}, "truncate": True},
    "ome, compressed": {"metadata": {"axes": "TZCYX"}, "compression": "zlib"},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_planes_of_each_channel_and_time(tmp_path, kind):
    path = tmp_path / ("v.ome.tif" if kind.startswith("ome") else "v.tif")
    tifffile.imwrite(path, VOXELS, photometric="minisblack", **OPTIONS[kind])
    series = find_image_series(slice_files([path]).images)
    assert len(series) == 6
    for part in series:
        read = ImageSlices(part.headers, part.name).read(0, 4)
        time, channel = (int(part.key[name]) - 1 for name in ("time", "channel"))
        np.testing.assert_array_equal(read, VOXELS[time, :, channel])


@pytest.mark.parametrize("options", [{}, {"truncate": True}, {"byteorder": ">", "truncate": True}, {"metadata": None}])
def test_planes_of_a_plain_tiff(tmp_path, options):
    stack = VOXELS[0, :, 0]
    tifffile.imwrite(tmp_path / "v.tif", stack, photometric="minisblack", **options)
    (series,) = find_image_series(slice_files([tmp_path]).images)
    np.testing.assert_array_equal(ImageSlices(series.headers, series.name).read(0, 4), stack)


def test_planes_of_files_in_natural_order(tmp_path):
    stack = VOXELS.reshape(-1, 8, 9)
    for number, plane in enumerate(stack):
        tifffile.imwrite(tmp_path / f"s{number}.tif", plane)
    (series,) = find_image_series(slice_files([tmp_path]).images)
    np.testing.assert_array_equal(ImageSlices(series.headers, series.name).read(0, 24), stack)


def test_planes_of_a_multi_file_ome_tiff(tmp_path):
    stack = VOXELS[0, :, 0]
    data = "".join(
        f'<TiffData FirstZ="{3 - z}" IFD="0"><UUID FileName="p{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(4)
    )
    sizes = 'DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="8" SizeZ="4" SizeC="1" SizeT="1"'
    for z, plane in enumerate(stack):
        xml = f'<OME xmlns="x" UUID="urn:uuid:{z}"><Image><Pixels {sizes}>{data}</Pixels></Image></OME>'
        tifffile.imwrite(tmp_path / f"p{z}.ome.tif", plane, description=xml, metadata=None)
    (series,) = find_image_series(slice_files([tmp_path]).images)
    np.testing.assert_array_equal(ImageSlices(series.headers, series.name).read(0, 4), stack[::-1])
