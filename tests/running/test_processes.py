"""Jobs in processes: results, errors, lost processes, and processes whose parent is no more."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpustitch.errors import ParameterError, ResourceError
from gpustitch.running import processes
from gpustitch.running.processes import LostProcess, run_jobs


@dataclasses.dataclass(frozen=True)
class Job:
    """Counts, prints, and then ends as it is told."""

    number: int
    end: str = "result"
    place: str = ""

    def __call__(self, advance):
        print("not a message", flush=True)
        for _ in range(self.number):
            advance(2)
        if self.end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.end == "wrong":
            raise ParameterError("`levels` is wrong")
        if self.end == "odd":
            raise Odd(self.number, 2)
        if self.end == "long":
            Path(self.place).write_text(str(os.getpid()))
            time.sleep(600)
        return self.number, os.getpid()


class Odd(Exception):
    """An error that cannot be unpickled."""

    def __init__(self, a, b):
        super().__init__(f"odd {a}")


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen")


def test_jobs_run_in_processes_and_tell_how_much_is_done():
    counts = []
    found = dict(run_jobs([Job(3), Job(5)], counts.append))
    assert {n: number for n, (number, _) in found.items()} == {0: 3, 1: 5}
    assert len({os.getpid(), *(pid for _, pid in found.values())}) == 3
    assert sum(counts) == 16


@pytest.mark.posix
def test_a_process_that_is_killed_is_told():
    found = dict(run_jobs([Job(1, "killed"), Job(2)], lambda _: None))
    assert isinstance(found[0], LostProcess) and str(found[0]) == "ended by signal 9"
    assert found[1][0] == 2


@pytest.mark.posix
def test_an_error_ends_the_other_processes(tmp_path):
    place = tmp_path / "pid"
    with pytest.raises(ParameterError, match="`levels` is wrong") as caught:
        for _ in run_jobs([Job(1, "long", str(place)), Job(1, "wrong")], lambda _: None):
            pass
    assert caught.value.parameter == "levels"
    if place.exists() and place.read_text():
        wait_for(lambda: not is_there(int(place.read_text())))


def test_errors_that_cannot_be_sent_keep_their_words():
    with pytest.raises(RuntimeError, match="Odd: odd 7"):
        list(run_jobs([Job(7, "odd")], lambda _: None))


def test_a_job_that_cannot_be_sent_is_told():
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        list(run_jobs([lambda advance: None], lambda _: None))


def test_jobs_larger_than_a_pipe_arrive():
    place = "x" * (1 << 20)  # more than a pipe holds
    found = dict(run_jobs([Job(1, place=place), Job(2, place=place)], lambda _: None))
    assert {number: n for number, (n, _) in found.items()} == {0: 1, 1: 2}


def test_a_system_without_room_for_processes_is_told(monkeypatch):
    def full(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(processes.subprocess, "Popen", full)
    with pytest.raises(ResourceError, match="temporarily unavailable"):
        list(run_jobs([Job(1)], lambda _: None))


@pytest.mark.posix
def test_processes_end_with_the_one_that_started_them(tmp_path):
    place = tmp_path / "pid"
    code = (
        "from gpustitch.running.processes import run_jobs; from tests.running.test_processes import Job\n"
        f"list(run_jobs([Job(1, 'long', {str(place)!r})], print))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: place.exists() and place.read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_there(int(place.read_text())))


@dataclasses.dataclass(frozen=True)
class Told:
    """What a variable of the environment is in the process."""

    def __call__(self, advance):
        return os.environ.get("GPUSTITCH_TOLD"), os.environ.get("PATH")


def test_processes_have_environments_of_their_own_in_turn():
    environments = [{"GPUSTITCH_TOLD": "a"}, {"GPUSTITCH_TOLD": "b"}]
    found = dict(run_jobs([Told()] * 3, lambda _: None, environments))
    assert found == {n: (told, os.environ.get("PATH")) for n, told in enumerate("aba")}
    assert "GPUSTITCH_TOLD" not in os.environ
