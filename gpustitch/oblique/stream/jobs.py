"""Sweeps in processes of their own, which write one volume together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.errors import OutputError
from gpustitch.io.journal import Journal
from gpustitch.oblique.fuse.stage import StitchPlan, opened
from gpustitch.oblique.stream.sweep import NONE_SWEPT, Swept, Work, swept
from gpustitch.oblique.stream.units import Cutting, PartTarget, Unit
from gpustitch.running.processes import LostProcess, run_jobs
from gpustitch.running.progress import Progress, Silent

Runner = Callable[[Sequence["UnitJob"], Callable[[int], None]], Iterator[tuple[int, "Swept | LostProcess"]]]


@dataclass(frozen=True)
class UnitJob:
    """The sweep of one unit, into a volume that another process has begun and will finish.

    ``known`` are the finished parts of the run, ``journals`` the folder of those that its processes finish.
    """

    stitch: StitchPlan
    work: Work
    cutting: Cutting
    unit: Unit
    known: Mapping[str, Mapping[str, Any]]
    journals: Path

    def __call__(self, advance: Callable[[int], None]) -> Swept:
        """Read, correct, fuse and write; tells the frames that are read."""
        if not self.journals.is_dir():
            raise OutputError(
                f"{socket.gethostname()} does not see {self.journals.parent}; all workers must share the disk"
            )
        with Journal.part(self.journals, self.known) as journal, opened(self.stitch, {}, journal) as writer:
            return swept(self.work, self.unit.bands, PartTarget(writer, self.unit, self.cutting), _Advancing(advance))


def sweep_units(
    stitch: StitchPlan,
    work: Work,
    cutting: Cutting,
    units: Sequence[Unit],
    journal: Journal,
    progress: Progress,
    run: Runner = run_jobs,
) -> Swept:
    """Sweep all units at the same time, each in a process; then ``journal`` knows all that is finished.

    A process that the system ends leaves its unit unfinished, and ``progress`` is told so. ``run`` runs the processes.

    Raises
    ------
    GpustitchError
        The first error of a sweep; all processes end then.
    """
    known, journals = journal.units, journal.parts.resolve()
    jobs = [UnitJob(stitch, work, cutting, unit, known, journals) for unit in units]
    total = NONE_SWEPT
    try:
        for _, done in run(jobs, progress.advance):
            if isinstance(done, LostProcess):
                progress.warn(f"a process of this run {done}: its part is done without it")
            else:
                total += done
    finally:
        journal.join()
    return total


class _Advancing(Silent):
    """Progress that is passed on as a count."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def advance(self, count: int = 1) -> None:
        """``count`` more pieces are done."""
        self._advance(count)
