"""``destripe`` going on with what an earlier run has finished."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.errors import GpustitchError, OutputExistsError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.images.files import write_tiff
from gpustitch.io.inputs import Stamp
from gpustitch.io.manifest import Making, read_manifest
from gpustitch.model.options import leaves, with_values
from gpustitch.oblique.destripe.correction import Correction
from gpustitch.oblique.destripe.options import DestripeOptions
from gpustitch.oblique.destripe.stage import plan, run
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.running.finished import WITHOUT_EFFECT, settings_of
from tests.oblique.destripe.test_stage_auto import striped
from tests.running.kills import counted, killed

DARK = Correction(dark=5.0, dtype="uint8")
NAMES = ("a.tif", "raw/img_00000.tiff", "raw/img_00001.tiff", "raw/img_00002.tiff", "sub/b.tif")


@pytest.fixture
def root(tmp_path):
    """Two images and a DCIMG file of three frames."""
    frames = np.random.default_rng(0).integers(0, 300, (5, 12, 16), np.uint16)
    for name, frame in (("a.tif", frames[0]), ("sub/b.tif", frames[4])):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / "in" / name, frame)
    write_dcimg(tmp_path / "in/raw.dcimg", frames[1:4], 3, (12, 16))
    return tmp_path


def options(root, **changed):
    given = {"input": root / "in", "output": root / "out", "correction": DARK, "n_workers": 1, "device": "cpu"}
    return DestripeOptions(**given | changed)


def destripe(root, **changed):
    return run(plan(options(root, **changed)))


def images(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.tif*"))}


def seen(path):
    return path.stat().st_ino, path.stat().st_mtime_ns


@pytest.mark.posix
def test_a_run_killed_at_any_moment_is_gone_on_with(root):
    expected = destripe(root, output=root / "whole")
    n_moments = counted(lambda: destripe(root, output=root / "counted"))
    for k, moment in enumerate(np.random.default_rng(0).integers(1, n_moments, 4).tolist()):
        out = root / f"out_{k}"
        killed(partial(destripe, root, output=out), moment)
        found = read_manifest(out / "destripe.manifest.jsonl")
        before = {} if found is None else {name: seen(out / name) for name in found[1]}
        result = destripe(root, output=out, skip_existing=True)
        assert result.n_images == len(NAMES) and result.n_kept == len(before)
        assert images(out) == images(root / "whole") and tuple(images(out)) == NAMES
        assert {name: seen(out / name) for name in before} == before
        assert result.n_cut_off == expected.n_cut_off > 0
        record = json.loads((out / "destripe.json").read_text())
        assert record["images"] == 5 and record["images_kept"] == len(before)
        assert record["cut_off_pixels"] == expected.n_cut_off
        assert not list(out.rglob(".*"))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_is_cut_short_or_gone_is_made_again(root, name):
    destripe(root)
    whole = images(root / "out")
    os.truncate(root / "out" / name, 20)
    assert destripe(root, skip_existing=True).n_kept == 4
    (root / "out" / name).unlink()
    assert destripe(root, skip_existing=True).n_kept == 4
    assert images(root / "out") == whole


def test_a_flat_is_known_by_its_pixels_and_an_input_by_its_stamp(root):
    flat = np.linspace(0.5, 1, 192, dtype=np.float32).reshape(12, 16)
    write_tiff(root / "flat.tif", flat)
    destripe(root, flat=root / "flat.tif")
    write_tiff(root / "same.tif", flat)
    assert destripe(root, flat=root / "same.tif", skip_existing=True).n_kept == 5
    write_tiff(root / "flat.tif", flat[::-1], overwrite=True)
    with pytest.raises(OutputExistsError, match=r"`flat` was .* and is "):
        destripe(root, flat=root / "flat.tif", skip_existing=True)
    os.utime(root / "in/a.tif")
    with pytest.raises(OutputExistsError, match="in was rewritten since the files were made"):
        destripe(root, flat=root / "same.tif", skip_existing=True)


def test_a_filter_that_images_chose_is_chosen_again(root):
    (root / "striped").mkdir()
    for number in range(2):
        tifffile.imwrite(root / f"striped/{number}.tif", striped(number, (128, 160)))
    given = {"input": root / "striped", "auto": True, "correction": Correction("wavelet", WaveletOptions())}
    destripe(root, **given)
    made = images(root / "out")
    (root / "out/1.tif").unlink()
    assert destripe(root, skip_existing=True, **given).n_kept == 1
    assert images(root / "out") == made
    path = root / "out/destripe.manifest.jsonl"
    path.write_text(path.read_text().replace('"shadows": ', '"shadows": "no, "', 1).replace('"no, "', '"no", "x": '))
    with pytest.raises(OutputExistsError, match="`shadows` was no and is"):
        destripe(root, skip_existing=True, **given)


def test_a_single_image_is_not_gone_on_with(root):
    destripe(root, input=root / "in/a.tif", output=root / "a.tif")
    assert [path.name for path in root.iterdir() if path.is_file()] == ["a.tif"]
    with pytest.raises(OutputExistsError, match="no manifest says"):
        destripe(root, input=root / "in/a.tif", output=root / "a.tif", skip_existing=True)


def another(value: Any) -> list[Any]:
    """Other values of an option, one of which may be allowed beside the others."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value + 0.25, value - 1]
    return ["lightsheet", "wavelet", "uint8", "float32", "db5", 3, 3.5, (1.0,)]


def test_every_option_that_changes_pixels_is_a_setting(root):
    before = options(root, correction=Correction("wavelet", WaveletOptions(8.0, 30.0)))
    inputs = (Stamp(root, 1, 1, 1),)
    named, left = set(), set()
    for leaf in leaves(DestripeOptions):
        if leaf.name in WITHOUT_EFFECT or leaf.name == "flat":
            continue
        left.add(leaf.name)
        stated = leaf.value_in(before)
        for value in another(stated):
            if value == stated:
                continue
            try:
                now = with_values(before, {leaf.path: value})
            except (GpustitchError, ValueError, TypeError):
                continue
            lines = Making(settings_of(before), inputs).differences(Making(settings_of(now), inputs))
            assert [line for line in lines if line.startswith(f"`{leaf.name}` was ")], leaf.name
            named.add(leaf.name)
    assert len(left) > 15
    assert left - named <= {"notch_length_px"}  # it stands for the bandwidths given here


def test_the_commands_say_what_differs_by_their_flags(root):
    def call(*more):
        given = ("destripe", "-i", root / "in", "-o", root / "out", "--device", "cpu", *more)
        result = CliRunner().invoke(app, [str(argument) for argument in given])
        return result.exit_code, " ".join(result.output.split())

    assert call("--destripe-method", "none", "--dark", 5, "-c", 1)[0] == 0
    code, said = call("--destripe-method", "none", "--dark", 6, "-c", 2, "--skip-existing")
    assert code == 7
    assert "--dark was 5.0 and is 6.0; --compression was 1 and is 2; ask for the same again" in said
    code, said = call("--destripe-method", "none", "--dark", 5, "--skip-existing")
    assert code == 0 and "5 of 5 images are finished and kept" in said and "5 images (5 of them kept)" in said
    assert call("--dark", 5, "--skip-existing", "--overwrite")[0] == 3
    code, said = call("--dark", 5)
    assert code == 7 and "continue with --skip-existing" in said
    assert replace(options(root), skip_existing=True).skip_existing


@pytest.mark.parametrize("n_there", [0, 2, 5])
def test_a_plan_says_how_many_images_are_there(root, n_there):
    if n_there:
        destripe(root)
        for name in NAMES[n_there:]:
            (root / "out" / name).unlink()
    first, *_ = plan(options(root, skip_existing=True)).lines()
    assert ("5 images, 2 of which" in first, "5 images, 5 of which" in first) == (n_there == 2, n_there == 5)
    assert "of which" not in next(plan(options(root, output=root / "new")).lines())
