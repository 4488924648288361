"""Checks of an output: what each says, by which number, and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["pass", "warn", "fail", "not measured"]

# What a check says that no option can mend.
NOTHING = "nothing does"
# Version of the record.
SCHEMA = 1


@dataclass(frozen=True)
class Check:
    """One question to an output, and its answer.

    Attributes
    ----------
    name
        What is asked, in a word or two.
    state
        The answer. ``not measured`` is neither good nor bad: nothing could tell.
    reason
        Why, in a line.
    value, unit, limit
        The number behind it, its unit, and beyond which number the state is another; None where there is none.
    helps
        What would help, with parameters in backquotes, or that nothing does; empty where no help is needed.
    """

    name: str
    state: State
    reason: str
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    helps: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """The check in JSON's types."""
        number = None if self.value is None else float(f"{self.value:.6g}")
        return {
            "name": self.name,
            "state": self.state,
            "value": number,
            "unit": self.unit,
            "limit": self.limit,
            "reason": self.reason,
            "helps": self.helps,
        }


def verdict(checks: Sequence[Check]) -> State:
    """The worst of the answers; ``not measured`` if none was measured."""
    states = [check.state for check in checks]
    worst: State
    for worst in ("fail", "warn", "pass"):
        if worst in states:
            return worst
    return "not measured"


def summary(checks: Sequence[Check]) -> str:
    """How many checks gave which answer, in a line for people."""
    counts = {state: sum(check.state == state for check in checks) for state in ("fail", "warn", "pass")}
    n_not = len(checks) - sum(counts.values())
    words = {"fail": "failed", "warn": "warned", "pass": "passed"}
    told = [f"{n} {words[state]}" for state, n in counts.items() if n]
    return f"{len(checks)} checks: " + ", ".join([*told, *([f"{n_not} not measured"] if n_not else [])])
