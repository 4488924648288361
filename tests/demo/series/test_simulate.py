"""Simulated series of sections: their texture, their truth, and that they are the same however they are asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpustitch.demo.series.camera import DAMAGES, damage, expose
from gpustitch.demo.series.simulate import SimulationOptions, simulate_series
from gpustitch.demo.series.texture import LayeredTexture, layer_weights
from gpustitch.errors import ParameterError
from gpustitch.sections.similarity.banded import banded_correlation

ALL = SimulationOptions(
    number=90,
    rows=48,
    columns=40,
    seed=3,
    correlation_px=2,
    spacing_cv=0.3,
    gaps=2,
    duplicates=2,
    near_duplicates=2,
    swaps=2,
    block_swaps=1,
    damaged=5,
    constant=1,
    brightness_cv=0.1,
    contrast_cv=0.1,
)
NOISELESS = SimulationOptions(number=3, rows=40, columns=40, counts_per_electron=0.0, read_noise=0.0)


def test_planes_do_not_depend_on_what_was_asked_for_before() -> None:
    series = simulate_series(ALL)
    planes = series.planes()
    assert planes.shape == series.shape == (90, 48, 40) and planes.dtype == np.uint16
    for size in (1, 7, 90, 200):
        np.testing.assert_array_equal(np.concatenate(list(simulate_series(ALL).chunks(size))), planes)
    backwards = np.stack([series.planes(i, i + 1)[0] for i in reversed(range(90))])
    np.testing.assert_array_equal(backwards[::-1], planes)
    assert series.planes(4, 4).shape == (0, 48, 40)


def test_the_seed_decides() -> None:
    one, same, other = (simulate_series(replace(ALL, seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.positions, same.positions)
    assert one.faults == same.faults != other.faults
    assert (one.planes(0, 1) != other.planes(0, 1)).mean() > 0.9


def test_correlation_of_the_texture_falls_off_the_same_everywhere() -> None:
    """At any depth, on layers and between them, as the formula says, up to the scatter of a finite plane."""
    texture = LayeredTexture((160, 160), 5, 2.0, ((0.4, 3.0), (0.6, 8.0)))
    distance = np.arange(0, 12, 0.5)
    found = []
    for start in (-7.3, 0.0, 0.37, 100.11, 5000.0):
        planes = np.stack([texture.at(start + d) for d in distance])
        assert planes.mean() == pytest.approx(0, abs=1e-3)
        assert planes.std(axis=(1, 2)) == pytest.approx(1, abs=0.05)
        found.append(np.corrcoef(planes.reshape(len(planes), -1))[0])
    np.testing.assert_allclose(found, np.broadcast_to(texture.correlation(distance), (5, len(distance))), atol=0.07)
    np.testing.assert_allclose(np.mean(found, axis=0), texture.correlation(distance), atol=0.03)
    assert (np.diff(np.mean(found, axis=0)) < 0).all() and (np.diff(texture.correlation(distance)) < 0).all()
    assert texture.correlation(0.0) == 1 and LayeredTexture((4, 4), 0, 2, ((1, 3.0),)).correlation(
        3.0
    ) == pytest.approx(np.exp(-1))


def test_layers_are_weighed_alike_at_every_depth() -> None:
    """The expected correlation of two depths, from the weights alone."""
    for d in (0.3, 1.0, 2.5):
        values = []
        for at in np.linspace(0, 1, 11):
            (n0, w0), (n1, w1) = layer_weights(at), layer_weights(at + d)
            values.append(
                sum(a * b for i, a in zip(n0, w0, strict=True) for j, b in zip(n1, w1, strict=True) if i == j)
            )
        assert np.ptp(values) < 1e-4
        assert np.mean(values) == pytest.approx(np.exp(-((d / 2.4) ** 2)), abs=1e-4)


def test_correlation_within_a_section_has_its_length() -> None:
    plane = LayeredTexture((512, 512), 1, 6.0, ((1.0, 5.0),)).at(2.2)
    along = [np.mean(plane * np.roll(plane, k, axis)) for k in (0, 3, 6, 12) for axis in (0, 1)]
    np.testing.assert_allclose(along[::2], np.exp(-((np.array([0, 3, 6, 12]) / 6) ** 2)), atol=0.08)
    np.testing.assert_allclose(along[1::2], np.exp(-((np.array([0, 3, 6, 12]) / 6) ** 2)), atol=0.08)


def test_correlation_can_change_along_z() -> None:
    options = replace(ALL, number=100, correlation_change=0.6, change_period=100.0, rows=96, columns=96)
    options = replace(
        options, gaps=0, duplicates=0, near_duplicates=0, swaps=0, block_swaps=0, damaged=0, constant=0, spacing_cv=0.0
    )
    strip = banded_correlation(simulate_series(options).planes(), 5)
    assert np.mean(strip[15:35, 5]) > np.mean(strip[65:85, 5]) + 0.2


@pytest.mark.parametrize("cv", [0.0, 0.3, 0.7])
def test_spacings_have_their_variation(cv: float) -> None:
    series = simulate_series(SimulationOptions(number=4000, rows=1, columns=1, spacing_cv=cv))
    spacing = np.diff(series.positions)
    assert series.positions[0] == 0 and (spacing >= 0).all()
    assert spacing.mean() == pytest.approx(1, abs=0.05) and spacing.std() == pytest.approx(cv, abs=0.05)
    np.testing.assert_array_equal(series.rank, np.arange(4000))


def test_truth_of_positions_and_faults() -> None:
    series = simulate_series(ALL)
    planes = series.planes()
    kinds = [fault.fault_type for fault in series.faults]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "missing": 2,
        "duplicate": 4,
        "swapped": 3,
        "damaged": 5,
        "constant": 1,
    }
    np.testing.assert_array_equal(np.argsort(series.positions, kind="stable"), np.argsort(series.rank))
    exact = 0
    for fault in series.faults:
        a, b = fault.sections[0], fault.sections[-1]
        spacing = np.diff(series.positions[a - 1 : b + 2])
        if fault.fault_type == "missing":
            assert 1 <= fault.missing <= 3 and fault.missing < spacing[1] < fault.missing + 3
        if fault.fault_type == "duplicate":
            assert spacing[1] == 0
            exact += np.array_equal(planes[a], planes[b])
        if fault.fault_type == "swapped":
            half = len(fault.sections) // 2
            assert list(series.rank[a : b + 1]) == [*range(a + half, b + 1), *range(a, a + half)]
            assert (spacing < 0).sum() == 1 and spacing[half] < 0
        if fault.fault_type == "constant":
            assert np.ptp(planes[a]) == 0
    assert exact == 2
    assert sorted(series.damages.values()) == sorted(DAMAGES) and set(series.damages) == series.faulty("damaged")
    touched = sorted(i for fault in series.faults for i in fault.sections)
    assert len(set(touched)) == len(touched) and touched[0] >= ALL.apart and touched[-1] < 90 - ALL.apart


def test_regions_of_nan() -> None:
    series = simulate_series(replace(ALL, nan_sections=7))
    planes = series.planes()
    assert planes.dtype == series.dtype == np.float32
    assert tuple(np.flatnonzero(np.isnan(planes).any(axis=(1, 2)))) == series.nan_sections
    assert len(series.nan_sections) == 7
    share = np.isnan(planes[list(series.nan_sections)]).mean(axis=(1, 2))
    assert share.min() > 0.02 and share.max() < 0.25
    sound = simulate_series(ALL).planes()
    np.testing.assert_array_equal(planes[~np.isnan(planes)], sound[~np.isnan(planes)])


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_lowers_correlation(kind: str) -> None:
    image = simulate_series(replace(NOISELESS, rows=96, columns=80)).planes(0, 1)[0].astype(np.float32)
    for seed in range(5):
        bad = damage(image, kind, np.random.default_rng(seed), 800.0)
        assert bad.shape == image.shape and bad.dtype == np.float32 and np.isfinite(bad).all()
        assert np.corrcoef(bad.ravel(), image.ravel())[0, 1] < 0.9
    np.testing.assert_array_equal(bad, damage(image, kind, np.random.default_rng(4), 800.0))


def test_noise_is_that_of_photons_and_reading() -> None:
    image = np.full((400, 400), 1000, np.float32)
    noisy = expose(image, np.random.default_rng(0), 4.0, 30.0)
    assert noisy.mean() == pytest.approx(1000, abs=1) and noisy.var() == pytest.approx(4 * 1000 + 900, rel=0.02)
    np.testing.assert_array_equal(expose(image, np.random.default_rng(0), 0.0, 0.0), 1000)
    ends = expose(np.array([[-50.0, 1e6]], np.float32), np.random.default_rng(0), 0.0, 0.0)
    assert ends.tolist() == [[0, 65535]]


def test_brightness_and_contrast_vary() -> None:
    options = replace(NOISELESS, number=200, brightness_cv=0.1, contrast_cv=0.2, correlation_px=1.0)
    planes = simulate_series(options).planes().astype(np.float64)
    level, scatter = planes.mean(axis=(1, 2)), planes.std(axis=(1, 2))
    assert level.std() / level.mean() == pytest.approx(0.1, abs=0.03)
    assert (scatter / level).std() / (scatter / level).mean() == pytest.approx(0.2, abs=0.05)


def test_the_shortest_series() -> None:
    series = simulate_series(SimulationOptions(number=1, rows=1, columns=1))
    assert series.planes().shape == (1, 1, 1) and series.positions.tolist() == [0] and len(series) == 1
    assert series.faults == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": 0},
        {"swaps": -1},
        {"apart": 0},
        {"gap_sections": (3, 2)},
        {"correlation_z": 0.0},
        {"correlation_change": 1.0},
        {"spacing_cv": -0.1},
        {"damages": ("coffee",)},
        {"damages": ()},
        {"nan_sections": 91},
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        replace(ALL, **wrong)


def test_faults_that_do_not_fit() -> None:
    with pytest.raises(ParameterError, match=r"need \d+ sections"):
        simulate_series(replace(ALL, number=60))
    with pytest.raises(ParameterError):
        simulate_series(replace(ALL, components=((1.0, 0.0),)))
    series = simulate_series(ALL)
    with pytest.raises(ParameterError):
        series.planes(5, 91)
    with pytest.raises(ParameterError):
        list(series.chunks(0))
