"""Commands are made of options: what is declared is what is typed, shown and handed over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner

from gpustitch.array import Device
from gpustitch.cli.build import Given, command_of
from gpustitch.cli.terminal import TerminalProgress
from gpustitch.errors import ParameterError
from gpustitch.model import ZYX
from gpustitch.model.options import check_ranges, documented, filled, leaves, nested, option, with_values
from gpustitch.running import options as shared


@documented
@dataclass(frozen=True)
class Match:
    """How points are compared."""

    sample_count: int = option(20, at_least=1, help="Points compared.")
    window_px: ZYX = option((21, 21, 21), flag="--window-size", text="xyz", help="Window.")
    seed: int = option(0, help="Seed.")


@documented
@dataclass(frozen=True)
class Job:
    """A job."""

    input: str | Path = option(help="Input.", is_argument=True, metavar="IN")
    paths: tuple[Path, ...] = option((), flag="--also", help="More inputs.")
    method: Literal["none", "some"] = option("some", help="How.", env="JOB_SOME", env_means="none")
    limit_bytes: int = option(1 << 30, flag="--memory", text="bytes", help="Memory.")
    step_um: float | None = option(None, flag="--step", unit="um", help="Step.", shown="what IN says", env="JOB_STEP")
    solve_x: bool = option(True, flag="--solve-x/--no-solve-x", help="Solve x.", env="JOB_SOLVE")
    matching: Match = nested(lambda: Match(sample_count=100), without=("seed",), window_px={"flag": "--window"})
    device: str | Device = shared.device()
    device_memory_bytes: int | None = shared.device_memory()


SEEN: list[tuple[Job, frozenset[str], int]] = []


@command_of
def _command(options: Job, progress: TerminalProgress, given: Given, *, times: int = 1) -> None:
    """Do it.

    A paragraph that is longer than one line of its source is wrapped
    by the help, and nothing else.

    Example: job IN
    """
    check_ranges(options)
    SEEN.append((options, given, times))
    if options.solve_x is False:
        raise ParameterError("`solve_x` is off, so `limit_bytes` and `nothing` do not count")
    progress.note("`step_um` is noted")
    progress.result("done")


APP = typer.Typer()
APP.command()(_command)


def called(*words: str, **environment: str):
    """Result of the command, and what reached the function."""
    SEEN.clear()
    result = CliRunner().invoke(APP, list(words), env={"COLUMNS": "200", **environment})
    return result, (SEEN[0] if SEEN else None)


def test_without_options_the_command_does_what_the_library_does():
    result, (options, given, times) = called("a.tif", "--device", "cpu")
    assert result.exit_code == 0 and result.output.endswith("done\n")
    assert with_values(options, {("device",): "auto"}) == Job("a.tif")
    assert (given, times) == ({"input", "device"}, 1)


def test_values_are_parsed_as_declared():
    words = "a.tif --also b --also c --memory 2M --step 1.5 --no-solve-x --window 1,2,3 --sample-count 7 --times 3"
    result, (options, given, times) = called(*words.split())
    assert options.paths == (Path("b"), Path("c"))
    assert (options.limit_bytes, options.step_um, options.matching) == (2 << 20, 1.5, Match(7, (3, 2, 1)))
    assert times == 3 and "window_px" in given and "seed" not in given
    assert result.exit_code == 3
    assert "--solve-x is off, so --memory and nothing do not count" in result.output


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"JOB_STEP": "2.5"}, {"step_um": 2.5}),
        ({"JOB_SOME": "1"}, {"method": "none"}),
        ({"JOB_SOME": "0"}, {"method": "some"}),
        ({"JOB_SOLVE": "off"}, {"solve_x": False}),
        ({"JOB_SOLVE": "yes please"}, {"solve_x": True}),
    ],
)
def test_the_environment_counts_where_nothing_was_typed(environment, expected):
    options = called("a.tif", **environment)[1][0]
    assert {name: getattr(options, name) for name in expected} == expected
    assert called("a.tif", "--method", "some", "--solve-x", **environment)[1][0].method == "some"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("a --window 1,2", 3, "--window takes 3 whole numbers separated by commas, not '1,2'"),
        ("a --memory many", 3, "--memory takes a number of bytes such as 20G or 512M, not 'many'"),
        ("a --sample-count 0", 3, "--sample-count is 0, but it must be at least 1"),
        ("a --device gpu", 3, "--device is auto, cpu, cuda or cuda:N, not 'gpu'"),
        ("a --method other", 2, "other"),
        ("", 2, "IN"),
    ],
)
def test_bad_values_are_refused_by_the_name_that_was_typed(words, code, said):
    result, _ = called(*words.split())
    assert result.exit_code == code
    assert said in result.output


def test_help_shows_defaults_ranges_and_example():
    text = re.sub(r"\s+", " ", called("--help")[0].output)
    for part in ("[default: 1G]", "[default: 100]", "[default: 21,21,21]", "what IN says", "It is at least 1.", "UM"):
        assert part in text
    assert "Example: job IN" in text and "--seed" not in text


def test_help_wraps_paragraphs_as_wide_as_the_terminal_is():
    assert "one line of its source is wrapped by the help, and nothing else." in called("--help")[0].output


def test_help_shows_what_every_command_can_be_told_apart():
    _, options, running = re.split(r"─ (?:Options|Running) ─", called("--help")[0].output)
    for flag in ("--log-level", "--quiet", "--config"):
        assert flag in running and flag not in options


@dataclass(frozen=True)
class Twice:
    """A name that stands for two options."""

    seed: int = option(0, flag="--start", help="Seed.")
    matching: Match = nested(Match)


def test_two_options_of_one_name_are_refused():
    def twice(options: Twice, progress: TerminalProgress) -> None: ...

    with pytest.raises(ValueError, match=r"matching\.seed"):
        command_of(twice)


def test_options_are_documented_by_what_is_declared():
    assert "sample_count : int, default 20\n    Points compared. It is at least 1." in Match.__doc__
    assert [leaf.name for leaf in leaves(Match)] == ["sample_count", "window_px", "seed"]
    assert filled(Match, {("seed",): 3}) == Match(seed=3)
