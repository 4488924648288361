"""Positions of series whose planes do not lie on each other, have borders, or are unevenly bright: by default."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.errors import DamagedInputError
from gpustitch.io.planes.adapters import ArrayPlanes
from gpustitch.running.progress import Silent
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.stage import ZSpacingOptions, plan, run
from gpustitch.sections.similarity import stage as similarity
from gpustitch.sections.similarity.options import SimilarityOptions
from tests.sections.similarity.drawn_series import bordered, jittered, moving_border, rms, series, shaded

pytestmark = pytest.mark.long

OFF = {"register": "off", "no_data": "off", "high_pass": "off"}
SPOILT = {
    "jitter": lambda planes: jittered(planes, 1, 1.5),
    "borders": lambda planes: bordered(planes, 1, 12),
    "shade": lambda planes: shaded(planes, 1, 0.5),
}


class Told(Silent):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)

    warn = note


def found(tmp_path, planes, **options):
    told = Told()
    asked = ZSpacingOptions(
        input=tmp_path, planes=ArrayPlanes(planes), max_lag=8, device="cpu", n_workers=2, overwrite=True, **options
    )
    return run(plan(asked), told), told.lines


def taken_for_thickness(there):
    """What the similarities of a run give where trends are those of thickness; planes are not compared again."""
    return estimate_positions(there.half_strip, EstimateOptions(max_lag=8, assume="thickness"))


@pytest.mark.parametrize("name", SPOILT)
def test_positions_are_better_than_section_numbers(tmp_path, name):
    planes, z = series(11, 50)
    spoilt = SPOILT[name](planes)
    by_default, _ = found(tmp_path, spoilt, output=tmp_path / "z.csv")
    error, numbers = rms(by_default.result.positions, z), rms(np.arange(50.0), z)
    as_they_are = rms(found(tmp_path, spoilt, **OFF)[0].result.positions, z)
    assert error < 0.7 * min(numbers, as_they_are)
    # A spacing of 1.5 may be called a gap, once; nothing is out of place.
    assert not [fault for fault in by_default.faults if fault.fault_type in ("swapped", "duplicate")]
    assert len(by_default.faults) <= 1
    said = json.loads((tmp_path / "z.csv.json").read_text())
    assert (said["compared"]["register_px"] > 0) == (name == "jitter")
    assert (said["compared"]["high_pass_px"] > 0) == (name == "shade")
    assert said["compared"]["planes_with_no_data"] == (50 if name == "borders" else 0)


def test_the_plugin_compares_planes_as_they_are(tmp_path):
    spoilt = jittered(series(12, 16)[0], 1, 1.5)
    compat = {"estimate": EstimateOptions(compat=True)}
    by_default, lines = found(tmp_path, spoilt, **compat)
    np.testing.assert_array_equal(by_default.half_strip, found(tmp_path, spoilt, **compat, **OFF)[0].half_strip)
    assert not [line for line in lines if "register" in line]
    asked_for, _ = found(tmp_path, spoilt, **compat, register=8.0)
    assert np.nanmedian(asked_for.half_strip[:, 1]) > np.nanmedian(by_default.half_strip[:, 1]) + 0.05


def test_similarities_are_not_prepared_again(tmp_path):
    planes, _ = series(13, 12)
    np.savez(tmp_path / "s.npz", half_strip=found(tmp_path, planes)[0].half_strip)
    told = Told()
    run(plan(ZSpacingOptions(input=tmp_path / "s.npz", register=4.0, high_pass="off", max_lag=5)), told)
    assert "`register` and `high_pass` change nothing" in told.lines[0]


def check_told_from_thickness(there, z):
    """Positions are nearer to the truth than where trends are those of thickness, and intervals hold it."""
    result, as_thickness = there.result, taken_for_thickness(there)
    slope = np.polyfit(result.positions, z, 1)
    inside = np.abs(np.polyval(slope, result.positions) - z) < 1.96 * slope[0] * result.uncertainty
    assert rms(result.positions, z) < 0.7 * rms(as_thickness.positions, z) and inside.mean() > 0.85
    assert result.assumed == "texture" and result.undecided


@pytest.mark.parametrize("most_px", [1.5, 3.0])
def test_blur_that_grows_is_told_from_thickness(tmp_path, most_px):
    """Through a file of similarities too, of the greater one."""
    planes, z = series(22, 100)
    blurred = np.stack([ndimage.gaussian_filter(p, most_px * n / 100) for n, p in enumerate(planes)])
    there, lines = found(tmp_path, blurred)
    result = there.result
    check_told_from_thickness(there, z)
    assert result.texture_ratio > 1.25
    assert not [line for line in lines if "texture" in line]  # lines of the summary say it
    if most_px < 3:  # the file holds the same
        return
    compared = tmp_path / "s.npz"
    options = SimilarityOptions(
        input=tmp_path, output=compared, planes=ArrayPlanes(blurred), max_lag=8, device="cpu", overwrite=True
    )
    similarity.run(similarity.plan(options))
    again = run(plan(ZSpacingOptions(input=compared, max_lag=8))).result
    np.testing.assert_allclose(again.positions, result.positions, atol=1e-9)
    assert again.texture_ratio == pytest.approx(result.texture_ratio)


def test_a_tissue_that_grows_into_view_is_told_from_thickness(tmp_path):
    """Through a file of similarities too."""
    planes, z = moving_border(32, 100, (96, 96), 2.0)
    there, _ = found(tmp_path, planes, output=tmp_path / "z.csv")
    result = there.result
    check_told_from_thickness(there, z)
    assert "parts of the sections differ" in there.summary
    said = json.loads((tmp_path / "z.csv.json").read_text())
    assert said["parts_ratio"] == result.parts_ratio > 1.1 and said["assumed"] == "texture" and said["undecided"]
    compared = tmp_path / "s.npz"
    options = SimilarityOptions(input=tmp_path, output=compared, planes=ArrayPlanes(planes), max_lag=8, device="cpu")
    similarity.run(similarity.plan(options))
    again = run(plan(ZSpacingOptions(input=compared, max_lag=8))).result
    np.testing.assert_allclose(again.positions, result.positions, atol=1e-9)
    assert again.parts_ratio == pytest.approx(result.parts_ratio)
    with np.load(compared) as archive:
        arrays = dict(archive)
    for spoilt in ({"patch_similarity": arrays["patch_similarity"][:-1]}, {"patch_planes": None}):
        np.savez(compared, **{name: of for name, of in (arrays | spoilt).items() if of is not None})
        with pytest.raises(DamagedInputError, match="patch_similarity"):
            plan(ZSpacingOptions(input=compared, max_lag=8))


@pytest.mark.parametrize(("options", "are_compared"), [({}, True), ({"high_pass": 8.0}, False)])
def test_parts_of_planes_that_were_made_even_are_not_compared(tmp_path, options, are_compared):
    asked = SimilarityOptions(input=tmp_path, planes=ArrayPlanes(series(9, 20)[0]), device="cpu", **(OFF | options))
    assert (similarity.run(similarity.plan(asked)).patches is not None) == are_compared


def test_a_gap_beyond_the_range_has_a_least_width_and_errors_hold_on_either_side(tmp_path):
    long, z = series(41, 110, (96, 96))
    kept = np.r_[:40, 65:110]
    there, lines = found(tmp_path, long[kept], output=tmp_path / "z.csv")
    gap = json.loads((tmp_path / "z.csv.json").read_text())["open_gaps"]
    assert [of["sections"] for of in gap] == [[39, 40]]
    assert 5 < gap[0]["at_least_sections"] <= z[65] - z[39]
    assert any("39|40 (at least" in line and "hold between sections on the same side" in line for line in lines)
    result, side = there.result, np.arange(85) >= 40
    terms = np.stack([result.positions, side, ~side], axis=1).astype(float)
    factors = np.linalg.lstsq(terms, z[kept], rcond=None)[0]
    inside = np.abs(terms @ factors - z[kept]) < 1.96 * factors[0] * result.uncertainty
    assert inside.mean() > 0.85
    found(tmp_path, long[:60], output=tmp_path / "z.csv")
    assert json.loads((tmp_path / "z.csv.json").read_text())["open_gaps"] == []
