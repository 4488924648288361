"""The filter that frames choose: on scenes that nothing was tuned on, against the truth."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from gpustitch.errors import ParameterError
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.choice import check_open, choose_notch
from gpustitch.oblique.destripe.guarded_notch.notch import Notch
from gpustitch.oblique.destripe.guarded_notch.trials import Trial, mildest
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.oblique.destripe.scenes import (
    SceneSpec,
    Vessels,
    faded,
    leaning,
    scene,
    score,
    streaked,
    with_vessels,
)

pytestmark = pytest.mark.long

OPEN = Correction("wavelet", WaveletOptions(wavelet="db5"), dark=100.0)
# What the pipeline did by default before frames chose.
FORMER = Correction("wavelet", WaveletOptions(128, 512, wavelet="db5"), dark=100.0, dtype="float32")
N_FRAMES = 2

S = SceneSpec
SCENES = {
    "narrow and faint": S(rows=256, amplitude=0.05, width=1),
    "medium": S(rows=256),
    "strong": S(rows=256, columns=400, amplitude=0.4, width=3),
    "wide": S(rows=512, columns=320, amplitude=0.4, width=10),
    "behind something": S(rows=256, columns=768, partial=True),
    "narrow shadows": S(rows=256, columns=320, amplitude=0.4, dense=False),
    "few wide shadows": S(rows=768, columns=320, amplitude=0.3, width=12, dense=False),
    "shadows behind something": S(columns=640, amplitude=0.4, width=5, dense=False, partial=True),
    "dense cells": S(rows=256, cells=250),
    "few bright cells": S(rows=256, cells=12, cell_counts=15000),
    "saturated": S(rows=256, bits=12, cell_counts=6000),
    "padding": S(rows=300, padding=30),
    "dim": S(rows=256, level=150, cell_counts=400),
    "odd sizes": S(rows=301, columns=419),
}


@pytest.mark.parametrize("name", SCENES)
def test_stripes_go_and_nothing_else(name):
    spec = SCENES[name]
    frames = [scene(replace(spec, seed=700 + i)) for i in range(N_FRAMES)]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    chosen = replace(choice.correction(OPEN), dtype="float32")
    frame = frames[0]
    none = score(frame, frame.raw.astype(np.float32) - 100)
    former, made = score(frame, FORMER.apply(frame.raw)), score(frame, chosen.apply(frame.raw))
    assert made.error < none.error
    assert made.error <= 0.65 * former.error
    assert made.energy <= 0.1 * none.energy
    assert math.isnan(made.kept) or abs(made.kept - 100) < 3
    assert math.isnan(made.halo) or abs(made.halo) < 1.5
    assert choice.notch is not None and choice.notch.shadows == (not spec.dense)


@pytest.mark.parametrize("seed", range(4))
def test_a_few_deep_shadows_among_stripes_of_both_kinds_leave_no_bright_ones(seed):
    of = scene(S(rows=256, columns=320, amplitude=0.2, cells=20, seed=720 + seed))
    rows = np.random.default_rng(seed).choice(256, 3, replace=False)
    deep = np.exp(-0.8 * np.exp(-((np.arange(256)[:, None] - rows) ** 2) / 6).sum(axis=1))[:, None]
    raw = np.rint((of.raw - 100.0) * deep + 100).astype(np.uint16)
    choice = choose_notch([raw], OPEN)
    assert choice.notch is not None and not choice.notch.shadows
    made = choice.correction(replace(OPEN, dtype="float32")).apply(raw)
    factor = made / np.maximum(raw - 100.0, 1)
    bright = (of.gain[:, 0] > 1.08) & (deep[:, 0] > 0.99)
    assert bright.sum() > 5 and np.median(factor[bright]) < 0.95


@pytest.mark.parametrize(("rows", "columns"), [(512, 128), (384, 256)])
def test_narrow_frames_lose_stripes_and_little_tissue(rows, columns):
    frames = [scene(S(rows=rows, columns=columns, seed=700 + i)) for i in range(N_FRAMES)]
    chosen = replace(choose_notch([frame.raw for frame in frames], OPEN).correction(OPEN), dtype="float32")
    made = [score(frame, chosen.apply(frame.raw)) for frame in frames]
    none = [score(frame, frame.raw.astype(np.float32) - 100) for frame in frames]
    former = [score(frame, FORMER.apply(frame.raw)) for frame in frames]
    assert all(m.error < 0.7 * n.error and m.energy <= 0.1 * n.energy for m, n in zip(made, none, strict=True))
    assert np.mean([m.error for m in made]) <= 0.65 * np.mean([f.error for f in former])


@pytest.mark.parametrize(
    "spec",
    [
        S(rows=768, width=2, amplitude=0.05, cells=250),
        S(rows=768, width=2, amplitude=0.1, cells=250, dense=False, partial=True),
        S(rows=384, width=2, dense=False),
        S(rows=384, width=1, amplitude=0.4, dense=False, partial=True),
        S(rows=384, width=14, amplitude=0.4),
    ],
)
def test_where_few_columns_hardly_tell_no_more_is_changed_than_by_stripes(spec):
    frames = [scene(replace(spec, columns=128, seed=4126 + i)) for i in range(3)]
    chosen = replace(choose_notch([frame.raw for frame in frames], OPEN).correction(OPEN), dtype="float32")
    made = np.mean([score(frame, chosen.apply(frame.raw)).error for frame in frames])
    none = np.mean([score(frame, frame.raw.astype(np.float32) - 100).error for frame in frames])
    assert chosen.method == "none" or made < none


def test_of_notches_the_mildest_is_taken_that_spares_the_tissue():
    long, short = Notch(2048.0, 4, "db5"), Notch(256.0, 4, "db5")
    better, alike, harsh = Trial(short, 0.01, 0.03), Trial(long, 0.011, 0.03), Trial(short, 0.0, 0.06)
    assert mildest([better, alike], 0.03**2) == long
    assert mildest([better, Trial(long, 0.02, 0.03)], 0.03**2) == short
    assert mildest([alike, harsh], 0.03**2) == long
    assert mildest([harsh], 0.03**2) is None and mildest([], 0.03**2) is None
    # One for shadows comes first, unless it has to be far shorter than the others.
    for length, expected in ((1024.0, True), (512.0, False)):
        shadows = Notch(length, 4, "db5", shadows=True)
        assert mildest([alike, Trial(shadows, 0.011, 0.03)], 0.03**2) == (shadows if expected else long)


@pytest.mark.parametrize(
    "spec",
    [
        S(rows=640, width=8, dense=False, cells=12, seed=280666),
        S(rows=640, columns=2048, width=14, amplitude=0.4, dense=False, seed=281147),
    ],
)
def test_shadows_are_seen_as_such_though_coarse_levels_are_tissue(spec):
    chosen, none, made = _before_and_after(spec)
    assert chosen.notch is not None and chosen.notch.shadows
    assert made.energy < 0.1 * none.energy and made.error < 0.7 * none.error


FAINT = S(amplitude=0.05, partial=True, dense=False, level=300, cell_counts=2000)
FAINT_SIZES = [(384, 2048, 1, 261036), (384, 2048, 1, 301036), (384, 1024, 2, 400030)]


@pytest.mark.parametrize(("rows", "columns", "width", "seed"), FAINT_SIZES)
def test_faint_narrow_shadows_cost_less_than_they_do(rows, columns, width, seed):
    spec = replace(FAINT, rows=rows, columns=columns, width=width, seed=seed)
    _, none, made = _before_and_after(spec)
    assert made.error < none.error


def _before_and_after(spec):
    """The choice for two frames, and the score of the first without and with it."""
    frames = [scene(replace(spec, seed=spec.seed + i)) for i in range(2)]
    chosen = choose_notch([frame.raw for frame in frames], OPEN)
    made = replace(chosen.correction(OPEN), dtype="float32").apply(frames[0].raw)
    return chosen, score(frames[0], frames[0].raw.astype(np.float32) - 100), score(frames[0], made)


@pytest.mark.parametrize("seed", range(3))
def test_where_there_are_no_stripes_nothing_changes(seed):
    frames = [scene(S(rows=256, columns=320, amplitude=0, seed=800 + 10 * seed + i)).raw for i in range(3)]
    choice = choose_notch(frames, OPEN)
    assert choice.notch is None
    assert "no stripes" in choice.lines[0]
    corrected = choice.correction(replace(OPEN, dark=0.0)).apply(frames[0])
    assert np.array_equal(corrected, frames[0])


def test_a_bright_row_that_may_be_tissue_is_kept_and_said():
    frame = np.random.default_rng(0).poisson(500, (256, 320)).astype(np.uint16)
    even = choose_notch([np.full_like(frame, 500)], OPEN)
    frame[100] = 5000
    choice = choose_notch([frame], OPEN)
    assert choice.notch is even.notch is None
    assert choice.stripes > 0.05 and f"may be ({100 * choice.stripes:.2f} %)" in choice.lines[0]
    assert "give `notch_length_px`, such as" in choice.lines[0]
    assert "may be" not in even.lines[0] and "notch_length_px" not in even.lines[0]


VESSELS = {
    "dark": Vessels(),
    "bright": Vessels(bright=True),
    "short": Vessels(count=60, lengths_px=(60, 120)),
    "thin": Vessels(count=40, width=2),
    "at some angles": Vessels(tilt_deg=2),
}


@pytest.mark.parametrize("name", VESSELS)
def test_vessels_along_the_rows_are_left_and_said(name):
    frames = [with_vessels(S(rows=512, amplitude=0, seed=60 + i), VESSELS[name]) for i in range(3)]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    assert choice.lines_along.ending > 0.02 and choice.record["lines_end"]
    assert "vessels" in choice.cautions[0] and "`notch_length_px`" in choice.cautions[0]
    chosen = choice.correction(replace(OPEN, dtype="float32"))
    made = [score(frame, chosen.apply(frame.raw)).error for frame in frames]
    taken = replace(OPEN, dtype="float32", wavelet=replace(OPEN.wavelet, notch_length_px=256.0, level=5))
    harmed = [score(frame, taken.apply(frame.raw)).error for frame in frames]
    assert np.mean(made) < min(2, 0.2 * np.mean(harmed))
    assert choice.notch is not None or "no stripes" in choice.lines[0]


def test_stripes_among_vessels_go_and_vessels_stay():
    spec = S(rows=512, columns=1024, amplitude=0.1)
    frames = [with_vessels(replace(spec, seed=60 + i), Vessels()) for i in range(3)]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    assert choice.lines_along.ending and choice.notch is not None and choice.notch.length_px > spec.columns
    made = score(frames[0], choice.correction(replace(OPEN, dtype="float32")).apply(frames[0].raw))
    none = score(frames[0], frames[0].raw.astype(np.float32) - 100)
    assert made.energy < 0.25 * none.energy and made.error < none.error


STRIPED_VESSELS = {
    "dark": (S(columns=1024, amplitude=0.2, width=1.5), Vessels(count=40)),
    "bright": (S(columns=1024, amplitude=0.2, width=5), Vessels(count=40, bright=True)),
    "wide": (S(columns=1024, amplitude=0.4, width=1.5), Vessels(count=24, width=10)),
    "at some angles": (S(amplitude=0.4, width=8), Vessels(tilt_deg=1.5)),
    "short": (S(columns=1024, amplitude=0.2, width=3), Vessels(count=120, lengths_px=(60, 120))),
    "long": (S(columns=1024, amplitude=0.1, width=5, dense=False), Vessels(count=10, lengths_px=(560, 970))),
    "among partial shadows": (S(columns=1024, amplitude=0.4, width=8, partial=True), Vessels(count=120)),
}


@pytest.mark.parametrize("name", STRIPED_VESSELS)
def test_vessels_among_strong_stripes_are_kept_and_said(name):
    spec, vessels = STRIPED_VESSELS[name]
    frames = [with_vessels(replace(spec, seed=60 + i), vessels) for i in range(2)]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    assert choice.lines_along.ending > 0.03 and "left as they are" in choice.cautions[0]
    chosen = choice.correction(replace(OPEN, dtype="float32"))
    made = np.mean([score(frame, chosen.apply(frame.raw)).error for frame in frames])
    none = np.mean([score(frame, frame.raw.astype(np.float32) - 100).error for frame in frames])
    assert made < none if choice.notch is not None else choice.correction(OPEN).method == "none"


@pytest.mark.parametrize("columns", [512, 1024])
@pytest.mark.parametrize("width", [1, 2, 8])
def test_shadows_that_begin_within_the_frame_are_no_vessels(columns, width):
    spec = S(columns=columns, partial=True, amplitude=0.4, width=width)
    for dense in (True, False):
        frames = [scene(replace(spec, dense=dense, seed=60 + i)).raw for i in range(2)]
        choice = choose_notch(frames, OPEN)
        assert choice.notch is not None and not choice.lines_along.ending and not choice.cautions


@pytest.mark.parametrize(("columns", "width", "amplitude"), [(512, 5, 0.2), (1024, 2, 0.1)])
@pytest.mark.parametrize("at_ends", [0.1, 0.3])
def test_stripes_of_a_sheet_in_focus_in_the_middle_are_no_vessels(columns, width, amplitude, at_ends):
    profile = at_ends + (1 - at_ends) * np.exp(-0.5 * (np.linspace(-1, 1, columns) / 0.4) ** 2)
    spec = S(rows=384, columns=columns, width=width, amplitude=amplitude)
    frames = [faded(replace(spec, seed=80 + i), profile) for i in range(N_FRAMES)]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    assert choice.notch is not None and not choice.cautions
    made = score(frames[0], choice.correction(replace(OPEN, dtype="float32")).apply(frames[0].raw))
    none = score(frames[0], frames[0].raw.astype(np.float32) - 100)
    assert made.error < 0.9 * none.error and made.energy < 0.25 * none.energy


@pytest.mark.parametrize("seed", [40, 60])
def test_streaks_that_end_are_taken_and_said(seed):
    frame = streaked(S(rows=384, columns=1024, amplitude=0.2, width=3, seed=seed), 400.0)
    choice = choose_notch([frame.raw], OPEN)
    assert choice.notch is not None and choice.lines_along.streaks > 0.04 and choice.record["streaks"] > 0.04
    assert "end within the frames" in choice.cautions[0] and "they are removed" in choice.cautions[0]
    made = score(frame, choice.correction(replace(OPEN, dtype="float32")).apply(frame.raw))
    none = score(frame, frame.raw.astype(np.float32) - 100)
    assert made.error < 0.75 * none.error and made.energy < 0.25 * none.energy and abs(made.kept - 100) < 3


@pytest.mark.parametrize("dark_and_bright", [(12, 12), (25, 25)])
def test_few_vessels_of_both_kinds_are_no_streaks(dark_and_bright):
    dark, bright = dark_and_bright
    spec = S(rows=512, amplitude=0, seed=70)
    of_dark = with_vessels(spec, Vessels(count=dark, lengths_px=(120, 300), width=3))
    of_bright = with_vessels(replace(spec, seed=71), Vessels(count=bright, lengths_px=(120, 300), width=3, bright=True))
    both = of_dark.ideal * of_bright.ideal / scene(replace(spec, seed=71)).ideal
    raw = np.random.default_rng(0).poisson(np.maximum(both, 0)) + 100
    choice = choose_notch([raw.astype(np.uint16)], OPEN)
    assert choice.notch is None and not choice.lines_along.streaks and choice.lines_along.ending


@pytest.mark.parametrize("seed", range(2))
def test_vessels_in_narrow_frames_are_left_and_said(seed):
    vessels = Vessels(count=22, lengths_px=(100, 240), width=4, depth=0.5)
    frames = [
        with_vessels(S(rows=384, columns=256, amplitude=0, seed=64 + 9 * seed + i), vessels).raw for i in range(4)
    ]
    choice = choose_notch(frames, OPEN)
    assert choice.notch is None and choice.lines_along.ending > 0.03 and "vessels" in choice.cautions[0]


def test_bright_lines_that_are_taken_are_said():
    rng = np.random.default_rng(5)
    rows = np.zeros((512, 1))
    rows[rng.choice(512, 25, replace=False)] = 0.3
    base = scene(S(rows=512, amplitude=0, cells=12, texture=0.1, borders=False, seed=72))
    raw = rng.poisson(base.ideal * np.exp(rows)).astype(np.uint16) + np.uint16(100)
    choice = choose_notch([raw], OPEN)
    assert choice.notch is not None and choice.lines_along.bright > 0.03 and choice.record["bright"] > 0.03
    assert "bright among dark" in choice.cautions[0]


@pytest.mark.parametrize(("width", "aspect"), [(2, 6), (4, 3), (4, 6), (8, 3)])
@pytest.mark.parametrize("seed", range(2))
def test_tissue_in_short_layers_along_the_rows_is_left(width, aspect, seed):
    noise = np.random.default_rng(seed).normal(size=(520, 712))
    layers = ndimage.gaussian_filter(noise, (width, aspect * width))[100:-100, 100:-100]
    light = 900 * np.exp(0.2 * layers / layers.std())
    choice = choose_notch([np.random.default_rng(seed).poisson(light + 100).astype(np.uint16)], OPEN)
    assert choice.notch is None and not choice.lines_along.streaks


@pytest.mark.parametrize("degrees", [-1.0, 0.5, 2.0])
def test_stripes_that_lean_are_no_vessels(degrees):
    frames = [leaning(S(rows=384, columns=1024, seed=50 + i), degrees) for i in range(2)]
    choice = choose_notch([frame.raw for frame in frames], OPEN)
    assert not choice.lines_along.ending and choice.notch is not None
    assert choice.lines_along.lean_deg == pytest.approx(degrees, abs=0.1)
    side = "counter-clockwise" if degrees > 0 else "clockwise"
    assert f"{abs(degrees):.1f} degrees {side}" in choice.cautions[0]
    made = score(frames[0], choice.correction(replace(OPEN, dtype="float32")).apply(frames[0].raw))
    assert made.energy < 30


@pytest.mark.parametrize("columns", [64, 65, 90, 100, 128, 160])
def test_narrow_frames_of_any_width_are_judged(columns):
    of = scene(S(rows=256, columns=columns, amplitude=0.3, width=2, borders=False, cells=0, seed=1))
    choice = choose_notch([of.raw], OPEN)
    assert choice.notch is not None and not choice.lines_along.ending and not choice.lines_along.lean_deg


def test_wide_shadows_ask_for_more_levels_than_narrow_ones():
    levels = {}
    for width in (2, 20):
        frames = [scene(S(rows=768, columns=192, amplitude=0.5, width=width, seed=900 + i)).raw for i in range(3)]
        notch = choose_notch(frames, OPEN).notch
        assert notch is not None
        levels[width] = max(n for n, strength in enumerate(notch.strengths, 1) if strength > 0.5)
    assert levels[2] < levels[20]


def test_the_record_is_json_and_names_the_choice():
    choice = choose_notch([scene(S(rows=256, columns=256, amplitude=0.3)).raw], OPEN)
    record = json.loads(json.dumps(choice.record))
    # Further digits differ from processor to processor.
    assert all(t[name] == round(t[name], 5) for t in record["trials"] for name in ("stripes_left", "gain_spread"))
    assert record["notch"] in [
        {k: t[k] for k in ("notch_length_px", "level", "strengths", "shadows")} for t in record["trials"]
    ]
    assert sum("<- chosen" in line for line in choice.lines) == 1
    assert choose_notch([scene(S(rows=256, columns=256, amplitude=0.3)).raw], OPEN) == choice


def test_frames_of_another_unit_choose_the_same():
    frame = scene(S(rows=256, columns=256, amplitude=0.3)).raw
    unit = 1 / 65535
    other = replace(OPEN, dark=100 * unit, wavelet=replace(OPEN.wavelet, one_count=unit))
    chosen = choose_notch([(frame * unit).astype(np.float32)], other)
    assert chosen.notch == choose_notch([frame], OPEN).notch
    light = chosen.correction(replace(other, dtype="float32")).apply((frame * unit).astype(np.float32))
    expected = choose_notch([frame], OPEN).correction(replace(OPEN, dtype="float32")).apply(frame)
    np.testing.assert_allclose(light / unit, expected, rtol=1e-3, atol=0.5)


@pytest.mark.parametrize(
    "correction",
    [
        Correction("lightsheet"),
        Correction("none"),
        Correction("wavelet", WaveletOptions(sigma1=3)),
        Correction("wavelet", WaveletOptions(level=3)),
        Correction("wavelet", WaveletOptions(compat=True)),
        Correction("wavelet", WaveletOptions(notch_length_px=100)),
        Correction("wavelet", WaveletOptions(threshold=300)),
        Correction("wavelet", WaveletOptions(crossover=20)),
    ],
)
def test_what_is_stated_is_not_chosen(correction):
    with pytest.raises(ParameterError, match="auto"):
        check_open(correction)


def test_no_frames_are_refused():
    with pytest.raises(ParameterError, match="frames"):
        choose_notch([], OPEN)


@pytest.mark.parametrize("split", [{"threshold": 300.0}, {"crossover": 20.0}])
def test_how_to_split_a_frame_is_never_ignored(split):
    with pytest.raises(ParameterError, match="`threshold` and `crossover`"):
        WaveletOptions(notch_length_px=100, **split)
    with pytest.raises(ParameterError, match="give `sigma1` and `sigma2`"):
        _ = WaveletOptions(**split).completed
    with pytest.raises(ParameterError, match="give `sigma1` and `sigma2`"):
        _ = WaveletOptions(level=3, **split).completed
    assert WaveletOptions(sigma1=4, **split).completed.sigma2 > 0
