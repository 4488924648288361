"""Tables of the documentation say what the code says: words, exit codes, verdicts, variables, pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gpustitch.errors as errors
from docs.pictures import FOLDER, MOST_BYTES, PICTURES, png_of
from gpustitch.cli.about.demo import EXIT_TARGET_MISSED
from gpustitch.cli.slices.spacing import UNUSABLE, WARNED
from gpustitch.io.frames.formats import FRAME_FORMATS
from gpustitch.io.volumes.opening import VOLUME_FORMATS
from gpustitch.io.write.formats import OUTPUT_FORMATS
from gpustitch.model.options import leaves
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.sections.faults.find import FAULT_TYPES
from gpustitch.slices.model import SpacingClass
from tests.docs_code import PAGES, prose_of
from tests.paths import ROOT

CODE = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "gpustitch").rglob("*.py")))


def rows_of(name: str) -> list[list[str]]:
    """The cells of all rows of the tables of a page."""
    lines = [line for line in prose_of(PAGES[name]).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines]


WORDS = [word for row in rows_of("docs/words.md") for word in re.findall(r"\*([^*]+)\*", row[0])]


@pytest.mark.parametrize("word", WORDS)
def test_docs_words_are_used(word):
    used = "\n".join(prose_of(page) for name, page in PAGES.items() if name != "docs/words.md")
    stem = r"[ _-]".join(map(re.escape, word.removesuffix("s").split()))
    assert re.search(rf"\b{stem}", used + CODE, re.IGNORECASE)


def test_docs_words_are_each_said_once():
    assert len(WORDS) > 40
    # A stage is of the program and of the microscope, and both are said in one row.
    assert len(set(WORDS)) == len(WORDS)


def test_docs_words_of_the_code_are_there():
    named = set(re.findall(r"`(\w+)`", prose_of(PAGES["docs/words.md"])))
    assert {"max_lag", "SliceStack", "fault_type"} <= named
    assert not [name for name in named if not re.search(rf"\b{name}\b", CODE)]


def test_docs_words_name_the_types_of_faults():
    (row,) = [row for row in rows_of("docs/words.md") if row[0] == "*fault*"]
    assert sorted(re.findall(r"\w+", row[1].partition("`fault_type`: ")[2])) == sorted(FAULT_TYPES)


def all_errors() -> dict[str, int]:
    """The errors and their exit codes."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {
        kind.__name__: kind.exit_code
        for kind in kinds
        if issubclass(kind, errors.GpustitchError) and kind is not errors.GpustitchError
    }


def test_docs_words_list_every_exit_code():
    rows = [row for row in rows_of("docs/errors.md") if row[0][:1].isdigit()]
    assert {row[1].strip("`"): int(row[0]) for row in rows if row[1]} == all_errors()
    others = {code for row in rows if not row[1] for code in re.findall(r"\d+", row[0])}
    assert others == {"0", "1", "2", str(EXIT_TARGET_MISSED), str(WARNED), str(UNUSABLE), "130", "143", "128"}


def test_docs_words_list_every_verdict():
    named = [row[0].strip("`") for row in rows_of("docs/slices.md") if row[0].strip("`").isupper()]
    assert named == [str(verdict) for verdict in SpacingClass]


def test_docs_words_list_every_variable_of_the_pipeline():
    rows = [row for row in rows_of("docs/migration.md") if re.fullmatch(r"`[A-Z_]+`", row[0])]
    declared = {leaf.declared.env: leaf for leaf in leaves(PipelineOptions) if leaf.declared.env}
    device = declared.pop("GPUSTITCH_DEVICE")
    assert device.name == "device" and {row[0].strip("`") for row in rows} == set(declared)
    for row in rows:
        leaf = declared[row[0].strip("`")]
        flags = {flag for named in leaf.flags for flag in named.split("/")}
        assert re.findall(r"--[\w-]+", row[1])[0] in flags, row


def test_docs_words_name_every_format():
    frames, volumes = (PAGES[f"docs/{name}.md"].read_text("utf-8") for name in ("stacks", "volumes"))
    assert not [each.name for each in FRAME_FORMATS if each.name not in frames]
    assert not [each.name for each in VOLUME_FORMATS if each.name not in volumes]
    for each in OUTPUT_FORMATS:
        assert each.title in volumes and all(f"`*{suffix}`" in volumes for suffix in each.suffixes[:1]), each.title


def test_docs_words_pictures_are_small_and_shown():
    shown = {
        Path(name).stem
        for page in PAGES.values()
        for name in re.findall(r"\(pictures/([\w.]+)\)", page.read_text("utf-8"))
    }
    assert {path.stem for path in FOLDER.glob("*.png")} == set(PICTURES) == shown
    assert not [path for path in FOLDER.iterdir() if path.stat().st_size > MOST_BYTES]


@pytest.mark.parametrize("name", ["geometry", "slices"])
@pytest.mark.filterwarnings("ignore::gpustitch.errors.GpustitchWarning")
def test_docs_words_pictures_can_be_drawn_again(name):
    content = png_of(PICTURES[name]())
    assert content.startswith(b"\x89PNG") and len(content) < MOST_BYTES
