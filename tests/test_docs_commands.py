"""Commands in the documentation are real: they are there, take these options, and those of some pages are executed."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench.gpu_check import start as gpu_check
from gpustitch.cli.main import COMMANDS, app
from gpustitch.demo.phantom.stage import make_phantom
from gpustitch.demo.phantom.truth import PhantomSpec
from tests.docs_code import PAGES, commands_of, expanded, prose_of
from tests.docs_data import make_data

pytestmark = pytest.mark.xdist_group("docs-commands")
ROOT_COMMAND = typer.main.get_command(app)
# Pages of which every command but these is executed, in order. `view` serves until it is stopped, `demo` has tests.
EXECUTED = ("docs/brain.md", "docs/quick_start.md", "docs/sections.md", "docs/slices.md")
NOT_EXECUTED = ("view", "demo")
# Exit codes that are no failure: series, and small volumes, with warnings.
FINE = {"spacing": (0, 21), "report": (0, 21)}
# Flags in texts that are of other programs, with the page.
FOREIGN = {
    "CONTRIBUTING.md": {"--cov", "--strict"},
    "docs/ARCHITECTURE.md": {"--strict"},
    "docs/gpu.md": set(re.findall(r"--[a-z]+", gpu_check.parser().format_help())),
}
GROUP = typer.Context(ROOT_COMMAND)


def command_named(name: str) -> typer.core.TyperCommand:
    """A command as typer has it."""
    return ROOT_COMMAND.get_command(GROUP, name)


def flags_of(name: str) -> set[str]:
    """All flags of a command."""
    command = command_named(name)
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


FLAGS = {name: flags_of(name) for name in COMMANDS}
WRITTEN = [(name, words) for name, page in PAGES.items() for words in commands_of(page)]


@pytest.mark.parametrize(
    ("name", "words"), WRITTEN, ids=[f"{n}-{' '.join(w[:2])}-{k}" for k, (n, w) in enumerate(WRITTEN)]
)
def test_docs_commands_are_taken(name, words):
    assert words[0] in COMMANDS, f"{name}: gpustitch {' '.join(words)}"
    command_named(words[0]).make_context(words[0], list(words[1:]))


@pytest.mark.parametrize("name", COMMANDS)
def test_docs_commands_take_the_examples_of_their_help(name):
    text = " ".join((inspect.getdoc(importlib.import_module(COMMANDS[name]).command) or "").split())
    (example,) = re.findall(r"Example: gpustitch (.+)$", text)
    words = shlex.split(example)
    assert words[0] == name
    command_named(name).make_context(name, words[1:])


def test_docs_commands_that_are_wrong_are_refused():
    wrong = (["info", "--no-such-option"], ["pipeline"], ["z-spacing", "a", "--output", "b", "--range", "x"])
    for words in wrong:
        with pytest.raises(Exception, match=r"(?i)no such option|missing|valid integer"):
            command_named(words[0]).make_context(words[0], words[1:])


@pytest.mark.parametrize("name", PAGES)
def test_docs_commands_have_the_flags_that_texts_name(name):
    text = prose_of(PAGES[name])
    # The first column of a table of migration.md is of the other program.
    if name == "docs/migration.md":
        text = re.sub(r"^\| [^|]+\|", "|", text, flags=re.MULTILINE)
    named = {flag for code in re.findall(r"`([^`]+)`", text) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    known = set().union(*FLAGS.values()) | FOREIGN.get(name, set())
    assert not named - known


def test_docs_commands_are_in_the_table_and_no_others_are():
    rows = re.findall(r"^\| (`gpustitch .+?) \|", PAGES["docs/commands.md"].read_text("utf-8"), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(?:gpustitch )?([a-z][\w-]*)`", row)]
    assert sorted(listed) == sorted(COMMANDS)


def execute(name: str, folder: Path) -> list[str]:
    """Execute the commands of a page; what they printed."""
    printed = []
    for words in expanded(PAGES[name], folder):
        if words[0] in NOT_EXECUTED:
            continue
        result = CliRunner().invoke(app, words)
        said = f"gpustitch {' '.join(words)}\n{result.output}\n{result.exception!r}"
        assert result.exit_code in FINE.get(words[0], (0,)), said
        printed.append(result.output)
    assert printed
    return printed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data, made once."""
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


@pytest.mark.posix
@pytest.mark.parametrize("name", [name for name in EXECUTED if name != "docs/quick_start.md"])
def test_docs_commands_of_a_page_succeed_in_order(name, data, tmp_path, monkeypatch):
    for item in data.iterdir():
        (tmp_path / item.name).symlink_to(item)
    monkeypatch.chdir(tmp_path)
    execute(name, tmp_path)


@pytest.mark.posix
def test_docs_commands_of_the_quick_start_succeed_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A smaller acquisition at the place of the demo's.
    spec = PhantomSpec(grid=(1, 2, 1), n_frames=96, n_rows=96, n_columns=72, overlap=0.45, stage_error_um=3.0)
    make_phantom(tmp_path / "gpustitch-demo" / "phantom", spec)
    listed, planned, made, reported, verified = execute("docs/quick_start.md", tmp_path)
    assert "report.html" in reported
    assert "2 tiles" in listed and "volume" in planned
    assert {path.name for path in (tmp_path / "out-488").iterdir()} >= {"volume", "align.json", "run.json", "run.log"}
    assert "whole, as written" in verified.lower()
    assert made


# The long options of the programs that are replaced, by the command that takes their place: spimstitch, and pystripe.
REPLACED = {
    "dcimg2tif": """
        --compression --flip-ud --input --n-workers --output-pattern --rotate-90 --start --stop
    """,
    "dcimg2jp2": """
        --input --n-workers --output-pattern --psnr
    """,
    "dcimg2oblique": """
        --artifact-length --background-window-size --chunk-size --chunks --crossover --dark
        --decomposition-levels --destripe-method --flat --flip-ud --input --jp2k --levels
        --lightsheet-vs-background --magnification --magnification-plane-center --n-workers --n-writers --ngff
        --output --percentile --rotate-90 --sigma1 --sigma2 --start --stop --threshold --wavelet --x-step-size
        --y-voxel-size
    """,
    "stack2oblique": """
        --input --levels --log-level --n-workers --n-writers --ngff --output --x-step-size --y-voxel-size
    """,
    "oblique2stitched": """
        --alignment --chunk-size --compute-y-illum-corr --input --levels --log-level --min-y-illum-corr-coef
        --min-y-illum-mean --n-workers --n-writers --n-y-illum-patches --ngff --output --output-offset
        --output-size --silent --x-step-size --y-illum-corr --y-voxel-size --z-offset
    """,
    "oblique-illum-corr": """
        --background --flip-ud --intermediate-output --min-samples --n-bins --n-frames --output --percentile
        --rotate-90 --values-per-bin
    """,
    "oblique-align": """
        --align-xz --blob-detection-window-size --border-size --channel --imaris --input --is-oblique --level
        --min-correlation --n-cores --negative-y --ngff --output --pattern --report --sample-count --sigma
        --terastitcher-xml --voxel-size --window-size --x-step-size
    """,
    "destripe": """
        --artifact-length --background-window-size --bypass --chunks --compression --crossover --dark
        --dont-convert-16bit --flat --input --level --lightsheet --lightsheet-vs-background --output
        --percentile --rotate --sigma1 --sigma2 --threshold --wavelet --workers --zstep
    """,
}


@pytest.mark.parametrize("name", REPLACED)
def test_docs_commands_take_the_options_of_programs_they_replace_or_say_which_not(name):
    page = PAGES["docs/migration.md"].read_text("utf-8")
    told = set(re.findall(r"--[a-z][\w-]*", " ".join(re.findall(r"^\| ([^|]+)\|", page, flags=re.MULTILINE))))
    options = set(REPLACED[name].split())
    assert len(options) > 3 and not options - FLAGS[name] - told
