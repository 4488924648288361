"""The report of positions: what its pictures show, and that any result can be drawn."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from gpustitch.model.zspacing import ZSpacingOptions
from gpustitch.ops.section_faults import SectionFault
from gpustitch.ops.similarity import full_matrix
from gpustitch.ops.zspacing import estimate_positions
from gpustitch.stages.z_figure import draw_report, similarity_picture


def strip_of(positions, reach):
    n = len(positions)
    strip = np.full((n, reach + 1), np.nan)
    for d in range(reach + 1):
        strip[: n - d, d] = np.exp(-np.abs(positions[d:] - positions[: n - d]) / 5)
    return strip


def uneven(n):
    return np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, n))


def estimated(strip, **changed):
    options = ZSpacingOptions(neighborhood_range=strip.shape[1] - 1, **changed)
    return estimate_positions(strip, options)


def test_the_picture_of_recorded_sections_is_the_matrix():
    strip = strip_of(uneven(20), 4)
    picture, extent = similarity_picture(strip, np.arange(20.0), np.arange(20))
    np.testing.assert_array_equal(picture, full_matrix(strip))
    assert extent == (-0.5, 19.5, 19.5, -0.5)


def test_at_the_true_positions_similarity_depends_on_distance_alone():
    positions = np.sort(np.random.default_rng(1).uniform(0, 200, 4000))
    picture, _ = similarity_picture(strip_of(positions, 200), positions, np.arange(4000))
    assert picture.shape[0] == 201
    for d in (1, 4, 7):
        known = picture[d][~np.isnan(picture[d])]
        assert np.ptp(known) < 0.1 and abs(np.median(known) - np.exp(-d / 5)) < 0.02


def test_sections_are_shown_in_their_true_order():
    positions = np.array([0.0, 2.0, 1.0, 3.0, 4.0])
    strip = strip_of(positions, 4)
    picture, _ = similarity_picture(strip, positions, np.argsort(positions))
    np.testing.assert_allclose(picture, full_matrix(strip_of(np.arange(5.0), 4)))


@pytest.mark.parametrize("image_format", ["pdf", "png", "svg"])
def test_a_report_is_drawn(tmp_path, image_format):
    strip = strip_of(uneven(40), 5)
    faults = [
        SectionFault("damaged", (3,), 0.9),
        SectionFault("missing", (7, 8), 0.6, 2),
        SectionFault("unheard-of", (9,), 1.0),
    ]
    draw_report(tmp_path / "report", strip, estimated(strip), faults, image_format)
    content = (tmp_path / "report").read_bytes()
    assert content[:5] in (b"%PDF-", b"\x89PNG\r", b"<?xml")


@pytest.mark.parametrize(("n", "reach"), [(3, 1), (3, 2), (4, 3), (400, 3)])
@pytest.mark.parametrize("compat", [False, True])
def test_short_and_long_series_are_drawn(tmp_path, n, reach, compat):
    strip = strip_of(uneven(n), reach)
    draw_report(tmp_path / "report", strip, estimated(strip, compat=compat), [], "png")
    assert (tmp_path / "report").stat().st_size > 10_000


def test_many_faults_local_curves_and_sections_without_votes_are_drawn(tmp_path):
    strip = strip_of(uneven(60), 4)
    strip[30] = np.nan
    for d in range(1, 5):
        strip[30 - d, d] = np.nan
    result = estimated(strip, compat=True, local_estimates=3)
    result = dataclasses.replace(result, uncertainty=np.where(np.arange(60) == 30, np.nan, 0.1))
    assert result.without_votes.tolist() == [30] and len(result.curves) == 60
    faults = [SectionFault("damaged", (i,), 0.5 + i / 200) for i in range(40)]
    faults.append(SectionFault("duplicate", tuple(range(60)), 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_report(tmp_path / "report", strip, result, faults, "png")
