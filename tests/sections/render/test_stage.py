"""Rendering of section series: any source and output, blocks as the whole, planes read once, bad input."""

from __future__ import annotations

import csv
import dataclasses
import json

import nibabel
import numpy as np
import pytest
import tifffile

from gpustitch.array import choose_device
from gpustitch.errors import DamagedInputError, InputMissingError, MosaicError, OutputExistsError, ParameterError
from gpustitch.io.images.files import write_tiff
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.io.volumes.precomputed import PrecomputedVolume
from gpustitch.io.write.format import Writing
from gpustitch.io.write.tiff import TiffVolumeWriter
from gpustitch.model import Box, Spacing
from gpustitch.regrid.plan import ZGrid, deformation, plan_z, sorted_series
from gpustitch.regrid.zresample import deformed_planes, planes_between
from gpustitch.running.progress import Silent
from gpustitch.sections.grid.file import ZGrids, read_z_grids, write_z_grids
from gpustitch.sections.render.stage import RenderOptions, plan, run
from tests.cuda_cpu import module, shim

SPACING = Spacing(2.0, 0.5, 0.25)


class Watched(Silent):
    """Keeps what it is warned of."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def series(n=70, shape=(50, 60), dtype="uint16", seed=0):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 200, (n, *shape)).astype(dtype)
    positions = rng.permutation(np.r_[0, np.cumsum(rng.uniform(0.3, 1.8, n - 1))])
    return planes, positions


def table(path, positions):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("z-index", "mapping"))
        writer.writerows(enumerate(positions.tolist()))
    return path


def expected(planes, positions, step=1.0, **options):
    n = int(np.floor(np.ptp(positions) / step + 1e-6)) + 1
    made = plan_z(sorted_series(positions), ZGrid(positions.min(), step, n), **options)
    return planes_between(list(planes), made.lower, made.upper, made.weight)


def options(tmp_path, planes, positions, output, **more):
    source = ArrayPlanes(planes, "sections", SPACING)
    return RenderOptions(
        tmp_path / "in.npy", table(tmp_path / "z.csv", positions), tmp_path / output, planes=source, **more
    )


def voxels_of(path):
    found = open_planes(path)
    return found.read(0, found.shape[0]), found.spacing


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize(("output", "more"), [
    ("v", {"levels": 2, "chunk_shape": (16, 16, 32)}), ("v.zarr", {"levels": 3, "chunk_shape": (8, 16, 16)}),
    ("v.tif", {}), ("v.ome.tif", {}), ("volume", {"format": "tiff"}),
])  # fmt: skip
@pytest.mark.parametrize("nearest", [False, True])
def test_formats_and_types(tmp_path, dtype, output, more, nearest):
    planes, positions = series(dtype=dtype)
    job = plan(options(tmp_path, planes, positions, output, nearest=nearest, n_workers=3, **more))
    result = run(job)
    assert result.shape == job.shape and result.spacing.zyx_um == SPACING.zyx_um
    path = result.path
    if output == "volume":
        path = path.rename(tmp_path / "volume.tif")
    found, spacing = voxels_of(path)
    np.testing.assert_array_equal(found, expected(planes, positions, nearest=nearest))
    assert found.dtype == dtype and spacing.zyx_um == pytest.approx(SPACING.zyx_um)


def test_absent_sections_are_left_out_and_named(tmp_path):
    planes, positions = series(n=30)
    absent = {int(np.argmin(positions)), 4, 11, 12}
    asked = plan(options(tmp_path, planes, positions, "asked", levels=1, leave_out=",".join(map(str, absent))))
    planes[sorted(absent)] = 0
    job = options(tmp_path, planes, positions, "out", levels=1)
    job.planes.absent = frozenset(absent)
    seen = Watched()
    result, expected = run(plan(job), seen), run(asked)
    np.testing.assert_array_equal(voxels_of(result.path)[0], voxels_of(expected.path)[0])
    assert any(line.startswith("left out, as no file holds them: sections ") for line in seen.warnings)
    assert json.loads((result.path / "gpustitch.json").read_text())["sections_absent"] == sorted(absent)


@pytest.mark.parametrize(("z_um", "step"), [(0.7, 0.35), (5.0, 2.5), (2.0, 1.0)])
def test_spacing_of_the_planes(tmp_path, z_um, step):
    planes, positions = series()
    result = run(plan(options(tmp_path, planes, positions, "v", z_spacing_um=z_um, levels=1)))
    found, spacing = voxels_of(result.path)
    np.testing.assert_array_equal(found, expected(planes, positions, step))
    assert spacing.zyx_um == pytest.approx((z_um, 0.5, 0.25))


def test_threads_that_have_nothing_to_make_hold_nothing(tmp_path):
    given = options(tmp_path, *series(shape=(70, 90)), "v", levels=1, chunk_shape=(16, 16, 16))
    most, more = (plan(dataclasses.replace(given, n_workers=n)).blocks for n in (10**6, 10**7))
    assert most.n_workers == more.n_workers == most.cut.n_items
    assert most.memory_bytes == more.memory_bytes < 10**9


@pytest.mark.parametrize("memory_bytes", [1, 50_000, 10**9])
@pytest.mark.parametrize("n_workers", [1, 4])
@pytest.mark.parametrize("output", ["v", "v.tif"])
def test_any_cut_gives_the_same(tmp_path, memory_bytes, n_workers, output):
    planes, positions = series(shape=(70, 90))
    more = {} if output == "v.tif" else {"levels": 1, "chunk_shape": (16, 16, 16)}
    job = plan(options(tmp_path, planes, positions, output, memory_bytes=memory_bytes, n_workers=n_workers, **more))
    result = run(job)
    np.testing.assert_array_equal(voxels_of(result.path)[0], expected(planes, positions))
    assert result.n_read == job.cut.n_columns * len(planes)
    if output == "v":
        assert (
            job.cut.n_columns == {1: 30, 50_000: {1: 30}.get(memory_bytes, job.cut.n_columns), 10**9: 1}[memory_bytes]
        )
        assert (job.cut.n_columns == 1) == (memory_bytes == 10**9)


def test_planes_stored_together_are_read_once(tmp_path):
    planes, positions = series()
    positions = np.sort(positions)
    first = run(plan(options(tmp_path, planes, np.arange(70.0), "stored", levels=1, chunk_shape=(16, 16, 16))))
    again = RenderOptions(first.path, table(tmp_path / "z.csv", positions), tmp_path / "v", levels=1)
    job = plan(again)
    assert job.planes.depth == 16
    result = run(job)
    assert result.n_read == 70
    np.testing.assert_array_equal(PrecomputedVolume(result.path).read(Box.of_shape(result.shape)),
                                  expected(planes, positions))  # fmt: skip


def test_files_of_planes(tmp_path):
    planes, positions = series(n=12)
    (tmp_path / "in").mkdir()
    for number, plane in enumerate(planes):
        write_tiff(tmp_path / "in" / f"{number}.tif", plane)
    given = RenderOptions(tmp_path / "in", table(tmp_path / "z.csv", positions), tmp_path / "v")
    with pytest.raises(ParameterError, match="does not state its voxel size"):
        plan(given)
    result = run(plan(RenderOptions(given.input, given.positions, given.output, spacing=SPACING)))
    np.testing.assert_array_equal(voxels_of(result.path)[0], expected(planes, positions))


def test_a_tiff_volume_to_ome_zarr(tmp_path):
    planes, positions = series(n=20)
    with TiffVolumeWriter(tmp_path / "in.tif", planes.shape, planes.dtype, SPACING, Writing()) as writer:
        writer.write(Box.of_shape(planes.shape), planes)
    given = RenderOptions(tmp_path / "in.tif", table(tmp_path / "z.csv", positions), tmp_path / "v.zarr", levels=2)
    result = run(plan(given))
    found = OmeZarrVolume(result.path)
    np.testing.assert_array_equal(found.read(Box.of_shape(found.shape)), expected(planes, positions))
    assert found.spacing.zyx_um == pytest.approx(SPACING.zyx_um)


def test_to_nifti(tmp_path):
    planes, positions = series(n=20, dtype="int16")
    result = run(plan(options(tmp_path, planes, positions, "v.nii.gz")))
    image = nibabel.load(result.path)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, expected(planes, positions))
    assert image.header.get_zooms() == pytest.approx([v / 1000 for v in reversed(SPACING.zyx_um)])


def test_local_positions(tmp_path):
    planes, positions = series()
    grids = positions[:, None, None] + np.random.default_rng(1).uniform(-0.3, 0.3, (70, 3, 2))
    centers = {"row_centers": np.array([0.0, 20.0, 49.0]), "column_centers": np.array([10.0, 50.0])}
    write_z_grids(tmp_path / "z.npz", ZGrids(grids, **centers))
    source = ArrayPlanes(planes, "sections", SPACING)
    given = RenderOptions(tmp_path / "in", tmp_path / "z.npz", tmp_path / "v", levels=1, chunk_shape=(16, 16, 16),
                          max_gap=1.6, memory_bytes=100_000, planes=source)  # fmt: skip
    job = plan(given)
    result = run(job)
    order = sorted_series(grids)
    whole = deformation(order, planes.shape[1:], limits=1.6, **centers)
    wanted = deformed_planes([planes[i] for i in order.order], whole, job.grid)
    np.testing.assert_array_equal(voxels_of(result.path)[0], wanted)
    assert job.cut.n_columns > 1 and (wanted == 0).mean() > 0.03
    filled = plan(RenderOptions(tmp_path / "in", tmp_path / "z.npz", tmp_path / "w", fill_gaps=True, planes=source))
    assert np.isinf(filled.sources.limits).all()


@pytest.mark.skipif(bool(module.why_not()), reason="the emulator does not work here")
@pytest.mark.parametrize("output", ["v", "v.tif"])
@pytest.mark.parametrize("bend", [0.0, 0.4])
def test_a_device_makes_the_volume_that_the_cpu_makes(tmp_path, output, bend):
    planes, positions = series(n=24, shape=(20, 70))
    more = {} if output == "v.tif" else {"levels": 2, "chunk_shape": (8, 8, 32)}
    given = options(tmp_path, planes, positions, output, overwrite=True, max_gap=1.7, **more)
    if bend:
        grids = positions[:, None, None] + np.random.default_rng(1).uniform(-bend, bend, (24, 2, 3))
        write_z_grids(tmp_path / "z.npz", ZGrids(grids))
        given = dataclasses.replace(given, positions=tmp_path / "z.npz")
    host = voxels_of(run(plan(given)).path)[0]
    before = module.launches()
    with shim.installed():
        run(plan(dataclasses.replace(given, device=choose_device("cuda"))))
    assert module.launches() > before
    np.testing.assert_array_equal(voxels_of(tmp_path / output)[0], host)


def test_gaps_duplicates_and_what_is_said_of_them(tmp_path):
    planes = np.full((6, 20, 20), 9, np.uint16)
    positions = np.array([0.0, 1, 2, 12, 2, 13])
    watched = Watched()
    result = run(plan(options(tmp_path, planes, positions, "v", levels=1)), watched)
    found = voxels_of(result.path)[0]
    np.testing.assert_array_equal(found.any((1, 2)), [True] * 3 + [False] * 9 + [True] * 2)
    assert any("9 of 14 planes are background" in line for line in watched.warnings)
    told = json.loads((result.path / "gpustitch.json").read_text())
    assert told["background_planes"] == [[3, 11]] and told["planes_across_gaps"] == []
    assert told["sections_left_out"] == [4] and told["first_plane_at_section"] == 0
    filled = run(plan(options(tmp_path, planes, positions, "w", levels=1, fill_gaps=True)), watched)
    assert (voxels_of(filled.path)[0] == 9).all()
    assert any("9 of 14 planes are interpolated across gaps" in line for line in watched.warnings)
    assert json.loads((filled.path / "gpustitch.json").read_text())["planes_across_gaps"] == [[3, 11]]


def test_a_background_slab_is_skipped(tmp_path):
    planes = np.full((4, 20, 20), 9, np.uint16)
    for output, more in (("v", {"levels": 1, "chunk_shape": (16, 16, 16)}), ("v.tif", {})):
        given = options(tmp_path, planes, np.array([0.0, 1, 80, 81]), output, **more)
        result = run(plan(given))
        assert result.n_read == 4
        np.testing.assert_array_equal(voxels_of(result.path)[0].any((1, 2)), [True] * 2 + [False] * 78 + [True] * 2)


def test_one_section(tmp_path):
    result = run(plan(options(tmp_path, np.full((1, 9, 9), 3, np.uint8), np.array([7.5]), "v.tif")))
    np.testing.assert_array_equal(tifffile.imread(result.path).reshape(1, 9, 9), 3)


def test_a_plane_that_cannot_be_read_ends_the_run(tmp_path):
    class Broken(ArrayPlanes):
        def read(self, start, stop, rows=slice(None), columns=slice(None)):
            if start <= 33 < stop:
                raise DamagedInputError("plane 33 is damaged")
            return super().read(start, stop, rows, columns)

    planes, positions = series()
    for output in ("v", "v.tif"):
        given = RenderOptions(tmp_path / "in", table(tmp_path / "z.csv", positions), tmp_path / output, n_workers=3,
                              planes=Broken(planes, "sections", SPACING))  # fmt: skip
        with pytest.raises(DamagedInputError, match="plane 33"):
            run(plan(given))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["z.csv"]


def test_bad_input(tmp_path):
    planes, positions = series(n=10)
    with pytest.raises(MosaicError, match="positions of 9 sections, sections has 10"):
        plan(options(tmp_path, planes, positions[:-1], "v"))
    for more, text in (
        ({"max_gap": 0}, "`max_gap`"),
        ({"z_spacing_um": -1.0}, "positive"),
        ({"format": "hdf5"}, "format"),
        ({"n_workers": 0}, "workers"),
        ({"levels": 0}, "levels"),
    ):
        with pytest.raises(ParameterError, match=text):
            plan(options(tmp_path, planes, positions, "v", **more))
    with pytest.raises(ParameterError, match="holds int32"):
        plan(options(tmp_path, planes.astype(np.int32), positions, "v"))
    with pytest.raises(InputMissingError):
        plan(RenderOptions(tmp_path / "none.npy", tmp_path / "z.csv", tmp_path / "v"))
    np.save(tmp_path / "in.npy", planes)
    with pytest.raises(InputMissingError):
        plan(RenderOptions(tmp_path / "in.npy", tmp_path / "none.csv", tmp_path / "v", spacing=SPACING))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(OutputExistsError):
        plan(options(tmp_path, planes, positions, "there"))
    with pytest.raises(ParameterError, match="one level"):
        run(plan(options(tmp_path, planes, positions, "v.tif", levels=3)))


def test_bad_grids(tmp_path):
    path = tmp_path / "z.npz"
    for arrays, text in (
        ({"mapping": np.zeros(3)}, "no array 'positions'"),
        ({"positions": np.zeros((3, 2))}, "no array 'positions'"),
        ({"positions": np.full((3, 2, 2), np.nan)}, "not finite"),
        ({"positions": np.zeros((3, 2, 2)), "row_centers": np.zeros(2)}, "row_centers must be 2 ascending"),
        ({"positions": np.zeros((3, 2, 2)), "column_centers": np.arange(3)}, "column_centers must be 2 ascending"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(DamagedInputError, match=text):
            read_z_grids(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DamagedInputError):
        read_z_grids(path)
    with pytest.raises(InputMissingError):
        read_z_grids(tmp_path / "none.npz")
