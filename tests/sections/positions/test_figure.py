"""The report of positions: what its pictures show, and that any result can be drawn."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.model import EstimateOptions
from gpustitch.sections.positions import figure as z_figure
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.positions.figure import draw_report, similarity_picture
from gpustitch.sections.similarity.bands import full_matrix

pytestmark = pytest.mark.long


def strip_of(positions, max_lag):
    n = len(positions)
    strip = np.full((n, max_lag + 1), np.nan)
    for d in range(max_lag + 1):
        strip[: n - d, d] = np.exp(-np.abs(positions[d:] - positions[: n - d]) / 5)
    return strip


def uneven(n):
    return np.cumsum(np.random.default_rng(0).uniform(0.5, 1.5, n))


def estimated(strip, **changed):
    options = EstimateOptions(max_lag=strip.shape[1] - 1, **changed)
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


@pytest.mark.parametrize(("n", "max_lag", "compat"), [(3, 1, True), (4, 3, False), (400, 3, False)])
def test_short_and_long_series_are_drawn(tmp_path, n, max_lag, compat):
    strip = strip_of(uneven(n), max_lag)
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


def test_curves_are_drawn_as_similarities_with_and_without_compat():
    from matplotlib.figure import Figure

    strip = strip_of(uneven(30), 5)
    for compat in (False, True):
        axes = Figure().subplots()
        z_figure._draw_curve(axes, strip, estimated(strip, compat=compat))
        curve = next(line for line in axes.lines if line.get_label() == "curve").get_ydata()
        assert 0.9 < curve[0] < 1.1 and (np.diff(curve) < 0).all() and curve[-1] > 0


def test_a_curve_that_falls_below_0_is_drawn_so():
    from matplotlib.figure import Figure

    strip = strip_of(uneven(30), 5)
    result = dataclasses.replace(estimated(strip), curves=np.array([[1, 0.6, 0.3, 0.1, -0.05, -0.1]]))
    axes = Figure().subplots()
    z_figure._draw_curve(axes, strip, result)
    curve = next(line for line in axes.lines if line.get_label() == "curve").get_ydata()
    np.testing.assert_array_equal(curve, result.curves[0])


def test_flagged_sections_are_named_kind_by_kind_within_the_panel():
    from matplotlib.figure import Figure

    faults = [SectionFault("duplicate", (i, i + 1), 0.9) for i in range(0, 200, 4)]
    faults += [SectionFault("missing", (7, 8), 0.6, 2), SectionFault("swapped", (20, 21, 22), 0.75)]
    result = estimated(strip_of(uneven(210), 4))
    axes = Figure().subplots()
    z_figure._write_flags(axes, result, faults)
    lines = axes.texts[0].get_text().splitlines()
    assert len(lines) <= 15 and max(map(len, lines)) <= 48
    assert "missing (60 %): 7-8 (2)" in lines and "swapped (75 %): 20-22" in lines
    assert lines[0].startswith("duplicate (90 %): 0-1, 4-5") and any(line.endswith(" ...") for line in lines)


def test_a_gap_of_unknown_width_is_drawn():
    from matplotlib.figure import Figure

    faults = [SectionFault("missing", (7, 8), 0.6, 2), SectionFault("missing", (20, 21), 0.6, 4, at_least=True)]
    axes = Figure().subplots()
    z_figure._draw_positions(axes, estimated(strip_of(uneven(40), 5)), faults)
    drawn = [line for line in axes.lines if line.get_label() == "gap of unknown width"]
    assert [line.get_xdata()[0] for line in drawn] == [20.5]


def test_no_text_of_a_report_overlaps_another(tmp_path):
    """Titles and labels of the panels, as they are drawn."""
    from matplotlib.figure import Figure

    figures = []
    faults = [SectionFault(kind, (9 * k + 3,), 0.9) for k, kind in enumerate(z_figure._COLORS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *a, **k: figures.append(figure))
        for n, max_lag in ((12, 5), (300, 8)):
            strip = strip_of(uneven(n), max_lag)
            draw_report(tmp_path / f"{n}.png", strip, estimated(strip), faults[:1] if n == 12 else faults, "png")
    for figure in figures:
        figure.draw_without_rendering()
        boxes = [
            text.get_window_extent()
            for axes in figure.axes
            for text in (axes.title, axes.xaxis.label, axes.yaxis.label)
            if text.get_text()
        ]
        overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        assert len(boxes) > 10 and not overlaps
    assert len(figures) == 2


@pytest.mark.parametrize("change", [0, 1e-16, 1e-9, 1e-3])
def test_spacings_that_are_nearly_the_same_are_drawn(change):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z_figure._draw_spacing(axes, np.diff(np.arange(12.0) + change * np.sin(np.arange(12))))
        figure.draw_without_rendering()
    assert sum(bar.get_height() for bar in axes.patches) == 11
