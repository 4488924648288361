"""Writing a volume into one TIFF."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from gpustitch.errors import OutputError, OutputExistsError, ParameterError
from gpustitch.io.write import tiff as tiff_volume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.opening import open_output
from gpustitch.io.write.slab_writer import check_samples
from gpustitch.io.write.tiff import TiffVolumeWriter
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample
from tests.paths import ROOT

SPACING = Spacing(3.0, 0.5, 0.25)


def noise(shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(0, 256 if dtype == np.uint8 else 65536, shape).astype(dtype)


def write(path, volume, n_planes=None, spacing=SPACING, **options):
    released = []
    with TiffVolumeWriter(path, volume.shape, volume.dtype, spacing, Writing(**options)) as writer:
        thickness = (n_planes, *volume.shape[1:])
        boxes = list(Box.of_shape(volume.shape).blocks(thickness) if n_planes else writer.blocks())
        for box in boxes:
            writer.write(box, volume[box.slices()], lambda: released.append(1))
    assert len(released) == len(boxes)
    return path


@pytest.mark.parametrize("compression", [0, 1, 9])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("n_planes", [None, 1, 3])
def test_planes_are_read_back(tmp_path, dtype, compression, n_planes):
    volume = noise((7, 13, 31), np.dtype(dtype))
    path = write(tmp_path / "v.tif", volume, n_planes, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 7 and len(tiff.series) == 1 and tiff.series[0].axes == "ZYX"
        assert tiff.series[0].dtype == dtype and tiff.byteorder == "<" and not tiff.is_bigtiff
        # Readers may map what is not compressed.
        assert (tiff.series[0].dataoffset is not None) == (compression == 0)
        np.testing.assert_array_equal(tiff.asarray(), volume)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 5), (33, 1, 1), (9, 7, 1), (9, 7, 3), (2, 700, 901)])
@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif"])
@pytest.mark.parametrize("compression", [0, 3])
def test_volumes_of_odd_sizes_are_read_back(tmp_path, shape, compression, name):
    volume = noise(shape)
    path = write(tmp_path / name, volume, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == shape[0] and tiff.pages[0].shape == shape[1:]
        assert tiff.is_imagej == (name == "v.tif")
    np.testing.assert_array_equal(tifffile.imread(path).reshape(shape), volume)


def test_a_compressed_plane_is_in_strips(tmp_path):
    path = write(tmp_path / "v.tif", noise((2, 700, 901)), compression=1)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[1]
        assert page.compression == 8 and page.rowsperstrip == (1 << 18) // 1802 and len(page.dataoffsets) == 5


def test_metadata_of_imagej(tmp_path):
    path = write(tmp_path / "v.tif", noise((5, 4, 3)))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_imagej and not tiff.is_ome
        stated = tiff.imagej_metadata
        assert stated["unit"] == "um" and stated["spacing"] == 3.0 and stated["images"] == stated["slices"] == 5
        for page in tiff.pages:
            assert page.tags["XResolution"].value == (4, 1) and page.tags["YResolution"].value == (2, 1)
            assert page.tags["ResolutionUnit"].value == 1


def test_imagej_is_told_which_voxel_lies_at_0(tmp_path):
    spacing, place = Spacing(3.0, 0.5, 0.25), (-6.0, 1.5, 100.0)
    affine = np.diag([*spacing.zyx_um[::-1], 1e3]) / 1e3
    affine[:3, 3] = np.array(place[::-1]) / 1e3
    volume = noise((2, 4, 3))
    with TiffVolumeWriter(
        tmp_path / "v.tif", volume.shape, volume.dtype, spacing, Writing(affine_lps_mm=affine)
    ) as writer:
        writer.write(Box.of_shape(volume.shape), volume)
    with tifffile.TiffFile(tmp_path / "v.tif") as tiff:
        stated = tiff.imagej_metadata
    first = [stated[f"{axis}origin"] for axis in "zyx"]
    np.testing.assert_allclose(-np.array(first) * spacing.zyx_um, place)


@pytest.mark.parametrize("name", ["v.ome.tif", "v.OME.TIFF"])
def test_metadata_of_ome(tmp_path, name):
    path = write(tmp_path / name, noise((5, 4, 3)))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome and not tiff.is_imagej
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert [pixels[f"PhysicalSize{a}"] for a in "ZYX"] == [3.0, 0.5, 0.25]
        assert {pixels[f"PhysicalSize{a}Unit"] for a in "ZYX"} == {"µm"}
        assert [pixels[f"Size{a}"] for a in "ZYXCT"] == [5, 4, 3, 1, 1]
        assert tiff.pages[0].tags["XResolution"].value == (40000, 1)
        assert tiff.pages[0].tags["ResolutionUnit"].value == 3


def test_a_fine_or_coarse_voxel_size_keeps_its_digits(tmp_path):
    spacing = Spacing(0.04, 0.0040123, 1272.7922)
    with tifffile.TiffFile(write(tmp_path / "v.tif", noise((2, 3, 4)), spacing=spacing)) as tiff:
        pixels, units = tiff.pages[0].tags["YResolution"].value
        assert units / pixels == pytest.approx(0.0040123, rel=1e-6)
        pixels, units = tiff.pages[0].tags["XResolution"].value
        assert units / pixels == pytest.approx(1272.7922, rel=1e-6)


def test_a_large_file_is_bigtiff_with_ome_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_volume, "_CLASSIC_BYTES", 100)
    volume = noise((5, 4, 3))
    with tifffile.TiffFile(write(tmp_path / "v.tif", volume)) as tiff:
        assert tiff.is_bigtiff and tiff.is_ome
        np.testing.assert_array_equal(tiff.asarray(), volume)


@pytest.mark.parametrize(("n_planes", "big"), [(4000, False), (4095, True), (4100, True), (8000, True)])
def test_a_classic_file_is_shorter_than_its_offsets_reach(tmp_path, n_planes, big):
    """Of 4095 MiB, voxels would fit below 4 GiB, but not what describes 4095 planes beside them."""
    with (
        pytest.raises(ZeroDivisionError),
        TiffVolumeWriter(tmp_path / "v.tif", (n_planes, 1024, 1024), np.uint8, SPACING, Writing()) as writer,
    ):
        assert writer.big == big
        raise ZeroDivisionError


def test_planes_not_given_are_zero(tmp_path):
    volume = noise((9, 4, 3)) | 1
    for compression in (0, 5):
        path = tmp_path / f"{compression}.tif"
        with TiffVolumeWriter(path, volume.shape, volume.dtype, SPACING, Writing(compression=compression)) as writer:
            writer.skip(Box((0, 0, 0), (2, 4, 3)))
            writer.write(Box((2, 0, 0), (4, 4, 3)), volume[2:4])
        expected = volume.copy()
        expected[:2] = expected[4:] = 0
        np.testing.assert_array_equal(tifffile.imread(path), expected)


def test_views_that_are_not_contiguous(tmp_path):
    volume = noise((5, 8, 6))
    for compression in (0, 5):
        path = write(tmp_path / f"{compression}.tif", volume[:, ::-2, ::2], compression=compression)
        np.testing.assert_array_equal(tifffile.imread(path), volume[:, ::-2, ::2])


@pytest.mark.parametrize(
    "box",
    [Box((1, 0, 0), (2, 4, 3)), Box((0, 0, 0), (2, 4, 2)), Box((0, 1, 0), (2, 4, 3)), Box((0, 0, 0), (6, 4, 3)),
     Box((0, 0, 0), (0, 4, 3))],
)  # fmt: skip
def test_refuses_what_is_not_the_next_slab(tmp_path, box):
    with (
        pytest.raises(ParameterError, match="in order: the next begins with plane 0"),
        TiffVolumeWriter(tmp_path / "v.tif", (5, 4, 3), np.uint16, SPACING, Writing()) as writer,
    ):
        writer.write(box, np.ones(box.shape, np.uint16))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("planes", [(1, 3), (3, 4), (2, 2), (2, 6)])
def test_refuses_slabs_that_do_not_follow_those_before(tmp_path, planes):
    with (
        pytest.raises(ParameterError, match="the next begins with plane 2 of 5"),
        TiffVolumeWriter(tmp_path / "v.tif", (5, 4, 3), np.uint16, SPACING, Writing()) as writer,
    ):
        writer.write(Box((0, 0, 0), (2, 4, 3)), np.ones((2, 4, 3), np.uint16))
        writer.skip(Box((planes[0], 0, 0), (planes[1], 4, 3)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("samples", "columns", "dtype", "is_right"),
    [
        (1, 7, "uint16", True), (1, 7, "float32", True), (3, 6, "uint8", True), (3, 3, "uint8", True),
        (3, 7, "uint8", False), (3, 6, "uint16", False), (2, 6, "uint8", False), (4, 8, "uint8", False),
    ],
)  # fmt: skip
def test_a_voxel_has_one_value_or_three_of_8_bits(samples, columns, dtype, is_right):
    if is_right:
        check_samples(samples, columns, np.dtype(dtype))
        return
    with pytest.raises(ParameterError, match="one value, or three of uint8"):
        check_samples(samples, columns, np.dtype(dtype))


def test_refuses_arrays_that_do_not_fit(tmp_path):
    box = Box((0, 0, 0), (2, 4, 3))
    for voxels in (np.ones((2, 4, 3), np.uint8), np.ones((1, 4, 3), np.uint16)):
        with (
            pytest.raises(ParameterError, match="takes uint16"),
            TiffVolumeWriter(tmp_path / "v.tif", (5, 4, 3), np.uint16, SPACING, Writing()) as writer,
        ):
            writer.write(box, voxels)


@pytest.mark.parametrize(
    ("name", "dtype", "options", "message"),
    [
        ("v.tif", "int32", {}, "`dtype` of a TIFF is one of"),
        ("v.tif", "uint8", {"compression": 10}, "from 0"),
        ("v.tif", "uint8", {"n_writers": 0}, "writers"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, name, dtype, options, message):
    with pytest.raises(ParameterError, match=message):
        TiffVolumeWriter(tmp_path / name, (5, 4, 3), dtype, SPACING, Writing(**options))
    assert not list(tmp_path.iterdir())


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    old, new, path = noise((5, 4, 3)), noise((5, 4, 3), seed=1), tmp_path / "v.tif"
    for _ in range(2):
        with (
            pytest.raises(ZeroDivisionError),
            TiffVolumeWriter(path, old.shape, old.dtype, SPACING, Writing(overwrite=True)) as writer,
        ):
            writer.write(Box((0, 0, 0), (2, 4, 3)), new[:2])
            raise ZeroDivisionError
        if path.exists():
            np.testing.assert_array_equal(tifffile.imread(path), old)
        else:
            assert not list(tmp_path.iterdir())
            write(path, old)
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        write(path, new)
    write(path, new, overwrite=True)
    np.testing.assert_array_equal(tifffile.imread(path), new)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.tif"]


def test_the_sidecar_is_beside_the_file(tmp_path):
    write(tmp_path / "v.tif", noise((2, 3, 4)), sidecar={"step": 1})
    assert json.loads((tmp_path / "v.tif.json").read_text()) == {"schema": 2, "step": 1}
    (tmp_path / "v.tif").unlink()
    with pytest.raises(OutputExistsError, match=r"v\.tif\.json"):
        write(tmp_path / "v.tif", noise((2, 3, 4)), sidecar={"step": 2})
    assert not (tmp_path / "v.tif").exists()


@pytest.mark.posix
def test_a_killed_writer_leaves_no_file(tmp_path):
    code = (
        "import os, signal, numpy as np\n"
        "from gpustitch.io.write.format import Writing\n"
        "from gpustitch.io.write.tiff import TiffVolumeWriter\n"
        "from gpustitch.model import Box, Spacing\n"
        "how = (64, 32, 32), 'uint16', Spacing(1, 1, 1), Writing()\n"
        f"writer = TiffVolumeWriter({str(tmp_path / 'v.tif')!r}, *how)\n"
        "writer.write(Box((0, 0, 0), (32, 32, 32)), np.ones((32, 32, 32), np.uint16))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "v.tif").exists()
    write(tmp_path / "v.tif", noise((2, 3, 4)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.tif"]


@pytest.mark.posix
@pytest.mark.parametrize("compression", [0, 1])
def test_what_the_system_says_is_reported(tmp_path, compression):
    code = (
        "import resource, signal\n"
        "from tests.io.write.test_tiff import write, noise\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"write({str(tmp_path / 'v.tif')!r}, noise((64, 320, 320)), 1, compression={compression}, "
        "in_flight_bytes=1 << 20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode != 0 and "OutputError" in done.stderr and "File too large" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TiffVolumeWriter, "_write_file", full)
    with pytest.raises(OutputError, match=r"v\.tif: the disk is full"):
        write(tmp_path / "v.tif", noise((20, 8, 8)), 1, in_flight_bytes=256)
    assert not list(tmp_path.iterdir())


def test_bytes_in_flight_are_bounded(tmp_path, monkeypatch):
    volume, most, real = noise((40, 8, 8)), [], TiffVolumeWriter._encoded

    def slow(self, strip):
        time.sleep(0.005)
        return real(self, strip)

    monkeypatch.setattr(TiffVolumeWriter, "_encoded", slow)
    with TiffVolumeWriter(
        tmp_path / "v.tif",
        volume.shape,
        volume.dtype,
        SPACING,
        Writing(in_flight_bytes=512, n_writers=1, compression=1),
    ) as writer:
        for box in Box.of_shape(volume.shape).blocks((2, 8, 8)):
            writer.write(box, volume[box.slices()])
            most.append(writer._in_flight.n_bytes)
    assert max(most) <= 512
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "v.tif"), volume)


def test_blocks_are_slabs_of_bounded_size(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        TiffVolumeWriter(tmp_path / "v.tif", (70, 4096, 4096), np.uint16, SPACING, Writing()) as writer,
    ):
        boxes = list(writer.blocks())
        assert boxes[0] == Box((0, 0, 0), (2, 4096, 4096)) and len(boxes) == 35
        raise ZeroDivisionError


@pytest.mark.parametrize("seed", range(5))
def test_ome_states_where_planes_are(tmp_path, seed):
    rng = np.random.default_rng(seed)
    spacing = Spacing(*rng.uniform(100, 3000, 3).tolist())
    origin = rng.uniform(-300, 300, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.diag([spacing.x_um, spacing.y_um, spacing.z_um]) / 1000
    affine[:3, 3] = origin
    voxels = rng.integers(0, 255, (4, 6, 5), np.uint8)
    path = tmp_path / "v.ome.tif"
    with open_output(path, voxels.shape, "uint8", spacing, downsample=downsample, affine_lps_mm=affine) as output:
        output.write(Box.of_shape(voxels.shape), voxels)
    with tifffile.TiffFile(path) as tiff:
        planes = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]["Plane"]
    assert [plane["TheZ"] for plane in planes] == list(range(4))
    for k, plane in enumerate(planes):
        there = [plane[f"Position{axis}"] for axis in "XYZ"]
        np.testing.assert_allclose(there, 1000 * origin + [0, 0, k * spacing.z_um])
        assert {plane[f"Position{axis}Unit"] for axis in "XYZ"} == {"µm"}
