"""What runs that were killed have left is found, and what somebody needs of it stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpustitch.errors import InputMissingError
from gpustitch.io import leftovers as module
from gpustitch.io import partial
from gpustitch.io.leftovers import leftovers, remove
from gpustitch.io.manifest import Making
from gpustitch.io.partial import locked_file, locked_folder, set_aside, work_place
from gpustitch.io.resumable import resumable_directory
from tests.io.test_partial import NEW, OLD, content, killed_at, replace_volume, volume
from tests.paths import on_disk

pytestmark = pytest.mark.posix


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


class Killed(Exception):
    pass


def unfinished_run(path: Path, n_parts: int = 3) -> None:
    with pytest.raises(Killed), resumable_directory(path, Making({"a": 1}, ())) as run:
        for number in range(n_parts):
            (run.folder / f"{number}").write_bytes(bytes(100))
            run.journal.add(str(number), {})
        raise Killed


def replacing_run(path: Path) -> None:
    with resumable_directory(path, Making({}, ()), overwrite=True) as run:
        for name in NEW:
            run.once(name, lambda name=name: (run.folder / name).touch() or {})


def files(top: Path) -> set[str]:
    return {str(file.relative_to(top)) for file in top.rglob("*") if file.is_file()}


def test_an_unfinished_run_is_found_from_wherever_it_is_looked_for(tmp_path: Path) -> None:
    unfinished_run(tmp_path / "out")
    for place in (tmp_path, tmp_path / "out", tmp_path / "out.work", tmp_path / "o*"):
        (found,) = leftovers(place)
        assert (found.place, found.output.name, found.what) == (tmp_path / "out.work", "out", "unfinished run")
        assert (found.n_parts, found.kept) == (3, "")
        assert found.n_bytes > 300
    assert not leftovers(tmp_path.parent)
    with pytest.raises(InputMissingError, match="no run has left anything for it"):
        leftovers(tmp_path / "ou")
    remove(found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("locked", [locked_file, locked_folder])
def test_what_a_run_is_writing_stays(tmp_path: Path, locked) -> None:
    with locked(tmp_path / "v") as place:
        (place / "1" if place.is_dir() else place).write_bytes(bytes(10))
        (found,) = leftovers(tmp_path)
        assert (found.place, found.n_bytes, found.kept) == (place, 10, "a run is writing it")
        assert remove(found).kept == found.kept
        assert place.exists()
    (found,) = leftovers(tmp_path / "v")
    assert not found.kept
    remove(found)
    assert not list(tmp_path.iterdir())


def test_a_run_that_goes_on_meanwhile_keeps_its_folder(tmp_path: Path) -> None:
    unfinished_run(tmp_path / "out")
    (found,) = leftovers(tmp_path)
    with resumable_directory(tmp_path / "out", Making({"a": 1}, ())) as run:
        assert remove(found).kept == "a run is writing it"
        assert len(run.journal) == 3
    assert files(tmp_path) == {"out/0", "out/1", "out/2"}
    assert remove(found).place == found.place  # it is gone
    assert files(tmp_path) == {"out/0", "out/1", "out/2"}


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished_run(tmp_path / "out")
    with locked_file(tmp_path / "a.tif"):
        pass
    monkeypatch.setattr(partial, "fcntl", None)
    before = files(tmp_path)
    assert [remove(found).kept for found in leftovers(tmp_path)] == 2 * ["nothing tells whether a run is writing it"]
    assert files(tmp_path) == before


@pytest.mark.parametrize("run", [replace_volume, replacing_run])
def test_whatever_step_a_run_was_killed_at_nothing_whole_is_removed(tmp_path, monkeypatch, run) -> None:
    n_kept = 0
    for number in range(1, 60):
        path = volume(tmp_path / str(number) / "v", "old")
        was_killed = killed_at(number, monkeypatch, lambda path=path: run(path))
        found = [remove(leftover) for leftover in leftovers(path.parent)]
        if path.exists():
            assert content(path) in (OLD, NEW)
            assert content(path.parent) == ["v"] or not (path.parent / "v.work" / "work.json").exists()
        else:  # old and new lie there whole, without a name
            n_kept += 1
            assert found and all("a run was killed while it replaced v, which is whole in" in of.kept for of in found)
            run(path)
            assert content(path) == NEW
        if not was_killed:
            break
    assert n_kept and 5 < number < 59


def test_a_removal_that_is_killed_is_gone_on_with(tmp_path, monkeypatch) -> None:
    for number in range(1, 60):
        top = tmp_path / str(number)
        top.mkdir()
        unfinished_run(top / "out")
        was_killed = killed_at(number, monkeypatch, lambda top=top: remove(leftovers(top)[0]))
        for leftover in leftovers(top):
            remove(leftover)
        assert not list(top.iterdir())
        if not was_killed:
            break
    assert 5 < number < 59


def test_a_record_that_was_set_aside_stays(tmp_path: Path) -> None:
    record = tmp_path / "a.tif.json"
    record.write_text("{}")
    set_aside(record)
    (found,) = leftovers(record)
    assert "which is whole in .a.tif.json.replaced-" in remove(found).kept
    record.write_text("{}")  # another has the name now
    assert not remove(found).kept
    assert files(tmp_path) == {"a.tif.json"}


def test_what_is_of_no_run_is_none(tmp_path: Path) -> None:
    (tmp_path / "brain.work").mkdir()
    (tmp_path / "brain.work" / "notes").write_text("mine")
    (tmp_path / "brain.work" / "work.json").write_text("{}")
    (tmp_path / ".v.replaced-12345678").mkdir()
    (tmp_path / ".v.replaced-12345678" / "letters").write_text("mine")
    (tmp_path / "x.partial").write_text("mine")
    (tmp_path / ".partial").write_text("mine")
    (tmp_path / ".a.partial").symlink_to(tmp_path / "x.partial")
    (tmp_path / "a.finished.tif").write_text("mine")
    (tmp_path / ".work").mkdir()
    assert leftovers(tmp_path) == []


def test_what_belongs_to_others_is_listed_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v").mkdir()
    set_aside(tmp_path / "v")
    (tmp_path / "v").mkdir()
    unfinished_run(tmp_path / "out")

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for name in ("is_replaced", "noted"):
        monkeypatch.setattr(module, name, denied)
    found = leftovers(tmp_path)
    assert [remove(of).kept for of in found] == 2 * ["it cannot be looked into (Permission denied)"]
    assert all(of.place.exists() for of in found)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": {}, "began": 3}'])
def test_a_run_that_cannot_be_understood_stays(tmp_path: Path, text: str) -> None:
    unfinished_run(tmp_path / "out")
    (work_place(tmp_path / "out") / "work.json").write_text(text)
    (found,) = leftovers(tmp_path)
    assert remove(found).kept.startswith("what it was told cannot be understood")
    assert (tmp_path / "out.work" / "work.json").exists()


def test_links_to_outputs_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    unfinished_run(tmp_path / "out")
    (found,) = leftovers(tmp_path / "out")
    assert found.place == tmp_path / "disk" / "out.work"
