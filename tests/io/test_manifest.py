"""What is written about files that are whole, and what is read of it, whatever became of it."""

from __future__ import annotations

import json
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError, OutputError, OutputExistsError
from gpustitch.io.inputs import Stamp
from gpustitch.io.manifest import SUFFIX, Making, Manifest, Whole, read_manifest
from tests.io.edits import edits

MAKING = Making({"level": 3, "filter": {"sigma": 1.5, "name": None}}, (Stamp(Path("/raw.dcimg"), 1, 100, 5),))


def written(folder, names, making=MAKING):
    path = folder / f"img{SUFFIX}"
    with Manifest(path, making) as manifest:
        for name in names:
            manifest.write(folder / name, name.encode(), overwrite=True, n_cut_off=len(name))
    return path


def test_what_is_written_is_read_from_several_threads(tmp_path):
    names = [f"sub_{number % 3}/{number}.tif" for number in range(40)]
    path = tmp_path / f"img{SUFFIX}"
    with Manifest(path, MAKING) as manifest, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: manifest.write(tmp_path / name, name.encode(), overwrite=False), names))
    making, found = read_manifest(path)
    assert not making.differences(MAKING)
    assert set(found) == set(names)
    for name, whole in found.items():
        assert whole == Whole(len(name), zlib.crc32(name.encode()))
        assert whole.fits(tmp_path / name)


def test_nothing_is_made_before_the_first_file(tmp_path):
    with Manifest(tmp_path / "out/img.jsonl", MAKING):
        pass
    assert not list(tmp_path.iterdir())
    assert read_manifest(tmp_path / "img.jsonl") is None


def test_lines_about_the_same_making_stay_and_others_go(tmp_path):
    path = written(tmp_path, ["a"])
    assert set(read_manifest(written(tmp_path, ["b"]))[1]) == {"a", "b"}
    making = replace(MAKING, settings={"level": 4})
    assert set(read_manifest(written(tmp_path, ["c"], making))[1]) == {"c"}
    path.write_text("nonsense")
    assert set(read_manifest(written(tmp_path, ["d"]))[1]) == {"d"}


def test_two_runs_share_a_manifest(tmp_path):
    path = tmp_path / f"img{SUFFIX}"
    with Manifest(path, MAKING) as one, Manifest(path, MAKING) as other:
        for number in range(6):
            (one, other)[number % 2].write(tmp_path / str(number), b"x", overwrite=False)
    assert set(read_manifest(path)[1]) == set("012345")


def test_a_file_that_exists_gets_no_line(tmp_path):
    path = written(tmp_path, ["a"])
    (tmp_path / "b").touch()
    with pytest.raises(OutputExistsError), Manifest(path, MAKING) as manifest:
        manifest.write(tmp_path / "b", b"", overwrite=False)
    assert set(read_manifest(path)[1]) == {"a"}


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"X" + data[1:]])
def test_a_file_that_is_not_whole_does_not_fit(tmp_path, damage):
    path = written(tmp_path, ["a.tif"])
    whole = read_manifest(path)[1]["a.tif"]
    assert whole.n_cut_off == 5 and whole.fits(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(damage((tmp_path / "a.tif").read_bytes()))
    assert not whole.fits(tmp_path / "a.tif")
    assert not whole.fits(tmp_path / "b.tif")


@pytest.mark.parametrize(
    ("making", "said"),
    [
        (replace(MAKING, settings={**MAKING.settings, "level": 9}), ["`level` was 3 and is 9"]),
        (
            replace(MAKING, settings={"level": 3, "filter": {"sigma": 2, "name": "x"}}, version="9.9"),
            ["gpustitch 0.0 made them, this is 9.9", "`sigma` was 1.5 and is 2", "`name` was None and is x"],
        ),
        (replace(MAKING, settings={"more": 1}), ["`more` was not stated and is 1"]),
        (
            replace(MAKING, inputs=(Stamp(Path("/raw.dcimg"), 1, 120, 6),)),
            ["/raw.dcimg has grown from 100 to 120 bytes since the files were made: is the acquisition still running?"],
        ),
    ],
)
def test_differences_are_listed(making, said):
    before = replace(MAKING, version="0.0" if making.version == "9.9" else making.version)
    assert before.differences(making) == said


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 10**6), more=st.sampled_from([b"", b"\n", b"{}\n", b"\xff\xfe\n", b'{"name": "a"', b"[]\n"]))
def test_a_manifest_cut_anywhere_names_only_whole_files_and_is_gone_on_with(at, more):
    with tempfile.TemporaryDirectory() as name:
        path = written(Path(name), ["a", "b", "c"])
        data = path.read_bytes()
        cut = at % (len(data) + 1)
        path.write_bytes(data[:cut] + more)
        ends = [place for place, byte in enumerate(data) if byte == ord("\n")]
        head, *kept = [cut > end or (cut == end and more in (b"", b"\n")) for end in ends]
        names = {name for name, is_kept in zip("abc", kept, strict=True) if is_kept}
        if head:
            assert set(read_manifest(path)[1]) == names
        else:
            with pytest.raises(DamagedInputError, match="does not describe how files were made"):
                read_manifest(path)
        written(Path(name), ["d"])
        assert set(read_manifest(path)[1]) == names | {"d"}


def test_nonsense_in_the_first_line_names_the_file(tmp_path):
    path, n_refused = tmp_path / "m.jsonl", 0
    for _, damaged in edits(MAKING.record):
        path.write_text(json.dumps(damaged))
        try:
            making, found = read_manifest(path)
        except DamagedInputError as error:
            assert str(error).startswith(f"{path} does not describe")
            n_refused += 1
        else:
            assert not found
            making.differences(MAKING)
    assert n_refused > 100


def test_nonsense_in_a_line_says_nothing(tmp_path):
    path = written(tmp_path, ["a"])
    head, line = path.read_text().splitlines()
    for _, damaged in edits(json.loads(line)):
        path.write_text(f"{head}\n{json.dumps(damaged)}\n")
        for name, whole in read_manifest(path)[1].items():
            assert isinstance(name, str)
            assert name != "a" or whole.size_bytes != 1 or whole.crc32 != zlib.crc32(b"a") or whole.fits(tmp_path / "a")


def test_a_manifest_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "m.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"m\.jsonl is a folder"), Manifest(tmp_path / "m.jsonl", MAKING) as manifest:
        manifest.write(tmp_path / "a", b"", overwrite=False)
