"""``gpustitch clean``: lists what runs have left, and removes nothing unless it is told to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpustitch.cli.main import app
from gpustitch.io.partial import locked_file, set_aside
from tests.io.test_leftovers import files, unfinished_run

pytestmark = pytest.mark.posix


def clean(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["clean", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_leftovers_are_listed_and_removed_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert clean() == "no run has left anything\n"
    unfinished_run(tmp_path / "out", 57)
    (tmp_path / "a.tif.json").write_text("{}")
    set_aside(tmp_path / "a.tif.json")
    with locked_file(tmp_path / "b.tif"):
        before = files(tmp_path)
        said = clean()
        when = r"\d{4}-\d\d-\d\d \d\d:\d\d[+-]\d\d:\d\d"
        assert re.search(rf"^{tmp_path}/out\.work: unfinished run of {when} for out: 57 parts, 1 MB$", said, re.M)
        assert re.search(r"\.b\.tif\.partial: unfinished output of .+ for b\.tif: 0 MB; kept: a run is writing", said)
        assert re.search(r"\.a\.tif\.json\.replaced-.+: what an output replaced of .+; kept: a run was killed", said)
        assert said.endswith("--remove removes 1 of 3: 1 MB\n")
        assert files(tmp_path) == before
        said = clean(".", "out", "--remove")
        assert said.count("for out: 57 parts, 1 MB; removed\n") == 1
        assert said.endswith("removed 1 of 3: 1 MB\n")
        assert files(tmp_path) == {file for file in before if not file.startswith("out")}


def test_a_path_where_nothing_is_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["clean", str(tmp_path / "outt")])
    assert result.exit_code == 4
    assert f"there is no file or folder {tmp_path / 'outt'}" in result.output
