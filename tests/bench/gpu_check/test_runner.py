"""Each step's fate is its own: one that crashes, hangs or lacks something is recorded, and the next goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from pathlib import Path

import pytest

from bench.gpu_check import records, runner
from bench.gpu_check.runner import DEVICE, PARTS, Run, Step
from tests.paths import ROOT

STEPS = "tests.bench.gpu_check.steps"

NO_WHEEL = "is not installed; a wheel beside the checkout is taken"

pytestmark = pytest.mark.posix


def run(folder, *functions, budget_s=None, each_s=8.0, device="device", **kwargs):
    names = {"device": device, **{name: name for name in functions}}
    steps = [Step(name, f"{STEPS}:{function}", each_s) for name, function in names.items()]
    said = []
    kwargs.setdefault("wheels", ())
    record = runner.run(Run(1, folder, steps, budget_s, **kwargs), said.append)
    return record, {step.step: step for step in record.steps}


def is_running(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_every_fate_is_recorded_and_the_next_step_goes_on(tmp_path):
    fates = {
        "crashes": (records.FAILED, "killed by SIGSEGV"),
        "leaves": (records.FAILED, "exit code 5"),
        "wrong": (records.FAILED, "AssertionError: 3 of 4 are wrong"),
        "lacks_tool": (records.SKIPPED, "the tool is not on PATH"),
        "lacks_wheel": (records.SKIPPED, f"no_such_package_of_a_wheel {NO_WHEEL}"),
        "lacks_own": (records.FAILED, "ModuleNotFoundError: No module named 'gpustitch.no_such_room'"),
        "good": (records.PASSED, ""),
    }  # fmt: skip
    record, steps = run(tmp_path, *fates)
    assert {name: (steps[name].status, steps[name].why) for name in fates} == fates
    assert not record.has_passed
    assert steps["crashes"].rows == [{"what": "before the crash", "n": 1}]
    assert steps["good"].rows[0] == {"what": "first", "n": 3, "GB_per_s": 12.5}
    assert "3 of 4 are wrong" in steps["wrong"].log and "Segmentation fault" in steps["crashes"].log
    stored = records.read_record(tmp_path / "gpu_check_device_of_a_test_part1.json")
    assert stored == record
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{record.name}.json", f"{record.name}.md"]


def test_a_step_that_hangs_is_ended_with_all_it_started_and_its_whole_rows_stay(tmp_path, monkeypatch):
    def now_s():
        # However long a busy machine takes to get there: the step's time is over once it has said where it hangs.
        return 100.0 * any(b"in hangs" in log.read_bytes() for log in tmp_path.glob("gpu-check-*/hangs.log"))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runner, "time", types.SimpleNamespace(monotonic=now_s))
    monkeypatch.setattr(runner, "_LOOKS_EVERY_S", 0.05)
    _, steps = run(tmp_path / "out", "hangs", "good", each_s=2.0)
    hung = steps["hangs"]
    assert hung.status == records.TIMED_OUT and hung.why.startswith("not finished after")
    assert [row["what"] for row in hung.rows] == ["before the hang", "child"]
    assert "steps.py" in hung.log and "in hangs" in hung.log, "the log says where it hung"
    assert not is_running(hung.rows[1]["pid"])
    assert steps["good"].status == records.PASSED


def test_what_one_step_leaves_of_its_time_the_next_one_has(tmp_path, monkeypatch):
    now_s, left_s = [100.0], []

    def one(job, result, store):
        left_s.append(job.left_s)
        now_s.append(now_s[-1] + (0.5 if len(left_s) < 3 else 9.0))
        result.status, result.took_s = records.PASSED, now_s[-1] - now_s[-2]

    monkeypatch.setattr(runner, "_one", one)
    monkeypatch.setattr(runner, "time", types.SimpleNamespace(monotonic=lambda: now_s[-1]))
    _, steps = run(tmp_path, "good", "hangs", "leaves", budget_s=6.0)
    assert [step.budget_s for step in steps.values()] == [1.5] * 4
    # None has less than a second, whatever those before it took.
    assert left_s == [1.5, 2.5, 3.5, 1.0]


def test_a_check_without_a_fault_has_passed(tmp_path):
    record, _ = run(tmp_path, "good")
    assert record.has_passed


def test_without_a_device_nothing_is_stored_and_each_step_says_why(tmp_path):
    record, steps = run(tmp_path, "good", "crashes", device="no_device")
    assert steps["device"].status == records.FAILED and not record.has_passed
    for name in ("good", "crashes"):
        assert (steps[name].status, steps[name].why) == (records.SKIPPED, "no CUDA device: the test has none")
    assert not list(tmp_path.iterdir())
    assert "no CUDA device: the test has none" in records.table(record)


def test_a_wheel_is_taken_only_where_its_package_is_not_installed(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, text in (("a_package_of_a_test", "ANSWER = 42\n"), ("numpy", "raise ImportError('of the wheel')\n")):
        with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as file:
            file.writestr(f"{name}/__init__.py", text)
    (wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"no zip")
    record, steps = run(tmp_path / "out", "imports_wheel", wheels=[wheels, tmp_path / "none"])
    assert steps["imports_wheel"].rows == [{"what": "imported", "answer": 42}]
    told = "\n".join(record.wheels)
    assert "a_package_of_a_test 1.0 is taken" in told and "numpy-1.0-py3-none-any.whl is not used" in told
    assert "broken-1.0-py3-none-any.whl cannot be unpacked" in told


def test_a_folder_that_cannot_be_written_takes_nothing_from_the_table(tmp_path):
    (tmp_path / "file").write_text("")
    record, _ = run(tmp_path / "file", "good")
    assert record.has_passed and "12.5" in records.table(record)


PROGRAM = """
import sys
from pathlib import Path
from bench.gpu_check.runner import Run, Step, run, show
steps = [Step(name, f"{STEPS}:{name}", 30) for name in ("device", "good", "waits", "crashes")]
show(run(Run(2, Path(sys.argv[1]), steps, wheels=())))
""".replace("{STEPS}", STEPS)


def started(folder):
    """A run that stands in its third step, and its record so far."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder], stdout=subprocess.PIPE, env=environment, text=True
    )
    path = folder / "gpu_check_device_of_a_test_part2.json"
    for _ in range(400):
        if path.exists() and json.loads(path.read_text())["steps"][2]["rows"]:
            break
        time.sleep(0.05)
    return process, path


def test_a_run_that_is_killed_has_stored_all_so_far(tmp_path):
    process, path = started(tmp_path)
    process.kill()
    process.wait()
    record = records.read_record(path)
    os.killpg(record.steps[2].rows[0]["pid"], signal.SIGKILL)
    assert [step.status for step in record.steps] == [
        records.PASSED, records.PASSED, records.RUNNING, records.WAITING
    ]  # fmt: skip
    assert record.steps[1].rows[0]["GB_per_s"] == 12.5
    text = records.table(record)
    assert "| waits | not finished |" in text and "| crashes | not begun |" in text and "| it runs |" in text
    assert path.with_suffix(".md").read_text().rstrip() == text


def test_a_run_that_is_told_to_end_prints_its_table_and_ends_the_step(tmp_path):
    process, path = started(tmp_path)
    pid = json.loads(path.read_text())["steps"][2]["rows"][0]["pid"]
    process.terminate()
    printed = process.communicate(timeout=10)[0]
    assert "| waits | not finished: interrupted |" in printed and "| it runs |" in printed
    assert not is_running(pid)


def test_steps_are_those_of_the_bench_and_fit_five_minutes():
    for part, steps in PARTS.items():
        assert steps[0] is DEVICE, part
        assert sum(step.budget_s for step in steps) <= 295, part
        for step in steps:
            module, _, function = step.function.partition(":")
            assert callable(getattr(__import__(module, fromlist=["_"]), function)), step.name
