"""Whatever is wrong in an alignment file is told, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpustitch.errors import DamagedInputError
from gpustitch.oblique.mosaic.file import read_alignment, write_alignment
from tests.io.edits import edits
from tests.oblique.mosaic.test_file import SPACING, record

EVERY = 53


def test_a_damaged_alignment(tmp_path: Path) -> None:
    path, n_refused = tmp_path / "align.json", 0
    write_alignment(path, record())
    for number, (_, bad) in enumerate(edits(json.loads(path.read_text()))):
        if number % EVERY == 0:
            path.write_text(json.dumps(bad))
            try:
                read_alignment(path).placement(SPACING)
            except DamagedInputError as error:
                assert str(path) in str(error)
                n_refused += 1
    assert n_refused > 20


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"alignments": {"[1, 2, 1e400]": [0, 0, 0]}}', "", "null", "\ufeff{}"]
)
def test_no_alignment_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "align.json"
    path.write_text(text)
    with pytest.raises(DamagedInputError, match="not an alignment file"):
        read_alignment(path)
