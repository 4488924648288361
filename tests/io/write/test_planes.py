"""Volumes as folders of planes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gpustitch.errors import OutputExistsError, ParameterError
from gpustitch.io.images.files import read_image
from gpustitch.io.journal import Journal
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.write.format import Writing
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.planes import CODECS, PlanesWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.show.verify import VerifyOptions, verified

SPACING = Spacing(2.0, 0.5, 0.25)


def noise(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> Any:
    values = np.random.default_rng(seed).integers(0, 250, shape)
    return values.astype(dtype)


def write(path: Path, voxels: Any, **options: Any) -> Path:
    options = {"downsample": downsample, "format": "planes", **options}
    with open_output(path, voxels.shape, voxels.dtype, SPACING, **options) as output:
        for box in output.blocks():
            output.write(box, voxels[box.slices()])
    return path


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 5), (101, 2, 13), (2, 31, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_planes_are_read_back(tmp_path: Path, dtype: str, shape: tuple[int, int, int], codec: str) -> None:
    if codec == "jpeg2000" and dtype not in ("uint8", "uint16"):
        with pytest.raises(ParameterError, match="`dtype` of planes as jpeg2000"):
            write(tmp_path / "v", noise(shape, dtype), codec=codec)
        return
    voxels = noise(shape, dtype)
    folder = write(tmp_path / "v.planes", voxels, codec=codec)
    files = sorted(file for file in folder.iterdir() if file.suffix in (".tif", ".jp2"))
    assert [int(file.stem[1:]) for file in files] == list(range(shape[0]))
    assert list(verified(VerifyOptions((folder,))))
    for file, plane in zip(files, voxels, strict=True):
        np.testing.assert_array_equal(read_image(file), plane)
    if codec == "jpeg2000" or dtype == "float64":
        return
    planes = open_planes(folder)
    np.testing.assert_array_equal(planes.read(0, shape[0]), voxels)
    if dtype in ("uint8", "uint16", "float32"):
        assert planes.spacing is not None
        assert planes.spacing.zyx_um == pytest.approx(SPACING.zyx_um, rel=1e-6)
    with tifffile.TiffFile(files[0]) as tiff:
        tags = tiff.pages.first.tags
        per_x = tags["XResolution"].value[0] / tags["XResolution"].value[1]
        um = {1: 1.0, 3: 1e4}[int(tags["ResolutionUnit"].value)]
        assert um / per_x == pytest.approx(SPACING.x_um, rel=1e-6)


def test_a_run_goes_on_with_the_planes_of_another(tmp_path: Path) -> None:
    voxels = noise((20, 6, 9))
    folder = tmp_path / "v"
    whole = Box.of_shape(voxels.shape)
    with Journal(tmp_path / "journal") as journal:
        output = PlanesWriter(folder, voxels.shape, voxels.dtype, SPACING, Writing(journal=journal))
        with pytest.raises(ZeroDivisionError), output:
            for z in (*range(6), 11, 19):
                box = Box((z, 0, 0), (z + 1, 6, 9))
                output.write(box, voxels[box.slices()])
            raise ZeroDivisionError
    (folder / "z00004.tif").unlink()  # lost
    (folder / "z00011.tif").write_bytes(b"cut")
    with (
        Journal(tmp_path / "journal") as journal,
        PlanesWriter(folder, voxels.shape, voxels.dtype, SPACING, Writing(journal=journal, sidecar={"a": 1})) as output,
    ):
        parts = list(output.missing(whole))
        due = sorted(z for part in parts for z in range(part.start[0], part.stop[0]))
        assert due == sorted(set(range(20)) - {0, 1, 2, 3, 5, 19})
        with pytest.raises(ParameterError, match="written before"):
            output.write(whole, voxels)
        for part in parts:
            output.write(part, voxels[part.slices()])
    np.testing.assert_array_equal(open_planes(folder).read(0, 20), voxels)
    assert json.loads((folder / "gpustitch.json").read_text())["a"] == 1
    assert list(verified(VerifyOptions((folder,))))


def test_planes_that_are_not_given_are_zero(tmp_path: Path) -> None:
    voxels = noise((7, 4, 5)) + 1
    with PlanesWriter(tmp_path / "v", voxels.shape, voxels.dtype, SPACING, Writing()) as output:
        output.write(Box((3, 0, 0), (5, 4, 5)), voxels[3:5])
        output.skip(Box((0, 0, 0), (2, 4, 5)))
    found = open_planes(tmp_path / "v").read(0, 7)
    np.testing.assert_array_equal(found[3:5], voxels[3:5])
    assert not found[:3].any() and not found[5:].any()


def test_what_is_no_folder_of_planes_is_refused(tmp_path: Path) -> None:
    voxels = noise((3, 4, 5))
    for wrong in ({"codec": "zstd"}, {"compression": 11}, {"codec": "none", "compression": 2}, {"levels": 3}):
        with pytest.raises(ParameterError, match="`"):
            write(tmp_path / "v", voxels, **wrong)
    with (
        pytest.raises(ParameterError, match="whole planes"),
        PlanesWriter(tmp_path / "v", (3, 4, 5), "uint16", SPACING, Writing()) as output,
    ):
        output.write(Box((0, 0, 0), (1, 4, 4)), voxels[:1, :, :4])
    assert not (tmp_path / "v").exists()
    write(tmp_path / "v", voxels)
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        write(tmp_path / "v", voxels)
    write(tmp_path / "v", voxels + 1, overwrite=True)
    np.testing.assert_array_equal(open_planes(tmp_path / "v").read(0, 3), voxels + 1)
