"""What inputs looked like, and what has changed since."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.errors import DamagedInputError
from gpustitch.io.inputs import Stamp, changes, stamps, stamps_of
from tests.io.edits import edits
from tests.paths import on_disk

BYTES = {"000000.dcimg": 7, "folder/img_1.tif": 5, "folder/img_2.tif": 6, "folder/below/img_3.tif": 1}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


@pytest.fixture
def inputs(tmp_path):
    return tree(tmp_path)


def tree(folder):
    for name, size in BYTES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes(size))
        os.utime(folder / name, ns=(size, size))
    (folder / "folder/.hidden").write_bytes(bytes(99))
    return folder


def test_a_file_a_folder_a_glob_a_link_and_nothing(inputs):
    (inputs / "link").symlink_to("000000.dcimg")
    (inputs / "nowhere").symlink_to("nothing")
    places = [inputs / name for name in ("000000.dcimg", "folder", "folder/*_?.tif", "link", "none", "nowhere")]
    assert stamps([*places, places[0]]) == (
        Stamp(places[0], 1, 7, 7),
        Stamp(places[1], 3, 12, 6),
        Stamp(places[2], 2, 11, 6),
        Stamp(places[3], 1, 7, 7),
        Stamp(places[4], 0, 0, 0),
        Stamp(places[5], 0, 0, 0),
    )


def appended(file):
    with file.open("ab") as stream:
        stream.write(b"x")


def rewritten(file):
    file.write_bytes(file.read_bytes())


def cut(file):
    os.truncate(file, 1)


EDITS = [
    ("000000.dcimg", appended, "000000.dcimg has grown from 7 to 8 bytes since the run began: is the acquisition"),
    ("000000.dcimg", rewritten, "000000.dcimg was rewritten since the run began: its size is the same"),
    ("000000.dcimg", cut, "000000.dcimg has shrunk from 7 to 1 bytes since the run began"),
    ("000000.dcimg", Path.unlink, "000000.dcimg is gone since the run began"),
    ("folder/img_2.tif", appended, "folder has grown from 12 to 13 bytes since the run began"),
    ("folder/img_1.tif", rewritten, "folder was rewritten since the run began"),
    ("folder/img_2.tif", Path.unlink, "folder has lost files since the run began: 3 were there, 2 are left"),
    ("folder/img_4.tif", Path.touch, "folder has grown from 3 to 4 files since the run began: is the acquisition"),
    ("folder", shutil.rmtree, "folder is gone since the run began"),
    ("late", Path.touch, "late was not there when the run began, and now is"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "edit", "told"), EDITS)
def test_each_change_is_a_line(inputs, name, edit, told):
    places = [inputs / "000000.dcimg", inputs / "folder", inputs / "late"]
    before = stamps(places)
    edit(inputs / name)
    lines = changes(before, stamps(places))
    assert len(lines) == 1
    assert lines[0].startswith(f"{inputs}/{told}")


def test_other_inputs_are_changes(inputs, monkeypatch):
    one, other = stamps([inputs / "000000.dcimg"]), stamps([inputs / "folder"])
    assert changes(one, other, "the files were made") == [
        f"{inputs}/000000.dcimg is no input any more, but was one when the files were made",
        f"{inputs}/folder is an input that was none when the files were made",
    ]
    monkeypatch.chdir(inputs)
    assert changes(one, stamps(["000000.dcimg"])) == []


CHANGES = st.lists(
    st.tuples(
        st.sampled_from([*BYTES, "new.tif", "folder/new.tif"]), st.sampled_from([appended, rewritten, cut, None])
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(made=CHANGES)
def test_whatever_is_edited_is_told_and_nothing_else(made):
    with tempfile.TemporaryDirectory() as name:
        folder = tree(Path(name))
        places = [folder / "000000.dcimg", folder / "folder"]
        before = stamps(places)
        expected = {}
        for file, edit in made:
            if edit is None or not (folder / file).exists():
                (folder / file).unlink(missing_ok=True) if edit is None else (folder / file).touch()
            else:
                edit(folder / file)
        for place in places:
            files = [p for p in [place, *place.rglob("[!.]*")] if p.is_file()]
            known = {folder / n for n in BYTES if (folder / n).is_relative_to(place)}
            same = known == set(files) and all(p.stat().st_mtime_ns < 100 for p in files)
            expected[str(place)] = not same
        lines = changes(before, stamps(places))
        assert {line.split(" ")[0] for line in lines} == {place for place, changed in expected.items() if changed}


def test_folders_in_folders_count_where_they_are_read(inputs):
    places = [inputs / "folder", inputs / "fold*", inputs / "000000.dcimg"]
    assert [stamp.n_files for stamp in stamps(places)] == [3, 3, 1]
    assert [stamp.n_files for stamp in stamps(places, below=False)] == [2, 0, 1]


def test_outputs_among_inputs_do_not_count(inputs):
    places = [inputs / "folder", inputs / "000000.dcimg"]
    apart = [inputs / "folder/below", inputs / "folder/img_1.tif"]
    assert [(stamp.n_files, stamp.size_bytes) for stamp in stamps(places, apart=apart)] == [(1, 6), (1, 7)]


def test_records_come_back(inputs):
    stamped = stamps([inputs / "folder", inputs / "none"])
    records = json.dumps([stamp.record for stamp in stamped])
    assert stamps_of(json.loads(records), inputs / "run.json") == stamped


def test_nonsense_names_the_file(inputs):
    n_refused = 0
    for _, damaged in edits([stamp.record for stamp in stamps([inputs / "folder", inputs / "none"])]):
        try:
            assert all(isinstance(stamp, Stamp) for stamp in stamps_of(damaged, inputs / "run.json"))
        except DamagedInputError as error:
            assert str(error).startswith(f"{inputs}/run.json does not describe")
            n_refused += 1
    assert n_refused > 100


def test_folders_of_many_files_are_cheap(tmp_path, monkeypatch):
    for number in range(50):
        (tmp_path / f"{number}.tif").touch()
    looked = []
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **given: looked.append(path) or stat(path, **given))
    stamps([tmp_path])
    assert len(looked) <= 52  # one look a file
