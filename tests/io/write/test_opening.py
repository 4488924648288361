"""One way to write a volume in any format."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from gpustitch.errors import OutputExistsError, ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import origin_along_axes_um
from gpustitch.io.write.formats import OUTPUT_FORMATS, defaults_of, format_of, names_of_outputs
from gpustitch.io.write.opening import open_output
from gpustitch.model import Box, Spacing
from gpustitch.ops.pyramid import downsample, signed_too

SPACING = Spacing(3.0, 0.5, 0.25)
NAMES = ("v", "v.zarr", "v.ome.zarr", "v.tif", "v.ome.tif", "v.TIFF")


def noise(shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(1, 256 if dtype == np.uint8 else 65536, shape).astype(dtype)


def write(path, volume, **options):
    with open_output(path, volume.shape, volume.dtype, SPACING, downsample=signed_too(downsample), **options) as writer:
        for box in writer.blocks():
            writer.write(box, volume[box.slices()])
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [("v", "precomputed"), ("v.zarr", "ome-zarr"), ("v.ome.ZARR", "ome-zarr"), ("v.tif", "tiff"), ("v.tiff", "tiff"),
     ("v.ome.tif", "tiff"), ("v.1", "precomputed"), ("zarr", "precomputed"), ("v.nii", "nifti"), ("v.nii.gz", "nifti"),
     ("v.488", "precomputed"), ("csv", "precomputed")],
)  # fmt: skip
def test_the_name_tells_the_format(name, expected):
    assert format_of(f"some.tif/{name}") == expected


@pytest.mark.parametrize("end", [".gz", ".bz2", ".zst", ".dcm", ".img", ".csv", " "])
def test_a_folder_is_not_named_as_a_file(end):
    suffixes = {suffix for format in OUTPUT_FORMATS for suffix in format.suffixes}
    for name in sorted({f"v{suffix}{end}" for suffix in suffixes} - {f"v{suffix}" for suffix in suffixes}):
        with pytest.raises(ParameterError, match="named as a format in which no volume is written"):
            format_of(name)


@pytest.mark.parametrize("shape", [(70, 65, 131), (3, 200, 7), (1, 1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(tmp_path, name, dtype, shape):
    volume = noise(shape, np.dtype(dtype))
    planes = open_planes(write(tmp_path / name, volume))
    assert planes.shape == shape and planes.dtype == dtype
    np.testing.assert_array_equal(planes.read(0, shape[0]), volume)
    if name.endswith(("tif", "TIFF")) and "ome" not in name and shape[0] == 1:
        return  # ImageJ states no distance of planes where there is one
    np.testing.assert_allclose(planes.spacing.zyx_um, SPACING.zyx_um, rtol=1e-6)


@pytest.mark.parametrize("format", ["precomputed", "ome-zarr", "tiff"])
def test_the_format_may_be_given(tmp_path, format):
    volume = noise((9, 10, 11))
    path = write(tmp_path / "v.x", volume, format=format, sidecar={"step": 1})
    assert path.is_file() == (format == "tiff")
    file = tmp_path / "v.x.json" if format == "tiff" else path / "gpustitch.json"
    assert json.loads(file.read_text()) == {"schema": 2, "step": 1}


def test_the_place_in_the_patient(tmp_path):
    oblique, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    oblique *= np.sign(np.linalg.det(oblique))
    x, y, z = oblique.T
    affine = np.eye(4)
    affine[:3, :3] = oblique * np.array(SPACING.zyx_um[::-1]) / 1000
    affine[:3, 3] = 7 * x - 2 * y + 0.5 * z
    np.testing.assert_allclose(origin_along_axes_um(affine), (500, -2000, 7000))
    write(tmp_path / "v.zarr", noise((8, 9, 10)), levels=2, affine_lps_mm=affine)
    image = OmeZarrVolume(tmp_path / "v.zarr").image
    np.testing.assert_allclose(image.translations[0], (500, -2000, 7000))
    np.testing.assert_allclose(
        image.translations[1], np.add((500, -2000, 7000), (0, *np.array(SPACING.zyx_um)[1:] / 2))
    )
    write(tmp_path / "v.nii", noise((8, 9, 10)), affine_lps_mm=affine)
    np.testing.assert_allclose(nibabel.load(tmp_path / "v.nii").affine, np.diag([-1, -1, 1, 1]) @ affine, rtol=1e-5)


def test_options_reach_the_writer(tmp_path):
    volume = noise((40, 40, 40))
    write(tmp_path / "v", volume, levels=2, chunk_shape=(16, 16, 16))
    np.testing.assert_array_equal(
        PrecomputedVolume(tmp_path / "v", 1).read(Box.of_shape((40, 20, 20))), downsample(volume, factors=(1, 2, 2))
    )
    write(tmp_path / "v.zarr", volume, levels=2, chunk_shape=(8, 8, 8), shard_bytes=8192, compression=0)
    assert OmeZarrVolume(tmp_path / "v.zarr").chunk_shape == (8, 8, 8)
    write(tmp_path / "v.zarr", volume, version="0.4", overwrite=True)
    assert OmeZarrVolume(tmp_path / "v.zarr").image.version == "0.4"
    assert OmeZarrVolume(tmp_path / "v.zarr").levels == 5
    size = write(tmp_path / "v.tif", volume // 4096).stat().st_size
    assert write(tmp_path / "w.tif", volume // 4096, compression=6).stat().st_size < size / 2


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_of_a_failed_run(tmp_path, name):
    with (
        pytest.raises(ZeroDivisionError),
        open_output(tmp_path / name, (70, 65, 131), "uint16", SPACING, downsample=downsample) as writer,
    ):
        box = next(writer.blocks())
        writer.write(box, np.ones(box.shape, np.uint16))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write(tmp_path / name, noise((2, 3, 4)))
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        write(tmp_path / name, noise((2, 3, 4)))
    write(tmp_path / name, noise((5, 3, 4)), overwrite=True)
    assert open_planes(tmp_path / name).shape == (5, 3, 4)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_cover_the_volume_once(tmp_path, name):
    covered = np.zeros((70, 65, 131), int)
    with open_output(tmp_path / name, covered.shape, "uint8", SPACING, downsample=downsample) as writer:
        for box in writer.blocks():
            covered[box.slices()] += 1
            assert all(n <= b for n, b in zip(box.shape, writer.block_shape, strict=True))
            writer.skip(box)
    assert (covered == 1).all()
    assert not open_planes(tmp_path / name).read(0, 70).any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v", {"format": "hdf5"}, "one of precomputed, ome-zarr, tiff"),
        ("v.tif", {"levels": 3}, "one level"),
        ("v.tif", {"chunk_shape": (8, 8, 8)}, "no chunks"),
        ("v.nii", {"levels": 2}, "NIfTI volumes have one level"),
        ("v.nii", {"flush": False}, "always wait for the disk"),
        ("v.tif", {"version": "0.4"}, "which is for OME-Zarr, or"),
        ("v.tif", {"shard_bytes": 1 << 20}, "no shards"),
        ("v.nii", {"codec": "gzip"}, "no chunks to compress"),
        ("v", {"compression": 3}, "without compression"),
    ],
)
def test_refuses_what_a_format_has_not(tmp_path, name, options, message):
    with pytest.raises(ParameterError, match=message):
        write(tmp_path / name, noise((8, 8, 8)), **options)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "w.tif", noise((2, 3, 4)), levels=1)


def test_what_people_are_told_of_formats():
    """Formats that come later may follow these four."""
    assert OUTPUT_FORMATS.names[:4] == ("precomputed", "ome-zarr", "tiff", "nifti")
    assert names_of_outputs().startswith("*.zarr OME-Zarr, *.tif TIFF, *.nii NIfTI")
    assert names_of_outputs(in_order=False).startswith("*.zarr OME-Zarr")
    assert "TIFF" not in names_of_outputs(in_order=False) and names_of_outputs().endswith("other names precomputed")
    assert defaults_of("levels").startswith("5; TIFF, NIfTI") and ": 1" in defaults_of("levels")
    assert defaults_of("chunk_shape").startswith("64,64,64; TIFF, NIfTI") and ": none" in defaults_of("chunk_shape")
    assert defaults_of("compression").startswith("none; OME-Zarr: 1; TIFF: 0; NIfTI: 1 for *.nii.gz")
