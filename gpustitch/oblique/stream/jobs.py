"""Sweeps in processes of their own, which write one volume together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpustitch.array import choose_device
from gpustitch.errors import OutputError
from gpustitch.io.journal import Journal
from gpustitch.oblique.fuse.stage import StitchPlan
from gpustitch.oblique.stream.file import Spools
from gpustitch.oblique.stream.sweep import NONE_SWEPT, Swept, Work, swept
from gpustitch.oblique.stream.units import Cutting, PartTarget, Unit
from gpustitch.oblique.stream.windows import Kept
from gpustitch.running.processes import LostProcess, run_jobs

Runner = Callable[[Sequence["UnitJob"], Callable[[int], None]], Iterator[tuple[int, "Swept | LostProcess"]]]


@dataclass(frozen=True)
class Sharing:
    """What the sweeps of a volume's units share: what to sweep and how.

    ``kept`` is what bands leave for later ones, in ``folder``.
    """

    stitch: StitchPlan
    work: Work
    cutting: Cutting
    kept: tuple[Kept, ...]
    folder: Path


@dataclass(frozen=True)
class UnitJob:
    """The sweep of one unit, into a volume that another process has begun and will finish.

    ``known`` are the finished parts of the run, ``journals`` the folder of those that its processes finish.
    """

    sharing: Sharing
    unit: Unit
    known: Mapping[str, Mapping[str, Any]]
    journals: Path

    def __call__(self, advance: Callable[[int], None]) -> Swept:
        """Read, correct, fuse and write; tells the frames that are read."""
        if not self.journals.is_dir():
            host, place = socket.gethostname(), self.journals.parent
            raise OutputError(f"{host} does not see {place}; all workers must share the disk of the output")
        stitch, work, cutting = self.sharing.stitch, self.sharing.work, self.sharing.cutting
        if work.workers.device.is_cuda:
            choose_device(
                f"cuda:{work.workers.device.index}", stitch.options.device_memory_bytes
            )  # bounds this process
        with (
            Journal.part(self.journals, self.known) as journal,
            stitch.fused.opened({}, journal) as writer,
            Spools(self.sharing.kept, stitch.dtype, self.sharing.folder) as spools,
        ):
            target = PartTarget(writer, self.unit, cutting)
            return swept(work, self.unit.bands, target, spools, advance)


def sweep_units(
    sharing: Sharing,
    units: Sequence[Unit],
    journal: Journal,
    advance: Callable[[int], None],
    warn: Callable[[str], None],
    run: Runner = run_jobs,
) -> Swept:
    """Sweep all units at the same time, each in a process; then ``journal`` knows all that is finished.

    A process that the system ends leaves its unit unfinished, and ``warn`` is told so. ``advance`` is told the frames
    that each band has got, ``run`` runs the processes.

    Raises
    ------
    GpustitchError
        The first error of a sweep; all processes end then.
    """
    known, journals = journal.units, journal.parts.resolve()
    jobs = [UnitJob(sharing, unit, known, journals) for unit in units]
    total = NONE_SWEPT
    try:
        for _, done in run(jobs, advance):
            if isinstance(done, LostProcess):
                warn(f"a process of this run {done}: its part is done without it")
            else:
                total += done
    finally:
        journal.join()
    return total
