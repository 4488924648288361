"""What the commands for series of sections take and what they refuse: each kind of source, each way to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.write.opening import open_output
from gpustitch.model import Spacing
from gpustitch.ops.pyramid import downsample
from gpustitch.sections.similarity.bands import full_matrix
from tests.e2e.commands import fail, succeed

N, ROWS, COLUMNS = 6, 32, 40


@pytest.fixture(scope="module")
def planes():
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.normal(0, 1, (N, ROWS, COLUMNS)), 0) + 3 * rng.normal(0, 1, (ROWS, COLUMNS))
    return (1000 + 40 * drift).astype(np.uint16)


def one_per_file(path, planes):
    path.mkdir()
    for number, plane in enumerate(planes):
        tifffile.imwrite(path / f"s_{number}.tif", plane)


def page_by_page(path, planes):
    with tifffile.TiffWriter(path) as tiff:
        for plane in planes:
            tiff.write(plane, contiguous=False, photometric="minisblack")


def volume(path, planes, **options):
    with open_output(
        path, planes.shape, planes.dtype, Spacing(3, 1, 1), downsample=downsample, levels=1, chunk_shape=(4, 16, 16),
        **options,
    ) as output:  # fmt: skip
        for box in output.blocks():
            output.write(box, np.ascontiguousarray(planes[box.slices()]))


SOURCES = {
    "stack": one_per_file,
    "pages.tif": lambda path, planes: tifffile.imwrite(path, planes, photometric="minisblack"),
    "single.tif": page_by_page,
    "imagej.tif": lambda path, planes: tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZYX"}),
    "precomputed": volume,
    "v4.zarr": lambda path, planes: volume(path, planes, version="0.4"),
    "v5.zarr": lambda path, planes: volume(path, planes, version="0.5"),
    "frames.dcimg": lambda path, planes: write_dcimg(path, planes, N, planes.shape[1:]),
    "array.npy": np.save,
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_kind_of_source_has_the_same_similarity_and_is_rendered(planes, tmp_path, name):
    SOURCES[name](tmp_path / name, planes)
    succeed("similarity", tmp_path / name, tmp_path / "s.npz", "--range", 3, "--quiet")
    found = np.load(tmp_path / "s.npz")["half_strip"]
    expected = np.corrcoef(planes.reshape(N, -1).astype(np.float64))
    near = np.abs(np.subtract.outer(np.arange(N), np.arange(N))) <= 3
    np.testing.assert_allclose(full_matrix(found), np.where(near, expected, np.nan), atol=1e-6)
    (tmp_path / "z.csv").write_text("z-index,mapping\n" + "".join(f"{i},{i}\n" for i in range(N)))
    out = tmp_path / "out.tif"
    succeed("z-render", tmp_path / name, tmp_path / "z.csv", out, "--voxel-size", "1,1,3", "--quiet")
    np.testing.assert_array_equal(tifffile.imread(out), planes)


def cut(path, planes):
    tifffile.imwrite(path, planes, photometric="minisblack", compression="zlib")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def bad_strip(path, planes):
    tifffile.imwrite(path, planes, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[4].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset + 50 : offset + 350] = b"\xff" * 300
    path.write_bytes(data)


def sizes(path, planes):
    one_per_file(path, planes)
    tifffile.imwrite(path / "s_4.tif", planes[4, :20])


def colour(path, planes):
    tifffile.imwrite(path, np.zeros((5, 32, 40, 3), np.uint8), photometric="rgb")


BAD = {
    "cut.tif": (cut, 5, "cut.tif is cut short or damaged"),
    "strip.tif": (bad_strip, 5, "strip.tif cannot be read as TIFF, page 4 of 6"),
    "sizes": (sizes, 5, "s_4.tif is uint16 of 20 x 40 but"),
    "colour.tif": (colour, 5, "frames are grey"),
    "empty": (lambda path, _planes: path.mkdir(), 4, "holds no planes"),
    "missing.tif": (lambda _path, _planes: None, 4, "there is no file"),
    "notes.txt": (lambda path, _planes: path.write_text("x"), 3, "of no kind that planes are read from"),
    "text.npy": (lambda path, _planes: path.write_text("x"), 5, "cannot be read as a NumPy array"),
    "complex.npy": (lambda path, planes: np.save(path, planes * 1j), 5, "holds complex128"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_bad_source_is_named_and_leaves_nothing(planes, tmp_path, name, capfd):
    make, code, said = BAD[name]
    make(tmp_path / name, planes)
    (tmp_path / "z.csv").write_text("z-index,mapping\n" + "".join(f"{i},{i}\n" for i in range(N)))
    before = sorted(tmp_path.iterdir())
    size = ("--voxel-size", "1,1,3")
    for command in (
        ("similarity", tmp_path / name, tmp_path / "s.npz"),
        ("z-spacing", tmp_path / name, "-o", tmp_path / "p.csv", "--report", tmp_path / "p.png"),
        ("z-render", tmp_path / name, tmp_path / "z.csv", tmp_path / "v.zarr", *size),
        ("z-render", tmp_path / name, tmp_path / "z.csv", tmp_path / "v.tif", *size),
    ):
        errors = [line for line in fail(code, *command, "--quiet").splitlines() if line]
        assert len(errors) == 1 and said in errors[0] and name in errors[0]
        assert sorted(tmp_path.iterdir()) == before
    assert "tifffile" not in capfd.readouterr().err


def test_weights_of_nothing_are_refused(planes, tmp_path):
    np.save(tmp_path / "in.npy", planes)
    np.savez(tmp_path / "none.npz", matrix=np.zeros((N, N)))
    (tmp_path / "none.csv").write_text("z-index,mapping,weight\n" + "".join(f"{i},{i},0\n" for i in range(N)))
    out = ("-o", tmp_path / "z.csv")
    for option, name in (("--pair-weights", "none.npz"), ("--section-weights", "none.csv")):
        said = fail(10, "z-spacing", tmp_path / "in.npy", *out, option, tmp_path / name)
        assert f"{name}: no pair of sections has a weight above 0" in said
    assert not (tmp_path / "z.csv").exists()


def test_sections_named_by_z_spacing_are_left_out_by_z_render(planes, tmp_path):
    changed = planes.copy()
    changed[2] = 7
    np.save(tmp_path / "in.npy", changed)
    succeed("z-spacing", tmp_path / "in.npy", "-o", tmp_path / "z.csv", "--range", 3, "--quiet")
    call = ("z-render", tmp_path / "in.npy", tmp_path / "z.csv", tmp_path / "v.tif", "--voxel-size", "1,1,3")
    assert "left out as asked: sections 2" in succeed(*call, "--leave-out", "constant")
    assert not (tifffile.imread(tmp_path / "v.tif") == 7).all((1, 2)).any()
    assert "takes numbers, ranges" in fail(3, *call, "--overwrite", "--leave-out", "bad")


def test_a_matrix_is_not_written_among_the_planes_nor_over_its_record(planes, tmp_path):
    one_per_file(tmp_path / "in", planes)
    assert "lies in the input" in fail(3, "similarity", tmp_path / "in", tmp_path / "in" / "s.tif")
    succeed("similarity", tmp_path / "in", tmp_path / "in" / "s.npz", "--quiet")
    (tmp_path / "s.tif.json").write_text("mine")
    assert "s.tif.json exists already" in fail(7, "similarity", tmp_path / "in", tmp_path / "s.tif")
    succeed("similarity", tmp_path / "in", tmp_path / "s.tif", "--overwrite", "--quiet")
    assert '"program": "gpustitch"' in (tmp_path / "s.tif.json").read_text()


def test_a_recording_that_ends_early_is_used_as_far_as_it_goes_and_that_is_said(planes, tmp_path):
    path = tmp_path / "in.dcimg"
    write_dcimg(path, planes, N, planes.shape[1:])
    data = path.read_bytes()
    path.write_bytes(data[: int(0.8 * len(data))])
    (tmp_path / "z.csv").write_text("z-index,mapping\n" + "".join(f"{i},{i}\n" for i in range(N)))
    size = ("--voxel-size", "1,1,3")
    for command in (
        ("similarity", path, tmp_path / "s.npz"),
        ("z-spacing", path, "-o", tmp_path / "p.csv"),
        ("z-render", path, tmp_path / "z.csv", tmp_path / "v.tif", *size),
    ):
        assert "copy it again, or --allow-missing leaves these uncovered" in fail(5, *command, "--quiet")
        assert "2 of 6 frames are absent: 4 to 5 (2 cut off at the end)" in succeed(
            *command, "--quiet", "--allow-missing"
        )
