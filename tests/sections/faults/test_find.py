"""Faults of section series: found where they are, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from bench.bench_zspacing_faults import series, sorts
from gpustitch.demo.series.simulate import SimulatedSeries, SimulationOptions, simulate_series
from gpustitch.errors import ParameterError
from gpustitch.sections.faults.find import FAULT_TYPES, SectionFault, find_faults
from gpustitch.sections.faults.losses import (
    corrected,
    displacements,
    fit_curve_and_quality,
    local_median,
    loss_band_of,
    weighted_medians,
)
from gpustitch.sections.positions.estimate import estimate_positions
from gpustitch.sections.similarity.banded import banded_correlation
from gpustitch.sections.similarity.bands import half_strip_of
from tests.sections.faults.fault_counts import FaultCounts
from tests.sections.series import sampled_strip

pytestmark = pytest.mark.long

FAULTS = {
    "duplicates": 3,
    "near_duplicates": 3,
    "swaps": 3,
    "block_swaps": 2,
    "damaged": 5,
    "constant": 1,
    "gaps": 3,
}
SETTINGS = {
    "even": {},
    "uneven": {"spacing_cv": 0.3},
    "noisy": {"spacing_cv": 0.3, "counts_per_electron": 60.0, "read_noise": 100.0},
    "no noise": {"spacing_cv": 0.3, "counts_per_electron": 0.0, "read_noise": 0.0},
    "contrast varies": {"spacing_cv": 0.2, "contrast_cv": 0.15},
    "one Gaussian": {"spacing_cv": 0.2, "components": ((1.0, 1.0),), "correlation_z": 6.0},
    "texture changes": {"spacing_cv": 0.2, "correlation_change": 0.3},
    "close together": {"spacing_cv": 0.2, "apart": 2},
}


def series_of(seed: int, **changes: object) -> SimulatedSeries:
    given = {"number": 150, "rows": 128, "columns": 128, "correlation_px": 3.0, "contrast_cv": 0.05, "seed": seed}
    return simulate_series(SimulationOptions(**{**given, **changes}))  # type: ignore[arg-type]


def found_in(series: SimulatedSeries, noise: float = 0.1, max_lag: int = 10) -> list[SectionFault]:
    jitter = np.random.default_rng([series.options.seed, 9]).normal(0, noise, len(series))
    return find_faults(banded_correlation(series.planes(), max_lag), series.positions + jitter)


def ideal(positions: np.ndarray, max_lag: int, quality: np.ndarray | None = None) -> np.ndarray:
    """Half strip of sections whose similarity is exactly a curve of their distance times their qualities."""
    q = np.ones(len(positions)) if quality is None else quality
    distance = np.abs(positions[:, None] - positions)
    matrix = 0.95 * np.exp(-distance / 12) * q[:, None] * q
    np.fill_diagonal(matrix, 1)
    return half_strip_of(matrix, max_lag)


def kinds_and_sections(faults: list[SectionFault]) -> list[tuple[str, tuple[int, ...]]]:
    return [(fault.fault_type, fault.sections) for fault in faults]


@pytest.mark.parametrize("name", SETTINGS)
def test_recall_and_false_alarms(name: str) -> None:
    """At least 95 % of swaps, duplicates and damage, rounded down, and at most 1 % of the sections wrongly.

    Of gaps fewer, the more uneven the spacing, and up to 3 % wrongly: it is as wide as a gap in places.
    """
    counts, n = FaultCounts(), 0
    for seed in range(200, 202):
        series = series_of(seed, **FAULTS, **SETTINGS[name])
        counts.add(series, found_in(series))
        n += len(series)
    for kind in ("swapped", "duplicate", "damaged", "constant"):
        assert counts.found[kind] >= np.floor(0.95 * counts.true[kind]), kind
        assert counts.wrong[kind] <= 0.01 * n, kind
    least = {0.0: 0.95, 0.2: 0.8, 0.3: 0.6}[SETTINGS[name].get("spacing_cv", 0.0)]
    assert counts.true["missing"] == 6 and counts.found["missing"] >= least * counts.true["missing"]
    assert counts.wrong["missing"] <= 0.03 * n


def test_sound_series_have_no_faults() -> None:
    for seed in range(4):
        faults = found_in(series_of(seed, spacing_cv=0.3 * (seed % 2)))
        assert all(fault.fault_type == "missing" for fault in faults) and len(faults) <= 2 * (seed % 2)


def test_positions_may_be_the_numbers_of_the_sections() -> None:
    series = series_of(1, **FAULTS, spacing_cv=0.2)
    faults = find_faults(banded_correlation(series.planes(), 10), np.arange(150.0))
    for kind in ("swapped", "duplicate", "damaged", "constant"):
        assert {i for fault in faults if fault.fault_type == kind for i in fault.sections} == series.faulty(kind)


@pytest.mark.parametrize(("seed", "first"), [(1, 120), (2, 0)])
def test_a_stretch_that_the_positions_turn_around_is_in_order(seed: int, first: int) -> None:
    """Nine sections in a row reversed in the estimate only, as happens in noise; what is wrong elsewhere is found."""
    series = series_of(seed, **FAULTS, **{**SETTINGS["noisy"], "spacing_cv": 0.2})
    positions = series.positions.copy()
    positions[first : first + 9] = positions[first : first + 9][::-1]
    faults = find_faults(banded_correlation(series.planes(), 10), positions)
    for kind in ("swapped", "damaged", "constant"):
        assert {i for fault in faults if fault.fault_type == kind for i in fault.sections} == series.faulty(kind)


def test_sections_that_the_positions_throw_far_away_change_nothing() -> None:
    series = series_of(1, **FAULTS, spacing_cv=0.2)
    half_strip = banded_correlation(series.planes(), 10)
    positions = series.positions.copy()
    expected = find_faults(half_strip, positions)
    positions[[30, 100]] += 58, -40
    assert kinds_and_sections(find_faults(half_strip, positions)) == kinds_and_sections(expected)


def test_number_of_missing_sections() -> None:
    series = series_of(2, gaps=6, gap_sections=(1, 4), number=200)
    true = {fault.sections: fault.missing for fault in series.faults}
    found = {fault.sections: fault.missing for fault in found_in(series)}
    assert found.keys() == true.keys()
    assert all(abs(found[sections] - true[sections]) <= (true[sections] > 2) for sections in true)


@pytest.mark.parametrize("gap", [13, 40, 2487])
def test_a_gap_that_no_similarity_crosses_has_at_least_some_missing(gap: int) -> None:
    """What positions say of its width is no measurement: the number is a bound, and not greater than the truth."""
    for seed in range(2):
        place = np.cumsum(np.random.default_rng(seed).uniform(0.8, 1.2, 100))
        place[45:] += gap
        strip = sampled_strip(place, 10, seed)
        for positions in (place, estimate_positions(strip).positions):
            (fault,) = [fault for fault in find_faults(strip, positions) if fault.fault_type == "missing"]
            assert fault.sections == (44, 45)
            assert fault.at_least and 2 <= fault.missing <= gap


def test_sections_farther_apart_than_the_range_say_nothing_of_what_is_missing() -> None:
    """A run of constant sections longer than the range: nothing was compared across it."""
    place = np.cumsum(np.random.default_rng(3).uniform(0.8, 1.2, 70))
    strip = sampled_strip(place, 8, 3)
    run = set(range(30, 42))
    for i in range(70):
        for d in range(9):
            if i in run or i + d in run:
                strip[i, d] = np.nan
    for positions in (place, place + 500 * (np.arange(70) > 41)):
        assert {fault.fault_type for fault in find_faults(strip, positions)} == {"constant"}


@pytest.mark.parametrize("sections", [[20, 21], [20, 21, 22, 23], [20, 21, 22]])
def test_wrong_order_is_found_without_any_noise(sections: list[int]) -> None:
    """Whatever the positions say: those of the sections, or their numbers."""
    place = np.arange(50.0)
    place[sections] = np.roll(place[sections], len(sections) // 2)
    for positions in (place, np.arange(50.0)):
        assert kinds_and_sections(find_faults(ideal(place, 10), positions)) == [("swapped", tuple(sections))]


@pytest.mark.parametrize("at", [3, 20, 44])
def test_a_swap_is_as_sure_wherever_it_lies(at: int) -> None:
    place = np.cumsum(np.random.default_rng(1).uniform(0.9, 1.1, 50))
    place[[at, at + 1]] = place[[at + 1, at]]
    (fault,) = find_faults(ideal(place, 10), place)
    assert fault.sections == (at, at + 1)
    assert fault.confidence == pytest.approx(0.9, abs=0.06)


def test_duplicates_in_a_row_are_one_fault() -> None:
    place = np.arange(50.0)
    place[21:] -= 1
    place[22:] -= 1
    faults = find_faults(ideal(place, 8), place)
    assert kinds_and_sections(faults) == [("duplicate", (20, 21, 22))]
    assert 0.5 <= faults[0].confidence <= 1


def test_same_pixels_are_duplicates_even_at_the_ends() -> None:
    place = np.arange(30.0)
    strip = ideal(place, 6)
    strip[0, 1] = strip[28, 1] = 1
    assert kinds_and_sections(find_faults(strip, place)) == [("duplicate", (0, 1)), ("duplicate", (28, 29))]


@pytest.mark.parametrize("where", [0, 1, 17, 39])
def test_damage_by_how_much_it_lowers_similarity(where: int) -> None:
    place, quality = np.arange(40.0), np.random.default_rng(0).normal(1, 0.005, 40)
    quality[where] = 0.8
    assert kinds_and_sections(find_faults(ideal(place, 10, quality), place)) == [("damaged", (where,))]
    quality[where] = 0.99
    assert find_faults(ideal(place, 10, quality), place) == []


def test_damaged_and_constant_sections_leave_no_gap() -> None:
    """They lie between their neighbours: only what is missing beyond them is a gap."""
    place, quality = np.arange(60.0), np.ones(60)
    quality[20] = 0.3
    place[41:] += 2
    strip = ideal(place, 10, quality)
    strip[30] = np.nan
    for d in range(1, 11):
        strip[30 - d, d] = np.nan
    expected = [("damaged", (20,)), ("constant", (30,)), ("missing", (40, 41))]
    faults = find_faults(strip, place)
    assert kinds_and_sections(faults) == expected and faults[-1].missing == 2


def test_confidence_rises_with_the_evidence() -> None:
    place = np.arange(40.0)
    found = []
    for q in (0.9, 0.7, 0.3):
        quality = np.ones(40)
        quality[11] = q
        found.append(find_faults(ideal(place, 10, quality), place)[0].confidence)
    assert 0.5 < found[0] < found[1] < found[2] < 1


def test_weights_silence_a_witness() -> None:
    """Sections that nobody trusts do not change what is found."""
    series = series_of(5, **FAULTS, spacing_cv=0.2)
    strip, weights = banded_correlation(series.planes(), 10), np.ones(150)
    weights[10::10] = 1e-6
    plain, weighed = (find_faults(strip, series.positions, w) for w in (None, weights))
    for kind in ("swapped", "damaged", "constant"):
        assert [f.sections for f in plain if f.fault_type == kind] == [
            f.sections for f in weighed if f.fault_type == kind
        ]


def test_displacements_are_the_spacings() -> None:
    rng = np.random.default_rng(1)
    place, quality = np.cumsum(rng.gamma(10, 0.1, 80)), rng.uniform(0.8, 1, 80)
    band = loss_band_of(ideal(place, 10, quality))
    curve, own = fit_curve_and_quality(band, place, np.ones(80))
    step, error = displacements(corrected(band, own), own, curve, place, np.ones(80))
    np.testing.assert_allclose(step[3:-3], np.diff(place)[3:-3], atol=0.1)
    assert np.median(error) < 0.05
    local = -np.log(quality) - local_median(-np.log(quality), 15)
    np.testing.assert_allclose(own[16:-16], local[16:-16], atol=0.03)


def test_steps_beside_a_hole_err_by_the_quality_that_may_be_one() -> None:
    """Seen from one side, a section of lower quality and one that is farther away are the same."""
    place = np.arange(60.0) + 40 * (np.arange(60) >= 30)
    band = loss_band_of(ideal(place, 10, np.ones(60)))
    curve, own = fit_curve_and_quality(band, place, np.ones(60))
    beside = curve.at(np.array([1.0, 2.0]))
    own[[15, 29]] += beside[1] - beside[0]  # what one section farther away costs
    step, error = displacements(corrected(band, own), own, curve, place, np.ones(60))
    assert step[28] == pytest.approx(0, abs=0.1) and error[28] > 0.8
    assert step[14] == pytest.approx(1, abs=0.1) and error[14] < 0.3


def test_weighted_medians_of_rows() -> None:
    values = np.array([[1.0, 2, 3, 9], [np.nan, 5, 4, 6], [1, 2, np.nan, np.nan], [np.nan] * 4])
    weights = np.array([[1.0, 1, 1, 5], [0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(weighted_medians(values, weights), [9, 5, 1.5, np.nan])


@pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_strange_similarities_raise_no_warning() -> None:
    """Short series, all alike, nothing known, nothing but chance: an answer with valid sections, whatever it is."""
    for seed in range(36):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 25))
        max_lag = int(rng.integers(1, n))
        strip = [
            ideal(np.arange(float(n)), max_lag),
            rng.uniform(-1, 1, (n, max_lag + 1)),
            np.ones((n, max_lag + 1)),
            np.where(rng.uniform(size=(n, max_lag + 1)) < 0.4, np.nan, 0.5),
            np.full((n, max_lag + 1), np.nan),
            np.zeros((n, max_lag + 1)),
        ][seed % 6].copy()
        for d in range(max_lag + 1):
            strip[n - d :, d] = np.nan
        faults = find_faults(strip, np.arange(n) + rng.normal(0, 0.1, n))
        for fault in faults:
            assert fault.fault_type in FAULT_TYPES and 0.5 <= fault.confidence <= 1
            assert (
                list(fault.sections) == sorted(set(fault.sections)) and 0 <= fault.sections[0] <= fault.sections[-1] < n
            )
        if seed % 6 == 0:
            assert faults == []
        if seed % 6 == 4:
            assert kinds_and_sections(faults) == [("constant", (i,)) for i in range(n)]


def test_bad_input_is_refused() -> None:
    strip, place = ideal(np.arange(10.0), 3), np.arange(10.0)
    for wrong in (strip[:2], strip[:, :1], strip[0]):
        with pytest.raises(ParameterError):
            find_faults(wrong, place[: len(wrong)])
    with pytest.raises(ParameterError):
        find_faults(strip, place[:-1])
    with pytest.raises(ParameterError):
        find_faults(strip, np.where(place == 3, np.nan, place))
    with pytest.raises(ParameterError):
        find_faults(strip, place, -np.ones(10))


@pytest.mark.parametrize("sort", list(sorts()), ids=lambda sort: sort.name)
def test_thresholds_name_what_they_named_when_chosen(sort):
    assert sort.row(range(100, 101))["holds"], sort.row(range(100, 101))


def test_where_staining_fades_steps_err_more_than_elsewhere_and_make_no_gaps():
    assert not series("fading", 3).named
