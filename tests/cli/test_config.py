"""Options in a file: what is typed counts more, what is wrong is named, and a run's own file repeats the run."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from gpustitch.cli import config
from gpustitch.cli.build import Given, command_of
from gpustitch.cli.main import COMMANDS
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.errors import DamagedInputError, InputMissingError, ParameterError
from gpustitch.model.options import leaves, option


@dataclass(frozen=True)
class Sample:
    """Options of each type that a command may have."""

    place: Path = option(help="A place.", is_argument=True)
    names: tuple[str, ...] = option((), help="Some names.", flag="--name")
    size_um: float = option(1.5, help="A size.", flag="--size -s", unit="um", env="SAMPLE_SIZE")
    count: int | None = option(None, help="A count.")
    shape: tuple[int, int, int] = option((1, 2, 3), help="A shape.", text="xyz")
    most_bytes: int | None = option(None, help="Bytes.", flag="--most", text="bytes")
    turn: bool | None = option(None, help="Turn it.", flag="--turn/--no-turn", env="SAMPLE_TURN")
    mode: Literal["fast", "good"] = option("good", help="How to do it.")
    overwrite: bool = option(False, help="Replace it.")


def called(arguments: list[str], env: dict[str, str] | None = None) -> tuple[Any, list[Any], str]:
    """Exit code, options and names of the stated ones, and what was printed."""
    seen: list[Any] = []

    @command_of
    def command(options: Sample, progress: TerminalProgress, given: Given) -> None:
        """Do nothing."""
        seen.extend((options, given))

    app = typer.Typer()
    app.command("sample")(command)
    result = CliRunner().invoke(app, arguments, env=env)
    return result.exit_code, seen, result.output


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "options.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


FULL = """
place = "here"
name = ["a", "b"]
size = 2
count = 7
shape = [9, 8, 7]
most = "2K"
turn = false
mode = "fast"
"""


def test_options_of_every_type_come_from_a_file(tmp_path):
    code, (options, given), said = called(["--config", written(tmp_path, FULL)])
    assert code == 0, said
    assert options == Sample(Path("here"), ("a", "b"), 2.0, 7, (7, 8, 9), 2048, False, "fast")
    assert given == {"place", "names", "size_um", "count", "shape", "most_bytes", "turn", "mode"}


@pytest.mark.parametrize("there", ["~/out", "~", "~/a b/c.zarr", "~nobody-here/x", "a~/x"])
@pytest.mark.parametrize("by_file", [False, True])
def test_a_place_below_the_home_is_there_and_not_in_a_folder_of_that_name(tmp_path, monkeypatch, there, by_file):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, f'place = "{there}"\n')
    environment = {"HOME": "/home/me"}
    code, (options, _), said = called(["--config", file] if by_file else [there], environment)
    expected = there.replace("~", "/home/me", 1) if there[:2] in ("~", "~/") else there
    assert code == 0 and options.place == Path(expected), said
    (tmp_path / "~").mkdir()
    assert called(["~"], environment)[1][0].place == Path("~")


@pytest.mark.parametrize("start", ["\ufeff", "\r\n", "# any\r\n"])
def test_files_of_other_editors_are_read(tmp_path, start):
    code, (options, _), said = called(["--config", written(tmp_path, start + FULL.replace("\n", "\r\n"))])
    assert code == 0 and options.count == 7, said


def test_what_is_typed_and_the_environment_count_more_than_the_file(tmp_path):
    path = written(tmp_path, FULL)
    code, (options, _), said = called(
        ["there", "--config", path, "--count", "1", "--turn"], {"SAMPLE_SIZE": "4", "SAMPLE_TURN": "1"}
    )
    assert code == 0, said
    assert (options.place, options.count, options.size_um, options.turn) == (Path("there"), 1, 4.0, True)
    assert options.shape == (7, 8, 9)
    code, (options, _), _ = called(["--config", path], {"SAMPLE_TURN": "yes"})
    assert options.turn is True


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("siez = 2", ParameterError.exit_code, "did you mean size"),
        ("quiet = 1", ParameterError.exit_code, "true or false"),
        ('turn = "yes"', ParameterError.exit_code, "true or false"),
        ("size = true", ParameterError.exit_code, "not True"),
        ("count = 1.5", 2, "integer"),
        ('mode = "best"', 2, "best"),
        *((f'{name} = ""', ParameterError.exit_code, "is empty; leave out") for name in ("size", "place", "mode")),
        ('name = ["a", ""]', ParameterError.exit_code, "is empty; leave out"),
        ("shape = [1, 2]", ParameterError.exit_code, "3 whole numbers"),
        ("[smaple]\nsize = 2", ParameterError.exit_code, "no such command"),
        ("config = 'x'", ParameterError.exit_code, "no option"),
        ("size = ", DamagedInputError.exit_code, "TOML"),
        ("size = 1\nsize = 2", DamagedInputError.exit_code, "TOML"),
        ("\udcff", DamagedInputError.exit_code, "TOML"),
    ],
)
def test_what_a_file_has_wrong_is_named(tmp_path, text, code, says):
    path = tmp_path / "options.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found, seen, said = called(["here", "--config", str(path)])
    assert found == code and not seen, said
    assert says in " ".join(said.split())


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    code, seen, said = called(["here", "--config", str(tmp_path / "none.toml")])
    assert code == InputMissingError.exit_code and not seen and "is not there" in said


def test_a_table_holds_for_its_command_alone(tmp_path):
    code, (options, _), said = called(["here", "--config", written(tmp_path, "size = 3\n[sample]\nsize = 5\n")])
    assert code == 0, said
    assert options.size_um == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ['a b"c\\ü\x7f'],
        ["here", "--name", "x", "--name", "y,z", "-s", "1e-9", "--count", "0", "--shape", "4,5,6"],
        ["here", "--most", "3G", "--no-turn", "--mode", "fast", "--overwrite"],
        ["here", "--turn", "-s", "inf"],
    ],
)
def test_the_file_of_a_run_repeats_it(tmp_path, arguments):
    _, (options, given), _ = called(arguments)
    text = config.text_of("sample", options, leaves(Sample), given)
    parsed = tomllib.loads(text)
    code, (again, _), said = called(["--config", written(tmp_path, text)])
    assert code == 0, said
    assert again == type(again)(**{**vars(options), "place": options.place.absolute(), "overwrite": False})
    assert set(parsed) == {"place", *named(given)} - {"overwrite"}


def named(given: frozenset[str]) -> set[str]:
    """Stated options by their long names."""
    return {leaf.flags[0].partition("/")[0].lstrip("-") for leaf in leaves(Sample) if leaf.flags and leaf.name in given}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_a_file(name, tmp_path):
    from gpustitch.cli.main import app

    path = written(tmp_path, "no-such-option = 1\n")
    result = CliRunner().invoke(app, [name, "--config", path])
    assert result.exit_code == ParameterError.exit_code and "no option of" in result.output


@pytest.mark.parametrize("key", ["place", "name", "size", "count", "shape", "most", "mode"])
@pytest.mark.parametrize("value", ['""', '[""]', '["a", ""]'])
def test_an_empty_word_is_refused_as_on_the_command_line(key, value, tmp_path):
    """A path of no characters would be the working folder."""
    code, seen, said = called(["here", "--config", written(tmp_path, f"{key} = {value}")])
    assert code == ParameterError.exit_code and not seen
    assert "is empty" in said and key in said.lower()


def test_a_file_is_not_told_to_name_another_file(tmp_path):
    code, _, said = called(["here", "--config", written(tmp_path, 'config = "other.toml"')])
    assert code == ParameterError.exit_code and "no option" in said and "did you mean config" not in said
