"""One pass spread over processes, or over a cluster's workers: the bytes of one process, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from gpustitch.array import Device
from gpustitch.errors import ParameterError
from gpustitch.io.partial import work_place
from gpustitch.oblique.pipeline import one_pass
from gpustitch.oblique.pipeline.options import PipelineOptions
from gpustitch.oblique.pipeline.stage import plan, run
from gpustitch.oblique.stream import stage as stream
from gpustitch.oblique.stream import units
from tests.oblique.pipeline.test_one_pass import LIGHTSHEET, ROW, Heard, written
from tests.oblique.pipeline.test_stage import STEP, options_of
from tests.oblique.pipeline.test_stage_killed import contents
from tests.running.kills import forkserver

pytestmark = [pytest.mark.posix, pytest.mark.xdist_group("cluster")]


def patched(patch: Any) -> None:
    """Have small mosaics cut into units."""
    patch.setattr(units, "_MOST_TWICE", 10)
    patch.setattr(stream, "_BLOCK_WIDTH", 8)
    patch.setattr(stream, "_BLOCK_ROWS", 8)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch)


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("row"), ROW)


def spread(channel: Path, output: Path, **changed: Any) -> PipelineOptions:
    options = replace(options_of(channel, output, **changed), correction=LIGHTSHEET)
    files = {"levels": 3, "chunk_shape": (16, 16, 16), "shard_bytes": 1 << 15}
    return replace(options, stitch=replace(options.stitch, **files))


@pytest.fixture(scope="module", params=[STEP, 4.0])
def step(request: pytest.FixtureRequest) -> Any:
    """Distance of frames: voxels are even or, at the larger one, their levels halve some axes first."""
    return request.param


@pytest.fixture(scope="module")
def expected(channel: Path, step: float, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("one") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        run(plan(spread(channel, place, n_processes=1, x_step_um=step)))
    return volume_of(place)


def volume_of(place: Path) -> Any:
    found = contents(place / "volume")
    del found["gpustitch.json"]  # it names the output
    return found


@contextlib.contextmanager
def killing(place: Path, pids: Callable[[], list[int]]) -> Iterator[None]:
    """Kill a process as soon as a process of a run into ``place`` has noted a finished file."""
    killed, is_over = [], threading.Event()

    def kill() -> None:
        while not is_over.wait(0.002):
            if any(part.stat().st_size for part in work_place(place).glob("parts/*.jsonl")):
                killed.append(pids()[0])
                os.kill(killed[0], signal.SIGKILL)
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert killed


def workers(mark: str) -> list[int]:
    """The processes below this one whose command line has a mark."""
    return [child.pid for child in psutil.Process().children(recursive=True) if mark in " ".join(child.cmdline())]


def test_a_process_that_is_killed_takes_nothing_with_it(
    channel: Path, tmp_path: Path, step: float, expected: Any
) -> None:
    place, heard = tmp_path / "out", Heard()
    with killing(place, lambda: workers("gpustitch.running.worker")):
        run(plan(spread(channel, place, n_processes=2, x_step_um=step)), heard)
    assert volume_of(place) == expected
    assert any("ended by signal 9: its part is done without it" in line for line in heard.warnings)
    assert list(tmp_path.iterdir()) == [place]


def alone(options: PipelineOptions) -> None:
    """A run in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        run(plan(options))


@pytest.mark.parametrize("step", [STEP], indirect=True)  # it goes on with units, which above take both
def test_a_run_whose_processes_end_with_it_goes_on(channel: Path, tmp_path: Path, step: float, expected: Any) -> None:
    place = tmp_path / "out"
    process = forkserver().Process(target=alone, args=(spread(channel, place, n_processes=2, x_step_um=step),))
    with killing(place, lambda: [process.pid]):
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    heard = Heard()
    run(plan(spread(channel, place, n_processes=1, x_step_um=step)), heard)
    assert any("continuing an unfinished run" in note for note in heard.notes)
    assert volume_of(place) == expected


@pytest.mark.parametrize("step", [4.0], indirect=True)  # units are those of processes, which take both
def test_a_worker_of_a_cluster_that_is_killed_takes_nothing_with_it(
    channel: Path, tmp_path: Path, step: float, expected: Any
) -> None:
    place = tmp_path / "out"
    with killing(place, lambda: workers("spawn_main")):
        run(plan(spread(channel, place, cluster="local:2", x_step_um=step)))
    assert volume_of(place) == expected
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"n_processes": 0}, "`n_processes` must be at least 1"),
        ({"cluster": "local:2", "staged": True}, "leave out `staged`"),
        ({"cluster": "local:2", "keep_tiles": True}, "leave out `staged` and `keep_tiles`"),
        ({"cluster": "local:2", "n_processes": 2}, "leave out `n_processes`"),
        ({"cluster": "pbs"}, "`cluster` is local:N"),
    ],
)
def test_what_cannot_be_spread(channel: Path, tmp_path: Path, changed: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        plan(spread(channel, tmp_path / "out", **changed))


TWO = Device(0, "two of them", 8 << 30, (1,))


@pytest.mark.parametrize(
    ("changed", "text"),
    [({"staged": True}, "leave out `staged`"), ({"keep_tiles": True}, "leave out `staged`"),
     ({"cluster": "local:2"}, "leave out `cluster`"), ({"n_processes": 3}, "leave it out")],
)  # fmt: skip
def test_several_devices_share_one_pass_of_processes(channel: Path, tmp_path: Path, changed: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        plan(spread(channel, tmp_path / "out", device=TWO, **changed))


def test_each_device_has_a_process(channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = spread(channel, tmp_path / "out")
    tiles = [replace(job, device=TWO) for job in plan(options).tiles]
    assert one_pass.n_processes(options, tiles) == 2
    assert one_pass.n_processes(replace(options, n_processes=1), tiles) == 1  # memory is short
    given: list[Any] = []
    monkeypatch.setattr(one_pass, "leave_memory", given.append)
    monkeypatch.setattr(one_pass, "run_jobs", lambda *_, environments: given.append(environments))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with one_pass._runner(SimpleNamespace(options=options, tiles=tiles)) as (least, most, run):  # type: ignore[arg-type]
        assert (least, most) == (2, 2)
        run([], lambda _: None)
    assert given == [TWO, ({"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "1,0"})]


def test_little_is_done_in_one_process(channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = plan(options := spread(channel, tmp_path / "out", n_workers=4)).tiles
    assert one_pass.n_processes(options, tiles) == 1
    assert one_pass.n_processes(replace(options, n_processes=9), tiles) == 4
    monkeypatch.setattr(one_pass, "_MUCH_BYTES", 1)
    assert one_pass.n_processes(options, tiles) == 4
    planned = plan(options)
    assert planned.options.n_processes == 4 and planned.foreseen.memory_bytes > 4 * (200 << 20)
    # Processes take memory of their own: where it is short, there are fewer.
    short = plan(replace(options, memory_bytes=planned.foreseen.memory_bytes - (1 << 20)))
    assert short.options.n_processes is not None and short.options.n_processes < 4
