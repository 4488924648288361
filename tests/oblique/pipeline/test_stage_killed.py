"""A pipeline that is killed at any moment goes on: the same bytes, and only what was not finished is done again."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpustitch.errors import DamagedInputError, OutputError, OutputExistsError
from gpustitch.io.frames.readable import Readable
from gpustitch.io.journal import Journal
from gpustitch.io.partial import work_place
from gpustitch.io.write.files.sealing import Ledger
from gpustitch.io.write.precomputed import PrecomputedWriter
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run
from gpustitch.running.record import RUN_LOG, RUN_RECORD
from tests.oblique.pipeline.test_one_pass import ROW, Heard, evened, written
from tests.oblique.pipeline.test_stage import options_of
from tests.running.kills import forkserver

# Files of zeros are noted, but not sealed.
N_EMPTY = 100
# Steps of a run: what it reads, flushes, notes and renames.
_STEPS = ((Readable, "read"), (os, "fsync"), (Journal, "add"), (Path, "rename"), (Ledger, "seal"))


def counted(after: Callable[[str, int], None]) -> Counter[str]:
    """Count the steps of this process; ``after`` learns each one's name and the number of all so far, before it."""
    seen: Counter[str] = Counter()

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(*args: Any, **more: Any) -> Any:
            seen[name] += 1
            after(name, sum(seen.values()))
            return call(*args, **more)

        return counted_call

    for owner, name in _STEPS:
        setattr(owner, name, counting(name, getattr(owner, name)))
    return seen


def child(options: PipelineOptions, kill_at: int, results: Any) -> None:
    """Run a pipeline in a process of its own, which may be killed at one of its steps."""

    def kill(name: str, number: int) -> None:
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    seen, heard = counted(kill), Heard()
    run(plan(options), heard)
    results.put((seen, heard.notes))


@pytest.fixture(scope="module")
def processes() -> Any:
    return forkserver()


def run_apart(processes: Any, options: PipelineOptions, kill_at: int = 0) -> tuple[Counter[str], list[str]] | None:
    """The counts and notes of a run; None if it was killed."""
    results = processes.SimpleQueue()
    process = processes.Process(target=child, args=(options, kill_at, results))
    process.start()
    process.join()
    assert process.exitcode == (0 if not results.empty() else -signal.SIGKILL)
    return None if results.empty() else results.get()


def contents(folder: Path) -> Mapping[str, bytes]:
    """All files, but for the times of inputs, some of which are made by the run, and the checksum of the sidecar.

    What tells how runs went differs from run to run.
    """
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    found = {name: file.read_bytes() for name, file in files.items() if name not in (RUN_RECORD, RUN_LOG)}
    varying = re.compile(rb'"changed": "[^"]+"|"gpustitch\.json": [\[{][^\]}]+[\]}]')
    return {name: varying.sub(b"", data) if name.endswith(".json") else data for name, data in found.items()}


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("row"), ROW)


def small_files(channel: Path, output: Path, **changed: Any) -> PipelineOptions:
    """A run with an alignment, estimated brightness, and a volume of many files."""
    options = evened(options_of(channel, output, **changed))
    intensity = replace(options.stitch.intensity, n_patches=4)
    files = {"levels": 3, "chunk_shape": (16, 16, 16), "shard_bytes": 1 << 15}
    # The report reads once all is whole; kills are to end what comes before.
    return replace(options, report=False, stitch=replace(options.stitch, intensity=intensity, **files))


def units(output: Path) -> list[str]:
    """The finished units of an unfinished run."""
    journal = work_place(output) / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [json.loads(line)["unit"] for line in lines if line.endswith("\n")]


@pytest.mark.parametrize(("staged", "n_kills"), [(False, 9), (True, 5)])
def test_a_killed_run_goes_on(row: Path, tmp_path: Path, processes: Any, staged: bool, n_kills: int) -> None:
    place = tmp_path / "out"
    options = small_files(row, place, staged=staged)
    whole = run_apart(processes, options)
    assert whole is not None
    expected = contents(place)
    shutil.rmtree(place)
    n_finished = 0
    # Once in each of as many equal parts of the run, so that no part is left out by chance.
    bounds = np.linspace(1, sum(whole[0].values()), n_kills + 1).astype(int)
    for number, kill_at in enumerate(np.random.default_rng(5).integers(bounds[:-1], bounds[1:]).tolist()):
        assert run_apart(processes, options, kill_at) is None
        if number % 4 == 2:  # killed again as it goes on
            run_apart(processes, options, kill_at // 2 + 1)
        if not place.exists():
            finished = units(place)
            n_finished += len(finished)
            again = run_apart(processes, options)
            assert again is not None
            seen, notes = again
            assert any("continuing an unfinished run" in note for note in notes) or not finished
            # What was noted is not done again.
            n_files = sum(unit.startswith("volume/") for unit in finished)
            assert seen["add"] == whole[0]["add"] - len(finished)
            assert seen["seal"] <= whole[0]["seal"] - n_files + N_EMPTY
        assert contents(place) == expected
        assert list(tmp_path.iterdir()) == [place]
        *before, last = json.loads((place / RUN_RECORD).read_text())["runs"]
        assert last["outcome"] == "finished" and {run["outcome"] for run in before} <= {"killed", "finished"}
        shutil.rmtree(place)
    assert n_finished > 2 * n_kills


def full_disk(monkeypatch: pytest.MonkeyPatch, room_for: int) -> None:
    """Have the disk full after so many files."""
    store, taken = PrecomputedWriter._store, Counter[str]()

    def stored(self: Any, *given: Any, **more: Any) -> Any:
        taken["files"] += 1
        if taken["files"] > room_for:
            raise OSError(errno.ENOSPC, "No space left on device")
        return store(self, *given, **more)

    monkeypatch.setattr(PrecomputedWriter, "_store", stored)


def test_a_full_disk_keeps_what_is_finished(row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = small_files(row, tmp_path / "out")
    run(plan(options))
    expected = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patched, pytest.raises(OutputError, match="the disk is full; free some space"):
        full_disk(patched, 12)
        run(plan(options), heard := Heard())
    assert any(f"kept in {tmp_path / 'out.work'}: run again" in line for line in heard.warnings)
    assert sum(unit.startswith("volume/") for unit in units(tmp_path / "out")) >= 12
    run(plan(options), heard := Heard())
    assert any("continuing an unfinished run of 20" in note for note in heard.notes)
    assert contents(tmp_path / "out") == expected
    first, second = json.loads((tmp_path / "out" / RUN_RECORD).read_text())["runs"]
    assert (first["outcome"], first["continues"], second["outcome"]) == ("failed", None, "finished")
    assert "the disk is full" in first["error"] and second["continues"] and second["units_kept"] > 12
    kept = {part["name"]: (part["is_kept"], part["is_finished"]) for part in second["parts"]}
    assert list(kept) == ["flat field", "destriping", "alignment", "brightness", "volume", "other"]
    assert all(kept[name] == (True, True) for name in ("alignment", "brightness")) and kept["volume"] == (False, True)
    told = [part["is_finished"] for part in first["parts"] if part["name"] == "volume"]
    assert told == [False] and second["device"] == "cpu" and second["n_workers"] >= 1
    log = (tmp_path / "out" / RUN_LOG).read_text()
    assert "the disk is full" in log and "continuing an unfinished run" in log and "  share  " in log


@pytest.fixture
def ended(row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineOptions:
    """The options of a run that an error ended, with tiles of its own."""
    options = small_files(shutil.copytree(row, tmp_path / "raw"), tmp_path / "out")
    with monkeypatch.context() as patched, pytest.raises(OutputError):
        full_disk(patched, 12)
        run(plan(options))
    return options


def test_another_job_does_not_go_on(ended: PipelineOptions, tmp_path: Path) -> None:
    before = units(ended.output)
    other = replace(ended, x_step_um=1.5, stitch=replace(ended.stitch, levels=2))
    with pytest.raises(OutputExistsError, match=r"x_step_um` was 1.27.* and is 1.5; .*`levels` was 3 and is 2\. Rep"):
        plan(other)
    tile = next((tmp_path / "raw").rglob("*.dcimg"))
    data, times = tile.read_bytes(), tile.stat()
    tile.write_bytes(data + b"more")
    with pytest.raises(OutputExistsError, match=r"has grown from .* is the acquisition still running"):
        plan(ended)
    tile.write_bytes(data)
    os.utime(tile, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert units(ended.output) == before
    # What changes no voxel changes nothing.
    run(plan(replace(ended, n_workers=1)), heard := Heard())
    assert any("continuing an unfinished run" in note for note in heard.notes)


def test_a_run_may_begin_anew(ended: PipelineOptions) -> None:
    result = run(plan(replace(ended, x_step_um=1.5, restart=True)), heard := Heard())
    assert not any("continuing an unfinished run" in note for note in heard.notes)
    assert result.stitched.spacing.x_um == 1.5
    assert not work_place(ended.output).exists()


def test_a_folder_of_others_is_left_alone(row: Path, tmp_path: Path) -> None:
    options = small_files(row, tmp_path / "out", restart=True)
    other = tmp_path / "out.work" / "out"
    other.mkdir(parents=True)
    (other / "mine.txt").write_text("mine")
    for changed in (options, replace(options, restart=False)):
        with pytest.raises(OutputError, match="holds something else; move it"):
            run(plan(changed))
    assert (other / "mine.txt").read_text() == "mine"


def test_nothing_is_kept_of_a_run_that_finished_nothing(
    row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = plan(replace(small_files(row, tmp_path / "out"), correct_flat=True))

    def broken(*_: Any, **__: Any) -> Any:
        raise DamagedInputError("broken")

    monkeypatch.setattr(Readable, "read", broken)
    with pytest.raises(DamagedInputError, match="broken"):
        run(checked, heard := Heard())
    assert not list(tmp_path.iterdir()) and not any("kept" in line for line in heard.warnings)


def test_inputs_that_change_meanwhile_are_told(row: Path, tmp_path: Path) -> None:
    options = small_files(shutil.copytree(row, tmp_path / "raw"), tmp_path / "out")
    checked = plan(options)
    with next((tmp_path / "raw").rglob("*.dcimg")).open("ab") as tile:
        tile.write(b"more")
    result = run(checked, heard := Heard())
    assert any("is the acquisition still running" in line for line in heard.warnings)
    record = json.loads((result.output / "provenance.json").read_text())
    assert "has grown" in record["changed_inputs"][0]
