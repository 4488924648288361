"""Section series and volumes of any kind, read plane by plane."""

from __future__ import annotations

import json

import imagecodecs
import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_png, write_tiff
from gpustitch.io.images.jp2 import encode_jp2
from gpustitch.io.images.tiff_facts import tiff_facts
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.opening import PlanesVolume, open_planes
from gpustitch.io.units import um_per
from gpustitch.io.write.format import Writing
from gpustitch.io.write.ome_zarr import OmeZarrWriter
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.io.write.pyramid_layout import precomputed_info
from gpustitch.io.write.tiff import TiffVolumeWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from tests.io.volumes.test_blockfs import write_blockfs

SPACING = Spacing(3.0, 0.5, 0.25)
SHAPE = (12, 21, 33)


def noise(shape=SHAPE, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(0, 256 if dtype == np.uint8 else 65536, shape).astype(dtype)


def files(folder, volume, suffix):
    """A file for each plane, with numbers of different lengths."""
    folder.mkdir()
    for index, plane in enumerate(volume):
        path = folder / f"s_{index}{suffix}"
        if suffix == ".tif":
            write_tiff(path, plane)
        elif suffix == ".jp2":
            path.write_bytes(encode_jp2(plane, (0,)))
        else:
            path.write_bytes(imagecodecs.png_encode(plane))
    return folder


def written(writer, volume):
    with writer:
        for box in writer.blocks():
            writer.write(box, volume[box.slices()])
    return writer.path


def source(folder, kind, volume):
    options = {"downsample": downsample, "levels": 2, "chunk_shape": (8, 8, 8)}
    described = (volume.shape, volume.dtype, SPACING)
    if kind in (".tif", ".jp2", ".png"):
        return files(folder / "files", volume, kind)
    if kind == "glob":
        return f"{files(folder / 'files', volume, '.png')}/s_*.png"
    if kind == "dcimg":
        write_dcimg(folder / "v.dcimg", volume, len(volume), volume.shape[1:])
        return folder / "v.dcimg"
    if kind == "npy":
        np.save(folder / "v.npy", volume)
        return folder / "v.npy"
    if kind == "pages":
        return written(TiffVolumeWriter(folder / "v.tif", *described, Writing(compression=1)), volume)
    if kind == "precomputed":
        return written(PrecomputedWriter(folder / "v", *described, Writing(**options)), volume)
    version = "0.4" if kind == "zarr2" else "0.5"
    return written(OmeZarrWriter(folder / "v.zarr", *described, Writing(version=version, **options)), volume)


KINDS = (".tif", ".jp2", ".png", "glob", "dcimg", "npy", "pages", "precomputed", "zarr2", "zarr3")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source(tmp_path, kind):
    volume = noise()
    planes = open_planes(source(tmp_path, kind, volume))
    assert planes.shape == SHAPE and planes.dtype == np.uint16
    np.testing.assert_array_equal(planes.read(0, 12), volume)
    np.testing.assert_array_equal(planes.read(9, 11), volume[9:11])
    for rows, columns in (
        (slice(3, 9), slice(20, 40)),
        (slice(None, None, 2), slice(None, None, -3)),
        (slice(-5, None), slice(7, 8)),
        (slice(4, 4), slice(None)),
    ):
        part = planes.read(2, 5, rows, columns)
        assert part.dtype == np.uint16
        np.testing.assert_array_equal(part, volume[2:5, rows, columns])
    assert planes.read(4, 4).shape == (0, 21, 33)
    for start, stop in ((-1, 2), (3, 2), (0, 13)):
        with pytest.raises(ParameterError, match="not all there"):
            planes.read(start, stop)
    stated = kind in ("pages", "precomputed", "zarr2", "zarr3")
    assert planes.spacing == (SPACING if stated else None)
    assert planes.depth == (8 if kind in ("precomputed", "zarr2", "zarr3") else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_as_a_volume(tmp_path, kind):
    volume = noise()
    seen = PlanesVolume(open_planes(source(tmp_path, kind, volume)), SPACING)
    assert seen.spacing == SPACING and seen.shape == seen.coverage.shape == SHAPE
    padded = np.pad(volume, 6)
    for box in (Box((2, 3, 4), (7, 21, 30)), Box((-6, -6, -6), (18, 27, 39)), Box((-3, 2, 30), (2, 9, 36))):
        np.testing.assert_array_equal(seen.read(box), padded[box.slices((-6, -6, -6))])
    assert not seen.read(Box((20, 0, 0), (22, 3, 3))).any()


def test_planes_of_blockfs_have_the_voxel_size_of_an_info_beside_them(tmp_path):
    volume = noise()
    write_blockfs(tmp_path / "1_1_1", volume)
    assert open_planes(tmp_path).spacing is None
    np.testing.assert_array_equal(open_planes(tmp_path).read(3, 9), volume[3:9])
    (tmp_path / "info").write_text(json.dumps(precomputed_info(SHAPE, np.uint16, SPACING, 1)))
    assert open_planes(tmp_path).spacing == SPACING


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float32", "float64", ">u2"])
def test_arrays_of_any_type(tmp_path, dtype):
    volume = noise(dtype=np.dtype(dtype))
    np.save(tmp_path / "v.npy", np.asfortranarray(volume))
    planes = open_planes(tmp_path / "v.npy")
    assert planes.dtype == np.dtype(dtype).newbyteorder("=") == planes.read(0, 1).dtype
    np.testing.assert_array_equal(planes.read(3, 7), volume[3:7])
    part = planes.read(0, 1)
    part[:] = 0  # not a view of the file


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif"])
def test_tiff_volumes_come_back_with_their_spacing(tmp_path, name, dtype):
    volume = noise(dtype=np.dtype(dtype))
    path = written(TiffVolumeWriter(tmp_path / name, SHAPE, dtype, SPACING, Writing()), volume)
    planes = open_planes(path)
    np.testing.assert_array_equal(planes.read(0, 12), volume)
    np.testing.assert_allclose(planes.spacing.zyx_um, SPACING.zyx_um, rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "um"),
    [("nm", 1e-3), ("um", 1.0), ("mm", 1e3), ("micron", 1.0), ("microns", 1.0), ("\\u00B5m", 1.0), ("cm", 1e4),
     ("inch", 25400.0), ("pixel", None), ("", None)],
)  # fmt: skip
def test_units_of_imagej(tmp_path, unit, um):
    metadata = {"axes": "ZYX", "spacing": 4.0, "unit": unit}
    tifffile.imwrite(tmp_path / "v.tif", noise(), imagej=True, resolution=(2, 0.5), metadata=metadata)
    spacing = open_planes(tmp_path / "v.tif").spacing
    if um is None:
        assert spacing is None
    else:
        np.testing.assert_allclose(spacing.zyx_um, np.array([4.0, 2.0, 0.5]) * um)


def test_imagej_leaves_out_what_is_one_unit(tmp_path):
    description = "ImageJ=1.54f\nimages=12\nslices=12\nunit=um\nloop=false\n"
    tifffile.imwrite(tmp_path / "v.tif", noise(), description=description, metadata=None, resolution=(4, 4))
    assert open_planes(tmp_path / "v.tif").spacing == Spacing(1.0, 0.25, 0.25)
    folder = files(tmp_path / "files", noise(), ".tif")
    description = "ImageJ=1.54f\nunit=um\n"
    for index, plane in enumerate(noise()):
        tifffile.imwrite(folder / f"s_{index}.tif", plane, description=description, metadata=None, resolution=(4, 4))
    assert open_planes(folder).spacing is None  # a plane alone says nothing of the next one


@pytest.mark.parametrize(("unit", "um"), [("nm", 1e-3), ("µm", 1.0), ("mm", 1e3), (None, 1.0), ("pixel", None)])
def test_units_of_ome(tmp_path, unit, um):
    sizes = {"PhysicalSizeZ": 4.0, "PhysicalSizeY": 2.0, "PhysicalSizeX": 0.5}
    units = {} if unit is None else {f"{name}Unit": unit for name in sizes}
    tifffile.imwrite(tmp_path / "v.ome.tif", noise(), metadata={"axes": "ZYX", **sizes, **units})
    spacing = open_planes(tmp_path / "v.ome.tif").spacing
    assert (spacing is None) == (um is None)
    if um is not None:
        np.testing.assert_allclose(spacing.zyx_um, np.array([4.0, 2.0, 0.5]) * um)


def test_a_spacing_of_which_a_part_is_missing_is_not_stated(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(), metadata={"axes": "ZYX", "PhysicalSizeX": 1.0})
    tifffile.imwrite(tmp_path / "b.tif", noise(), resolution=(100, 100), resolutionunit="centimeter")
    for name in ("a.ome.tif", "b.tif"):
        planes = open_planes(tmp_path / name)
        assert planes.spacing is None
        with pytest.raises(ParameterError, match=f"{name} does not state its voxel size"):
            PlanesVolume(planes)
        assert PlanesVolume(planes, SPACING).spacing == SPACING
    description = '<?xml version="1.0"?><OME><broken></OME>'
    tifffile.imwrite(tmp_path / "c.tif", noise(), description=description, metadata=None)
    assert tiff_facts(tmp_path / "c.tif").spacing is None


def test_images_along_several_axes_are_chosen(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", noise((4, 3, 21, 33)), imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(tmp_path / "v.ome.tif", noise((4, 3, 21, 33)), metadata={"axes": "ZCYX"})
    for name in ("v.tif", "v.ome.tif"):
        with pytest.raises(ParameterError, match=r"3 stacks; choose one by `stack_channel`"):
            open_planes(tmp_path / name)
    # Times or channels alone are as good as planes.
    tifffile.imwrite(tmp_path / "t.tif", noise(), imagej=True, metadata={"axes": "TYX"})
    assert open_planes(tmp_path / "t.tif").shape == SHAPE


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_one_file_is_one_plane(tmp_path, suffix):
    folder = files(tmp_path / "files", noise((1, 21, 33)), suffix)
    assert open_planes(folder / f"s_0{suffix}").shape == (1, 21, 33)


def test_png_files_are_planes_unless_they_have_colours(tmp_path):
    folder = files(tmp_path / "files", noise(dtype=np.uint8), ".png")
    assert open_planes(folder).dtype == np.uint8
    write_png(folder / "s_5.png", np.zeros((21, 33, 3), np.uint8), overwrite=True)
    with pytest.raises(DamagedInputError, match="colour type 2"):
        open_planes(folder)
    (folder / "s_5.png").write_bytes(imagecodecs.png_encode(np.zeros((21, 32), np.uint8)))
    with pytest.raises(DamagedInputError, match="must be alike"):
        open_planes(folder)
    (folder / "s_5.png").write_bytes(b"not a png, but long enough to be the head of one")
    with pytest.raises(DamagedInputError, match="not a PNG"):
        open_planes(folder)
    (folder / "s_5.png").write_bytes(b"")
    with pytest.raises(DamagedInputError, match="0 bytes"):
        open_planes(folder)


def test_what_holds_no_planes_is_refused(tmp_path):
    with pytest.raises(InputMissingError, match="no file or folder"):
        open_planes(tmp_path / "nothing")
    with pytest.raises(InputMissingError, match="holds no planes"):
        open_planes(tmp_path)
    with pytest.raises(InputMissingError):
        open_planes(f"{tmp_path}/*.png")
    (tmp_path / "v.txt").write_text("planes")
    with pytest.raises(ParameterError, match="of no kind"):
        open_planes(tmp_path / "v.txt")
    folder = files(tmp_path / "files", noise(), ".png")
    write_tiff(folder / "t.tif", noise((21, 33)))
    with pytest.raises(ParameterError, match="several kinds"):
        open_planes(folder)
    (tmp_path / "v.tif").write_bytes(b"II*\0")
    with pytest.raises(DamagedInputError, match=r"v\.tif"):
        open_planes(tmp_path / "v.tif")


@pytest.mark.parametrize("array", [np.zeros((3, 4)), np.zeros((0, 3, 4)), np.zeros((3, 4, 5), bool)])
def test_arrays_that_are_no_planes_are_refused(tmp_path, array):
    with pytest.raises(DamagedInputError, match="expected"):
        ArrayPlanes(array)
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(DamagedInputError, match=r"v\.npy"):
        open_planes(tmp_path / "v.npy")
    (tmp_path / "v.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:20])
    with pytest.raises(DamagedInputError, match="cannot be read as a NumPy array"):
        open_planes(tmp_path / "v.npy")


def test_units_are_known_by_all_their_names():
    assert um_per("NANOMETERS") == um_per("nanometre") == um_per(" nm ") == 1e-3
    assert um_per("µm") == um_per("μm") == um_per("Micrometer") == 1.0
    assert um_per("parsec") is None and um_per(None) is None and um_per(3) is None


def test_the_pipeline_s_folder_is_its_volume(tmp_path):
    voxels = noise()
    with OmeZarrWriter(tmp_path / "made" / "volume", SHAPE, np.uint16, SPACING, Writing(levels=1)) as out:
        out.write(Box.of_shape(SHAPE), voxels)
    write_tiff(tmp_path / "made" / "flat.tiff", np.ones((7, 9), np.float32))
    planes = open_planes(tmp_path / "made")
    assert planes.name == str(tmp_path / "made" / "volume") and planes.spacing == SPACING
    np.testing.assert_array_equal(planes.read(0, SHAPE[0]), voxels)
