"""A finished output gets its name without losing anything, wherever the run is stopped on the way."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpustitch.errors import OutputError, OutputExistsError
from gpustitch.io.atomic import atomic_directory, atomic_file
from gpustitch.io.partial import RUN, fcntl, final_place
from tests.paths import on_disk

_CALLS = ("rename", "replace", "link", "unlink", "rmdir", "mkdir")  # what changes names, in `os`


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


class Steps:
    """Does something instead of the n-th call that changes a name."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], Any], calls: tuple[str, ...] = _CALLS
    ) -> None:
        self.left, self.act = number, act
        for name in calls:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.act()
            return call(*args, **more)

        return counted


MARK = ".manifest.jsonl"  # such files mark an output, which may be replaced


def volume(path: Path, name: str, n_files: int = 3) -> Path:
    """A folder that is whole if it holds so many files of one name."""
    path.mkdir(parents=True)
    for k in range(n_files):
        (path / f"{name}{k}{MARK}").touch()
    return path


def content(path: Path) -> list[str]:
    """Names in a folder, or the text of a file; nothing if there is none."""
    if path.is_dir():
        return sorted(entry.name for entry in path.iterdir())
    return [path.read_text()] if path.exists() else []


OLD, NEW = ([f"{name}{k}{MARK}" for k in range(3)] for name in ("old", "new"))


def replace_volume(path: Path, name: str = "new") -> None:
    """Write a volume over what is at ``path``."""
    with atomic_directory(path, overwrite=True) as partial:
        for k in range(3):
            (partial / f"{name}{k}{MARK}").touch()


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> bool:
    """Whether a child that does ``work`` reached its n-th change of a name, and was killed there."""
    child = os.fork()
    if child == 0:
        Steps(monkeypatch, number, lambda: os._exit(9))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.posix
@pytest.mark.parametrize("is_file", [False, True], ids=["over a folder", "over a file"])
def test_a_run_killed_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_file: bool) -> None:
    for number in range(1, 40):
        path = tmp_path / str(number) / "out[1].zarr"
        path.parent.mkdir()
        old = ["old"] if is_file else OLD
        path.write_text("old") if is_file else volume(path, "old")
        was_killed = killed_at(number, monkeypatch, lambda path=path: replace_volume(path))
        left = content(path)
        assert left in (old, NEW, []), f"torn at step {number}"
        if not left:  # between its two renames: both lie there whole
            with pytest.raises(OutputExistsError), atomic_directory(path):
                pytest.fail("must not be entered")
            assert content(path) == NEW
        replace_volume(path, "next")
        assert content(path) == [f"next{k}{MARK}" for k in range(3)]
        assert content(path.parent) == [path.name], "what the killed run left is cleared"
        if not was_killed:
            break
    assert 5 < number < 39


def test_ctrl_c_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 40):
        path = volume(tmp_path / str(number) / "out", "old")

        def interrupt() -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            steps = Steps(patched, number, interrupt)
            try:
                replace_volume(path)
            except KeyboardInterrupt:
                pass
        assert content(path) in (OLD, NEW)
        if number > 2:  # the folder to fill was made
            assert content(path) == NEW or content(path.parent) == ["out"]
        replace_volume(path)
        assert content(path) == NEW and content(path.parent) == ["out"]
        if steps.left > 0:
            break
    assert 5 < number < 39


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_finished_output_that_gets_no_name_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    real = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial") and target.name == "out":
            raise OSError(errno.EBUSY, "Device or resource busy")
        return real(self, target)

    if overwrite:
        volume(tmp_path / "out", "old")
    monkeypatch.setattr(Path, "rename", refused)
    for number in ("", "2"):
        with pytest.raises(OutputError, match=rf"cannot get its name.*whole and lies in .*out\.finished{number}$"):
            if overwrite:
                replace_volume(tmp_path / "out")
            else:
                with atomic_directory(tmp_path / "out") as partial:
                    volume(partial / "x", "new")
        assert content(tmp_path / f"out.finished{number}") == (NEW if overwrite else ["x"])
    assert content(tmp_path / "out") == (OLD if overwrite else [])


@pytest.mark.posix
@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_two_runs_into_one_file_do_not_mix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, locks: bool, links: bool
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    if not locks:
        monkeypatch.setattr(fcntl, "flock", refused)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    told: dict[str, BaseException | None] = {}
    path, meet = tmp_path / "v.tif", threading.Barrier(2)

    def run(name: str) -> None:
        told[name] = None
        try:
            with atomic_file(path, overwrite=overwrite) as partial:
                for _ in range(2):  # both are within at once
                    with partial.open("a") as file:
                        file.write(name)
                    try:
                        meet.wait(2)
                    except threading.BrokenBarrierError:
                        pass
        except (OutputError, OutputExistsError) as error:
            told[name] = error
            meet.abort()

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [name for name, error in told.items() if error is None]
    assert path.read_text() in [name * 2 for name in won]
    assert len(won) == (2 if overwrite and not locks else 1)
    kept = tmp_path / "v.finished.tif"
    if locks or overwrite:
        assert content(tmp_path) == ["v.tif"]
    else:  # the other one saw it only at the end
        assert content(tmp_path) == ["v.finished.tif", "v.tif"]
        assert {kept.read_text(), path.read_text()} == {"aa", "bb"}
    if locks:
        assert any("another run" in str(error) for error in told.values())


@pytest.mark.posix
def test_a_killed_run_leaves_a_file_that_is_never_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, text: str, **more: bool) -> None:
        with atomic_file(path, **more) as partial:
            partial.write_text(text)

    for number in range(1, 9):
        path = tmp_path / str(number) / "out.bin"
        was_killed = killed_at(number, monkeypatch, lambda path=path: write(path, "first"))
        assert content(path) in ([], ["first"])
        if path.exists():  # it may be the same file as the one left by the killed run
            held = os.open(path, os.O_RDONLY)
            write(path, "second", overwrite=True)
            assert os.read(held, 9) == b"first"
            os.close(held)
        else:
            write(path, "second")
        assert content(path) == ["second"] and content(path.parent) == ["out.bin"]
        if not was_killed:
            break
    assert 2 < number < 8


def test_what_another_program_removed_is_told_of_the_output(tmp_path: Path) -> None:
    removed = "out: another program removed what was written so far"
    with pytest.raises(OutputError, match=removed), atomic_directory(tmp_path / "out") as partial:
        shutil.rmtree(partial)
    with pytest.raises(OutputError, match=removed), atomic_directory(tmp_path / "out") as partial:
        shutil.rmtree(partial)
        (partial / "a").touch()
    with pytest.raises(OutputError, match=removed), atomic_file(tmp_path / "out") as file:
        file.unlink()
    assert not content(tmp_path)


@pytest.fixture(name="flushed")
def _flushed(monkeypatch: pytest.MonkeyPatch, synced: None) -> list[int]:
    """Numbers of the files and folders that were flushed to the disk."""
    numbers: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (numbers.append(os.fstat(file).st_ino), real(file)))
    return numbers


@pytest.mark.posix
def test_small_files_and_the_folder_of_names_are_flushed(tmp_path: Path, flushed: list[int]) -> None:
    with atomic_file(tmp_path / "align.json") as partial:
        partial.touch()
    assert flushed == [(tmp_path / "align.json").stat().st_ino, tmp_path.stat().st_ino]
    flushed.clear()
    with atomic_file(tmp_path / "frame.tif", durable=False) as partial:
        partial.touch()
    assert not flushed
    replace_volume(tmp_path / "volume")
    assert flushed == [tmp_path.stat().st_ino]


@pytest.mark.posix
@pytest.mark.parametrize("manager", [atomic_file, atomic_directory])
def test_a_second_run_waits_for_nothing_that_a_killed_run_holds(tmp_path: Path, manager: type) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with manager(tmp_path / "out"):
                os.write(told, b"1")
                time.sleep(60)
        finally:
            os._exit(0)
    assert os.read(ready, 1) == b"1"
    with pytest.raises(OutputError, match="another run"), manager(tmp_path / "out"):
        pytest.fail("must not be entered")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with manager(tmp_path / "out") as partial:
        (partial / "mine" if partial.is_dir() else partial).write_text("mine")
    assert content(tmp_path / "out") == ["mine"] and content(tmp_path) == ["out"]


def test_the_final_place_of_an_unfinished_output_is_told(tmp_path: Path) -> None:
    work = tmp_path / "out.work"
    (work / "out").mkdir(parents=True)
    # A folder that only has such a name is none of ours.
    assert final_place(work / "out" / "a") == work / "out" / "a"
    (work / RUN).write_text("{}")
    assert final_place(work / "out" / "a") == tmp_path / "out" / "a"
    assert final_place(work / "other") == work / "other"
    assert final_place(tmp_path / ".v.partial" / "a") == tmp_path / "v" / "a"
