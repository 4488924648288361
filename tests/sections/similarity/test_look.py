"""What a look at pairs of planes decides: something only where there is evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter, shift

from bench.bench_zspacing_look import SERIES, sorts
from gpustitch.array import Device, on, to_device
from gpustitch.sections.similarity.look import DEGREES, LEAST_PAIRS, NEXT, Looked, judged, look, reach_px
from tests.cuda_cpu import shim
from tests.sections.similarity.drawn_series import curtained, jittered, series, shaded, turned

pytestmark = pytest.mark.long

SHAPE = (96, 96)


def seen(planes, pairs=12):
    n = len(planes)
    first = np.unique(np.linspace(0, n - 2, pairs).astype(int))
    found = []
    for i in first:
        later = planes[i + 1 + NEXT] if i + 1 + NEXT < n else None
        following = planes[i + 2] if i + 2 < n else None
        found.append(look(planes[i], planes[i + 1], following, [later, planes[(i + n // 2) % n]]))
    return found


@pytest.fixture(scope="module")
def still():
    return series(0, 40, SHAPE)[0]


def test_series_in_register_are_left_alone(still):
    rng = np.random.default_rng(1)
    noisy = still + rng.standard_normal(still.shape, dtype=np.float32)
    uneven = still * rng.uniform(0.3, 2, (40, 1, 1)).astype(np.float32) + rng.normal(0, 2, (40, 1, 1)).astype(
        np.float32
    )
    swapped = still.copy()
    swapped[[9, 11, 20, 22]] = still[[11, 9, 22, 20]]
    noise = rng.standard_normal(still.shape, dtype=np.float32)
    for planes in (still, noisy, uneven, np.clip(still, -0.5, 0.5), swapped, still[::3], noise):
        assert judged(seen(planes)) == Looked()


@pytest.mark.parametrize("px", [0.5, 1, 2])
def test_shifts_are_told_from_chance(still, px):
    found = judged(seen(jittered(still, 2, px)))
    assert found.is_off and found.degree == 0
    # Neighbours are sqrt(2) as far off along each axis; a distance's median is 1.18 times that.
    assert found.off_px == pytest.approx(1.18 * np.sqrt(2) * px, rel=0.5)


@pytest.mark.parametrize("strength", [0.6, 1, 2])
def test_curtains_are_told_from_tissue(still, strength):
    assert judged(seen(curtained(still, 3, strength))).stripes == "columns"
    assert judged(seen(curtained(still, 3, strength, 0))).stripes == "rows"
    assert judged(seen(curtained(curtained(still, 3, strength), 4, strength, 0))).stripes == "both"


def test_structures_along_one_direction_are_no_curtains():
    rng = np.random.default_rng(5)
    for seed in range(2):
        drawn = gaussian_filter(np.random.default_rng(seed).standard_normal((120, *SHAPE)), (3, 9, 1.5), mode="wrap")
        planes = (drawn / drawn.std() + 0.2 * rng.standard_normal(drawn.shape)).astype(np.float32)
        assert judged(seen(planes)).stripes == "none"


def test_turns_are_told_from_shifts(still):
    found = judged(seen(turned(still, 3, 1.0)))
    assert found.is_off and found.degree in (1, 3) and found.off_px > 0.3


@pytest.mark.parametrize("px", [0.7, 1.5])
def test_planes_laid_each_on_the_one_before_drift_and_are_off(still, px):
    places = np.cumsum(np.random.default_rng(8).normal(0, px, (len(still), 2)), axis=0)
    walked = [shift(plane, at, order=1, mode="wrap") for plane, at in zip(still, places, strict=True)]
    assert judged(seen(np.stack(walked))).is_off


@pytest.mark.parametrize("px", [0.5, 1, 2])
def test_structures_that_run_askew_or_widen_are_tissue(still, px):
    """Each plane is as far off the last one as that is off the one before: nothing was moved."""
    askew = np.stack([shift(plane, (0, px * i), order=1, mode="wrap") for i, plane in enumerate(still)])
    assert judged(seen(askew)) == Looked()
    middle = (np.array(SHAPE) - 1) / 2
    wider = []
    for i, plane in enumerate(still):
        factor = 1 - px * 0.004 * (i - len(still) / 2)
        wider.append(affine_transform(plane, np.eye(2) * factor, middle * (1 - factor), order=1, mode="wrap"))
    assert not judged(seen(np.stack(wider))).is_off


@pytest.mark.parametrize("strength", [0.2, 0.5])
def test_light_that_changes(still, strength):
    assert judged(seen(shaded(still, 4, strength))) == Looked(light="changes")


def test_light_that_stays(still):
    light = 3 * np.linspace(-1, 1, SHAPE[1], dtype=np.float32) ** 2
    assert judged(seen(still + light)) == Looked(light="stays")


def test_few_pairs_tell_nothing(still):
    pairs = seen(jittered(still, 5, 2), LEAST_PAIRS)
    assert judged(pairs).is_off and judged(pairs[:-1]) == Looked() and judged([]) == Looked()


def test_planes_without_texture_tell_nothing(still):
    for planes in (np.full_like(still, 3), np.full_like(still, np.nan)):
        assert judged(seen(planes, 8)) == Looked()


def test_the_reach_grows_with_the_distance_and_fits_the_plane():
    assert reach_px(SHAPE, 0.5) == 8
    assert 8 < reach_px((2000, 1000), 5) < reach_px((2000, 1000), 10) <= reach_px((2000, 1000), 1e9) == 250


@pytest.mark.parametrize("name", [name for name in SERIES if "noise" in name or "thick" in name or "torn" in name])
def test_thresholds_judge_as_they_did_when_chosen(name):
    """The series that no other test here has."""
    assert next(sort for sort in sorts() if sort.name == name).row(range(100, 101))["holds"]


def test_runs_on_a_device(still):
    planes = jittered(still[:3], 6, 1)
    expected = look(planes[0], planes[1], planes[2], [planes[2], None])
    with shim.installed():
        device = Device(0, "cuda:0: emulated", 1 << 30)
        with on(device):
            on_device = [to_device(plane, device) for plane in planes]
            found = look(on_device[0], on_device[1], on_device[2], [on_device[2], None])
    for name in ("shifts_px", "gains", "lengths_px", "alike", "coarse", "fine"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-3)
    assert len(found.gains) == len(DEGREES)
