"""What a run will take is told without a trace, and the run takes no more."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gpustitch.cli.dry_run import DryRun
from gpustitch.cli.main import COMMANDS, app
from gpustitch.io.volumes.opening import open_volume
from tests.cli.test_main_inputs import commands
from tests.cli.test_main_inputs import inputs as inputs

PLANNED = {
    "pipeline", "dcimg2oblique", "stack2oblique", "oblique2stitched", "destripe", "oblique-align", "z-render",
    "resample", "convert",
}  # fmt: skip
LEVEL = re.compile(r"^ +level (\d+): ([\d, x]+) voxels, .*, ([\d,]+) files?$", re.MULTILINE)
# Several levels of several files.
FILES = {"--levels": 2, "--chunk-size": "16,16,16", "--shard-size": 0}


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part.replace(",", "")) for part in text.split(" x "))


def called(name: str, *arguments: object) -> str:
    result = CliRunner().invoke(app, [name, *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def test_every_command_that_tells_is_tried() -> None:
    taking = set()
    for name, module in COMMANDS.items():
        command = __import__(module, fromlist=["command"]).command
        parameters = inspect.signature(command).parameters
        asked = [each for key, each in parameters.items() if key.rpartition("__")[2] == "dry_run"]
        if asked:
            taking.add(name)
            assert name == "pipeline" or asked[0].annotation == DryRun
    assert taking == PLANNED


@pytest.mark.parametrize("name", sorted(PLANNED))
def test_a_dry_run_tells_what_the_run_takes_and_writes_nothing(inputs: Path, tmp_path: Path, name: str) -> None:
    arguments, _, _ = commands(inputs, tmp_path)[name]
    given = list(arguments)
    if "--levels" in given:
        at = given.index("--levels")
        given[at : at + 2] = [part for option in FILES.items() for part in option]
    before = {path: path.stat().st_mtime_ns for path in inputs.rglob("*") if path.is_file()}
    said = called(name, *given, "--dry-run")
    assert not list(tmp_path.iterdir())
    assert before == {path: path.stat().st_mtime_ns for path in inputs.rglob("*") if path.is_file()}
    assert said.startswith("reads ") and "Traceback" not in said
    called(name, *given)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    levels = [(numbers(shape), int(count.replace(",", ""))) for _, shape, count in LEVEL.findall(said)]
    found = next((path for path in (tmp_path / "v", tmp_path / "p" / "volume") if (path / "info").exists()), None)
    if found is not None:
        volumes = [open_volume(found, level=level) for level in range(len(levels))]
        assert volumes[0].levels == len(levels) == 2
        assert [volume.coverage.shape for volume in volumes] == [shape for shape, _ in levels]
        assert all(0 < volume.n_files <= count for volume, (_, count) in zip(volumes, levels, strict=True))
        assert levels[0][1] == math.prod(-(-n // 16) for n in levels[0][0]) > 1
        assert "memory  about" in said
    elif name == "oblique-align":
        assert "aligns  1 pairs of tiles" in said or "aligns  0 pairs of tiles" in said
        return
    elif name == "destripe":
        assert "8 images" in said and len([path for path in made if path.suffix.startswith(".tif")]) == 8
    else:
        assert len(levels) == 1 and levels[0][1] == 1 and "memory  about" in said
    most = re.search(r"^disk    at most ([\d.]+) (MB|GB) in [\d,]+ files?; ", said, re.MULTILINE)
    assert most is not None
    assert sum(path.stat().st_size for path in made if "info" not in path.name and path.suffix != ".json") <= float(
        most[1]
    ) * (1e6 if most[2] == "MB" else 1e9)
