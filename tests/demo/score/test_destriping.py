"""What destriping leaves and harms is measured as it was put in, over tissue and where the background is gone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec, Truth
from gpustitch.demo.score.brain import Figure
from gpustitch.demo.score.destriping import (
    BACKGROUND,
    KEPT,
    NONE,
    PRECISION,
    RECALL,
    STRIPES,
    TISSUE,
    TUNED,
    KnownFrames,
    background_left,
    known_frames,
    measure_destriping,
    stripes_left,
    tissue_error,
)
from gpustitch.demo.score.errors import row_profile
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.wavelet import WaveletOptions

SPEC = PhantomSpec(grid=(1, 1, 1), n_frames=60, n_rows=112, n_columns=72)


def frames_of(seed: int, *, tissue: float = 1000.0, strength: float = 0.07) -> KnownFrames:
    """Two frames of tissue with a bright square for a cell; stripes differ from frame to frame and along the rows."""
    rng = np.random.default_rng(seed)
    shape = (2, 64, 150)
    texture = 1 + 0.1 * np.sin(np.arange(150) / 9 + rng.uniform(0, 6))
    cells = np.zeros(shape, np.float32)
    cells[:, 20:26, 70:76] = 3000
    calm = cells == 0
    gain = 1 + strength * rng.normal(size=(2, 64, 1)) * np.repeat(rng.uniform(0.5, 1, (2, 1, 3)), 50, axis=2)
    ideal = (tissue * texture + cells).astype(np.float32)
    return KnownFrames(ideal, cells, calm, gain.astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(-0.8, 1.5), is_alone=st.booleans(), level=st.sampled_from([0, 90]))
def test_stripes_are_measured_by_the_share_that_is_left(seed: int, share: float, is_alone: bool, level: int) -> None:
    known = frames_of(seed)
    left = share * known.ideal * (known.gain - 1)
    image = (known.cells + level if is_alone else known.ideal) + left
    found = stripes_left(image.astype(np.float32), known, is_alone=is_alone)
    assert found.made > 20
    assert found.left == pytest.approx(abs(share) * found.made, abs=0.05)


def test_an_image_without_background_has_stripes_to_be_measured_in_counts() -> None:
    """A logarithm knows nothing of it: no row has a count to compare."""
    known = frames_of(1)
    _, rows = row_profile(known.cells[:1], known.ideal[:1], known.calm[:1])
    assert not rows.any()
    assert stripes_left(known.cells, known, is_alone=True).left == 0
    striped = known.cells + 0.1 * known.ideal * known.gain
    found = stripes_left(striped, known, is_alone=True)
    assert found.left == pytest.approx(0.1 * found.made, rel=0.01)


def test_stripes_that_are_not_calm_tissue_are_unknown() -> None:
    known = replace(frames_of(1), calm=np.zeros((2, 64, 150), np.bool_))
    assert math.isnan(stripes_left(known.ideal, known).left)
    assert math.isnan(tissue_error(known.ideal, known))
    assert math.isnan(background_left(known.ideal, known).median)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), error=st.floats(-0.5, 0.5), noise=st.sampled_from([0, 40]))
def test_tissue_error_is_that_of_the_mean_of_some_pixels(seed: int, error: float, noise: float) -> None:
    known = frames_of(seed)
    image = known.ideal * (1 + error) + np.random.default_rng(seed).normal(scale=noise, size=known.ideal.shape)
    image[~known.calm] = 0
    expected = math.hypot(error, noise / 1000 / math.sqrt(27))
    assert tissue_error(image.astype(np.float32), known) == pytest.approx(expected, rel=0.02, abs=0.001)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), level=st.floats(1, 400), zeros=st.floats(0, 0.4))
def test_background_is_what_is_left_beside_cells(seed: int, level: float, zeros: float) -> None:
    known = frames_of(seed)
    image = known.cells + np.float32(level)
    empty = np.random.default_rng(seed).permutation(image.size).reshape(image.shape) < zeros * image.size
    image[empty] = 0
    found = background_left(image, known)
    assert found.median == pytest.approx(level, rel=1e-3)
    assert found.zeros == pytest.approx(zeros, abs=0.005)
    assert found.spread == pytest.approx(level * math.sqrt(zeros * (1 - zeros)), abs=0.02 * level)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_phantom(tmp_path_factory.mktemp("phantom") / "p", SPEC)


@pytest.fixture(scope="module")
def judged(truth: Truth) -> dict[str, dict[str, Figure]]:
    flat, dark = truth.spec.flat(), truth.spec.sensor.dark
    harsh = WaveletOptions(500, 500, wavelet="db5")
    corrections = {
        NONE: Correction("none", flat=flat, dark=dark),
        TUNED: Correction("wavelet", harsh, flat=flat, dark=dark),
        "harsh": Correction("wavelet", harsh, flat=flat, dark=dark),
        "forgotten": Correction("none", flat=flat),
        "lightsheet": Correction("lightsheet", flat=flat),
    }
    figures = measure_destriping(truth, corrections)
    assert list(figures) == list(corrections)
    return {name: {figure.name: figure for figure in part} for name, part in figures.items()}


def test_the_truth_of_frames_is_what_the_camera_saw_without_stripes(truth: Truth) -> None:
    known = known_frames(truth, truth.tiles[0], truth.scene(), np.array([10, 30]))
    assert known.ideal.shape == known.cells.shape == known.calm.shape == known.gain.shape == (2, 112, 72)
    assert 0.2 < known.calm.mean() < 0.9
    assert known.cells[known.calm].mean() < 0.01 * known.ideal[known.calm].mean()
    assert (known.ideal - known.cells >= truth.scene().empty - 0.01).all()
    assert known.cells.max() > 1000


def test_no_destriping_leaves_all_stripes_and_has_no_target(judged: dict[str, dict[str, Figure]]) -> None:
    none = judged[NONE]
    assert all(figure.passed is None and not figure.target for figure in none.values())
    assert 0.07 * 1100 * 0.5 < none[STRIPES].value < 0.07 * 1100 * 1.5
    assert none[TISSUE].value > 4
    assert none[KEPT].value == pytest.approx(100, abs=6)


def test_a_harsh_filter_is_seen_by_the_cells(judged: dict[str, dict[str, Figure]]) -> None:
    assert judged["harsh"][STRIPES].passed is True
    assert judged["harsh"][KEPT].passed is False
    assert all(figure.passed is None for figure in judged[TUNED].values())
    assert judged[TUNED][KEPT].value == judged["harsh"][KEPT].value


def test_stripes_and_an_offset_that_stay_miss_their_targets(judged: dict[str, dict[str, Figure]]) -> None:
    assert judged["forgotten"][STRIPES].passed is False
    assert judged["forgotten"][TISSUE].passed is False
    assert judged["forgotten"][TISSUE].value > judged[NONE][TISSUE].value


def test_a_method_that_removes_the_background_is_judged_by_cells_alone(judged: dict[str, dict[str, Figure]]) -> None:
    alone = judged["lightsheet"]
    assert TISSUE not in alone
    assert BACKGROUND not in judged["harsh"]
    assert 0 <= alone[BACKGROUND].value < 150
    assert alone[STRIPES].passed and alone[RECALL].passed and alone[PRECISION].passed and alone[KEPT].passed


def test_cells_of_a_striped_tile_are_all_found(judged: dict[str, dict[str, Figure]]) -> None:
    assert judged[NONE][RECALL].value == 100
    assert judged[NONE][PRECISION].value == 100
