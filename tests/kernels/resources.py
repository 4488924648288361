"""What NVRTC says of a variant's bodies, kept in the user's folder of compiled bodies: a text is compiled once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from bench import nvrtc
from bench.variants import Variant, compiled, program
from tests.cuda_cpu import build


@dataclass(frozen=True)
class Report:
    """Resources of each body, and the compiler's warnings."""

    resources: dict[str, nvrtc.Resources]
    warnings: list[str]


def report(variant: Variant, architecture: int) -> Report:
    """The report of a variant for devices of a compute capability."""
    if build.why_not():  # there is no such folder
        made = compiled(variant, architecture)
        return Report(made.resources, made.warnings)
    text, options = program(variant)
    key = json.dumps([nvrtc.build(), text, options, architecture])
    path = build.folder() / f"nvrtc-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        return Report({name: nvrtc.Resources(**taken) for name, taken in kept["resources"].items()}, kept["warnings"])
    made = compiled(variant, architecture)
    found = Report(made.resources, made.warnings)
    build.write(path, json.dumps(asdict(found)))
    return found
