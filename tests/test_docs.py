"""What the documentation shows runs."""

from __future__ import annotations

import html
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import gpustitch as gs
from docs.hooks import unit_of
from gpustitch.cli.main import COMMANDS
from gpustitch.model.options import Leaf, leaves
from tests.docs_code import DOCS, PAGES
from tests.paths import ROOT

NAV = re.findall(r"(\w[\w/.]*\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)


def test_docs_library_page_names_all_that_is_public():
    text = (DOCS / "library.md").read_text(encoding="utf-8")
    missing = [name for name in gs.__all__ if f"`{name}`" not in text and f"gs.{name}" not in text]
    assert missing == ["__version__"]


def built(folder: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a folder; a warning is an error. Notebooks, which tests execute elsewhere, have no outputs.

    Not --quiet: warnings that are not told are not counted either.
    """
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "GPUSTITCH_DOCS_NOTEBOOKS": "off"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built."""
    place = tmp_path_factory.mktemp("site")
    found = built(ROOT, place)
    assert found.returncode == 0, found.stderr
    return place


def test_docs_site_is_refused_for_a_warning(tmp_path):
    (tmp_path / "docs").mkdir()
    settings = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), yaml.BaseLoader)
    settings = {"site_name": "x", "nav": [{"Start": "index.md"}], "validation": settings["validation"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for text, is_fine in (("# A\n[b](#a)", True), ("# A\n[b](#b)", False), ("# A\n[b](none.md)", False)):
        (tmp_path / "docs" / "index.md").write_text(text, encoding="utf-8")
        assert (built(tmp_path, tmp_path / "site").returncode == 0) == is_fine, text


def options_of(name: str) -> list[Leaf]:
    """The options of a command."""
    command = importlib.import_module(COMMANDS[name]).command
    return leaves(command.options_type, command.without)


def words_of(page: Path) -> str:
    """Text of a page, without its marks."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


@pytest.mark.xdist_group("site")
def test_docs_site_has_all_commands_with_their_options(site):
    said = words_of(site / "commands" / "index.html")
    assert all(f"{name}¶" in said for name in COMMANDS)
    for name in COMMANDS:
        for leaf in options_of(name):
            assert leaf.declared.is_hidden or all(flag in said for flag in leaf.flags), f"{name}: {leaf.name}"
    assert "Stage step between frames, um." in said and "--json" in said and "30,40,50,60,70,80" in said


@pytest.mark.xdist_group("site")
def test_docs_site_has_every_page_and_picture_once(site):
    made = {page.relative_to(site).parent.as_posix() for page in site.rglob("index.html")}
    wanted = {name.removesuffix(".md") for name in NAV} - {"index"} | {"."}
    assert made == wanted
    named = {name.relative_to(DOCS).with_suffix("").as_posix() for name in DOCS.glob("*.md")}
    assert named <= wanted and len(NAV) == len(set(NAV))
    for page in site.rglob("index.html"):
        for source in re.findall(r'<img[^>]+src="([^":]+)"', page.read_text("utf-8")):
            assert (page.parent / source).resolve().is_file(), f"{page}: {source}"


@pytest.mark.xdist_group("site")
def test_docs_site_has_all_calls_without_marks_of_sphinx(site):
    said = words_of(site / "api" / "index.html")
    missing = [name for name in gs.__all__ if name not in said]
    assert missing == ["__version__"]
    assert not re.findall(r":(?:class|func|mod|meth|data|attr):|``", said)


def test_docs_site_says_units_and_what_every_option_is():
    found = {(name, leaf.name): leaf for name in COMMANDS for leaf in options_of(name)}
    assert not [key for key, leaf in found.items() if not leaf.declared.help]
    bare = [key for key, leaf in found.items() if re.search("_(um|mm|px|deg|bytes|db)$", key[1]) and not unit_of(leaf)]
    assert not bare
    for key, unit in (("window_px", "voxels"), ("sigma1", "pixels"), ("angle_deg", "degrees"), ("dark", "counts")):
        assert unit_of(found["pipeline", key]) == unit
    assert unit_of(found["z-spacing", "max_lag"]) == "sections"
    assert unit_of(found["pipeline", "shard_bytes"]) == "bytes"
    assert not unit_of(found["pipeline", "min_correlation"])


@pytest.mark.parametrize("name", PAGES)
def test_docs_links_lead_to_files_of_the_repository(name):
    page = PAGES[name]
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).is_file(), f"{name}: {target}"


def test_docs_readme_is_short():
    assert PAGES["README.md"].read_text("utf-8").count("\n") <= 140
