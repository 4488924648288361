"""Runs the steps of a part one after the other; the record is stored before and after each."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.gpu_check import records
from bench.gpu_check.process import ROOT, THROUGH, command, end, environment, unpacked
from bench.gpu_check.records import PartRecord, StepRecord
from bench.gpu_check.step import NO_DEVICE, SKIPPED

_LOG_CHARACTERS = 4000


@dataclass(frozen=True)
class Step:
    """A step: the module that does it, and the seconds it has at least; what earlier steps leave is added."""

    name: str
    module: str
    budget_s: float


DEVICE = Step("device", "bench.gpu_check.device", 20)
PARTS: dict[int, tuple[Step, ...]] = {
    1: (
        DEVICE,
        Step("parity", "bench.gpu_check.parity", 140),
        Step("transfers", "bench.gpu_check.transfers", 40),
        Step("kernels", "bench.gpu_check.kernel_rates", 90),
    ),
    2: (
        DEVICE,
        Step("stress", "bench.gpu_check.stress", 40),
        Step("memcheck", "bench.gpu_check.memcheck", 60),
        Step("racecheck", "bench.gpu_check.racecheck", 60),
        Step("demo", "bench.gpu_check.demo", 50),
        Step("pipeline", "bench.gpu_check.pipeline", 60),
    ),
}


@dataclass(frozen=True)
class Run:
    """What is asked for: the steps, where records go, and how the steps are run.

    ``budget_s`` is the time of all steps (None: the sum of theirs). ``through`` is the module of a stand-in for CuPy.
    """

    part: int
    output: Path
    steps: Sequence[Step]
    budget_s: float | None = None
    is_small: bool = False
    through: str | None = None
    wheels: Sequence[Path] = field(default_factory=lambda: (ROOT, ROOT / "wheels", ROOT.parent, ROOT.parent / "wheels"))


def run(asked: Run, say: Callable[[str], None] = print) -> PartRecord:
    """Run the steps, and store the record whatever happens; without a device nothing is stored."""
    total = sum(step.budget_s for step in asked.steps)
    scale = (asked.budget_s or total) / total
    steps = [StepRecord(step.name, scale * step.budget_s) for step in asked.steps]
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    record = PartRecord(asked.part, begun, _checkout(), steps, stand_in=asked.through is not None)
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
            _all(asked, record, Path(folder), say)
    except KeyboardInterrupt:
        for step in steps:
            if step.status == records.RUNNING:
                step.why = "interrupted"
    finally:
        signal.signal(signal.SIGTERM, before)
        if not _has_no_device(record):
            say(f"stored in {record.write(asked.output)}")
    return record


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _all(asked: Run, record: PartRecord, folder: Path, say: Callable[[str], None]) -> None:
    record.wheels = unpacked(asked.wheels, folder / "wheels")
    for line in record.wheels:
        say(line)
    environ = environment(folder / "wheels", asked.through)
    deadline, path = time.monotonic(), None
    for step, result in zip(asked.steps, record.steps, strict=True):
        deadline += result.budget_s
        if _has_no_device(record):
            result.status, result.why = records.SKIPPED, record.steps[0].why
            continue
        result.status = records.RUNNING
        if record.device:
            path = _stored(record, asked.output, path)
        say(f"{step.name} ...")
        _one(step, result, folder, environ, max(1.0, deadline - time.monotonic()), asked.is_small)
        say(f"{step.name}: {result.status}{': ' if result.why else ''}{result.why} ({result.took_s:.1f} s)")
        if step is DEVICE and result.rows:
            record.device = result.rows[0]
            record.stand_in = record.stand_in or bool(record.device.get("stand_in"))
        if not _has_no_device(record):
            path = _stored(record, asked.output, path)


def _stored(record: PartRecord, folder: Path, before: Path | None) -> Path:
    path = record.write(folder)
    if before is not None and before != path:
        before.unlink(missing_ok=True)
        before.with_suffix(".md").unlink(missing_ok=True)
    return path


def _has_no_device(record: PartRecord) -> bool:
    first = record.steps[0]
    return first.step == DEVICE.name and first.status == records.FAILED and first.why.startswith("no CUDA device")


def _one(step: Step, result: StepRecord, folder: Path, environ: dict[str, str], left_s: float, is_small: bool) -> None:
    """Run a step for at most ``left_s`` seconds, and note how it went."""
    rows, log = folder / f"{step.name}.jsonl", folder / f"{step.name}.log"
    arguments = ["--rows", str(rows), "--budget", f"{left_s:.1f}", *(["--small"] if is_small else [])]
    begin = time.monotonic()
    process = None
    try:
        with log.open("wb") as printed:
            process = subprocess.Popen(
                command(step.module, *arguments, through=environ.get(THROUGH)),
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | None = process.wait(left_s)
            except subprocess.TimeoutExpired:
                code = None
    finally:
        if process is not None:
            end(process)
        result.took_s = round(time.monotonic() - begin, 2)
        result.rows, why = records.read_rows(rows)
    result.status, result.why = _outcome(code, why, left_s)
    if result.status != records.PASSED:
        result.log = log.read_bytes().decode(errors="replace")[-_LOG_CHARACTERS:]


def _outcome(code: int | None, why: str, left_s: float) -> tuple[str, str]:
    """Status and reason, from a process's exit code; None if its time was over."""
    if code is None:
        return records.TIMED_OUT, f"not finished after {left_s:.0f} s"
    if code == 0:
        return records.PASSED, ""
    if code == SKIPPED:
        return records.SKIPPED, why
    if code < 0:
        return records.FAILED, f"killed by {signal.Signals(-code).name}"
    return records.FAILED, why or (f"exit code {code}" if code != NO_DEVICE else "no CUDA device")


def _checkout() -> str:
    """The commit of the checkout, if that is known."""
    try:
        git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        found = subprocess.run(git, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "commit unknown"
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "commit unknown"


def show(record: PartRecord) -> None:
    """Print the table, and the end of what failed steps printed."""
    for step in record.steps:
        if step.log and step.status in (records.FAILED, records.TIMED_OUT):
            print(f"--- the end of what {step.step} printed\n{step.log}", file=sys.stderr)
    print(records.table(record))
