"""Planes as they are compared: what the stage asks for, finds, does and tells."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpustitch.array import Device
from gpustitch.errors import ParameterError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.running.progress import Silent
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.binning import bin_planes
from gpustitch.sections.similarity.high_pass import less_stripes
from gpustitch.sections.similarity.options import SimilarityOptions
from gpustitch.sections.similarity.prepare import Preparation, without_no_data
from gpustitch.sections.similarity.stage import plan, run
from tests.cuda_cpu import shim
from tests.sections.similarity.drawn_series import bordered, curtained, jittered, series, shaded

pytestmark = pytest.mark.long

OFF = {"register": "off", "no_data": "off", "high_pass": "off"}


class Told(Silent):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)

    warn = note


def compared(planes, **options):
    told = Told()
    asked = SimilarityOptions(**{"input": Path("given"), "max_lag": 4, "device": "cpu", "n_workers": 2, **options})
    return run(plan(SimilarityOptions(**{**vars(asked), "planes": ArrayPlanes(planes)})), told), told.lines


@pytest.fixture(scope="module")
def still():
    return series(3, 30)[0]


@pytest.fixture(scope="module")
def of_still(still):
    """What is found of planes that need nothing, and what is told."""
    return compared(still)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_series_that_need_nothing_are_compared_as_they_are(still, of_still, dtype):
    planes = still if dtype == "float32" else (still * 25 + 128).clip(0, 255).astype(np.uint8)
    found, lines = of_still if dtype == "float32" else compared(planes)
    np.testing.assert_array_equal(found.half_strip, compared(planes, **OFF)[0].half_strip)
    assert not lines and found.prepared == Preparation("auto") and found.without == ()


@pytest.mark.parametrize(
    ("spoil", "option", "said"),
    [
        (lambda s: jittered(s, 1, 1.0), "register", "px apart across the plane: compared in register"),
        (lambda s: bordered(s, 1, 9), "no_data", "areas of one value at the edge of 30 of 30 planes"),
        (lambda s: shaded(s, 1, 0.5), "high_pass", "coarse brightness changes from plane to plane"),
    ],
)
def test_what_spoils_planes_is_found_mended_and_told(still, of_still, spoil, option, said):
    planes = spoil(still)
    spoilt = compared(planes, **OFF)[0].half_strip[:, 1]
    found, lines = compared(planes)
    assert len(lines) == 1 and said in lines[0] and f"(`{option}`)" in lines[0]
    sound = of_still[0].half_strip[:, 1]
    errors = [np.nanstd(values - sound) for values in (found.half_strip[:, 1], spoilt)]
    assert errors[0] < 0.4 * errors[1]
    assert found.record["compared"] == {**vars(found.prepared), "planes_with_no_data": len(found.without)}


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_curtains_are_found_taken_away_and_told(still, dtype):
    planes = curtained(still, 1, 1.0)
    if dtype == "uint8":
        planes = (planes * 25 + 128).clip(0, 255).astype(np.uint8)
    found, lines = compared(planes)
    assert found.prepared == Preparation("auto", stripes="columns") and found.patches is None
    assert len(lines) == 1 and "stripes run through the planes along columns" in lines[0] and "`high_pass`" in lines[0]
    assert found.record["compared"]["stripes"] == "columns"
    sound = np.stack([less_stripes(plane, "columns") for plane in still])
    spoilt, sound = compared(planes, **OFF)[0].half_strip, compared(sound, **OFF)[0].half_strip
    errors = [np.nanmean(np.abs(strip - sound)) for strip in (found.half_strip, spoilt)]
    assert errors[0] < 0.2 * errors[1]
    for changed in ({"chunk": 7}, {"n_workers": 1}) if dtype == "uint8" else ():
        np.testing.assert_allclose(compared(planes, **changed)[0].half_strip, found.half_strip, atol=1e-12)
    # A high pass that was asked for is all that is done.
    assert compared(planes, high_pass=9.0)[0].prepared.stripes == "none"


def test_chunks_and_workers_do_not_matter(still):
    planes = bordered(shaded(jittered(still[:20], 2, 1.0), 2, 0.5), 2, 9)
    asked = {"register": 6.0, "high_pass": 5.0}
    expected = compared(planes, **asked)[0]
    for changed in ({"chunk": 1}, {"chunk": 7, "n_workers": 3}, {"n_workers": 1}):
        found = compared(planes, **asked, **changed)[0]
        assert found.prepared == expected.prepared and found.without == expected.without == tuple(range(20)), changed
        np.testing.assert_allclose(found.half_strip, expected.half_strip, atol=1e-12, err_msg=str(changed))


def test_values_are_left_out_wherever_they_are(still):
    planes = (still * 25 + 128).clip(1, 255).astype(np.uint8)
    planes[4, 10:30, 20:40] = 0
    found, lines = compared(planes, **{**OFF, "no_data": 0})
    expected = banded_correlation(np.where(planes == 0, np.nan, planes).astype(np.float32), 4)
    np.testing.assert_allclose(found.half_strip, expected, atol=1e-6)
    assert found.without == (4,) and not lines


def test_a_constant_plane_stays_constant(still):
    planes = bordered(still, 3, 5)
    planes[7] = 2
    found, _ = compared(planes)
    assert found.undefined == (7,) and 7 not in found.without


def test_areas_are_left_out_before_planes_are_made_smaller(still):
    planes = bordered(still, 4, 9)
    found, _ = compared(planes, **{**OFF, "no_data": "auto"}, scale=(0.5, 0.5))
    left = bin_planes(np.where(planes == -3, np.nan, planes).astype(np.float32), (2, 2))
    np.testing.assert_allclose(found.half_strip, banded_correlation(left, 4), atol=1e-6)


@pytest.mark.parametrize("asked", [{"high_pass": 5.0}, {"register": 4.0}])
def test_masked_pixels_do_not_matter_to_what_is_mended(still, asked, tmp_path):
    mask = np.ones(still.shape[1:], np.uint8)
    mask[:, 40:] = 0
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    other = still.copy()
    other[:, :, 40:] = np.random.default_rng(0).normal(0, 9, other[:, :, 40:].shape)
    first, second = (compared(p, **{**OFF, **asked}, mask=tmp_path / "mask.tif")[0].half_strip for p in (still, other))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_the_file_says_what_was_done(still, tmp_path):
    planes = bordered(jittered(still, 5, 1.0), 5, 9)
    found, _ = compared(planes, output=tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as archive:
        said = json.loads(str(archive["provenance"]))
    assert said["compared"]["register_px"] == found.prepared.register_px >= 8
    assert said["compared"]["planes_with_no_data"] == 30 and said["parameters"]["register"] == "auto"


@pytest.mark.parametrize("name", ["register", "no_data", "high_pass"])
@pytest.mark.parametrize("value", ["on", "", 0.5])
def test_other_words_and_numbers_are_refused(still, name, value):
    if name == "no_data" and value == 0.5:
        pytest.skip("a value that pixels may have")
    with pytest.raises(ParameterError, match=f"`{name}`"):
        compared(still, **{name: value})


def test_planes_too_small_or_too_few_are_compared_as_they_are(still):
    off = jittered(still, 6, 2.0)
    for planes in (off[:6], np.ascontiguousarray(off[:, :20])):
        found, lines = compared(planes)
        np.testing.assert_array_equal(found.half_strip, compared(planes, **OFF)[0].half_strip)
        assert not lines


def test_planes_without_areas_keep_their_type():
    planes = np.arange(2 * 64, dtype=np.uint16).reshape(2, 8, 8)
    found, has_some = without_no_data(planes, "auto")
    assert found is planes and not has_some.any()
    planes = np.stack([planes[0], np.where(np.arange(8) < 3, 9999, planes[1]).astype(np.uint16)])
    found, has_some = without_no_data(planes, "auto")
    assert found.dtype == np.float32 and has_some.tolist() == [False, True]
    assert np.isnan(found[1, :, :3]).all() and np.isfinite(found).sum() == 2 * 64 - 24


def test_stripes_go_on_a_device(still):
    planes = curtained(still[:14], 7, 1.0)
    expected, _ = compared(planes)
    with shim.installed():
        found, _ = compared(planes, device=Device(0, "cuda:0: emulated", 1 << 30))
    assert found.prepared.stripes == "columns"
    np.testing.assert_allclose(found.half_strip, expected.half_strip, atol=1e-3)


def test_runs_on_a_device(still):
    planes = bordered(jittered(still[:14], 7, 1.0), 7, 6)
    asked = {"register": 6.0, "high_pass": 6.0}
    expected, _ = compared(planes, **asked)
    with shim.installed():
        found, _ = compared(planes, **asked, device=Device(0, "cuda:0: emulated", 1 << 30))
    np.testing.assert_allclose(found.half_strip, expected.half_strip, atol=1e-3)


@pytest.mark.parametrize(
    "asked", [{"register": 8.0}, {"high_pass": 5.0}, {"high_pass": 20.0}, {"no_data": "auto"}, {"register": "auto"}]
)
def test_what_is_foretold_is_not_exceeded(asked):
    rng = np.random.default_rng(0)
    planes = rng.integers(1, 200, (12, 240, 300), np.uint8)
    planes[:, :9] = 0
    given = {**OFF, **asked, "chunk": 4, "n_workers": 2, "max_lag": 3, "device": "cpu"}
    made = plan(SimilarityOptions(Path("given"), planes=ArrayPlanes(planes), **given))
    tracemalloc.start()
    run(made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.2 * made.peak_bytes < peak <= made.peak_bytes
