"""Folders that an output may replace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpustitch.errors import OutputError
from gpustitch.io.atomic import atomic_directory, atomic_file, check_output
from tests.paths import on_disk

MARKS = (
    "info", "zarr.json", ".zarray", ".zattrs", ".zgroup", "precomputed.blockfs", "1_1_1/precomputed.blockfs",
    "gpustitch.json", "gpustitch.files.json", "provenance.json", "run.json", "channels.json", "truth.json",
    "destripe.manifest.jsonl",
)  # fmt: skip


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


def filled(folder: Path, *names: str) -> Path:
    """A folder of files, each in folders of its own name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("years of work")
    return folder


@pytest.mark.parametrize("mark", MARKS)
def test_what_holds_an_output_is_replaced(tmp_path: Path, mark: str) -> None:
    folder = filled(tmp_path / "out", mark, "0/0")
    with atomic_directory(folder, overwrite=True) as partial:
        filled(partial, "new")
    assert [entry.name for entry in folder.iterdir()] == ["new"]


@pytest.mark.parametrize(
    "names",
    [["notes.txt"], ["raw/000000/0.dcimg", "paper.docx"], [".git/config"], ["brain1/info", "brain2/info"],
     ["a/zarr.json"], ["a/b/provenance.json"], ["img_000.tif", "img_001.tif"]],
)  # fmt: skip
@pytest.mark.parametrize("by_link", [False, True])
def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, names: list[str], by_link: bool) -> None:
    folder = filled(tmp_path / "data", *names)
    if by_link:
        (tmp_path / "link").symlink_to(folder)
    path = tmp_path / "link" if by_link else folder
    for refused in (
        lambda: check_output(path, overwrite=True),
        lambda: atomic_directory(path, overwrite=True).__enter__(),
    ):
        with pytest.raises(OutputError, match=r"no file that marks an output.*remove the folder yourself"):
            refused()
    assert all((folder / name).read_text() == "years of work" for name in names)
    check_output(path, overwrite=True, is_whole=False)


@pytest.mark.parametrize("name", [".", "..", "", "../out", "../../{}"])
@pytest.mark.parametrize("is_marked", [False, True])
def test_the_folder_that_one_is_in_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_marked: bool
) -> None:
    """Not even an empty one: the shell would go on in a folder that has no name any more."""
    folder = tmp_path / "out"
    folder.mkdir()
    if is_marked:
        filled(folder, "info")
        filled(tmp_path, "info")
    monkeypatch.chdir(folder)
    with pytest.raises(OutputError, match="the working directory, which is not replaced; give the name"):
        check_output(Path(name.format(tmp_path.name)), overwrite=is_marked or name not in (".", "", "../out"))
    assert folder.samefile(Path.cwd())


def test_a_home_and_a_disk_are_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = filled(tmp_path / "users" / "me", "info")
    monkeypatch.setenv("HOME", str(home))
    for folder in (home, filled(home.parent, "info")):
        with pytest.raises(OutputError, match="your home, which is not replaced"):
            check_output(folder, overwrite=True)
    disk = filled(tmp_path / "disk", "info")
    monkeypatch.setattr(Path, "is_mount", lambda self: self == disk)
    with pytest.raises(OutputError, match="is a disk, which is not replaced"):
        check_output(disk, overwrite=True)


@pytest.mark.posix
@pytest.mark.parametrize("manager", [atomic_file, atomic_directory])
@pytest.mark.parametrize("by_link", [False, True])
def test_a_pipe_or_a_device_is_never_replaced(tmp_path: Path, manager: Any, by_link: bool) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "pipe"
    if by_link:
        path = tmp_path / "link"
        path.symlink_to("pipe")
    with (
        pytest.raises(OutputError, match="is a device or a pipe, which is not replaced"),
        manager(path, overwrite=True),
    ):
        pytest.fail("must not be entered")
    assert (tmp_path / "pipe").is_fifo()
