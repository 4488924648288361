"""Pixel spacing and orientation that flicker do not part a series."""

from __future__ import annotations

import numpy as np
import pytest

from gpustitch.demo.series.dicom import write_series
from gpustitch.slices.verdict.stage import judge
from tests.slices.slice_headers import codes, text


def turned(angle):
    """ImageOrientationPatient of axial slices turned about z, to six decimals."""
    c, s = np.cos(angle), np.sin(angle)
    return [f"{value:.6f}" for value in (c, s, 0, -s, c, 0)]


def write_flicker(folder, seed, amount, *, tag="ImageOrientationPatient", spacing_between=None, along=None):
    """Slices of two orientations or pixel spacings, in turns or at random."""
    rng = np.random.default_rng(seed)
    spacing, n = round(float(rng.uniform(0.5, 5)), 3), int(rng.integers(10, 30))
    which = np.arange(n) % 2 if seed % 2 else rng.permutation(np.arange(n) % 3 // 2)
    pixel = float(rng.uniform(0.3, 0.9))

    def edit(data, k):
        if tag == "PixelSpacing":
            data.PixelSpacing = [f"{pixel * (1 + amount * which[k]):.5f}"] * 2
        else:
            data.ImageOrientationPatient = turned(amount * which[k])

    along = spacing * (np.arange(n) if along is None else along(n, which))
    stated = spacing_between * spacing if spacing_between else None
    write_series(folder, along, edit=edit, shape=(200, 4), spacing_between=stated)
    return spacing, n


@pytest.mark.parametrize("tag", ["ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("seed", range(5))
def test_less_than_a_pixel_does_not_part_a_series(tmp_path, seed, tag):
    spacing, n = write_flicker(tmp_path, seed, 0.004, tag=tag)
    (stack,) = judge([tmp_path])
    assert (stack.fit.spacing_class, len(stack.order), codes(stack)) == ("UNIFORM", n, set())
    assert stack.spacing_mm[0] == pytest.approx(spacing, rel=1e-4)
    assert f"{tag} flickers" in " ".join(stack.evidence)
    assert [stack.series.headers[i].number for i in stack.order] == list(range(1, n + 1))


@pytest.mark.parametrize("seed", range(5))
def test_more_than_a_pixel_is_said(tmp_path, seed):
    spacing, n = write_flicker(tmp_path, seed, 0.012)
    stacks = judge([tmp_path])
    assert len(stacks) == 2
    for stack in stacks:
        said = f"with the other parts it is {n} planes, even at {spacing:.6g} mm"
        assert said in text(stack, "EVEN_TOGETHER")
        assert stack.advice.startswith("Make the tags of the parts one, for they are one series.")


@pytest.mark.parametrize(
    "along",
    [
        lambda n, which: np.sort(np.argsort(which, kind="stable")) + 3 * n * np.sort(which),  # one after the other
        lambda n, which: np.arange(n) + 0.3 * which,  # uneven together
    ],
)
def test_parts_that_are_no_even_series_together_stay_apart(tmp_path, along):
    write_flicker(tmp_path, 1, 0.004, along=along)
    assert all("SERIES_SPLIT" in codes(stack) and "EVEN_TOGETHER" not in codes(stack) for stack in judge([tmp_path]))


def test_parts_of_the_stated_spacing_stay_apart(tmp_path):
    write_flicker(tmp_path, 1, 0.004, spacing_between=2.0)
    assert len(judge([tmp_path])) == 2
