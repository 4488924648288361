"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpustitch.errors import OutputError, OutputExistsError, ParameterError
from gpustitch.io.atomic import (
    atomic_directory,
    atomic_file,
    atomic_record,
    check_apart,
    check_free_space,
    check_output,
    record_of,
)  # fmt: skip
from gpustitch.io.partial import final_place
from tests.paths import on_disk


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


def test_file_appears_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out.bin"
    with atomic_file(target) as partial:
        partial.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_failed_file_leaves_nothing_and_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(target, overwrite=True) as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("manager", [atomic_file, atomic_directory])
def test_existing_output_is_refused(tmp_path: Path, manager: type) -> None:
    (tmp_path / "taken").write_bytes(b"x")
    with pytest.raises(OutputExistsError, match="`overwrite`"), manager(tmp_path / "taken"):
        pytest.fail("must not be entered")


def test_directory_replaces_the_old_one_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    (target / "info").touch()
    with pytest.raises(KeyboardInterrupt), atomic_directory(target, overwrite=True) as partial:
        (partial / "new").touch()
        raise KeyboardInterrupt
    assert [p.name for p in target.iterdir()] == ["info"]
    with atomic_directory(target, overwrite=True) as partial:
        (partial / "new").touch()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_empty_directory_may_become_the_output(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic_directory(tmp_path / "empty") as partial:
        (partial / "new").touch()
    assert (tmp_path / "empty" / "new").exists()


def test_a_partial_directory_left_by_a_killed_run_is_replaced(tmp_path: Path) -> None:
    stale = tmp_path / ".volume.partial"
    stale.mkdir()
    (stale / "junk").touch()
    with atomic_directory(tmp_path / "volume") as partial:
        assert not any(partial.iterdir())


@pytest.mark.posix
def test_two_runs_into_one_output_do_not_mix(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "volume") as first:
        (first / "mine").touch()
        with pytest.raises(OutputError, match="another run"), atomic_directory(tmp_path / "volume"):
            pytest.fail("must not be entered")
        assert (first / "mine").exists()
    assert [p.name for p in (tmp_path / "volume").iterdir()] == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == ["volume"]


def test_an_output_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError), atomic_directory(tmp_path / "volume"):
        (tmp_path / "volume").mkdir()
        (tmp_path / "volume" / "others").touch()
    assert [p.name for p in (tmp_path / "volume").iterdir()] == ["others"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["volume", "volume.finished"]


@pytest.mark.posix
def test_a_link_to_a_folder_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "big disk" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "big disk" / "out")
    with atomic_directory(tmp_path / "link") as partial:
        assert partial.parent == tmp_path / "big disk"
        (partial / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "big disk" / "out" / "new").exists()


@pytest.mark.posix
def test_outputs_that_would_replace_an_input_are_refused(tmp_path: Path) -> None:
    raw = tmp_path / "channel" / "raw.dcimg"
    raw.parent.mkdir()
    raw.touch()
    (tmp_path / "link").symlink_to(tmp_path / "channel")
    for output in (raw, raw.parent, tmp_path, tmp_path / "link", tmp_path / "channel" / "x" / ".."):
        with pytest.raises(ParameterError, match="never replaced"):
            check_apart(output, [tmp_path / "another", raw])
    check_apart(tmp_path / "channel" / "volume", [raw, raw.parent])


@pytest.mark.posix
def test_outputs_among_the_tiles_of_a_channel_are_refused_through_links_too(tmp_path: Path) -> None:
    raw = tmp_path / "channel/0/0_0/0.dcimg"
    elsewhere = tmp_path / "store/90/90_-5/7"
    for path in (raw, elsewhere):
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "link").symlink_to(tmp_path / "channel")
    (raw.parent / "1.dcimg").symlink_to(elsewhere)
    inputs = [raw, raw.parent / "1.dcimg"]
    for output in ("channel/out", "channel/0/out.zarr", "channel/0/0_0/0", "link/out", "link/0/x/../y", "store/out"):
        with pytest.raises(ParameterError, match="among the tiles") as refusal:
            check_apart(tmp_path / output, inputs)
        assert refusal.value.parameter == "output"
    for output in ("out", "channel out", "stores/out"):
        check_apart(tmp_path / output, inputs)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EIO, "reports an error"),
        (errno.EROFS, "no permission"),
        (errno.EACCES, "no permission"),
        (errno.EDQUOT, "share of the disk is used up"),
        (errno.EFBIG, "takes no file of this size"),
        (errno.ENAMETOOLONG, "the name is longer than the disk takes"),
    ],
)
def test_what_the_system_says_names_the_output(tmp_path: Path, code: int, text: str) -> None:
    with pytest.raises(OutputError, match=rf"out\.bin.*{text}"), atomic_file(tmp_path / "out.bin"):
        raise OSError(code, os.strerror(code))
    assert not any(tmp_path.iterdir())


@pytest.mark.posix
def test_no_inodes_left_is_told_from_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    for free_files, free_blocks, text in ((0, 5, "no inodes are left"), (7, 0, "disk is full"), (0, 0, "disk is full")):
        found = os.statvfs_result([*real[:3], free_blocks, free_blocks, 1000, free_files, free_files, *real[8:]])
        monkeypatch.setattr(os, "statvfs", lambda _path, found=found: found)
        with pytest.raises(OutputError, match=text), atomic_file(tmp_path / "out.bin"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.posix
@pytest.mark.parametrize("manager", [atomic_file, atomic_directory])
def test_no_inodes_are_told_before_what_was_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manager: type
) -> None:
    real = os.statvfs(tmp_path)

    def found(_path: Path) -> os.statvfs_result:
        free_files = 0 if any(tmp_path.iterdir()) else 9
        return os.statvfs_result([*real[:3], 5, 5, 1000, free_files, free_files, *real[8:]])

    monkeypatch.setattr(os, "statvfs", found)
    with pytest.raises(OutputError, match="no inodes are left"), manager(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not any(tmp_path.iterdir())


@pytest.mark.posix
def test_a_link_to_a_file_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target = tmp_path / "big disk" / "v.tif"
    target.parent.mkdir()
    target.write_bytes(b"old")
    (tmp_path / "v.tif").symlink_to(target)
    (tmp_path / "folder").symlink_to(target.parent)
    for place, text in ((tmp_path / "v.tif", b"new"), (tmp_path / "folder" / "v.tif", b"newer")):
        with pytest.raises(OutputExistsError), atomic_file(place):
            pytest.fail("must not be entered")
        with atomic_record(place, overwrite=True) as write:
            write("{}")
            with atomic_file(place, overwrite=True) as partial:
                assert partial.parent == target.parent
                partial.write_bytes(text)
        assert target.read_bytes() == text and (tmp_path / "v.tif").is_symlink()
        assert record_of(place).read_text() == "{}"
    assert sorted(path.name for path in target.parent.iterdir()) == ["v.tif", "v.tif.json"]


@pytest.mark.parametrize("manager", [atomic_file, atomic_directory])
def test_a_folder_of_outputs_that_is_removed_meanwhile_is_told(tmp_path: Path, manager: type) -> None:
    removed = "out: another program removed what was written so far"
    with pytest.raises(OutputError, match=removed), manager(tmp_path / "of outputs" / "out") as partial:
        shutil.rmtree(tmp_path / "of outputs")
        (partial / "a" if manager is atomic_directory else partial).read_bytes()


def test_other_system_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out.bin"):
        raise FileNotFoundError("an input")


@pytest.mark.parametrize("name", ["bad\udcff", "folder\udce4/out", "\udc80"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="no text"):
        check_output(tmp_path / name, overwrite=True)
    assert not list(tmp_path.iterdir())
    check_output(tmp_path / "täxt 日本", overwrite=True)


def test_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a directory"):
        check_output(tmp_path / "file" / "below", overwrite=False)


@pytest.mark.posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        check_output(tmp_path / "out", overwrite=False)
    tmp_path.chmod(0o700)


def test_too_little_space_is_refused_and_the_need_is_stated(tmp_path: Path) -> None:
    check_free_space(tmp_path / "new" / "out", 1)
    with pytest.raises(OutputError, match=r"needs about 1000000000\.00 GB"):
        check_free_space(tmp_path / "new" / "out", 10**18)


def test_a_path_in_unfinished_outputs_is_told_as_it_will_be(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "out") as folder, atomic_file(folder / "tiles" / "a.json") as file:
        assert final_place(file) == tmp_path / "out" / "tiles" / "a.json" and file != final_place(file)
        file.touch()
    for kept in ("a.partial", ".partial", "x/.a.partial.b", ".hidden"):
        assert final_place(tmp_path / kept) == tmp_path / kept
