"""The stage and command ``destripe`` where images choose the filter, and where a notch is stated."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.stage import plan, run
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from tests.oblique.destripe.scenes import SceneSpec, scene
from tests.oblique.export.test_stage import Seen


class Heard(Seen):
    """Progress that keeps notes too."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def striped(seed=0, shape=(256, 320), turned=False):
    image = scene(SceneSpec(*shape, amplitude=0.3, width=2, seed=seed)).raw
    return np.ascontiguousarray(image.T) if turned else image


@pytest.mark.parametrize("turned", [False, True])
def test_auto_chooses_from_the_images_and_says_so(tmp_path, turned):
    root = tmp_path / "raw"
    root.mkdir()
    for number in range(3):
        tifffile.imwrite(root / f"{number}.tif", striped(number, turned=turned))
    seen = Heard()
    options = DestripeOptions(
        input=root, correction=Correction("wavelet", WaveletOptions(wavelet="db5"), dark=100), auto=True, rotate=turned
    )
    result = run(plan(options), seen)
    record = json.loads((result.output / "destripe.json").read_text())["destriping"]
    notch, measures = record["choice"]["notch"], record["measures"]
    assert measures["stripes_left_after_percent"] < 0.4 * measures["stripes_left_before_percent"]
    assert any("<- chosen" in line for line in seen.notes)
    wavelet = WaveletOptions(
        wavelet="db5",
        notch_length_px=notch["notch_length_px"],
        level=notch["level"],
        strengths=tuple(notch["strengths"]),
        shadows=notch["shadows"],
    )
    raw = striped(1, turned=turned)
    expected = Correction("wavelet", wavelet, dark=100).apply(np.rot90(raw) if turned else raw)
    np.testing.assert_array_equal(tifffile.imread(result.output / "1.tif"), expected)


def test_auto_leaves_images_without_stripes_alone_and_warns_of_others(tmp_path):
    calm = scene(SceneSpec(rows=256, columns=320, amplitude=0, seed=5)).raw
    tifffile.imwrite(tmp_path / "a.tif", calm)
    tifffile.imwrite(tmp_path / "b.tif", striped(2, turned=True))
    for name in "ab":
        seen = Heard()
        options = DestripeOptions(input=tmp_path / f"{name}.tif", correction=Correction("wavelet"), auto=True)
        result = run(plan(options), seen)
        np.testing.assert_array_equal(tifffile.imread(result.output), tifffile.imread(tmp_path / f"{name}.tif"))
        assert any("no stripes along the rows" in line for line in seen.notes)
        assert any("turn the frames by 90 degrees" in line for line in seen.warnings) == (name == "b")


@pytest.mark.parametrize("flags", ["--sigma1 3", "--level 2", "--notch-length 50", "--compat", "--lightsheet"])
def test_auto_with_a_stated_filter_is_refused(tmp_path, flags):
    tifffile.imwrite(tmp_path / "a.tif", striped())
    result = CliRunner().invoke(app, ["destripe", "-i", str(tmp_path / "a.tif"), "--auto", *flags.split()])
    assert result.exit_code == 3
    assert "--auto" in result.output
    assert not (tmp_path / "a_destriped.tif").exists()


def test_a_stated_notch_is_used_as_it_is(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", striped())
    arguments = ["destripe", "-i", str(tmp_path / "a.tif"), "--notch-length", "200", "--level", "3", "--dark", "100"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    expected = Correction("wavelet", WaveletOptions(notch_length_px=200, level=3), dark=100).apply(striped())
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a_destriped.tif"), expected)
