"""Runs the steps of a part one after the other; the record is stored before and after each."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from bench.gpu_check import records
from bench.gpu_check.process import ROOT, THROUGH, command, end, environment, unpacked
from bench.gpu_check.records import PartRecord, StepRecord
from bench.gpu_check.step import NO_DEVICE, SKIPPED

_LOG_CHARACTERS = 4000
_LOOKS_EVERY_S = 2.0
_NO_DEVICE = "no CUDA device"
_BEGIN = "bench.gpu_check.begin"


@dataclass(frozen=True)
class Step:
    """A step: the function that does it, and the seconds it has at least; what earlier steps leave is added."""

    name: str
    function: str
    budget_s: float


DEVICE = Step("device", "bench.gpu_check.device:device", 20)
PARTS: dict[int, tuple[Step, ...]] = {
    1: (
        DEVICE,
        Step("parity", "bench.gpu_check.parity:parity", 128),
        Step("transfers", "bench.gpu_check.transfers:transfers", 35),
        Step("kernels", "bench.gpu_check.kernel_rates:kernel_rates", 80),
        Step("cucim", "bench.gpu_check.cucim:cucim", 20),
        Step("nvcomp", "bench.gpu_check.nvcomp:nvcomp", 12),
    ),
    2: (
        DEVICE,
        Step("stress", "bench.gpu_check.stress:stress", 35),
        Step("memory", "bench.gpu_check.memory:memory", 25),
        Step("demo", "bench.gpu_check.demo:demo", 55),
        Step("pipeline", "bench.gpu_check.pipeline:pipeline", 65),
        Step("memcheck", "bench.gpu_check.sanitizers:memcheck", 47),
        Step("racecheck", "bench.gpu_check.sanitizers:racecheck", 47),
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
        with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
            _all(asked, record, Path(folder), say)
    except (KeyboardInterrupt, OSError) as error:
        for step in steps:
            if step.status == records.RUNNING:
                step.why = str(error) or "interrupted"
    finally:
        signal.signal(signal.SIGTERM, before)
        _store(record, asked.output, say)
    return record


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _all(asked: Run, record: PartRecord, folder: Path, say: Callable[[str], None]) -> None:
    record.wheels = unpacked(asked.wheels, folder / "wheels")
    for line in record.wheels:
        say(line)
    environ = environment(folder / "wheels", asked.through)
    deadline = time.monotonic()
    for step, result in zip(asked.steps, record.steps, strict=True):
        deadline += result.budget_s
        if why := _no_device(record):
            result.status, result.why = records.SKIPPED, why
            continue
        result.status = records.RUNNING
        _store(record, asked.output, say)
        say(f"{step.name} ...")
        job = _Job(step, folder, environ, max(1.0, deadline - time.monotonic()), asked.is_small)
        _one(job, result, lambda: _store(record, asked.output, say))
        say(f"{step.name}: {result.status}{': ' if result.why else ''}{result.why} ({result.took_s:.1f} s)")
        if step.name == DEVICE.name and result.rows:
            record.device = result.rows[0]
            record.stand_in = record.stand_in or bool(record.device.get("stand_in"))
        _store(record, asked.output, say)


def _store(record: PartRecord, folder: Path, say: Callable[[str], None]) -> None:
    """Write the record, and remove what was written before the name of the device was known."""
    if record.steps[0].took_s is None:
        return  # nothing is known yet
    unnamed = [folder / f"{replace(record, device={}, stand_in=known).name}.json" for known in (False, True)]
    try:
        path = None if _no_device(record) else record.write(folder)
        for old in unnamed:
            if path != old:
                old.unlink(missing_ok=True)
                old.with_suffix(".md").unlink(missing_ok=True)
    except OSError as error:
        say(f"the record cannot be stored in {folder}: {error}")


def _no_device(record: PartRecord) -> str:
    """Why there is no device; empty if there is one, as far as is known."""
    return next((s.why for s in record.steps if s.status == records.FAILED and s.why.startswith(_NO_DEVICE)), "")


@dataclass(frozen=True)
class _Job:
    """A step about to run for at most ``left_s`` seconds; its files go to ``folder``."""

    step: Step
    folder: Path
    environ: dict[str, str]
    left_s: float
    is_small: bool

    @property
    def rows(self) -> Path:
        return self.folder / f"{self.step.name}.jsonl"

    def start(self, printed: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start it as the leader of a group of processes."""
        told = ["--rows", str(self.rows), "--budget", f"{self.left_s:.1f}", *["--small"] * self.is_small]
        started = command(_BEGIN, self.step.function, *told, through=self.environ.get(THROUGH))
        return subprocess.Popen(
            started, cwd=ROOT, env=self.environ, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def _one(job: _Job, result: StepRecord, store: Callable[[], None]) -> None:
    """Run a step, and note how it went; rows are stored while it runs."""
    log, begin, code, why = job.folder / f"{job.step.name}.log", time.monotonic(), None, ""
    with log.open("wb") as printed:
        process = job.start(printed)
        try:
            while code is None and (left_s := begin + job.left_s - time.monotonic()) > 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(min(_LOOKS_EVERY_S, left_s))
                n_before, (result.rows, why) = len(result.rows), records.read_rows(job.rows)
                if len(result.rows) > n_before:
                    store()
        finally:
            end(process)
            result.took_s = round(time.monotonic() - begin, 2)
            result.rows, why = records.read_rows(job.rows)
    result.status, result.why = _outcome(code, why, job.left_s)
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
    return records.FAILED, why or (f"exit code {code}" if code != NO_DEVICE else _NO_DEVICE)


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
