"""Even volumes of judged series: exact gradients in every class, formats, places, gaps, refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from gpustitch.errors import DamagedInputError, OutputExistsError, ParameterError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.io.planes.opening import open_planes
from gpustitch.io.volumes.ome_zarr import OmeZarrVolume
from gpustitch.running.progress import Silent
from gpustitch.slices.model import Code, Note
from gpustitch.slices.volume.stage import plan, run
from tests.slices.slice_stacks import (
    AXIAL,
    CLASSES,
    IRREGULAR,
    MISSING,
    ORIGIN,
    PIXEL,
    STRETCHES,
    UNIFORM,
    VARIABLE,
    expected,
    made,
    oblique,
    options,
    plane_origins,
    resampled,
)


class Watched(Silent):
    """Keeps what it is warned of."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.mark.parametrize("kind", list(CLASSES))
@pytest.mark.parametrize("spacing", [None, 0.77, 4.0])
@pytest.mark.parametrize("directions", [AXIAL, oblique()])
@pytest.mark.parametrize("fill_gaps", [False, True])
def test_a_gradient_is_exact_in_every_class(tmp_path, kind, spacing, directions, fill_gaps):
    stack, planes = made(CLASSES[kind], directions=directions)
    assert stack.fit.spacing_class == kind
    voxels, affine, found, _ = resampled(tmp_path, stack, planes, spacing_mm=spacing, fill_gaps=fill_gaps)
    nothing = np.isin(found, ["GAP", "OUTSIDE"])
    np.testing.assert_allclose(voxels[~nothing], expected(affine, voxels.shape)[~nothing], rtol=5e-7)
    assert not voxels[nothing].any()
    if kind in ("UNIFORM", "VARIABLE") or fill_gaps:
        assert not (found == "GAP").any()
    else:
        assert (found == "GAP").any() or spacing == 4.0
    if spacing is None:
        assert len(voxels) == stack.fit.n_output
    if spacing is None and kind == "UNIFORM":
        np.testing.assert_array_equal(voxels, planes)


@pytest.mark.parametrize("kind", list(CLASSES))
@pytest.mark.parametrize("shear", [(0.36397, 0.0), (-0.2, 0.15)])
@pytest.mark.parametrize("unshear", [False, True])
def test_a_gradient_in_a_tilted_stack(tmp_path, kind, shear, unshear):
    stack, planes = made(CLASSES[kind], directions=oblique(5), shear=shear, shape=(15, 17))
    voxels, affine, found, _ = resampled(tmp_path, stack, planes, unshear=unshear, background=-1e5, fill_gaps=True)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    assert np.allclose(axes.T @ axes, np.eye(3)) == unshear
    truth = expected(affine, voxels.shape)
    inside = voxels != -1e5
    np.testing.assert_allclose(voxels[inside], truth[inside], rtol=2e-6)
    assert not inside[found == "OUTSIDE"].any()
    # Of each plane at most the outermost row and column on one side is between pixels of it and nothing.
    some = inside[found != "OUTSIDE"]
    assert (some.sum((1, 2)) >= (14 * 16 if unshear else 15 * 17)).all()
    if not unshear:
        assert voxels.shape[1:] == (15, 17)


@pytest.mark.parametrize("seed", range(30))
def test_a_gradient_in_random_stacks(tmp_path, seed):
    rng = np.random.default_rng(seed)
    spacing, n = rng.uniform(0.3, 6), int(rng.integers(4, 40))
    along = {
        0: np.arange(n) * spacing,
        1: np.sort(rng.choice(np.arange(n), max(3, n - 2), replace=False)) * spacing,
        2: np.cumsum(rng.uniform(0.3, 3, n)) * spacing,
        3: np.r_[np.arange(n), n + 8.3 + np.arange(n), 2 * n + 20.1 + np.arange(5)] * spacing,
        4: np.r_[np.arange(n), n - 1 + np.arange(1, n) * rng.uniform(1.6, 4)] * spacing,
    }[seed % 5]
    stack, planes = made(along - along[0], directions=oblique(seed), shear=tuple(rng.uniform(-0.4, 0.4, 2)),
                         shape=(15, 17))  # fmt: skip
    asked = {
        "unshear": bool(rng.integers(2)),
        "fill_gaps": bool(rng.integers(2)),
        "spacing_mm": None if rng.integers(2) else spacing * rng.uniform(0.4, 2.5),
    }
    voxels, affine, found, _ = resampled(tmp_path, stack, planes, background=-1e6, **asked)
    inside = voxels != -1e6
    there = ~np.isin(found, ["GAP", "OUTSIDE"])
    assert not inside[~there].any() and (inside[there].sum((1, 2)) >= 14 * 16).all()
    error = np.abs(voxels - expected(affine, voxels.shape))[inside].max()
    assert error <= 4 * np.finfo(np.float32).eps * np.abs(planes).max()


def test_a_rounded_uniform_series_is_copied(tmp_path):
    true = np.arange(306) * 7 / 12
    stack, planes = made(true, written=np.round(true, 1), rounding=0.05)
    assert stack.fit.spacing_class == "UNIFORM" and stack.fit.is_rounded
    voxels, affine, found, told = resampled(tmp_path, stack, planes)
    np.testing.assert_array_equal(voxels, planes)
    assert (found == "EXACT").all() and told["planes"]["EXACT"] == [[0, 305]]
    np.testing.assert_allclose(affine[2, 2], 7 / 12, atol=stack.fit.uncertainty_mm)
    moved = [entry["taken_mm"] - entry["stated_mm"] for entry in told["slices"]]
    assert 0.02 < np.abs(moved).max() < 0.1


def test_rounded_missing_slices(tmp_path):
    true = MISSING * 0.93
    stack, planes = made(true, written=np.round(true, 1), rounding=0.05)
    assert stack.fit.spacing_class == "MISSING" and stack.fit.is_rounded
    voxels, _, found, told = resampled(tmp_path, stack, planes)
    np.testing.assert_array_equal(voxels[found == "EXACT"], planes)
    np.testing.assert_array_equal(np.flatnonzero(found == "GAP"), [9, 20])
    assert told["planes"]["GAP"] == [[9, 9], [20, 20]] and told["verdict"]["class"] == "MISSING"
    filled, _, found, _ = resampled(tmp_path, stack, planes, "w.nii", fill_gaps=True)
    np.testing.assert_allclose(filled[9], (planes[8] + planes[9]) / 2, rtol=1e-6)
    assert found[9] == found[20] == "FILLED"


@pytest.mark.parametrize(
    ("kind", "n_stretches", "name"),
    [("RUNS_WITH_GAPS", 3, "v.nii.gz"), ("VARIABLE", 2, "v.nii"), ("MISSING", 3, "v.nii")],
)
def test_each_stretch_is_exact(tmp_path, kind, n_stretches, name):
    stack, planes = made(CLASSES[kind], directions=oblique())
    paths = run(plan(options(tmp_path, stack, planes, name, stretches=True)))
    numbered = [name.replace("v", f"v_run{k}") for k in range(1, n_stretches + 1)]
    assert [path.name for path in paths] == [name, *numbered]
    for path, part in zip(paths[1:], stack.fit.stretches, strict=True):
        image = nibabel.load(path)
        voxels = np.asarray(image.dataobj).T
        np.testing.assert_array_equal(voxels, planes[part.first : part.stop])
        truth = expected(np.diag([-1, -1, 1, 1]) @ image.affine, voxels.shape)
        np.testing.assert_allclose(voxels, truth, rtol=1e-5)
    with pytest.raises(ParameterError, match="has no stretches"):
        stack, planes = made(UNIFORM)
        plan(options(tmp_path, stack, planes, "w.nii", stretches=True))


@pytest.mark.parametrize("output", ["v", "v.zarr", "v.tif", "v.ome.tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_formats_and_types(tmp_path, output, dtype):
    stack, planes = made(UNIFORM, shape=(40, 50))
    low = -1000 if dtype == "int16" else 0
    planes = ((planes - planes.min()) / np.ptp(planes) * 200 + low).astype(dtype)
    run(plan(options(tmp_path, stack, planes, output)))
    found = open_planes(tmp_path / output)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.read(0, 20), planes)
    assert found.spacing.zyx_um == pytest.approx((2500, 750, 500))
    side = tmp_path / f"{output}.json" if output.endswith("tif") else tmp_path / output / "gpustitch.json"
    told = json.loads(side.read_text())
    assert told["origin_lps_mm"] == pytest.approx(list(ORIGIN))
    np.testing.assert_allclose(told["directions_lps"], AXIAL)
    np.testing.assert_allclose(np.array(told["affine_lps"])[:3, 2], [0, 0, 2.5], atol=1e-12)
    if output == "v.zarr":
        assert OmeZarrVolume(tmp_path / output).image.translations[0] == pytest.approx((30000, -20000, -12000))


def test_simpleitk_sees_the_same_place(tmp_path):
    directions = oblique(7)
    stack, planes = made(UNIFORM, directions=directions)
    run(plan(options(tmp_path, stack, planes, "v.nii.gz")))
    image = SimpleITK.ReadImage(str(tmp_path / "v.nii.gz"))
    assert image.GetOrigin() == pytest.approx(tuple(ORIGIN), abs=1e-5)
    assert image.GetSpacing() == pytest.approx((PIXEL[1], PIXEL[0], 2.5), rel=1e-6)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), directions[::-1].T, atol=1e-6)


def test_whole_numbers_are_rounded_once_and_half_to_even(tmp_path):
    stack, _ = made(np.array([0.0, 1, 2, 3]), shape=(1, 4))
    levels = np.array([[0, 32767, -32768, 3], [1, 32767, -32768, 4], [2, 32767, -32768, 4], [3, 0, 0, 5]], np.int16)
    voxels, *_ = resampled(tmp_path, stack, levels[:, None], spacing_mm=0.5)
    np.testing.assert_array_equal(voxels[::2, 0], levels)
    np.testing.assert_array_equal(
        voxels[1::2, 0], [[0, 32767, -32768, 4], [2, 32767, -32768, 4], [2, 16384, -16384, 4]]
    )
    stack, _ = made(np.array([0.0, 1, 2]), shape=(1, 3), shear=(0.0, 0.25))
    planes = np.array([[[0, 1, 2]]] * 3, np.int16)
    moved, *_ = resampled(tmp_path, stack, planes, "w.nii", unshear=True, background=-7)
    # Half a pixel along x for each plane: 0.5 and 1.5 become 0 and 2.
    np.testing.assert_array_equal(moved[:, 0], [[0, 1, 2, -7], [-7, 0, 2, -7], [-7, 0, 1, 2]])
    # Between slices and between pixels at once: 0.75, which is not rounded on the way.
    stack, _ = made(np.array([0.0, 1, 2]), shape=(1, 2), shear=(0.0, 0.5))
    planes = np.array([[[0, 1]], [[1, 1]], [[1, 1]]], np.int16)
    moved, *_ = resampled(tmp_path, stack, planes, "x.nii", unshear=True, spacing_mm=0.5)
    np.testing.assert_array_equal(moved[1, 0], [0, 1, 0, 0])


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("output", ["v.nii", "v"])
def test_slices_left_out_are_left_out(tmp_path, step, output):
    stack, planes = made(np.arange(19) * 2.5)
    run(plan(options(tmp_path, stack, planes.astype(np.uint16), output, spacing_mm=2.5 * step)))
    told = json.loads((tmp_path / "v.nii.json" if output == "v.nii" else tmp_path / "v/gpustitch.json").read_text())
    found = np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T if output == "v.nii" else None
    found = open_planes(tmp_path / "v").read(0, 18 // step + 1) if found is None else found
    np.testing.assert_array_equal(found, planes.astype(np.uint16)[::step])
    assert told["planes"]["EXACT"] == [[0, 18 // step]]


def test_the_nearest_slice_is_taken_where_asked(tmp_path):
    stack, planes = made(IRREGULAR)
    voxels, *_ = resampled(tmp_path, stack, planes, nearest=True, fill_gaps=True)
    at = np.arange(len(voxels)) * stack.fit.spacing_mm
    inside = at <= IRREGULAR[-1]
    middle = (IRREGULAR[1:] + IRREGULAR[:-1]) / 2
    np.testing.assert_array_equal(voxels[inside], planes[np.searchsorted(middle, at[inside], side="right")])


def test_background_and_what_is_said_of_it(tmp_path):
    stack, planes = made(STRETCHES)
    stack = dataclasses.replace(stack, notes=(Note(Code.GAPS, "stretches with gaps"),))
    for output in ("v.nii", "v"):
        watched = Watched()
        made_ = plan(options(tmp_path, stack, planes.astype(np.int16), output, background=-1024))
        run(made_, watched)
        assert watched.warnings[0] == "GAPS: stretches with gaps"
        assert any("planes are background: slices are missing" in line for line in watched.warnings)
        assert any("beyond the last slice" in line for line in watched.warnings)
    voxels = np.asarray(nibabel.load(tmp_path / "v.nii").dataobj).T
    np.testing.assert_array_equal(open_planes(tmp_path / "v").read(0, len(voxels)), voxels)
    found = plane_origins(tmp_path / "v")
    assert ((voxels == -1024).all((1, 2)) == np.isin(found, ["GAP", "OUTSIDE"])).all()
    with pytest.raises(ParameterError, match="`background`"):
        plan(options(tmp_path, stack, planes.astype(np.uint8), "w", background=-1))


def test_the_table_says_what_planes_are_made_of(tmp_path):
    stack, planes = made(VARIABLE)
    run(plan(options(tmp_path, stack, planes, "v.tif")))
    with (tmp_path / "v.tif.planes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 56
    assert list(rows[20].values()) == ["20", "50", "BETWEEN", "19", "20", "0.3333333", "BETWEEN"]
    assert list(rows[22].values()) == ["22", "55", "EXACT", "20", "20", "0", "EXACT"]


def test_a_shear_that_a_format_cannot_state_is_warned_of(tmp_path):
    stack, planes = made(UNIFORM, shear=(0.3, 0.0))
    for output, unshear, warned in (
        ("v", False, True),
        ("w", True, False),
        ("v.nii", False, True),
        ("w.nii", True, False),
    ):
        watched = Watched()
        run(plan(options(tmp_path, stack, planes, output, unshear=unshear)), watched)
        assert any("`unshear`" in line for line in watched.warnings) == warned


def test_stretches_of_a_tilted_stack(tmp_path):
    stack, planes = made(np.r_[STRETCHES, STRETCHES[-1] + 9.0], shear=(0.4, 0.1), shape=(15, 17))
    assert stack.fit.spacing_class == "RUNS_WITH_GAPS"
    watched = Watched()
    paths = run(plan(options(tmp_path, stack, planes, stretches=True, unshear=True, background=-1e5)), watched)
    assert len(paths) == 4 and any("in no stretch: 1" in line for line in watched.warnings)
    for path in paths:
        image = nibabel.load(path)
        voxels = np.asarray(image.dataobj).T
        inside = voxels != -1e5
        truth = expected(json.loads(Path(f"{path}.json").read_text())["affine_lps"], voxels.shape)
        assert (inside[np.isin(plane_origins(path), ["EXACT", "BETWEEN"])].sum((1, 2)) >= 14 * 16).all()
        np.testing.assert_allclose(voxels[inside], truth[inside], rtol=2e-6)


def test_a_slice_that_cannot_be_read_leaves_nothing(tmp_path):
    class Broken(ArrayPlanes):
        def read(self, start, stop, rows=slice(None), columns=slice(None)):
            if start <= 13 < stop:
                raise DamagedInputError("IM13.dcm: pixels are truncated")
            return super().read(start, stop, rows, columns)

    stack, planes = made(UNIFORM)
    for output in ("v", "v.tif", "v.nii", "v.nii.gz", "v.zarr"):
        with pytest.raises(DamagedInputError, match="IM13"):
            run(plan(options(tmp_path, stack, Broken(planes, "broken"), output)))
        assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_replaced(tmp_path):
    stack, planes = made(STRETCHES)
    run(plan(options(tmp_path, stack, planes, "v.nii", stretches=True)))
    for name in ("v.nii", "v_run2.nii", "v.nii.planes.csv"):
        for path in list(tmp_path.iterdir()):
            if path.name == name:
                continue
            path.rename(path.with_name(f"kept {path.name}"))
        with pytest.raises(OutputExistsError, match="`overwrite`"):
            plan(options(tmp_path, stack, planes, "v.nii", stretches=True))
        for path in list(tmp_path.iterdir()):
            path.rename(path.with_name(path.name.removeprefix("kept ")))
    run(plan(options(tmp_path, stack, planes, "v.nii", stretches=True, overwrite=True)))


def test_series_that_are_no_volume_are_refused(tmp_path):
    stack, planes = made(UNIFORM)
    conflict = Note(Code.SLICES_CONFLICT, "IM1.dcm and IM2.dcm are at one position with different pixels")
    unusable = dataclasses.replace(stack, notes=(conflict,), advice="Keep one of them.")
    with pytest.raises(DamagedInputError, match=r"IM1\.dcm and IM2\.dcm .* Keep one of them"):
        plan(options(tmp_path, unusable, planes))
    bare = dataclasses.replace(stack, spacing_mm=(2.5, None, None))
    with pytest.raises(ParameterError, match="`pixel_spacing_mm`"):
        plan(options(tmp_path, bare, planes))
    given = plan(options(tmp_path, bare, planes, pixel_spacing_mm=(0.3, 0.2)))
    assert given.volumes[0].spacing.zyx_um == pytest.approx((2500, 300, 200))
    for more, text in (
        ({"spacing_mm": 0.0}, "`spacing_mm`"),
        ({"spacing_mm": float("nan")}, "`spacing_mm`"),
        ({"format": "hdf5"}, "format"),
        ({"pixel_spacing_mm": (0.0, 1.0)}, "positive"),
        ({"n_workers": 0}, "workers"),
    ):
        with pytest.raises(ParameterError, match=text):
            plan(options(tmp_path, stack, planes, **more))
    with pytest.raises(ParameterError, match="holds int32"):
        plan(options(tmp_path, stack, planes.astype(np.int32)))
    assert not list(tmp_path.iterdir())


def test_a_stack_whose_place_is_not_known(tmp_path):
    stack, planes = made(UNIFORM)
    nowhere = dataclasses.replace(stack, origin_mm=None, directions=None)
    run(plan(options(tmp_path, nowhere, planes)))
    header = nibabel.load(tmp_path / "v.nii").header
    assert header["sform_code"] == 0 and header.get_zooms() == pytest.approx((0.5, 0.75, 2.5))
    assert json.loads((tmp_path / "v.nii.json").read_text())["affine_lps"] is None


def test_millions_of_planes_are_refused_before_memory_is_taken(tmp_path):
    stack, planes = made(UNIFORM)
    with pytest.raises(ParameterError, match="more than 1000000; check units"):
        plan(options(tmp_path, stack, planes, spacing_mm=1e-7))
