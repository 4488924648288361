"""The journal of finished work: what a killed run leaves is read, what is no journal is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpustitch.errors import DamagedInputError
from gpustitch.io.journal import Journal
from tests.paths import on_disk


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """On the disk, as the file system is what counts."""
    with on_disk() as path:
        yield path


def test_units_are_found_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        assert journal.found("a") is None and len(journal) == 0
        journal.add("a", {"said": "höhe\n", "number": 1.0770171984891403})
        journal.add("b", {})
    with Journal(tmp_path / "j") as journal:
        assert journal.found("a") == {"said": "höhe\n", "number": 1.0770171984891403}
        assert journal.found("b") == {} and len(journal) == 2


def test_a_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add("a", {"n": 1})
    whole = (tmp_path / "j").read_bytes()
    for end in range(len(whole)):
        (tmp_path / "j").write_bytes(whole + whole[:end])
        with Journal(tmp_path / "j") as journal:
            assert len(journal) == 1
            journal.add("b", {"n": 2})
        with Journal(tmp_path / "j") as journal:
            assert journal.found("a") == {"n": 1} and journal.found("b") == {"n": 2}


@pytest.mark.parametrize("line", ["{}", "[]", '{"unit": "a"}', '{"unit": "a", "facts": 3}', "{", "\0\0\0", '"a"'])
def test_what_is_no_journal_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "j").write_text(json.dumps({"unit": "a", "facts": {}}) + f"\n{line}\n")
    with pytest.raises(DamagedInputError, match="j does not describe the work of an unfinished run"):
        Journal(tmp_path / "j")
