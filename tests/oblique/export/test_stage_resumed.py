"""Runs that go on with what earlier ones have finished: the same bytes, and nothing made twice."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, OutputExistsError, ParameterError
from gpustitch.io.frames.dcimg_writer import write_dcimg
from gpustitch.io.frames.opening import open_frames
from gpustitch.io.manifest import read_manifest
from gpustitch.oblique.export import jp2 as dcimg2jp2
from gpustitch.oblique.export import stage
from gpustitch.oblique.export import tiff as dcimg2tif
from gpustitch.oblique.export.jp2 import Jp2Options
from gpustitch.oblique.export.tiff import TifOptions
from gpustitch.running.finished import WITHOUT_EFFECT
from tests.running.kills import counted, killed

N = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Raw frames, and the files that are made of them without a stop."""
    folder = tmp_path_factory.mktemp("made")
    frames = np.random.default_rng(11).integers(0, 65536, (N, 7, 9), dtype=np.uint16)
    write_dcimg(folder / "raw.dcimg", frames, N, frames.shape[1:])
    tif(folder, folder / "out")
    return folder


def options(folder, out, **changed):
    given = {"input": folder / "raw.dcimg", "output_pattern": str(out / "img_%02d.tif"), "n_workers": 1}
    return TifOptions(**given | changed)


def tif(folder, out, **changed):
    return dcimg2tif.run(dcimg2tif.plan(options(folder, out, **changed)))


def manifest(out):
    return out / "img_%02d.tif.manifest.jsonl"


def images(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.tif"))}


@pytest.fixture
def read(monkeypatch):
    """The frames that a run reads, after its plan."""
    numbers: list[int] = []

    class Counted:
        def __init__(self, frames):
            self.frames = frames
            self.shape, self.dtype, self.absent = frames.shape, frames.dtype, frames.absent

        def read(self, start, stop, *part):
            numbers.extend(range(start, stop))
            return self.frames.read(start, stop, *part)

    monkeypatch.setattr(stage, "open_frames", lambda place, **given: Counted(open_frames(place, **given)))
    return numbers


def going_on(folder, out, read, **changed):
    """Run again; the frames that were read for it."""
    planned = dcimg2tif.plan(options(folder, out, skip_existing=True, **changed))
    read.clear()
    result = dcimg2tif.run(planned)
    assert len(result.paths) == N and result.n_kept == N - len(read)
    return sorted(read)


@pytest.mark.posix
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_run_killed_at_any_moment_is_gone_on_with(made, tmp_path, read, n_workers):
    n_moments = counted(lambda: tif(made, tmp_path / "whole", n_workers=n_workers))
    for k, moment in enumerate(np.random.default_rng(n_workers).integers(1, n_moments, 6).tolist()):
        out = tmp_path / f"out_{k}"
        killed(partial(tif, made, out, n_workers=n_workers), moment)
        found = read_manifest(manifest(out))
        whole = set() if found is None else {name for name, entry in found[1].items() if entry.fits(out / name)}
        assert found is None or whole == set(found[1])
        missing = [number for number in range(N) if f"img_{number:02d}.tif" not in whole]
        assert going_on(made, out, read, n_workers=n_workers) == missing
        assert images(out) == images(made / "out")
        assert {path.suffix for path in out.iterdir()} == {".tif", ".jsonl"}, "something is left over"


DAMAGES = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "gone": Path.unlink,
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
    "another": lambda path: shutil.copyfile(path.with_name("img_00.tif"), path),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(st.integers(1, N - 1), st.sampled_from(sorted(DAMAGES)), max_size=3),
    lines=st.lists(st.tuples(st.sampled_from(["drop", "swap", "double", "cut"]), st.integers(1, N - 1)), max_size=3),
)
def test_whatever_became_of_files_and_manifest_the_images_are_right(made, tmp_path_factory, read, files, lines):
    out = tmp_path_factory.mktemp("damaged") / "out"
    shutil.copytree(made / "out", out)
    shutil.move(manifest(out), out / "kept")
    text = (out / "kept").read_text().splitlines()
    for what, at in lines:
        at = min(at, len(text) - 1)
        if what == "drop" and at:
            del text[at]
        elif what == "swap" and at:
            text[at], text[-1] = text[-1], text[at]
        elif what == "double":
            text.append(text[-1])
        elif at:
            text[at] = text[at][: len(text[at]) // 2]
    (out / "kept").unlink()
    manifest(out).write_text("\n".join(text))
    for number, damage in files.items():
        DAMAGES[damage](out / f"img_{number:02d}.tif")
    again = going_on(made, out, read)
    assert set(files) <= set(again)
    assert images(out) == images(made / "out")
    assert going_on(made, out, read) == []


def test_what_is_finished_is_not_touched(made, tmp_path, read):
    out = tmp_path / "out"
    tif(made, out, stop=4)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.tif")}
    assert going_on(made, out, read) == [4, 5]
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before


def test_a_range_is_added_without_the_option_and_stays_known(made, tmp_path, read):
    out = tmp_path / "out"
    tif(made, out, start=3)
    tif(made, out, stop=3)
    assert going_on(made, out, read) == []
    assert images(out) == images(made / "out")


CHANGES = {"compression": 9, "rotate_90": 1, "flip_ud": True, "choice": None, "psnr_db": (40.0,)}


@pytest.mark.parametrize("kind", [TifOptions, Jp2Options])
def test_every_other_setting_is_refused_and_named(made, tmp_path, kind):
    module = dcimg2tif if kind is TifOptions else dcimg2jp2
    pattern = str(tmp_path / ("%d.tif" if kind is TifOptions else "%d.jp2"))
    given = kind(input=made / "raw.dcimg", output_pattern=pattern, n_workers=1, stop=2)
    module.run(module.plan(given))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    n_refused = 0
    for field in fields(kind):
        if field.name in WITHOUT_EFFECT:
            continue
        value = CHANGES[field.name]
        if field.name == "choice":
            value = replace(given.choice, **{fields(given.choice)[0].name: "other"})
        with pytest.raises((OutputExistsError, ParameterError), match=r"was .* and is|stack"):
            module.plan(replace(given, skip_existing=True, **{field.name: value}))
        n_refused += 1
    assert n_refused == 4
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_options_without_effect_change_no_byte(made, tmp_path):
    others = {"n_workers": 2, "allow_missing": True, "on_error": "skip", "stop": N}
    tif(made, tmp_path / "out", **others)
    assert images(tmp_path / "out") == images(made / "out")


@pytest.mark.parametrize("edit", ["touched", "grown", "gone"])
def test_other_inputs_are_refused(made, tmp_path, edit):
    shutil.copy(made / "raw.dcimg", tmp_path / "raw.dcimg")
    tif(tmp_path, tmp_path / "out", stop=2)
    source = tmp_path / "raw.dcimg"
    if edit == "gone":
        source.rename(tmp_path / "other.dcimg")
    elif edit == "touched":
        os.utime(source)
    else:
        with source.open("ab") as stream:
            stream.write(b"x")
    name = "other.dcimg" if edit == "gone" else "raw.dcimg"
    said = {"touched": "was rewritten since the files", "grown": "has grown", "gone": "no input any more"}[edit]
    with pytest.raises(OutputExistsError, match=rf"made otherwise: .*{said}.*`overwrite`"):
        dcimg2tif.plan(options(tmp_path, tmp_path / "out", skip_existing=True, input=tmp_path / name))


def test_files_without_a_manifest_are_refused(made, tmp_path):
    (tmp_path / "out").mkdir()
    tifffile.imwrite(tmp_path / "out/img_01.tif", np.zeros((7, 9), np.uint16))
    with pytest.raises(OutputExistsError, match=r"img_01\.tif exist already, and no manifest"):
        tif(made, tmp_path / "out", skip_existing=True)
    manifest(tmp_path / "out").write_text("{}")
    with pytest.raises(DamagedInputError, match="does not describe how files were made"):
        tif(made, tmp_path / "out", skip_existing=True)
    assert tif(made, tmp_path / "out", overwrite=True).n_kept == 0
    with pytest.raises(ParameterError, match="`skip_existing` keeps what `overwrite` replaces"):
        tif(made, tmp_path / "out", overwrite=True, skip_existing=True)


def test_a_manifest_without_files_is_no_hindrance(made, tmp_path, read):
    tif(made, tmp_path / "out", compression=9)
    for path in (tmp_path / "out").glob("*.tif"):
        path.unlink()
    assert going_on(made, tmp_path / "out", read) == [*range(N)]
    assert images(tmp_path / "out") == images(made / "out")


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("a/img_%02d.tif", "a/img_%02d.tif.manifest.jsonl"),
        ("a/%02d/img.tif", "a/%02d.manifest.jsonl"),
        ("a%%b/img_%02d.tif", "a%b/img_%02d.tif.manifest.jsonl"),
    ],
)
def test_the_manifest_lies_beside_what_is_numbered(made, tmp_path, read, pattern, place):
    tif(made, tmp_path, output_pattern=str(tmp_path / pattern), stop=3)
    assert len(read_manifest(tmp_path / place)[1]) == 3
    assert going_on(made, tmp_path, read, output_pattern=str(tmp_path / pattern)) == [3, 4, 5]
