"""Sections that are left out of a volume: by number, by name, by weight."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from gpustitch.errors import DamagedInputError, InputMissingError, OutputError, ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.model import Spacing
from gpustitch.regrid.plan import sorted_series
from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.grid.file import ZGrids, write_z_grids
from gpustitch.sections.positions.file import ZPositions, new_record, write_z_positions
from gpustitch.sections.render.file import sections_along_z
from gpustitch.sections.render.stage import RenderOptions, plan, run

N = 12


@pytest.fixture(params=[1, 2])
def table(tmp_path, request):
    """Positions in a changed order, weights, and what z-spacing found."""
    positions = np.arange(N, dtype=np.float64) + 0.1 * np.sin(np.arange(N))
    positions[[3, 4]] = positions[[4, 3]]
    weights = np.ones(N)
    weights[[2, 7]] = (0.1, np.nan)
    path = tmp_path / "z.csv"
    found = [
        SectionFault("damaged", (5,), 0.9),
        SectionFault("constant", (7,), 1.0),
        SectionFault("duplicate", (8, 9), 1.0),
    ]
    with new_record(path, {"iterations": 9}, found):
        write_z_positions(path, ZPositions(positions, np.argsort(positions), np.full(N, np.nan), weights))
    if request.param == 1:
        faults = [
            {"kind": "damaged", "sections": [5], "confidence": 0.9, "missing": 0},
            {"kind": "constant", "sections": [7], "confidence": 1.0, "missing": 0},
            {"kind": "duplicate", "sections": [8, 9], "confidence": 1.0, "missing": 0},
        ]
        (tmp_path / "z.csv.json").write_text(json.dumps({"faults": faults}))
    return path


def test_a_record_of_a_later_version_is_refused(table):
    record = table.with_name("z.csv.json")
    record.write_text(json.dumps({"schema": 3, "faults": []}))
    with pytest.raises(DamagedInputError, match="is of schema 3, and this version of gpustitch reads 1 to 2"):
        sections_along_z(table, N, "stack", "damaged")


@pytest.mark.parametrize(
    ("asked", "least", "left_out"),
    [
        ("", None, ()),
        ("4", None, (4,)),
        ("9-11, 0", None, (0, 9, 10, 11)),
        ("damaged", None, (5,)),
        ("Constant,damaged,5", None, (5, 7)),
        ("", 0.5, (2, 7)),
        ("", 0.05, (7,)),
        ("0", 0.5, (0, 2, 7)),
    ],
)
def test_what_is_left_out(table, asked, least, left_out):
    used = sections_along_z(table, N, "stack", asked, least)
    assert used.left_out == left_out and used.doubled == ()
    wanted = [i for i in (0, 1, 2, 4, 3, 5, 6, 7, 8, 9, 10, 11) if i not in left_out]
    assert used.series.order.tolist() == wanted
    assert (np.diff(used.series.positions) > 0).all()


@pytest.mark.parametrize(
    ("asked", "least", "error", "message"),
    [
        ("x", None, ParameterError, "takes numbers, ranges"),
        ("-1", None, ParameterError, "takes numbers, ranges"),
        ("12", None, ParameterError, "there are sections 0 to 11"),
        ("5-3", None, ParameterError, "there are sections 0 to 11"),
        ("0-10", None, ParameterError, "at least two must be used"),
        ("", 2.0, ParameterError, "at least two must be used"),
    ],
)
def test_what_cannot_be_left_out(table, asked, least, error, message):
    with pytest.raises(error, match=message):
        sections_along_z(table, N, "stack", asked, least)


def test_names_and_weights_that_are_not_there(table, tmp_path):
    record = tmp_path / "z.csv.json"
    record.write_text("{}")
    with pytest.raises(DamagedInputError, match=r"z\.csv\.json cannot be read as what z-spacing found"):
        sections_along_z(table, N, "stack", "damaged")
    record.unlink()
    with pytest.raises(InputMissingError, match="which z-spacing writes; give numbers"):
        sections_along_z(table, N, "stack", "damaged")
    (tmp_path / "plain.csv").write_text("z-index,mapping\n" + "".join(f"{i},{i}\n" for i in range(N)))
    with pytest.raises(DamagedInputError, match="states no weights"):
        sections_along_z(tmp_path / "plain.csv", N, "stack", "", 0.5)


def stack(tmp_path, dtype="uint16"):
    planes = np.random.default_rng(0).integers(0, 100, (N, 9, 8)).astype(dtype)
    np.save(tmp_path / "in.npy", planes)
    return planes


def options(tmp_path, table, name="out.tif", **more):
    return RenderOptions(tmp_path / "in.npy", table, tmp_path / name, spacing=Spacing(1, 1, 1), **more)


def test_planes_at_a_left_out_section_lie_between_its_neighbours(tmp_path):
    planes = stack(tmp_path, "float32")
    path = tmp_path / "even.csv"
    path.write_text("z-index,mapping\n" + "".join(f"{i},{i}\n" for i in range(N)))
    run(plan(options(tmp_path, path, leave_out="5,8-9")))
    made = tifffile.imread(tmp_path / "out.tif")
    np.testing.assert_allclose(made[5], (planes[4] + planes[6]) / 2, rtol=1e-6)
    np.testing.assert_allclose(made[9], planes[7] / 3 + 2 * planes[10] / 3, rtol=1e-5)
    np.testing.assert_array_equal(made[[4, 6, 7, 10]], planes[[4, 6, 7, 10]])
    assert json.loads((tmp_path / "out.tif.json").read_text())["sections_left_out"] == [5, 8, 9]


def test_sections_are_left_out_of_deformed_series_too(tmp_path):
    planes = stack(tmp_path, "float32")
    grids = np.broadcast_to(np.arange(N, dtype=np.float64)[:, None, None], (N, 2, 2)).copy()
    write_z_grids(tmp_path / "z.npz", ZGrids(grids, np.array([2.0, 6.0]), np.array([2.0, 5.0])))
    run(plan(options(tmp_path, tmp_path / "z.npz", leave_out="5")))
    made = tifffile.imread(tmp_path / "out.tif")
    np.testing.assert_allclose(made[5], (planes[4] + planes[6]) / 2, rtol=1e-5)


def test_signed_planes_are_rendered(tmp_path, table):
    rng = np.random.default_rng(0)
    planes = rng.integers(-32768, 32768, (N, 9, 8)).astype(np.int16)
    np.save(tmp_path / "in.npy", planes)
    order = sorted_series(sections_along_z(table, N, "stack").series.positions)
    assert len(order.order) == N
    for name, more in (("out.tif", {}), ("out.zarr", {"levels": 2}), ("out", {"levels": 2})):
        run(plan(options(tmp_path, table, name, nearest=True, **more)))
        read = open_planes(tmp_path / name)
        assert read.dtype == np.int16
        np.testing.assert_array_equal(read.read(0, 1)[0], planes[0])
        assert {plane.tobytes() for plane in read.read(0, read.shape[0])} <= {plane.tobytes() for plane in planes}


def test_a_plane_distance_in_the_wrong_unit_is_refused_before_memory_is_taken(tmp_path, table):
    stack(tmp_path)
    with pytest.raises(OutputError, match="needs about"):
        plan(options(tmp_path, table, z_spacing_um=1e-11))


def test_an_output_in_the_input_is_refused(tmp_path, table):
    stack(tmp_path)
    run(plan(options(tmp_path, table, "v.zarr", levels=1)))
    with pytest.raises(ParameterError, match="lies in the input"):
        plan(RenderOptions(tmp_path / "v.zarr", table, tmp_path / "v.zarr" / "in" / "w"))
    (tmp_path / "images").mkdir()
    for number, plane in enumerate(np.load(tmp_path / "in.npy")):
        tifffile.imwrite(tmp_path / "images" / f"{number}.tif", plane)
    asked = RenderOptions(tmp_path / "images", table, tmp_path / "images" / "w.tif", spacing=Spacing(1, 1, 1))
    with pytest.raises(ParameterError, match="lies in the input"):
        plan(asked)
