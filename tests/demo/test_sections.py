"""The demo of section series as a whole, on a short one, and what its figures count."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpustitch.demo import sections as section_demo
from gpustitch.demo.score import sections as section_evaluate
from gpustitch.demo.score.sections import Affine
from gpustitch.demo.sections import SIZES, SPACING, SectionDemoOptions, SectionDemoResult, series_of
from gpustitch.demo.series.simulate import SimulatedSeries, SimulationOptions, simulate_series
from gpustitch.errors import OutputExistsError, ParameterError
from gpustitch.io.planes.opening import open_planes
from gpustitch.sections.faults.find import SectionFault
from gpustitch.sections.positions.file import ZPositions, read_z_positions

# One worker runs the demo, for all tests.
pytestmark = pytest.mark.xdist_group("section-demo")

TINY = replace(SIZES["tiny"], seed=5)
SHORT = SimulationOptions(number=20, rows=32, columns=32, correlation_px=2)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SectionDemoResult:
    options = SectionDemoOptions(tmp_path_factory.mktemp("sections") / "d", TINY)
    return section_demo.run(section_demo.plan(options))


@pytest.fixture(scope="module")
def series() -> SimulatedSeries:
    return simulate_series(TINY)


def positions_of(positions: Sequence[float] | np.ndarray, uncertainty: float = 0.1) -> ZPositions:
    at = np.asarray(positions, np.float64)
    return ZPositions(at, np.argsort(at, kind="stable"), np.full(len(at), uncertainty), np.ones(len(at)))


def test_every_target_is_reached(result: SectionDemoResult) -> None:
    assert result.evaluation.passed
    promised = {figure.name: figure.target for figure in result.evaluation.figures if figure.target}
    assert promised == {
        "position error, RMS": "<= half of the above",
        "texture error as rendered, RMS": "< the above",
        "the same, mean of 8 series": "85 to 95, give or take 2 s.e.",
        **{f"{kind}: found": ">= 95" for kind in ("constant", "damaged", "duplicate", "swapped")},
        **{f"{kind}: false alarms": "<= 1" for kind in ("constant", "damaged", "duplicate", "swapped")},
    }


def test_sections_are_put_in_their_places(result: SectionDemoResult) -> None:
    figures = result.evaluation
    assert figures.figure("position error, RMS").value < 0.3
    assert figures.figure("spacing error, RMS").value < 0.5 * figures.figure("spacing error as recorded, RMS").value


def test_the_files_are_those_of_the_commands(result: SectionDemoResult, series: SimulatedSeries) -> None:
    folder = result.report.parent
    sections, volume = open_planes(result.sections), open_planes(result.volume)
    assert sections.spacing is not None and volume.spacing is not None
    np.testing.assert_allclose(sections.spacing.zyx_um, SPACING.zyx_um, rtol=1e-6)
    np.testing.assert_allclose(volume.spacing.zyx_um, SPACING.zyx_um, rtol=1e-6)
    np.testing.assert_array_equal(sections.read(10, 12), series.planes(10, 12))
    assert volume.shape[1:] == sections.shape[1:]
    assert len(read_z_positions(result.positions).positions) == len(series)
    assert np.load(folder / "similarity.npz")["half_strip"].shape == (len(series), 11)
    truth = json.loads((folder / "series" / "truth.json").read_text())
    np.testing.assert_array_equal(truth["positions"], series.positions)
    assert len(truth["faults"]) == len(series.faults)
    assert truth["options"]["seed"] == TINY.seed
    assert result.picture is not None and result.picture.stat().st_size > 50_000


def test_the_report_holds_the_figures(result: SectionDemoResult, series: SimulatedSeries) -> None:
    report = json.loads(result.report.read_text())
    assert report["passed"] == result.evaluation.passed
    assert [f["name"] for f in report["figures"]] == [f.name for f in result.evaluation.figures]
    assert set(report["seconds"]) == {"series", "similarity", "z-spacing", "z-render", "evaluation"}
    error = np.sqrt(np.mean(np.square(report["position_errors"])))
    assert error == pytest.approx(result.evaluation.figure("position error, RMS").value)


def test_a_second_run_needs_overwrite_and_there_is_no_picture_without_matplotlib(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda _name: None)
        result = section_demo.run(section_demo.plan(SectionDemoOptions(folder, SHORT)))
    assert result.picture is None and not (folder / "z.png").exists()
    with pytest.raises(OutputExistsError, match="`overwrite`"):
        section_demo.plan(SectionDemoOptions(folder, SHORT))
    (folder / "mine.txt").write_text("keep")
    again = section_demo.run(section_demo.plan(SectionDemoOptions(folder, SHORT, overwrite=True)))
    assert again.evaluation == result.evaluation
    assert again.picture is not None
    assert (folder / "mine.txt").read_text() == "keep"


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="`size`"):
        series_of("huge")
    with pytest.raises(ParameterError, match="`seed`"):
        series_of("small", seed=-1)
    with pytest.raises(ParameterError):
        section_demo.plan(SectionDemoOptions(tmp_path / "d", n_workers=0))
    with pytest.raises(ParameterError, match="correlation length"):
        section_demo.plan(SectionDemoOptions(tmp_path / "d", replace(TINY, correlation_change=0.2)))
    with pytest.raises(ParameterError, match="faults need"):
        section_demo.plan(SectionDemoOptions(tmp_path / "d", replace(TINY, swaps=100)))
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_every_fault_and_room_for_it(size: str) -> None:
    made = simulate_series(series_of(size, seed=5))
    assert {fault.fault_type for fault in made.faults} == {"constant", "damaged", "duplicate", "missing", "swapped"}


def test_true_positions_of_any_scale_have_no_error(series: SimulatedSeries) -> None:
    figures = {f.name: f for f in section_evaluate.position_figures(series, positions_of(3 + 0.5 * series.positions))}
    assert figures["position error, RMS"].value < 1e-9
    assert figures["spacing error, RMS"].value < 1e-9
    assert figures["position error as recorded, RMS"].value > 0.5


def test_the_numbers_of_the_sections_miss_the_target(series: SimulatedSeries) -> None:
    figures = {f.name: f for f in section_evaluate.position_figures(series, positions_of(np.arange(120.0)))}
    assert figures["position error, RMS"].passed is False
    assert figures["spacing error, RMS"].value == figures["spacing error as recorded, RMS"].value


@pytest.mark.parametrize(("stated", "passed"), [(1.0, True), (0.3, False), (10.0, False)])
def test_intervals_must_be_neither_too_narrow_nor_too_wide(
    series: SimulatedSeries, stated: float, passed: bool
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, len(series))
    z = positions_of((series.positions + noise - 2) * 4, uncertainty=stated * 0.05 * 4)
    one, mean = section_evaluate.coverage_figures([section_evaluate.within_intervals(series, z)])
    assert one.passed is None and one.value == mean.value
    assert mean.passed is passed


def test_without_any_interval_coverage_fails(series: SimulatedSeries) -> None:
    inside = section_evaluate.within_intervals(series, positions_of(series.positions, np.nan))
    assert inside.size == 0
    assert section_evaluate.coverage_figures([inside])[1].passed is False


def test_coverage_is_the_mean_of_all_series() -> None:
    one, mean = section_evaluate.coverage_figures([np.array([True, True]), np.array([True, True, True, False, True])])
    assert (one.value, mean.value) == (100, 90) and mean.passed
    assert "80.0 to 100.0" in mean.note


def test_coverage_of_few_series_is_given_its_standard_error() -> None:
    def figure(*shares: float) -> section_evaluate.Figure:
        return section_evaluate.coverage_figures([np.arange(100) < share for share in shares])[1]

    assert figure(99, 99, 92, 95).passed and figure(80, 84, 90, 70).passed
    assert not figure(99, 99, 98, 97).passed and not figure(70, 60, 75, 65).passed


def test_faults_are_counted_whole(series: SimulatedSeries) -> None:
    """Half of a duplicate is not found; a section named that has no such fault is a false alarm."""
    counts = {count.fault_type: count for count in section_evaluate.fault_counts(series, series.faults)}
    assert all(count.recall == 1 and count.n_wrong == 0 for count in counts.values())
    one = next(fault for fault in series.faults if fault.fault_type == "duplicate")
    sound = next(i for i in range(120) if not any(i in fault.sections for fault in series.faults))
    named = [SectionFault("duplicate", one.sections[:1], 1.0), SectionFault("damaged", (sound,), 1.0)]
    counts = {count.fault_type: count for count in section_evaluate.fault_counts(series, named)}
    assert (counts["duplicate"].n_found, counts["duplicate"].n_wrong) == (0, 0)
    assert (counts["damaged"].n_found, counts["damaged"].n_wrong) == (0, 1)
    figures = {figure.name: figure for figure in section_evaluate.fault_figures(series, named)}
    assert figures["duplicate: found"].passed is False
    assert figures["missing: found"].passed is None


def test_the_true_texture_is_that_of_the_sections() -> None:
    """Without noise sections at their true positions have no error but rounding; a constant plane shows nothing."""
    made = simulate_series(replace(TINY, seed=3, counts_per_electron=0, read_noise=0, damaged=0))
    errors = section_evaluate.texture_errors(made, iter(made.planes(0, 30)), made.positions[:30])
    assert errors[~np.isin(np.arange(30), sorted(made.faulty("constant")))].max() < 1e-3
    flat = section_evaluate.texture_errors(made, [np.full((96, 96), 7)], made.positions[:1])
    np.testing.assert_array_equal(flat, 1)
    moved = section_evaluate.texture_errors(made, made.planes(0, 1), made.positions[:1] + 2.0)
    assert moved[0] == pytest.approx(np.sqrt(1 - float(made.correlation(2.0)) ** 2), abs=0.1)


def test_a_line_is_fitted() -> None:
    at = np.arange(5.0)
    fit = Affine.fit(at, 3 - 2 * at)
    np.testing.assert_allclose((fit.slope, fit.offset), (-2, 3))
