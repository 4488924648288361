"""Frames that choose and judge a correction: which of a job's are looked at, and what is said if they cannot choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from gpustitch.array import choose_device
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.guarded_notch.choice import Choice, Lines
from gpustitch.oblique.destripe.measured.measures import DestripeMeasures
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.sampled import Judged, brightest, evenly, judged
from gpustitch.oblique.destripe.stage import plan, run
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.oblique.destripe.scenes import SceneSpec, scene

OPEN = Correction("wavelet")
STRIPED = SceneSpec(rows=128, columns=160, amplitude=0.3)


def striped(seed=0, **changed):
    return scene(replace(STRIPED, seed=seed, **changed)).raw


def destriped(source, **options):
    return run(plan(DestripeOptions(input=source, correction=OPEN, auto=True, **options)))


@given(st.integers(1, 500), st.integers(1, 30))
def test_places_are_even_and_all_where_there_are_few(length, count):
    places = evenly(length, count)
    assert places == list(range(length)) if length <= count else count - 1 <= len(set(places)) == len(places) <= count
    assert max(np.diff([-1, *places, length])) <= length / (count + 1) + 2


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([(3, 4), (30, 40), (40, 30)]), st.integers(0, 9)), min_size=1), st.data())
def test_the_brightest_are_of_the_shape_that_most_pixels_have(kinds, data):
    count = data.draw(st.integers(1, 8))
    frames = [np.full(shape, light, np.uint16) for shape, light in kinds]
    kept = brightest(iter(frames), count)
    pixels = {frame.shape: sum(f.size for f in frames if f.shape == frame.shape) for frame in frames}
    shape = kept[0].shape
    assert {frame.shape for frame in kept} == {shape} and pixels[shape] == max(pixels.values())
    alike = sorted(int(frame[0, 0]) for frame in frames if frame.shape == shape)
    assert sorted(int(frame[0, 0]) for frame in kept) == alike[-count:]


@pytest.mark.parametrize("empty", [{3}, {0, 6}, {2, 3, 4}])
def test_all_pages_of_one_image_may_choose(tmp_path, empty):
    pages = np.stack([np.zeros((128, 160), np.uint16) if n in empty else striped(n) for n in range(7)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    result = destriped(tmp_path / "a.tif")
    corrected = tifffile.imread(result.output)
    assert [n for n in range(7) if np.array_equal(corrected[n], pages[n])] == sorted(empty)


def test_small_images_among_others_do_not_choose(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    tifffile.imwrite(root / "a.tif", striped()[:20, :30])
    for n in range(2):
        tifffile.imwrite(root / f"b{n}.tif", striped(n))
    result = destriped(root)
    assert not np.array_equal(tifffile.imread(result.output / "b0.tif"), striped(0))


def test_the_first_and_the_last_image_choose_where_others_are_damaged(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    for n in range(4):
        tifffile.imwrite(root / f"{n}.tif", striped(n))
    for n in (1, 2):
        (root / f"{n}.tif").write_bytes(b"II*\0garbage")
    result = destriped(root, on_error="skip")
    assert not np.array_equal(tifffile.imread(result.output / "3.tif"), striped(3))


def test_without_frames_the_default_filter_is_used_and_told():
    found = judged([], OPEN, choose_device("cpu"), choose=True)
    assert found.correction.destripes and found.correction.wavelet == OPEN.wavelet.completed
    assert "no frame could be looked at" in next(found.cautions())
    assert not list(judged([], Correction("lightsheet"), choose_device("cpu"), choose=False).cautions())


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (63, 200), (200, 63), (64, 64)])
def test_frames_too_small_for_a_choice_are_told(shape):
    wavelet = WaveletOptions(wavelet="dmey" if shape == (64, 64) else "db3")
    frame = np.random.default_rng(0).poisson(500, shape).astype(np.uint16)
    found = judged([frame], Correction("wavelet", wavelet), choose_device("cpu"), choose=True)
    assert not found.correction.destripes
    assert "too small to tell stripes from tissue" in next(found.cautions())
    assert not any("no stripes" in line for line in found.lines())


@pytest.mark.parametrize(
    ("before", "across", "lines", "is_said"),
    [(3.0, 0.5, Lines(), True), (1.0, 0.2, Lines(), False), (3.0, 4.0, Lines(), False), (3.0, 0.5, Lines(0.03), False)],
    ids=["many", "few", "as many down the columns", "they end, which is said already"],
)
def test_many_lines_that_are_left_are_a_warning(before, across, lines, is_said):
    choice = Choice(None, 0.01, (), 8, lines)
    measures = DestripeMeasures(before, before, across, 0.0, 0.0, is_destriped=False)
    cautions = list(Judged(OPEN, choice, measures).cautions())
    assert any("3.0 % of the light, are left, as they may be tissue" in caution for caution in cautions) == is_said


def layered(seed):
    """Tissue in straight layers, whose borders run all along the rows."""
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.standard_normal((256, 384)), 3)
    layers = gaussian_filter(rng.standard_normal(256), 5)[:, None]
    light = 400 * (1 + 0.15 * texture / texture.std() + 0.25 * layers / layers.std()).clip(0.1)
    return rng.poisson(light).astype(np.uint16) + np.uint16(100)


def slab(seed):
    """Tissue in a part of the rows alone."""
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.standard_normal((256, 384)), 3)
    light, first = np.full((256, 384), 30.0), int(rng.integers(40, 180))
    light[first : first + 32] = 800 * (1 + 0.15 * texture[first : first + 32] / texture.std())
    return rng.poisson(light).astype(np.uint16) + np.uint16(100)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("frame_of", "least_asked"), [(layered, 1), (slab, 0)], ids=["layers", "slab"])
def test_tissue_that_is_changed_much_is_asked_to_be_looked_at(frame_of, least_asked, seed):
    frame = frame_of(seed)
    found = judged([frame], replace(OPEN, dark=100), choose_device("cpu"), choose=True)
    light = frame.astype(np.float64) - 100
    change = replace(found.correction, dtype="float32").apply(frame) - np.maximum(light, 0)
    asked = sum("such as a border or a layer" in caution for caution in found.cautions())
    # Gains are measured on windows, the change on all pixels.
    assert asked or np.sqrt(np.square(change).sum() / np.square(light).sum()) < 0.12
    assert asked >= least_asked
