"""Resources of the CUDA bodies: ``python -m bench.kernel_resources`` compiles them, without a device, into a table.

The table has the least and the most registers, shared memory and spills over devices. Occupancy is the fraction of the
64 warps of a multiprocessor of compute capability 9.0 that run together.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench import nvrtc
from bench.variants import ARCHITECTURES, Variant, compiled, threads, variants
from gpustitch.array.sources import own_sources

RESULTS = Path(__file__).parent / "results" / "kernel_resources.json"


def measure() -> list[dict[str, Any]]:
    """One row for each body and types; values that differ between devices are keyed by the devices' names."""
    rows = []
    for source in own_sources():
        for variant in variants(source):
            by_device = {f"sm_{a}": compiled(variant, a).resources for a in ARCHITECTURES}
            rows += [_row(name, variant, {k: taken[name] for k, taken in by_device.items()}) for name in variant.twins]
    return rows


def _row(name: str, variant: Variant, taken: dict[str, nvrtc.Resources]) -> dict[str, Any]:
    row: dict[str, Any] = {"body": name, "source": variant.source, "types": variant.types, "threads": threads(name)}
    for key in ("registers", "spill_bytes", "shared_bytes"):
        row[key] = {device: getattr(resources, key) for device, resources in taken.items()}
    return {**row, "occupancy_sm_90": taken["sm_90"].occupancy(threads(name))}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table; equal rows of one body are merged."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        figures = [_range(row[key]) for key in ("registers", "shared_bytes", "spill_bytes")]
        said = (f"`{row['body']}`", str(row["threads"]), *figures, f"{row['occupancy_sm_90']:.0%}")
        lines.setdefault(said, []).append(row["types"])
    head = ["body", "types", "threads per block", "registers", "shared bytes", "spilled bytes", "occupancy on sm_90"]
    cells = [head, ["---"] * len(head)]
    cells += [[body, "; ".join(filter(None, types)) or "-", *rest] for (body, *rest), types in lines.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _range(by_device: dict[str, int]) -> str:
    least, most = min(by_device.values()), max(by_device.values())
    return f"{least}" if least == most else f"{least}..{most}"


def main() -> int:
    """Print the table and store every row; return 1 without a compiler."""
    if nvrtc.why_not():
        print(nvrtc.why_not(), file=sys.stderr)
        return 1
    rows = measure()
    print(f"NVRTC {nvrtc.version()}, {', '.join(f'sm_{a}' for a in ARCHITECTURES)}\n\n{table(rows)}")
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    RESULTS.write_text(f'{{\n "nvrtc": "{nvrtc.version()}",\n "rows": [\n{lines}\n ]\n}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
