"""A new format is one class and one registration: toys of every kind, and who takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.frames.format import Files, FrameFormat
from gpustitch.io.frames.formats import FRAME_FORMATS
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.format import PlaneFormat
from gpustitch.io.planes.opening import PLANE_FORMATS, open_planes, plane_sources
from gpustitch.io.registry import either
from gpustitch.io.volumes.array import ArrayVolume
from gpustitch.io.volumes.format import FULL, VolumeFormat
from gpustitch.io.volumes.opening import VOLUME_FORMATS, is_volume, open_volume
from gpustitch.io.write.format import OutputFormat
from gpustitch.io.write.formats import OUTPUT_FORMATS, format_of, names_of_outputs, titles
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.oblique.mosaic.folders import find_raw_mosaic, find_volume_mosaic
from gpustitch.ops.pyramid import downsample
from gpustitch.show.describe import describe_path

VOXELS = np.random.default_rng(3).integers(1, 65536, (9, 6, 5), dtype=np.uint16)
SPACING = Spacing(3.0, 0.5, 0.25)


class ToyFrames(FrameFormat):
    """An array of frames in a file."""

    name = "Toy camera"
    suffixes = (".toy",)
    files = Files.ONE

    def open(self, files, reading):
        return ArrayPlanes(np.load(files[0]))

    def cautions(self, file):
        return (f"{file} is a toy",)


class ToyPlanes(PlaneFormat):
    """The same, of planes."""

    name = ".toyplanes"
    suffixes = (".toyplanes",)

    def open(self, file):
        return ArrayPlanes(np.load(file), str(file), SPACING)


class ToyArray(ArrayVolume):
    """An array and what is known of it."""

    stated_spacing, depth, levels, n_files, n_missing = SPACING, 4, 1, 0, 0


class ToyVolumes(VolumeFormat):
    """An array in a folder."""

    name = "toy box"
    marks = ("voxels.toybox",)

    def open(self, folder, access=FULL):
        with (folder / self.marks[0]).open("rb") as file:
            return ToyArray(np.load(file), SPACING)


class ToyWriter:
    """Keeps a volume and writes it at the end."""

    def __init__(self, path, shape, dtype, writing):
        self.path, self.shape, self.block_shape, self.writing = path, shape, (1, *shape[1:]), writing
        self.voxels = np.zeros(shape, dtype)

    def blocks(self):
        return Box.of_shape(self.shape).blocks(self.block_shape)

    def write(self, box, voxels, release=None):
        self.voxels[box.slices()] = voxels

    def skip(self, box):
        pass

    def close(self):
        self.path.mkdir()
        with (self.path / "voxels.toybox").open("wb") as file:
            np.save(file, self.voxels)
        (self.path / "settings").write_text(json.dumps({"version": self.writing.version}))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is None:
            self.close()


class ToyOutput(OutputFormat):
    """An array in a folder, in one of two versions."""

    name, title = "toybox", "toy box"
    suffixes = (".toybox",)
    takes = frozenset({"version"})

    def open(self, path, shape, dtype, spacing, writing):
        return ToyWriter(path, shape, dtype, writing)


@pytest.fixture(autouse=True)
def toys():
    with (
        FRAME_FORMATS.registered(ToyFrames()),
        PLANE_FORMATS.registered(ToyPlanes()),
        VOLUME_FORMATS.registered(ToyVolumes()),
        OUTPUT_FORMATS.registered(ToyOutput()),
    ):
        yield


def saved(path: Path, voxels=VOXELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, voxels)
    return path


def said(path: Path) -> str:
    return "\n".join(describe_path(path))


def test_a_registered_format_of_frames_is_read_everywhere(tmp_path):
    file = saved(tmp_path / "run.toy")
    for place in (file, tmp_path, f"{tmp_path}/*.toy"):
        assert np.array_equal(open_frames(place).read(2, 5), VOXELS[2:5])
        assert np.array_equal(open_planes(place).read(2, 5), VOXELS[2:5])
    assert said(file) == f"{file}: 9 frames of 6 rows x 5 columns, uint16"
    saved(tmp_path / "second.toy")
    with pytest.raises(ParameterError, match="holds 2 Toy camera files; name one of them"):
        open_frames(tmp_path)
    with pytest.raises(DamagedInputError, match="holds int64 pixels"):
        open_frames(saved(tmp_path / "third.toy", VOXELS.astype(np.int64)))


def test_frames_as_raw_tiles(tmp_path):
    for y in (0, 500):
        saved(tmp_path / "0" / f"0_{y}" / "0.toy")
    assert [tile.stage_um for tile in find_raw_mosaic(tmp_path).tiles] == [(0, 0, 0), (0, 50.0, 0)]
    assert "0_500_0: 9 frames of 6 x 5" in said(tmp_path)


def test_a_registered_format_of_planes_is_read_everywhere(tmp_path):
    file = saved(tmp_path / "v.toyplanes")
    planes = open_planes(file)
    assert np.array_equal(planes.read(2, 5), VOXELS[2:5]) and planes.spacing == SPACING
    assert said(file) == f"{file}: 9 planes of 6 rows x 5 columns, uint16"


def test_a_registered_format_of_volumes_is_read_everywhere(tmp_path):
    folder = saved(tmp_path / "0" / "0_0" / "0" / "voxels.toybox").parent
    assert is_volume(folder)
    assert np.array_equal(open_volume(folder).read(Box.of_shape(VOXELS.shape)), VOXELS)
    planes = open_planes(folder)
    assert np.array_equal(planes.read(2, 5), VOXELS[2:5]) and planes.depth == 4 and planes.spacing == SPACING
    assert said(folder) == f"{folder}: volume of 9 x 6 x 5 voxels (z, y, x) of 3, 0.5, 0.25 um, uint16, 1 levels"
    assert find_volume_mosaic(tmp_path).tiles[0].path == folder


@pytest.mark.parametrize(("name", "format"), [("v.toybox", None), ("v", "toybox")])
def test_a_registered_format_of_outputs_is_written_everywhere(tmp_path, name, format):
    assert format_of("v.toybox") == "toybox"
    given = {"downsample": downsample, "format": format, "version": "2"}
    with open_output(tmp_path / name, VOXELS.shape, VOXELS.dtype, SPACING, **given) as output:
        for box in output.blocks():
            output.write(box, VOXELS[box.slices()])
    assert np.array_equal(open_planes(tmp_path / name).read(0, 9), VOXELS)
    assert json.loads((tmp_path / name / "settings").read_text()) == {"version": "2"}
    with pytest.raises(ParameterError, match="toy box volumes have one level; leave out `levels`"):
        open_output(tmp_path / "w", VOXELS.shape, VOXELS.dtype, SPACING, **given | {"format": "toybox", "levels": 3})


def test_messages_and_help_name_them(tmp_path):
    with pytest.raises(InputMissingError, match=r" or \.toy file there"):
        open_frames(tmp_path)
    with pytest.raises(InputMissingError, match=r"no planes: .*Toy camera files, a .* or \.toyplanes array, .*toy box"):
        open_planes(tmp_path)
    with pytest.raises(InputMissingError, match=r"no file .* or voxels\.toybox in it"):
        open_volume(tmp_path)
    with pytest.raises(InputMissingError, match=r"X/X_Y/Z\.toy"):
        find_raw_mosaic(tmp_path)
    with pytest.raises(ParameterError, match=r"X/X_Y/Z\.toy.*Toy camera.*toy box"):
        said(tmp_path)
    with pytest.raises(ParameterError, match=r"`format` must be one of .*, toybox"):
        open_output(tmp_path / "v", VOXELS.shape, VOXELS.dtype, SPACING, downsample=downsample, format="other")
    assert either(OUTPUT_FORMATS.names).endswith(" or toybox") and "toy box" in plane_sources()
    assert "*.toybox toy box" in names_of_outputs() and "toy box" in titles("version")


def test_without_their_registration_they_are_unknown(tmp_path):
    saved(tmp_path / "run.toy")
    assert open_frames(tmp_path).shape == VOXELS.shape
    FRAME_FORMATS.unregister("Toy camera")
    try:
        with pytest.raises(InputMissingError):
            open_frames(tmp_path)
    finally:
        FRAME_FORMATS.register(ToyFrames())
