"""What the documentation shows runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from tests.docs_code import python_of

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")
def test_docs_library_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in python_of(DOCS / "library.md"):
        exec(compile(block, "library.md", "exec"), names)
    assert names["tile"].shape == (96, 64, 185)
    assert names["block"].shape == (10, 64, 30)
    assert names["found"].is_found
    assert np.abs(np.subtract(names["found"].offset_px, (0, 0, 40))).max() < 0.3
    np.testing.assert_array_equal(np.asarray(names["again"]), np.asarray(names["whole"]))
    assert len(names["even"]) == 79


def test_docs_library_page_names_all_that_is_public():
    text = (DOCS / "library.md").read_text(encoding="utf-8")
    missing = [name for name in gs.__all__ if f"`{name}`" not in text and f"gs.{name}" not in text]
    assert missing == ["__version__"]
