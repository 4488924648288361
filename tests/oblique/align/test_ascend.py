from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.errors import ParameterError
from gpustitch.oblique.align import ascend as module
from gpustitch.oblique.align.ascend import ascend, peak, peak_of_correlation
from gpustitch.ops.smooth import smooth
from tests.paths import DATA


def tissue(shape: tuple[int, ...], seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.random(shape).astype(np.float32), 2.0) * 1000


def deobliqued(frames: np.ndarray) -> np.ndarray:
    n, rows, columns = frames.shape
    volume = np.zeros((columns, rows, n + columns - 1), frames.dtype)
    for z in range(columns):
        volume[z, :, z : z + n] = frames[:, :, z].T
    return volume


def test_ends_where_the_reference_program_ends() -> None:
    """With windows smoothed by themselves, as there; the reference puts tile b 40 rows further and looks 10 around."""
    golden = np.load(DATA / "align_pair.npz")
    a, b = deobliqued(golden["frames_a"]), deobliqued(golden["frames_b"])
    sigma, pad, nominal = (1.8 * 2.5 / 1.8**2 * 2**0.5, 2.5 / 1.8, 1.8 * 2.5 / 1.8**2 * 2**0.5), 6, np.array([0, 40, 0])
    same = 0
    for point, (correlation, *end) in zip(golden["points_zyx"], golden["result_corr_zyx"], strict=True):
        fixed = smooth(a[tuple(slice(p - pad, p + pad + 1) for p in point)], sigma)
        low = np.maximum(point - nominal - pad - 11, 0)
        high = np.minimum(point - nominal + pad + 12, b.shape)
        moving = smooth(b[tuple(slice(i, j) for i, j in zip(low, high, strict=True))], sigma)
        summit = ascend([fixed], [moving], [tuple(point - nominal - pad - low)])[0]
        if ([*(summit.position + low + pad + nominal)] == end) and abs(summit.correlation - correlation) < 1e-5:
            same += 1
    assert same >= 0.95 * len(golden["points_zyx"])


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -1, 3), (-3, 3, -2)])
def test_climbs_to_the_place_cut_out(shift: tuple[int, int, int]) -> None:
    moving = tissue((31, 33, 35))
    fixed = moving[10:21, 11:22, 12:23]
    start = (10 + shift[0], 11 + shift[1], 12 + shift[2])
    summit = ascend([fixed], [moving], [start])[0]
    assert summit.settled and summit.position == (10, 11, 12)
    assert summit.correlation == pytest.approx(1, abs=1e-5)
    assert summit.around.max() == summit.correlation


def test_many_walks_are_each_as_alone() -> None:
    arrays = [tissue((30, 30, 30), seed) for seed in range(4)]
    fixed = [a[10:19, 10:19, 10:19] for a in arrays]
    starts = [(9, 9, 9), (10, 12, 10), (10, 10, 10), (8, 11, 9)]
    together = ascend(fixed, arrays, starts)
    for one, f, a, s in zip(together, fixed, arrays, starts, strict=True):
        alone = ascend([f], [a], [s])[0]
        assert one.position == alone.position
        np.testing.assert_array_equal(one.around, alone.around)


def test_no_correlation_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def counting(fixed: np.ndarray, moving: np.ndarray, wanted: np.ndarray, out: np.ndarray) -> None:
        computed.append(int(wanted.sum()))
        original(fixed, moving, wanted, out)

    original = module.pearson_shifts
    monkeypatch.setattr(module, "pearson_shifts", counting)
    moving = tissue((31, 33, 35))
    ascend([moving[10:21, 11:22, 12:23]], [moving], [(10, 11, 9)])
    assert computed[0] == 27 and len(computed) == 4
    assert max(computed[1:]) <= 19


def test_stops_unsettled_at_the_edge_of_the_array() -> None:
    moving = tissue((31, 33, 35))
    summit = ascend([moving[10:21, 11:22, 0:11]], [moving[:, :, 4:]], [(10, 11, 1)])[0]
    assert not summit.settled and summit.position[2] == 0
    nowhere = ascend([moving[:5, :5, :5]], [moving[:6, :6, :6]], [(0, 0, 0)])[0]
    assert not nowhere.settled and nowhere.correlation == 0


def test_flat_windows_stay_with_no_correlation() -> None:
    summit = ascend([np.full((5, 5, 5), 9, np.float32)], [np.zeros((9, 9, 9), np.float32)], [(2, 2, 2)])[0]
    assert summit.position == (2, 2, 2) and summit.correlation == 0
    assert peak(summit.around) == (0, 0, 0)


def test_gives_up_after_max_steps() -> None:
    moving = tissue((31, 33, 35))
    summit = ascend([moving[10:21, 11:22, 12:23]], [moving], [(10, 11, 8)], max_steps=1)[0]
    assert not summit.settled


def test_bad_parameters() -> None:
    a = np.zeros((9, 9, 9), np.float32)
    with pytest.raises(ParameterError):
        ascend([a[:3, :3, :3]], [a, a], [(1, 1, 1)])
    with pytest.raises(ParameterError):
        ascend([a[:3, :3, :3], a[:4, :3, :3]], [a, a], [(1, 1, 1)] * 2)


def test_peak_of_a_quadratic_is_exact() -> None:
    rng = np.random.default_rng(6)
    grid = np.stack(np.mgrid[-1:2, -1:2, -1:2], axis=-1)
    for _ in range(20):
        root = rng.normal(size=(3, 3))
        at = rng.uniform(-0.9, 0.9, 3)
        d = grid - at
        values = 0.9 - np.einsum("...i,ij,...j", d, root @ root.T + 0.1 * np.eye(3), d)
        np.testing.assert_allclose(peak(values), at, atol=1e-9)


@pytest.mark.parametrize("reach", [2.0, 4.0])
def test_the_peak_of_slanted_structures_is_exact(reach: float) -> None:
    """Round ones, seen along a sheet: along the frames they are slanted against the planes."""
    rng = np.random.default_rng(6)
    grid = np.stack(np.mgrid[-1:2, -1:2, -1:2], axis=-1)
    turn = np.array([[1.0, 0, 0], [0, 1, 0], [0.8, 0, 1]])
    for at in rng.uniform(-0.5, 0.5, (20, 3)):
        d = (grid - at) @ turn.T
        found = peak_of_correlation(np.exp(-0.5 * (d**2).sum(axis=-1) / reach**2))
        np.testing.assert_allclose(found.place, at, atol=1e-9)
        np.testing.assert_allclose(found.spread, np.linalg.inv(turn.T @ turn) * reach**2, rtol=1e-6, atol=1e-9)


def test_a_peak_that_is_flat_along_an_axis_reaches_far_along_it() -> None:
    z, y, x = np.mgrid[-1:2, -1:2, -1:2]
    found = peak_of_correlation(np.exp(-0.1 * (z**2 + (x - 0.3) ** 2)) + 0 * y)
    assert found.place == pytest.approx((0, 0, 0.3), abs=0.01) or found.place == (0, 0, 0)
    assert found.spread[1][1] > 100 * found.spread[0][0] > 0
    nothing = peak_of_correlation(np.zeros((3, 3, 3)))
    assert nothing.place == (0, 0, 0) and nothing.spread[0][0] > 1000
    assert min(nothing.beyond) > 30 and found.beyond[1] > 30


def test_a_peak_further_than_a_voxel_away_is_known_to_be_so() -> None:
    z, y, x = np.mgrid[-1:2, -1:2, -1:2]
    far = peak_of_correlation(np.exp(-0.1 * (z**2 + y**2) - 0.001 * (x - 6) ** 2))
    near = peak_of_correlation(np.exp(-0.1 * (z**2 + y**2) - 0.001 * (x - 0.6) ** 2))
    assert far.place == pytest.approx((0, 0, 1)) and far.beyond == pytest.approx((0, 0, 5), abs=1e-6)
    assert near.place == pytest.approx((0, 0, 0.6)) and near.beyond == (0, 0, 0)


def test_no_peak_without_a_maximum() -> None:
    assert peak(np.zeros((3, 3, 3))) == (0, 0, 0)
    assert peak(np.full((3, 3, 3), np.nan)) == (0, 0, 0)
    z, y, x = np.mgrid[-1:2, -1:2, -1:2]
    assert peak(z**2 - y**2 - x**2) == (0, 0, 0)
    assert np.abs(peak(100 * z - z**2 - y**2 - x**2)).max() == 1


@pytest.mark.parametrize("shift", [(0.0, 0.25, 0.5), (-0.4, 0.1, 0.33), (0.5, -0.5, 0.5)])
def test_is_right_to_a_tenth_of_a_voxel(shift: tuple[float, float, float]) -> None:
    """Cells sampled on two grids a fraction of a voxel apart, with shot noise."""
    rng = np.random.default_rng(7)
    n, inside = 47, (slice(12, -12),) * 3
    cells = [(rng.uniform(0, n, 3), rng.uniform(200, 800), rng.uniform(1.5, 3)) for _ in range(50)]
    images = []
    for moved in (np.zeros(3), np.array(shift)):
        image = np.full((n, n, n), 200.0)
        for place, amplitude, width in cells:
            z, y, x = (np.exp(-0.5 * ((np.arange(n) - p) / width) ** 2) for p in place + moved)
            image += amplitude * z[:, None, None] * y[:, None] * x
        images.append(smooth(rng.poisson(image).astype(np.uint16), (1.96, 1.39, 1.96)))
    summit = ascend([images[0][inside]], [images[1]], [(12, 12, 12)])[0]
    found = np.array(summit.position) - 12 + peak(summit.around)
    np.testing.assert_allclose(found, shift, atol=0.1)
