"""What the documentation shows runs."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpustitch as gs
from gpustitch.cli.main import COMMANDS
from tests.docs_code import python_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built; a warning is an error."""
    place = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(place)],
        cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    return place


def words_of(page: Path) -> str:
    """Text of a page, without its marks."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.xdist_group("site")
def test_docs_site_has_all_commands_with_their_options(site):
    said = words_of(site / "commands" / "index.html")
    assert all(f"{name}¶" in said for name in COMMANDS)
    for flag in ("--x-step-size", "--split-by", "--high-pass", "--shard-size"):
        assert flag in said
    assert "Stage step between frames, um." in said


@pytest.mark.xdist_group("site")
def test_docs_site_has_all_calls_without_marks_of_sphinx(site):
    said = words_of(site / "api" / "index.html")
    missing = [name for name in gs.__all__ if name not in said]
    assert missing == ["__version__"]
    assert not re.findall(r":(?:class|func|mod|meth|data|attr):|``", said)
