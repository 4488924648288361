"""Tests of what windows far apart along the rows are alike by."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.oblique.destripe.guarded_notch.choice import choose_notch
from gpustitch.oblique.destripe.guarded_notch.evidence import Windows
from gpustitch.oblique.destripe.guarded_notch.far_apart import FarApart, far_apart
from tests.oblique.destripe.guarded_notch.test_choice import OPEN
from tests.oblique.destripe.scenes import SceneSpec, Vessels, scene, score, with_vessels


def grids(values):
    """One level of one frame."""
    return [[(np.asarray(values, np.float32)[None], np.ones((1, *values.shape), np.float32))]]


def compared(values, apart=3):
    return far_apart(grids(values), apart, [10.0], np.array([10.0]))


def test_all_pairs_far_apart_count_once():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(40, 9)).astype(np.float32).astype(np.float64)
    apart_by = [[values[:, i] * values[:, j] for i in range(9) for j in range(i + n, 9)] for n in (3, 4)]
    far = compared(values)
    assert far.rows[0] == pytest.approx(np.mean(apart_by[0]), rel=1e-5)
    assert far.half[0] == pytest.approx(np.mean(apart_by[1]), rel=1e-5)
    first = np.mean([values[:, 0] * values[:, j] for j in range(3, 9)])
    last = np.mean([values[:, 8] * values[:, j] for j in range(6)])
    assert far.to_end[0] == pytest.approx(max(first, last), rel=1e-5)


def test_rows_that_share_are_surely_alike_and_others_are_not():
    rng = np.random.default_rng(4)
    noise, rows = rng.normal(size=(200, 12)), rng.normal(size=(200, 1))
    assert compared(noise + 0.7 * rows).surely[0] > 4
    assert compared(noise).surely[0] < 2


def test_short_rows_say_nothing():
    far = compared(np.ones((20, 3)))
    assert far.surely[0] == 0 and not far.found(np.ones(1)).any()
    assert not far.denied(np.ones(1), np.full(1, 3.0)).any()


def apart(rows, surely, half=None, to_end=None):
    rows, error = np.array(rows, float), np.full(len(rows), 0.1)
    half, to_end = (rows if part is None else np.array(part, float) for part in (half, to_end))
    return FarApart(rows, error, np.array(surely, float), half, to_end, error)


def test_two_neighbouring_levels_must_be_sure_together():
    near = np.array([1.0, 1.0, 1.0, 1.0])
    assert apart([1, 1, 1, 1], [0, 3, 2.3, 0]).found(near).tolist() == [False, True, True, False]
    assert not apart([1, 1, 1, 1], [0, 6, 1.9, 0]).found(near).any()
    assert not apart([1, 1, 1, 1], [0, 2.5, 2.5, 0]).found(near).any()
    # A third one goes with them.
    assert apart([1, 1, 1, 1], [0, 3, 2.3, 2.1]).found(near).tolist() == [False, True, True, True]


def test_lines_that_neighbours_do_not_share_or_that_undulate_are_none():
    near = np.array([1.0, 1.0])
    assert apart([1, 1], [4, 4]).found(near).all()
    assert not apart([3, 3], [4, 4]).found(near).any()
    assert not apart([1, 1], [4, 4], half=[1.5, 1.5]).found(near).any()


def test_levels_whose_lines_do_not_go_on_are_denied():
    excess = np.full(4, 2.0)
    far = apart([0.1, 0.1, 0.1, 1], [0, 0, 3, 5], to_end=[0.1, 0.5, 0.5, 1])
    # Next to none goes on; sure neighbours are believed; far ones that are surely alike, too.
    assert far.denied(excess, np.full(4, 5.0)).tolist() == [True, False, False, False]
    assert far.denied(excess, np.full(4, 3.0)).tolist() == [True, True, False, False]


@pytest.mark.parametrize("seed", [261073, 301073])
def test_wide_stripes_are_found_though_tissue_is_as_wide(seed):
    spec = SceneSpec(rows=640, columns=512, amplitude=0.1, width=20, cells=250, bits=12, cell_counts=1500, seed=seed)
    frames = [scene(spec), scene(SceneSpec(**(vars(spec) | {"seed": spec.seed + 1})))]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    assert choice.notch is not None
    made = score(frames[0], choice.correction(OPEN).apply(frames[0].raw).astype(np.float32))
    assert made.error < 0.9 * score(frames[0], frames[0].raw.astype(np.float32) - 100).error


@pytest.mark.parametrize("seed", range(8))
def test_tissue_in_few_columns_holds_none(seed):
    frame = scene(
        SceneSpec(rows=(256, 320)[seed % 2], columns=256, amplitude=0, texture=(0.1, 0.4)[seed // 4], seed=seed)
    )
    assert not any(Windows([frame.raw], 100.0).likeness(5, "db5").going_on.strengths)


@pytest.mark.parametrize("seed", range(3))
def test_layers_shorter_than_rows_are_none(seed):
    rng = np.random.default_rng(seed)
    tissue = ndimage.gaussian_filter(rng.standard_normal((520, 520)), (4, 20))[100:-100, 100:-100]
    frame = rng.poisson(1000 * np.exp(0.2 * tissue / tissue.std())).astype(np.uint16)
    assert choose_notch([frame], OPEN).notch is None


@pytest.mark.parametrize("seed", range(3))
def test_stripes_that_begin_in_the_frame_go_on_to_its_end(seed):
    spec = SceneSpec(amplitude=0.2, partial=True, dense=bool(seed % 2), seed=40 + seed)
    near = Windows([scene(spec).raw], 100.0).likeness(5, "db5")
    assert any(near.strengths) and near.going_on.strengths == near.strengths


def test_few_vessels_in_few_columns_are_denied():
    spec, vessels = SceneSpec(rows=384, columns=256, amplitude=0), Vessels(count=12, lengths_px=(60, 110), width=4)
    found = denied = 0
    for seed in range(6):
        frame = with_vessels(SceneSpec(**(vars(spec) | {"seed": 70 + seed})), vessels)
        near = Windows([frame.raw], 100.0).likeness(5, "db5")
        found, denied = found + any(near.strengths), denied + (any(near.strengths) and not any(near.going_on.strengths))
    assert found >= 3 and denied >= 2 * found / 3


def test_one_level_must_be_seen_far_apart():
    far = apart([1, 1], [1.9, 2.1])
    assert far.is_seen(np.array([False, True])) and far.is_seen(np.array([False, False]))
    assert not far.is_seen(np.array([True, False]))
    assert compared(np.ones((20, 3))).is_seen(np.array([True]))


@pytest.mark.parametrize(("columns", "said"), [(128, True), (256, False)])
def test_frames_that_cannot_tell_vessels_are_warned_about(columns, said):
    frame = scene(SceneSpec(rows=256, columns=columns, amplitude=0.3, width=2, borders=False, cells=0, seed=1))
    choice = choose_notch([frame.raw], OPEN)
    assert choice.notch is not None
    assert any("too few columns" in caution for caution in choice.cautions) == said
