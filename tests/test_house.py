"""The house is as its documents say: rooms, sizes, packages, where tests lie, names that can be imported."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_code import PAGES, python_of
from tests.paths import ROOT

MOST_LINES, MOST_FILES = 400, 20
# Folders that may hold more files, and why.
LARGER = {"bench": "one file for each operation", "tests/kernels/cases": "one file for each in kernels/"}
# Folders of tests that are of no room, and what they are tests of.
NO_ROOM = {
    "": "the documents and the data",
    "cuda_cpu": "the emulator",
    "e2e": "commands from one end to the other",
    "kernels": "all twins and their bodies",
    "stated": "the memory of a device that operations state",
}
PACKAGE = ROOT / "gpustitch"
TOP = sorted(ROOT / name for name in ("gpustitch", "kernels", "tests", "bench"))
MAPS = ("README.md", "docs/ARCHITECTURE.md")
# Recipes name files that are yet to be made; tests/test_docs_recipes.py makes them.
RECIPES = {f"docs/add_{what}.md" for what in ("operation", "format", "command")}


def modules(top: Path) -> list[Path]:
    """All Python files below a folder."""
    return sorted(path for path in top.rglob("*.py") if "__pycache__" not in path.parts)


def folders(top: Path) -> set[str]:
    """Names of the folders in one that hold Python files."""
    return {path.name for path in top.iterdir() if path.is_dir() and any(path.glob("*.py"))}


def text(name: str) -> str:
    """A document."""
    return PAGES[name].read_text("utf-8")


def room_rows(name: str) -> dict[str, str]:
    """The rows of a document's map of rooms: folder (without the slash at its end) and what it holds."""
    rows = re.findall(r"^\| (`[^|]+/`(?:, `[^|]+/`)*) \| (.+) \|$", text(name), re.MULTILINE)
    return {room.strip("` /"): held for rooms, held in rows for room in rooms.split(",")}


@pytest.mark.parametrize("name", MAPS)
def test_the_map_names_every_room_and_no_other(name):
    rooms = {f"gpustitch/{room}" for room in folders(PACKAGE)} | {"kernels", "tests", "bench"}
    assert set(room_rows(name)) == rooms


@pytest.mark.parametrize("name", MAPS)
def test_the_map_names_every_step_of_a_mission(name):
    rows = room_rows(name)
    for mission in ("oblique", "sections", "slices"):
        place = PACKAGE / mission
        named = set(re.findall(r"`([\w.]+)`", rows[f"gpustitch/{mission}"]))
        assert folders(place) <= named, mission
        assert not {part for part in named if not (place / part).exists()}, mission


@pytest.mark.parametrize("name", PAGES)
def test_paths_that_are_named_are_there(name):
    tops = "|".join(path.name for path in TOP)
    named = re.findall(rf"`((?:{tops}|docs|\.ci|\.github)/[\w./-]*)`", text(name))
    assert not {path for path in named if not (ROOT / path).exists()}


def layers(contract: str) -> list[list[str]]:
    """The layers of an import contract, from above to below."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    found = [each["layers"] for each in linter["contracts"] if each["name"] == contract]
    assert len(found) == 1
    return [layer.split(" | ") for layer in found[0]]


@pytest.mark.parametrize("name", MAPS)
def test_the_order_of_rooms_is_that_of_the_import_contract(name):
    order = " → ".join(" | ".join(layer) for layer in layers("Imports run downhill only"))
    assert f"`{order}`" in text(name)


def test_every_import_contract_is_explained():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert not [each["name"] for each in linter["contracts"] if each["name"] not in text("docs/ARCHITECTURE.md")]


def test_the_packages_of_the_wheel_are_the_folders():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    inside = {path.parent.relative_to(ROOT) for path in modules(PACKAGE)}
    assert sorted(named) == sorted([".".join(folder.parts) for folder in inside] + ["gpustitch.kernels"])
    assert len(set(named)) == len(named)


def test_every_folder_is_a_package():
    assert not {path.parent for top in TOP for path in modules(top) if not (path.parent / "__init__.py").exists()}


def test_no_file_is_long():
    lines = {path: path.read_text("utf-8").count("\n") for top in TOP for path in modules(top)}
    assert not {str(path.relative_to(ROOT)): n for path, n in lines.items() if n > MOST_LINES}


def test_no_folder_is_full():
    files: dict[str, int] = {}
    for path in (path for top in TOP for path in modules(top)):
        folder = str(path.parent.relative_to(ROOT))
        files[folder] = files.get(folder, 0) + 1
    assert not {folder: n for folder, n in files.items() if n > MOST_FILES and folder not in LARGER}


def test_parts_of_scipy_load_when_they_are_used():
    """``import scipy`` loads ``scipy.ndimage`` at its first use: commands and processes start sooner."""
    early = re.compile(r"^(from scipy|import scipy\.)", re.M)
    assert [str(path) for path in modules(PACKAGE) if early.search(path.read_text("utf-8"))] == []


def subjects(folder: str) -> set[str]:
    """What tests in a folder of tests may be named after: modules of its room, the room itself, helpers beside them."""
    place = Path(folder)
    room = ROOT / folder if place.parts[:1] == ("bench",) else PACKAGE / folder
    assert room.is_dir(), f"tests/{folder} is of no room"
    beside = {path.stem for path in (ROOT / "tests" / folder).glob("*.py") if not path.stem.startswith("test_")}
    return {path.stem for path in room.glob("*.py")} | {room.name} | beside - {"conftest"}


def test_tests_lie_where_what_they_test_lies_and_are_named_after_it():
    astray = []
    for path in modules(ROOT / "tests"):
        folder = path.relative_to(ROOT / "tests").parent.as_posix().removeprefix(".")
        if not path.stem.startswith("test_") or folder in NO_ROOM:
            continue
        name = path.stem.removeprefix("test_")
        if not any(name == subject or name.startswith(f"{subject}_") for subject in subjects(folder)):
            astray.append(f"{folder}/{path.name}")
    assert not astray


def imports(code: str) -> Iterator[tuple[str, str]]:
    """Module and name of everything that is imported from gpustitch, tests or bench."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {p.name for p in TOP}:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "__name__") for alias in node.names if alias.name.startswith("gpustitch"))


@pytest.mark.parametrize("name", sorted(PAGES.keys() - RECIPES))
def test_every_name_in_the_code_can_be_imported(name):
    for module, member in (found for code in python_of(PAGES[name]) for found in imports(code)):
        if not hasattr(importlib.import_module(module), member):
            importlib.import_module(f"{module}.{member}")


def test_the_test_command_of_the_readme_is_in_contributing():
    found = re.search(r"<!-- tests -->\n```sh\n(.+)\n```", text("README.md"))
    assert found and found[1] in text("CONTRIBUTING.md")
