from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import peak_local_max

from gpustitch.errors import ParameterError
from gpustitch.model import Spacing
from gpustitch.oblique.align.blobs import MARGIN_PX, find_blobs, local_maxima
from gpustitch.ops.smooth import smoothing_error
from tests.paths import DATA

SPACING = Spacing(1.8 / np.sqrt(2), 1.8, 1.8 / np.sqrt(2))


def deobliqued(frames: np.ndarray) -> np.ndarray:
    n, rows, columns = frames.shape
    volume = np.zeros((columns, rows, n + columns - 1), frames.dtype)
    for z in range(columns):
        volume[z, :, z : z + n] = frames[:, :, z].T
    return volume


def test_reproduces_the_reference_program() -> None:
    golden = np.load(DATA / "find_blobs.npz")
    volume = deobliqued(np.load(DATA / "align_pair.npz")["frames_a"])[4:54, 4:68, 40:104]
    positions, contrast = find_blobs(volume, SPACING)
    found = {tuple(p): c for p, c in zip((positions + [4, 4, 40]).tolist(), contrast.tolist(), strict=True)}
    expected = {tuple(p): c for p, c in zip(golden["coords_zyx"].tolist(), golden["dog"].tolist(), strict=True)}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[k] for k in expected], list(expected.values()), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("radius", [1.0, 2.0, 4.0])
def test_are_the_maxima_within_a_ball(radius: float) -> None:
    volume = np.random.default_rng(3).integers(0, 5000, (24, 21, 26)).astype(np.uint16)
    sigma = [radius / um for um in SPACING.zyx_um]
    narrow, wide = (ndimage.gaussian_filter(volume.astype(float), [f * s for s in sigma]) for f in (1, 3))
    reach = [int(np.ceil(s)) for s in sigma]
    grid = np.mgrid[tuple(slice(-r, r + 1) for r in reach)]
    ball = sum((g / s) ** 2 for g, s in zip(grid, sigma, strict=True)) <= 1
    rounding = (smoothing_error(sigma) + smoothing_error([3 * s for s in sigma])) * wide
    maxima = (ndimage.maximum_filter(narrow - wide, footprint=ball, mode="constant", cval=-1e9) == narrow - wide) & (
        narrow - wide > rounding
    )
    inside = np.zeros_like(maxima)
    inside[(slice(MARGIN_PX, -MARGIN_PX),) * 3] = True
    positions, contrast = find_blobs(volume, SPACING, radius_um=radius)
    np.testing.assert_array_equal(positions, np.argwhere(maxima & inside))
    assert (contrast > 0).all()


def test_a_single_blob_is_found_where_it_is() -> None:
    volume = np.zeros((31, 31, 31), np.float32)
    volume[12, 17, 20] = 1000
    positions, _ = find_blobs(ndimage.gaussian_filter(volume, 1.5), SPACING)
    assert positions.tolist() == [[12, 17, 20]]


def test_touching_equal_voxels_are_one_blob() -> None:
    volume = np.zeros((31, 31, 31), np.float32)
    volume[12, 17, 19:21] = 1000
    assert len(find_blobs(volume, SPACING)[0]) == 1


@pytest.mark.parametrize("volume", [np.zeros((20, 20, 20), np.uint16), np.full((9, 9, 9), 500), np.ones((1, 6, 9))])
def test_nothing_in_nothing(volume: np.ndarray) -> None:
    positions, contrast = find_blobs(volume, SPACING)
    assert positions.shape == (0, 3) and contrast.shape == (0,)


def test_bad_parameters() -> None:
    for wrong in ({"radius_um": 0}, {"radius_um": float("nan")}, {"surround": 1}):
        with pytest.raises(ParameterError):
            find_blobs(np.zeros((9, 9, 9)), SPACING, **wrong)


@pytest.mark.parametrize("seed", range(6))
def test_maxima_are_those_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    contrast = rng.normal(size=tuple(rng.integers(12, 26, 3))).astype(np.float32)
    radius = rng.uniform(1.0, 2.6, 3)
    reach = [int(np.ceil(r)) for r in radius]
    grid = np.meshgrid(*(np.arange(-n, n + 1) / r for n, r in zip(reach, radius, strict=True)), indexing="ij")
    footprint = sum(axis**2 for axis in grid) <= 1
    # A distance of 1 leaves out neighbours of equal height alone: there are none here.
    expected = peak_local_max(
        contrast, min_distance=1, footprint=footprint, threshold_abs=0.3, exclude_border=MARGIN_PX
    )
    found = local_maxima(contrast, np.full_like(contrast, 0.3), radius)
    assert len(found) > 0
    assert set(map(tuple, found.tolist())) == set(map(tuple, expected.tolist()))
