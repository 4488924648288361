"""How the faults named in simulated series compare with the true ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from gpustitch.demo.series.simulate import SimulatedSeries
from gpustitch.sections.faults.find import FAULT_TYPES, SectionFault


@dataclass
class FaultCounts:
    """By kind: true faults, those of them whose sections are all named for it, and sections named wrongly."""

    true: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, series: SimulatedSeries, faults: Iterable[SectionFault]) -> None:
        """Count those of one more series."""
        faults = list(faults)
        for kind in FAULT_TYPES:
            named = {i for fault in faults if fault.fault_type == kind for i in fault.sections}
            true = [set(fault.sections) for fault in series.faults if fault.fault_type == kind]
            self.true[kind] += len(true)
            self.found[kind] += sum(sections <= named for sections in true)
            self.wrong[kind] += len(named - series.faulty(kind))
