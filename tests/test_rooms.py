"""Nothing private of a folder is used outside it: what others import has a name without underscore."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("gpustitch", "bench")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def private(name: str) -> bool:
    """Whether a name is private; ``__version__`` and the like are not."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def foreign_uses(text: str, folder: str, modules: frozenset[str]) -> Iterator[str]:
    """Private names of other folders that a module imports or takes from a module, as ``line: name``.

    Parameters
    ----------
    text
        The module's source.
    folder
        Dotted name of the folder that it lies in.
    modules
        Dotted names of all our modules and folders.
    """
    tree = ast.parse(text)
    known: dict[str, str] = {}  # what names stand for a module
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, folder)
            for alias in node.names:
                full = f"{source}.{alias.name}"
                known[alias.asname or alias.name] = full
                if _is_foreign(full, folder, modules):
                    yield f"{node.lineno}: {full}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            owner = known.get(ast.unparse(node.value), "")
            if owner in modules and _is_foreign(f"{owner}.{node.attr}", folder, modules):
                yield f"{node.lineno}: {owner}.{node.attr}"


def _absolute(node: ast.ImportFrom, folder: str) -> str:
    """The module that names are imported from; ``from . import a`` in a folder means the folder itself."""
    above = folder.split(".")[: len(folder.split(".")) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def _is_foreign(full: str, folder: str, modules: frozenset[str]) -> bool:
    """Whether any part of a dotted name is private to another of our folders."""
    parts = full.split(".")
    if parts[0] not in PACKAGES:
        return False
    for i, part in enumerate(parts):
        if private(part):
            owner = ".".join(parts[:i])
            room = owner if owner in _folders(modules) else owner.rpartition(".")[0]
            return room != folder
    return False


@functools.cache
def _folders(modules: frozenset[str]) -> set[str]:
    return {module.rpartition(".")[0] for module in modules}


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = frozenset(map(_dotted, FILES))


def test_nothing_private_of_another_folder_is_used() -> None:
    found = {}
    for path in FILES:
        folder = ".".join(path.parent.relative_to(ROOT).parts)
        found[_dotted(path)] = list(foreign_uses(path.read_text(encoding="utf-8"), folder, MODULES))
    assert len(found) > 300
    assert {name: uses for name, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from gpustitch.array.launch import _compiled", ["1: gpustitch.array.launch._compiled"]),
        ("from ..array.launch import _compiled", ["1: gpustitch.array.launch._compiled"]),
        ("from gpustitch.array import launch\nlaunch._compiled()", ["2: gpustitch.array.launch._compiled"]),
        ("from gpustitch.array import launch as l\nx = l._check", ["2: gpustitch.array.launch._check"]),
        ("import gpustitch.array.launch\ngpustitch.array.launch._check", ["2: gpustitch.array.launch._check"]),
        ("def f():\n    from bench.common import _text", ["2: bench.common._text"]),
        ("from gpustitch.ops.pyramid import _anything", []),
        ("from gpustitch.ops import pyramid\npyramid._anything", []),
        ("from .pyramid import _anything", []),
        ("from gpustitch import __version__\nfrom os import _exit\nimport sys\nsys._getframe", []),
        ("from gpustitch.array import Kernel\nKernel._signature\nself._x", []),
    ],
)
def test_the_check_finds_them(text: str, found: list[str]) -> None:
    assert list(foreign_uses(text, "gpustitch.ops", MODULES)) == found
