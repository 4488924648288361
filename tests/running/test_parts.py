"""A run in parts is one run to who watches, and is told honestly afterwards, however it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpustitch.errors import DamagedInputError, OutputError
from gpustitch.io.manifest import Making
from gpustitch.io.resumable import resumable_directory
from gpustitch.running import parts as parts_module
from gpustitch.running import record as record_module
from gpustitch.running.parts import Parts
from gpustitch.running.progress import tracked
from tests.running.readings import FakeMeter, Told

SHARES = {"flat field": 1.0, "tiles": 4.0, "volume": 5.0}
PART = {
    "name", "seconds", "cpu_seconds", "share", "bytes_in", "bytes_out", "disk_bytes_in", "disk_bytes_out",
    "stalled_seconds", "queued_seconds", "peak_memory_bytes", "done", "is_finished", "is_kept", "bound_by",
}  # fmt: skip
RUN = PART - {"name", "share", "done", "is_finished", "is_kept"} | {
    "began", "ended", "outcome", "error", "command", "n_workers", "versions", "system", "cpus", "parts", "warnings",
}  # fmt: skip


def done(told: Told, folder: Path, error: BaseException | None = None, meter: FakeMeter | None = None) -> None:
    """A run of two parts, the first of which takes 10 s and the second 30 s; ``error`` ends it in the second."""
    meter = meter or FakeMeter()
    parts = Parts(told, SHARES, 2, meter=meter, now=meter.now)
    parts.warn("before it has a folder")
    with parts.recorded(folder, {"command": "test"}):
        with parts.part("flat field"):
            for _ in tracked(range(3), parts, "Averaging", 3, "bands"):
                parts.note("a band")
            meter.at_s += 10
        with parts.part("volume"):
            parts.start("stitch", 100, "frames")
            parts.advance(60)
            meter.at_s += 30
            if error is not None:
                raise error
            parts.finish()
        meter.at_s += 1


def record(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())


def test_a_finished_run(tmp_path: Path) -> None:
    done(told := Told(), tmp_path)
    assert told.spans == [("flat field", 0, 0.1), ("volume", 0.5, 1), ("", 1, 1)]
    assert told.pieces == [("Averaging", 3, "bands"), ("stitch", 100, "frames")] and told.done == 63
    assert told.lines[:3] == ["a band"] * 3
    assert told.lines[3:] == [
        "part        seconds  share  GB/s in    out  CPUs  bound by",
        "flat field     10.0   24 %    2.000  1.000   2.0  CPU         3 bands",
        "volume         30.0   73 %    2.000  1.000   2.0  CPU         2.0 frames/s",
        "other           1.0    2 %    2.000  1.000   2.0  CPU",
        "the run        41.0  100 %    2.000  1.000   2.0  CPU",
    ]
    content = record(tmp_path)
    assert (content["program"], content["schema"]) == ("gpustitch", 1)
    (run,) = content["runs"]
    assert set(run) == RUN and all(set(part) == PART for part in run["parts"])
    assert (run["outcome"], run["began"], run["ended"], run["error"]) == ("finished", "at 0", "at 41", None)
    assert run["warnings"] == ["before it has a folder"] and run["peak_memory_bytes"] == 3 * 10**9
    assert [(part["name"], part["seconds"], part["done"]) for part in run["parts"]] == [
        ("flat field", 10, {"bands": 3}), ("volume", 30, {"frames": 60}), ("other", 1, {}),
    ]  # fmt: skip
    for name in ("seconds", "cpu_seconds", "bytes_in", "bytes_out"):
        assert sum(part[name] for part in run["parts"]) == pytest.approx(run[name])
    log = (tmp_path / "run.log").read_text().splitlines()
    assert log[:2] == ["at 0 warning: before it has a folder", "at 0 a band"]
    assert "at 10 flat field: 10.0 s" in log and [line.partition(" ")[2] for line in log[-5:]] == [
        f"41 {line}" for line in told.lines[3:]
    ]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(DamagedInputError("a.tif is damaged"), "failed"), (KeyboardInterrupt("terminated"), "stopped")],
    ids=["error", "signal"],
)
def test_a_run_that_ends_early_and_one_that_goes_on(tmp_path: Path, error: BaseException, outcome: str) -> None:
    with pytest.raises(type(error)):
        done(told := Told(), tmp_path, error)
    assert told.spans[-1] == ("", 1, 1) and "a band" in told.lines and not any("share" in line for line in told.lines)
    done(Told(), tmp_path)
    first, second = record(tmp_path)["runs"]
    assert (first["outcome"], first["error"]) == (outcome, f"{type(error).__name__}: {error}")
    assert [part["is_finished"] for part in first["parts"]] == [True, False, True]
    assert first["parts"][1]["done"] == {"frames": 60} and first["seconds"] == 40
    assert second["outcome"] == "finished" and second["parts"][1]["is_finished"]
    log = (tmp_path / "run.log").read_text()
    assert log.count("before it has a folder") == 2 and log.index(str(error)) < log.rindex("before it has a folder")


class Killed(BaseException):
    """Stands for the end of the process: nothing is written after it."""


def test_a_killed_run_is_told_by_what_it_had_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "_SAVED_EVERY_S", 0.0)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        parts = Parts(Told(), SHARES, 1, meter=(meter := FakeMeter()), now=meter.now)
        with parts.recorded(tmp_path, {}), parts.part("volume"):
            parts.start("stitch", 100, "frames")
            meter.at_s += 7
            parts.advance(40)
            patch.setattr(parts_module.RunRecord, "save", killed)
            raise Killed
    assert record(tmp_path)["runs"][0]["outcome"] == "running"
    done(Told(), tmp_path)
    first, second = record(tmp_path)["runs"]
    assert (first["outcome"], first["ended"], first["seconds"]) == ("killed", None, 7)
    assert (first["parts"][0]["done"], first["parts"][0]["is_finished"]) == ({"frames": 40}, False)
    assert second["outcome"] == "finished"


def test_steps_share_their_part(tmp_path: Path) -> None:
    parts = Parts(told := Told(), SHARES, 1)
    with parts.recorded(tmp_path, {}), parts.part("tiles", is_kept=True):
        for number in (1, 2):
            parts.step(number, 2)
    with parts.part("of no share"):
        pass
    assert told.spans == [("tiles", 0.1, 0.5), ("tiles", 0.1, 0.3), ("tiles", 0.3, 0.5), ("", 1, 1),
                          ("of no share", 0.5, 0.5)]  # fmt: skip
    assert not any("tiles" in line for line in told.lines)
    assert record(tmp_path)["runs"][0]["parts"][0]["is_kept"] is True


def full_disk(path: Path, **_: bool) -> Any:
    raise OutputError(f"{path}: the disk is full")


@pytest.mark.posix
@pytest.mark.parametrize("broken", ["full disk", "no folder", "no permission"])
def test_what_cannot_be_written_is_told_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    folder = tmp_path / "out"
    if broken != "no folder":
        folder.mkdir()
    if broken == "full disk":
        (folder / "run.log").symlink_to("/dev/full")
        monkeypatch.setattr(record_module, "atomic_file", full_disk)
    elif broken == "no permission":
        for name in ("run.log", "run.json"):
            (folder / name).mkdir()
    done(told := Told(), folder)
    assert sum("cannot be written" in line for line in told.warnings) == 1
    assert told.lines[-1].startswith("the run        41.0")


def test_a_record_that_is_none_is_told_and_replaced(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"runs": 3}', '{"runs": [3]}', '{"runs": [{}]}', "[" * 10**5):
        (tmp_path / "run.json").write_text(text)
        done(told := Told(), tmp_path)
        assert "cannot be read" in told.warnings[1] and len(record(tmp_path)["runs"]) == 1


def test_the_files_of_a_finished_run_are_of_no_unfinished_one(tmp_path: Path) -> None:
    """An output may be called as the folder in which another is made."""
    (tmp_path / "brain.work").mkdir()
    done(Told(), tmp_path / "brain.work")
    for restart in (False, True):
        with pytest.raises(OutputError, match="holds something else"):  # noqa: SIM117
            with resumable_directory(tmp_path / "brain", Making({}, ()), restart=restart):
                pass
    assert sorted(file.name for file in (tmp_path / "brain.work").iterdir()) == ["run.json", "run.log"]
