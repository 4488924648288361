"""The record of a part: how each step went, its rows, and all of it as a Markdown table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, SKIPPED, TIMED_OUT, RUNNING, WAITING = (
    "passed", "failed", "skipped", "timed out", "not finished", "not begun",
)  # fmt: skip
STAND_IN = "STAND-IN FOR A GPU: this says that the steps run. No figure of a GPU is in it."


@dataclass
class StepRecord:
    """How a step went: ``status``, the reason unless it passed, seconds, rows, and the end of what it printed."""

    step: str
    budget_s: float
    status: str = WAITING
    why: str = ""
    took_s: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""


@dataclass
class PartRecord:
    """How the steps of a part went, on which device and with which versions.

    ``wheels`` says what was done with wheels beside the checkout. ``stand_in`` says that no GPU took part.
    """

    part: int
    begun: str
    checkout: str
    steps: list[StepRecord]
    stand_in: bool = False
    device: dict[str, Any] = field(default_factory=dict)
    wheels: list[str] = field(default_factory=list)

    @property
    def has_passed(self) -> bool:
        """Whether every step passed."""
        return all(step.status == PASSED for step in self.steps)

    @property
    def name(self) -> str:
        """Name of its files: the device and the part."""
        words = "".join(c if c.isalnum() else " " for c in str(self.device.get("what", "unknown device"))).lower()
        return "_".join(["gpu_check", *(["stand_in"] if self.stand_in else []), *words.split(), f"part{self.part}"])

    def write(self, folder: Path) -> Path:
        """Write it as JSON, all at once, with its table beside it; returns the path of the JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        for target, text in ((path, json.dumps(asdict(self), indent=1)), (path.with_suffix(".md"), table(self))):
            scratch = target.with_name(f".{target.name}.part")
            scratch.write_text(text + "\n", encoding="utf-8")
            scratch.replace(target)
        return path


def read_record(path: Path) -> PartRecord:
    """A record from its JSON, also of a part that did not come to its end."""
    content = json.loads(path.read_text(encoding="utf-8"))
    steps = [StepRecord(**step) for step in content.pop("steps")]
    return PartRecord(steps=steps, **content)


def read_rows(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The whole rows of a step's file, and its reason if it gave one; a row that was cut off is left out."""
    rows, why = [], ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "what" in row:
            rows.append(row)
        else:
            why = row.get("why", "")
    return rows, why


def table(record: PartRecord) -> str:
    """The record as Markdown: how each step went, then a table for each step with rows."""
    lines = [f"# gpu-check, part {record.part}: {record.device.get('what', 'unknown device')}", ""]
    lines += [f"**{STAND_IN}**", ""] if record.stand_in else []
    versions = ", ".join(f"{key} {value}" for key, value in record.device.items() if key != "what")
    lines += [f"Begun {record.begun}, {record.checkout}. {versions}", ""]
    went = [
        {"step": s.step, "result": _result(s), "s": _text(s.took_s), "budget s": f"{s.budget_s:.0f}"}
        for s in record.steps
    ]
    lines += [*_markdown(went), ""]
    for step in record.steps:
        if step.rows:
            lines += [f"## {step.step}", "", *_markdown(step.rows), ""]
    return "\n".join(lines).rstrip()


def _result(step: StepRecord) -> str:
    return f"{step.status}: {step.why}" if step.why else step.status


def _markdown(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_text(row.get(key)) for key in columns] for row in rows]
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, cells)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "/").split())
