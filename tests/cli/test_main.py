"""Rules that all commands follow: built from the library's options, defaults alike, an example in the help."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gpustitch.cli.build import leaf_key
from gpustitch.cli.main import COMMANDS, app
from gpustitch.cli.values import parsed
from gpustitch.model.options import Leaf, filled, leaves
from gpustitch.oblique.report.text import LOOK
from tests.paths import ROOT

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# What is given to other programs.
OTHER_PROGRAMS = {"--std=c++17", "--fmad=false"}
# Words of which one is empty, as that of an unset variable is.
EMPTY = [("",), ("here", ""), ("--output=",), ("--output", "", "--quiet"), ("--", "")]
# A command line to copy, on a page that people read without a command.
TO_COPY = {LOOK}


def command(name: str) -> Any:
    """The function of a command."""
    return importlib.import_module(COMMANDS[name]).command


def parameters(name: str) -> dict[str, Any]:
    """What typer makes of the parameters of a command, by name."""
    alone = typer.Typer()
    alone.command()(command(name))
    return {parameter.name: parameter for parameter in typer.main.get_command(alone).params}


def as_taken(leaf: Leaf, default: Any) -> Any:
    """A default of the command line as the options would take it."""
    if default is not None and leaf.declared.text is not None:
        return parsed(leaf.declared.text, default, leaf.name)
    if default is None and leaf.default == ():
        return ()
    return tuple(default) if isinstance(default, list | tuple) else default


@pytest.mark.parametrize("name", COMMANDS)
def test_every_default_of_a_command_is_that_of_its_options(name):
    options = command(name).options_type
    shown = parameters(name)
    required = {leaf.path: "given" for leaf in leaves(options) if leaf.is_required}
    made = filled(options, required)
    compared = 0
    for leaf in leaves(options, command(name).without):
        if leaf.is_required:
            assert shown[leaf_key(leaf)].required, leaf.name
        else:
            taken = as_taken(leaf, shown[leaf_key(leaf)].default)
            # A default that follows from another option is none until that is given.
            assert taken == (leaf.default if leaf.default is None else leaf.value_in(made)), leaf.name
            compared += 1
    assert compared > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_calls_it(name):
    lines = (command(name).__doc__ or "").splitlines()
    assert any(line.strip().startswith(f"Example: gpustitch {name} ") for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    for leaf in leaves(command(name).options_type):
        assert len(leaf.declared.help.split()) > 1 and not FLAG.search(leaf.declared.help), leaf.name


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Strings of a module that people may be shown: all but docstrings and declarations of flags."""
    tree = ast.parse(path.read_text("utf-8"))
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            passed |= {id(node.value)}
        elif isinstance(node, ast.keyword) and node.arg == "flag":
            passed |= {id(inner) for inner in ast.walk(node.value)}
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            passed |= {id(v) for k, v in pairs if isinstance(k, ast.Constant) and k.value == "flag"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.lineno, node.value


def test_no_text_of_the_library_names_a_flag():
    package = ROOT / "gpustitch"
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] != "cli"
        for line, text in texts(path)
        if text not in OTHER_PROGRAMS | TO_COPY and FLAG.search(text)
    ]
    assert not found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistyped_command_or_option_names_the_one_that_was_meant(name):
    typed = name[:-2] + name[-1] if len(name) > 4 else name + name[-1]
    wide = {"COLUMNS": "200", "TERMINAL_WIDTH": "200"}
    answer = CliRunner().invoke(app, [typed], env=wide)
    assert answer.exit_code == 2 and re.search(rf"Did you mean .*'{name}'", answer.output)
    flag = next(f for leaf in leaves(command(name).options_type, command(name).without) for f in leaf.flags if f[4:])
    answer = CliRunner().invoke(app, [name, flag[:-1] + "q", "x"], env=wide)
    assert answer.exit_code == 2 and re.search(rf"(Did you mean|Possible options:)[^)]*{flag}\b", answer.output)


def test_the_list_of_commands_is_what_each_says_and_imports_none():
    first = {name: command(name).__doc__.partition("\n\n")[0].split() for name in COMMANDS}
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}, terminal_width=300).output
    code = "import sys; from gpustitch.cli.main import app; app(['--help'], standalone_mode=False); "
    code += "print(sorted({'numpy', 'scipy', 'tensorstore', 'pydicom', *sys.argv[1:]} & set(sys.modules)))"
    apart = [sys.executable, "-c", code, *COMMANDS.values()]
    found = subprocess.run(apart, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
    for name, words in first.items():
        assert f"{name} {' '.join(words)}" in " ".join(listed.replace("│", " ").split()), name


@pytest.mark.parametrize(("name", "words"), [*zip(COMMANDS, itertools.cycle(EMPTY)), *(("convert", e) for e in EMPTY)])
def test_empty_words_are_no_working_folder(name, words):
    result = CliRunner().invoke(app, [name, *words])
    assert result.exit_code == 2
    assert "a value is empty" in result.output
