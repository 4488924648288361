"""What NVRTC says of a variant's bodies, kept in the user's folder of compiled bodies: a text is compiled once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench import nvrtc
from bench.variants import Variant, compiled, program, translated
from tests.cuda_cpu import build


@dataclass(frozen=True)
class Report:
    """Resources of each body, and the compiler's warnings."""

    resources: dict[str, nvrtc.Resources]
    warnings: list[str]


def report(variant: Variant, architecture: int) -> Report:
    """The report of a variant for devices of a compute capability."""

    def make() -> dict[str, Any]:
        made = compiled(variant, architecture)
        return asdict(Report(made.resources, made.warnings))

    kept = _kept([*program(variant), architecture], make)
    return Report({name: nvrtc.Resources(**taken) for name, taken in kept["resources"].items()}, kept["warnings"])


def warnings_of(variant: Variant, architecture: int) -> list[str]:
    """Warnings of a variant that becomes PTX for devices of a compute capability, which takes half the time."""
    found: list[str] = _kept([*program(variant), architecture, "PTX"], lambda: translated(variant, architecture))
    return found


def _kept(key: list[Any], make: Callable[[], Any]) -> Any:
    """What was made for a key, from the folder if it is there."""
    if build.why_not():  # there is no such folder
        return make()
    name = hashlib.sha256(json.dumps([nvrtc.build(), *key]).encode()).hexdigest()[:32]
    path = build.folder() / f"nvrtc-{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    made = make()
    build.write(path, json.dumps(made))
    return made
