"""The one search for files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpustitch.errors import InputMissingError
from gpustitch.io.found import found_files, natural_key


@pytest.fixture
def tree(tmp_path):
    for name in (
        "s_10.tif", "s_2.tif", ".s_1.tif", "notes.txt", "run_10/a.tif", "run_9/b.tif", "run_9/deep/c.tif",
        ".git/d.tif", "__MACOSX/e.tif", "run_9/.f.tif",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(folder, *given, **options):
    return [os.path.relpath(path, folder) for path in found_files(*given, **options)]


def test_a_folder_s_files_in_natural_order_without_hidden_ones(tree):
    assert names(tree, tree) == ["notes.txt", "s_2.tif", "s_10.tif"]
    below = ["notes.txt", "run_9/b.tif", "run_9/deep/c.tif", "run_10/a.tif", "s_2.tif", "s_10.tif"]
    assert names(tree, str(tree), below=True) == below


def test_a_file_is_itself_hidden_or_not(tree):
    assert found_files(tree / ".s_1.tif") == [tree / ".s_1.tif"]


def test_patterns_give_names_in_natural_order(tree):
    assert names(tree, tree / "s_*.tif") == ["s_2.tif", "s_10.tif"]
    assert names(tree, tree / "run_*" / "*.tif") == ["run_9/b.tif", "run_10/a.tif"]
    assert names(tree, tree / "**" / "c.*") == ["run_9/deep/c.tif"]
    assert names(tree, tree / ".s*") == [".s_1.tif"]
    # Folders that match stand for what is below them, where that is asked for.
    assert names(tree, tree / "run_*") == []
    assert names(tree, tree / "run_*", below=True) == ["run_9/b.tif", "run_9/deep/c.tif", "run_10/a.tif"]


def test_a_folder_that_is_there_is_meant_as_it_is_named(tmp_path):
    for name in ("brain [3]/a.tif", "brain 3/b.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert names(tmp_path, tmp_path / "brain [3]") == ["brain [3]/a.tif"]
    assert names(tmp_path, tmp_path / "brain [3]" / "*.tif") == ["brain [3]/a.tif"]
    assert names(tmp_path, tmp_path / "brain [2-4]" / "*.tif") == ["brain 3/b.tif"]


@pytest.mark.parametrize("name", ["none", "no*e", "none/*"])
def test_nothing_there_is_an_error(tmp_path, name):
    with pytest.raises(InputMissingError, match="there is no file or folder"):
        found_files(tmp_path / name)


def test_a_folder_that_cannot_be_listed(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if Path(path).name == "run_9":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    told = []
    assert "run_10/a.tif" in names(tree, tree, below=True, failed=told.append)
    assert [error.filename for error in told] == [str(tree / "run_9")]
    with pytest.raises(InputMissingError, match="cannot be opened: Permission denied"):
        found_files(tree, below=True)


def test_digits_that_are_no_decimals_are_text():
    assert natural_key(Path("a²")) < natural_key(Path("b1")) and natural_key(Path("²")) == ((1, "²"),)
