"""The command line: the table of a record, parts and steps by name, the exit code, a machine without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.gpu_check import records, runner, start
from bench.gpu_check.records import PartRecord, StepRecord
from tests.paths import ROOT


def part(*statuses):
    steps = [StepRecord(f"step {n}", 10, status) for n, status in enumerate(statuses)]
    return PartRecord(1, "2026-01-01T00:00:00", "commit 0", steps, device={"what": "GPU of a test"})


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([records.PASSED, records.PASSED], 0),
        *([[records.PASSED, other], 1] for other in (
            records.FAILED, records.SKIPPED, records.TIMED_OUT, records.RUNNING, records.WAITING,
        )),
    ],
)  # fmt: skip
def test_the_code_is_0_only_if_every_step_passed(monkeypatch, capsys, tmp_path, statuses, code):
    monkeypatch.setattr(start, "run", lambda asked: part(*statuses))
    assert start.main(["--part", "1", "--output", str(tmp_path)]) == code
    assert f"| step 1 | {statuses[1]} |" in capsys.readouterr().out


def test_what_is_asked_for_reaches_the_run(monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(start, "run", lambda asked: found.append(asked) or part(records.PASSED))
    arguments = ["--output", str(tmp_path), "--budget", "40", "--small", "--wheels", str(tmp_path), "--through", "m"]
    assert start.main(arguments) == 0
    assert [asked.part for asked in found] == [1, 2]
    for asked in found:
        assert (asked.output, asked.budget_s, asked.is_small, asked.through) == (tmp_path, 40, True, "m")
        assert list(asked.wheels) == [tmp_path]
        assert list(asked.steps) == list(runner.PARTS[asked.part])
    start.main(["--part", "1", "--step", "transfers"])
    assert [step.name for step in found[-1].steps] == ["device", "transfers"]
    with pytest.raises(SystemExit):
        start.main(["--part", "1", "--step", "demo"])


def test_the_table_of_a_record(tmp_path, capsys):
    record = part(records.PASSED, records.TIMED_OUT)
    record.steps[0].rows = [{"what": "copy | there", "GB_per_s": 1234.5678}, {"what": "other", "n": 3}]
    record.steps[1].why = "not finished\nafter 3 s"
    path = record.write(tmp_path)
    assert start.main(["--table", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "| copy / there | 1235 |  |" in printed and "| other |  | 3 |" in printed
    assert "| step 1 | timed out: not finished after 3 s |" in printed
    assert records.STAND_IN not in printed
    record.stand_in = True
    assert records.STAND_IN in records.table(record) and "stand_in" in record.name


def test_rows_that_were_cut_off_are_left_out(tmp_path):
    lines = [json.dumps({"what": "a", "n": 1}), json.dumps({"why": "because"}), json.dumps({"what": "b"})]
    whole = "\n".join(lines)
    for stop in range(len(whole) + 1):
        path = tmp_path / "rows.jsonl"
        path.write_text(whole[:stop])
        rows, why = records.read_rows(path)
        n = sum(len("\n".join(lines[: k + 1])) <= stop for k in range(3))
        assert [row["what"] for row in rows] == ["a", "b"][: (n + 1) // 2]
        assert why == ("because" if n >= 2 else "")
    assert records.read_rows(tmp_path / "none") == ([], "")


@pytest.mark.posix
def test_a_machine_without_a_gpu_is_told_so(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError\n")
    command = [sys.executable, "-m", "bench", "gpu-check", "--part", "1", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--wheels", str(tmp_path)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "failed: no CUDA device: CuPy is not installed" in done.stdout
    assert "| parity | skipped: no CUDA device" in done.stdout
    assert not (tmp_path / "out").exists()
