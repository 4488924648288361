"""Steps on tiles: alignment, stitching and the pipeline as calls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

import gpustitch as gs
from gpustitch.errors import MosaicError, ParameterError
from gpustitch.model.options import leaves
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run
from tests.oblique.pipeline.test_one_pass import ROW, written
from tests.oblique.pipeline.test_stage import options_of
from tests.verbs.libraries import LIBRARIES, in_library, on_host, texture


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_align_finds_the_shift_within_its_error(library, seed):
    rng = np.random.default_rng(seed)
    z, y = (int(v) for v in rng.integers(-3, 4, 2))
    x = int(rng.integers(30, 36))
    whole = texture((40, 60, 90), seed)
    fixed, moving = whole[4:34, 5:55, :55], whole[4 + z : 34 + z, 5 + y : 55 + y, x : x + 55]
    with in_library(library, np.ascontiguousarray(fixed), np.ascontiguousarray(moving)) as (a, b):
        found = gs.align(a, b, offset_px=(0, 0, 33))
    assert found.is_found
    assert found.correlation > 0.9
    off = np.abs(np.subtract(found.offset_px, (z, y, x)))
    assert (off < 4 * np.array(found.standard_error_px) + 0.05).all(), found


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("seed", range(4))
def test_align_of_images_finds_the_shift_within_its_error(library, seed):
    rng = np.random.default_rng(seed)
    whole = gaussian_filter(rng.standard_normal((220, 320)), rng.uniform(1, 3))
    whole = 2000 + 300 * whole / whole.std()
    at = rng.uniform(-8, 8, 2)
    moved = shift(whole, -at, order=3, mode="nearest")
    cut = np.s_[20:200, 20:200]
    images = [whole[cut], moved[20:200, 110:290]]
    fixed, moving = (np.rint(a + rng.normal(0, 40, a.shape)).astype(np.uint16) for a in images)
    with in_library(library, fixed, moving) as (a, b):
        found = gs.align(a, b, offset_px=(0, 90))
    assert found.is_found, found.reason
    assert len(found.offset_px) == len(found.standard_error_px) == 2
    off = np.abs(np.subtract(found.offset_px, at + (0, 90)))
    assert (off < 4 * np.array(found.standard_error_px) + 0.05).all(), (off, found)


@pytest.mark.parametrize("seed", range(6))
def test_align_of_images_that_share_nothing_finds_nothing(seed):
    rng = np.random.default_rng(seed)
    images = [gaussian_filter(rng.standard_normal((150, 160)), rng.uniform(1, 4)) for _ in range(2)]
    found = gs.align(*(np.rint(1000 + 9000 * image).clip(0, 65535).astype(np.uint16) for image in images))
    assert not found.is_found
    assert found.standard_error_px is None or len(found.standard_error_px) == 2


def test_align_refuses_an_image_beside_a_volume():
    image, volume = texture((30, 40)), texture((5, 30, 40))
    for pair in ((image, volume), (volume, image), (image[0], image[0]), (volume[None], volume[None])):
        with pytest.raises(ParameterError, match="axes"):
            gs.align(*pair)
    for given in ({"offset_px": (0, 0, 5)}, {"search_px": (1, 2, 3)}, {"spacing_um": (1, 1, 1)}, {"offset_px": "ab"}):
        with pytest.raises(ParameterError, match=next(iter(given))):
            gs.align(image, image, **given)
    with pytest.raises(ParameterError, match="offset_px"):
        gs.align(volume, volume, offset_px=(0, 5))


def test_align_says_what_it_cannot_find():
    found = gs.align(texture((30, 40, 50), 1), texture((30, 40, 50), 2))
    assert not found.is_found
    assert found.reason
    with pytest.raises(MosaicError, match="voxels"):
        a, b = (gs.deskew(texture((9, 8, 7)), 1.8, step) for step in (1.28, 1.3))
        gs.align(a, b)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_stitch_gives_back_a_volume_that_was_cut(library, dtype):
    whole = texture((6, 20, 31), dtype="float32").astype(dtype)
    cuts = [(0, 0, 0), (0, 0, 14), (0, 9, 0), (0, 9, 14)]
    parts = [np.ascontiguousarray(whole[:, y : y + 11, x : x + 17]) for _, y, x in cuts]
    at = [(5 + 2.0 * z, 7 + 1.5 * y, 9 + 0.5 * x) for z, y, x in cuts]
    with in_library(library, *parts) as there:
        found = gs.stitch(there, at, spacing_um=(2.0, 1.5, 0.5))
        assert (found.shape, found.origin_um, found.spacing_um) == (whole.shape, (5, 7, 9), (2.0, 1.5, 0.5))
        if dtype == "float32":
            np.testing.assert_allclose(on_host(found[...], library), whole, rtol=1e-5)
        else:
            np.testing.assert_array_equal(on_host(found[...], library), whole)
        np.testing.assert_allclose(on_host(found[2:4, 8:12, 13:19], library), whole[2:4, 8:12, 13:19], rtol=1e-5)


@pytest.mark.parametrize("library", ["numpy", "cupy"])
def test_stitch_of_oblique_tiles_is_that_of_their_volumes(library):
    whole = texture((40, 12, 10))
    with in_library(library, whole[:24], whole[16:]) as there:
        tiles = [gs.deskew(frames, 1.8, 1.28) for frames in there]
        found = on_host(gs.stitch(tiles, [(0, 0, 0), (0, 0, 16 * 1.28)])[...], library)
    expected = np.asarray(gs.deskew(whole, 1.8, 1.28))
    assert found.shape == expected.shape
    covered = expected != 0
    np.testing.assert_allclose(found[covered].astype(int), expected[covered], atol=1)


@pytest.mark.parametrize("library", ["numpy", "cupy"])
@pytest.mark.parametrize("last_to_first", [0.6, 1.5])
def test_stitch_evens_out_brightness_along_y(library, last_to_first):
    whole = texture((40, 120, 70), seed=4, dtype="float32") + np.float32(500)
    ramp = (1 + (last_to_first - 1) * np.linspace(0, 1, 80, dtype=np.float32))[:, None]
    parts, at = [whole[:, :80] * ramp, whole[:, 40:] * ramp], [(0, 0, 0), (0, 40, 0)]
    with in_library(library, *parts) as there:
        stated = gs.stitch(there, at, (1, 1, 1), last_to_first=last_to_first)
        np.testing.assert_allclose(on_host(stated[...], library), whole, rtol=1e-4)
        found = gs.stitch(there, at, (1, 1, 1), is_estimated=True, n_patches=30)
        np.testing.assert_allclose(on_host(found[...], library), whole, rtol=0.02)
    with pytest.raises(ParameterError, match="choose one"):
        gs.stitch(parts, at, (1, 1, 1), last_to_first=0.6, is_estimated=True)


def test_stitch_leaves_gaps_empty():
    part = np.full((2, 3, 4), 7, np.uint8)
    found = gs.stitch([part, part], [(0, 0, 0), (0, 0, 9)], spacing_um=(1, 1, 1))
    np.testing.assert_array_equal(found[0, 0], [7] * 4 + [0] * 5 + [7] * 4)
    assert not found[:, :, 5:8].any()


def test_stitch_refuses_tiles_that_do_not_go_together():
    part = np.ones((2, 3, 4), np.uint8)
    for at in ([], [(0, 0, 0)] * 2, [(0, 0)], [(0, 0, np.nan)]):
        with pytest.raises(ParameterError, match="positions_um"):
            gs.stitch([part], at, (1, 1, 1))
    with pytest.raises(ParameterError, match="spacing_um"):
        gs.stitch([part], [(0, 0, 0)])
    with pytest.raises(MosaicError, match="uint16"):
        gs.stitch([part, part.astype(np.uint16)], [(0, 0, 0), (0, 0, 3)], (1, 1, 1))


def test_pipeline_is_that_of_the_command(tmp_path):
    channel = written(tmp_path / "channel", ROW)
    options = options_of(channel, tmp_path / "one")
    run(plan(options))
    default = PipelineOptions(channel, tmp_path / "two")
    given = {
        leaf.name: leaf.value_in(options)
        for leaf in leaves(PipelineOptions, without=("output",))
        if leaf.value_in(options) != leaf.value_in(default)
    }
    found = gs.pipeline(channel, tmp_path / "two", **given)
    assert found == tmp_path / "two"
    np.testing.assert_array_equal(np.asarray(gs.open_volume(found)), np.asarray(gs.open_volume(tmp_path / "one")))


def test_pipeline_takes_options_by_name(tmp_path):
    with pytest.raises(ParameterError, match="`sheet_angle` is no option"):
        gs.pipeline(tmp_path, tmp_path / "out", sheet_angle=45)
    with pytest.raises(gs.GpustitchError):
        gs.pipeline(tmp_path / "nothing", tmp_path / "out", angle_deg=30)


def test_pipeline_without_an_output_makes_one_beside_the_channel(tmp_path):
    with pytest.raises(gs.GpustitchError, match="nothing"):
        gs.pipeline(tmp_path / "nothing")
    channel = written(tmp_path / "Ex_1", ROW)
    found = gs.pipeline(
        channel, correct_flat=False, method="none", levels=1, x_step_um=options_of(channel, None).x_step_um
    )
    assert found == tmp_path / "Ex_1_stitched"
    assert gs.open_volume(found).shape


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("at", [(0, 0, 14), (0, 0, 14.4), (0.3, 0.2, 13.5)])
def test_infinite_voxels_reach_those_that_nan_reaches(seed, at):
    rng = np.random.default_rng(seed)
    whole = rng.uniform(0, 100, (6, 12, 34)).astype(np.float32)
    parts = [whole[:, :, :20], whole[:, :, 14:]]
    where = tuple(rng.integers(0, n, 3) for n in parts[0].shape)
    stitched = []
    for values in (np.nan, rng.choice([-np.inf, np.inf], 3)):
        odd = parts[0].copy()
        odd[where] = values
        stitched.append(np.asarray(gs.stitch([odd, parts[1]], [(0, 0, 0), at], (1, 1, 1))))
    finite = np.isfinite(stitched[0])
    assert not finite.all()
    np.testing.assert_array_equal(np.isfinite(stitched[1]), finite)
    np.testing.assert_array_equal(stitched[1][finite], stitched[0][finite])


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("values", [(np.inf,), (-np.inf, np.inf), (np.inf, np.nan)])
def test_align_leaves_out_infinite_voxels(values):
    whole = texture((40, 60, 90), 3, "float32")
    fixed, moving = whole[:, :, :55].copy(), whole[:, :, 33:88].copy()
    for value, k in zip(values, (11, 17), strict=False):
        fixed[k, k, k] = moving[2 * k, k, k] = value
    found = gs.align(fixed, moving, offset_px=(0, 0, 31))
    assert found.is_found
    np.testing.assert_allclose(found.offset_px, (0, 0, 33), atol=0.2)


@pytest.mark.parametrize("far", [200, 10**6, 2**31, 2**63, 10**30, 1e30, 1e300])
def test_align_looks_no_further_than_tiles_share(far):
    whole = texture((20, 40, 60), 5)
    fixed, moving = whole[:, :, :40], whole[:, :, 22:]
    assert gs.align(fixed, moving, (0, 0, 20), search_px=(far,) * 3) == gs.align(
        fixed, moving, (0, 0, 20), search_px=(150, 150, 150)
    )


@pytest.mark.parametrize("um", [1e300, 1e13, 1e-13, 1e-300, 0, -1])
def test_spacings_of_no_scale_are_refused(um):
    whole = texture((20, 40, 60), 5)
    with pytest.raises(ParameterError, match="voxel spacing must be"):
        gs.align(whole, whole, spacing_um=(1, um, 1))
