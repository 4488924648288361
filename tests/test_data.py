"""The list of test data names every file, and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_every_file_is_described():
    text = (TESTS / "data" / "README.md").read_text()
    names = {path.name + "/" * path.is_dir() for path in (TESTS / "data").iterdir()} - {"README.md"}
    assert not {name for name in names if f"`{name}`" not in text}


def test_tests_that_are_named_are_there():
    named = re.findall(r"`(\S+\.py)::(\w+)`", (TESTS / "data" / "README.md").read_text())
    assert len(named) > 20
    assert not [(file, name) for file, name in named if f"def {name}(" not in (TESTS / file).read_text()]
